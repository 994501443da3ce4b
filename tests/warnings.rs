//! Soft landing: who is told that a budget nears its end, how often, and what clients see until it is spent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use support::http::{Answer, ask, get, message};
use support::read::{idle, metric, until, until_told};
use support::{ACME, House};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// One tenant, routing off, with these sections.
fn tenant(sections: &str) -> String {
    format!(
        "[routing]\nmode = \"off\"\n{sections}\n\
         [[tenants.acme.keys]]\nid = \"acme-1\"\nuser = \"ann\"\nsecret = {{ env = \"ACME_KEY\" }}\n"
    )
}

/// A receiver of webhooks: answers from a script, then 204, and remembers what came.
struct Receiver {
    address: String,
    came: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    serving: AbortHandle,
}

impl Receiver {
    async fn start(script: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let came: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
        let script: Arc<Mutex<VecDeque<u16>>> = Arc::new(Mutex::new(script.iter().copied().collect()));
        let seen = Arc::clone(&came);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                    async move {
                        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/hook"));
                        assert_eq!(request.uri().query(), Some("sig=path-secret"));
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        seen.lock().unwrap().push((head.headers, body));
                        let status = script.lock().unwrap().pop_front().unwrap_or(204);
                        let mut response = Response::new(Empty::<Bytes>::new());
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        Ok::<_, Infallible>(response)
                    }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self { address, came, serving: serving.abort_handle() }
    }

    fn section(&self) -> String {
        let address = &self.address;
        format!(
            "[webhook]\nurl = \"http://{address}/hook?sig=path-secret\"\nsecret = {{ env = \"ADMIN_TOKEN\" }}\n"
        )
    }

    fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    fn bodies(&self) -> Vec<Value> {
        self.came.lock().unwrap().iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn metrics(house: &House) -> String {
    String::from_utf8(get(&house.admin_url, "", "/metrics").await.body.to_vec()).unwrap()
}

/// Costs 0.002 dollars and a little.
fn asking() -> String {
    ask("claude-opus-5-5", "write 60 words").replace("1000", "100")
}

/// Sends requests one after the other until one shows a warning, and returns it.
async fn until_warned(house: &House) -> Answer {
    for _ in 0..200 {
        let answer = message(&house.url, ACME, asking()).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        if !answer.header("x-tercet-warning").is_empty() {
            return answer;
        }
        assert_eq!(answer.header("anthropic-ratelimit-unified-status"), "allowed");
    }
    panic!("200 requests came to no warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_at_its_warning_is_told_once_to_everyone() {
    let receiver = Receiver::start(&[]).await;
    let text = tenant(&format!(
        "{}[tenants.acme.budget]\ndaily = \"0.10 USD\"\nwarn_at = 0.2\n\
         [tenants.acme.user_quota]\nmonthly_tokens = 1000000",
        receiver.section()
    ));
    let house = House::start(&text).await;
    let warned = until_warned(&house).await;
    let header = warned.header("x-tercet-warning");
    assert!(header.starts_with("daily_budget; level=tenant; utilization=0.2"), "{header}");
    assert_eq!(warned.header("anthropic-ratelimit-unified-status"), "allowed_warning");
    assert_eq!(warned.header("anthropic-ratelimit-unified-representative-claim"), "daily_budget");
    assert_eq!(warned.header("anthropic-ratelimit-unified-spend-status"), "allowed_warning");
    assert!(warned.header("anthropic-ratelimit-unified-spend-utilization").starts_with("0.2"));
    until("the webhook has come", || receiver.count() == 1).await;
    // Many more at once, of whom none is the first.
    let mut storm = JoinSet::new();
    for _ in 0..10 {
        let url = house.url.clone();
        storm.spawn(async move { message(&url, ACME, asking()).await });
    }
    for answer in storm.join_all().await {
        assert!(!answer.header("x-tercet-warning").is_empty(), "each request above is told");
    }
    idle(&house).await;
    let bodies = receiver.bodies();
    let [told] = &bodies[..] else { panic!("{bodies:?}") };
    let expected =
        [("type", "budget_warning"), ("level", "tenant"), ("tenant", "acme"), ("claim", "daily_budget")];
    for (field, value) in expected {
        assert_eq!(told[field], value, "{told}");
    }
    assert_eq!(
        (&told["user"], &told["key"], &told["warn_at_permille"]),
        (&Value::Null, &Value::Null, &200.into())
    );
    let used = told["used_nanousd"].as_u64().unwrap();
    assert_eq!(told["limit_nanousd"], 100_000_000);
    assert_eq!(told["utilization_permille"].as_u64().unwrap(), used / 100_000);
    assert!((20_000_000..30_000_000).contains(&used), "{used}: told by the request that came to it");
    assert!(
        told["text"].as_str().unwrap().starts_with("the daily budget of tenant `acme` is used to 2"),
        "{told}"
    );
    let (headers, body) = receiver.came.lock().unwrap()[0].clone();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-tercet-delivery"], told["id"].as_str().unwrap());
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"admin-token-of-the-tests");
    let signature =
        headers["x-tercet-signature"].to_str().unwrap().strip_prefix("sha256=").unwrap().to_owned();
    let tag: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap()).collect();
    aws_lc_rs::hmac::verify(&key, &body, &tag).unwrap();
    until_told(|| metrics(&house), r#"tercet_webhook_notices_total{result="delivered"} 1"#).await;
    let page = metrics(&house).await;
    assert_eq!(metric(&page, "tercet_budget_warnings_total", ""), 1_000_000_000, "{page}");
    assert_eq!(
        metric(&page, "tercet_budget_warnings_total", r#"level="tenant",limit="budget",tenant="acme""#),
        1_000_000_000
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_level_and_window_is_told_of_itself_and_a_restart_repeats_nothing() {
    let receiver = Receiver::start(&[]).await;
    let text = tenant(&format!(
        "{}[budget]\nmonthly = \"0.10 USD\"\nwarn_at = 0.05\n\
         [tenants.acme.user_budget]\ndaily = \"0.10 USD\"\nwarn_at = 0.05\n\
         [tenants.acme.user_quota]\ndaily_tokens = 5000",
        receiver.section()
    ));
    let house = House::start(&text).await;
    for _ in 0..10 {
        message(&house.url, ACME, asking()).await;
    }
    until("all are told", || receiver.count() == 3).await;
    idle(&house).await;
    let mut claims: Vec<String> = receiver
        .bodies()
        .iter()
        .map(|told| format!("{} {} {} {}", told["level"], told["claim"], told["tenant"], told["user"]))
        .collect();
    claims.sort();
    let expected = [
        r#""gateway" "monthly_budget" null null"#,
        r#""user" "daily_budget" "acme" "ann""#,
        r#""user" "daily_quota" "acme" "ann""#,
    ];
    assert_eq!(claims, expected);
    let page = metrics(&house).await;
    assert_eq!(metric(&page, "tercet_budget_warnings_total", r#"tenant="_gateway""#), 1_000_000_000);
    let (upstream, folder) = house.stop().await;
    let house = House::start_before(upstream, folder, &text).await;
    let answer = message(&house.url, ACME, asking()).await;
    assert_eq!((answer.status, answer.header("x-tercet-warning").is_empty()), (200, false), "still above");
    idle(&house).await;
    house.stop().await;
    assert_eq!(receiver.count(), 3, "what was told is not told again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_tried_again_and_holds_nobody_up() {
    let receiver = Receiver::start(&[500]).await;
    let text = format!("{}[tenants.acme.budget]\ndaily = \"0.10 USD\"\nwarn_at = 0.05", receiver.section());
    let house = House::start(&tenant(&text)).await;
    until_warned(&house).await;
    until("it was tried again", || receiver.count() == 2).await;
    let bodies = receiver.bodies();
    assert_eq!(bodies[0], bodies[1], "the same notice, under the same id");
    until_told(|| metrics(&house), r#"tercet_webhook_notices_total{result="delivered"} 1"#).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_delays_neither_requests_nor_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let section = format!("[webhook]\nurl = \"http://{}/hook\"\n", silent.local_addr().unwrap());
    let text = format!("{section}[tenants.acme.budget]\ndaily = \"0.10 USD\"\nwarn_at = 0.05");
    let house = House::start(&tenant(&text)).await;
    until_warned(&house).await;
    let (_held, _) = silent.accept().await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(message(&house.url, ACME, asking()).await.status, 200);
    house.stop().await;
    // The try may take five seconds; the end waits for it one second.
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn cheaper_models_before_the_stop_are_announced() {
    let text = "[routing]\nmode = \"enforce\"\nquality = 1.0\n\
        [tenants.acme.budget]\ndaily = \"0.10 USD\"\nwarn_at = 0.05\nwhen_low = \"cheaper\"\n\
        [[tenants.acme.keys]]\nid = \"acme-1\"\nuser = \"ann\"\nsecret = { env = \"ACME_KEY\" }\n";
    let house = House::start(text).await;
    let hard = || {
        ask("claude-opus-5-5", "Prove that every bounded monotone sequence converges. Think step by step.")
            .replace("1000", "200")
    };
    let mut before = None;
    for _ in 0..60 {
        let answer = message(&house.url, ACME, hard()).await;
        assert_eq!(answer.status, 200);
        if answer.header("x-tercet-warning").is_empty() {
            before = Some(answer);
            continue;
        }
        let (reason, tier) = (answer.header("x-tercet-reason"), answer.header("x-tercet-tier"));
        // The request that came to the warning was decided before it; the next is cheaper.
        if reason.contains("budget-low") {
            assert_eq!(tier, "haiku", "the cheapest model that can answer it");
            assert!(answer.header("x-tercet-warning").starts_with("daily_budget; level=tenant"));
            let before = before.unwrap();
            assert_eq!(before.header("x-tercet-tier"), "opus", "{:?}", before.headers);
            assert!(!before.header("x-tercet-reason").contains("budget-low"));
            house.stop().await;
            return;
        }
    }
    panic!("nothing was sent cheaper");
}
