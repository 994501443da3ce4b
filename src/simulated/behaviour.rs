//! One-off behaviours that tests script for the next request: errors, faults of the wire, odd but legal streams.
//!
//! Behaviours are taken first in, first out, by the next request whose path matches (`Entry::path`). On the control
//! surface they are JSON objects tagged by `kind`, for example `{"kind": "cut_after", "events": 3}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What one request meets instead of, or on top of, the normal answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Behaviour {
    /// Answers this error before anything else is looked at.
    Status {
        /// The HTTP status.
        status: u16,
        /// `error.type`.
        error_type: String,
        /// `error.message`.
        message: String,
        /// `error.details.error_code`.
        #[serde(default)]
        code: Option<String>,
        /// Headers added to the answer.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Ends the answer early and visibly: after so many stream events, or so many bytes of the body.
    CutAfter {
        /// Whole events let through.
        #[serde(default)]
        events: Option<usize>,
        /// Bytes let through.
        #[serde(default)]
        bytes: Option<usize>,
    },
    /// Like a cut after so many bytes, but with a TCP reset.
    Reset {
        /// Bytes of the body let through first.
        #[serde(default)]
        after_bytes: usize,
    },
    /// Reads the request, then closes without a byte of an answer.
    CloseBeforeAnswer,
    /// Waits before the head of the answer.
    SlowFirstByte {
        /// The wait in milliseconds.
        ms: u64,
    },
    /// Goes silent within the stream.
    Pause {
        /// Events let through first.
        after_events: usize,
        /// The silence in milliseconds.
        ms: u64,
    },
    /// Puts an `error` event into the stream and ends it.
    ErrorEvent {
        /// Events let through first.
        after_events: usize,
        /// `error.type`.
        error_type: String,
        /// `error.message`.
        message: String,
    },
    /// Splits the body at these sizes in bytes, taken in turn.
    OddChunks {
        /// Sizes in bytes; a zero counts as one.
        sizes: Vec<usize>,
    },
    /// Compresses the answer whatever the client accepts.
    Gzip,
    /// Adds event types and fields that no client knows.
    UnknownEvents,
    /// Adds comment lines to the stream.
    Comments,
    /// Ends the lines of the stream with CR LF.
    CrLf,
    /// Puts a `ping` with one data line of this length into the stream.
    HugeLine {
        /// Length of the padding.
        bytes: usize,
    },
    /// Leaves usage out of the answer.
    NoUsage,
    /// Reports this in place of each usage object.
    WrongUsage {
        /// Any JSON.
        usage: Value,
    },
    /// Sends two contradicting `content-length` headers.
    DuplicateContentLength,
    /// Answers 307.
    Redirect {
        /// The `location`.
        location: String,
    },
    /// Answers a 400 whose text holds the presented key.
    EchoKey,
    /// Adds headers to the normal answer.
    ExtraHeaders {
        /// Names and values.
        headers: BTreeMap<String, String>,
    },
    /// Declines for a policy reason (HTTP 200).
    Refusal {
        /// `stop_details.category`.
        #[serde(default)]
        category: Option<String>,
    },
    /// Answers this text.
    Say {
        /// The text.
        text: String,
    },
    /// Calls this tool.
    CallTool {
        /// The tool's name.
        name: String,
        /// Its input.
        input: Value,
    },
    /// Ends with this stop reason.
    StopReason {
        /// For example `pause_turn`.
        reason: String,
    },
    /// Counts so many web searches in usage.
    WebSearches {
        /// How many.
        count: u64,
    },
    /// Holds a batch in progress until so much time has passed.
    BatchDelay {
        /// The wait in milliseconds, on the upstream's own clock.
        ms: u64,
    },
    /// Several at once, for one request.
    Together {
        /// The behaviours, all for the same request.
        behaviours: Vec<Behaviour>,
    },
}

/// A scripted behaviour and the requests it waits for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// A path; requests to it or below it match.
    pub path: String,
    pub behaviour: Behaviour,
}

impl Entry {
    pub(super) fn matches(&self, path: &str) -> bool {
        path.strip_prefix(self.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Flattens nested behaviours, at most 16 levels deep.
pub(super) fn flatten(behaviour: Behaviour, depth: u8, into: &mut Vec<Behaviour>) {
    match behaviour {
        Behaviour::Together { behaviours } if depth < 16 => {
            for inner in behaviours {
                flatten(inner, depth + 1, into);
            }
        }
        Behaviour::Together { .. } => {}
        other => into.push(other),
    }
}

pub(super) fn messages_path() -> String {
    "/v1/messages".to_owned()
}
