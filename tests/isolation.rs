//! What is one tenant's, or the account's, stays from everybody else, end to end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use http::Method;
use serde_json::json;
use support::http::{Answer, ask, get, message, send};
use support::raw::{Played, keyed};
use support::{ACME, House, RIVAL, TENANTS};
use tempfile::TempDir;
use tercet::journal::ObjectType;
use tercet::simulated::{Behaviour, Options, Upstream};

fn belongs_to_acme(house: &House, kind: ObjectType, id: &str) {
    house.tercet.runtime.ownership.claim(kind, id, "acme");
}

fn reached(house: &House) -> Vec<String> {
    house.upstream.requests().into_iter().map(|seen| seen.path).collect()
}

/// Batches that the upstream has all of; one that breaks off makes none there.
fn whole_batches(house: &House) -> usize {
    let seen = house.upstream.requests();
    seen.iter().filter(|seen| serde_json::from_slice::<serde_json::Value>(&seen.body).is_ok()).count()
}

async fn batch(house: &House, key: &str, params: serde_json::Value) -> Answer {
    let body = json!({ "requests": [{ "custom_id": "a", "params": params }] }).to_string();
    send(Method::POST, &format!("{}/v1/messages/batches", house.url), &keyed(key), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_continues_nobody_else_s_thread() {
    let house = House::start(TENANTS).await;
    belongs_to_acme(&house, ObjectType::Thread, "msg_acme");
    let params = json!({ "model": "haiku", "max_tokens": 9, "messages": [{ "role": "user", "content": "go on" }],
        "thread": { "type": "continue", "previous_message_id": "msg_acme" } });
    assert_eq!(batch(&house, RIVAL, params.clone()).await.status, 400);
    assert_eq!(whole_batches(&house), 0, "the batch never arrived whole");
    batch(&house, ACME, params).await;
    assert_eq!(whole_batches(&house), 1);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_choice_in_a_batch_is_the_strongest_tier_its_tenant_may_use() {
    let house =
        House::start(&format!("{TENANTS}\n[tenants.acme.routing]\ntiers = [\"haiku\", \"sonnet\"]\n")).await;
    let params = json!({ "model": "tercet-auto", "max_tokens": 9,
        "messages": [{ "role": "user", "content": "hello" }] });
    assert_eq!(batch(&house, ACME, params.clone()).await.status, 200);
    assert_eq!(batch(&house, RIVAL, params).await.status, 200);
    let models: Vec<_> = house
        .upstream
        .requests()
        .iter()
        .map(|seen| serde_json::from_slice::<serde_json::Value>(&seen.body).unwrap())
        .map(|body| body["requests"][0]["params"]["model"].clone())
        .collect();
    assert_eq!(models, ["claude-sonnet-5-5", "claude-opus-5-5"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_found_behind_any_number_of_blocks_of_unknown_kinds() {
    let house = House::start(TENANTS).await;
    belongs_to_acme(&house, ObjectType::File, "file_acme");
    let mut content: Vec<_> = (0..70).map(|number| json!({ "type": format!("kind_{number}") })).collect();
    content.push(json!({ "type": "container_upload", "file_id": "file_acme" }));
    let body =
        json!({ "model": "haiku", "max_tokens": 9, "messages": [{ "role": "user", "content": content }] });
    for body in [body.to_string(), body.to_string().replace("file_id", "file\\u005fid")] {
        assert_eq!(message(&house.url, RIVAL, body).await.status, 404);
    }
    assert!(reached(&house).is_empty());
    assert_ne!(message(&house.url, ACME, body.to_string()).await.status, 404);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_code_execution_made_belongs_to_who_asked() {
    let played = Played::start(TENANTS).await;
    let answer = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-5-5",
        "content": [{ "type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": {
            "type": "bash_code_execution_result",
            "content": [{ "type": "bash_code_execution_output", "file_id": "file_made" }] } }],
        "stop_reason": "end_turn", "usage": { "input_tokens": 1, "output_tokens": 1 } });
    let (mut client, mut upstream, _) =
        played.cross("POST /v1/messages", &keyed(ACME), ask("claude-haiku-5-5", "draw")).await;
    upstream.answer("200 OK", &[("content-type", "application/json")], answer.to_string()).await;
    assert_eq!(client.whole().await.head.status(), 200);
    assert_eq!(get(&played.house.url, RIVAL, "/v1/files/file_made/content").await.status, 404);
    // The upstream's connection is kept, so the next request comes over it.
    client.request("DELETE /v1/files/file_made", &keyed(ACME), "").await;
    assert_eq!(upstream.whole().await.head.first, "DELETE /v1/files/file_made HTTP/1.1");
    upstream.answer("200 OK", &[("content-type", "application/json")], "{}").await;
    assert_eq!(client.whole().await.head.status(), 200);
    assert_eq!(get(&played.house.url, ACME, "/v1/files/file_made").await.status, 404, "deleted");
    let records = played.house.records_when(1).await;
    assert!(records[0]["objects"].to_string().contains("file_made"), "{}", records[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_escaped_cursor_is_checked_like_any_other() {
    let house = House::start(TENANTS).await;
    belongs_to_acme(&house, ObjectType::File, "file_acme");
    for query in ["after_id=file_acme", "after%5Fid=file_acme", "before%5fid=file_acme"] {
        assert_eq!(get(&house.url, RIVAL, &format!("/v1/files?{query}")).await.status, 404, "{query}");
    }
    assert!(reached(&house).is_empty());
    assert_eq!(get(&house.url, ACME, "/v1/files?after%5Fid=file_acme").await.status, 200);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tenants_a_kept_answer_is_for_its_own_credential() {
    let house = House::start("[cache]\nenabled = true\n[routing]\nmode = \"off\"\n").await;
    let body = ask("claude-haiku-5-5", "say hello");
    let caches =
        async |key: &str| message(&house.url, key, body.clone()).await.header("x-tercet-cache").to_owned();
    assert_eq!(caches("one").await, "miss");
    assert_eq!(caches("one").await, "hit");
    assert_eq!(caches("two").await, "miss");
    let nameless = [("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    for _ in 0..2 {
        let answer = send(Method::POST, &format!("{}/v1/messages", house.url), &nameless, body.clone()).await;
        assert_eq!((answer.status, answer.header("x-tercet-cache")), (200, "bypass"));
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_refused_or_paused_is_asked_for_again() {
    let house = House::start(&format!("[cache]\nenabled = true\n{TENANTS}")).await;
    for reason in ["refusal", "pause_turn"] {
        let body = ask("claude-haiku-5-5", reason);
        house.upstream.script(Behaviour::StopReason { reason: reason.to_owned() });
        for expected in ["miss", "miss", "hit"] {
            let answer = message(&house.url, ACME, body.clone()).await;
            assert_eq!(answer.header("x-tercet-cache"), expected, "{reason}");
        }
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_and_whereabouts_do_not_cross_our_account() {
    let played = Played::start(TENANTS).await;
    let mut headers = keyed(ACME);
    headers.extend([("cookie", "a=b"), ("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1")]);
    let (mut client, mut upstream, arrived) =
        played.cross("POST /v1/messages", &headers, ask("claude-haiku-5-5", "hello")).await;
    for name in ["cookie", "x-forwarded-for", "forwarded"] {
        assert_eq!(arrived.head.header(name), None, "{name}");
    }
    let answer = [("content-type", "application/json"), ("set-cookie", "account=ours")];
    upstream.answer("200 OK", &answer, support::raw::MESSAGE).await;
    assert_eq!(client.whole().await.head.header("set-cookie"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_cannot_spend_our_credential_on_loopback() {
    let house = House::start("").await;
    let url = format!("{}/v1/messages", house.url);
    for foreign in
        [("host", "evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")]
    {
        let mut headers = keyed("any");
        headers.push(foreign);
        let answer = send(Method::POST, &url, &headers, ask("claude-haiku-5-5", "hello")).await;
        assert_eq!(answer.status, 403, "{foreign:?}");
        assert_eq!(answer.json()["error"]["type"], "permission_error");
    }
    assert!(reached(&house).is_empty());
    assert_eq!(message(&house.url, "any", ask("claude-haiku-5-5", "hello")).await.status, 200);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_admin_token_holds_at_once() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("admin.token");
    std::fs::write(&file, "first-admin-token-0123").unwrap();
    let text = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"admin.token\" }\n\
                [upstream]\nbase_url = \"$UPSTREAM\"\n";
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let house = House::start_before(upstream, folder, text).await;
    let bearer = async |method: Method, path: &str, token: &str| {
        let token = format!("Bearer {token}");
        send(method, &format!("{}{path}", house.admin_url), &[("authorization", &token)], "").await.status
    };
    assert_eq!(bearer(Method::GET, "/admin/v1/keys", "first-admin-token-0123").await, 200);
    std::fs::write(&file, "second-admin-token-456").unwrap();
    assert_eq!(bearer(Method::POST, "/admin/v1/reload", "first-admin-token-0123").await, 200);
    assert_eq!(bearer(Method::GET, "/admin/v1/keys", "first-admin-token-0123").await, 401);
    assert_eq!(bearer(Method::GET, "/admin/v1/keys", "second-admin-token-456").await, 200);
    house.stop().await;
}
