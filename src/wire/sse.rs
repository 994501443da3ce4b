//! Reading server-sent events in passing: the bytes are forwarded by others, uncopied, while this watches.
//!
//! Chunks may be cut anywhere. Lines end in LF, CR or CRLF; a byte order mark, comments, unknown fields and
//! data over several lines are read as the HTML standard says. An event's kind is its `event` field and never
//! anything inside its data. Data is kept only of the kinds that tell usage, at most [`MAX_DATA_BYTES`] each.

use memchr::{memchr, memchr2};

/// Watches one stream.
#[derive(Debug, Default)]
pub struct SseReader {
    line: Line,
    /// The field name of a line cut by a chunk's end; what is longer than any field we know is cut off.
    field: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    /// The event has a `data` field, though it may be empty or not kept.
    has_data: bool,
    /// Data of this event was too long or came before its name made it wanted.
    is_lost: bool,
    after_cr: bool,
    /// How much of a byte order mark the stream began with; all of it, or 3, once past it.
    mark_bytes: usize,
    keeps_all: bool,
}

/// Where in a line the reader stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Field,
    Name(Lead),
    Data(Lead),
    Ignored,
}

/// Whether a value has begun; the one space before it does not belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    Pending,
    Passed,
}

/// Data kept of one event; an event with more is reported with none.
pub const MAX_DATA_BYTES: usize = 64 * 1024;

impl SseReader {
    /// Returns a reader that keeps the data of every event whole, for streams that are bounded already.
    #[must_use]
    pub fn keeping_all() -> Self {
        Self { keeps_all: true, ..Self::default() }
    }

    /// Reads the next chunk and calls `on_event` with the name and data of each event that ends in it.
    ///
    /// Data is empty for events other than `message_start`, `content_block_start`, `message_delta`,
    /// `message_stop` and `error`, and for data over [`MAX_DATA_BYTES`].
    pub fn feed(&mut self, chunk: &[u8], mut on_event: impl FnMut(&str, &[u8])) {
        let mut rest = self.pass_mark(chunk);
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            if let Some(after) = whole_delta(rest).filter(|_| self.is_between_events()) {
                on_event(DELTA, &[]);
                rest = after;
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.take_part(rest);
                return;
            };
            self.take_part(rest.get(..end).unwrap_or_default());
            self.after_cr = rest.get(end) == Some(&b'\r');
            self.end_line(&mut on_event);
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    /// Nothing of an event has come yet.
    fn is_between_events(&self) -> bool {
        self.line == Line::Field
            && self.field.is_empty()
            && self.name.is_empty()
            && !self.has_data
            && !self.keeps_all
    }

    fn pass_mark<'c>(&mut self, mut chunk: &'c [u8]) -> &'c [u8] {
        while self.mark_bytes < MARK.len() {
            match chunk.split_first() {
                None => break,
                Some((byte, rest)) if MARK.get(self.mark_bytes) == Some(byte) => {
                    self.mark_bytes += 1;
                    chunk = rest;
                }
                Some(_) => {
                    let begun = MARK.get(..self.mark_bytes).unwrap_or_default();
                    self.mark_bytes = MARK.len();
                    if !begun.is_empty() {
                        self.take_part(begun);
                    }
                }
            }
        }
        chunk
    }

    /// Takes a piece of the present line.
    fn take_part(&mut self, part: &[u8]) {
        if self.line != Line::Field {
            self.take_value(part);
            return;
        }
        let Some(colon) = memchr(b':', part) else {
            let room = MAX_FIELD_BYTES.saturating_sub(self.field.len());
            self.field.extend_from_slice(part.get(..room).unwrap_or(part));
            return;
        };
        let (head, tail) = (part.get(..colon).unwrap_or_default(), part.get(colon + 1..).unwrap_or_default());
        if self.field.is_empty() {
            self.begin_value(head);
        } else {
            let mut field = std::mem::take(&mut self.field);
            let room = MAX_FIELD_BYTES.saturating_sub(field.len());
            field.extend_from_slice(head.get(..room).unwrap_or(head));
            self.begin_value(&field);
            field.clear();
            self.field = field;
        }
        self.take_value(tail);
    }

    fn begin_value(&mut self, field: &[u8]) {
        self.line = match field {
            b"event" => {
                self.name.clear();
                Line::Name(Lead::Pending)
            }
            b"data" => {
                if self.has_data {
                    self.keep(b"\n");
                }
                self.has_data = true;
                Line::Data(Lead::Pending)
            }
            _ => Line::Ignored,
        };
    }

    fn take_value(&mut self, part: &[u8]) {
        let (Line::Name(lead) | Line::Data(lead)) = self.line else { return };
        if part.is_empty() {
            return;
        }
        let value = match lead {
            Lead::Pending => part.strip_prefix(b" ").unwrap_or(part),
            Lead::Passed => part,
        };
        if matches!(self.line, Line::Name(_)) {
            self.line = Line::Name(Lead::Passed);
            let room = MAX_NAME_BYTES.saturating_sub(self.name.len());
            self.name.extend_from_slice(value.get(..room).unwrap_or(value));
        } else {
            self.line = Line::Data(Lead::Passed);
            self.keep(value);
        }
    }

    fn keep(&mut self, value: &[u8]) {
        let wanted = self.name.is_empty() || WANTED.iter().any(|name| name.as_bytes() == self.name);
        let fits = !self.is_lost && value.len() <= MAX_DATA_BYTES.saturating_sub(self.data.len());
        if self.keeps_all || wanted && fits {
            self.data.extend_from_slice(value);
        } else {
            self.is_lost = true;
            self.data.clear();
        }
    }

    fn end_line(&mut self, on_event: &mut impl FnMut(&str, &[u8])) {
        if self.line == Line::Field {
            if self.field.is_empty() {
                self.end_event(on_event);
                return;
            }
            let mut field = std::mem::take(&mut self.field);
            self.begin_value(&field);
            field.clear();
            self.field = field;
        }
        self.line = Line::Field;
    }

    fn end_event(&mut self, on_event: &mut impl FnMut(&str, &[u8])) {
        if self.has_data {
            let name = std::str::from_utf8(&self.name).unwrap_or_default();
            let wanted = self.keeps_all || WANTED.contains(&name);
            on_event(if name.is_empty() { "message" } else { name }, if wanted { &self.data } else { &[] });
        }
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        self.is_lost = false;
    }
}

/// Passes over a delta that came whole, as the upstream writes it: nearly all that a stream has, and of which nothing is
/// kept. Line by line it took 1,000 instructions instead of 400.
fn whole_delta(rest: &[u8]) -> Option<&[u8]> {
    let data = rest.strip_prefix(b"event: content_block_delta\ndata: ")?;
    data.get(memchr2(b'\n', b'\r', data)?..)?.strip_prefix(b"\n\n")
}

const DELTA: &str = "content_block_delta";
const WANTED: [&str; 5] = ["message_start", "content_block_start", "message_delta", "message_stop", "error"];
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Longer than `event`, the longest field that is read, so that a longer one cannot be taken for it.
const MAX_FIELD_BYTES: usize = 8;
/// Longer than any name that is read, likewise.
const MAX_NAME_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Events = Vec<(String, Vec<u8>)>;

    fn read<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Events {
        let mut events = Vec::new();
        let mut reader = SseReader::default();
        for chunk in chunks {
            reader.feed(chunk, |name, data| events.push((name.to_owned(), data.to_vec())));
        }
        events
    }

    /// The standard's algorithm, line by line over the whole text.
    fn reference(stream: &[u8]) -> Events {
        let text = String::from_utf8_lossy(stream).into_owned();
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut name, mut data) = (Vec::new(), String::new(), Vec::new());
        let Some((complete, _)) = text.rsplit_once('\n') else { return events };
        for line in complete.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    let name = std::mem::take(&mut name);
                    let lines: Vec<String> = std::mem::take(&mut data);
                    if !lines.is_empty() {
                        let kept = if WANTED.contains(&&*name) { lines.join("\n") } else { String::new() };
                        events.push((
                            if name.is_empty() { "message".to_owned() } else { name },
                            kept.into_bytes(),
                        ));
                    }
                }
                "event" => name = value.to_owned(),
                "data" => data.push(value.to_owned()),
                _ => {}
            }
        }
        events
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let name = prop::sample::select(vec![
            "message_start",
            "message_delta",
            "ping",
            "content_block_delta",
            "error",
            "é",
        ]);
        let data = prop::collection::vec(
            prop::sample::select(vec![
                "{\"type\":\"text\"}",
                "é漢😀",
                "",
                " two spaces",
                "event: message_delta",
                "data: {\"usage\":1}",
                ":",
                "\"\\n\\nevent: message_stop\\ndata: {}\\n\\n\"",
                "\u{feff}",
                "message_delta_and_a_very_long_tail",
            ]),
            0..4,
        );
        let noise = prop::sample::select(vec![
            "",
            ": comment|",
            "id: 1|",
            "retry|",
            "events: x|",
            "eventevent: y|",
            "dat|",
            "data|",
        ]);
        let space = prop::sample::select(vec!["", " "]);
        let end = prop::sample::select(vec!["\n", "\r", "\r\n"]);
        let event = (name, data, noise, space, end, any::<bool>()).prop_map(
            |(name, data, noise, space, end, first)| {
                let lines: String = data.iter().map(|line| format!("data:{space}{line}|")).collect();
                let name = format!("event:{space}{name}|");
                let event =
                    if first { format!("{name}{noise}{lines}|") } else { format!("{lines}{noise}{name}|") };
                event.replace('|', end)
            },
        );
        (any::<bool>(), prop::collection::vec(event, 0..6)).prop_map(|(mark, events)| {
            format!("{}{}", if mark { "\u{feff}" } else { "" }, events.concat()).into_bytes()
        })
    }

    proptest! {
        #[test]
        fn every_cut_gives_what_the_standard_says(stream in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let expected = reference(&stream);
            prop_assert_eq!(&read([&stream[..]]), &expected);
            prop_assert_eq!(&read(stream.chunks(1)), &expected);
            for cut in 0..stream.len() {
                prop_assert_eq!(&read([&stream[..cut], &[], &stream[cut..]]), &expected);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            prop_assert_eq!(&read(cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]])), &expected);
        }

        #[test]
        fn a_delta_that_comes_whole_is_read_as_line_by_line_whatever_stands_before(pieces in prop::collection::vec(
            prop::sample::select(vec![
                "event: content_block_delta\ndata: {\"n\":1}\n\n",
                "event: content_block_delta\ndata: \n\n",
                "event: content_block_delta\ndata: a\rdata: b\n\n",
                "event: content_block_delta\ndata: a\ndata: b\n\n",
                "event: error\n", "data: {}\n", "da", "event: ping\ndata: {}\n\n", "\n", "\r", "\r\n", ": c\n", "\u{feff}",
            ]), 0..8)) {
            let stream = pieces.concat();
            prop_assert_eq!(&read([stream.as_bytes()]), &reference(stream.as_bytes()));
            prop_assert_eq!(read(stream.as_bytes().chunks(1)), reference(stream.as_bytes()));
        }

        #[test]
        fn any_bytes_are_read_the_same_however_cut(stream in prop::collection::vec(prop::sample::select(b"\xef\xbb\xbfevntda: \r\n\"\xff".to_vec()), 0..120)) {
            prop_assert_eq!(read([&stream[..]]), read(stream.chunks(1)));
        }
    }

    #[test]
    fn text_that_looks_like_an_event_is_none() {
        let text =
            serde_json::json!({"delta": {"text": "\n\nevent: message_delta\ndata: {\"usage\":{}}\n\n"}});
        let stream = format!("event: content_block_delta\ndata: {text}\n\n");
        assert_eq!(read([stream.as_bytes()]), [("content_block_delta".to_owned(), Vec::new())]);
    }

    #[test]
    fn data_is_kept_up_to_its_bound_and_only_where_wanted() {
        let mut reader = SseReader::default();
        let mut lengths = Vec::new();
        for (name, length) in
            [("error", MAX_DATA_BYTES), ("error", MAX_DATA_BYTES + 1), ("error", 16 << 20), ("ping", 9)]
        {
            for part in [format!("event: {name}\ndata: "), "x".repeat(length), "\n\n".to_owned()] {
                reader.feed(part.as_bytes(), |_, data| lengths.push(data.len()));
            }
        }
        assert_eq!(lengths, [MAX_DATA_BYTES, 0, 0, 0]);
        assert!(reader.data.capacity() <= 2 * MAX_DATA_BYTES);
    }

    #[test]
    fn an_event_without_data_or_without_its_end_is_none() {
        assert_eq!(read([&b"event: message_stop\n\nevent: message_stop\ndata: {}\n"[..]]), []);
    }
}
