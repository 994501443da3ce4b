//! What a client sends is what the upstream receives, but for the model's name, the credential and what is ours.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

#[path = "passthrough/answers.rs"]
mod answers;
#[path = "passthrough/paths.rs"]
mod paths;
#[path = "passthrough/protocols.rs"]
mod protocols;

use support::raw::{MESSAGE, Played, keyed};
use support::{ACME, TENANTS, UPSTREAM_KEY};

const OPUS: &str = "\"claude-opus-5-5\"";
const CLIENT_CREDENTIAL: &str = "[upstream]\nbase_url = \"$PLAYED\"\ncredential = \"client\"\n";

fn odd_bodies() -> Vec<(String, String)> {
    let user = r#"{"role":"user","content":"say hello"}"#;
    let large = "0123456789abcdef \\u00e9\\n ".repeat(90_000);
    let bodies = [
        // Odd spacing, the model last, escapes of every kind, an unpaired surrogate.
        format!(
            "\r\n{{ \"messages\" : [ {{\"role\":\"user\",\t\"content\":\"h\\u00e9 \\ud83d\\ude00 \\/ \\u0041 \\ud800 é\"}} ] ,\r\n\t\"max_tokens\":  1000 , \"model\"\n:\t{OPUS}   }}  \n"
        ),
        // Unknown fields, one of them given twice, and numbers no float can hold.
        format!(
            r#"{{"future":1,"future":{{"b":2,"a":[1e400,-0.0,123456789012345678901234567890]}},"model":{OPUS},"max_tokens":1000,"zeta":null,"messages":[{user}]}}"#
        ),
        // The model's name written with an escape, and inside texts where it must stay.
        r#"{"model":"claude-opus-5\u002d5","max_tokens":1000,"messages":[{"role":"user","content":"\"model\":\"claude-opus-5-5\" claude-opus-5-5"}]}"#
        .to_owned(),
        // Over 2 MB.
        format!(r#"{{"max_tokens":1000,"messages":[{{"role":"user","content":"{large}"}}],"model":{OPUS}}}"#),
    ];
    let spelt = |body: &String| {
        if body.contains(r#""claude-opus-5\u002d5""#) { r#""claude-opus-5\u002d5""# } else { OPUS }
    };
    bodies.iter().map(|body| (body.clone(), body.replacen(spelt(body), "\"$MODEL\"", 1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_arrives_byte_for_byte_but_for_the_model() {
    let played = Played::start(TENANTS).await;
    for (body, expected) in odd_bodies() {
        let headers = [keyed(ACME), vec![("x-tercet-tier", "haiku")]].concat();
        let (mut client, mut upstream, arrived) = played.cross("POST /v1/messages", &headers, &body).await;
        upstream.answer("200 OK", &[("content-type", "application/json")], MESSAGE).await;
        let answer = client.whole().await;
        assert_eq!(answer.head.header("x-tercet-tier"), Some("haiku"), "{:?}", answer.head);
        let model = answer.head.header("x-tercet-model").unwrap();
        assert!(arrived.body == expected.replace("$MODEL", model).as_bytes(), "changed: {expected:.300}");
        assert_eq!(arrived.head.header("content-length"), Some(arrived.body.len().to_string().as_str()));
        assert_eq!(answer.body, MESSAGE.as_bytes());
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_routed_arrives_unchanged() {
    let played = Played::start(TENANTS).await;
    for (body, _) in odd_bodies() {
        let headers = [keyed(ACME), vec![("x-tercet-route", "off")]].concat();
        let (mut client, mut upstream, arrived) = played.cross("POST /v1/messages", &headers, &body).await;
        upstream.answer("200 OK", &[("content-type", "application/json")], MESSAGE).await;
        assert_eq!(client.whole().await.body, MESSAGE.as_bytes());
        assert!(arrived.body == body.as_bytes(), "changed: {body:.300}");
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn betas_other_headers_and_the_query_arrive_and_ours_and_the_hop_s_do_not() {
    let played = Played::start(TENANTS).await;
    let body = support::http::ask("claude-opus-5-5", "say hello");
    let headers = [
        keyed(ACME),
        vec![
            ("anthropic-beta", "one-2026-01-01"),
            ("anthropic-beta", "two-2026-01-01, three-2026-01-01"),
            ("anthropic-future", "kept"),
            ("anthropic-workspace-id", "wrkspc_1"),
            ("x-stainless-lang", "python"),
            ("x-app", "cli"),
            ("user-agent", "claude-cli/9.9"),
            ("accept-encoding", "gzip, br"),
            ("connection", "keep-alive, x-hop, anthropic-future"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "no"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic x"),
            ("x-tercet-tags", "a,b"),
            ("x-tercet-route", "off"),
            ("x-tercet-unknown", "no"),
        ],
    ]
    .concat();
    let (mut client, mut upstream, arrived) =
        played.cross("POST /v1/messages?beta=true&x=%20y&x=", &headers, &body).await;
    upstream.answer("200 OK", &[("content-type", "application/json")], MESSAGE).await;
    assert_eq!(client.whole().await.head.status(), 200);
    let head = &arrived.head;
    assert_eq!(head.first, "POST /v1/messages?beta=true&x=%20y&x= HTTP/1.1");
    assert_eq!(head.all("anthropic-beta"), ["one-2026-01-01", "two-2026-01-01, three-2026-01-01"]);
    let kept = [
        ("anthropic-future", "kept"),
        ("anthropic-workspace-id", "wrkspc_1"),
        ("x-stainless-lang", "python"),
        ("x-app", "cli"),
        ("user-agent", "claude-cli/9.9"),
        ("anthropic-version", "2023-06-01"),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
    ];
    for (name, value) in kept {
        assert_eq!(head.all(name), [value], "{name}");
    }
    for name in ["connection", "keep-alive", "x-hop", "te", "proxy-authorization", "expect"] {
        assert_eq!(head.header(name), None, "{name}");
    }
    assert!(!head.headers.iter().any(|(name, _)| name.starts_with("x-tercet")), "{head:?}");
    assert_eq!(head.all("host"), [played.listener.local_addr().unwrap().to_string()]);
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_s_key_never_goes_up_with_our_credential() {
    let played = Played::start(TENANTS).await;
    let bearer = format!("Bearer {ACME}");
    let requests = [
        ("POST /v1/messages", vec![("x-api-key", ACME)]),
        ("POST /v1/messages", vec![("authorization", bearer.as_str())]),
        ("POST /v1/messages", vec![("x-api-key", ACME), ("authorization", bearer.as_str())]),
        ("POST /v1/messages/count_tokens", vec![("authorization", bearer.as_str())]),
        ("POST /v1/messages/batches", vec![("x-api-key", ACME)]),
        ("GET /v1/files", vec![("authorization", bearer.as_str())]),
        ("GET /v1/models", vec![("x-api-key", ACME)]),
    ];
    for (line, credential) in requests {
        let body = match line {
            "POST /v1/messages/batches" => {
                r#"{"requests":[{"custom_id":"a","params":{"model":"haiku"}}]}"#.to_owned()
            }
            line if line.starts_with("GET") => String::new(),
            _ => support::http::ask("claude-opus-5-5", "say hello"),
        };
        let headers = [credential, vec![("anthropic-version", "2023-06-01")]].concat();
        let (mut client, mut upstream, arrived) = played.cross(line, &headers, body).await;
        // Closed, so that the next request meets no stale connection.
        let head = [("content-type", "application/json"), ("connection", "close")];
        upstream.answer("200 OK", &head, r#"{"id":"x","data":[]}"#).await;
        assert_eq!(client.whole().await.head.status(), 200, "{line}");
        assert_eq!(arrived.head.all("x-api-key"), [UPSTREAM_KEY], "{line}");
        assert_eq!(arrived.head.header("authorization"), None, "{line}");
        let all = format!("{:?}{:?}", arrived.head, String::from_utf8_lossy(&arrived.body));
        assert!(!all.contains(ACME), "{line}: {all}");
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_s_own_credential_passes_as_it_is() {
    let played = Played::start(CLIENT_CREDENTIAL).await;
    let body = support::http::ask("claude-opus-5-5", "say hello");
    for credential in [
        &[("x-api-key", "sk-ant-mine")][..],
        &[("authorization", "Bearer sk-ant-oat01-mine")],
        &[("authorization", "bearer   spaced")],
        &[("authorization", "Basic bWU6bWU=")],
        &[],
    ] {
        let headers = [credential.to_vec(), vec![("anthropic-version", "2023-06-01")]].concat();
        let (mut client, mut upstream, arrived) = played.cross("POST /v1/messages", &headers, &body).await;
        upstream.answer("200 OK", &[("content-type", "application/json")], MESSAGE).await;
        assert_eq!(client.whole().await.body, MESSAGE.as_bytes());
        for name in ["x-api-key", "authorization"] {
            let sent: Vec<&str> =
                credential.iter().filter(|(key, _)| *key == name).map(|(_, value)| *value).collect();
            assert_eq!(arrived.head.all(name), sent, "{credential:?}");
        }
        assert_eq!(arrived.body, body.as_bytes(), "in shadow the asked model is sent");
    }
    played.house.stop().await;
}
