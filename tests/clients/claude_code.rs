//! Claude Code, headless, through a gateway that routes.

use serde_json::Value;

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

const SWITCHES: [&str; 4] = [
    "DISABLE_TELEMETRY",
    "DISABLE_AUTOUPDATER",
    "DISABLE_ERROR_REPORTING",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
];
