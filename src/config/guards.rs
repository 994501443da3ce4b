//! `[[guards]]` and `[[tenants.NAME.guards]]`: what is refused, told of or taken out of prompts and answers.
//!
//! A tenant's guards are asked after the gateway's. What cannot be kept is refused here: redacting without a key that
//! outlives the process, redacting answers (which become history), patterns that no bounded window can find, and paths
//! that pass unseen.

use std::ops::Range;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use toml::Spanned;

use super::check::{Check, count};
use super::detectors::Detector;
use super::schema::{self, Given};
use super::value::Section;
use crate::secret::Secret;

/// One guard.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Names what its patterns find; `pattern` by default.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Whether prompts are looked at.
    pub prompt: bool,
    /// Whether answers are looked at.
    pub answer: bool,
    /// Largest request body.
    pub max_body_bytes: Option<u64>,
    /// Most messages in a request.
    pub max_messages: Option<u64>,
    /// Largest `max_tokens`.
    pub max_output_tokens: Option<u64>,
    /// Longest text in a prompt.
    pub max_text_bytes: Option<u64>,
    /// Kinds of blocks and media types that may be sent; `None` for all.
    pub allow_content: Option<Vec<String>>,
    /// Tool names or types that may be sent; `None` for all.
    pub allow_tools: Option<Vec<String>>,
    /// Tool names or types that may not.
    pub deny_tools: Vec<String>,
    /// Known forms that are looked for.
    pub detect: Vec<Detector>,
    /// What else is looked for.
    pub patterns: Vec<Regex>,
}

/// What is done with what a guard finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Told of, and let pass.
    Flag,
    /// Replaced by a placeholder, which is replaced in the answer.
    Redact,
    /// The request or the answer is refused.
    Refuse,
}

impl Action {
    /// Returns the name used in configuration, headers, the journal and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Redact => "redact",
            Self::Refuse => "refuse",
        }
    }
}

/// Where a guard looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// What goes up.
    Prompt,
    /// What comes down.
    Answer,
}

impl Side {
    /// Returns the name used in configuration, the journal and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Answer => "answer",
        }
    }
}

/// `[redaction]`: the key that placeholders are made with.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Redaction {
    key: Given<schema::Reference>,
}

impl Redaction {
    /// Tells whether there is a key.
    pub(super) const fn is_given(&self) -> bool {
        self.key.is_some()
    }
}

/// Returns the key for placeholders, where there is one; at least 16 bytes.
pub(super) fn redaction_key(check: &mut Check<'_>, file: &Redaction) -> Option<Secret> {
    let given = file.key.as_ref()?;
    let key = check.secret(given)?;
    if key.expose().len() < KEY_BYTES_MIN {
        check.report(
            given.span(),
            "too short a key: who guesses it can guess what was redacted\nat least 16 bytes",
        );
    }
    Some(key)
}

/// What guards are checked against.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// Whether placeholders can be made.
    pub(super) has_key: bool,
    /// Paths that the tenant may use besides.
    pub(super) allow_paths: &'a [Spanned<String>],
}

type Written = [Spanned<Section<schema::Guard>>];

/// Gives guards their meaning, behind those of `before`.
pub(super) fn guards(
    check: &mut Check<'_>,
    file: &Written,
    before: &[Guard],
    around: Around<'_>,
) -> Arc<[Guard]> {
    let own = file.iter().map(|given| guard(check, given, around.has_key));
    let guards: Vec<Guard> = before.iter().cloned().chain(own.collect::<Vec<_>>()).collect();
    let hides = guards.iter().any(|guard| guard.prompt && guard.looks() && guard.action != Action::Flag);
    if let (true, Some(path)) = (hides, around.allow_paths.first()) {
        check.report(
            path.span(),
            "what is sent on this path is seen by no guard, though guards redact or refuse what is in prompts\n\
             remove the path, or give those guards `action = \"flag\"`",
        );
    }
    guards.into()
}

fn guard(check: &mut Check<'_>, given: &Spanned<Section<schema::Guard>>, has_key: bool) -> Guard {
    let (file, span) = (&given.get_ref().0, given.span());
    let detect: Vec<Detector> = {
        let mut named: Vec<_> = file.detect.iter().flat_map(|one| one.0.0.iter().copied()).collect();
        named.sort_unstable();
        named.dedup();
        named
    };
    let sides: Vec<Side> = file.sides.iter().map(|side| side.0).collect();
    let answer = sides.contains(&Side::Answer);
    let action = file.action.as_ref().map_or(Action::Refuse, |action| action.get_ref().0);
    let guard = Guard {
        name: file.name.as_ref().map_or_else(|| "pattern".to_owned(), |name| label(check, name)),
        action,
        prompt: sides.is_empty() || sides.contains(&Side::Prompt),
        answer,
        max_body_bytes: file.max_body.as_ref().map(|size| size.0.0),
        max_messages: count(file.max_messages),
        max_output_tokens: count(file.max_output_tokens),
        max_text_bytes: file.max_text.as_ref().map(|size| size.0.0),
        allow_content: file.allow_content.clone(),
        allow_tools: file.allow_tools.clone(),
        deny_tools: file.deny_tools.clone(),
        patterns: file.patterns.iter().filter_map(|given| pattern(check, given, answer, action)).collect(),
        detect,
    };
    let bounds = guard.bounds();
    let place = file.action.as_ref().map_or_else(|| span.clone(), Spanned::span);
    if !bounds && !guard.looks() && file.patterns.is_empty() {
        check.absent(
            Some(span),
            "a guard that looks for nothing\nname lengths, content, tools, `detect` or `patterns`",
        );
    } else if guard.looks() && file.action.is_none() {
        check.absent(Some(span), "this guard looks into texts, and does not say what is done then\nadd `action`: \"flag\", \"redact\" or \"refuse\"");
    } else if bounds && answer {
        check.report(span, "lengths, content and tools are those of requests\ngive what is looked for in answers a guard of its own");
    } else if guard.action == Action::Redact {
        redactable(check, place, &guard, has_key);
    }
    guard
}

/// Refuses to redact where that could not be undone, or would not hide anything.
fn redactable(check: &mut Check<'_>, action: Range<usize>, guard: &Guard, has_key: bool) {
    if guard.bounds() {
        check.report(action, "lengths, content and tools cannot be redacted\ngive them a guard of their own");
    } else if guard.answer {
        check.report(
            action,
            "an answer becomes history, which the model's signed thinking is bound to: what is redacted in it would \
             come back changed, and be refused\nuse \"refuse\" or \"flag\" for answers, and a guard of its own for prompts",
        );
    } else if !has_key {
        check.absent(
            Some(action),
            "placeholders must be the same after a restart and at every instance, and need a key for that\n\
             add `key = { env = \"TERCET_REDACTION_KEY\" }` to [redaction]",
        );
    }
}

impl Guard {
    /// Tells whether it looks into texts.
    #[must_use]
    pub fn looks(&self) -> bool {
        !self.detect.is_empty() || !self.patterns.is_empty()
    }

    /// Tells whether it bounds what a request may hold besides.
    #[must_use]
    pub fn bounds(&self) -> bool {
        let lengths = [self.max_body_bytes, self.max_messages, self.max_output_tokens, self.max_text_bytes];
        let lists = [&self.allow_content, &self.allow_tools];
        lengths.iter().any(Option::is_some)
            || lists.iter().any(|list| list.is_some())
            || !self.deny_tools.is_empty()
    }

    /// Tells whether what it asks of a request must not be got round by way of batches or files.
    #[must_use]
    pub fn hides(&self) -> bool {
        let lists = self.allow_content.is_some() || self.allow_tools.is_some() || !self.deny_tools.is_empty();
        self.action != Action::Flag && (lists || self.looks())
    }
}

fn label(check: &mut Check<'_>, name: &Spanned<String>) -> String {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let text = name.get_ref();
    if text.is_empty() || text.len() > LABEL_BYTES_MAX || !text.bytes().all(known) {
        check.report(name.span(), "not a name of a finding\n1 to 32 small letters, digits and hyphens");
    }
    text.clone()
}

/// Compiles a pattern; refuses one that is found everywhere, or that no bounded window could find.
fn pattern(check: &mut Check<'_>, given: &Spanned<String>, answer: bool, action: Action) -> Option<Regex> {
    let parsed = match regex_syntax::parse(given.get_ref()) {
        Ok(parsed) => parsed,
        Err(error) => {
            check.report(given.span(), &format!("not a pattern: {}", reason(&error)));
            return None;
        }
    };
    let properties = parsed.properties();
    if properties.minimum_len().unwrap_or(0) == 0 {
        check.report(
            given.span(),
            "a pattern that nothing at all matches, too\nask for at least one character",
        );
        return None;
    }
    if answer && properties.maximum_len().is_none_or(|longest| longest > WINDOW_BYTES) {
        check.report(
            given.span(),
            "a pattern that may match more than 4096 bytes could be missed in an answer, which is looked at as it passes\n\
             bound its repetitions, such as `.{0,100}` in place of `.*`",
        );
        return None;
    }
    let compiled = RegexBuilder::new(given.get_ref())
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(DFA_BYTES_MAX)
        .build();
    match compiled {
        Ok(compiled)
            if action == Action::Redact && SAMPLES.iter().any(|sample| compiled.is_match(sample)) =>
        {
            check.report(
                given.span(),
                "a pattern that matches placeholders, too\nwhat was redacted would be found again",
            );
            None
        }
        Ok(compiled) => Some(compiled),
        Err(_) => {
            check.report(given.span(), "too large a pattern\nits repetitions come to more than 1 MiB");
            None
        }
    }
}

/// The last line of what is wrong with a pattern, which the lines above it draw.
fn reason(error: &regex_syntax::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Longest find of a pattern in an answer.
pub const WINDOW_BYTES: usize = 4_096;
/// A key that cannot be tried out.
const KEY_BYTES_MIN: usize = 16;
const LABEL_BYTES_MAX: usize = 32;
const PATTERN_BYTES_MAX: usize = 1 << 20;
const DFA_BYTES_MAX: usize = 2 << 20;
/// Placeholders as they may look.
const SAMPLES: [&str; 3] =
    ["REDACTED_EMAIL_0123456789ab", "REDACTED_AWS_KEY_zzzzzzzzzzzz", "REDACTED_PATTERN_7k2m9qxw4t3a"];
