//! What the upstream answers is what the client receives.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::support::http::ask;
use super::support::raw::{Head, MESSAGE, Played, Whole, keyed};
use super::support::{ACME, TENANTS};

/// A stream with everything a strict client might trip over: comments, unknown events, fields and orders.
const STREAM: &str = concat!(
    ": hello\n\n",
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",",
    "\"model\":\"claude-haiku-5-5\",\"content\":[],\"usage\":{\"input_tokens\":11,\"output_tokens\":1}},\"new\":1}\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "id: 7\nretry: 5\nevent: event_from_the_future\ndata: {\"type\":\"event_from_the_future\",\ndata: \"more\":[]}\n\n",
    "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata:{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"h\\u00e9llo é\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n: keep-alive\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ": after the end\n\n",
);

async fn exchange(played: &Played, head: &str, chunks: &[&[u8]]) -> Whole {
    let body = ask("claude-opus-5-5", "say hello");
    let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), body).await;
    upstream.write(format!("{head}transfer-encoding: chunked\r\n\r\n")).await;
    for chunk in chunks {
        upstream.chunk(chunk).await;
    }
    upstream.chunk("").await;
    client.whole().await
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_arrives_byte_for_byte_however_it_is_cut_and_is_metered() {
    let played = Played::start(TENANTS).await;
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let sse = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n";
    let zipped = "content-encoding: gzip\r\n";
    let crlf = STREAM.replace('\n', "\r\n");
    let lone_cr = STREAM.replace('\n', "\r");
    let plain = [MESSAGE.as_bytes(), STREAM.as_bytes(), crlf.as_bytes(), lone_cr.as_bytes()];
    let mut answers: Vec<(String, Vec<u8>)> = Vec::new();
    for (index, body) in plain.iter().enumerate() {
        let head = if index == 0 { json } else { sse };
        answers.push((head.to_owned(), body.to_vec()));
        answers.push((format!("{head}{zipped}"), gzip(body)));
    }
    let mut count = 0;
    for (head, body) in &answers {
        let whole: Vec<&[u8]> = vec![body];
        for chunks in [whole, body.chunks(1).collect(), body.chunks(7).collect(), body.chunks(100).collect()]
        {
            let answer = exchange(&played, head, &chunks).await;
            assert!(answer.complete, "{head}");
            assert!(answer.body == *body, "{head}: {}", String::from_utf8_lossy(&answer.body));
            count += 1;
        }
    }
    for record in played.house.records_when(count).await {
        assert_eq!(record["usage_source"], "upstream", "{record}");
        assert_eq!((&record["input_tokens"], &record["output_tokens"]), (&11.into(), &7.into()), "{record}");
        assert_eq!(record["outcome"], "ok");
    }
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_s_headers_arrive_as_they_are_and_the_hop_s_do_not() {
    let played = Played::start(TENANTS).await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_1\r\nx-future: a\r\nx-future: b\r\n\
        set-cookie: one=1\r\nset-cookie: two=2\r\nanthropic-organization-id: org\r\ncf-ray: 1\r\nkeep-alive: timeout=5\r\n\
        connection: x-hop\r\nx-hop: no\r\n";
    let answer = exchange(&played, head, &[MESSAGE.as_bytes()]).await;
    let head: &Head = &answer.head;
    assert_eq!(head.first, "HTTP/1.1 200 OK");
    assert_eq!(head.all("x-future"), ["a", "b"]);
    assert!(head.all("set-cookie").is_empty(), "cookies of our account");
    assert_eq!((head.header("request-id"), head.header("cf-ray")), (Some("req_1"), Some("1")));
    assert_eq!(head.header("anthropic-organization-id"), Some("org"));
    assert_eq!((head.header("x-hop"), head.header("keep-alive")), (None, None));
    assert!(head.header("x-tercet-request-id").is_some());
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_error_arrives_as_it_is_and_costs_nothing() {
    let played = Played::start(TENANTS).await;
    let table = [
        ("400 Bad Request", "invalid_request_error", &[][..]),
        ("401 Unauthorized", "authentication_error", &[("x-should-retry", "false")]),
        ("413 Payload Too Large", "request_too_large", &[]),
        (
            "429 Too Many Requests",
            "rate_limit_error",
            &[("retry-after", "17"), ("anthropic-ratelimit-requests-remaining", "0")],
        ),
        ("500 Internal Server Error", "api_error", &[("x-should-retry", "true")]),
        ("529 ", "overloaded_error", &[("retry-after-ms", "1500")]),
        ("418 I'm a teapot", "future_error", &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]),
    ];
    for (status, kind, headers) in table {
        let body = format!(
            "{{ \"type\":\"error\", \"error\":{{\"type\":\"{kind}\",\"message\":\"m\\u00e9\"}},\"request_id\":\"req_9\"}}"
        );
        let asked = ask("claude-opus-5-5", "say hello");
        let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), asked).await;
        let all = [headers, &[("request-id", "req_9"), ("content-type", "application/json")]].concat();
        // Closed, so that no later request meets a stale connection and is rightly sent twice.
        upstream.answer(status, &[&all[..], &[("connection", "close")]].concat(), &body).await;
        let answer = client.whole().await;
        assert_eq!(answer.head.status().to_string(), status[..3]);
        assert_eq!(answer.body, body.as_bytes());
        for (name, value) in all {
            assert_eq!(answer.head.all(name), [value], "{status}");
        }
    }
    for record in played.house.records_when(table.len()).await {
        assert_eq!((&record["cost_nanousd"], &record["attempts"]), (&0.into(), &1.into()), "{record}");
        assert!(record["error_type"].is_string(), "{record}");
    }
    assert_eq!(played.house.tercet.runtime.accounts.reserved_total().nanousd, 0);
    played.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_passes_as_it_is_and_is_not_followed() {
    let played = Played::start(TENANTS).await;
    let asked = ask("claude-opus-5-5", "say hello");
    let (mut client, mut upstream, _) = played.cross("POST /v1/messages", &keyed(ACME), asked).await;
    upstream
        .answer("307 Temporary Redirect", &[("location", "http://elsewhere.example/v1/messages")], "go")
        .await;
    let answer = client.whole().await;
    assert_eq!((answer.head.status(), answer.body.as_slice()), (307, &b"go"[..]));
    assert_eq!(answer.head.header("location"), Some("http://elsewhere.example/v1/messages"));
    let record = &played.house.records_when(1).await[0];
    assert_eq!((&record["cost_nanousd"], &record["attempts"]), (&0.into(), &1.into()), "{record}");
    assert_eq!(record["outcome"], "upstream_error");
    played.house.stop().await;
}
