//! Bad input is refused clearly, costs nothing, and spoils nothing that comes after it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use support::http::ask;
use support::raw::{Whole, Wire, keyed};
use support::{ACME, House, RIVAL, TENANTS};

fn assert_refusal(answer: &Whole, status: u16, kind: &str, named: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(answer.complete && answer.head.status() == status, "{named}: {:?} {text}", answer.head);
    assert_eq!(answer.head.header("content-type"), Some("application/json"), "{named}");
    let body = answer.json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&"error".into(), &kind.into()), "{named}: {body}");
    let message = body["error"]["message"].as_str().unwrap();
    assert!((8..500).contains(&message.len()), "{named}: {message}");
    assert!(!message.contains(ACME), "{named}: {message}");
    let id = body["request_id"].as_str().unwrap();
    assert_eq!(
        (answer.head.header("request-id"), answer.head.header("x-tercet-request-id")),
        (Some(id), Some(id)),
        "{named}"
    );
    let retry = answer.head.header("x-should-retry");
    assert_eq!(retry == Some("false"), status == 401, "{named}");
}

/// Sends a good request over the same connection, or over a new one where the gateway said it closes.
async fn assert_next_is_served(house: &House, client: Wire, refused: &Whole, named: &str) {
    let closes = refused.head.header("connection") == Some("close");
    let mut client = if closes { Wire::connect(&house.url).await } else { client };
    let answer = client.ask("POST /v1/messages", &keyed(RIVAL), ask("claude-opus-5-5", "say hello")).await;
    assert_eq!(answer.head.status(), 200, "after {named}");
}

/// Checks that no bad request went up, cost anything or left anything held.
async fn assert_nothing_counted(house: &House, good: usize) {
    assert_eq!(house.upstream.requests().len(), good);
    house.records_when(good).await;
    let all = house.records();
    let rival: Vec<_> = all.iter().filter(|record| record["tenant"] == "rival").collect();
    assert_eq!(rival.len(), good);
    for record in all.iter().filter(|record| record["tenant"] != "rival") {
        assert_eq!((&record["cost_nanousd"], &record["tokens_used"]), (&0.into(), &0.into()), "{record}");
        assert_eq!(
            (&record["outcome"], &record["attempts"]),
            (&"client_error".into(), &0.into()),
            "{record}"
        );
    }
    let usage = support::http::get(&house.admin_url, "", "/admin/v1/usage?tenant=acme").await.json();
    assert_eq!(usage["totals"]["cost_nanousd"], 0, "{usage}");
    let held = house.tercet.runtime.accounts.reserved_total();
    assert_eq!((held.nanousd, held.tokens), (0, 0));
    assert_eq!(house.tercet.runtime.accounts.leaked(), 0);
}

const GOOD: &str =
    r#"{"model":"claude-opus-5-5","max_tokens":1000,"messages":[{"role":"user","content":"hi"}]}"#;

fn with(field: &str) -> Vec<u8> {
    GOOD.replacen('{', &format!("{{{field},"), 1).into_bytes()
}

fn bad_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let good = GOOD;
    let without = |text: &str| good.replacen(text, "", 1);
    let number = "9".repeat(1_000_000);
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let mut latin = good.as_bytes().to_vec();
    let at = latin.windows(2).position(|part| part == b"hi").unwrap();
    latin[at] = 0xE9;
    let text = |text: String| text.into_bytes();
    vec![
        ("nothing", Vec::new()),
        ("white space", b" \r\n".to_vec()),
        ("a word", b"hello".to_vec()),
        ("a list", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("a string", b"\"model\"".to_vec()),
        ("a cut body", text(good[..good.len() - 1].to_owned())),
        ("a trailing comma", text(good.replacen('{', "{\"a\":[1,],", 1))),
        ("single quotes", b"{'model':'claude-opus-5-5'}".to_vec()),
        ("a comment", text(good.replacen('{', "{/* c */", 1))),
        ("NaN", with("\"temperature\":NaN")),
        ("a raw control character", with("\"a\":\"\u{1}\"")),
        ("a bad escape", with("\"a\":\"\\x41\"")),
        ("a number with a leading zero", with("\"a\":01")),
        ("two documents", text(format!("{good}{good}"))),
        ("rubbish after the end", text(format!("{good}x"))),
        ("a byte order mark", [b"\xEF\xBB\xBF", good.as_bytes()].concat()),
        ("not UTF-8", latin),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("no model", text(without("\"model\":\"claude-opus-5-5\","))),
        ("a model that is a number", text(good.replacen("\"claude-opus-5-5\"", "5", 1))),
        ("a model that is null", text(good.replacen("\"claude-opus-5-5\"", "null", 1))),
        ("a model that is a list", text(good.replacen("\"claude-opus-5-5\"", "[\"claude-opus-5-5\"]", 1))),
        ("model twice", with("\"model\":\"claude-opus-5-5\"")),
        ("model escaped", text(good.replacen("\"model\"", "\"\\u006dodel\"", 1))),
        ("model twice, once escaped", with("\"\\u006dodel\":\"claude-haiku-5-5\"")),
        ("max_tokens twice", with("\"max_tokens\":5")),
        ("max_tokens escaped", with("\"max\\u005ftokens\":5")),
        ("stream that is a word", with("\"stream\":\"true\"")),
        ("stream twice", with("\"stream\":false,\"stream\":true")),
        ("messages that are an object", text(good.replacen("[", "{\"a\":[", 1).replacen("]}", "]}}", 1))),
        ("messages twice", with("\"messages\":[]")),
        ("a role that is a number", text(good.replacen("\"user\"", "1", 1))),
        ("thinking that is a word", with("\"thinking\":\"on\"")),
        ("tools that are an object", with("\"tools\":{}")),
        ("a thread that is a word", with("\"thread\":\"new\"")),
        ("100,000 open lists", with(&format!("\"a\":{}", deep("[", "]")))),
        (
            "100,000 open objects",
            with(&format!("\"a\":{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000))),
        ),
        ("100,000 lists that never close", text("[".repeat(100_000))),
        ("max_tokens of a million digits", text(good.replacen("1000", &number, 1))),
        ("max_tokens of 2^64+16", text(good.replacen("1000", "18446744073709551632", 1))),
        ("max_tokens as a float", text(good.replacen("1000", "1000.5", 1))),
        ("max_tokens as a power", text(good.replacen("1000", "1e3", 1))),
        ("max_tokens as a string", text(good.replacen("1000", "\"1000\"", 1))),
        ("max_tokens below zero", text(good.replacen("1000", "-1", 1))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_body_is_refused_and_the_next_request_is_served() {
    let house = House::start(TENANTS).await;
    let bodies = bad_bodies();
    let count = bodies.len();
    for (index, (named, body)) in bodies.into_iter().enumerate() {
        let mut client = Wire::connect(&house.url).await;
        let path = if index % 5 == 4 { "POST /v1/messages/count_tokens" } else { "POST /v1/messages" };
        let answer = client.ask(path, &keyed(ACME), body).await;
        assert_refusal(&answer, 400, "invalid_request_error", named);
        assert_next_is_served(&house, client, &answer, named).await;
    }
    assert_nothing_counted(&house, count).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_no_machine_can_hold_passes_where_it_is_not_ours_to_read() {
    let house = House::start(TENANTS).await;
    let mut client = Wire::connect(&house.url).await;
    let body = with(&format!("\"future\":{}", "9".repeat(1_000_000)));
    let answer = client
        .ask("POST /v1/messages", &[keyed(ACME), vec![("x-tercet-route", "off")]].concat(), &body)
        .await;
    assert_eq!(answer.head.status(), 400, "the upstream's answer");
    assert!(house.upstream.requests()[0].body == body);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_whether_its_length_is_said_or_not() {
    let house =
        House::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\nmax_body = \"1 MiB\"\n{TENANTS}")).await;
    let large = with(&format!("\"x\":\"{}\"", "x".repeat(1_100_000)));

    let mut client = Wire::connect(&house.url).await;
    let answer = client.ask("POST /v1/messages", &keyed(ACME), &large).await;
    assert_refusal(&answer, 413, "request_too_large", "said");
    assert_next_is_served(&house, Wire::connect(&house.url).await, &answer, "said").await;

    let mut client = Wire::connect(&house.url).await;
    client
        .write(format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {ACME}\r\ntransfer-encoding: chunked\r\n\r\n"
        ))
        .await;
    for part in large.chunks(50_000) {
        client.chunk(part).await;
    }
    let answer = client.whole().await;
    assert_refusal(&answer, 413, "request_too_large", "chunked");
    assert_next_is_served(&house, Wire::connect(&house.url).await, &answer, "chunked").await;

    let exact = large[..].len();
    let body = with(&format!("\"x\":\"{}\"", "x".repeat(1_100_000 - (exact - (1 << 20)))));
    assert_eq!(body.len(), 1 << 20);
    let answer = Wire::connect(&house.url).await.ask("POST /v1/messages", &keyed(ACME), body).await;
    assert_ne!(answer.head.status(), 413, "the limit itself is allowed");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_nobody_s_request() {
    let house = House::start(TENANTS).await;
    let mut client = Wire::connect(&house.url).await;
    let body = ask("claude-opus-5-5", "hi");
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {ACME}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write(format!("{head}{}", &body[..20])).await;
    drop(client);
    let mut client = Wire::connect(&house.url).await;
    let answer = client.ask("POST /v1/messages", &keyed(RIVAL), body).await;
    assert_eq!(answer.head.status(), 200);
    assert_nothing_counted(&house, 1).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_refused_as_unsupported() {
    let house = House::start(TENANTS).await;
    for coding in ["gzip", "br", "zstd", "deflate", "identity, gzip"] {
        let mut client = Wire::connect(&house.url).await;
        let headers = [keyed(ACME), vec![("content-encoding", coding)]].concat();
        let answer = client.ask("POST /v1/messages", &headers, b"\x1f\x8b\x08\x00rest").await;
        assert_refusal(&answer, 415, "invalid_request_error", coding);
        assert_next_is_served(&house, client, &answer, coding).await;
    }
    assert_nothing_counted(&house, 5).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_and_told_not_to_retry() {
    let house = House::start(TENANTS).await;
    let bearer = format!("Bearer {ACME}");
    let long = "k".repeat(7_000);
    let table = [
        ("no key", 401, vec![]),
        ("an empty key", 401, vec![("x-api-key", "")]),
        ("an unknown key", 401, vec![("x-api-key", "sk-ant-nobody")]),
        ("an unknown bearer", 401, vec![("authorization", "Bearer nobody")]),
        ("another scheme", 401, vec![("authorization", "Basic dGN0LWFjbWUta2V5")]),
        ("a key with a space", 401, vec![("x-api-key", "tct-acme-key x")]),
        ("a prefix of a key", 401, vec![("x-api-key", "tct-acme-ke")]),
        ("two keys that differ", 400, vec![("x-api-key", RIVAL), ("authorization", &bearer)]),
        ("two lines of one header", 400, vec![("x-api-key", ACME), ("x-api-key", RIVAL)]),
        ("a key without end", 400, vec![("x-api-key", &long)]),
    ];
    let (mut good, body) = (0, ask("claude-opus-5-5", "hi"));
    for (named, status, headers) in table {
        for line in ["POST /v1/messages", "POST /v1/messages/count_tokens", "GET /v1/models", "GET /v1/files"]
        {
            let mut client = Wire::connect(&house.url).await;
            let sent = if line.starts_with("GET") { "" } else { body.as_str() };
            let answer = client
                .ask(line, &[headers.clone(), vec![("anthropic-version", "2023-06-01")]].concat(), sent)
                .await;
            let kind = if status == 401 { "authentication_error" } else { "invalid_request_error" };
            assert_refusal(&answer, status, kind, named);
            assert_next_is_served(&house, client, &answer, named).await;
            good += 1;
        }
    }
    assert_nothing_counted(&house, good).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_not_found_whoever_asks() {
    let house = House::start(TENANTS).await;
    for (path, headers) in [("/v1/nothing", keyed(ACME)), ("/nothing", keyed(ACME)), ("/nothing", vec![])] {
        let mut client = Wire::connect(&house.url).await;
        let answer = client.ask(&format!("POST {path}"), &headers, "{}").await;
        assert_refusal(&answer, 404, "not_found_error", path);
        assert_next_is_served(&house, client, &answer, path).await;
    }
    assert_nothing_counted(&house, 3).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_readings_is_refused_and_its_connection_closed() {
    let house = House::start(TENANTS).await;
    let key = format!("x-api-key: {ACME}\r\n");
    for (named, request) in [
        (
            "length and coding",
            format!(
                "POST /v1/messages HTTP/1.1\r\nhost: x\r\n{key}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "host twice",
            format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\nhost: y\r\n{key}content-length: 2\r\n\r\n{{}}"),
        ),
        (
            "bare line feeds",
            format!(
                "POST /v1/messages HTTP/1.1\nhost: x\n{}content-length: 2\n\n{{}}",
                key.replace('\r', "")
            ),
        ),
        ("no host", format!("POST /v1/messages HTTP/1.1\r\n{key}content-length: 2\r\n\r\n{{}}")),
        (
            "a folded header",
            format!(
                "POST /v1/messages HTTP/1.1\r\nhost: x\r\n{key}x: y\r\n z\r\ncontent-length: 2\r\n\r\n{{}}"
            ),
        ),
        (
            "a forward proxy",
            format!("POST http://x/v1/messages HTTP/1.1\r\nhost: x\r\n{key}content-length: 2\r\n\r\n{{}}"),
        ),
    ] {
        let mut client = Wire::connect(&house.url).await;
        client.write(request).await;
        let answer = client.whole().await;
        assert_refusal(&answer, 400, "invalid_request_error", named);
        assert_eq!(answer.head.header("connection"), Some("close"), "{named}");
        assert!(client.closed().await, "{named}");
    }
    assert_nothing_counted(&house, 0).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_chunks_with_two_readings_is_refused_and_its_connection_closed() {
    let house = House::start(TENANTS).await;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {ACME}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    for body in
        ["2\n{}\r\n0\r\n\r\n", "2\r\n{}0\r\n\r\n", "2 \r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n0\r\nx: y\n\r\n"]
    {
        let mut client = Wire::connect(&house.url).await;
        client.write(format!("{head}{body}POST /v1/messages HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let answer = client.whole().await;
        assert_refusal(&answer, 400, "invalid_request_error", body);
        assert!(client.closed().await, "{body:?}");
    }
    assert_nothing_counted(&house, 0).await;
    house.stop().await;
}
