use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::json;
use tower_service::Service;

use super::*;
use crate::config::Mode;
use crate::money::NanoUsd;
use crate::tier::Tier;

#[path = "tests/sample.rs"]
mod sample;

use sample::{overview, sources};

const TOKEN: &str = "s3cret-admin-token";

fn access(token: Option<&str>) -> Access {
    let token = token.map(|token| Secret::new(token.to_owned()));
    Access {
        token: Box::new(move || token.clone()),
        listen: ([127, 0, 0, 1], 8788).into(),
        hosts: vec!["tercet.internal".to_owned()],
    }
}

fn clock() -> Clock {
    Clock::manual("2026-11-20T12:00:00Z".parse().unwrap())
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }
    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn call(router: &mut Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.call(request).await.unwrap().into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// A request from this machine; headers as pairs, `method path` as on a request line.
fn request(line: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:8788");
    }
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

const ROUTES: [&str; 9] = [
    "/",
    "/metrics",
    "/admin/v1/usage",
    "/admin/v1/tenants",
    "/admin/v1/keys",
    "/admin/v1/explain?request_id=tct_1",
    "/admin/v1/config",
    "/admin/v1/journal/head",
    "/nowhere",
];

#[tokio::test]
async fn the_token_opens_every_route_and_nothing_else_does() {
    let basic = "Basic YW55Ym9keTpzM2NyZXQtYWRtaW4tdG9rZW4="; // anybody:s3cret-admin-token
    let table: [(&str, bool); 9] = [
        ("Bearer s3cret-admin-token", true),
        ("bearer s3cret-admin-token", true),
        (basic, true),
        ("Bearer s3cret-admin-toke", false),
        ("Bearer s3cret-admin-token2", false),
        ("Bearer", false),
        ("Basic !!!", false),
        ("Basic czNjcmV0LWFkbWluLXRva2Vu", false), // without a colon
        ("s3cret-admin-token", false),
    ];
    for route in ROUTES {
        let mut router = router(sources(overview()), access(Some(TOKEN)), clock());
        let answer = call(&mut router, request(&format!("GET {route}"), &[])).await;
        assert_eq!(answer.status, 401, "{route}");
        assert_eq!(answer.json()["error"]["type"], "authentication_error");
        assert!(answer.header(header::WWW_AUTHENTICATE).starts_with("Basic "));
        for (value, opens) in table {
            let answer =
                call(&mut router, request(&format!("GET {route}"), &[("authorization", value)])).await;
            assert_eq!(answer.status != 401, opens, "{route} {value}");
        }
    }
}

#[tokio::test]
async fn health_needs_no_token_and_readiness_tells_the_reason() {
    let mut unready = sources(overview());
    unready.ready = Box::new(|| Err("draining".to_owned()));
    let mut router = router(unready, access(Some(TOKEN)), clock());
    assert_eq!(call(&mut router, request("GET /healthz", &[("host", "10.0.0.9")])).await.status, 200);
    let answer = call(&mut router, request("GET /readyz", &[])).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["message"]), (503, &json!("draining")));
}

#[tokio::test]
async fn an_address_that_guesses_must_wait_and_others_need_not() {
    let clock = clock();
    let mut router = router(sources(overview()), access(Some(TOKEN)), clock.clone());
    let from = |address: &str, token: &str| {
        let mut request = request("GET /admin/v1/tenants", &[("authorization", &format!("Bearer {token}"))]);
        request
            .extensions_mut()
            .insert(ConnectInfo::<SocketAddr>(format!("{address}:4000").parse().unwrap()));
        request
    };
    for _ in 0..10 {
        assert_eq!(call(&mut router, from("10.0.0.1", "guess")).await.status, 401);
    }
    let answer = call(&mut router, from("10.0.0.1", "guess")).await;
    assert_eq!((answer.status.as_u16(), answer.header(header::RETRY_AFTER)), (429, "60"));
    assert_eq!(call(&mut router, from("10.0.0.1", TOKEN)).await.status, 429);
    assert_eq!(call(&mut router, from("10.0.0.2", TOKEN)).await.status, 200);
    clock.advance(std::time::Duration::from_secs(61));
    assert_eq!(call(&mut router, from("10.0.0.1", TOKEN)).await.status, 200);
}

#[tokio::test]
async fn calls_are_bounded_and_health_is_not() {
    let mut router = router(sources(overview()), access(None), clock());
    let mut calls = 0;
    while call(&mut router, request("GET /nowhere", &[])).await.status != 429 {
        calls += 1;
        assert!(calls < 100_000, "nothing was refused");
    }
    assert!(calls >= 1_000);
    assert_eq!(call(&mut router, request("GET /healthz", &[])).await.status, 200);
}

#[tokio::test]
async fn without_a_token_only_this_machines_names_are_answered() {
    let mut router = router(sources(overview()), access(None), clock());
    for (host, status) in [
        ("localhost:8788", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:8788", 200),
        ("[::1]:8788", 200),
        ("tercet.internal", 200),
        ("evil.example:8788", 403),
        ("localhost.evil.example", 403),
        ("10.1.2.3", 403),
        ("", 403),
        ("a b", 403),
    ] {
        let answer = call(&mut router, request("GET /admin/v1/tenants", &[("host", host)])).await;
        assert_eq!(answer.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_reload_cannot_be_sent_by_a_foreign_page() {
    let bearer = format!("Bearer {TOKEN}");
    let basic = "Basic YW55Ym9keTpzM2NyZXQtYWRtaW4tdG9rZW4=";
    let json = ("content-type", "application/json; charset=utf-8");
    let form = ("content-type", "text/plain");
    type Case<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)], u16);
    let table: [Case<'_>; 7] = [
        (None, &[json], 200),
        (None, &[form], 415),
        (None, &[], 415),
        (None, &[json, ("sec-fetch-site", "cross-site")], 403),
        (Some(TOKEN), &[("authorization", &bearer)], 200),
        (Some(TOKEN), &[("authorization", basic), form], 415),
        (Some(TOKEN), &[("authorization", basic), json], 200),
    ];
    for (token, headers, status) in table {
        let mut router = router(sources(overview()), access(token), clock());
        let answer = call(&mut router, request("POST /admin/v1/reload", headers)).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn a_failed_reload_tells_the_problems() {
    let mut broken = sources(overview());
    broken.reload = Box::new(|_| Err(json!([{"message": "unknown key"}])));
    let mut router = router(broken, access(None), clock());
    let request = request("POST /admin/v1/reload", &[("content-type", "application/json")]);
    let answer = call(&mut router, request).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["problems"], json!([{"message": "unknown key"}]));
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let mut router = router(sources(overview()), access(None), clock());
    let stylesheet = dashboard::stylesheet_path();
    for route in ROUTES.iter().copied().chain(["/healthz", stylesheet.as_str()]) {
        let answer = call(&mut router, request(&format!("GET {route}"), &[])).await;
        let policy = answer.header(header::CONTENT_SECURITY_POLICY);
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{route}"
        );
        assert!(!policy.contains("unsafe"), "{route}");
        assert_eq!(answer.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{route}");
        assert_eq!(answer.header(header::REFERRER_POLICY), "same-origin", "{route}");
        let kept = route == stylesheet;
        assert_eq!(answer.header(header::CACHE_CONTROL).contains("immutable"), kept, "{route}");
    }
}

#[tokio::test]
async fn errors_have_one_shape() {
    let mut router = router(sources(overview()), access(None), clock());
    for (line, status, kind) in [
        ("GET /nowhere", 404, "not_found_error"),
        ("GET /admin/v1/reload", 405, "invalid_request_error"),
        ("GET /admin/v1/usage?tennant=a", 400, "invalid_request_error"),
        ("GET /admin/v1/usage?from=yesterday", 400, "invalid_request_error"),
        ("GET /admin/v1/usage?by=a,b,c,d,e,f,g,h,i", 400, "invalid_request_error"),
        ("GET /admin/v1/explain", 400, "invalid_request_error"),
        ("GET /admin/v1/explain?request_id=unknown", 404, "not_found_error"),
    ] {
        let answer = call(&mut router, request(line, &[])).await;
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(answer.json()["error"]["type"], kind, "{line}");
        assert!(answer.json()["error"]["message"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn a_usage_query_reaches_the_source_as_meant() {
    let mut router = router(sources(overview()), access(None), clock());
    let line =
        "GET /admin/v1/usage?tenant=acme&from=2026-11-01&to=2026-11-20T08:00:00%2B01:00&by=user,%20model";
    let echoed = call(&mut router, request(line, &[])).await.json();
    assert_eq!(echoed["tenant"], "acme");
    assert_eq!(
        (&echoed["from"], &echoed["to"]),
        (&json!("2026-11-01T00:00:00Z"), &json!("2026-11-20T07:00:00Z"))
    );
    assert_eq!(echoed["by"], json!(["user", "model"]));
}

#[tokio::test]
async fn a_body_is_explained_as_it_came_and_bounded() {
    let mut router = router(sources(overview()), access(None), clock());
    let post = |body: Vec<u8>| {
        let mut request = request("POST /admin/v1/explain", &[]);
        *request.body_mut() = Body::from(body);
        request
    };
    assert_eq!(call(&mut router, post(b"{\"a\": 1}".to_vec())).await.json()["length"], 8);
    let answer = call(&mut router, post(vec![b' '; (32 << 20) + 1])).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["type"]), (413, &json!("request_too_large")));
}

#[tokio::test]
async fn a_source_that_panics_is_an_error_and_not_the_end() {
    let mut broken = sources(overview());
    broken.tenants = Box::new(|| panic!("a bug"));
    let mut router = router(broken, access(None), clock());
    assert_eq!(call(&mut router, request("GET /admin/v1/tenants", &[])).await.status, 500);
    assert_eq!(call(&mut router, request("GET /metrics", &[])).await.status, 200);
}

#[tokio::test]
async fn metrics_come_in_openmetrics_where_that_is_accepted() {
    let mut router = router(sources(overview()), access(None), clock());
    for (accept, form) in [
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text",
        ),
        ("text/plain;version=0.0.4", "text/plain"),
        ("*/*", "text/plain"),
    ] {
        let answer = call(&mut router, request("GET /metrics", &[("accept", accept)])).await;
        assert_eq!(answer.headers["content-type"], form, "{accept}");
    }
}

#[test]
fn hostile_names_are_shown_harmlessly() {
    let hostile = "\"><script>alert(1)</script><img src=x onerror=y>'";
    let mut shown = overview();
    shown.tenants[0].name = hostile.to_owned();
    shown.policy_version = hostile.to_owned();
    shown.ready = Err(hostile.to_owned());
    shown.set_up.base_url = hostile.to_owned();
    let exchange = &mut shown.recent[0];
    for field in [
        &mut exchange.tenant,
        &mut exchange.user,
        &mut exchange.asked,
        &mut exchange.sent,
        &mut exchange.answered,
        &mut exchange.request_id,
    ] {
        hostile.clone_into(field);
    }
    exchange.reasons = vec![hostile.to_owned()];
    let page = dashboard::render(&shown, true).render().into_string();
    assert!(!page.contains("<script") && !page.contains("<img"));
    assert!(page.contains("&lt;script&gt;"));
    assert!(!page.contains(" style="), "the policy forbids inline styles");
    assert!(!page.contains("request_id=\""), "an attribute was closed early");
}

#[test]
fn the_page_shows_each_figure_with_its_formula() {
    let shown = overview();
    let page = dashboard::render(&shown, true).render().into_string();
    for text in ["$12.84", "$20.95 as asked − $12.84 paid", "$44.02 all Opus − $12.84 paid"] {
        assert!(page.contains(text), "{text}");
    }
    let renews = |live| dashboard::render(&shown, live).send().headers().contains_key(header::REFRESH);
    assert_eq!((renews(true), renews(false)), (true, false));
}

#[test]
fn shadow_mode_never_claims_to_have_saved() {
    let mut shown = overview();
    shown.mode = Mode::Shadow;
    shown.would_save_today = Some(NanoUsd::from_dollars(8));
    let page = dashboard::render(&shown, true).render().into_string();
    assert!(page.contains("Would have saved today") && !page.contains("Saved today"));
}

#[test]
fn an_idle_gateway_shows_how_to_begin() {
    let mut shown = overview();
    shown.recent.clear();
    shown.tenants.clear();
    shown.today = Spending::default();
    let page = dashboard::render(&shown, true).render().into_string();
    assert!(page.find("Set up a client") < page.find("Spent today"));
    assert!(page.contains("Waiting for the first request"));
    assert!(page.contains("export ANTHROPIC_BASE_URL=http://127.0.0.1:8787"));
}
