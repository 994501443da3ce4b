//! Money and tokens per period: nothing beyond the ceiling, a refusal that makes clients stop, and one number.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use support::http::{Answer, ask, get, message, send};
use support::read::{idle, spent_today, sum};
use support::{ACME, House};
use tercet::store::{AccountId, Cell, Claim, Demand, Period, Unit};
use tokio::task::JoinSet;

/// One tenant, routing off, with these sections.
fn tenant(sections: &str) -> String {
    format!(
        "[routing]\nmode = \"off\"\n{sections}\n\
         [[tenants.acme.keys]]\nid = \"acme-1\"\nuser = \"ann\"\nsecret = {{ env = \"ACME_KEY\" }}\n"
    )
}

fn asking(text: &str, max_tokens: u64) -> String {
    ask("claude-opus-5-5", text).replace("1000", &max_tokens.to_string())
}

async fn storm(house: &House, count: usize, body: &str) -> Vec<Answer> {
    let mut storm = JoinSet::new();
    for _ in 0..count {
        let (url, body) = (house.url.clone(), body.to_owned());
        storm.spawn(async move { message(&url, ACME, body).await });
    }
    storm.join_all().await
}

/// Sends requests one after the other until the budget refuses, and returns that refusal.
async fn until_spent(house: &House, body: &str) -> Answer {
    for _ in 0..400 {
        let answer = message(&house.url, ACME, body.to_owned()).await;
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("400 requests were within the budget");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_never_overshoot_what_is_reserved_at_most() {
    let budget = 200_000_000;
    let text = "[tenants.acme.budget]\ndaily = \"0.20 USD\"\nreserve = \"max\"";
    let house = House::start(&tenant(text)).await;
    let body = asking("write 200 words", 1_000);
    let answers = storm(&house, 100, &body).await;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(passed > 0 && passed < 100, "{passed}");
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)));
    idle(&house).await;
    assert!(sum(&house.records(), "cost_nanousd") <= budget);
    let refused = until_spent(&house, &body).await;
    assert_eq!(refused.json()["error"]["type"], "billing_error", "{:?}", refused.body);
    let spent = sum(&house.records(), "cost_nanousd");
    assert!(spent <= budget && spent > budget / 2, "{spent}");
    assert_eq!(spent, spent_today(&house, &AccountId::tenant(Arc::from("acme"))));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_request_exceeds_an_expected_budget_by_its_own_cost_at_most() {
    let budget = 500_000_000;
    let house = House::start(&tenant("[tenants.acme.user_budget]\nmonthly = \"0.50 USD\"")).await;
    let body = asking("write 6000 words", 20_000);
    storm(&house, 12, &body).await;
    idle(&house).await;
    let refused = until_spent(&house, &body).await;
    assert_eq!(refused.json()["error"]["type"], "billing_error", "{:?}", refused.body);
    let records = house.records();
    let dearest = records.iter().map(|record| record["cost_nanousd"].as_i64().unwrap()).max().unwrap();
    let spent = sum(&records, "cost_nanousd");
    assert!(spent <= budget + dearest, "{spent} of {budget}, dearest {dearest}");
    house.stop().await;
}

fn next_reset(now: Timestamp, monthly: bool) -> Timestamp {
    let today = now.to_zoned(TimeZone::UTC).date();
    let next = if monthly { today.first_of_month().checked_add(1.month()) } else { today.tomorrow() };
    next.unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp()
}

fn assert_billing(answer: &Answer, claim: &str, now: Timestamp) {
    assert_eq!(answer.status, 429, "{claim}: {:?}", answer.body);
    let body = answer.json();
    assert_eq!(body["error"]["type"], "billing_error", "{claim}");
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!(message.matches("resets at").count(), 1, "{message}");
    let reset = next_reset(now, claim.starts_with("monthly"));
    assert!(message.contains(&reset.to_string()), "{message}");
    assert_eq!(answer.header("x-should-retry"), "false");
    let until = reset.as_second() - now.as_second();
    let retry_after: i64 = answer.header("retry-after").parse().unwrap();
    assert!((until - 30..=until + 1).contains(&retry_after), "{claim}: {retry_after}, not {until}");
    let unified = |name: &str| answer.header(&format!("anthropic-ratelimit-unified-{name}")).to_owned();
    assert_eq!(unified("status"), "rejected");
    assert_eq!(unified("representative-claim"), claim);
    assert_eq!(unified("reset"), reset.as_second().to_string());
    assert_eq!(unified("spend-status"), "rejected");
    assert_eq!(unified("spend-reset"), reset.as_second().to_string());
    let (whole, decimals) =
        unified("spend-utilization").split_once('.').map(|(a, b)| (a.to_owned(), b.len())).unwrap();
    assert!(whole.parse::<u64>().unwrap() < 10 && decimals == 4, "{}", unified("spend-utilization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_spent_ceiling_says_stop_and_when_it_resets() {
    let ceilings = [
        ("budget]\ndaily = \"0.03 USD\"", "daily_budget"),
        ("budget]\nmonthly = \"0.03 USD\"", "monthly_budget"),
        ("quota]\ndaily_tokens = 1500", "daily_quota"),
        ("quota]\nmonthly_tokens = 1500", "monthly_quota"),
    ];
    for (ceiling, claim) in ceilings {
        for (level, named) in [("", "tenant `acme`"), ("user_", "user `ann`")] {
            let house = House::start(&tenant(&format!("[tenants.acme.{level}{ceiling}"))).await;
            let refused = until_spent(&house, &asking("write 60 words", 100)).await;
            assert_billing(&refused, claim, house.tercet.runtime.clock.now());
            assert!(refused.json()["error"]["message"].as_str().unwrap().contains(named));
            let records = house.records();
            let last = records.last().unwrap();
            assert_eq!((&last["outcome"], &last["cost_nanousd"]), (&"quota_rejected".into(), &0.into()));
            assert_eq!(records.len() - 1, house.upstream.bill().len(), "a refusal never left");
            house.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_is_still_spent_after_a_restart() {
    let text = tenant(
        "[tenants.acme.budget]\ndaily = \"0.03 USD\"\n[tenants.acme.user_quota]\nmonthly_tokens = 100000000",
    );
    let house = House::start(&text).await;
    let body = asking("write 60 words", 100);
    until_spent(&house, &body).await;
    let (acme, ann) = (Arc::<str>::from("acme"), Arc::from("ann"));
    let ids = [AccountId::organisation(), AccountId::tenant(acme.clone()), AccountId::user(acme, ann)];
    let spent = |house: &House| ids.clone().map(|id| spent_today(house, &id));
    let before = spent(&house);
    assert!(before[0] > 0);
    let (upstream, folder) = house.stop().await;
    let house = House::start_before(upstream, folder, &text).await;
    assert_eq!(spent(&house), before);
    let refused = message(&house.url, ACME, body).await;
    assert_billing(&refused, "daily_budget", house.tercet.runtime.clock.now());
    let usage = get(&house.admin_url, "", "/admin/v1/usage?tenant=acme").await.json();
    assert_eq!(usage["totals"]["cost_nanousd"], before[0]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceiling_held_by_others_is_worth_another_try() {
    let text = "[tenants.acme.budget]\ndaily = \"0.03 USD\"\nreserve = \"max\"";
    let house = House::start(&tenant(text)).await;
    house.upstream.script(tercet::simulated::Behaviour::SlowFirstByte { ms: 1_000 });
    let (url, body) = (house.url.clone(), asking("say hi", 1_000));
    let slow = tokio::spawn(async move { message(&url, ACME, body).await });
    support::read::until("the first is upstream", || !house.upstream.requests().is_empty()).await;
    let refused = message(&house.url, ACME, asking("say hi", 1_000)).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error", "{:?}", refused.body);
    assert_eq!(refused.header("x-should-retry"), "");
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(slow.await.unwrap().status, 200);
    assert_eq!(message(&house.url, ACME, asking("say hi", 1_000)).await.status, 200);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_stops_new_work_and_not_the_fetching_of_what_was_paid() {
    let house = House::start(&tenant("[tenants.acme.budget]\ndaily = \"0.01 USD\"")).await;
    let accounts = &house.tercet.runtime.accounts;
    let day = Cell::Window(Unit::Money, Period::Day);
    let all = Demand { cell: day, amount: 10_000_000, most: 10_000_000, ceiling: None };
    let account = accounts.configured(&AccountId::tenant("acme".into()));
    accounts.charge(
        &[Claim { account, zone: TimeZone::UTC, demands: vec![all] }],
        house.tercet.runtime.clock.now(),
    );
    for path in ["/v1/models", "/v1/messages/batches", "/v1/files"] {
        assert_eq!(get(&house.url, ACME, path).await.status, 200, "{path}");
    }
    let url = format!("{}/v1/messages/batches", house.url);
    let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01")];
    let params = serde_json::from_str::<serde_json::Value>(&asking("say hello", 10)).unwrap();
    let batch = serde_json::json!({ "requests": [{ "custom_id": "a", "params": params }] });
    let refused = send(http::Method::POST, &url, &headers, batch.to_string()).await;
    assert_eq!(refused.json()["error"]["type"], "billing_error");
    house.stop().await;
}
