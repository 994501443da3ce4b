//! Guards: what a tenant does not want sent, whoever asks and whatever is left to spend.
//!
//! They run in a fixed order, cheapest first: body size, number of messages, `max_tokens`, denied tools. The
//! first that refuses ends the request before anything is held or sent. Guards read the envelope only: no
//! text, no I/O. All are off unless configured; what they cannot see they flag instead of refusing.

use crate::config::Guards;
use crate::wire::envelope::Envelope;

/// What the guards say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to say.
    Pass,
    /// It may go on; the code is recorded.
    Flag(&'static str),
    /// It may not.
    Refuse(Refusal),
}

/// Which guard refused, and what to tell the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The guard.
    pub guard: Guard,
    /// Names the ceiling or the tool.
    pub message: String,
}

/// One guard; decides the status of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// `max_body`: too large (413).
    Body,
    /// `max_messages`: invalid (400).
    Messages,
    /// `max_output_tokens`: invalid (400).
    OutputTokens,
    /// `deny_tools`: not permitted (403).
    Tools,
}

/// Asks each guard in order; the first refusal counts, else the first flag.
#[must_use]
pub fn check(guards: &Guards, envelope: &Envelope<'_>, body_bytes: u64) -> Verdict {
    let refusal = body(guards, body_bytes)
        .or_else(|| messages(guards, envelope))
        .or_else(|| output_tokens(guards, envelope))
        .or_else(|| tools(guards, envelope));
    match refusal {
        Some((guard, message)) => Verdict::Refuse(Refusal { guard, message }),
        // The size of what upstream fetches itself is not the body's.
        None if guards.max_body_bytes.is_some() && envelope.history.remote_sources > 0 => {
            Verdict::Flag("remote_sources")
        }
        None => Verdict::Pass,
    }
}

type Refused = Option<(Guard, String)>;

fn body(guards: &Guards, body_bytes: u64) -> Refused {
    let most = guards.max_body_bytes.filter(|most| body_bytes > *most)?;
    Some((Guard::Body, format!("the body has {body_bytes} bytes; this tenant allows {most}")))
}

fn messages(guards: &Guards, envelope: &Envelope<'_>) -> Refused {
    let count = u64::try_from(envelope.history.spans.len()).unwrap_or(u64::MAX);
    let most = guards.max_messages.filter(|most| count > *most)?;
    Some((Guard::Messages, format!("messages: {count} messages; this tenant allows {most}")))
}

fn output_tokens(guards: &Guards, envelope: &Envelope<'_>) -> Refused {
    let asked = envelope.max_tokens?;
    let most = guards.max_output_tokens.filter(|most| asked > *most)?;
    Some((Guard::OutputTokens, format!("max_tokens: {asked} > {most}, which is the most this tenant allows")))
}

fn tools(guards: &Guards, envelope: &Envelope<'_>) -> Refused {
    if guards.deny_tools.is_empty() {
        return None;
    }
    let denied = |name: &str| guards.deny_tools.iter().find(|denied| *denied == name);
    let found = envelope.tool_list.iter().find_map(|tool| denied(&tool.name).or_else(|| denied(&tool.kind)));
    if let Some(name) = found {
        return Some((Guard::Tools, format!("tools: this tenant does not allow the tool `{name}`")));
    }
    // The envelope keeps no more, so a denied tool could stand behind the last one read.
    (envelope.tool_list.len() >= TOOLS_READ).then(|| {
        let message = format!("tools: this tenant denies tools by name, and allows fewer than {TOOLS_READ}");
        (Guard::Tools, message)
    })
}

/// Most tools an envelope keeps.
const TOOLS_READ: usize = 512;

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::wire::envelope::{History, Tool};

    fn envelope(tools: &[(&'static str, &'static str)], messages: usize) -> Envelope<'static> {
        let tool = |(kind, name): &(&'static str, &'static str)| Tool {
            kind: Cow::Borrowed(*kind),
            name: Cow::Borrowed(*name),
            model: Cow::Borrowed(""),
        };
        Envelope {
            body: b"",
            model: Cow::Borrowed("claude-opus-5-5"),
            max_tokens: Some(1_000),
            tool_list: tools.iter().map(tool).collect(),
            history: History { spans: vec![0..0; messages], ..History::default() },
            ..Envelope::default()
        }
    }

    fn guards() -> Guards {
        Guards {
            max_body_bytes: Some(100),
            max_messages: Some(3),
            max_output_tokens: Some(1_000),
            deny_tools: vec!["bash".into(), "web_search_20250305".into()],
        }
    }

    #[test]
    fn without_guards_everything_passes() {
        let asked = Envelope { max_tokens: Some(u64::MAX), ..envelope(&[("custom", "bash"); 600], 100_000) };
        assert_eq!(check(&Guards::default(), &asked, u64::MAX), Verdict::Pass);
    }

    #[test]
    fn each_guard_refuses_above_its_ceiling_and_passes_at_it() {
        let search = [("web_search_20250305", "web_search")];
        let table = [
            (envelope(&[("custom", "read")], 3), 100, None),
            (envelope(&[], 3), 101, Some(Guard::Body)),
            (envelope(&[], 4), 100, Some(Guard::Messages)),
            (Envelope { max_tokens: Some(1_001), ..envelope(&[], 3) }, 100, Some(Guard::OutputTokens)),
            (envelope(&[("custom", "read"), ("custom", "bash")], 3), 100, Some(Guard::Tools)),
            (envelope(&search, 3), 100, Some(Guard::Tools)),
            (envelope(&[("custom", "read"); 512], 3), 100, Some(Guard::Tools)),
            (envelope(&[("custom", "bash")], 4), 101, Some(Guard::Body)),
        ];
        for (asked, body_bytes, expected) in table {
            let refused = match check(&guards(), &asked, body_bytes) {
                Verdict::Refuse(refusal) => Some(refusal.guard),
                _ => None,
            };
            assert_eq!(refused, expected, "{:?}", asked.tool_list.first());
        }
    }

    #[test]
    fn sources_whose_size_no_guard_sees_are_flagged() {
        let mut asked = envelope(&[], 1);
        asked.history.remote_sources = 1;
        assert_eq!(check(&guards(), &asked, 1), Verdict::Flag("remote_sources"));
        assert_eq!(check(&Guards::default(), &asked, 1), Verdict::Pass);
    }
}
