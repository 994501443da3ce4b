//! Looking at a prompt: what of it is found, refused, or replaced where it stands.
//!
//! What becomes of a message depends on nothing behind it, so that a conversation that goes on keeps the beginning
//! that it was sent with: the prompt cache stays warm and signed thinking stays bound. For the same reason a message
//! that the model wrote, with thinking in it or before it, is searched only for texts that were replaced before it:
//! those are what was put back when it was its answer. Anything else in it the model wrote itself.

use std::collections::HashMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use super::detect::{self, Found};
use super::placeholder::Maker;
use super::{Finds, Refused, Restoration, Status, bounds};
use crate::config::{Action, Guard, Side};
use crate::secret::Secret;
use crate::wire::envelope::Envelope;
use crate::wire::json::{Plain, Text};
use crate::wire::texts::Texts;

/// What prompts are held against.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// The guards, in order.
    pub guards: &'a [Guard],
    /// What placeholders are made with; nothing is redacted without.
    pub key: Option<&'a Secret>,
    /// Who owns the texts.
    pub scope: &'a str,
}

/// What a look at a prompt came to.
#[derive(Debug, Default)]
pub struct Prompt {
    /// What was found.
    pub finds: Finds,
    /// Why it is refused.
    pub refused: Option<Refused>,
    /// The body to send in its place; `None` where nothing in it changes.
    pub body: Option<Vec<u8>>,
    /// How the answer is given its texts back.
    pub restoration: Option<Restoration>,
}

/// Looks at the prompt of a request.
#[must_use]
pub fn look(policy: Policy<'_>, envelope: &Envelope<'_>) -> Prompt {
    let mut work = Work {
        guards: policy.guards,
        maker: policy.key.map(|key| Maker::new(key, policy.scope)),
        known: HashMap::new(),
        placeholders: Vec::new(),
        originals: HashMap::new(),
        exact: None,
        edits: Vec::new(),
        finds: Finds::default(),
    };
    let refused = work.request(envelope).err();
    let body = (refused.is_none() && !work.edits.is_empty())
        .then(|| spliced(envelope.body, &mut work.edits, &work.placeholders));
    let restoration = body.as_ref().and_then(|_| Restoration::of(work.originals));
    Prompt { finds: work.finds, refused, body, restoration }
}

struct Work<'g> {
    guards: &'g [Guard],
    maker: Option<Maker>,
    /// Which placeholder stands for a text.
    known: HashMap<String, usize>,
    placeholders: Vec<String>,
    /// What they stand for.
    originals: HashMap<String, String>,
    /// Finds what is known, and which placeholder each is; made again when more is known.
    exact: Option<(AhoCorasick, Vec<usize>)>,
    /// What is replaced, in bytes of the body, and by which placeholder.
    edits: Vec<Claim>,
    finds: Finds,
}

/// What is replaced, and by which placeholder.
#[derive(Clone, Debug)]
struct Claim {
    at: Range<usize>,
    by: usize,
}

impl Work<'_> {
    fn request(&mut self, envelope: &Envelope<'_>) -> Result<(), Refused> {
        let prompts = || self.guards.iter().filter(|guard| guard.prompt);
        let looks = prompts().any(Guard::looks);
        let texts = if looks || self.guards.iter().any(bounds::reads) {
            let read = Texts::of_request(envelope.body);
            Some(read.map_err(|malformed| invalid(malformed.message))?)
        } else {
            None
        };
        let redacts = prompts().any(|guard| guard.action == Action::Redact);
        let goes_on = envelope.thread.as_ref().is_some_and(|thread| thread.previous_message_id.is_some());
        for guard in self.guards {
            bounds::check(guard, envelope, texts.as_ref(), &mut self.finds)?;
        }
        if redacts && goes_on {
            return Err(invalid(
                "thread: this tenant's prompts are redacted, which needs the whole conversation in each request",
            ));
        }
        let Some(texts) = texts.filter(|_| looks) else { return Ok(()) };
        if texts.unseen > 0 {
            self.finds.add("unseen", Side::Prompt, Action::Flag, texts.unseen);
        }
        self.texts(&texts)
    }

    fn texts(&mut self, texts: &Texts<'_>) -> Result<(), Refused> {
        for (range, place) in [(&texts.system, "system"), (&texts.tools, "tools")] {
            for text in texts.all.get(range.clone()).unwrap_or_default() {
                self.text(text, false, false, &|| place.to_owned())?;
            }
        }
        let mut signed = false;
        for (index, turn) in texts.turns.iter().enumerate() {
            signed |= turn.thinks;
            for text in texts.all.get(turn.texts.clone()).unwrap_or_default() {
                self.text(text, turn.assistant, signed, &|| format!("messages.{index}"))?;
            }
        }
        Ok(())
    }

    fn text(
        &mut self,
        text: &Text<'_>,
        assistant: bool,
        signed: bool,
        place: &dyn Fn() -> String,
    ) -> Result<(), Refused> {
        let plain = Plain::of(text);
        let mut claims = if assistant { self.again(&plain.text) } else { Vec::new() };
        if !(assistant && signed) {
            for guard in self.guards.iter().filter(|guard| guard.prompt && guard.looks()) {
                let found = detect::find(guard, &plain.text);
                claims = self.found(guard, found, &plain.text, claims, place)?;
            }
        }
        let begin = text.span.start + 1;
        self.edits.extend(claims.into_iter().map(|Claim { at, by }| {
            let at = begin + plain.raw(at.start)..begin + plain.raw(at.end);
            Claim { at, by }
        }));
        Ok(())
    }

    /// Claims what was replaced before, wherever it stands again in what the model wrote.
    fn again(&mut self, text: &str) -> Vec<Claim> {
        if self.known.is_empty() {
            return Vec::new();
        }
        if self.exact.as_ref().is_none_or(|(_, known)| known.len() != self.known.len()) {
            let (texts, by): (Vec<&String>, Vec<usize>) = self.known.iter().unzip();
            let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts);
            self.exact = finder.ok().map(|finder| (finder, by));
        }
        let Some((finder, by)) = &self.exact else { return Vec::new() };
        let claim = |hit: aho_corasick::Match| {
            Some(Claim { at: hit.range(), by: *by.get(hit.pattern().as_usize())? })
        };
        finder.find_iter(text).filter_map(claim).collect()
    }

    /// Does what a guard wants with what it found. Claims are in order of place and apart, before and after.
    fn found(
        &mut self,
        guard: &Guard,
        found: Vec<Found>,
        text: &str,
        earlier: Vec<Claim>,
        place: &dyn Fn() -> String,
    ) -> Result<Vec<Claim>, Refused> {
        let (mut claims, mut earlier) = (Vec::with_capacity(earlier.len()), earlier.into_iter().peekable());
        for Found { mut at, what } in found {
            while let Some(claim) = earlier.next_if(|claim| claim.at.end <= at.start) {
                claims.push(claim);
            }
            let covers = |claim: &Claim| claim.at.start <= at.start && at.end <= claim.at.end;
            if claims.last().is_some_and(covers) || earlier.peek().is_some_and(covers) {
                continue;
            }
            let what = what.map_or(guard.name.as_str(), |detector| detector.name());
            self.finds.add(what, Side::Prompt, guard.action, 1);
            match guard.action {
                Action::Flag => {}
                Action::Refuse => {
                    let message = format!("{}: this tenant does not allow {what} in prompts", place());
                    return Err(invalid(message));
                }
                Action::Redact => {
                    // What overlaps becomes one, so that no part of either is left over.
                    while let Some(claim) = earlier.next_if(|claim| claim.at.start < at.end) {
                        at = at.start.min(claim.at.start)..at.end.max(claim.at.end);
                    }
                    if let Some(last) = claims.pop_if(|last: &mut Claim| last.at.end > at.start) {
                        at = at.start.min(last.at.start)..at.end.max(last.at.end);
                    }
                    let by = self.placeholder(what, text.get(at.clone()).unwrap_or_default())?;
                    claims.push(Claim { at, by });
                }
            }
        }
        claims.extend(earlier);
        Ok(claims)
    }

    fn placeholder(&mut self, what: &str, text: &str) -> Result<usize, Refused> {
        if let Some(known) = self.known.get(text) {
            return Ok(*known);
        }
        // The configuration is refused without a key; were it not, this request would be.
        let Some(maker) = &self.maker else { return Err(invalid("nothing can be redacted without a key")) };
        if self.known.len() >= KNOWN_MAX {
            return Err(invalid(format!("messages: more than {KNOWN_MAX} different texts to redact")));
        }
        let placeholder = maker.make(what, text);
        if self.originals.insert(placeholder.clone(), text.to_owned()).is_some() {
            return Err(invalid("messages: two texts to redact have the same placeholder"));
        }
        let index = self.placeholders.len();
        self.placeholders.push(placeholder);
        self.known.insert(text.to_owned(), index);
        Ok(index)
    }
}

fn invalid(message: impl Into<String>) -> Refused {
    Refused { status: Status::Invalid, message: message.into() }
}

/// Returns a body with parts of it replaced; all else stays byte for byte.
fn spliced(body: &[u8], edits: &mut [Claim], placeholders: &[String]) -> Vec<u8> {
    edits.sort_by_key(|edit| edit.at.start);
    let put = |edit: &Claim| placeholders.get(edit.by).map_or("", String::as_str);
    let grown: usize = edits.iter().map(|edit| put(edit).len().saturating_sub(edit.at.len())).sum();
    let mut output = Vec::with_capacity(body.len() + grown);
    let mut passed = 0;
    for edit in edits.iter() {
        output.extend_from_slice(body.get(passed..edit.at.start).unwrap_or_default());
        output.extend_from_slice(put(edit).as_bytes());
        passed = edit.at.end;
    }
    output.extend_from_slice(body.get(passed..).unwrap_or_default());
    output
}

/// Most different texts redacted in one request.
const KNOWN_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
