//! Looking at an answer as it passes: nothing in it is changed, what is found is counted, and told at its end.
//!
//! Of a stream each block is looked at when it ends, or when 64 KiB of it have come; then its last 16 KiB are kept, so
//! that nothing is missed that is not longer. Thinking is looked at like any text.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{Finds, detect};
use crate::config::{Action, Guard, Side};
use crate::wire::json::{Cursor, Kind, Malformed, Plain};
use crate::wire::sse::SseReader;
use crate::wire::texts::Texts;

/// A look at one answer.
pub struct Look {
    guards: Arc<[Guard]>,
    form: Form,
    blocks: HashMap<u64, String>,
    finds: Finds,
    /// Bytes since the last event ended, or of an answer that is no stream.
    since_bytes: usize,
    /// Some of the answer could not be looked at.
    missed: bool,
}

enum Form {
    Stream(Box<SseReader>),
    Whole(Vec<u8>),
}

impl Look {
    /// Begins a look; `None` where no guard looks at answers.
    #[must_use]
    pub fn of(guards: &Arc<[Guard]>) -> Option<Self> {
        guards.iter().any(|guard| guard.answer).then(|| Self {
            guards: Arc::clone(guards),
            form: Form::Whole(Vec::new()),
            blocks: HashMap::new(),
            finds: Finds::default(),
            since_bytes: 0,
            missed: false,
        })
    }

    /// Says whether the answer is a stream, before any of it is heard.
    pub fn of_stream(&mut self, streamed: bool) {
        self.form =
            if streamed { Form::Stream(Box::new(SseReader::keeping_all())) } else { Form::Whole(Vec::new()) };
    }

    /// Tells whether an answer may be refused, and must not be begun before it has ended.
    #[must_use]
    pub fn withholds(guards: &[Guard]) -> bool {
        guards.iter().any(|guard| guard.answer && guard.action == Action::Refuse)
    }

    /// Takes the next piece of the answer, decoded.
    pub fn hear(&mut self, piece: &[u8]) {
        if self.missed {
            return;
        }
        self.since_bytes = self.since_bytes.saturating_add(piece.len());
        let mut data = Vec::new();
        match &mut self.form {
            Form::Whole(bytes) => bytes.extend_from_slice(piece),
            Form::Stream(reader) => reader.feed(piece, |_, event| data.push(event.to_vec())),
        }
        let most = if matches!(self.form, Form::Whole(_)) { WHOLE_BYTES_MAX } else { EVENT_BYTES_MAX };
        if !data.is_empty() {
            self.since_bytes = 0;
        }
        if self.since_bytes > most {
            (self.missed, self.form) = (true, Form::Whole(Vec::new()));
            return;
        }
        for event in data {
            self.missed |= self.event(&event).is_err();
        }
    }

    /// Ends the look: what was found, and what a refusal says; the latter too where a guard would refuse and not all
    /// could be looked at.
    #[must_use]
    pub fn end(mut self) -> (Finds, Option<String>) {
        if let Form::Whole(bytes) = std::mem::replace(&mut self.form, Form::Whole(Vec::new())) {
            self.missed |= !bytes.is_empty() && self.whole(&bytes).is_err();
        }
        let open: Vec<u64> = self.blocks.keys().copied().collect();
        for index in open {
            self.end_block(index);
        }
        let refused = self.finds.iter().find(|find| find.action == Action::Refuse);
        let message = match refused {
            Some(find) => {
                Some(format!("this answer is withheld: this tenant does not allow {} in answers", find.what))
            }
            None if self.missed && Self::withholds(&self.guards) => Some(
                "this answer is withheld: it is too large, or of a form that cannot be looked at".to_owned(),
            ),
            None => None,
        };
        if self.missed {
            self.finds.add("unseen", Side::Answer, Action::Flag, 1);
        }
        (self.finds, message)
    }

    fn whole(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        for text in &Texts::of_answer(bytes, true)?.all {
            self.look(&Plain::of(text).text, usize::MAX);
        }
        Ok(())
    }

    fn event(&mut self, data: &[u8]) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(data)?;
        if data.is_empty() || cursor.kind()? != Kind::Object {
            return Ok(());
        }
        let (mut stops, mut index, mut pieces) = (false, 0, Vec::new());
        let mut strings = Vec::new();
        cursor.each_field(|cursor, name| {
            match (name.raw, cursor.kind()?) {
                ("type", Kind::String) => stops = cursor.string()?.raw == "content_block_stop",
                ("index", Kind::Number) => {
                    let span = cursor.skip()?;
                    index = std::str::from_utf8(cursor.slice(span))
                        .ok()
                        .and_then(|text| text.parse().ok())
                        .unwrap_or(0);
                }
                ("delta", Kind::Object) => pieces = Texts::of_value(cursor)?.all,
                ("content_block", Kind::Object) => strings = Texts::of_block(cursor, true)?.all,
                _ => {
                    cursor.skip()?;
                }
            }
            Ok(())
        })?;
        for text in &strings {
            self.look(&Plain::of(text).text, usize::MAX);
        }
        for text in &pieces {
            self.piece(index, &Plain::of(text).text);
        }
        if stops {
            self.end_block(index);
        }
        Ok(())
    }

    fn piece(&mut self, index: u64, text: &str) {
        if self.blocks.len() >= BLOCKS_MAX && !self.blocks.contains_key(&index) {
            self.missed = true;
            return;
        }
        let block = self.blocks.entry(index).or_default();
        block.push_str(text);
        if block.len() <= LOOK_BYTES {
            return;
        }
        let mut block = std::mem::take(block);
        let mut until = block.len() - KEPT_BYTES;
        while !block.is_char_boundary(until) {
            until -= 1;
        }
        let end = self.look(&block, until).max(until);
        block.drain(..end);
        self.blocks.insert(index, block);
    }

    fn end_block(&mut self, index: u64) {
        if let Some(block) = self.blocks.remove(&index) {
            self.look(&block, usize::MAX);
        }
    }

    /// Counts what begins before `until`; returns where the last of that ends.
    fn look(&mut self, text: &str, until: usize) -> usize {
        let mut end = 0;
        for guard in self.guards.iter().filter(|guard| guard.answer) {
            for found in detect::find(guard, text).into_iter().filter(|found| found.at.start < until) {
                end = end.max(found.at.end);
                let what = found.what.map_or(guard.name.as_str(), |detector| detector.name());
                self.finds.add(what, Side::Answer, guard.action, 1);
            }
        }
        end
    }
}

/// No text is shown.
impl fmt::Debug for Look {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Look").field("finds", &self.finds).finish_non_exhaustive()
    }
}

/// Text of a block that is gathered before it is looked at.
const LOOK_BYTES: usize = 64 << 10;
/// What of it is kept to be looked at again; the longest find.
const KEPT_BYTES: usize = 16 << 10;
/// Largest answer that is no stream and is looked at.
const WHOLE_BYTES_MAX: usize = 16 << 20;
/// Largest event that is.
const EVENT_BYTES_MAX: usize = 4 << 20;
/// Most blocks that are open at once.
const BLOCKS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Detector;
    use crate::guard::tests::guard;

    fn answers(action: Action) -> Arc<[Guard]> {
        [Guard { answer: true, prompt: false, detect: vec![Detector::Email], ..guard(action) }].into()
    }

    fn heard(action: Action, streamed: bool, bytes: &[u8], cut: usize) -> (String, Option<String>) {
        let mut look = Look::of(&answers(action)).unwrap();
        look.of_stream(streamed);
        for piece in bytes.chunks(cut) {
            look.hear(piece);
        }
        let (finds, refused) = look.end();
        (finds.header(), refused)
    }

    fn stream(pieces: &[&str]) -> Vec<u8> {
        let delta = |piece: &&str| {
            let data = serde_json::json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":piece}});
            format!("event: content_block_delta\ndata: {data}\n\n")
        };
        let end = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
        (pieces.iter().map(delta).collect::<String>() + end).into_bytes()
    }

    #[test]
    fn a_find_is_counted_however_the_stream_is_cut() {
        let stream = stream(&["write to a", "da@ac", "me.io or bob@", "acme.io"]);
        for cut in 1..stream.len() {
            assert_eq!(heard(Action::Flag, true, &stream, cut), ("flag:email=2".to_owned(), None));
        }
    }

    #[test]
    fn what_lies_across_the_edge_of_a_window_is_counted_once() {
        let filler = "word ".repeat((LOOK_BYTES - KEPT_BYTES) / 5);
        for shift in 0..24 {
            let text = format!("{}ada@acme.io {}", &filler[shift..], "word ".repeat(9_000));
            let pieces: Vec<&str> = vec![&text[..70_000], &text[70_000..]];
            assert_eq!(heard(Action::Flag, true, &stream(&pieces), 4_096).0, "flag:email=1", "{shift}");
        }
    }

    #[test]
    fn an_answer_is_refused_for_what_is_found_and_for_what_cannot_be_looked_at() {
        let message =
            br#"{"type":"message","content":[{"type":"thinking","thinking":"ada@acme.io","signature":"x"}]}"#;
        let (finds, refused) = heard(Action::Refuse, false, message, 10);
        assert_eq!(finds, "refuse:email=1");
        assert!(refused.unwrap().contains("email"));
        assert_eq!(heard(Action::Refuse, false, br#"{"content":[]}"#, 5), (String::new(), None));
        let (finds, refused) = heard(Action::Refuse, false, b"no json", 5);
        assert_eq!((finds.as_str(), refused.is_some()), ("flag:unseen=1", true));
        assert_eq!(heard(Action::Flag, false, b"no json", 5), ("flag:unseen=1".to_owned(), None));
    }
}
