//! Upstreams that cannot answer: who is asked next, what stays where it is, and that nothing is sent or billed twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

#[path = "fall_back/opening.rs"]
mod opening;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use support::http::{Answer, ask, get, message, send};
use support::port::Port;
use support::read::{metric, sum};
use support::{ACME, House, SPARE_KEY, TENANTS, UPSTREAM_KEY};
use tempfile::TempDir;
use tercet::clock::Clock;
use tercet::simulated::{Behaviour, Options, Upstream};

/// A gateway with a fallback of another account.
struct Pair {
    house: House,
    spare: Upstream,
}

impl Pair {
    async fn start(more: &str) -> Self {
        let accepted_keys = Some(vec![SPARE_KEY.to_owned()]);
        let spare = Upstream::start(Options { accepted_keys, ..Options::default() }).await.unwrap();
        let house = House::start(&fallback(&spare, more)).await;
        Self { house, spare }
    }

    async fn ask(&self, body: String) -> Answer {
        message(&self.house.url, ACME, body).await
    }

    fn calls(&self) -> (usize, usize) {
        (self.house.upstream.requests().len(), self.spare.requests().len())
    }
}

fn fallback(spare: &Upstream, more: &str) -> String {
    let url = spare.url();
    format!(
        "{TENANTS}\n[[upstream.fallback]]\nname = \"spare\"\nbase_url = \"{url}\"\ncredential = {{ env = \"SPARE_KEY\" }}\n{more}\n"
    )
}

fn status(status: u16, headers: &[(&str, &str)]) -> Behaviour {
    let headers: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (error_type, message) = ("overloaded_error".to_owned(), "not now".to_owned());
    Behaviour::Status { status, error_type, message, code: None, headers }
}

/// A request that any account may answer.
fn plain() -> String {
    let mut body: Value = serde_json::from_str(&ask("claude-opus-4-8", "say hello")).unwrap();
    body["thinking"] = json!({ "type": "disabled" });
    body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_did_no_work_on_is_answered_by_the_fallback_and_billed_once() {
    for refused in [429, 502, 503, 504, 529] {
        let pair = Pair::start("").await;
        pair.house.upstream.script(status(refused, &[]));
        let answer = pair.ask(plain()).await;
        assert_eq!((answer.status, answer.header("x-tercet-upstream")), (200, "spare"), "{refused}");
        let record = pair.house.records_when(1).await.remove(0);
        assert_eq!((&record["upstream"], &record["attempts"]), (&json!("spare"), &json!(2)));
        assert!(pair.house.upstream.bill().is_empty());
        let billed: u64 = pair.spare.bill().iter().map(|call| call.nanousd).sum();
        assert_eq!(record["cost_nanousd"], json!(billed));
        let page = get(&pair.house.admin_url, "", "/metrics").await;
        let text = String::from_utf8_lossy(&page.body).into_owned();
        assert_eq!(metric(&text, "tercet_upstream_fallbacks_total", "upstream=\"spare\""), 1_000_000_000);
        assert_eq!(pair.house.tercet.runtime.accounts.reserved_total().nanousd, 0);
        // The next one goes where it was configured to go.
        let after = pair.ask(plain()).await;
        assert_eq!((after.status, after.header("x-tercet-upstream")), (200, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_the_client_s_own_fault_or_may_have_been_worked_on_stays() {
    for refused in [400, 401, 403, 404, 413, 500] {
        let pair = Pair::start("").await;
        pair.house.upstream.script(status(refused, &[]));
        assert_eq!(pair.ask(plain()).await.status, refused);
        assert_eq!(pair.calls(), (1, 0), "{refused}");
    }
    let pair = Pair::start("").await;
    pair.house.upstream.script(Behaviour::CloseBeforeAnswer);
    assert_eq!(pair.ask(plain()).await.status, 502);
    assert_eq!(pair.calls(), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_moves_before_its_head_and_never_after() {
    let pair = Pair::start("").await;
    let mut body: Value = serde_json::from_str(&plain()).unwrap();
    body["stream"] = json!(true);
    pair.house.upstream.script(status(529, &[]));
    let moved = pair.ask(body.to_string()).await;
    assert_eq!((moved.status, moved.header("x-tercet-upstream")), (200, "spare"));
    assert!(String::from_utf8_lossy(&moved.body).contains("event: message_stop"));
    pair.house.upstream.script(Behaviour::CutAfter { events: Some(2), bytes: None });
    let url = format!("{}/v1/messages", pair.house.url);
    let headers =
        [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    let cut = support::http::open(Method::POST, &url, &headers, body.to_string()).await;
    assert_eq!(cut.status(), 200);
    let read = http_body_util::BodyExt::collect(cut.into_body()).await;
    assert!(read.is_err(), "the cut is visible");
    assert_eq!(pair.calls(), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bound_to_the_account_stays_with_it() {
    let thinking = |model: &str, thinking: Value| {
        json!({ "model": model, "max_tokens": 2_000, "thinking": thinking,
            "messages": [{ "role": "user", "content": "say hello" }] })
        .to_string()
    };
    let off = "[routing]\nmode = \"off\"\n";
    let adaptive = json!({ "type": "adaptive" });
    let cases = [
        (
            "another account reads what an older model thinks",
            thinking("claude-opus-4-8", adaptive.clone()),
            "",
            true,
        ),
        (
            "nobody else reads what Sonnet 5.5 thinks",
            thinking("claude-sonnet-5-5", adaptive.clone()),
            "",
            false,
        ),
        ("its thinking is on by itself", ask("claude-sonnet-5-5", "say hello"), "", false),
        ("Haiku 5.5 without thinking", thinking("claude-haiku-5-5", json!({ "type": "disabled" })), "", true),
        ("the same account elsewhere", thinking("claude-sonnet-5-5", adaptive), "same_account = true", true),
    ];
    for (what, body, more, moves) in cases {
        let spare = Upstream::start(Options::default()).await.unwrap();
        let text = fallback(&spare, more).replace("[routing]\nmode = \"enforce\"\n", off);
        let house = House::start(&text).await;
        house.upstream.script(status(529, &[]));
        let answer = message(&house.url, ACME, body).await;
        assert_eq!(answer.status, if moves { 200 } else { 529 }, "{what}");
    }
    for content in [
        json!([{ "type": "document", "source": { "type": "file", "file_id": "file_011CNha8iCJcU1wXNR6q4V8w" } }]),
        json!([{ "type": "thinking", "thinking": "", "signature": "x" }, { "type": "text", "text": "a" }]),
    ] {
        let pair = Pair::start("").await;
        let owner = tercet::journal::ObjectType::File;
        pair.house.tercet.runtime.ownership.claim(owner, "file_011CNha8iCJcU1wXNR6q4V8w", "acme");
        let role = if content[0]["type"] == "thinking" { "assistant" } else { "user" };
        let messages = json!([{ "role": "user", "content": "a" }, { "role": role, "content": content },
            { "role": "user", "content": "b" }]);
        let body = json!({ "model": "claude-opus-4-8", "max_tokens": 100, "messages": messages });
        pair.house.upstream.script(status(529, &[]));
        assert_eq!(pair.ask(body.to_string()).await.status, 529);
        assert_eq!(pair.calls().1, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_529s_costs_at_most_1_2_calls_a_request() {
    let pair = Pair::start("").await;
    for _ in 0..400 {
        pair.house.upstream.script(status(529, &[("retry-after", "7")]));
        pair.spare.script(status(529, &[("retry-after", "7")]));
    }
    for _ in 0..100 {
        let answer = pair.ask(plain()).await;
        assert_eq!((answer.status, answer.header("retry-after")), (529, "7"));
    }
    let (here, there) = pair.calls();
    println!("{here} calls here and {there} at the fallback for 100 requests");
    assert!(there > 0 && (100..=120).contains(&(here + there)), "{here} + {there}");
    assert_eq!(sum(&pair.house.records_when(100).await, "cost_nanousd"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_429_asks_for_a_pause_requests_go_to_the_fallback_at_once() {
    // Not routed: that would look for another pool of the same account first.
    let pair = Pair::start("[tenants.acme.routing]\nmode = \"off\"").await;
    pair.house.upstream.script(status(429, &[("retry-after", "30")]));
    for _ in 0..4 {
        assert_eq!(pair.ask(plain()).await.header("x-tercet-upstream"), "spare");
    }
    assert_eq!(pair.calls(), (1, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_gone_is_left_alone_and_taken_up_again() {
    let gone = Port::hold();
    let spare = Upstream::start(Options::default()).await.unwrap();
    let (house, clock) = before(gone.address, &fallback(&spare, "")).await;
    for asked in 1..=8 {
        assert_eq!(message(&house.url, ACME, plain()).await.header("x-tercet-upstream"), "spare");
        let attempts = house.records_when(asked).await[asked - 1]["attempts"].clone();
        assert_eq!(attempts, json!(if asked <= 5 { 2 } else { 1 }), "request {asked}");
    }
    let open = |page: &Answer| {
        metric(&String::from_utf8_lossy(&page.body), "tercet_upstream_open", "upstream=\"configured\"")
    };
    assert_eq!(open(&get(&house.admin_url, "", "/metrics").await), 1_000_000_000);
    let _back = Upstream::start(Options { listen: gone.address, ..Options::default() }).await.unwrap();
    assert_eq!(message(&house.url, ACME, plain()).await.header("x-tercet-upstream"), "spare");
    clock.advance(Duration::from_secs(1));
    assert_eq!(message(&house.url, ACME, plain()).await.header("x-tercet-upstream"), "");
    assert_eq!(message(&house.url, ACME, plain()).await.header("x-tercet-upstream"), "");
    assert_eq!(open(&get(&house.admin_url, "", "/metrics").await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fallback_an_upstream_that_is_gone_is_refused_at_once_until_it_is_back() {
    let gone = Port::hold();
    let (house, clock) = before(gone.address, TENANTS).await;
    for asked in 1..=7 {
        let answer = message(&house.url, ACME, plain()).await;
        assert_eq!(answer.status, 503);
        let told = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(told.contains("refuses connections"), asked <= 5, "{told}");
        assert_eq!(answer.header("retry-after"), if asked <= 5 { "" } else { "1" });
    }
    let _back = Upstream::start(Options { listen: gone.address, ..Options::default() }).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(message(&house.url, ACME, plain()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credential_of_a_fallback_goes_nowhere_else_with_a_sample() {
    for moves in [true, false] {
        let sampled = "[tenants.acme.routing]\nshadow_sample = { share = 1.0, daily = \"10 USD\" }";
        let pair = Pair::start(sampled).await;
        if moves {
            pair.house.upstream.script(status(529, &[]));
        }
        assert_eq!(pair.ask(plain()).await.header("x-tercet-upstream"), if moves { "spare" } else { "" });
        if !moves {
            // It is asked behind the client, and not any more once the gateway ends.
            support::read::until("the sample is asked", || pair.house.upstream.requests().len() > 1).await;
        }
        let (upstream, _folder) = pair.house.stop().await;
        let seen = upstream.requests();
        let keys: Vec<_> = seen.iter().map(|request| request.header("x-api-key").unwrap()).collect();
        assert!(keys.iter().all(|key| *key == UPSTREAM_KEY), "{keys:?}");
        assert_eq!(seen.len() > 1, !moves, "what stayed is asked again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_never_move() {
    let pair = Pair::start("").await;
    pair.house.upstream.script_for("/v1/models", status(529, &[]));
    let url = format!("{}/v1/models", pair.house.url);
    let answer =
        send(Method::GET, &url, &[("x-api-key", ACME), ("anthropic-version", "2023-06-01")], "").await;
    assert_eq!(answer.status, 529);
    assert_eq!(pair.calls().1, 0);
}

/// A gateway before `address`, by a clock of its own.
async fn before(address: SocketAddr, text: &str) -> (House, Clock) {
    let clock = Clock::manual("2026-11-26T12:00:00Z".parse::<Timestamp>().unwrap());
    let other = Upstream::start(Options::default()).await.unwrap();
    let text = format!(
        "[upstream]\nbase_url = \"http://{address}\"\ncredential = {{ env = \"UPSTREAM_KEY\" }}\n{text}"
    );
    let house = House::start_by(clock.clone(), other, TempDir::new().unwrap(), &text).await;
    (house, clock)
}
