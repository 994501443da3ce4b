//! The copy in ClickHouse, made by a running gateway and kept by ClickHouse's own engine: whole, and nothing twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::http::{ask, message, send};
use support::{ACME, House, RIVAL, TENANTS};
use tempfile::TempDir;
use tercet::simulated::{Behaviour, Options, Upstream};

/// ClickHouse's engine behind HTTP; its tables outlast the process.
struct Engine {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Engine {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder: TempDir::new().unwrap(), port, child: None }
    }

    fn start(&mut self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".cache/clickhouse/python/bin/python");
        assert!(python.exists(), "run scripts/clickhouse-engine (or make test) first");
        let mut command = Command::new(python);
        command.arg(root.join("tests/clickhouse/server.py")).arg(self.port.to_string());
        command.arg(self.folder.path()).args(["tercet", ACME]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        self.child = Some(child);
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn configuration(&self) -> String {
        format!(
            "{TENANTS}\n[clickhouse]\nurl = \"http://127.0.0.1:{}\"\nuser = \"tercet\"\npassword = {{ env = \"ACME_KEY\" }}\n",
            self.port
        )
    }

    async fn answers(&self, path: &str, body: &str) -> Result<String, String> {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let headers = [("x-clickhouse-user", "tercet"), ("x-clickhouse-key", "tct-acme-key")];
        let answer = send(Method::POST, &url, &headers, body.to_owned()).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        if answer.status == 200 { Ok(text) } else { Err(text) }
    }

    /// The rows that a query gives.
    async fn rows(&self, query: &str) -> Result<Vec<Value>, String> {
        let told = self.answers("?database=tercet&default_format=JSONEachRow", query).await?;
        Ok(told.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// Waits until the copy holds as many rows, once each, and returns its sums beside those of the hours.
    async fn holds(&self, count: usize) -> (Value, Value) {
        let all = "SELECT count() AS rows, sum(cost_nanousd) AS cost, sum(baseline_requested_nanousd) AS baseline, \
                   sum(output_tokens) AS output, countIf(outcome != 'ok') AS failed FROM requests FINAL";
        let hours = "SELECT sum(requests) AS rows, sum(cost_nanousd) AS cost, sum(baseline_requested_nanousd) AS baseline, \
                     sum(output_tokens) AS output, sum(failed) AS failed FROM hourly";
        let mut told = Err(String::new());
        for _ in 0..600 {
            told = self.rows(all).await;
            if told.as_ref().is_ok_and(|rows| whole(&rows[0]["rows"]) == count as i64) {
                let rows = told.unwrap().remove(0);
                return (rows, self.rows(hours).await.unwrap().remove(0));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the copy never held {count} rows: {told:?}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A whole number, which JSON of ClickHouse may quote.
fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

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
        "messages": [{ "role": "user", "content": "go" }, { "role": "assistant", "content": [call] },
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
    let house = House::start(&engine.configuration()).await;
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
    assert_eq!(row["failed_tools"], row["tools"]);
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
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_is_sent_once_whatever_fails() {
    let mut engine = Engine::new();
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let house = House::start_before(upstream, TempDir::new().unwrap(), &engine.configuration()).await;
    some_requests(&house).await;
    house.records_when(3).await;
    let (upstream, folder) = house.stop().await;

    // The server was down all the time of the first process. Then it takes a batch and its answer is lost.
    engine.start();
    engine.answers("lose", "1").await.unwrap();
    let house = House::start_before(upstream, folder, &engine.configuration()).await;
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
    let house = House::start_before(upstream, folder, &engine.configuration()).await;
    some_requests(&house).await;
    let records = house.records_when(12).await;
    agree(&records, &engine.holds(12).await);
    house.stop().await;
}
