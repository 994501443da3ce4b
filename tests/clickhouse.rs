//! The copy in ClickHouse, made by a running gateway and kept by ClickHouse's own engine: whole, and nothing twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use http::Method;
use serde_json::{Value, json};
use support::clickhouse::{Engine, whole};
use support::http::{ask, get, message, send};
use support::read::{metric, until_told};
use support::{ACME, House, RIVAL, TENANTS};
use tempfile::TempDir;
use tercet::simulated::{Behaviour, Options, Upstream};

/// The copy, its hours and the journal say the same, to the nano-dollar.
fn agree(records: &[Value], (rows, hours): &(Value, Value)) {
    let sum = |of: &dyn Fn(&Value) -> i64| records.iter().map(of).sum::<i64>();
    let expected = [
        ("rows", records.len() as i64),
        ("cost", sum(&|record| record["cost_nanousd"].as_i64().unwrap())),
        ("baseline", sum(&|record| record["baseline_nanousd"]["requested"].as_i64().unwrap())),
        ("output", sum(&|record| record["output_tokens"].as_i64().unwrap())),
        ("failed", sum(&|record| i64::from(record["outcome"] != "ok"))),
    ];
    for (name, expected) in expected {
        assert_eq!((whole(&rows[name]), whole(&hours[name])), (expected, expected), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_one_s_own_authority_is_trusted_by_its_roots_only() {
    let folder = TempDir::new().unwrap();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (both, roots) = (folder.path().join("both.pem"), folder.path().join("roots.pem"));
    std::fs::write(&both, signed.signing_key.serialize_pem() + &signed.cert.pem()).unwrap();
    std::fs::write(&roots, signed.cert.pem()).unwrap();
    let mut engine = Engine::new().with_certificate(both);
    engine.start();
    let house = House::start(&format!("{TENANTS}{}", engine.section(None))).await;
    some_requests(&house).await;
    let page = async || String::from_utf8(get(&house.admin_url, "", "/metrics").await.body.to_vec()).unwrap();
    until_told(page, "tercet_copy_failures_total{copy=\"clickhouse\"} 1").await;
    let page = page().await;
    assert!(metric(&page, "tercet_copy_lag_records", "copy=\"clickhouse\"") >= 3_000_000_000, "{page}");
    let (upstream, folder_of_house) = house.stop().await;
    let house =
        House::start_before(upstream, folder_of_house, &format!("{TENANTS}{}", engine.section(Some(&roots))))
            .await;
    let records = house.records_when(3).await;
    let page = async || String::from_utf8(get(&house.admin_url, "", "/metrics").await.body.to_vec()).unwrap();
    until_told(page, "tercet_copy_lag_records{copy=\"clickhouse\"} 0").await;
    house.stop().await;
    // What came by TLS is read without.
    engine.stop();
    engine.certificate = None;
    engine.start();
    agree(&records, &engine.holds(3).await);
}

async fn some_requests(house: &House) {
    for (key, model) in [(ACME, "claude-opus-5-5"), (RIVAL, "haiku"), (ACME, "claude-sonnet-5-5")] {
        assert_eq!(message(&house.url, key, ask(model, "say hi")).await.status, 200);
    }
}

/// A later turn of a session, with a tool that failed.
async fn a_turn(house: &House) {
    let call = json!({ "type": "tool_use", "id": "toolu_1", "name": "O'Bash\\", "input": {} });
    let result =
        json!({ "type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": "no" });
    let body = json!({ "model": "claude-opus-5-5", "max_tokens": 64,
        "tools": [{ "name": "O'Bash\\", "input_schema": { "type": "object" } }],
        "messages": [{ "role": "user", "content": "go, ada@acme.io" }, { "role": "assistant", "content": [call] },
            { "role": "user", "content": [result] }] });
    let headers = [
        ("x-api-key", ACME),
        ("anthropic-version", "2023-06-01"),
        ("content-type", "application/json"),
        ("x-claude-code-session-id", "5f0e4a2c-6a3b-4a2e-9f57-2f4f1d8d6c11"),
        ("x-tercet-tags", "team-a, ünï"),
    ];
    send(Method::POST, &format!("{}/v1/messages", house.url), &headers, body.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_is_whole_and_the_questions_have_answers() {
    let mut engine = Engine::new();
    engine.start();
    let guard = "[[guards]]\ndetect = [\"email\"]\naction = \"flag\"\n";
    let text = format!("{TENANTS}{guard}{}", engine.section(None));
    let house = House::start(&text).await;
    some_requests(&house).await;
    a_turn(&house).await;
    house.upstream.script(Behaviour::Refusal { category: None });
    some_requests(&house).await;
    let refused = message(&house.url, ACME, "{}").await;
    assert_eq!(refused.status, 400);
    let records = house.records_when(8).await;
    agree(&records, &engine.holds(records.len()).await);

    let row = "SELECT * EXCEPT record_hash, lower(hex(record_hash)) AS hash FROM requests FINAL WHERE session_id != ''";
    let row = engine.rows(row).await.unwrap().remove(0);
    let record = records.iter().find(|record| !record["session_id"].is_null()).unwrap();
    for name in [
        "hash",
        "request_id",
        "tenant",
        "key_id",
        "requested_model",
        "sent_model",
        "tier",
        "outcome",
        "cache",
        "mode",
    ] {
        assert_eq!(row[name], record[name], "{name}");
    }
    assert_eq!((&row["tags"], &row["tools"]), (&json!(["team-a", "ünï"]), &json!(["O'Bash\\"])));
    assert_eq!((&row["failed_tools"], &row["guards"]), (&row["tools"], &json!(["flag:email"])));
    assert_eq!(row["reasons"][0], record["decision"]["reasons"][0]["code"]);
    let time = record["timestamp"].as_str().unwrap().replace('T', " ");
    assert_eq!(row["ts"].as_str().unwrap(), time.trim_end_matches('Z'));

    let questions = include_str!("../docs/clickhouse.md").split("```sql\n").skip(1);
    let questions: Vec<&str> = questions.map(|part| part.split("```").next().unwrap()).collect();
    assert_eq!(questions.len(), 11);
    for question in questions {
        let answer = engine.rows(question).await;
        assert!(answer.as_ref().is_ok_and(|rows| !rows.is_empty()), "{question}\n{answer:?}");
    }
    let (upstream, folder) = house.stop().await;

    // Tables of an earlier build get the columns that they lack.
    engine.rows("ALTER TABLE requests DROP COLUMN guards").await.unwrap();
    let house = House::start_before(upstream, folder, &text).await;
    a_turn(&house).await;
    let records = house.records_when(9).await;
    agree(&records, &engine.holds(records.len()).await);
    let flagged = engine.rows("SELECT count() AS flagged FROM requests FINAL WHERE notEmpty(guards)").await;
    assert_eq!(whole(&flagged.unwrap()[0]["flagged"]), 1);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_is_sent_once_whatever_fails() {
    let mut engine = Engine::new();
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let house =
        House::start_before(upstream, TempDir::new().unwrap(), &format!("{TENANTS}{}", engine.section(None)))
            .await;
    some_requests(&house).await;
    house.records_when(3).await;
    let (upstream, folder) = house.stop().await;

    // The server was down all the time of the first process. Then it takes a batch and its answer is lost.
    engine.start();
    engine.answers("lose", "1").await.unwrap();
    let house = House::start_before(upstream, folder, &format!("{TENANTS}{}", engine.section(None))).await;
    engine.holds(3).await;
    some_requests(&house).await;
    let records = house.records_when(6).await;
    let sums = engine.holds(6).await;
    agree(&records, &sums);

    // It goes down, and comes back while its answers are lost as the gateway ends.
    engine.stop();
    some_requests(&house).await;
    house.records_when(9).await;
    engine.start();
    engine.answers("lose", "1000").await.unwrap();
    engine.holds(9).await;
    let (upstream, folder) = house.stop().await;
    engine.answers("lose", "0").await.unwrap();
    let house = House::start_before(upstream, folder, &format!("{TENANTS}{}", engine.section(None))).await;
    some_requests(&house).await;
    let records = house.records_when(12).await;
    agree(&records, &engine.holds(12).await);
    house.stop().await;
}
