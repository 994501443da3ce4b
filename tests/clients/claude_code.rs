//! Claude Code, headless, through a gateway that routes.

use serde_json::{Value, json};

use crate::scenario::{self, Run, Upstream, promises_are_kept};
use crate::support::{ACME, House, TENANTS};

/// Runs `claude -p` with telemetry and updates switched off.
async fn claude(house: &House, prompt: &str) -> Run {
    let mut command = scenario::command("node/node_modules/.bin/claude");
    command
        .args(["-p", prompt, "--output-format", "json", "--dangerously-skip-permissions"])
        .env("ANTHROPIC_BASE_URL", &house.url)
        .env("ANTHROPIC_AUTH_TOKEN", ACME)
        .env("IS_SANDBOX", "1");
    for name in SWITCHES {
        command.env(name, "1");
    }
    scenario::finished(command).await
}

fn result(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.told))
}

/// Asserts the promises of the house, and that every request of the session names it in the journal.
async fn session_is_whole(house: &House, result: &Value) -> Vec<Value> {
    let records = promises_are_kept(house, Upstream::Answers).await;
    let session = result["session_id"].as_str().unwrap();
    assert!(records.iter().any(|record| record["requested_model"] == "claude-opus-5-5"), "{records:#?}");
    assert!(records.iter().all(|record| record["session_id"] == session), "{session}: {records:#?}");
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_answers_a_prompt() {
    let house = House::start(TENANTS).await;
    let run = claude(&house, "say a tercet has three lines").await;
    let result = result(&run);
    assert!(run.succeeded && result["is_error"] == false, "{}", run.told);
    assert!(result["result"].as_str().unwrap().contains("three lines"), "{}", run.told);
    session_is_whole(&house, &result).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_uses_a_tool_and_comes_back() {
    let house = House::start(TENANTS).await;
    let run = claude(&house, "use tool Bash").await;
    let result = result(&run);
    assert!(run.succeeded && result["is_error"] == false, "{}", run.told);
    assert!(result["result"].as_str().unwrap().contains("ok"), "{}", run.told);
    let records = session_is_whole(&house, &result).await;
    let calls: Vec<&Value> =
        records.iter().flat_map(|record| record["tool_calls"].as_array().unwrap()).collect();
    assert!(calls.iter().any(|call| call["name"] == "Bash" && call["is_error"] == false), "{calls:?}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_stops_at_a_spent_budget() {
    let house = House::start(&format!("{TENANTS}\n[tenants.acme.budget]\ndaily = \"0.000001 USD\"\n")).await;
    let run = claude(&house, "say hello").await;
    let result = result(&run);
    assert!(
        !run.succeeded && result["is_error"] == true && result["api_error_status"] == 429,
        "{}",
        run.told
    );
    let shown = result["result"].as_str().unwrap();
    assert_eq!(shown.matches("it resets at").count(), 1, "the reset is shown, once: {shown}");
    assert_eq!(house.upstream.requests().len(), 0, "a refused request stays here");
    let records = promises_are_kept(&house, Upstream::Errs).await;
    assert!(records.iter().all(|record| record["outcome"] == "quota_rejected"), "{records:#?}");
    assert_eq!(records.len(), 1, "it did not stop at once: {records:#?}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_goes_on_while_a_budget_warns() {
    let sections = "[tenants.acme.budget]\ndaily = \"50.00 USD\"\nwarn_at = 0.0\n";
    let house = House::start(&format!("{TENANTS}\n{sections}")).await;
    let run = claude(&house, "use tool Bash").await;
    let result = result(&run);
    assert!(run.succeeded && result["is_error"] == false, "{}", run.told);
    session_is_whole(&house, &result).await;
    house.stop().await;
}

/// In a terminal of its own, as only there Claude Code runs what its settings name for the status line.
#[tokio::test(flavor = "multi_thread")]
async fn claude_code_shows_what_its_session_spent() {
    let house = House::start(TENANTS).await;
    let home = tempfile::tempdir().unwrap();
    let place = |name: &str| home.path().join(name);
    let (told, shown) = (place("told.jsonl"), place("shown"));
    let line = format!(
        "tee -a {} | {} statusline --url {} | tee -a {}",
        told.display(),
        env!("CARGO_BIN_EXE_tercet"),
        house.admin_url,
        shown.display()
    );
    std::fs::create_dir(place(".claude")).unwrap();
    let settings = json!({ "statusLine": { "type": "command", "command": line }, "theme": "dark" });
    std::fs::write(place(".claude/settings.json"), settings.to_string()).unwrap();
    // Who starts it for the first time is asked this and that; here all of it is answered.
    let work = json!({ home.path().to_str().unwrap(): { "hasTrustDialogAccepted": true } });
    let known =
        json!({ "hasCompletedOnboarding": true, "bypassPermissionsModeAccepted": true, "projects": work });
    std::fs::write(place(".claude.json"), known.to_string()).unwrap();

    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/terminal.py");
    let mut command = scenario::command("python/bin/python");
    command
        .arg(script)
        .arg(&shown)
        .arg(r"session \$0\.(0[1-9]|[1-9])")
        .arg(scenario::clients().join("node/node_modules/.bin/claude"))
        .arg("say a tercet has three lines")
        .env("TERM", "xterm-256color")
        .env("ANTHROPIC_BASE_URL", &house.url)
        .env("ANTHROPIC_AUTH_TOKEN", ACME)
        .env("IS_SANDBOX", "1");
    for name in SWITCHES {
        command.env(name, "1");
    }
    let run = scenario::finished_at(command, home.path()).await;
    let shown = std::fs::read_to_string(shown).unwrap_or_default();
    assert!(run.succeeded, "{shown}\n{}", run.told);
    // Its first line is drawn whole; of later ones only what changed.
    assert!(run.stdout.contains(shown.lines().next().unwrap()), "{shown}\n{}", run.stdout);
    let told = std::fs::read_to_string(told).unwrap();
    let session = serde_json::Deserializer::from_str(&told).into_iter::<Value>().next().unwrap().unwrap();
    let records = house.records();
    let mine = records.iter().filter(|record| record["session_id"] == session["session_id"]);
    let spent: i64 = mine.map(|record| record["cost_nanousd"].as_i64().unwrap()).sum();
    let last = shown.lines().last().unwrap();
    let amount = last.split("session $").nth(1).unwrap().split([',', ' ']).next().unwrap();
    let amount: f64 = amount.parse().unwrap();
    assert!(amount > 0.0 && amount <= spent as f64 / 1e9 + 0.005, "{last}: {spent}");
    assert!(last.contains("| today $"), "{last}");
    house.stop().await;
}

const SWITCHES: [&str; 4] = [
    "DISABLE_TELEMETRY",
    "DISABLE_AUTOUPDATER",
    "DISABLE_ERROR_REPORTING",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
];
