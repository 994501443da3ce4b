//! Answers that failed at a lower tier are asked for again, unseen, and billed twice in one exchange.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use serde_json::{Value, json};
use support::http::{Answer, get, message};
use support::read::{metric, spent_today};
use support::{ACME, House, TENANTS};
use tercet::simulated::Behaviour;
use tercet::store::AccountId;

const ESCALATE: &str =
    "\n[tenants.acme.routing]\nescalate = true\n[tenants.acme.budget]\ndaily = \"100 USD\"\n";

/// A small task for a model that does not think, with a tool and room for an answer.
fn task(extra: &Value) -> String {
    let schema =
        json!({ "type": "object", "required": ["city"], "properties": { "city": { "type": "string" } } });
    let mut body = json!({ "model": "claude-opus-4-8", "max_tokens": 5_000,
        "system": "Write a short title.", "messages": [{ "role": "user", "content": "say hello" }] });
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    if extra.get("tool_choice").is_some() {
        body["tools"] = json!([{ "name": "weather", "input_schema": schema }]);
    }
    body.to_string()
}

fn tool(input: Value) -> Behaviour {
    Behaviour::CallTool { name: "weather".to_owned(), input }
}

fn stop(reason: &str) -> Behaviour {
    Behaviour::StopReason { reason: reason.to_owned() }
}

/// Counter, journal, metric and the upstream's bill are one number.
async fn one_number(house: &House, exchanges: usize) -> Vec<Value> {
    let records = house.records_when(exchanges).await;
    let billed: u64 = house.upstream.bill().iter().map(|call| call.nanousd).sum();
    let journaled: u64 = records.iter().map(|record| record["cost_nanousd"].as_u64().unwrap()).sum();
    assert_eq!(journaled, billed);
    let tenant = AccountId::tenant("acme".into());
    assert_eq!(u64::try_from(spent_today(house, &tenant)).unwrap(), billed);
    let page = get(&house.admin_url, "", "/metrics").await;
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert_eq!(u64::try_from(metric(&text, "tercet_cost_usd_total", "")).unwrap(), billed);
    assert_eq!(house.tercet.runtime.accounts.reserved_total().nanousd, 0, "nothing is held when idle");
    records
}

fn reason(answer: &Answer) -> String {
    answer.header("x-tercet-reason").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_surely_failed_is_asked_for_again_once() {
    let house = House::start(&format!("{TENANTS}{ESCALATE}")).await;
    let structured = json!({ "output_config": { "format": { "type": "json_schema",
        "schema": { "type": "object", "required": ["a"], "properties": { "a": { "type": "string" } } } } } });
    let forced = json!({ "tool_choice": { "type": "any" } });
    let cases = [
        ("escalated-refusal", json!({}), Behaviour::Refusal { category: None }),
        ("escalated-empty", json!({}), Behaviour::Say { text: String::new() }),
        ("escalated-cut", json!({}), stop("max_tokens")),
        ("escalated-arguments", forced, tool(json!({ "town": 7 }))),
        ("escalated-structure", structured, Behaviour::Say { text: "{\"b\":1}".to_owned() }),
        ("escalated-refusal", json!({ "stream": true }), Behaviour::Refusal { category: None }),
        ("escalated-cut", json!({ "stream": true }), stop("max_tokens")),
    ];
    for (number, (code, extra, failure)) in cases.iter().enumerate() {
        house.upstream.script(failure.clone());
        let answer = message(&house.url, ACME, task(extra)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert!(reason(&answer).ends_with(code), "{code}: {}", reason(&answer));
        assert_eq!(answer.header("x-tercet-model"), "claude-opus-4-8");
        let records = one_number(&house, number + 1).await;
        let record = records.last().unwrap();
        assert_eq!((&record["attempts"], &record["sent_model"]), (&2.into(), &"claude-opus-4-8".into()));
        assert_eq!(record["decision"]["escalated_from"], "claude-haiku-5-5");
        assert!(record["baseline_nanousd"]["requested"].as_u64() < record["cost_nanousd"].as_u64());
    }
    let page = get(&house.admin_url, "", "/metrics").await;
    let text = String::from_utf8_lossy(&page.body).into_owned();
    let counted = metric(&text, "tercet_escalations_total", "from=\"haiku\"");
    assert_eq!(counted, 7_000_000_000, "as nanounits");
    // What failed unseen is held against the tier that failed, and nothing against the one that answered.
    let written = house.tercet.runtime.workloads.written(Some("acme"));
    let client = written.iter().find(|one| one.level.code() == "workload-client").unwrap();
    let troubles = serde_json::to_value(client).unwrap()["troubles"]["ended"].clone();
    assert_eq!((&troubles["cases"][0], &troubles["cases"][2]), (&7.0.into(), &0.0.into()), "{troubles}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_or_cannot_be_helped_is_handed_on_as_it_is() {
    let house = House::start(&format!("{TENANTS}{ESCALATE}")).await;
    let untouched = async |body: String, model: &str| {
        let answer = message(&house.url, ACME, body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert!(!reason(&answer).contains("escalated"), "{}", reason(&answer));
        assert_eq!(answer.header("x-tercet-model"), model);
        answer
    };
    let before = house.upstream.bill().len();
    untouched(task(&json!({})), "claude-haiku-5-5").await;
    untouched(task(&json!({ "stream": true })), "claude-haiku-5-5").await;
    // Good arguments; a cut at the limit that was asked for; a long stream; an answer that thinks; one as asked.
    house.upstream.script(tool(json!({ "city": "Bern" })));
    untouched(task(&json!({ "tool_choice": { "type": "any" } })), "claude-haiku-5-5").await;
    let long = json!({ "stream": true, "max_tokens": 20_000,
        "messages": [{ "role": "user", "content": "write 9000 words" }] });
    let answer = untouched(task(&long), "claude-haiku-5-5").await;
    assert!(String::from_utf8_lossy(&answer.body).contains("event: message_stop"));
    house.upstream.script(stop("max_tokens"));
    untouched(task(&json!({ "model": "claude-opus-5-5" })), "claude-haiku-5-5").await;
    house.upstream.script(Behaviour::Refusal { category: None });
    let hard = json!({ "model": "claude-haiku-5-5" });
    untouched(task(&hard), "claude-haiku-5-5").await;
    assert_eq!(house.upstream.bill().len() - before, 6, "each was asked once");
    // The second attempt fails: the first answer stands, and is all that is paid.
    house.upstream.script(Behaviour::Refusal { category: None });
    let status = Behaviour::Status {
        status: 529,
        error_type: "overloaded_error".to_owned(),
        message: "busy".to_owned(),
        code: None,
        headers: Default::default(),
    };
    house.upstream.script(status);
    let answer = untouched(task(&json!({})), "claude-haiku-5-5").await;
    assert_eq!(answer.json()["stop_reason"], "refusal");
    one_number(&house, 7).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_again_unless_the_tenant_wants_it() {
    let house = House::start(&format!("{TENANTS}[tenants.acme.budget]\ndaily = \"100 USD\"\n")).await;
    house.upstream.script(Behaviour::Refusal { category: None });
    let answer = message(&house.url, ACME, task(&json!({}))).await;
    assert_eq!((answer.json()["stop_reason"].as_str(), house.upstream.bill().len()), (Some("refusal"), 1));
    assert_eq!(answer.header("x-tercet-model"), "claude-haiku-5-5");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_may_be_asked_for_again_is_shared_with_nobody() {
    let cache = "[tenants.acme.cache]\nenabled = true\n";
    let house = House::start(&format!("{TENANTS}{ESCALATE}{cache}")).await;
    let body = task(&json!({}));
    house.upstream.script(Behaviour::Refusal { category: None });
    let (one, two) =
        tokio::join!(message(&house.url, ACME, body.clone()), message(&house.url, ACME, body.clone()));
    for answer in [&one, &two, &message(&house.url, ACME, body).await] {
        assert_eq!((answer.status, answer.header("x-tercet-cache")), (200, "bypass"), "{:?}", answer.body);
    }
    let escalated =
        [&one, &two].iter().filter(|answer| reason(answer).ends_with("escalated-refusal")).count();
    assert_eq!((escalated, house.upstream.bill().len()), (1, 4), "each asked, and the refused one twice");
    one_number(&house, 3).await;
    // What stays at the asked model has nowhere to go, and is shared as ever.
    let plain = task(&json!({ "model": "claude-haiku-5-5" }));
    assert_eq!(message(&house.url, ACME, plain.clone()).await.header("x-tercet-cache"), "miss");
    assert_eq!(message(&house.url, ACME, plain).await.header("x-tercet-cache"), "hit");
    house.stop().await;
}
