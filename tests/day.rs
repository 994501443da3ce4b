//! Days of agents before the gateway, billed by the upstream: as asked, by a router that ignores caches, and routed.
//!
//! Two of them: the coding sessions end with a small question while the cache is warm, or after a pause that let it go
//! cold. On a cold day a router that drops thinking may be the cheaper one. `make day` prints both tables.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]
#![allow(clippy::print_stderr, reason = "`make day` shows the table")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::http::send;
use support::{ACME, House, TENANTS};
use tempfile::TempDir;
use tercet::clock::Clock;
use tercet::simulated::{Options, Upstream};

/// Three kinds of conversations, each played several times over a working day.
type Workload = (&'static str, fn(usize, u64) -> Conversation);

const WORKLOADS: [Workload; 3] =
    [("coding agent", coding), ("support desk", support_desk), ("extractions", extraction)];
const ROUNDS: usize = 3;
/// Seconds before a coding session's last question; what is cached is kept for 300.
const WARM: u64 = 30;
const COLD: u64 = 700;

/// What is said by the user's side, turn by turn.
struct Conversation {
    body: Value,
    turns: Vec<Turn>,
}

struct Turn {
    /// How long the user waits before, in seconds.
    wait: u64,
    /// The client names the call as a small one.
    easy: bool,
    said: Said,
}

enum Said {
    /// The user's words.
    Text(String),
    /// The tool's result, after a turn that called it.
    Result(String),
}

fn says(wait: u64, easy: bool, text: &str) -> Turn {
    Turn { wait, easy, said: Said::Text(text.to_owned()) }
}

fn returns(wait: u64, text: &str) -> Turn {
    Turn { wait, easy: false, said: Said::Result(text.to_owned()) }
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "input_schema": { "type": "object", "properties": { "path": { "type": "string" } } } })
}

fn marked(text: &str, bytes: usize) -> Value {
    json!([{ "type": "text", "text": text.repeat(bytes / text.len()), "cache_control": { "type": "ephemeral" } }])
}

/// A beginning of more than 100,000 tokens, thinking, tool loops, small questions in between.
fn coding(number: usize, pause: u64) -> Conversation {
    let body = json!({ "model": "claude-opus-5-5", "max_tokens": 8_000,
        "system": marked("You write programs with care and keep to the house rules. ", 340_000),
        "tools": [tool("read_file"), tool("run_tests")] });
    let hard = format!(
        "Prove that module {number} is safe, debug the async function, compare two designs, plan the steps. use tool read_file"
    );
    let mut turns = vec![says(60, false, &hard), returns(20, &"let x = compute(y); ".repeat(150))];
    for _ in 0..2 {
        turns.push(says(90, true, "say thanks"));
        turns.push(says(60, false, &hard));
        turns.push(returns(20, "all passed"));
    }
    turns.push(says(pause, true, "say done"));
    Conversation { body, turns }
}

/// A hard question over a long manual, then small ones; no thinking.
fn support_desk(number: usize, _pause: u64) -> Conversation {
    let body = json!({ "model": "claude-opus-4-8", "max_tokens": 8_000,
        "system": marked("The manual: press the button, wait for the light, call the desk. ", 90_000) });
    let hard = format!(
        "Prove why the light of {number} blinks, derive the circuit, debug the function, plan the steps."
    );
    let turns = vec![
        says(40, false, &hard),
        says(40, true, "How do I reset it?"),
        says(40, true, "And the light?"),
        says(40, true, "say thanks"),
    ];
    Conversation { body, turns }
}

/// One forced call, nothing cached.
fn extraction(number: usize, _pause: u64) -> Conversation {
    let body = json!({ "model": "claude-opus-4-8", "max_tokens": 5_000, "tools": [tool("record_person")],
        "tool_choice": { "type": "tool", "name": "record_person" } });
    Conversation { body, turns: vec![says(5, true, &format!("Anna Meier, {number}, Bern"))] }
}

/// How requests reach the upstream.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    AsAsked,
    Naive,
    Routed,
}

/// What a day came to by the upstream's own bill, in nano-dollars by workload.
struct Day {
    bill: BTreeMap<&'static str, u64>,
    refused: usize,
    dropped: usize,
}

async fn play(way: Way, pause: u64) -> Day {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let clock = Clock::manual(Clock::default().now());
    let house = House::start_by(clock, upstream, TempDir::new().unwrap(), TENANTS).await;
    let mut day = Day { bill: BTreeMap::new(), refused: 0, dropped: 0 };
    for round in 0..ROUNDS {
        for (name, workload) in WORKLOADS {
            let before: u64 = spent(&house.upstream);
            converse(&house, way, &format!("{name} {round}"), workload(round, pause), &mut day).await;
            *day.bill.entry(name).or_default() += spent(&house.upstream) - before;
        }
    }
    day.dropped = house.upstream.dropped_thinking().len();
    house.stop().await;
    day
}

fn spent(upstream: &Upstream) -> u64 {
    upstream.bill().iter().map(|call| call.nanousd).sum()
}

async fn converse(house: &House, way: Way, session: &str, talk: Conversation, day: &mut Day) {
    let mut body = talk.body;
    body["messages"] = json!([]);
    for Turn { wait, easy, said } in talk.turns {
        house.upstream.advance(Duration::from_secs(wait));
        house.tercet.runtime.clock.advance(Duration::from_secs(wait));
        let content = match said {
            Said::Text(text) => json!([{ "type": "text", "text": text }]),
            Said::Result(text) => {
                let last = body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
                let call = last.as_array().unwrap().iter().find(|block| block["type"] == "tool_use");
                let Some(call) = call else { continue };
                json!([{ "type": "tool_result", "tool_use_id": call["id"], "content": text }])
            }
        };
        let messages = body["messages"].as_array_mut().unwrap();
        // The marks move with the conversation, as agents move them.
        for message in messages.iter_mut() {
            for block in message["content"].as_array_mut().unwrap() {
                block.as_object_mut().unwrap().remove("cache_control");
            }
        }
        messages.push(json!({ "role": "user", "content": content }));
        if body["system"].is_array() {
            let last = body["messages"].as_array_mut().unwrap().last_mut().unwrap();
            last["content"][0]["cache_control"] = json!({ "type": "ephemeral" });
        }
        let answer = ask(house, way, session, easy, &body).await;
        if answer["type"] != "message" {
            day.refused += 1;
            return;
        }
        body["messages"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "role": "assistant", "content": answer["content"] }));
    }
}

async fn ask(house: &House, way: Way, session: &str, easy: bool, body: &Value) -> Value {
    let mut headers = vec![("anthropic-version", "2023-06-01"), ("x-claude-code-session-id", session)];
    if way == Way::Naive {
        // As the gateway does, it takes the client's word for what is small; caches and histories it ignores.
        let mut sent = body.clone();
        if easy {
            sent["model"] = json!("claude-haiku-5-5");
            if body["model"] == "claude-opus-4-8" {
                sent["thinking"] = json!({ "type": "disabled" });
            }
        }
        headers.push(("x-api-key", "naive.1"));
        let url = format!("{}/v1/messages", house.upstream.url());
        return send(Method::POST, &url, &headers, sent.to_string()).await.json();
    }
    headers.push(("x-api-key", ACME));
    if way == Way::AsAsked {
        headers.push(("x-tercet-route", "off"));
    }
    if easy {
        headers.push(("x-claude-code-request-class", "summary"));
    }
    send(Method::POST, &format!("{}/v1/messages", house.url), &headers, body.to_string()).await.json()
}

impl Day {
    fn total(&self) -> u64 {
        self.bill.values().sum()
    }
}

/// Plays a day in the three ways, prints what it came to, and asks what holds on every day.
async fn compare(name: &str, pause: u64) -> ([Day; 3], String) {
    let (asked, naive, routed) =
        tokio::join!(play(Way::AsAsked, pause), play(Way::Naive, pause), play(Way::Routed, pause));
    let days = [asked, naive, routed];
    let line = |name: &str, cells: [String; 3]| {
        format!("{name:<22}{:>12}{:>12}{:>12}\n", cells[0], cells[1], cells[2])
    };
    let dollars = |nanos: u64| format!("{:.4}", nanos as f64 / 1e9);
    let mut table = line(name, ["as asked", "naive", "routed"].map(str::to_owned));
    for (workload, _) in WORKLOADS {
        table += &line(workload, days.each_ref().map(|day| dollars(day.bill[workload])));
    }
    table += &line("all, USD", days.each_ref().map(|day| dollars(day.total())));
    table += &line("conversations broken", days.each_ref().map(|day| day.refused.to_string()));
    table += &line("thinking lost", days.each_ref().map(|day| day.dropped.to_string()));
    eprintln!("{table}");
    let [asked, naive, routed] = &days;
    assert_eq!((asked.refused, routed.refused), (0, 0), "{table}");
    assert_eq!((asked.dropped, routed.dropped), (0, 0), "{table}");
    assert!(naive.dropped > 0, "{table}");
    assert!(routed.total() < asked.total(), "{table}");
    for (workload, _) in WORKLOADS {
        assert!(routed.bill[workload] <= asked.bill[workload], "{workload}: {table}");
    }
    (days, table)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_day_costs_less_than_as_asked_and_than_by_a_router_that_ignores_caches() {
    let ([_, naive, routed], table) = Box::pin(compare("warm day", WARM)).await;
    assert!(routed.total() < naive.total(), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_cold_pauses_costs_no_more_than_as_asked_and_loses_no_thinking() {
    Box::pin(compare("cold pauses", COLD)).await;
}
