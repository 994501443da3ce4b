//! The official clients, unmodified, through a gateway that routes: each sees what it would see without one.
//!
//! Each test starts a gateway of its own before a strict upstream and runs one scenario of a script in
//! `tests/clients/` as a process. The clients are what `scripts/test-environment` installs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

#[path = "clients/claude_code.rs"]
mod claude_code;
#[path = "clients/scenario.rs"]
mod scenario;

use std::collections::BTreeMap;

use scenario::Client::{AnthropicNode, AnthropicPython, LangchainPython, LitellmPython, VercelNode};
use scenario::{Client, Upstream, promises_are_kept};
use support::{ACME, House, TENANTS};
use tempfile::TempDir;
use tercet::clock::Clock;
use tercet::simulated::{self, Behaviour, Options};

/// One test for each line: its name, the client, the scenario, and what the upstream answers.
macro_rules! clients {
    ($($name:ident: $client:expr, $scenario:literal, $upstream:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let house = House::start(TENANTS).await;
            $client.passes(&house, $scenario).await;
            promises_are_kept(&house, $upstream).await;
            house.stop().await;
        }
    )*};
}

clients! {
    the_python_sdk_gets_a_message: AnthropicPython, "message", Upstream::Answers;
    the_python_sdk_asks_many_at_once: AnthropicPython, "message_async", Upstream::Answers;
    the_python_sdk_streams: AnthropicPython, "stream", Upstream::Answers;
    the_python_sdk_streams_asynchronously: AnthropicPython, "stream_async", Upstream::Answers;
    the_python_sdk_reads_raw_events: AnthropicPython, "stream_events", Upstream::Answers;
    the_python_sdk_streams_tool_calls: AnthropicPython, "stream_tools", Upstream::Answers;
    the_python_sdk_calls_tools: AnthropicPython, "tools", Upstream::Answers;
    the_python_sdk_forces_a_tool: AnthropicPython, "forced_tool", Upstream::Answers;
    the_python_sdk_thinks_through_a_conversation: AnthropicPython, "conversation", Upstream::Answers;
    the_python_sdk_caches_a_prompt: AnthropicPython, "cached_prompt", Upstream::Answers;
    the_python_sdk_runs_tools_in_a_thread: AnthropicPython, "tool_runner", Upstream::Answers;
    the_python_sdk_runs_tools_streaming: AnthropicPython, "tool_runner_stream", Upstream::Answers;
    the_python_sdk_runs_tools_without_a_thread: AnthropicPython, "tool_runner_unthreaded", Upstream::Answers;
    the_python_sdk_runs_tools_asynchronously: AnthropicPython, "tool_runner_async", Upstream::Answers;
    the_python_sdk_keeps_a_thread: AnthropicPython, "thread", Upstream::Answers;
    the_python_sdk_parses_structured_output: AnthropicPython, "structured_output", Upstream::Answers;
    the_python_sdk_runs_batches: AnthropicPython, "batches", Upstream::Answers;
    the_python_sdk_keeps_files: AnthropicPython, "files", Upstream::Answers;
    the_python_sdk_lists_models: AnthropicPython, "models", Upstream::Answers;
    the_python_sdk_counts_tokens: AnthropicPython, "count_tokens", Upstream::Answers;
    the_python_sdk_uses_every_alias: AnthropicPython, "aliases", Upstream::Answers;
    the_python_sdk_reads_raw_responses: AnthropicPython, "raw_response", Upstream::Answers;
    the_python_sdk_raises_the_right_errors: AnthropicPython, "errors", Upstream::Errs;

    the_typescript_sdk_gets_a_message: AnthropicNode, "message", Upstream::Answers;
    the_typescript_sdk_streams: AnthropicNode, "stream", Upstream::Answers;
    the_typescript_sdk_reads_raw_events: AnthropicNode, "streamEvents", Upstream::Answers;
    the_typescript_sdk_calls_tools: AnthropicNode, "tools", Upstream::Answers;
    the_typescript_sdk_runs_tools_in_a_thread: AnthropicNode, "toolRunner", Upstream::Answers;
    the_typescript_sdk_keeps_a_thread: AnthropicNode, "thread", Upstream::Answers;
    the_typescript_sdk_parses_structured_output: AnthropicNode, "structuredOutput", Upstream::Answers;
    the_typescript_sdk_runs_batches: AnthropicNode, "batches", Upstream::Answers;
    the_typescript_sdk_keeps_files: AnthropicNode, "files", Upstream::Answers;
    the_typescript_sdk_lists_models: AnthropicNode, "models", Upstream::Answers;
    the_typescript_sdk_counts_tokens: AnthropicNode, "countTokens", Upstream::Answers;
    the_typescript_sdk_raises_the_right_errors: AnthropicNode, "errors", Upstream::Errs;

    langchain_invokes: LangchainPython, "invoke", Upstream::Answers;
    langchain_streams: LangchainPython, "stream", Upstream::Answers;
    langchain_calls_tools: LangchainPython, "tools", Upstream::Answers;
    langchain_parses_structured_output: LangchainPython, "structured_output", Upstream::Answers;

    litellm_completes: LitellmPython, "completion", Upstream::Answers;
    litellm_streams: LitellmPython, "stream", Upstream::Answers;
    litellm_calls_tools: LitellmPython, "tools", Upstream::Answers;

    the_vercel_sdk_generates: VercelNode, "generate", Upstream::Answers;
    the_vercel_sdk_streams: VercelNode, "stream", Upstream::Answers;
    the_vercel_sdk_runs_tools: VercelNode, "tools", Upstream::Answers;
    the_vercel_sdk_generates_objects: VercelNode, "object", Upstream::Answers;
}

/// Two refusals of an overloaded upstream, then the answer; the SDKs are told to be back at once.
async fn comes_back_after_overload(client: Client) {
    let house = House::start(TENANTS).await;
    for _ in 0..2 {
        house.upstream.script(Behaviour::Status {
            status: 529,
            error_type: "overloaded_error".to_owned(),
            message: "Overloaded".to_owned(),
            code: None,
            headers: BTreeMap::from([("retry-after-ms".to_owned(), "20".to_owned())]),
        });
    }
    client.passes(&house, "retries").await;
    let records = promises_are_kept(&house, Upstream::Errs).await;
    let statuses: Vec<u64> = records.iter().map(|record| record["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [529, 529, 200], "each attempt of the client is an exchange of its own");
    assert_eq!(house.upstream.requests().len(), 3, "nothing was retried behind the client's back");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_comes_back_after_overload() {
    comes_back_after_overload(AnthropicPython).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_comes_back_after_overload() {
    comes_back_after_overload(AnthropicNode).await;
}

/// A conversation of which the upstream never sees an address, and the client sees nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_has_its_texts_back() {
    let guards = "[redaction]\nkey = { env = \"REDACTION_KEY\" }\n[[guards]]\ndetect = [\"email\"]\naction = \"redact\"\n";
    let house = House::start(&format!("{TENANTS}\n{guards}")).await;
    support::http::message(&house.url, ACME, support::http::ask("claude-opus-5-5", "ada@acme.io")).await;
    let sent = String::from_utf8(house.upstream.requests()[0].body.clone()).unwrap();
    let placeholder = &sent[sent.find("REDACTED_EMAIL_").unwrap()..][.."REDACTED_EMAIL_".len() + 12];
    for _ in 0..2 {
        house.upstream.script(Behaviour::Together {
            behaviours: vec![
                Behaviour::Say { text: format!("I wrote to {placeholder}.") },
                Behaviour::OddChunks { sizes: vec![3, 17] },
            ],
        });
    }
    AnthropicPython.passes(&house, "redacted").await;
    promises_are_kept(&house, Upstream::Answers).await;
    let requests = house.upstream.requests();
    assert!(requests.iter().all(|seen| !String::from_utf8_lossy(&seen.body).contains("acme.io")));
    house.stop().await;
}

/// Two questions in both forms, so that each is asked of the upstream once.
async fn gets_the_same_message_in_either_form(client: Client, scenario: &str) {
    let house = House::start(&format!("{TENANTS}\n[cache]\nenabled = true\n")).await;
    client.passes(&house, scenario).await;
    let caches: Vec<_> = house.records().iter().map(|record| record["cache"].clone()).collect();
    assert_eq!(caches, ["miss", "hit", "miss", "hit"]);
    assert_eq!(house.upstream.requests().len(), 2);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_builds_the_same_message_in_either_form() {
    gets_the_same_message_in_either_form(AnthropicPython, "either_form").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_builds_the_same_message_in_either_form() {
    gets_the_same_message_in_either_form(AnthropicNode, "eitherForm").await;
}

/// The script asks until it is refused; what it is refused with ends all asking.
async fn stops_at_a_spent_budget(client: Client) {
    is_refused_at_a_spent_budget(client, "spent_budget", 1).await;
}

/// Asks until refused; `refusals` is how often the client asks before it believes it.
async fn is_refused_at_a_spent_budget(client: Client, scenario: &str, refusals: usize) {
    let upstream = simulated::Upstream::start(Options::default()).await.unwrap();
    let budget = format!("{TENANTS}\n[tenants.acme.budget]\ndaily = \"0.02 USD\"\n");
    // A clock that stands: at midnight there would be budget again.
    let clock = Clock::manual(Clock::default().now());
    let house = House::start_by(clock, upstream, TempDir::new().unwrap(), &budget).await;
    client.passes(&house, scenario).await;
    let records = promises_are_kept(&house, Upstream::Errs).await;
    let (refused, answered): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| record["outcome"] == "quota_rejected");
    assert_eq!(refused.len(), refusals, "asked again after a refusal: {records:#?}");
    assert!(!answered.is_empty() && answered.iter().all(|record| record["status"] == 200), "{answered:#?}");
    assert_eq!(house.upstream.requests().len(), answered.len(), "a refused request stays here");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_reads_what_is_left_of_the_callers_own_limits() {
    let house = House::start(&format!(
        "{TENANTS}\n[tenants.acme.limits]\nrequests_per_minute = 2\ninput_tokens_per_minute = 100000\n\
         output_tokens_per_minute = 20000\n[tenants.acme.user_budget]\nmonthly = \"5.00 USD\"\n"
    ))
    .await;
    AnthropicPython.passes(&house, "own_limits").await;
    promises_are_kept(&house, Upstream::Errs).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_stops_at_a_spent_budget() {
    stops_at_a_spent_budget(AnthropicPython).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_stops_at_a_spent_budget() {
    stops_at_a_spent_budget(AnthropicNode).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_stops_at_a_spent_budget() {
    stops_at_a_spent_budget(LangchainPython).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn litellm_stops_at_a_spent_budget() {
    stops_at_a_spent_budget(LitellmPython).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vercel_sdk_stops_at_a_spent_budget_where_its_caller_wants_no_retries() {
    stops_at_a_spent_budget(VercelNode).await;
}

/// It reads no header that says not to; its two retries cost nothing and reach nobody.
#[tokio::test(flavor = "multi_thread")]
async fn the_vercel_sdk_by_default_retries_twice_at_a_spent_budget_for_nothing() {
    is_refused_at_a_spent_budget(VercelNode, "spent_budget_by_default", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_opus_are_answered_by_cheaper_tiers_and_none_of_them_fails() {
    let house = House::start(TENANTS).await;
    for (client, scenario) in [
        (AnthropicPython, "message"),
        (AnthropicPython, "conversation"),
        (AnthropicPython, "tool_runner"),
        (AnthropicPython, "structured_output"),
        (AnthropicNode, "stream"),
        (AnthropicNode, "tools"),
        (LangchainPython, "stream"),
        (LitellmPython, "completion"),
        (VercelNode, "generate"),
    ] {
        client.passes(&house, scenario).await;
    }
    let records = promises_are_kept(&house, Upstream::Answers).await;
    assert!(records.iter().all(|record| record["requested_model"] == "claude-opus-5-5"), "{records:#?}");
    let mut tiers: BTreeMap<&str, u32> = BTreeMap::new();
    for record in &records {
        *tiers.entry(record["tier"].as_str().unwrap()).or_default() += 1;
        assert_eq!(record["sent_model"], record["answered_model"], "{record:#}");
    }
    let cheaper = tiers.get("haiku").unwrap_or(&0) + tiers.get("sonnet").unwrap_or(&0);
    assert!(cheaper > 0 && tiers.contains_key("opus"), "all went to the same tier: {tiers:?}");
    house.stop().await;
}
