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
        originals: HashMap::new(),
        exact: None,
        edits: Vec::new(),
        finds: Finds::default(),
    };
    let refused = work.request(envelope).err();
    let body = (refused.is_none() && !work.edits.is_empty()).then(|| spliced(envelope.body, &work.edits));
    let restoration = body.as_ref().and_then(|_| Restoration::of(work.originals));
    Prompt { finds: work.finds, refused, body, restoration }
}

struct Work<'g> {
    guards: &'g [Guard],
    maker: Option<Maker>,
    /// Placeholders by what they stand for.
    known: HashMap<String, String>,
    /// The other way round.
    originals: HashMap<String, String>,
    /// Finds what is known, and the placeholders in its order; made again when more is known.
    exact: Option<(AhoCorasick, Vec<String>)>,
    /// What is replaced by what, in bytes of the body.
    edits: Vec<(Range<usize>, String)>,
    finds: Finds,
}

/// A text that will be replaced, in bytes of its string's meaning.
type Claim = (Range<usize>, String);

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
        let mut claims: Vec<Claim> = Vec::new();
        if assistant {
            self.again(&plain.text, &mut claims);
        }
        if !(assistant && signed) {
            for guard in self.guards.iter().filter(|guard| guard.prompt && guard.looks()) {
                for found in detect::find(guard, &plain.text) {
                    self.found(guard, found, &plain.text, &mut claims, place)?;
                }
            }
        }
        let begin = text.span.start + 1;
        self.edits.extend(
            claims.into_iter().map(|(at, placeholder)| {
                (begin + plain.raw(at.start)..begin + plain.raw(at.end), placeholder)
            }),
        );
        Ok(())
    }

    /// Claims what was replaced before, wherever it stands again in what the model wrote.
    fn again(&mut self, text: &str, claims: &mut Vec<Claim>) {
        if self.known.is_empty() {
            return;
        }
        if self.exact.as_ref().is_none_or(|(_, known)| known.len() != self.known.len()) {
            let (texts, placeholders): (Vec<&String>, Vec<String>) =
                self.known.iter().map(|(text, placeholder)| (text, placeholder.clone())).unzip();
            let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts);
            self.exact = finder.ok().map(|finder| (finder, placeholders));
        }
        let Some((finder, placeholders)) = &self.exact else { return };
        claims.extend(
            finder
                .find_iter(text)
                .filter_map(|hit| Some((hit.range(), placeholders.get(hit.pattern().as_usize())?.clone()))),
        );
    }

    fn found(
        &mut self,
        guard: &Guard,
        found: Found,
        text: &str,
        claims: &mut Vec<Claim>,
        place: &dyn Fn() -> String,
    ) -> Result<(), Refused> {
        let covered = |(claimed, _): &Claim| claimed.start <= found.at.start && found.at.end <= claimed.end;
        if claims.iter().any(covered) {
            return Ok(());
        }
        let what = found.what.map_or(guard.name.as_str(), |detector| detector.name());
        self.finds.add(what, Side::Prompt, guard.action, 1);
        match guard.action {
            Action::Flag => Ok(()),
            Action::Refuse => {
                Err(invalid(format!("{}: this tenant does not allow {what} in prompts", place())))
            }
            Action::Redact => {
                let mut at = found.at;
                claims.retain(|(claimed, _)| {
                    let apart = claimed.end <= at.start || at.end <= claimed.start;
                    if !apart {
                        at = at.start.min(claimed.start)..at.end.max(claimed.end);
                    }
                    apart
                });
                let placeholder = self.placeholder(what, text.get(at.clone()).unwrap_or_default())?;
                claims.push((at, placeholder));
                Ok(())
            }
        }
    }

    fn placeholder(&mut self, what: &str, text: &str) -> Result<String, Refused> {
        if let Some(known) = self.known.get(text) {
            return Ok(known.clone());
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
        self.known.insert(text.to_owned(), placeholder.clone());
        Ok(placeholder)
    }
}

fn invalid(message: impl Into<String>) -> Refused {
    Refused { status: Status::Invalid, message: message.into() }
}

/// Returns a body with parts of it replaced; all else stays byte for byte.
fn spliced(body: &[u8], edits: &[(Range<usize>, String)]) -> Vec<u8> {
    let mut ordered: Vec<&(Range<usize>, String)> = edits.iter().collect();
    ordered.sort_by_key(|(at, _)| at.start);
    let grown: usize = edits.iter().map(|(_, placeholder)| placeholder.len()).sum();
    let mut output = Vec::with_capacity(body.len() + grown);
    let mut passed = 0;
    for (at, placeholder) in ordered {
        output.extend_from_slice(body.get(passed..at.start).unwrap_or_default());
        output.extend_from_slice(placeholder.as_bytes());
        passed = at.end;
    }
    output.extend_from_slice(body.get(passed..).unwrap_or_default());
    output
}

/// Most different texts redacted in one request.
const KNOWN_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
