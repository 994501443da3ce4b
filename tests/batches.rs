//! Batches and money: held when they are made, settled from their results, once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::http::{Answer, send};
use support::read::{idle, spent_today, sum};
use support::{ACME, House};
use tercet::simulated::Behaviour;
use tercet::store::{AccountId, Held};

const BATCHES: &str = "/v1/messages/batches";

/// One tenant, with these sections.
fn tenant(sections: &str) -> String {
    format!(
        "{sections}\n[[tenants.acme.keys]]\nid = \"acme-1\"\nuser = \"ann\"\nsecret = {{ env = \"ACME_KEY\" }}\n"
    )
}

async fn call(house: &House, method: Method, path: &str, body: String) -> Answer {
    let headers =
        [("x-api-key", ACME), ("anthropic-version", "2026-10-21"), ("content-type", "application/json")];
    send(method, &format!("{}{path}", house.url), &headers, body).await
}

/// A batch of `count` requests to each of these models, with one more that the upstream refuses.
fn batch(models: &[&str], count: usize) -> String {
    let params = |model: &str, max_tokens: i64| {
        let messages = [json!({ "role": "user", "content": "write 30 words" })];
        json!({ "model": model, "max_tokens": max_tokens, "messages": messages })
    };
    let good = models.iter().flat_map(|model| (0..count).map(|_| params(model, 400)));
    let refused = json!({ "model": models[0], "max_tokens": 5, "messages": [] });
    let requests: Vec<Value> = good
        .chain([refused])
        .enumerate()
        .map(|(index, params)| json!({ "custom_id": format!("item-{index}"), "params": params }))
        .collect();
    json!({ "requests": requests }).to_string()
}

async fn create(house: &House, body: String) -> String {
    let made = call(house, Method::POST, BATCHES, body).await;
    assert_eq!(made.status, 200, "{:?}", made.body);
    made.json()["id"].as_str().unwrap().to_owned()
}

fn held(house: &House) -> Held {
    house.tercet.runtime.accounts.reserved_total()
}

fn acme() -> AccountId {
    AccountId::tenant(Arc::from("acme"))
}

/// Asserts that exactly what the upstream billed was charged, model by model.
fn assert_charged_as_billed(house: &House, what: &str) {
    let (records, bill) = (house.records(), house.upstream.bill());
    for model in ["claude-haiku-5-5", "claude-opus-5-5"] {
        let records: Vec<Value> =
            records.iter().filter(|record| record["sent_model"] == model).cloned().collect();
        let billed = bill.iter().filter(|call| call.model == model).map(|call| call.nanousd).sum::<u64>();
        assert_eq!(sum(&records, "cost_nanousd"), i64::try_from(billed).unwrap(), "{what}: {model}");
        assert_eq!(records.len(), 1, "{what}: {model}");
        assert_eq!((&records[0]["usage_source"], &records[0]["outcome"]), (&json!("upstream"), &json!("ok")));
    }
    assert!(bill.iter().all(|call| call.batch && call.nanousd > 0), "{what}");
    assert_eq!(spent_today(house, &acme()), sum(&records, "cost_nanousd"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_over_the_budget_is_refused_before_it_goes_up() {
    for reserve in ["expected", "max"] {
        let budget = format!("[tenants.acme.budget]\ndaily = \"0.05 USD\"\nreserve = \"{reserve}\"");
        let house = House::start(&tenant(&budget)).await;
        let refused = call(&house, Method::POST, BATCHES, batch(&["haiku", "opus"], 1_000)).await;
        assert_eq!(refused.status, 429, "{:?}", refused.body);
        assert_eq!(refused.json()["error"]["type"], "billing_error", "{:?}", refused.body);
        assert_eq!(refused.header("x-should-retry"), "false");
        let list = call(&house, Method::GET, BATCHES, String::new()).await.json();
        assert_eq!(list["data"], json!([]), "the upstream took nothing");
        assert!(house.upstream.bill().is_empty() && held(&house) == Held::default(), "{reserve}");
        assert_eq!(spent_today(&house, &acme()), 0);
        let before = house.records().len();
        create(&house, batch(&["haiku", "opus"], 2)).await;
        idle(&house).await;
        // A record is queued when it is settled, and written a moment later where the journal is being synced.
        house.records_when(before + 2).await;
        assert_charged_as_billed(&house, reserve);
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_costs_what_the_upstream_billed_however_often_it_is_fetched() {
    for (what, calls) in [
        ("never", vec![]),
        ("once", vec![(Method::GET, "/results")]),
        ("twice", vec![(Method::GET, ""), (Method::GET, "/results"), (Method::GET, "/results")]),
        ("deleted", vec![(Method::DELETE, "")]),
    ] {
        let house = House::start(&tenant("[tenants.acme.budget]\ndaily = \"5.00 USD\"")).await;
        let id = create(&house, batch(&["haiku", "claude-opus-5-5"], 5)).await;
        for (method, rest) in calls.clone() {
            let answer = call(&house, method, &format!("{BATCHES}/{id}{rest}"), String::new()).await;
            assert_eq!(answer.status, 200, "{what}: {:?}", answer.body);
        }
        idle(&house).await;
        house.records_when(2).await;
        assert_charged_as_billed(&house, what);
        assert_eq!(house.upstream.bill().len(), 10, "{what}");
        if what != "deleted" {
            let again = call(&house, Method::GET, &format!("{BATCHES}/{id}/results"), String::new()).await;
            assert_eq!(again.status, 200);
        }
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_canceled_or_expired_cost_nothing() {
    let house = House::start(&tenant("[tenants.acme.budget]\ndaily = \"5.00 USD\"")).await;
    house.upstream.script(Behaviour::BatchDelay { ms: 60_000 });
    let canceled = create(&house, batch(&["haiku", "opus"], 5)).await;
    assert!(held(&house).nanousd > 0 && held(&house).tokens > 0, "held while it runs");
    let answer = call(&house, Method::POST, &format!("{BATCHES}/{canceled}/cancel"), String::new()).await;
    assert_eq!(answer.json()["request_counts"]["canceled"], 11, "{:?}", answer.body);
    idle(&house).await;

    house.upstream.script(Behaviour::BatchDelay { ms: 2 * 86_400_000 });
    let expired = create(&house, batch(&["haiku", "opus"], 5)).await;
    assert!(held(&house).nanousd > 0, "held while it runs");
    house.upstream.advance(Duration::from_secs(86_401));
    let answer = call(&house, Method::GET, &format!("{BATCHES}/{expired}"), String::new()).await;
    assert_eq!(answer.json()["request_counts"]["expired"], 11, "{:?}", answer.body);
    idle(&house).await;

    let records = house.records_when(4).await;
    assert_eq!((records.len(), sum(&records, "cost_nanousd"), sum(&records, "tokens_used")), (4, 0, 0));
    assert!(house.upstream.bill().is_empty());
    assert_eq!(spent_today(&house, &acme()), 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_outlives_its_gateway_is_held_again_and_settled_once() {
    let text = tenant("[tenants.acme.budget]\ndaily = \"5.00 USD\"");
    let house = House::start(&text).await;
    house.upstream.script(Behaviour::BatchDelay { ms: 60_000 });
    create(&house, batch(&["haiku", "opus"], 5)).await;
    let before = held(&house);
    assert!(before.nanousd > 0);
    let (upstream, folder) = house.stop().await;
    let house = House::start_before(upstream, folder, &text).await;
    assert_eq!(held(&house), before, "the same is held again");
    assert!(house.records().is_empty() && house.upstream.bill().is_empty(), "nothing is charged yet");
    house.upstream.advance(Duration::from_secs(61));
    idle(&house).await;
    house.records_when(2).await;
    assert_charged_as_billed(&house, "after a restart");
    let (upstream, folder) = house.stop().await;
    let house = House::start_before(upstream, folder, &text).await;
    assert_eq!(held(&house), Held::default());
    assert_charged_as_billed(&house, "after another restart");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_money_that_a_batch_holds_is_told_to_wait_longer() {
    let house = House::start(&tenant("[tenants.acme.budget]\ndaily = \"0.50 USD\"\nreserve = \"max\"")).await;
    // Each request of the batch holds 0.004 dollars and a little.
    create(&house, batch(&["claude-opus-5-5"], 100)).await;
    let asked = support::http::ask("claude-opus-5-5", "say hi").replace("1000", "20000");
    let refused = call(&house, Method::POST, "/v1/messages", asked).await;
    assert_eq!(refused.status, 429, "{:?}", refused.body);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error", "{:?}", refused.body);
    assert_eq!(refused.header("retry-after"), "60", "{:?}", refused.body);
    house.stop().await;
}
