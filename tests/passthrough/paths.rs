//! Which paths exist for whom, and that a path has one reading.

use tercet::simulated::Upstream;

use super::support::raw::{Wire, keyed};
use super::support::{ACME, House, RIVAL, TENANTS};

const OWN: &str = "[upstream]\nbase_url = \"$UPSTREAM\"\ncredential = \"client\"\n";

fn paths(upstream: &Upstream) -> Vec<String> {
    upstream.requests().into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_answered_without_a_key_and_without_the_upstream() {
    let house = House::start(TENANTS).await;
    let mut client = Wire::connect(&house.url).await;
    let answer = client.ask("HEAD /", &[], "").await;
    assert_eq!(answer.head.status(), 200);
    assert_eq!(client.ask("HEAD /", &[], "").await.head.status(), 200, "the connection stays");
    assert!(paths(&house.upstream).is_empty());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_are_not_found_with_our_credential_unless_allowed() {
    let text = format!("{TENANTS}\n[tenants.acme]\nallow_paths = [\"/v1/sessions/*\", \"/v1/skills\"]\n");
    let house = House::start(&text).await;
    let mut client = Wire::connect(&house.url).await;
    for path in ["/v1/complete", "/v1/agents", "/v1/skills/1", "/v1/organizations/me", "/v1/sessionsx"] {
        let answer = client.ask(&format!("GET {path}"), &keyed(ACME), "").await;
        assert_eq!(answer.head.status(), 404, "{path}");
        assert_eq!(answer.json()["error"]["type"], "not_found_error");
        assert!(answer.json()["request_id"].is_string());
    }
    assert_eq!(
        client.ask("GET /v1/sessions/s_1", &keyed(RIVAL), "").await.head.status(),
        404,
        "another tenant's"
    );
    assert!(paths(&house.upstream).is_empty());

    assert_eq!(client.ask("POST /v1/sessions/s_1/events?a=b", &keyed(ACME), "{}").await.head.status(), 200);
    assert_eq!(client.ask("GET /v1/skills", &keyed(ACME), "").await.head.status(), 200);
    let stream = client.ask("GET /v1/sessions/s_1/events/stream", &keyed(ACME), "").await;
    assert_eq!(stream.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(String::from_utf8_lossy(&stream.body).contains("session.event"));
    let seen = ["POST /v1/sessions/s_1/events?a=b", "GET /v1/skills", "GET /v1/sessions/s_1/events/stream"];
    assert_eq!(paths(&house.upstream), seen);
    let endpoints: Vec<_> =
        house.records_when(3).await.iter().map(|record| record["endpoint"].clone()).collect();
    assert!(endpoints.contains(&"/v1/skills".into()), "metered: {endpoints:?}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_pass_with_the_client_s_own_credential() {
    let house = House::start(OWN).await;
    let mut client = Wire::connect(&house.url).await;
    let requests = [
        "POST /v1/complete",
        "GET /v1/sessions/s_1/events/stream?x=1",
        "DELETE /v1/agents/a",
        "PATCH /v1/skills/a%20b",
        "GET /v1/organizations/me",
    ];
    for line in requests {
        let answer = client.ask(line, &keyed("sk-ant-mine"), "{}").await;
        assert_eq!(answer.head.status(), 200, "{line}");
        assert!(answer.complete && !answer.body.is_empty(), "{line}");
    }
    assert_eq!(paths(&house.upstream), requests);
    assert!(house.upstream.requests().iter().all(|seen| seen.header("x-api-key") == Some("sk-ant-mine")));
    assert!(house.records().is_empty(), "only messages cost");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_with_two_readings_reaches_nobody() {
    for text in [TENANTS, OWN] {
        let allowed =
            if text == TENANTS { "\n[tenants.acme]\nallow_paths = [\"/v1/x/*\", \"/v1/s*\"]\n" } else { "" };
        let house = House::start(&format!("{text}{allowed}")).await;
        let mut client = Wire::connect(&house.url).await;
        for path in [
            "/v1//messages",
            "//v1/messages",
            "/v1/messages/",
            "/V1/messages",
            "/v1/Messages",
            "/v1/%6dessages",
            "/v1/messages%2fbatches",
            "/v1/./messages",
            "/v1/x/../messages",
            "/v1/%2e%2e/v1/messages",
            "/v1/messages;a=1",
            "/v1/messages/batches/../x",
            "/v1/messages/batches//results",
            "/v1/files/%2e%2e/content",
            "/v1/files/..",
            "/v1/messages%00",
            "/v1\\messages",
            "/v1/x/..%5cmessages",
            "/v1",
            "/v1/",
            "/v2/messages",
            "/",
            "/x",
            "/metrics",
            "/healthz",
            "/admin/v1/usage",
        ] {
            let answer = client.ask(&format!("POST {path}"), &keyed(ACME), "{}").await;
            let expected = if path == "/" { 405 } else { 404 };
            // What hyper itself refuses as no path at all.
            let unreadable = path.contains('\\') && answer.head.status() == 400;
            assert!(answer.head.status() == expected || unreadable, "{path}: {:?}", answer.head);
            if unreadable {
                client = Wire::connect(&house.url).await;
            }
        }
        assert!(paths(&house.upstream).is_empty(), "{:?}", paths(&house.upstream));
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_path_with_another_method_says_which_are_allowed() {
    let house = House::start(TENANTS).await;
    let mut client = Wire::connect(&house.url).await;
    for (line, allow) in [
        ("GET /v1/messages", "POST"),
        ("PUT /v1/messages", "POST"),
        ("DELETE /v1/messages/count_tokens", "POST"),
        ("PUT /v1/messages/batches", "GET, POST"),
        ("POST /v1/messages/batches/msgbatch_1", "GET, DELETE"),
        ("GET /v1/messages/batches/msgbatch_1/cancel", "POST"),
        ("POST /v1/models", "GET"),
        ("PATCH /v1/files/file_1", "GET, DELETE"),
        ("GET /", "HEAD"),
    ] {
        let answer = client.ask(line, &keyed(ACME), "").await;
        assert_eq!((answer.head.status(), answer.head.header("allow")), (405, Some(allow)), "{line}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error", "{line}");
    }
    assert!(paths(&house.upstream).is_empty());
    house.stop().await;
}
