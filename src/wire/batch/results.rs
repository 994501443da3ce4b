//! Reading what a batch came to from its results: JSON lines in any order, one for each request.
//!
//! One line is held at a time, at most 64 MiB. What cannot be read is counted, so that whoever settles
//! knows that the sum is not all.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::usage::Billed;
use crate::wire::meter::Meter;

/// Reads one batch's results.
#[derive(Debug, Default)]
pub struct ResultReader {
    held: Vec<u8>,
    overlong: bool,
    unread: u64,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    result: Answer<'a>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

impl ResultReader {
    /// Reads the next chunk; `each` gets what a request that was answered is billed for, on batch terms. Requests
    /// that failed, were canceled or expired are billed for nothing.
    pub fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Vec<Billed>)) {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.overlong |= self.held.len().saturating_add(part.len()) > MAX_LINE_BYTES;
            if !self.overlong {
                self.held.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                self.end_line(&mut each);
            }
        }
    }

    /// Reads a last line without an end, and returns how many lines could not be read.
    #[must_use]
    pub fn finish(mut self, mut each: impl FnMut(Vec<Billed>)) -> u64 {
        self.end_line(&mut each);
        self.unread
    }

    fn end_line(&mut self, each: &mut impl FnMut(Vec<Billed>)) {
        let blank = self.held.trim_ascii().is_empty() && !self.overlong;
        let read = if self.overlong { None } else { billed(&self.held) };
        match read {
            _ if blank => {}
            Some(billed) => each(billed),
            None => self.unread += 1,
        }
        self.held.clear();
        self.overlong = false;
    }
}

/// Returns what a line is billed for; `None` where it cannot be told.
fn billed(line: &[u8]) -> Option<Vec<Billed>> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    match &*line.result.kind {
        "errored" | "canceled" | "expired" => Some(Vec::new()),
        "succeeded" => {
            let mut meter = Meter::message();
            meter.feed(line.result.message?.get().as_bytes());
            let metered = meter.finish();
            metered.usage?;
            let mut billed = metered.billed;
            billed.iter_mut().for_each(|work| work.terms.batch = true);
            Some(billed)
        }
        _ => None,
    }
}

/// Longest line that is read; an answer is far shorter.
const MAX_LINE_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINES: &str = concat!(
        r#"{"custom_id":"b","result":{"type":"succeeded","message":{"id":"msg_1","type":"message","role":"assistant","#,
        r#""model":"claude-haiku-5-5","content":[],"stop_reason":"end_turn","usage":{"input_tokens":11,"#,
        r#""output_tokens":7,"cache_read_input_tokens":5,"service_tier":"batch"}}}}"#,
        "\n",
        r#"{"custom_id":"a","result":{"type":"errored","error":{"type":"error","error":{"type":"x","message":"y"}}}}"#,
        "\r\n\n",
        r#"{"custom_id":"c","result":{"type":"expired"}}"#,
        "\n",
        r#"{"custom_id":"d","result":{"type":"canceled"}}"#,
    );

    fn read(chunks: &[&[u8]]) -> (Vec<Billed>, usize, u64) {
        let (mut billed, mut lines) = (Vec::new(), 0);
        let mut each = |work: Vec<Billed>| {
            lines += 1;
            billed.extend(work);
        };
        let mut reader = ResultReader::default();
        chunks.iter().for_each(|chunk| reader.feed(chunk, &mut each));
        let unread = reader.finish(&mut each);
        (billed, lines, unread)
    }

    #[test]
    fn only_what_was_answered_is_billed_and_on_batch_terms() {
        let (billed, lines, unread) = read(&[LINES.as_bytes()]);
        assert_eq!((billed.len(), lines, unread), (1, 4, 0));
        let usage = &billed[0].usage;
        assert_eq!((usage.input_tokens, usage.cache_read_tokens, usage.output_tokens), (11, 5, 7));
        assert!(billed[0].terms.batch && billed[0].model == "claude-haiku-5-5");
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_not_taken_for_free() {
        for line in [
            "{",
            r#"{"custom_id":"a"}"#,
            r#"{"result":{"type":"succeeded"}}"#,
            r#"{"result":{"type":"succeeded","message":{"type":"message","usage":{"input_tokens":-1}}}}"#,
            r#"{"result":{"type":"of tomorrow"}}"#,
        ] {
            let (billed, lines, unread) = read(&[line.as_bytes(), b"\n", LINES.as_bytes()]);
            assert_eq!((billed.len(), lines, unread), (1, 4, 1), "{line}");
        }
    }

    #[test]
    fn an_endless_line_is_bounded_and_counted() {
        let chunk = vec![b'x'; 1 << 20];
        let mut reader = ResultReader::default();
        for _ in 0..66 {
            reader.feed(&chunk, |_| panic!("nothing was read"));
        }
        assert!(reader.held.capacity() <= 2 * MAX_LINE_BYTES);
        let mut lines = 0;
        reader.feed(b"\n", |_| lines += 1);
        reader.feed(LINES.as_bytes(), |_| lines += 1);
        assert_eq!((reader.finish(|_| lines += 1), lines), (1, 4));
    }

    proptest! {
        #[test]
        fn any_cutting_reads_the_same(cuts in prop::collection::vec(0..LINES.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (mut chunks, mut from) = (Vec::new(), 0);
            for cut in cuts {
                chunks.push(&LINES.as_bytes()[from..cut]);
                from = cut;
            }
            chunks.push(&LINES.as_bytes()[from..]);
            prop_assert_eq!(read(&chunks), read(&[LINES.as_bytes()]));
        }
    }
}
