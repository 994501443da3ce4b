//! Batches: whose they are, what their items may name, and where their results are.

use serde_json::{Value, json};
use tercet::simulated::Behaviour;

use super::support::{ACME, House, RIVAL, TENANTS};
use super::{FILES, assert_not_found, call, document, ids, message, restarted, upload};

fn batch(items: &[Value]) -> String {
    let item =
        |(index, params): (usize, &Value)| json!({ "custom_id": format!("item-{index}"), "params": params });
    json!({ "requests": items.iter().enumerate().map(item).collect::<Vec<_>>() }).to_string()
}

async fn create(house: &House, key: &str, items: &[Value]) -> Value {
    let answer = call(house, key, "POST /v1/messages/batches", "", batch(items)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()
}

fn asks(model: &str) -> Value {
    let mut body = message(&json!("say hello"));
    body["model"] = json!(model);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_its_tenant_s_alone_and_stays_so_after_a_restart() {
    let mut house = House::start(TENANTS).await;
    let mine = create(&house, ACME, &[asks("claude-haiku-5-5")]).await["id"].as_str().unwrap().to_owned();
    let theirs = create(&house, RIVAL, &[asks("claude-haiku-5-5")]).await["id"].as_str().unwrap().to_owned();
    for round in ["at first", "after a restart"] {
        for (key, id) in [(ACME, &mine), (RIVAL, &theirs)] {
            for query in ["", "?limit=1"] {
                let list = call(&house, key, &format!("GET /v1/messages/batches{query}"), "", "").await;
                assert_eq!(ids(&list), [id.as_str()], "{round} {query}");
            }
        }
        for line in ["GET ID", "GET ID/results", "POST ID/cancel", "DELETE ID"] {
            let line = line.replace("ID", &format!("/v1/messages/batches/{mine}"));
            assert_not_found(&call(&house, RIVAL, &line, "", "").await, &line);
        }
        let after = format!("GET /v1/messages/batches?after_id={mine}");
        assert_not_found(&call(&house, RIVAL, &after, "", "").await, "a foreign cursor");
        let own = call(&house, ACME, &format!("GET /v1/messages/batches/{mine}"), "", "").await;
        assert_eq!((own.status, &own.json()["id"]), (200, &mine.as_str().into()), "{round}");
        house = restarted(house).await;
    }
    let gone = call(&house, ACME, &format!("DELETE /v1/messages/batches/{mine}"), "", "").await;
    assert_eq!(gone.json()["type"], "message_batch_deleted");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_come_through_us_when_created_listed_or_fetched() {
    let house = House::start(TENANTS).await;
    let made = create(&house, ACME, &[asks("claude-haiku-5-5")]).await;
    let id = made["id"].as_str().unwrap();
    let results = format!("{}/v1/messages/batches/{id}/results", house.url);
    let listed = call(&house, ACME, "GET /v1/messages/batches", "", "").await.json();
    let fetched = call(&house, ACME, &format!("GET /v1/messages/batches/{id}"), "", "").await.json();
    for batch in [&made, &listed["data"][0], &fetched] {
        assert_eq!(batch["results_url"], results.as_str());
    }
    let lines = call(&house, ACME, &format!("GET /v1/messages/batches/{id}/results"), "", "").await;
    assert_eq!(lines.header("content-type"), "application/x-jsonl");
    assert_eq!(lines.json()["result"]["type"], "succeeded");

    house.upstream.script(Behaviour::BatchDelay { ms: 60_000 });
    let running = create(&house, ACME, &[asks("claude-haiku-5-5")]).await;
    assert_eq!(running["results_url"], Value::Null);
    let cancel = format!("POST /v1/messages/batches/{}/cancel", running["id"].as_str().unwrap());
    let canceled = call(&house, ACME, &cancel, "", "").await.json();
    assert!(canceled["results_url"].as_str().unwrap().starts_with(&house.url), "{canceled}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_in_items_are_resolved_and_a_thousand_items_stream_through() {
    let house = House::start(TENANTS).await;
    let models = ["haiku", "sonnet", "opus", "tercet-auto", "claude-tercet-auto", "claude-sonnet-5"];
    let items: Vec<Value> = (0..1_000).map(|index| asks(models[index % models.len()])).collect();
    let made = create(&house, ACME, &items).await;
    assert_eq!(made["request_counts"]["succeeded"], 1_000, "{made}");
    let seen = house.upstream.requests();
    let sent: Value = serde_json::from_slice(&seen.last().unwrap().body).unwrap();
    let expected = [
        "claude-haiku-5-5",
        "claude-sonnet-5-5",
        "claude-opus-5-5",
        "claude-opus-5-5",
        "claude-opus-5-5",
        "claude-sonnet-5",
    ];
    for (index, item) in sent["requests"].as_array().unwrap().iter().enumerate() {
        assert_eq!(item["params"]["model"], expected[index % expected.len()], "{index}");
    }
    let path = format!("GET /v1/messages/batches/{}/results", made["id"].as_str().unwrap());
    let lines = call(&house, ACME, &path, "", "").await;
    assert_eq!(lines.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), 1_000);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_batch_is_refused_and_says_why() {
    let house = House::start(TENANTS).await;
    let good = batch(&[asks("haiku"), asks("haiku")]);
    for (body, why) in [
        (good[..good.len() - 2].to_owned(), ""),
        (format!("{good}{good}"), ""),
        ("[]".to_owned(), "object"),
        ("{}".to_owned(), "requests"),
        (good.replacen("\"haiku\"", "5", 1), "requests.0.params.model"),
        (good.replacen("\"model\":\"haiku\"", "\"model\":\"haiku\",\"model\":\"opus\"", 1), "given twice"),
        (good.replacen("\"model\"", "\"\\u006dodel\"", 1), "escape"),
        (good.replacen("\"params\"", "\"params\":{},\"params\"", 1), "requests.0.params"),
    ] {
        let answer = call(&house, ACME, "POST /v1/messages/batches", "", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {:?}", answer.body);
        let error = answer.json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains(why), "{body}: {error}");
    }
    assert!(ids(&call(&house, ACME, "GET /v1/messages/batches", "", "").await).is_empty());
    create(&house, ACME, &[asks("haiku")]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_names_no_other_tenant_s_file_or_container() {
    let house = House::start(TENANTS).await;
    let mine = upload(&house, ACME, "acme.txt").await;
    let mut foreign = [asks("haiku"), asks("haiku"), asks("haiku"), message(&document(&mine))];
    foreign[1]["container"] = json!("container_1");
    foreign[2]["container"] = json!({ "id": "container_1", "skills": [] });
    for params in &foreign[1..] {
        let body = batch(&[asks("haiku"), params.clone()]);
        for body in [body.replace("\"file_id\"", "\"file\\u005fid\""), body] {
            let answer = call(&house, RIVAL, "POST /v1/messages/batches", FILES, body).await;
            assert_eq!(answer.status, 400, "{:?}", answer.body);
            assert!(
                answer.json()["error"]["message"].as_str().unwrap().contains("requests.1.params"),
                "{:?}",
                answer.body
            );
        }
    }
    assert!(ids(&call(&house, RIVAL, "GET /v1/messages/batches", "", "").await).is_empty());
    let own = call(&house, ACME, "POST /v1/messages/batches", FILES, batch(&foreign[3..])).await;
    assert_eq!(own.status, 200, "{:?}", own.body);
    house.stop().await;
}
