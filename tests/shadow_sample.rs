//! A sample of requests is asked again elsewhere, compared, paid for and learned from, and no client sees any of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use serde_json::{Value, json};
use support::http::{Answer, get, message};
use support::read::{idle, metric, spent_today, standing, sum, until};
use support::{ACME, House, RIVAL, TENANTS, UPSTREAM_KEY};
use tercet::simulated::Behaviour;
use tercet::store::{AccountId, Cell, Period, Unit};

const SAMPLE: &str = "\n[tenants.acme.routing]\nshadow_sample = { share = 1.0, daily = \"5.00 USD\" }\n";

/// A small task, which goes from opus to haiku by its form.
fn small(extra: &Value) -> String {
    with(
        json!({ "model": "claude-opus-5-5", "max_tokens": 500, "system": "Write a short title.",
        "messages": [{ "role": "user", "content": "say hello" }] }),
        extra,
    )
}

/// A task of which nothing is known, which stays where it is asked.
fn large(extra: &Value) -> String {
    let text = "Prove step by step that the sum of two odd numbers is even, and compute an example.";
    with(
        json!({ "model": "claude-opus-5-5", "max_tokens": 500, "system": "You are a mathematician.",
        "messages": [{ "role": "user", "content": text }] }),
        extra,
    )
}

fn with(mut body: Value, extra: &Value) -> String {
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn say(text: &str) -> Behaviour {
    Behaviour::Say { text: text.to_owned() }
}

async fn asked(house: &House, body: String) -> Answer {
    let answer = message(&house.url, ACME, body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer
}

/// Waits for the journal, and for everything that is held to be given back.
async fn records(house: &House, count: usize) -> Vec<Value> {
    let records = house.records_when(count).await;
    idle(house).await;
    assert_eq!(records.len(), count);
    records
}

async fn metrics(house: &House) -> String {
    String::from_utf8_lossy(&get(&house.admin_url, "", "/metrics").await.body).into_owned()
}

/// How well a tier does in the workload of every request of `acme`, and how many outcomes say so.
fn quality(house: &House, tier: usize) -> Option<(f64, f64)> {
    let written = house.tercet.runtime.workloads.written(Some("acme"));
    let exact = written.iter().find(|one| one.level.code() == "workload-system");
    exact.and_then(|one| one.tally.rates()[tier])
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_again_unless_somebody_wants_it() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}")).await;
    for body in [small(&json!({})), large(&json!({}))] {
        assert_eq!(message(&house.url, RIVAL, body).await.status, 200);
    }
    records(&house, 2).await;
    assert_eq!(house.upstream.bill().len(), 2, "the sample is another tenant's");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_sonnet_was_asked_haiku_is_held_against_it_and_nothing_is_said_of_opus() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}")).await;
    let answer = asked(&house, small(&json!({ "model": "claude-sonnet-5-5" }))).await;
    assert_eq!(answer.header("x-tercet-tier"), "haiku");
    let again = &records(&house, 2).await[1];
    assert_eq!(
        (&again["sample"]["verdict"], &again["sent_model"]),
        (&"held".into(), &"claude-sonnet-5-5".into())
    );
    let (haiku, sonnet) = (quality(&house, 0).unwrap(), quality(&house, 1).unwrap());
    assert!((haiku.0 - sonnet.0).abs() < 1e-9, "{haiku:?} {sonnet:?}");
    assert!((0.25..1.0).contains(&sonnet.0), "on the scale where opus has 1: {sonnet:?}");
    assert_eq!(quality(&house, 2), None);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_like_the_asked_model_s_speaks_for_the_cheaper_one_and_the_bill_adds_up() {
    let budgets = "[budget]\ndaily = \"100 USD\"\n[tenants.acme.budget]\ndaily = \"100 USD\"\n";
    let house = House::start(&format!("{budgets}{TENANTS}{SAMPLE}")).await;
    let answer = asked(&house, small(&json!({}))).await;
    assert_eq!(answer.header("x-tercet-tier"), "haiku");
    let found = records(&house, 2).await;
    let (own, again) = (&found[0], &found[1]);
    assert_eq!(again["sample"]["of"], own["request_id"]);
    assert_eq!(again["sample"]["workload"], own["decision"]["workload"]);
    for (name, value) in [("tier", "haiku"), ("verdict", "held"), ("ground", "text")] {
        assert_eq!(again["sample"][name], value);
    }
    assert_eq!((&again["sample"]["routed"], &again["sent_model"]), (&true.into(), &"claude-opus-5-5".into()));
    assert_eq!(
        (&own["sample"], &again["user_id"], &again["decision"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(again["baseline_nanousd"], json!({ "requested": 0, "all_opus": 0 }), "savings are net of it");
    assert_eq!((quality(&house, 0), quality(&house, 2)), (Some((1.0, 1.0)), Some((1.0, 1.0))));

    let billed: u64 = house.upstream.bill().iter().map(|call| call.nanousd).sum();
    let billed = i64::try_from(billed).unwrap();
    assert_eq!(house.upstream.bill().len(), 2);
    assert_eq!(sum(&found, "cost_nanousd"), billed);
    let (own_cost, again_cost) =
        (own["cost_nanousd"].as_i64().unwrap(), again["cost_nanousd"].as_i64().unwrap());
    let accounts = [
        (AccountId::organisation(), billed),
        (AccountId::tenant("acme".into()), billed),
        (AccountId::user("acme".into(), "ann".into()), own_cost),
        (AccountId::key("acme".into(), "acme-1".into()), own_cost),
        (AccountId::sample("acme".into()), again_cost),
    ];
    let page = metrics(&house).await;
    assert_eq!(metric(&page, "tercet_cost_usd_total", ""), billed);
    assert_eq!(metric(&page, "tercet_shadow_sample_cost_usd_total", "acme"), again_cost);
    assert_eq!(metric(&page, "tercet_shadow_samples_total", "result=\"held\""), 1_000_000_000);
    assert_eq!(metric(&page, "tercet_requests_total", ""), 1_000_000_000, "one request of a client");
    let usage = get(&house.admin_url, "", "/admin/v1/usage").await.json()["totals"].clone();
    assert_eq!((&usage["requests"], usage["cost_nanousd"].as_i64()), (&1.into(), Some(billed)));
    for (account, spent) in &accounts {
        assert_eq!(spent_today(&house, account), *spent, "{account}");
    }
    // A start counts from the journal as the running process did.
    let (upstream, folder) = house.stop().await;
    let house = House::start_before(upstream, folder, &format!("{budgets}{TENANTS}{SAMPLE}")).await;
    for (account, spent) in &accounts {
        assert_eq!(spent_today(&house, account), *spent, "{account} after a restart");
    }
    assert_eq!(get(&house.admin_url, "", "/admin/v1/usage").await.json()["totals"], usage);
    assert_eq!(quality(&house, 0), Some((1.0, 1.0)));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_judged_twice_and_counts_where_both_agree() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}")).await;
    // The client's answer is haiku's; the judge sees it first, then second.
    let cases = [
        (vec!["SECOND", "FIRST"], "lost"),
        (vec!["FIRST", "SECOND"], "held"),
        (vec!["NEITHER", "NEITHER"], "held"),
        (vec!["FIRST", "FIRST"], "unclear"),
        (vec!["I cannot say"], "unclear"),
    ];
    for (number, (words, verdict)) in cases.iter().enumerate() {
        let script = ["a poor answer", "another one"].iter().chain(words);
        script.for_each(|text| house.upstream.script(say(text)));
        asked(&house, small(&json!({}))).await;
        let found = records(&house, 2 * number + 2).await;
        let sample = &found[2 * number + 1]["sample"];
        assert_eq!(
            (&sample["verdict"], &sample["ground"]),
            (&(*verdict).into(), &"judge".into()),
            "{words:?}"
        );
    }
    assert_eq!(quality(&house, 0), Some((2.0 / 3.0, 3.0)), "unclear ones teach nothing");
    let files = std::fs::read_dir(house.folder.path().join("data/exchanges")).unwrap();
    let journal: String = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    for text in ["poor answer", "another one", "short title", "say hello"] {
        assert!(!journal.contains(text), "{text}");
    }
    // All that was asked is paid: five requests, five times again, and nine questions to the judge.
    let bill = house.upstream.bill();
    let judged = bill.iter().filter(|call| call.model == "claude-sonnet-5-5").count();
    assert_eq!((bill.len(), judged), (19, 9));
    let billed: u64 = bill.iter().map(|call| call.nanousd).sum();
    assert_eq!(sum(&house.records(), "cost_nanousd"), i64::try_from(billed).unwrap());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_as_asked_is_tried_at_a_cheaper_model_behind_its_client() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}")).await;
    house.upstream.script(say("even"));
    house.upstream.script(Behaviour::Refusal { category: None });
    assert_eq!(asked(&house, large(&json!({ "stream": true }))).await.header("x-tercet-tier"), "opus");
    let found = records(&house, 2).await;
    let sample = &found[1]["sample"];
    assert_eq!(
        (&sample["routed"], &sample["verdict"], &sample["ground"]),
        (&false.into(), &"lost".into(), &"fault".into())
    );
    assert_ne!(found[1]["sent_model"], "claude-opus-5-5");
    assert_eq!(sample["asked_nanousd"], found[0]["cost_nanousd"]);
    assert_eq!(sample["cheaper_nanousd"], found[1]["cost_nanousd"]);
    // The same call counts, whatever is said beside it.
    let tools = json!([{ "name": "move", "input_schema": { "type": "object" } }]);
    for _ in 0..2 {
        house.upstream.script(Behaviour::CallTool { name: "move".into(), input: json!({ "to": "x" }) });
    }
    asked(&house, large(&json!({ "tools": tools }))).await;
    let found = records(&house, 4).await;
    assert_eq!(
        (&found[3]["sample"]["verdict"], &found[3]["sample"]["ground"]),
        (&"held".into(), &"calls".into())
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_mode_learns_too_and_sends_as_asked() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}mode = \"shadow\"\n")).await;
    assert_eq!(asked(&house, small(&json!({}))).await.header("x-tercet-tier"), "opus");
    let found = records(&house, 2).await;
    let sample = &found[1]["sample"];
    assert_eq!((&sample["routed"], &sample["verdict"]), (&true.into(), &"held".into()));
    assert_eq!(found[1]["sent_model"], "claude-haiku-5-5");
    assert_eq!(quality(&house, 0), Some((1.0, 1.0)));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_more_than_answer_is_never_asked_again() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}")).await;
    let server_tool = |kind: &str, name: &str| json!({ "tools": [{ "type": kind, "name": name }] });
    let effects = [
        server_tool("web_search_20250305", "web_search"),
        server_tool("code_execution_20250825", "code_execution"),
        json!({ "thread": { "type": "create" } }),
        json!({ "max_tokens": 0 }),
    ];
    let mut sent = 0;
    for effect in &effects {
        for body in [small(effect), large(effect)] {
            let answer = message(&house.url, ACME, body).await;
            sent += usize::from(answer.status == 200);
        }
    }
    assert!(sent >= 4, "most of these are valid");
    // Whoever steers a request decided for itself.
    let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("x-tercet-route", "off")];
    let url = format!("{}/v1/messages", house.url);
    support::http::send(http::Method::POST, &url, &headers, small(&json!({}))).await;
    idle(&house).await;
    let sampled = house.records().iter().filter(|record| !record["sample"].is_null()).count();
    assert_eq!(sampled, 0);
    assert_eq!(house.upstream.bill().len(), sent + 1);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_ends_the_sample_and_no_request() {
    let little = SAMPLE.replace("5.00 USD", "0.01 USD");
    let house = House::start(&format!("{TENANTS}{little}")).await;
    let sample = AccountId::sample("acme".into());
    let mut requests = 0;
    let no_budget = async || metric(&metrics(&house).await, "tercet_shadow_samples_total", "no_budget");
    while no_budget().await == 0 {
        asked(&house, large(&json!({}))).await;
        idle(&house).await;
        let told = async || metric(&metrics(&house).await, "tercet_shadow_samples_total", "acme");
        requests += 1;
        assert!(requests < 100, "the budget never ended");
        while told().await < requests * 1_000_000_000 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    idle(&house).await;
    let day = standing(&house, &sample, Cell::Window(Unit::Money, Period::Day), 10_000_000);
    assert!(day.used > 0 && day.used <= 10_000_000, "{day:?}");
    asked(&house, small(&json!({}))).await;
    let spent = house
        .records()
        .iter()
        .filter(|record| !record["sample"].is_null())
        .map(|record| record["cost_nanousd"].as_u64().unwrap())
        .sum::<u64>();
    assert_eq!(spent, day.used);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_once_are_let_go_and_no_client_waits() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}")).await;
    // Eight are asked again and get no answer; the others wait for their turn, until too many do.
    for number in 1..=8 {
        house.upstream.script(say("hello"));
        house.upstream.script(Behaviour::SlowFirstByte { ms: 600_000 });
        asked(&house, small(&json!({}))).await;
        until("it is being asked again", || house.upstream.requests().len() == 2 * number).await;
    }
    for _ in 8..66 {
        asked(&house, small(&json!({}))).await;
    }
    assert_eq!(house.upstream.requests().len(), 66 + 8);
    let page = metrics(&house).await;
    assert_eq!(metric(&page, "tercet_shadow_samples_total", "busy"), 2_000_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_takes_the_same_way_up_with_the_same_credential() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}")).await;
    ["one", "two", "NEITHER", "NEITHER"].iter().for_each(|text| house.upstream.script(say(text)));
    asked(&house, small(&json!({}))).await;
    records(&house, 2).await;
    let calls = house.upstream.requests();
    assert_eq!(calls.len(), 4, "the request, again, and a judge twice");
    for call in calls {
        assert_eq!(call.header("x-api-key"), Some(UPSTREAM_KEY));
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quality_held_is_told_with_its_interval_beside_a_coin_s_cost() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}")).await;
    // Three went down, and one of them was lost; one stayed, and would have been.
    for (number, words) in
        [["SECOND", "FIRST"], ["FIRST", "SECOND"], ["NEITHER", "NEITHER"]].iter().enumerate()
    {
        ["one", "two"].iter().chain(words).for_each(|text| house.upstream.script(say(text)));
        asked(&house, small(&json!({}))).await;
        records(&house, 2 * number + 2).await;
    }
    // Here the cheaper one is asked again, and still stands first before the judge.
    ["one", "two", "SECOND", "FIRST"].iter().for_each(|text| house.upstream.script(say(text)));
    asked(&house, large(&json!({}))).await;
    let found = records(&house, 8).await;
    let samples: Vec<&Value> =
        found.iter().map(|record| &record["sample"]).filter(|one| !one.is_null()).collect();
    let cost = |name: &str| samples.iter().map(|one| one[name].as_i64().unwrap()).sum::<i64>();
    let (as_asked, cheaper) = (cost("asked_nanousd"), cost("cheaper_nanousd"));
    let sampled: Vec<Value> = found.iter().filter(|record| !record["sample"].is_null()).cloned().collect();

    let told = get(&house.admin_url, "", "/admin/v1/usage").await.json()["totals"]["shadow_sample"].clone();
    assert_eq!((&told["compared"], &told["unclear"], &told["quality"]), (&4.into(), &0.into(), &0.75.into()));
    let (low, high) = (told["quality_low"].as_f64().unwrap(), told["quality_high"].as_f64().unwrap());
    assert!((0.30..0.31).contains(&low) && (0.95..0.96).contains(&high), "{low} {high}");
    assert_eq!(told["as_asked_nanousd"], as_asked);
    assert_eq!(told["coin_nanousd"], as_asked - (as_asked - cheaper) / 2, "it sends half of all down");
    assert_eq!(told["spent_nanousd"], sum(&sampled, "cost_nanousd"));
    assert!(told["routed_nanousd"].as_i64() < Some(as_asked));
    let page = String::from_utf8_lossy(&get(&house.admin_url, "", "/").await.body).into_owned();
    assert!(page.contains("Quality held today, measured") && page.contains("from 4 requests"), "{page}");

    let (_upstream, folder) = house.stop().await;
    let tercet = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tercet"));
        let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&tercet(&["usage", "--journal", "data", "--json"])).unwrap();
    assert_eq!(json["totals"]["shadow_sample"], told, "the journal says the same");
    let text = tercet(&["usage", "--journal", "data"]);
    assert!(
        text.contains("Quality held: 75.0 % of the models asked for (30.1 to 95.4 with 95 % certainty)"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_of_which_nothing_was_known_is_learned_and_left_again_by_what_is_measured() {
    let house = House::start(&format!("{TENANTS}{SAMPLE}")).await;
    let tier = async || asked(&house, large(&json!({}))).await.header("x-tercet-tier").to_owned();
    let mut asks = 0;
    // Every model answers alike: what the cheaper ones hold is 1, and its lower bound comes to what is promised.
    while tier().await == "opus" {
        asks += 1;
        assert!(asks < 400, "{:?}", quality(&house, 0));
        records(&house, 2 * asks).await;
    }
    assert!(asks >= 5, "fewer outcomes are no evidence: {asks}");
    let mut losses = 0;
    records(&house, 2 * (asks + 1)).await;
    loop {
        // The cheaper answer, which the client gets, is worse to the judge in both places.
        ["one", "two", "SECOND", "FIRST"].iter().for_each(|text| house.upstream.script(say(text)));
        if tier().await == "opus" {
            break;
        }
        losses += 1;
        assert!(losses < 100, "{:?}", quality(&house, 0));
        house.records_when(2 * (asks + 1 + losses)).await;
        idle(&house).await;
    }
    assert!(losses >= 1, "what is measured against it sends it back");
    house.stop().await;
}
