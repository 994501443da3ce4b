//! What is known of workloads: `tercet workloads`, and a gateway that routes by it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::http::{Answer, message};
use support::{ACME, House, RIVAL, TENANTS, configuration, process};
use tempfile::TempDir;
use tercet::simulated::{Behaviour, Options, Upstream};

fn tercet(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tercet")).args(arguments).current_dir(folder).output().unwrap()
}

fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A request of a workload.
fn request(system: &str, number: usize) -> Value {
    let text = format!("Here is item number {number}: sort it with all of its parts, and do it well please.");
    json!({ "model": "claude-opus-5-5", "max_tokens": 1000, "system": system,
        "tools": [{ "name": "move", "description": "Moves a letter.",
            "input_schema": { "type": "object", "properties": { "to": { "type": "string" } } } }],
        "messages": [{ "role": "user", "content": text }] })
}

/// Outcomes of a workload: haiku's answers have this score, opus's are perfect.
fn outcomes(system: &str, haiku: f64) -> String {
    let line = |number: usize, tier: &str, score: f64| {
        format!("{}\n", json!({ "body": request(system, number), "tier": tier, "score": score }))
    };
    (0..20).map(|number| line(number, "haiku", haiku) + &line(number, "opus", 1.0)).collect()
}

/// A folder whose journal knows that haiku masters the sorting of mail and no proofs, for tenant `acme`.
fn taught() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("outcomes.jsonl"), outcomes(MAIL, 1.0) + &outcomes(PROOFS, 0.2)).unwrap();
    let learn = ["workloads", "learn", "outcomes.jsonl", "--tenant", "acme", "--journal", "data", "--json"];
    assert_eq!(told(&tercet(folder.path(), &learn))["learned"], 80);
    folder
}

async fn asked(house: &House, key: &str, system: &str, number: usize) -> Answer {
    let answer = message(&house.url, key, request(system, number).to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer
}

/// Haiku is asked by name, so that none but haiku refuses: were opus to refuse as much, it would be the usual.
async fn haiku_refuses(house: &House, key: &str, system: &str, number: usize) {
    house.upstream.script(Behaviour::Refusal { category: None });
    let mut body = request(system, number);
    body["model"] = json!("haiku");
    let answer = message(&house.url, key, body.to_string()).await;
    assert_eq!(answer.json()["stop_reason"], "refusal");
    assert_eq!(answer.header("x-tercet-tier"), "haiku");
}

const MAIL: &str = "You sort mail.";
const PROOFS: &str = "You prove theorems.";

#[test]
fn workloads_are_learned_listed_moved_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["one", "two"] {
        fs::create_dir(at.join(name)).unwrap();
    }
    fs::write(at.join("outcomes.jsonl"), outcomes(MAIL, 1.0)).unwrap();
    let learn = ["workloads", "learn", "outcomes.jsonl", "--tenant", "acme", "--journal", "one", "--json"];
    assert_eq!(told(&tercet(at, &learn))["learned"], 40);
    let list = |journal: &str, tenant: &str| {
        let listed =
            told(&tercet(at, &["workloads", "list", "--tenant", tenant, "--journal", journal, "--json"]));
        listed["workloads"].as_array().unwrap().clone()
    };
    let listed = list("one", "acme");
    assert_eq!(listed[0]["tiers"]["haiku"], json!({"quality": 1.0, "outcomes": 20.0}));
    assert!(list("one", "rival").is_empty());
    let exported = tercet(at, &["workloads", "export", "--journal", "one"]);
    fs::write(at.join("exported"), &exported.stdout).unwrap();
    let imported = told(&tercet(at, &["workloads", "import", "exported", "--journal", "two", "--json"]));
    assert_eq!(imported["imported"].as_u64().unwrap(), listed.len() as u64);
    assert_eq!(list("two", "acme"), listed);
    told(&tercet(at, &["workloads", "reset", "--tenant", "acme", "--journal", "two", "--json"]));
    assert!(list("two", "acme").is_empty());

    let half = &exported.stdout[..exported.stdout.len() - 30];
    fs::write(at.join("cut"), half).unwrap();
    let refused = tercet(at, &["workloads", "import", "cut", "--journal", "one"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing of the file was taken over"));
    assert_eq!(list("one", "acme"), listed, "the old ones stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_routes_by_the_outcomes_it_finds_and_records_whose_they_were() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let house = House::start_before(upstream, taught(), TENANTS).await;
    let mail = asked(&house, ACME, MAIL, 100).await;
    assert_eq!(mail.header("x-tercet-tier"), "haiku", "{}", mail.header("x-tercet-reason"));
    assert!(mail.header("x-tercet-reason").contains("workload-"));
    assert_eq!(asked(&house, ACME, PROOFS, 100).await.header("x-tercet-tier"), "opus");
    assert_eq!(asked(&house, RIVAL, MAIL, 100).await.header("x-tercet-tier"), "opus", "not its evidence");

    let records = house.records_when(3).await;
    let of = |at: usize, part: &str| records[at]["decision"][part].as_str().unwrap().to_owned();
    assert_ne!(of(0, "workload"), of(1, "workload"));
    let (_upstream, folder) = house.stop().await;
    let listed = told(&tercet(folder.path(), &["workloads", "list", "--journal", "data", "--json"]));
    let known =
        |name: &str| listed["workloads"].as_array().unwrap().iter().any(|one| one["workload"] == name);
    assert!(known(&of(0, "workload")) && known(&of(1, "workload")), "{listed}");

    let id = mail.header("x-tercet-request-id");
    let json = told(&tercet(folder.path(), &["explain", id, "--journal", "data", "--json"]));
    let text =
        String::from_utf8(tercet(folder.path(), &["explain", id, "--journal", "data"]).stdout).unwrap();
    for (label, part) in
        [("workload  ", "workload"), ("policy    ", "policy_version"), ("weights   ", "weights_version")]
    {
        assert_eq!(json[part], of(0, part).as_str());
        assert!(text.contains(&format!("{label} {}\n", of(0, part))), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_keeps_a_gateway_from_starting_and_is_left_as_it_was() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let folder = taught();
    let file = folder.path().join("data/workloads.jsonl");
    let whole = fs::read(&file).unwrap();
    let damaged = &whole[..whole.len() - 30];
    fs::write(&file, damaged).unwrap();
    let settings = folder.path().join("tercet.toml");
    fs::write(&settings, configuration(upstream.url(), folder.path(), TENANTS)).unwrap();
    let (code, _, error) = process::run(&["run", "--config", settings.to_str().unwrap()]);
    assert_ne!(code, 0);
    for part in ["workloads.jsonl", "line ", "nothing of the file was taken over", "move it aside"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(fs::read(&file).unwrap(), damaged);
    let beside: Vec<_> =
        fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(beside, [file], "it is told before a journal is begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_refusals_of_a_tier_end_the_routing_of_a_workload_there_also_after_a_restart() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let house = House::start_before(upstream, taught(), TENANTS).await;
    for number in 0..20 {
        assert_eq!(asked(&house, ACME, MAIL, 100 + number).await.header("x-tercet-tier"), "haiku");
    }
    for number in 0..10 {
        haiku_refuses(&house, ACME, MAIL, 200 + number).await;
    }
    assert_eq!(asked(&house, ACME, MAIL, 300).await.header("x-tercet-tier"), "opus");

    let (upstream, folder) = house.stop().await;
    let house = House::start_before(upstream, folder, TENANTS).await;
    assert_eq!(asked(&house, ACME, MAIL, 400).await.header("x-tercet-tier"), "opus");
    let (_upstream, folder) = house.stop().await;
    let reset = ["workloads", "reset", "--tenant", "acme", "--journal", "data", "--json"];
    assert!(told(&tercet(folder.path(), &reset))["forgotten"].as_u64() > Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_s_refusals_move_nobody_else_s_requests() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let folder = taught();
    let learn = ["workloads", "learn", "outcomes.jsonl", "--tenant", "rival", "--journal", "data", "--json"];
    told(&tercet(folder.path(), &learn));
    let house = House::start_before(upstream, folder, TENANTS).await;
    for number in 0..10 {
        haiku_refuses(&house, RIVAL, MAIL, 200 + number).await;
    }
    assert_eq!(asked(&house, RIVAL, MAIL, 300).await.header("x-tercet-tier"), "opus");
    assert_eq!(asked(&house, ACME, MAIL, 300).await.header("x-tercet-tier"), "haiku");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_fail_on_what_haiku_called_are_held_against_it() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let house = House::start_before(upstream, taught(), TENANTS).await;
    let with = |messages: Value| {
        let mut body = request(MAIL, 0);
        body["messages"] = messages;
        body.to_string()
    };
    let mut tiers = Vec::new();
    for number in 0..15 {
        let first = request(MAIL, 100 + number)["messages"][0].clone();
        house.upstream.script(Behaviour::CallTool { name: "move".into(), input: json!({ "to": "nowhere" }) });
        let call = message(&house.url, ACME, with(json!([first]))).await;
        assert_eq!(call.status, 200, "{:?}", call.body);
        tiers.push(format!("{} {}", call.header("x-tercet-tier"), call.header("x-tercet-reason")));
        let content = call.json()["content"].clone();
        let id = content.as_array().unwrap().iter().find(|block| block["type"] == "tool_use").unwrap()["id"]
            .clone();
        let result = json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id,
            "is_error": call.header("x-tercet-tier") == "haiku", "content": "no such place" }] });
        let next = with(json!([first, { "role": "assistant", "content": content }, result]));
        let answer = message(&house.url, ACME, next).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    assert!(tiers[0].starts_with("haiku ") && tiers[14].starts_with("opus "), "{tiers:?}");
    house.stop().await;
}

/// What was seen of a tier's answers to a tenant's workloads: cases of a sign, by its name in the file.
fn cases(house: &House, sign: &str, tier: usize) -> f64 {
    let written = house.tercet.runtime.workloads.written(Some("acme"));
    let one = written.iter().find(|one| one.level.code() == "workload-exact").unwrap();
    serde_json::to_value(one).unwrap()["troubles"][sign]["cases"][tier].as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_again_or_contradicted_or_called_wrongly_is_noted_against_its_tier() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    // A single case must not move the workload up within this test.
    let text = format!("{TENANTS}[tenants.acme.routing]\nquality = 0.8\n");
    let house = House::start_before(upstream, taught(), &text).await;
    let with = |messages: Value| {
        let mut body = request(MAIL, 0);
        body["messages"] = messages;
        body.to_string()
    };
    let ask = async |messages: Value| {
        let answer = message(&house.url, ACME, with(messages)).await;
        assert_eq!((answer.status, answer.header("x-tercet-tier")), (200, "haiku"), "{:?}", answer.body);
        json!({ "role": "assistant", "content": answer.json()["content"] })
    };
    let first = request(MAIL, 7)["messages"][0].clone();
    let user = |text: &str| json!({ "role": "user", "content": text });
    let answer = ask(json!([first])).await;
    assert_eq!(cases(&house, "again", 0), 0.0);
    ask(json!([first])).await;
    assert_eq!(cases(&house, "again", 0), 1.0, "the same request, at once");
    ask(json!([first, answer, first])).await;
    assert_eq!(cases(&house, "again", 0), 2.0, "the same turn");
    ask(json!([first, answer, user("No, that goes to the archive with all of its parts.")])).await;
    assert_eq!(cases(&house, "again", 0), 3.0, "a contradiction");
    ask(json!([first, answer, user("Thanks. Sort the next one, with all of its parts.")])).await;
    assert_eq!(cases(&house, "again", 0), 3.0, "a turn like others");

    for (input, noted) in [(json!({ "to": "x" }), 0.0), (json!({ "to": 7 }), 1.0)] {
        house.upstream.script(Behaviour::CallTool { name: "move".into(), input: input.clone() });
        let call =
            ask(json!([user(&format!("Move item {input} to its place, with all of its parts."))])).await;
        let blocks = call["content"].as_array().unwrap();
        let id = &blocks.iter().find(|block| block["type"] == "tool_use").unwrap()["id"];
        let result = json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id, "content": "ok" }] });
        let first = user(&format!("Move item {input} to its place, with all of its parts."));
        ask(json!([first, call, result])).await;
        assert_eq!(cases(&house, "tools", 0), noted, "{input}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_forgets_one_tenant_s_workloads_while_the_gateway_runs() {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let folder = taught();
    let learn = ["workloads", "learn", "outcomes.jsonl", "--tenant", "rival", "--journal", "data", "--json"];
    told(&tercet(folder.path(), &learn));
    let house = House::start_before(upstream, folder, TENANTS).await;
    let call = async |method: http::Method, query: &str| {
        let url = format!("{}/admin/v1/workloads{query}", house.admin_url);
        support::http::send(method, &url, &[("content-type", "application/json")], "").await
    };
    let listed = call(http::Method::GET, "?tenant=acme").await.json()["workloads"].clone();
    assert!(listed.as_array().unwrap().iter().all(|one| one["tenant"] == "acme"));
    assert_eq!(call(http::Method::DELETE, "").await.status, 400, "whose must be said");
    let forgotten = call(http::Method::DELETE, "?tenant=acme").await.json()["forgotten"].as_u64();
    assert_eq!(forgotten, Some(listed.as_array().unwrap().len() as u64));
    assert_eq!(call(http::Method::GET, "?tenant=acme").await.json()["workloads"], json!([]));
    assert_eq!(asked(&house, ACME, MAIL, 100).await.header("x-tercet-tier"), "opus");
    assert_eq!(asked(&house, RIVAL, MAIL, 100).await.header("x-tercet-tier"), "haiku", "nobody else's");
    let url = format!("{}/admin/v1/changes?subject=tenant:acme", house.admin_url);
    let changes = support::http::send(http::Method::GET, &url, &[], "").await.json();
    assert_eq!(changes["data"][0]["action"], "workloads.reset");
    let (_upstream, folder) = house.stop().await;
    let list = ["workloads", "list", "--tenant", "rival", "--journal", "data", "--json"];
    assert!(!told(&tercet(folder.path(), &list))["workloads"].as_array().unwrap().is_empty());
}
