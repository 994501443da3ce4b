//! Clients that break the upstream's prompt cache are told so, with what it costs; those that do not are not.

use std::process::Command;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tercet::clock::Clock;
use tercet::simulated::{Options, Upstream};

use super::support::http::{get, send};
use super::support::read::metric;
use super::support::{ACME, House, TENANTS};

/// How a client behaves: its name, what it marks, seconds between requests, and whether its system prompt changes.
type Client = (&'static str, Option<Value>, u64, bool);

fn clients() -> [Client; 6] {
    let five = || Some(json!({ "type": "ephemeral" }));
    let hour = || Some(json!({ "type": "ephemeral", "ttl": "1h" }));
    [
        ("changing", five(), 10, true),
        ("unmarked", None, 10, false),
        ("late", five(), 600, false),
        ("careful", five(), 10, false),
        ("patient", hour(), 600, false),
        ("hopeless", None, 10, true),
    ]
}

const REQUESTS: usize = 6;

fn body((name, marks, _, changes): &Client, number: usize) -> String {
    let at = if *changes { number } else { 0 };
    // Letters only, so that each client is a workload of its own; all are of one length but for the name.
    let text =
        format!("You serve {name:_<10}. Request 00{at}. {}", "Answer in short and plain words. ".repeat(700));
    let mut system = json!([{ "type": "text", "text": text }]);
    if let Some(marks) = marks {
        system[0]["cache_control"] = marks.clone();
    }
    let asked = format!("say {}", ["one", "two", "six", "ten", "red", "sea"][number]);
    json!({ "model": "claude-haiku-5-5", "max_tokens": 100, "system": system, "messages": [{ "role": "user", "content": asked }] })
        .to_string()
}

/// Sends the requests of a client, and returns what the upstream billed for them.
async fn play(house: &House, clock: &Clock, client: &Client) -> i64 {
    let billed =
        || house.upstream.bill().iter().map(|call| i64::try_from(call.nanousd).unwrap()).sum::<i64>();
    let before = billed();
    for number in 0..REQUESTS {
        let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01"), ("x-tercet-tags", client.0)];
        let url = format!("{}/v1/messages", house.url);
        let answer = send(Method::POST, &url, &headers, body(client, number)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let gap = Duration::from_secs(client.2);
        clock.advance(gap);
        house.upstream.advance(gap);
    }
    billed() - before
}

fn of<'a>(told: &'a Value, records: &[Value], name: &str) -> &'a Value {
    let record = records.iter().find(|record| record["tags"][0] == name).unwrap();
    let workload = &record["prompt_cache"]["workload"];
    let all = told["workloads"].as_array().unwrap();
    all.iter().find(|one| one["workload"] == *workload).unwrap_or_else(|| panic!("{name}: {told}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_is_told_with_what_mending_it_saves_and_care_is_not() {
    let clock = Clock::manual("2026-11-20T08:00:00Z".parse().unwrap());
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let text = TENANTS.replace("enforce", "off");
    let house = House::start_by(clock.clone(), upstream, TempDir::new().unwrap(), &text).await;
    let mut bills = Vec::new();
    for client in clients() {
        bills.push(play(&house, &clock, &client).await);
    }
    let [changing, unmarked, late, careful, patient, _] = bills.try_into().unwrap();
    let records = house.records_when(6 * REQUESTS).await;
    let told = get(&house.admin_url, "", "/admin/v1/prompt-cache?tenant=acme").await.json();
    for (name, cause, saved) in [
        ("changing", "system-prompt-changes", changing - careful),
        ("unmarked", "breakpoints-missing", unmarked - careful),
        ("late", "ttl-too-short", late - patient),
    ] {
        let one = of(&told, &records, name);
        let [found] = one["breaks"].as_array().unwrap().as_slice() else { panic!("{name}: {one}") };
        assert_eq!((&found["cause"], &found["occasions"]), (&json!(cause), &json!(REQUESTS - 1)), "{name}");
        let at_stake = found["at_stake_nanousd"].as_i64().unwrap();
        // Tokens of a part of a prompt are known by its share of the bytes.
        assert!((at_stake - saved).abs() * 20 <= saved, "{name}: {at_stake} is told, the bill says {saved}");
    }
    for name in ["careful", "patient", "hopeless"] {
        assert_eq!(of(&told, &records, name)["breaks"], json!([]), "{name}");
    }
    let read = |name: &str| of(&told, &records, name)["read_permille"].as_u64().unwrap();
    assert!(read("careful") > 800 && read("patient") > 800 && read("late") == 0 && read("unmarked") == 0);
    let nobody = get(&house.admin_url, "", "/admin/v1/prompt-cache?tenant=rival").await.json();
    assert_eq!(nobody["workloads"], json!([]));

    let metrics = String::from_utf8(get(&house.admin_url, "", "/metrics").await.body.to_vec()).unwrap();
    let whole = metric(&metrics, "tercet_prompt_cache_at_stake_usd", "tenant=\"acme\"");
    assert_eq!(whole, told["at_stake_nanousd"].as_i64().unwrap());
    let page = String::from_utf8(get(&house.admin_url, "", "/sessions").await.body.to_vec()).unwrap();
    assert!(page.contains("system-prompt-changes") && page.contains("ask for a ttl of 1h"), "{page}");

    let (upstream, folder) = house.stop().await;
    let shown = Command::new(env!("CARGO_BIN_EXE_tercet"))
        .args(["usage", "--prompt-cache", "--json", "--journal"])
        .arg(folder.path().join("data"))
        .current_dir(folder.path().join("data"))
        .output()
        .unwrap();
    let by_verb: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(by_verb, told, "{}", String::from_utf8_lossy(&shown.stderr));
    let house = House::start_by(clock, upstream, folder, &text).await;
    let again = get(&house.admin_url, "", "/admin/v1/prompt-cache").await.json();
    assert_eq!(again, told, "the journal holds it all");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_client_marks_is_touched_and_nothing_is_marked_for_it() {
    let house = House::start(&TENANTS.replace("enforce", "off")).await;
    for client in clients() {
        let sent = body(&client, 0);
        let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01")];
        let answer = send(Method::POST, &format!("{}/v1/messages", house.url), &headers, sent.clone()).await;
        assert_eq!(answer.status, 200);
        let seen = house.upstream.requests();
        assert_eq!(seen.last().unwrap().body, sent.as_bytes(), "{}", client.0);
    }
    house.stop().await;
}
