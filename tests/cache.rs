//! Answers given again: only where the operator says so, only the same, and never for money.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

#[path = "cache/care.rs"]
mod care;
#[path = "cache/kept.rs"]
mod kept;
#[path = "cache/twins.rs"]
mod twins;

use std::sync::Arc;

use http::Method;
use support::http::{Answer, ask, get, message, send};
use support::read::{metric, spent_today};
use support::{ACME, House, RIVAL};
use tercet::simulated::Behaviour;
use tercet::store::AccountId;

/// Two tenants, routing off, the cache on with these lines; `acme` has these sections.
fn cached(lines: &str, sections: &str) -> String {
    format!(
        "[routing]\nmode = \"off\"\n[cache]\nenabled = true\n{lines}\n{sections}\n\
         [[tenants.acme.keys]]\nid = \"acme-1\"\nuser = \"ann\"\nallow_user_header = true\nsecret = {{ env = \"ACME_KEY\" }}\n\
         [[tenants.rival.keys]]\nid = \"rival-1\"\nuser = \"rob\"\nsecret = {{ env = \"RIVAL_KEY\" }}\n"
    )
}

fn question() -> String {
    ask("claude-haiku-5-5", "write 30 words")
}

fn streamed(body: &str) -> String {
    body.replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"")
}

async fn post(house: &House, query: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let base = [("x-api-key", ACME), ("anthropic-version", "2023-06-01")];
    let named = |name: &str| headers.iter().any(|(other, _)| *other == name);
    let kept = base.iter().filter(|(name, _)| !named(name));
    let all: Vec<(&str, &str)> = kept.chain(headers).copied().collect();
    send(Method::POST, &format!("{}/v1/messages{query}", house.url), &all, body.to_owned()).await
}

/// Sends the same request and returns what the cache had to do with it.
async fn again(house: &House, headers: &[(&str, &str)], body: &str) -> String {
    post(house, "", headers, body).await.header("x-tercet-cache").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_off_until_switched_on() {
    let house = House::start(support::TENANTS).await;
    for _ in 0..2 {
        assert_eq!(message(&house.url, ACME, question()).await.header("x-tercet-cache"), "bypass");
    }
    assert_eq!(house.upstream.bill().len(), 2);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_the_same_bytes_for_nothing() {
    let house = House::start(&cached("", "")).await;
    for body in [question(), streamed(&ask("claude-haiku-5-5", "write 40 words"))] {
        let before = house.upstream.bill().len();
        let first = post(&house, "", &[], &body).await;
        let second = post(&house, "", &[], &body).await;
        assert_eq!((first.header("x-tercet-cache"), second.header("x-tercet-cache")), ("miss", "hit"));
        assert_eq!((first.status, second.status), (200, 200));
        assert_eq!(first.body, second.body);
        assert_eq!(first.header("content-type"), second.header("content-type"));
        assert_ne!(first.header("request-id"), second.header("request-id"));
        assert_eq!((first.header("age"), second.header("age").parse::<u64>().is_ok()), ("", true));
        assert_eq!(house.upstream.bill().len(), before + 1);
    }
    let records = house.records();
    assert_eq!(records.len(), 4);
    let mut saved = 0;
    for pair in records.chunks(2) {
        let cost = pair[0]["cost_nanousd"].as_i64().unwrap();
        assert!(cost > 0);
        saved += cost;
        assert_eq!((&pair[1]["cost_nanousd"], &pair[1]["tokens_used"]), (&0.into(), &0.into()));
        assert_eq!((&pair[1]["cache"], &pair[1]["attempts"]), (&"hit".into(), &0.into()));
        assert_eq!(pair[1]["baseline_nanousd"]["requested"], cost, "what it would have cost");
        assert_eq!(pair[1]["message_id"], pair[0]["message_id"]);
        assert_eq!(pair[1]["stream"], pair[0]["stream"]);
    }
    let text = String::from_utf8(get(&house.admin_url, "", "/metrics").await.body.to_vec()).unwrap();
    assert_eq!(metric(&text, "tercet_response_cache_saved_usd_total", "tenant=\"acme\""), saved);
    let results =
        |result: &str| metric(&text, "tercet_response_cache_requests_total", result) / 1_000_000_000;
    assert_eq!((results("result=\"hit\""), results("result=\"miss\"")), (2, 2));
    assert_eq!(spent_today(&house, &AccountId::tenant(Arc::from("acme"))), saved);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_that_could_change_the_answer_misses() {
    let house = House::start(&cached("", "")).await;
    let body = question();
    assert_eq!(again(&house, &[], &body).await, "miss");
    assert_eq!(again(&house, &[], &body).await, "hit");
    let beta = ("anthropic-beta", "context-1m-2025-08-07");
    for header in [("x-api-key", RIVAL), beta, ("anthropic-workspace-id", "wrkspc_1")] {
        assert_eq!(again(&house, &[header], &body).await, "miss", "{header:?}");
        assert_eq!(again(&house, &[header], &body).await, "hit", "{header:?}");
    }
    let model = "\"model\":\"claude-haiku-5-5\"";
    let reordered = body.replacen(&format!(",{model}"), "", 1).replacen('{', &format!("{{{model},"), 1);
    assert_ne!(reordered, body);
    for changed in [body.replace("30", "31"), body.replacen(':', ": ", 1), format!("{body} "), reordered] {
        assert_eq!(again(&house, &[], &changed).await, "miss", "{changed}");
    }
    assert_eq!(post(&house, "?beta=true", &[], &body).await.header("x-tercet-cache"), "miss");
    assert_eq!(again(&house, &[("x-tercet-user", "bob")], &body).await, "hit", "a tenant's users share");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_form_answers_the_other_and_who_asks_for_whom_does_not_matter() {
    let house = House::start(&cached("", "")).await;
    let named = |body: &str, user: &str| {
        body.replacen('{', &format!("{{\"metadata\":{{\"user_id\":\"{user}\"}},"), 1)
    };
    for (words, first_streams) in [(50, true), (60, false)] {
        let whole = named(&ask("claude-haiku-5-5", &format!("write {words} words")), "one");
        let events = streamed(&named(&ask("claude-haiku-5-5", &format!("write {words} words")), "two"));
        let (first, second) = if first_streams { (&events, &whole) } else { (&whole, &events) };
        let before = house.upstream.bill().len();
        let (first, second) = (post(&house, "", &[], first).await, post(&house, "", &[], second).await);
        assert_eq!((first.header("x-tercet-cache"), second.header("x-tercet-cache")), ("miss", "hit"));
        assert_eq!(house.upstream.bill().len(), before + 1);
        let (events, whole) = if first_streams { (first, second) } else { (second, first) };
        assert!(events.header("content-type").starts_with("text/event-stream"), "{:?}", events.headers);
        assert_eq!(whole.header("content-type"), "application/json");
        let built = tercet::wire::forms::message_of_events(&events.body).unwrap();
        let built: serde_json::Value = serde_json::from_slice(&built).unwrap();
        assert_eq!(built, whole.json());
        assert!(
            whole.json()["content"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap().len() > 50
        );
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_share_nothing_where_the_scope_says_so() {
    let house = House::start(&cached("scope = \"user\"", "")).await;
    assert_eq!(again(&house, &[], &question()).await, "miss");
    assert_eq!(again(&house, &[("x-tercet-user", "bob")], &question()).await, "miss");
    assert_eq!(again(&house, &[], &question()).await, "hit");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_state_or_acts_upstream_is_never_given_again() {
    let house = House::start(&cached("", "")).await;
    let with = |field: &str, value: serde_json::Value| {
        let mut body: serde_json::Value = serde_json::from_str(&question()).unwrap();
        body[field] = value;
        body.to_string()
    };
    let search = serde_json::json!([{ "type": "web_search_20250305", "name": "web_search" }]);
    for body in [
        with("thread", serde_json::json!({})),
        with("container", serde_json::json!({ "skills": [] })),
        with("tools", search),
        with("field_from_the_future", 1.into()),
    ] {
        for _ in 0..2 {
            assert_eq!(again(&house, &[], &body).await, "bypass", "{body}");
        }
    }
    let tool = serde_json::json!([{ "name": "read", "input_schema": { "type": "object" } }]);
    assert_eq!(
        again(&house, &[], &with("tools", tool)).await,
        "miss",
        "the client's own tools do nothing here"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_cut_answers_are_not_kept() {
    let house = House::start(&cached("", "")).await;
    let overloaded = || "overloaded_error".to_owned();
    let faults = [
        Behaviour::Status {
            status: 529,
            error_type: overloaded(),
            message: "m".to_owned(),
            code: None,
            headers: std::collections::BTreeMap::default(),
        },
        Behaviour::ErrorEvent { after_events: 4, error_type: overloaded(), message: "m".to_owned() },
        Behaviour::CutAfter { events: Some(4), bytes: None },
    ];
    for (index, fault) in faults.into_iter().enumerate() {
        let body = streamed(&ask("claude-haiku-5-5", &format!("write {} words", 20 + index)));
        house.upstream.script(fault.clone());
        let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01")];
        let url = format!("{}/v1/messages", house.url);
        let broken = support::http::open(Method::POST, &url, &headers, body.clone()).await;
        drop(http_body_util::BodyExt::collect(broken.into_body()).await);
        assert_eq!(again(&house, &[], &body).await, "miss", "{fault:?}");
        assert_eq!(again(&house, &[], &body).await, "hit", "{fault:?}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_pass_it_by_or_renew_it() {
    let house = House::start(&cached("", "")).await;
    let body = question();
    assert_eq!(again(&house, &[("x-tercet-cache", "off")], &body).await, "bypass");
    let first = post(&house, "", &[], &body).await;
    assert_eq!(first.header("x-tercet-cache"), "miss", "what passed by was not kept");
    house.upstream.script(Behaviour::Say { text: "something newer".to_owned() });
    let renewed = post(&house, "", &[("x-tercet-cache", "refresh")], &body).await;
    assert_eq!(renewed.header("x-tercet-cache"), "miss");
    assert_ne!(renewed.body, first.body);
    let kept = post(&house, "", &[], &body).await;
    assert_eq!((kept.header("x-tercet-cache"), &kept.body), ("hit", &renewed.body));
    assert!(house.upstream.requests().iter().all(|seen| seen.header("x-tercet-cache").is_none()));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_counts_as_a_request_and_costs_no_budget() {
    let house = House::start(&cached("", "[tenants.acme.limits]\nrequests_per_minute = 3")).await;
    for expected in [("miss", 200), ("hit", 200), ("hit", 200), ("", 429)] {
        let answer = post(&house, "", &[], &question()).await;
        assert_eq!((answer.header("x-tercet-cache"), answer.status), expected);
    }
    house.stop().await;

    let budget = "[tenants.acme.budget]\ndaily = \"0.00055 USD\"\nreserve = \"max\"";
    let house = House::start(&cached("", budget)).await;
    assert_eq!(again(&house, &[], &question()).await, "miss");
    let other = post(&house, "", &[], &ask("claude-haiku-5-5", "write 31 words")).await;
    assert_eq!(other.json()["error"]["type"], "billing_error", "{:?}", other.body);
    assert_eq!(again(&house, &[], &question()).await, "hit", "what is free needs no budget");
    house.stop().await;
}

/// Asks with headers until the kept answer is no longer given, ten seconds at most.
async fn until_missed(house: &House, headers: &[(&str, &str)], body: &str) {
    for _ in 0..200 {
        if again(house, headers, body).await == "miss" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("still kept after ten seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_kept_for_its_time() {
    let house = House::start(&cached("ttl = \"2s\"", "")).await;
    assert_eq!(again(&house, &[], &question()).await, "miss");
    assert_eq!(again(&house, &[], &question()).await, "hit");
    until_missed(&house, &[], &question()).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_keeps_answers_for_a_time_of_its_own() {
    let house = House::start(&cached("ttl = \"1h\"", "[tenants.acme.cache]\nttl = \"1s\"")).await;
    let rival = [("x-api-key", RIVAL)];
    assert_eq!(again(&house, &rival, &question()).await, "miss");
    assert_eq!(again(&house, &[], &question()).await, "miss");
    until_missed(&house, &[], &question()).await;
    assert_eq!(again(&house, &rival, &question()).await, "hit", "the other's holds");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_no_answer_older_than_it_takes() {
    let house = House::start(&cached("ttl = \"1h\"", "")).await;
    let age = |seconds: &'static str| [("x-tercet-cache", seconds)];
    assert_eq!(again(&house, &[], &question()).await, "miss");
    assert_eq!(again(&house, &age("max-age=3600"), &question()).await, "hit");
    // Every renewal is kept for a second at most, so that it is missed by those who take any age as well.
    until_missed(&house, &age("max-age=1"), &question()).await;
    until_missed(&house, &[], &question()).await;
    assert_eq!(again(&house, &[], &question()).await, "hit", "kept for an hour again");
    for wrong in ["max-age=soon", "max-age=-1", "max-age", "never"] {
        let refused = post(&house, "", &age(wrong), &question()).await;
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(String::from_utf8_lossy(&refused.body).contains("max-age=SECONDS"), "{wrong}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_gets_nothing_that_is_kept() {
    let house = House::start(&cached("", "")).await;
    assert_eq!(again(&house, &[], &question()).await, "miss");
    assert_eq!(again(&house, &[], &question()).await, "hit");
    let url = format!("{}/admin/v1/keys/acme-1", house.admin_url);
    let revoked = send(Method::DELETE, &url, &[("content-type", "application/json")], "").await;
    assert_eq!(revoked.status, 200, "{:?}", revoked.body);
    let refused = post(&house, "", &[], &question()).await;
    assert_eq!((refused.status, refused.header("x-tercet-cache")), (401, ""));
    assert_eq!(refused.json()["error"]["type"], "authentication_error");
    assert_eq!(house.upstream.bill().len(), 1);
    house.stop().await;
}
