//! The demo's promises: its configuration is valid, and nothing it asks is refused by the upstream's rules.

use std::collections::BTreeMap;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;

use super::samples::{self, Dice};
use super::*;
use crate::cli::call::Caller;

#[test]
fn the_demos_configuration_is_valid_and_its_keys_are_its_own() {
    let people = People::invite().unwrap();
    let config = configuration("http://127.0.0.1:1", Path::new("/tmp/demo"), &people).unwrap();
    let keys: BTreeMap<&str, usize> =
        config.tenants.iter().map(|(name, tenant)| (name.as_str(), tenant.keys.len())).collect();
    assert_eq!(keys, BTreeMap::from([("acme", 4), ("research", 2), ("studio", 1)]));
    assert_ne!(config.server.listen.port(), config.admin.listen.port());
    assert!(config.tenants["research"].cache.enabled && !config.tenants["acme"].cache.enabled);
    assert_eq!(people.first_key(), people.key_of("ann"));
}

#[test]
fn the_introduction_is_short_enough_to_be_read() {
    let text = introduction("http://127.0.0.1:8787", "http://127.0.0.1:8788", "tct-x");
    assert!(text.lines().count() < 10, "{text}");
}

#[test]
fn a_temporary_folder_goes_with_its_owner() {
    let folder = Folder::make().unwrap();
    let path = folder.path().to_owned();
    std::fs::write(path.join("left"), "").unwrap();
    drop(folder);
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_only_looked_at_keeps_no_demo_from_starting() {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let looking = std::thread::spawn(move || {
        let mut looks = 0_u64;
        while ended.try_recv() == Err(TryRecvError::Empty) {
            looks += u64::from(TcpListener::bind((Ipv4Addr::LOCALHOST, 8787 + (looks % 10) as u16)).is_ok());
        }
        looks
    });
    let people = People::invite().unwrap();
    for _ in 0..20 {
        let folder = Folder::make().unwrap();
        let gateway = start("http://127.0.0.1:1", folder.path(), &people).await.unwrap();
        assert!(gateway.serve_until(std::future::ready(())).await.journal_whole);
    }
    drop(done);
    assert!(looking.join().unwrap() > 20, "nobody looked");
}

#[tokio::test]
async fn the_upstream_takes_everything_the_demo_asks() {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let upstream = simulate::start(listen, Duration::ZERO, Duration::ZERO).await.unwrap();
    let caller = Caller::plain();
    let post = async |path: &str, body: &Value| {
        let request = Request::post(format!("{}{path}", upstream.url()))
            .header("x-api-key", "any")
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let answer = caller.call(request, Duration::from_secs(10)).await.unwrap();
        assert_eq!(answer.status, 200, "{body} {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
    };
    let mut dice = Dice::new(1);
    let dice = &mut dice;
    for _ in 0..20 {
        let asked =
            [samples::chat(dice), samples::title(dice), samples::extraction(dice), samples::story(dice)];
        for body in asked.iter().chain(&[samples::caption(dice), samples::novel(), samples::repeated()]) {
            post("/v1/messages", body).await;
        }
        post("/v1/messages/batches", &samples::batch(dice)).await;
    }
    let mut body = samples::review(dice);
    let mut ends = Vec::new();
    loop {
        let answer = post("/v1/messages", &body).await;
        ends.push(answer["stop_reason"].as_str().unwrap_or_default().to_owned());
        let Some(next) = samples::next_turn(body, &answer, 4) else { break };
        body = next;
    }
    assert_eq!(ends, ["tool_use", "end_turn", "tool_use", "end_turn"]);
    upstream.stop().await;
}
