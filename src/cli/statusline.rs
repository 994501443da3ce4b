//! `tercet statusline`: one line for Claude Code's status line, what the session spent and saved.
//!
//! Claude Code runs it after every answer, with a JSON object about the session on standard input. It never fails and
//! never waits long: where no gateway answers within [`PATIENCE`], or none knows the session, the line says what Claude
//! Code itself reckons.

use std::io::{self, Read};
use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::ending::{Ending, Exit, plain, print};
use super::operator::Gateway;
use super::table::cents;
use crate::money::NanoUsd;

/// Prints what a session spent and saved, in one line, for Claude Code's `statusLine`.
#[derive(Args, Debug)]
pub(super) struct Statusline {
    #[command(flatten)]
    gateway: Gateway,
}

/// What Claude Code says of itself; all of it may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    session_id: String,
    model: Model,
    cost: Cost,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Model {
    display_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cost {
    total_cost_usd: Option<f64>,
}

pub(super) async fn statusline(asked: &Statusline) -> Ending {
    let mut text = String::new();
    // Cut or unreadable, there is still a line to print.
    drop(io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text));
    let told: Told = serde_json::from_str(&text).unwrap_or_default();
    let known = match is_a_name(&told.session_id) {
        true => {
            let path = format!("/admin/v1/sessions/{}", told.session_id);
            asked.gateway.ask_within(Method::GET, &path, None, PATIENCE).await.ok()
        }
        false => None,
    };
    print(&line(&told, known.as_ref()))?;
    Ok(Exit::Ok)
}

/// A name that can stand in a path as it is; Claude Code's are UUIDs.
fn is_a_name(session: &str) -> bool {
    (1..=256).contains(&session.len())
        && session.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn line(told: &Told, known: Option<&Value>) -> String {
    let mut parts = Vec::new();
    if !told.model.display_name.is_empty() {
        parts.push(plain(&told.model.display_name));
    }
    let amount = |place: &str| known?.pointer(place)?.as_i64().map(NanoUsd);
    let session = amount("/session/cost_nanousd").zip(amount("/session/baseline_requested_nanousd"));
    match (session, told.cost.total_cost_usd) {
        (Some((spent, baseline)), _) => {
            parts.push(format!("session {}{}", cents(spent), saved(spent, baseline)));
        }
        // Claude Code's own estimate, at list price and without what was routed.
        (None, Some(dollars)) => parts.push(format!("session ${dollars:.2}")),
        (None, None) => {}
    }
    if let Some(today) = amount("/today/cost_nanousd") {
        parts.push(format!("today {}", cents(today)));
    }
    parts.join(" | ")
}

/// What was saved, where it is a cent or more.
fn saved(spent: NanoUsd, baseline: NanoUsd) -> String {
    let saved = baseline - spent;
    if saved.0 < CENT {
        return String::new();
    }
    let percent = saved.0.saturating_mul(100) / baseline.0.max(1);
    format!(", saved {} ({percent} %)", cents(saved))
}

const CENT: i64 = 10_000_000;
const INPUT_BYTES_MAX: u64 = 1 << 20;
/// How long a gateway is waited for; the line is redrawn at every answer.
const PATIENCE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(text: &str) -> Told {
        serde_json::from_str(text).unwrap_or_default()
    }

    #[test]
    fn the_line_says_what_is_known() {
        let full = r#"{"session_id":"s","model":{"id":"m","display_name":"Opus 5.5"},"cost":{"total_cost_usd":1.239}}"#;
        let session = |spent: i64, baseline: i64| {
            json!({ "session": { "cost_nanousd": spent, "baseline_requested_nanousd": baseline },
                "today": { "cost_nanousd": 7_004_000_000_i64 } })
        };
        let saving = session(750_000_000, 1_000_000_000);
        for (text, known, line_wanted) in [
            (full, Some(&saving), "Opus 5.5 | session $0.75, saved $0.25 (25 %) | today $7.00"),
            (full, Some(&session(1_000_000_000, 900_000_000)), "Opus 5.5 | session $1.00 | today $7.00"),
            (
                full,
                Some(&json!({ "session": null, "today": { "cost_nanousd": 0 } })),
                "Opus 5.5 | session $1.24 | today $0.00",
            ),
            (full, None, "Opus 5.5 | session $1.24"),
            ("{}", None, ""),
            ("no JSON", None, ""),
            (r#"{"model":{"display_name":"a\u001b[31m"}}"#, None, "a\u{fffd}[31m"),
        ] {
            assert_eq!(line(&told(text), known), line_wanted, "{text}");
        }
    }

    #[test]
    fn only_a_plain_name_is_asked_for() {
        assert!(is_a_name("7f9a-2_b"));
        for name in ["", "a/b", "a?b", "a b", "ä", &"x".repeat(257)] {
            assert!(!is_a_name(name), "{name}");
        }
    }
}
