//! What may be answered again, as a short table: of requests ([`bypass_reason`]) and of answers ([`is_keepable_ending`]).

use crate::wire::envelope::Envelope;

/// Returns why an answer to this request must never be given again, or `None` where it may.
///
/// Threads and containers hold state upstream, server tools act or look at a changing world, a continuation
/// credit is spent once, a URL or file may hold something else tomorrow, fallbacks depend on the moment, and a
/// field we do not know may mean any of that. Lists that were cut at their bound may hide one.
#[must_use]
pub fn bypass_reason(envelope: &Envelope<'_>) -> Option<&'static str> {
    if envelope.max_tokens == Some(0) {
        return Some("prewarm");
    }
    if envelope.history.remote_sources > 0 {
        return Some("remote_source");
    }
    if envelope.fallbacks {
        return Some("fallbacks");
    }
    if envelope.tool_list.len() >= TOOLS_BOUND
        || envelope.other_fields.len() >= NAMES_BOUND
        || envelope.history.other_blocks.len() >= NAMES_BOUND
    {
        return Some("too_many");
    }
    if envelope.thread.is_some() {
        return Some("thread");
    }
    if envelope.container.is_some() {
        return Some("container");
    }
    if envelope.has_server_tools() {
        return Some("server_tool");
    }
    if envelope.other_fields.iter().any(|field| !KEEPABLE_FIELDS.contains(&field.as_ref())) {
        return Some("field");
    }
    None
}

/// Tells whether an answer that ended so may be given again: the model finished, or reached a bound the client set.
///
/// A refusal may not stand, a pause is to be continued once, and an ending we do not know may mean anything.
#[must_use]
pub fn is_keepable_ending(stop_reason: Option<&str>) -> bool {
    stop_reason.is_some_and(|reason| KEEPABLE_ENDINGS.contains(&reason))
}

/// Top-level fields besides those of the envelope that leave an answer repeatable.
const KEEPABLE_FIELDS: [&str; 5] = ["metadata", "cache_control", "context_management", "betas", "safeguards"];

/// Reasons to stop after which an answer is kept.
const KEEPABLE_ENDINGS: [&str; 4] = ["end_turn", "tool_use", "stop_sequence", "max_tokens"];

/// Tools of a request that are read; from there on some may not have been.
const TOOLS_BOUND: usize = 512;

/// Names of other fields and of block types that are read, likewise.
const NAMES_BOUND: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope::read;

    fn reason(fields: &str) -> Option<&'static str> {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        bypass_reason(&read(body.as_bytes()).unwrap())
    }

    #[test]
    fn what_may_answer_otherwise_tomorrow_is_never_looked_up() {
        let message = |block: &str| format!(r#""messages":[{{"role":"user","content":[{block}]}}]"#);
        let plain = message(r#"{"type":"text","text":"hello"}"#);
        let tools = |count: usize| format!(r#""tools":[{}]"#, vec![r#"{"name":"t"}"#; count].join(","));
        let table = [
            (format!(r#""max_tokens":1,{plain}"#), None),
            (format!(r#""max_tokens":0,{plain}"#), Some("prewarm")),
            (
                message(r#"{"type":"image","source":{"type":"url","url":"https://a/b"}}"#),
                Some("remote_source"),
            ),
            (message(r#"{"type":"document","source":{"type":"file","file_id":"f"}}"#), Some("remote_source")),
            (r#""fallbacks":"default""#.to_owned(), Some("fallbacks")),
            (r#""fallbacks":[{"model":"n"}]"#.to_owned(), Some("fallbacks")),
            (r#""fallbacks":null"#.to_owned(), None),
            (tools(511), None),
            (tools(512), Some("too_many")),
            (r#""container":"c""#.to_owned(), Some("container")),
            (r#""future":1"#.to_owned(), Some("field")),
        ];
        for (fields, expected) in table {
            assert_eq!(reason(&fields), expected, "{}", &fields[..fields.len().min(80)]);
        }
    }

    #[test]
    fn only_an_answer_that_the_model_finished_is_kept() {
        for reason in ["refusal", "pause_turn", "model_context_window_exceeded", "tomorrow", ""] {
            assert!(!is_keepable_ending(Some(reason)), "{reason}");
        }
        assert!(!is_keepable_ending(None));
        assert!(is_keepable_ending(Some("end_turn")));
    }
}
