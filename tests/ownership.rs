//! With our credential one upstream account holds every tenant's objects, and no tenant reaches another's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

#[path = "ownership/batches.rs"]
mod batches;

use http::Method;
use serde_json::{Value, json};
use support::http::{Answer, send};
use support::{ACME, House, RIVAL, TENANTS};
use tempfile::TempDir;

const FILES: &str = "files-api-2025-04-14";
const THREADS: &str = "message-threads-2026-08-12";
const CODE: &str = "code-execution-2025-08-25";

async fn call(house: &House, key: &str, line: &str, betas: &str, body: impl Into<String>) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let mut headers = vec![("x-api-key", key), ("anthropic-version", "2026-10-21")];
    if !betas.is_empty() {
        headers.push(("anthropic-beta", betas));
    }
    let kind = if path == "/v1/files" { "multipart/form-data; boundary=cut" } else { "application/json" };
    headers.push(("content-type", kind));
    let method: Method = method.parse().unwrap();
    send(method, &format!("{}{path}", house.url), &headers, body.into()).await
}

fn ids(list: &Answer) -> Vec<String> {
    let list = list.json();
    list["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn assert_not_found(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 404, "{what}: {:?}", answer.body);
    assert_eq!(answer.json()["error"]["type"], "not_found_error", "{what}");
}

async fn restarted(house: House) -> House {
    let (upstream, folder): (_, TempDir) = house.stop().await;
    House::start_before(upstream, folder, TENANTS).await
}

async fn upload(house: &House, key: &str, name: &str) -> String {
    let body = format!(
        "--cut\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\ncontent-type: text/plain\r\n\r\n\
         the text of {name}\r\n--cut--\r\n"
    );
    let answer = call(house, key, "POST /v1/files", FILES, body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn message(content: &Value) -> Value {
    json!({ "model": "claude-opus-5-5", "max_tokens": 1000, "messages": [{ "role": "user", "content": content }] })
}

fn document(file: &str) -> Value {
    json!([{ "type": "document", "source": { "type": "file", "file_id": file } }, { "type": "text", "text": "say it" }])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_its_tenant_s_alone_and_stays_so_after_a_restart() {
    let mut house = House::start(TENANTS).await;
    let mine = upload(&house, ACME, "output_acme.txt").await;
    let theirs = upload(&house, RIVAL, "output_rival.txt").await;
    for round in ["at first", "after a restart"] {
        assert_eq!(ids(&call(&house, ACME, "GET /v1/files", FILES, "").await), [mine.as_str()], "{round}");
        assert_eq!(
            ids(&call(&house, RIVAL, "GET /v1/files?limit=1", FILES, "").await),
            [theirs.as_str()],
            "{round}"
        );
        // The rival's file is the newer one, so the first page of one holds nothing of acme's.
        assert_eq!(
            ids(&call(&house, ACME, "GET /v1/files?limit=1", FILES, "").await),
            [mine.as_str()],
            "{round}"
        );
        let named = format!("GET /v1/files?ids[]={mine}&ids[]={theirs}");
        assert_eq!(ids(&call(&house, RIVAL, &named, FILES, "").await), [theirs.as_str()], "{round}");
        for line in ["GET /v1/files/ID", "GET /v1/files/ID/content", "DELETE /v1/files/ID"] {
            let foreign = call(&house, RIVAL, &line.replace("ID", &mine), FILES, "").await;
            assert_not_found(&foreign, line);
        }
        let content = call(&house, ACME, &format!("GET /v1/files/{mine}/content"), FILES, "").await;
        assert_eq!((content.status, content.body.as_ref()), (200, &b"the text of output_acme.txt"[..]));
        house = restarted(house).await;
    }
    let gone = call(&house, ACME, &format!("DELETE /v1/files/{mine}"), FILES, "").await;
    assert_eq!((gone.status, &gone.json()["id"]), (200, &mine.as_str().into()));
    assert_eq!(ids(&call(&house, RIVAL, "GET /v1/files", FILES, "").await), [theirs]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_names_no_other_tenant_s_file() {
    let house = House::start(TENANTS).await;
    let mine = upload(&house, ACME, "acme.txt").await;
    let before = house.upstream.requests().len();
    let upload_block =
        json!([{ "type": "container_upload", "file_id": mine }, { "type": "text", "text": "say it" }]);
    let nested = json!([{ "type": "tool_result", "tool_use_id": "toolu_1", "content": document(&mine) }]);
    for (named, content) in
        [("document", document(&mine)), ("container_upload", upload_block), ("tool_result", nested)]
    {
        for line in ["POST /v1/messages", "POST /v1/messages/count_tokens"] {
            let foreign = call(&house, RIVAL, line, FILES, message(&content).to_string()).await;
            assert_not_found(&foreign, named);
        }
        let escaped = message(&content).to_string().replace("\"file_id\"", "\"file\\u005fid\"");
        let foreign = call(&house, RIVAL, "POST /v1/messages", FILES, escaped).await;
        assert!(matches!(foreign.status, 400 | 404), "{named}: {:?}", foreign.body);
    }
    assert_eq!(house.upstream.requests().len(), before, "the upstream was not asked");
    let own = call(&house, ACME, "POST /v1/messages", FILES, message(&document(&mine)).to_string()).await;
    assert_eq!(own.status, 200, "{:?}", own.body);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_may_have_a_field_called_file_id() {
    let house = House::start(TENANTS).await;
    let image = json!([{ "type": "image", "source": { "type": "url", "url": "https://example.com/a.png" } }]);
    let mut body = message(&image);
    let schema = json!({ "type": "object", "properties": { "file_id": { "type": "string" } } });
    body["tools"] = json!([{ "name": "open", "description": "opens", "input_schema": schema }]);
    body["messages"] = json!([
        body["messages"][0],
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "toolu_1", "name": "open", "input": { "file_id": "row 7" } }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "content": "opened" }] },
    ]);
    let answer = call(&house, ACME, "POST /v1/messages", "", body.to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_its_tenant_s_alone_and_stays_so_after_a_restart() {
    let mut house = House::start(TENANTS).await;
    let mut body = message(&json!("say hello"));
    body["tools"] = json!([{ "type": "code_execution_20250825", "name": "code_execution" }]);
    let made = call(&house, ACME, "POST /v1/messages", CODE, body.to_string()).await;
    let container = made.json()["container"]["id"].as_str().unwrap().to_owned();
    for round in ["at first", "after a restart"] {
        for form in [json!(container), json!({ "id": container })] {
            body["container"] = form;
            let foreign = call(&house, RIVAL, "POST /v1/messages", CODE, body.to_string()).await;
            assert_not_found(&foreign, round);
        }
        body["container"] = json!(container);
        let own = call(&house, ACME, "POST /v1/messages", CODE, body.to_string()).await;
        assert_eq!(own.status, 200, "{round}: {:?}", own.body);
        house = restarted(house).await;
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_is_continued_by_its_tenant_alone_even_after_a_restart() {
    let mut house = House::start(TENANTS).await;
    let mut body = message(&json!("say one"));
    body["thread"] = json!({ "type": "create" });
    let made = call(&house, ACME, "POST /v1/messages", THREADS, body.to_string()).await;
    assert_eq!(made.status, 200, "{:?}", made.body);
    let mut last = made.json()["id"].as_str().unwrap().to_owned();
    for round in ["at first", "after a restart"] {
        body["thread"] = json!({ "type": "continue", "previous_message_id": last });
        let foreign = call(&house, RIVAL, "POST /v1/messages", THREADS, body.to_string()).await;
        assert_not_found(&foreign, round);
        let own = call(&house, ACME, "POST /v1/messages", THREADS, body.to_string()).await;
        assert_eq!(own.status, 200, "{round}: {:?}", own.body);
        own.json()["id"].as_str().unwrap().clone_into(&mut last);
        if round == "at first" {
            house = restarted(house).await;
        }
    }
    house.stop().await;
}
