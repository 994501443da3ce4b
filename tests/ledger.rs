//! One number: the counter that enforces, the journal, the metric, the reports and the copies outside the process agree to
//! the nano-dollar.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::sync::Arc;

use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use support::clickhouse::{Engine, whole};
use support::http::{get, message, open, send};
use support::raw::Wire;
use support::read::{idle, metric, nanos, spent_today, sum, until};
use support::{ACME, House, RIVAL, process};
use tercet::journal::{Query, Stream};
use tercet::simulated::Behaviour;
use tercet::store::AccountId;
use tercet::view::Sums;
use tokio::io::AsyncWriteExt;

const CONFIG: &str = r#"
[routing]
mode = "enforce"
[cache]
enabled = true
[tenants.acme.budget]
daily = "100.00 USD"
[[tenants.acme.keys]]
id = "acme-1"
user = "ann"
secret = { env = "ACME_KEY" }
[[tenants.rival.keys]]
id = "rival-1"
user = "rob"
secret = { env = "RIVAL_KEY" }
"#;

const BATCH_MODELS: [&str; 2] = ["claude-haiku-5-5", "claude-opus-5-5"];

/// Seeded variety (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

fn fault(dice: &mut Dice) -> Option<Behaviour> {
    let failed = |status, kind: &str| Behaviour::Status {
        status,
        error_type: kind.to_owned(),
        message: "by script".to_owned(),
        code: None,
        headers: std::collections::BTreeMap::default(),
    };
    Some(match dice.below(16) {
        0 => failed(529, "overloaded_error"),
        1 => failed(500, "api_error"),
        2 => failed(429, "rate_limit_error"),
        3 => Behaviour::CutAfter { events: Some(4), bytes: None },
        4 => Behaviour::ErrorEvent {
            after_events: 4,
            error_type: "overloaded_error".to_owned(),
            message: "late".to_owned(),
        },
        5 => Behaviour::Reset { after_bytes: 900 },
        6 => Behaviour::CloseBeforeAnswer,
        7 => Behaviour::NoUsage,
        8 => Behaviour::Gzip,
        9 => Behaviour::OddChunks { sizes: vec![7, 1, 300] },
        10 => Behaviour::WebSearches { count: 2 },
        _ => return None,
    })
}

fn body(dice: &mut Dice) -> String {
    let model = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "tercet-auto"][dice.below(4)];
    let mut body = serde_json::json!({
        "model": model, "max_tokens": 300 + dice.below(900),
        "messages": [{ "role": "user", "content": format!("write {} words", 5 + dice.below(200)) }],
    });
    if dice.below(2) == 0 {
        body["stream"] = true.into();
    }
    if dice.below(3) == 0 {
        let text = format!("You are patient. {}", "Answer in full sentences. ".repeat(1_200));
        body["system"] =
            serde_json::json!([{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }]);
    }
    body.to_string()
}

/// Sends one request; some clients leave early, some answers break.
async fn one(house: &House, dice: &mut Dice, before: &mut Vec<(&'static str, String)>) {
    let (key, text) = match before.len() {
        count if count > 0 && dice.below(4) == 0 => before[dice.below(count)].clone(),
        _ => ([ACME, RIVAL][dice.below(2)], body(dice)),
    };
    let is_repeated = before.contains(&(key, text.clone()));
    before.push((key, text.clone()));
    let leaves = dice.below(4) < 3 && text.contains("\"stream\":true");
    if let Some(fault) = fault(dice) {
        house.upstream.script(fault);
    } else if leaves {
        house.upstream.script(Behaviour::Pause { after_events: 3, ms: 400 });
    }
    let mut headers = vec![("x-api-key", key), ("anthropic-version", "2023-06-01")];
    if is_repeated && dice.below(2) == 0 {
        headers.push(("x-stainless-retry-count", "1"));
    }
    if leaves {
        // By a reset, which is noticed at once; a client that merely closes is noticed at the second write.
        let mut client = Wire::connect(&house.url).await;
        // And by itself: a call that others may read goes on, and ends well.
        let alone = [&headers[..], &[("x-tercet-cache", "off")]].concat();
        client.request("POST /v1/messages", &alone, text).await;
        client.head().await;
        client.reset();
        return;
    }
    let mut answer =
        open(Method::POST, &format!("{}/v1/messages", house.url), &headers, text).await.into_body();
    while let Some(Ok(_)) = answer.frame().await {}
}

/// Forgets what was scripted for a request that the cache answered.
async fn forget_scripts(house: &House) {
    let probe = serde_json::json!({ "model": "claude-haiku-5-5", "max_tokens": 1,
        "messages": [{ "role": "user", "content": "say x" }] });
    let headers = [("x-api-key", "probe"), ("anthropic-version", "2023-06-01")];
    let url = format!("{}/_simulated/script", house.upstream.url());
    let waiting = |answer: Value| answer["waiting"].as_u64().unwrap();
    let count = waiting(send(Method::POST, &url, &[], "[]").await.json());
    for _ in 0..count {
        let url = format!("{}/v1/messages", house.upstream.url());
        send_quietly(&url, &headers, probe.to_string()).await;
    }
}

/// Sends a request whose answer may be broken by script.
async fn send_quietly(url: &str, headers: &[(&str, &str)], body: String) {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Full<bytes::Bytes>>();
    let mut request = http::Request::post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Ok(answer) = client.request(request.body(http_body_util::Full::new(body.into())).unwrap()).await {
        drop(answer.into_body().collect().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counter_the_journal_the_metric_the_reports_and_the_copies_are_one_number() {
    let mut engine = Engine::new();
    engine.start();
    let text = format!("{CONFIG}{}", engine.section(None));
    let mut house = House::start(&text).await;
    let (mut dice, mut before, mut known) = (Dice(20_261_120), Vec::new(), 0);
    for part in 1..=2 {
        for _ in 0..30 {
            one(&house, &mut dice, &mut before).await;
            idle(&house).await;
            forget_scripts(&house).await;
        }
        batch(&house, [ACME, RIVAL][part - 1]).await;
        idle(&house).await;
        let count = part * (30 + BATCH_MODELS.len());
        let records = house.records_when(count).await;
        assert_eq!(records.len(), count, "each request has one record, a batch one for each model");
        agree(&house, &records, known).await;
        copies_agree(&house, &engine, &records).await;
        bills_match(&house, &records);

        let spent = spent_today(&house, &AccountId::organisation());
        let (upstream, folder) = house.stop().await;
        house = House::start_before(upstream, folder, &text).await;
        assert_eq!(spent_today(&house, &AccountId::organisation()), spent, "rebuilt from the journal");
        known = records.len();
    }
    let records = house.records();
    let outcome = |name: &str| records.iter().filter(|record| record["outcome"] == name).count();
    let hits = records.iter().filter(|record| record["cache"] == "hit").count();
    let mix = [outcome("ok"), outcome("upstream_error"), outcome("client_aborted"), hits];
    assert!(mix[0] > 20 && mix[1] > 2 && mix[2] > 0 && mix[3] > 2, "{mix:?}");
    house.stop().await;
}

/// Makes a batch of several models.
async fn batch(house: &House, key: &str) {
    let request = |(number, model): (usize, &&str)| {
        let messages =
            [serde_json::json!({ "role": "user", "content": format!("write {} words", 20 + number) })];
        let params = serde_json::json!({ "model": model, "max_tokens": 300, "messages": messages });
        serde_json::json!({ "custom_id": format!("item-{number}"), "params": params })
    };
    let requests: Vec<Value> = BATCH_MODELS.iter().chain(&BATCH_MODELS).enumerate().map(request).collect();
    let headers =
        [("x-api-key", key), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    let body = serde_json::json!({ "requests": requests }).to_string();
    let made = send(Method::POST, &format!("{}/v1/messages/batches", house.url), &headers, body).await;
    assert_eq!(made.status, 200, "{:?}", made.body);
}

/// What is kept outside the process: the database of sums, and ClickHouse, by row and by hour.
async fn copies_agree(house: &House, engine: &Engine, records: &[Value]) {
    let data = house.folder.path().join("data");
    let head = || house.tercet.runtime.journal.head(Stream::Exchanges).seq;
    until("the database of sums has all", || {
        Sums::open(&data).is_ok_and(|sums| sums.place().is_ok_and(|place| place.seq == head()))
    })
    .await;
    engine.holds(records.len()).await;
    for tenant in ["acme", "rival"] {
        let mine: Vec<Value> = records.iter().filter(|record| record["tenant"] == tenant).cloned().collect();
        let spent = sum(&mine, "cost_nanousd");
        let query = Query { tenant: Some(tenant.to_owned()), ..Query::default() };
        let summed = Sums::answer(&data, &query, None).unwrap().totals;
        assert_eq!((summed.cost.0, summed.requests), (spent, mine.len() as u64), "sums.sqlite, {tenant}");
        for (table, count) in [("requests FINAL", "count()"), ("hourly", "sum(requests)")] {
            let question = format!(
                "SELECT sum(cost_nanousd) AS cost, {count} AS count, sum(output_tokens) AS output FROM {table} \
                 WHERE tenant = '{tenant}'"
            );
            let told = engine.rows(&question).await.unwrap().remove(0);
            let found = ["cost", "count", "output"].map(|name| whole(&told[name]));
            let expected = [spent, mine.len() as i64, sum(&mine, "output_tokens")];
            assert_eq!(found, expected, "ClickHouse, {table}, {tenant}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_at_once_leave_no_reservation_behind() {
    let house = House::start(CONFIG).await;
    let body = support::http::ask("claude-haiku-5-5", "say hi");
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: tercet\r\nx-api-key: {ACME}\r\nanthropic-version: 2023-06-01\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let port: u16 = house.url.rsplit(':').next().unwrap().parse().unwrap();
    for round in 0..20 {
        let mut leaving = Vec::new();
        for _ in 0..15 {
            let mut client = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            leaving.push(client);
        }
        // Gone at different moments of the way: while reading, reserving, recording, sending.
        tokio::time::sleep(std::time::Duration::from_micros(100 * round)).await;
        drop(leaving);
    }
    assert_eq!(message(&house.url, ACME, body).await.status, 200);
    idle(&house).await;
    let spent = spent_today(&house, &AccountId::organisation());
    let (upstream, folder) = house.stop().await;
    assert_eq!(sum(&support::records(folder.path()), "cost_nanousd"), spent);
    let house = House::start_before(upstream, folder, CONFIG).await;
    assert_eq!(spent_today(&house, &AccountId::organisation()), spent, "nothing was left open");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_switch_writes_anew_is_no_saving() {
    let house = House::start(CONFIG).await;
    let turn = |question: &str, more: &[Value]| {
        let mut messages = vec![serde_json::json!({ "role": "user", "content": "say one" })];
        messages.extend_from_slice(more);
        if !more.is_empty() {
            messages.push(serde_json::json!({ "role": "user", "content": question }));
        }
        let system = serde_json::json!([{ "type": "text", "text": "Be patient. ".repeat(4_000),
            "cache_control": { "type": "ephemeral" } }]);
        serde_json::json!({ "model": "claude-opus-5-5", "max_tokens": 5_000, "system": system, "messages": messages })
            .to_string()
    };
    let ask = async |steer: (&str, &str), body: String| {
        let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), steer];
        let answer = send(Method::POST, &format!("{}/v1/messages", house.url), &headers, body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    };
    ask(("x-tercet-route", "off"), turn("", &[])).await;
    let said = [serde_json::json!({ "role": "assistant", "content": "one" })];
    ask(("x-tercet-tier", "haiku"), turn("say two", &said)).await;
    let records = house.records_when(2).await;
    let tokens = |record: &Value, field: &str| record[field].as_i64().unwrap();
    let (first, moved) = (&records[0], &records[1]);
    assert_eq!((&first["tier"], &moved["tier"]), (&"opus".into(), &"haiku".into()));
    let (warm, written) = (tokens(first, "cache_write_5m_tokens"), tokens(moved, "cache_write_5m_tokens"));
    assert!(warm > 5_000 && written >= warm, "{first}\n{moved}");
    // Opus 5.5 in nano-dollars a token: 4,000 in, 20,000 out, 5,000 to write, 200 to read.
    let stayed = 200 * warm
        + 5_000 * (written - warm)
        + 4_000 * tokens(moved, "input_tokens")
        + 20_000 * tokens(moved, "output_tokens");
    assert_eq!(moved["baseline_nanousd"]["requested"], stayed, "{moved}");
    assert_eq!(moved["baseline_nanousd"]["all_opus"], stayed, "{moved}");
    let metrics = get(&house.admin_url, "", "/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    // Haiku 5.5 writes at 125 and reads at 10.
    assert_eq!(metric(&text, "tercet_prompt_cache_rewrite_cost_usd_total", "tenant=\"acme\""), 115 * warm);
    house.stop().await;
}

/// Every view of what was spent, per tenant and in all; metrics count since the start, before which there were `known`.
async fn agree(house: &House, records: &[Value], known: usize) {
    let metrics = get(&house.admin_url, "", "/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let journal = house.folder.path().join("data").display().to_string();
    for tenant in ["", "acme", "rival"] {
        let mine: Vec<Value> =
            records.iter().filter(|r| tenant.is_empty() || r["tenant"] == tenant).cloned().collect();
        let spent = sum(&mine, "cost_nanousd");
        assert!(spent > 0);
        let id =
            if tenant.is_empty() { AccountId::organisation() } else { AccountId::tenant(Arc::from(tenant)) };
        assert_eq!(spent_today(house, &id), spent, "counter of {id}");
        let label = if tenant.is_empty() { String::new() } else { format!("tenant=\"{tenant}\"") };
        let counted: Vec<Value> =
            records[known..].iter().filter(|r| tenant.is_empty() || r["tenant"] == tenant).cloned().collect();
        let since = sum(&counted, "cost_nanousd");
        assert_eq!(metric(&text, "tercet_cost_usd_total", &label), since, "metric {tenant}");
        let (path, mut arguments) = match tenant {
            "" => ("/admin/v1/usage".to_owned(), vec!["usage", "--json", "--journal", &journal]),
            _ => (
                format!("/admin/v1/usage?tenant={tenant}"),
                vec!["usage", "--json", "--journal", &journal, "--tenant", tenant],
            ),
        };
        arguments.extend(["--by", "user"]);
        let usage = get(&house.admin_url, "", &path).await.json();
        let (code, out, error) = process::run(&arguments);
        assert_eq!(code, 0, "{error}");
        let reported: Value = serde_json::from_str(&out).unwrap();
        for report in [&usage, &reported] {
            let totals = &report["totals"];
            assert_eq!(totals["cost_nanousd"], spent, "{tenant}: {report}");
            assert_eq!(nanos(totals["cost_usd"].as_str().unwrap()), spent);
            assert_eq!(totals["requests"], mine.len());
            for field in ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens"] {
                assert_eq!(totals[field], sum(&mine, field), "{field}");
            }
            let rows = report["rows"].as_array().unwrap();
            assert!(rows.is_empty() || sum(rows, "cost_nanousd") == spent);
        }
    }
    assert_eq!(metric(&text, "tercet_reserved_usd", ""), 0);
    assert_eq!(metric(&text, "tercet_reservations_leaked_total", ""), 0);
}

/// What the upstream counted is what it billed, and where it could not say the charge is an estimate.
fn bills_match(house: &House, records: &[Value]) {
    let sent: Vec<&Value> = records.iter().filter(|record| record["cache"] != "hit").collect();
    for call in house.upstream.bill() {
        let Some(record) =
            sent.iter().find(|record| record["upstream_request_id"] == call.request_id.as_str())
        else {
            continue;
        };
        let cost = record["cost_nanousd"].as_i64().unwrap();
        let billed = i64::try_from(call.nanousd).unwrap();
        if record["usage_source"] == "upstream" && cost > 0 {
            assert_eq!(cost, billed, "{record}\n{call:?}");
        } else {
            assert!(cost >= billed, "charged less than billed: {record}\n{call:?}");
        }
    }
}
