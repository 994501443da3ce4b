//! Traffic of every kind that the dashboard shows, played twice: once so that every series is there, once watched.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use tercet::simulated::{Behaviour, Options, Upstream};

use super::support::http::{get, message, send};
use super::support::process::Process;
use super::support::prometheus::Prometheus;
use super::support::read::metric;
use super::support::{ACME, RIVAL, TENANTS, configuration, exchanges_in};
use super::truth::{Truth, tier_of};

/// Ceilings of day, week and month, in dollars.
pub const BUDGETS: [(&str, [f64; 3]); 3] =
    [("acme", [10.0, 50.0, 100.0]), ("rival", [20.0, 60.0, 200.0]), ("tiny", [0.000_001, 1.0, 2.0])];
pub const BUDGET_WINDOWS: [&str; 3] = ["day", "week", "month"];
/// The quota of tenant `acme`.
pub const DAILY_TOKENS: f64 = 10_000_000.0;
/// The configuration was taken over no longer ago than this, in seconds.
pub const RELOADED: f64 = 3_600.0;

/// Says whether an exchange is one of those that are counted.
type Counts = fn(&Value) -> bool;

const TINY: &str = "tct-tiny-key";

/// Returns a Prometheus that watched it, and what the journal says of it.
pub async fn played() -> (Prometheus, Truth) {
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tercet.toml");
    std::fs::write(&file, configuration(upstream.url(), folder.path(), &tenants())).unwrap();
    let gateway = Process::start(&file).await;
    let prometheus = Prometheus::start(&gateway.admin_url).await;
    let journal = folder.path().join("data");

    let started_s = now_s();
    play(&gateway, &upstream, 1).await;
    let first = settled(&gateway, &journal, &prometheus, 0).await;
    // Nothing grows in the window before the one that is watched, however long this machine takes to play it. That is waited
    // for: a series whose growth fell between two scrapes begins where it stands, and seems not to have grown.
    let quiet_s = now_s();
    scraped_often(&prometheus, quiet_s, 2.0 * SCRAPES).await;
    let rest_s = (2.0 * (quiet_s - started_s) + MARGIN_S - (now_s() - quiet_s)).max(0.0);
    tokio::time::sleep(Duration::from_secs_f64(rest_s)).await;
    let begun_s = now_s();
    scraped_often(&prometheus, begun_s, SCRAPES).await;
    play(&gateway, &upstream, 2).await;
    let all = settled(&gateway, &journal, &prometheus, first.len()).await;
    let now_s = now_s();

    let measured = all[first.len()..].to_vec();
    let window_s = ((now_s - begun_s) * 1e3).round() / 1e3;
    assert!(window_s < begun_s - quiet_s, "the window before the one that is watched was not quiet");
    let window = format!("{}ms", (window_s * 1e3).round());
    let asked = async |query: String| prometheus.ask(&query, Some(now_s)).await.unwrap()[""];
    let grown = asked(format!("sum(increase(tercet_requests_total[{window}]))")).await;
    let scrapes = asked(format!("max(count_over_time(tercet_requests_total[{window}]))")).await;
    let factor = grown / measured.len() as f64;
    // `increase` stretches what it saw by at most 1.1 of the scrapes' mean distance at either end of the window.
    let most = 1.0 + 2.2 / (scrapes - 1.0);
    assert!(scrapes >= SCRAPES && (1.0..=most).contains(&factor), "{} of {scrapes}: {grown}", measured.len());
    let page = String::from_utf8(get(&gateway.admin_url, "", "/metrics").await.body.to_vec()).unwrap();
    (prometheus, Truth { all, measured, window_s, factor, now_s, page })
}

fn tenants() -> String {
    let mut text = format!(
        "{TENANTS}\n[[tenants.tiny.keys]]\nid = \"tiny-1\"\nhash = \"blake3:{}\"\n\
         [tenants.acme.routing]\nescalate = true\n[tenants.acme.cache]\nenabled = true\n\
         [tenants.acme.limits]\nconcurrent_requests = 100\n[tenants.acme.quota]\ndaily_tokens = {DAILY_TOKENS}\n\
         [tenants.acme.journal]\ncontent = true\n[tenants.rival.routing]\nmode = \"shadow\"\n\
         shadow_sample = {{ share = 1.0, daily = \"0.000000001 USD\" }}\n",
        blake3::hash(TINY.as_bytes()).to_hex()
    );
    for (tenant, [day, week, month]) in BUDGETS {
        text += &format!(
            "[tenants.{tenant}.budget]\ndaily = \"{day} USD\"\nweekly = \"{week} USD\"\nmonthly = \"{month} USD\"\n"
        );
    }
    text
}

/// Plays the script; `round` makes its texts new, so that nothing is answered from the round before.
async fn play(gateway: &Process, upstream: &Upstream, round: u32) {
    let send = async |key: &str, body: Value, status: u16| {
        let answer = message(&gateway.url, key, body.to_string()).await;
        assert_eq!(answer.status, status, "{body}: {:?}", answer.body);
    };
    let asks = |text: String| {
        json!({ "model": "claude-opus-4-8", "max_tokens": 2_000,
        "system": "Write a short title.", "messages": [{ "role": "user", "content": text }] })
    };
    for number in 0..3 {
        send(ACME, asks(format!("say hello {number} of {round}")), 200).await;
    }
    // Once for money, once from the cache.
    for _ in 0..2 {
        send(ACME, hard(&format!("say it twice in {round}"), false), 200).await;
    }
    send(ACME, hard(&format!("say it in a stream in {round}"), true), 200).await;
    upstream.script(Behaviour::Refusal { category: None });
    send(ACME, asks(format!("say what is refused in {round}")), 200).await;
    for turns in 1..=3 {
        send(ACME, failing(round, turns), 200).await;
    }
    for text in ["say hello", "say goodbye"] {
        send(RIVAL, asks(format!("{text} in {round}")), 200).await;
    }
    // One that routing would leave where it is.
    let mut small = hard(&format!("say what is small in {round}"), true);
    small["model"] = "claude-haiku-5-5".into();
    send(RIVAL, small, 200).await;
    send(RIVAL, cached(round), 200).await;
    send(RIVAL, cached(round), 200).await;
    upstream.script(Behaviour::Status {
        status: 529,
        error_type: "overloaded_error".to_owned(),
        message: "Overloaded".to_owned(),
        code: None,
        headers: std::collections::BTreeMap::default(),
    });
    send(RIVAL, hard("say nothing", false), 529).await;
    send(RIVAL, json!({ "model": "claude-opus-5-5", "messages": [{ "role": "user", "content": "x" }] }), 400)
        .await;
    for _ in 0..2 {
        send(TINY, asks("say it is too dear".to_owned()), 429).await;
    }
}

fn hard(text: &str, stream: bool) -> Value {
    json!({ "model": "claude-opus-5-5", "max_tokens": 4_000, "stream": stream,
        "messages": [{ "role": "user", "content": text }] })
}

/// A prompt that is written to the prompt cache, and read from it the second time.
fn cached(round: u32) -> Value {
    let text = format!("The rules of round {round} are to be kept by everyone. ").repeat(800);
    json!({ "model": "claude-opus-5-5", "max_tokens": 1_000,
        "system": [{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }],
        "messages": [{ "role": "user", "content": "say yes" }] })
}

/// A conversation whose tool has failed so many times.
fn failing(round: u32, times: usize) -> Value {
    let mut messages = vec![json!({ "role": "user", "content": format!("list the files of {round}") })];
    for time in 0..times {
        let id = format!("toolu_{round:02}{time:022}");
        messages.push(json!({ "role": "assistant", "content": [
            { "type": "tool_use", "id": id, "name": "Bash", "input": { "command": format!("ls {time}") } }] }));
        messages.push(json!({ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": id, "is_error": true, "content": "no such file" }] }));
    }
    json!({ "model": "claude-opus-5-5", "max_tokens": 1_000, "messages": messages,
        "tools": [{ "name": "Bash", "input_schema": { "type": "object", "properties": { "command": { "type": "string" } } } }] })
}

/// Waits until all of a round is in the journal and in Prometheus; returns the journal's exchanges.
async fn settled(
    gateway: &Process,
    journal: &std::path::Path,
    prometheus: &Prometheus,
    before: usize,
) -> Vec<Value> {
    let mut counted = 0;
    for _ in 0..1_000 {
        let page = send(http::Method::GET, &format!("{}/metrics", gateway.admin_url), &[], "").await;
        let page = String::from_utf8(page.body.to_vec()).unwrap();
        counted = usize::try_from(metric(&page, "tercet_requests_total", "") / 1_000_000_000).unwrap();
        if counted >= before + REQUESTS && exchanges_in(journal).len() == counted {
            let wanted = counted as f64;
            let query = "sum(tercet_requests_total)";
            prometheus.when(query, |answer| answer.values().any(|sum| *sum == wanted)).await;
            // What is counted behind the exchange, in the background.
            let all = exchanges_in(journal);
            let behind: [(&str, Counts); 2] = [
                ("sum(tercet_content_records_total)", is_kept),
                ("sum(tercet_shadow_samples_total)", is_drawn),
            ];
            for (query, counts) in behind {
                let wanted = all.iter().filter(|record| counts(record)).count() as f64;
                prometheus.when(query, |answer| answer.values().any(|sum| *sum == wanted)).await;
            }
            return all;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{counted} of {} exchanges are recorded", before + REQUESTS);
}

/// Waits until Prometheus has looked so often since then that what it stretches is little, and the same for every series.
async fn scraped_often(prometheus: &Prometheus, since_s: f64, times: f64) {
    for _ in 0..600 {
        let window_ms = ((now_s() - since_s) * 1e3).ceil();
        let query = format!("max(count_over_time(tercet_requests_total[{window_ms}ms]))");
        let scrapes = prometheus.ask(&query, None).await;
        if scrapes.is_ok_and(|scrapes| scrapes.values().any(|scrapes| *scrapes >= times)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("Prometheus does not look often enough");
}

/// Whether the texts of an exchange are kept: its tenant wants it, and it was answered.
pub fn is_kept(record: &Value) -> bool {
    record["tenant"] == "acme" && record["status"] == 200
}

/// Whether an exchange is drawn to be asked again at a cheaper model, for which there is no money.
pub fn is_drawn(record: &Value) -> bool {
    let cheaper = tier_of(record["requested_model"].as_str().unwrap()) != "haiku";
    record["tenant"] == "rival" && record["status"] == 200 && cheaper
}

/// Returns the value of a sample by its name and labels.
pub fn sample(page: &str, name_and_labels: &str) -> f64 {
    let value = page.lines().find_map(|line| line.strip_prefix(name_and_labels));
    value.unwrap_or_else(|| panic!("no {name_and_labels}")).trim().parse().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "Prometheus goes by the machine's clock")]
fn now_s() -> f64 {
    let millis = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    millis as f64 / 1e3
}

/// How long it is quiet beyond the scrapes' time and the play's.
const MARGIN_S: f64 = 4.0;
/// Scrapes before what is watched.
const SCRAPES: f64 = 30.0;
/// How many exchanges one round makes.
const REQUESTS: usize = 19;
