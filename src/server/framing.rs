//! How the requests of an HTTP/1.1 connection are framed, read strictly in front of the parser.
//!
//! The parser behind is lenient where two parsers may differ: it takes a bare LF for a line's end, prefers a
//! coding over a length, and does without a host. Here such a request is refused before a byte of it is parsed.
//! Rules: RFC 9112 sections 2.2, 3, 5.1, 5.2, 6 and 7.1, in their strictest reading. HTTP/2 has frames of its own,
//! which pass unless they are too many ([`super::frames`]).

use memchr::memchr;

use super::Refusal;
use super::frames::Frames;
use crate::wire::chunked::Chunked;

/// Where a connection's bytes stand.
#[derive(Debug)]
pub(super) enum Framing {
    /// Nothing has been read; the connection may yet turn out to be HTTP/2.
    Start,
    /// In a head.
    Head(Head),
    /// In a body of known length, this many bytes before its end.
    Length(u64),
    /// In a body in chunks.
    Chunked(Chunked),
    /// In frames of HTTP/2, which are counted.
    Frames(Frames),
}

/// What is known of a head that has not ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    /// Bytes of whole lines that were read.
    read_bytes: usize,
    /// HTTP/1.0 or 1.1; `None` before the request line.
    version: Option<Version>,
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// What follows a head.
enum Body {
    None,
    Length(u64),
    Chunked,
}

impl Framing {
    /// Tells whether a fault found now lies in a body, whose request the parser already has.
    pub(super) fn in_body(&self) -> bool {
        matches!(self, Self::Length(_) | Self::Chunked(_))
    }

    /// Reads `bytes` and returns how many of them may pass; the rest is the beginning of a head, to be given
    /// again with what follows it.
    ///
    /// # Errors
    /// How many bytes may pass, and what is wrong with what follows them.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, (usize, Refusal)> {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            match self {
                Self::Frames(frames) => {
                    return frames.read(rest).then_some(bytes.len()).ok_or((passed, FLOOD));
                }
                Self::Start if rest.starts_with(PREFACE_LINE) => *self = Self::Frames(Frames::new()),
                Self::Start if PREFACE_LINE.starts_with(rest) => return Ok(passed),
                Self::Start => *self = Self::Head(Head::default()),
                Self::Length(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    passed += taken;
                    if *left == 0 {
                        *self = Self::Head(Head::default());
                    }
                }
                Self::Chunked(chunked) => {
                    let faulty = |(sound, what)| (passed + sound, Refusal::Malformed(what));
                    let (taken, ended) = chunked.read(rest).map_err(faulty)?;
                    passed += taken;
                    if ended {
                        *self = Self::Head(Head::default());
                    }
                }
                Self::Head(head) => {
                    let Some(body) = head.read(rest).map_err(|fault| (passed, fault))? else {
                        return Ok(passed);
                    };
                    passed += head.read_bytes;
                    *self = match body {
                        Body::None => Self::Head(Head::default()),
                        Body::Length(length) => Self::Length(length),
                        Body::Chunked => Self::Chunked(Chunked::default()),
                    };
                }
            }
        }
        Ok(passed)
    }
}

/// Nobody is told: the connection ends.
const FLOOD: Refusal = Refusal::Malformed("too many frames that ask nothing");

impl Head {
    /// Reads on in a head that begins with `bytes`; returns what follows it once it has ended.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<Body>, Refusal> {
        loop {
            let rest = bytes.get(self.read_bytes..).unwrap_or_default();
            let end = memchr(b'\n', rest);
            if self.read_bytes + end.unwrap_or(rest.len()) >= HEAD_MAX_BYTES || self.fields > FIELDS_MAX {
                return Err(Refusal::HeadTooLarge);
            }
            let Some(line) = end.and_then(|end| rest.get(..end)) else { return Ok(None) };
            self.read_bytes += line.len() + 1;
            let line = line.strip_suffix(b"\r").ok_or(Refusal::Malformed("a line ends without CR LF"))?;
            let ended = if self.version.is_none() { self.request_line(line) } else { self.field(line) };
            if ended.map_err(Refusal::Malformed)? {
                return self.body().map(Some).map_err(Refusal::Malformed);
            }
        }
    }

    /// Reads the first line; empty ones before it are passed over (RFC 9112 section 2.2).
    fn request_line(&mut self, line: &[u8]) -> Result<bool, &'static str> {
        if line.is_empty() {
            return Ok(false);
        }
        let mut parts = line.split(|&byte| byte == b' ');
        let (method, target, version) = (parts.next(), parts.next(), parts.next());
        if parts.next().is_some() || !method.is_some_and(is_token) {
            return Err("the request line is not a method, a path and a version");
        }
        if !target.is_some_and(|target| !target.is_empty() && target.iter().all(u8::is_ascii_graphic)) {
            return Err("the request target is empty, or holds what a URI cannot (RFC 3986): encode it");
        }
        self.version = match version {
            Some(b"HTTP/1.1") => Some(Version::Http11),
            Some(b"HTTP/1.0") => Some(Version::Http10),
            _ => return Err("the version is neither HTTP/1.1 nor HTTP/1.0"),
        };
        Ok(false)
    }

    /// Reads a header line, or the empty one that ends the head.
    fn field(&mut self, line: &[u8]) -> Result<bool, &'static str> {
        let Some(&first) = line.first() else { return Ok(true) };
        self.fields += 1;
        if first == b' ' || first == b'\t' {
            return Err("a header goes on in the next line");
        }
        let colon = memchr(b':', line).ok_or("a header line has no colon")?;
        let (name, value) = line.split_at(colon);
        if !is_token(name) {
            return Err("a header's name is empty or holds what a name cannot");
        }
        let value = value.get(1..).unwrap_or_default();
        if value.iter().any(|&byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
            return Err("a header's value holds a control character");
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value.trim_ascii())?,
            14 if is_called(name, b"content-length") => self.length(name, value.trim_ascii())?,
            17 if is_called(name, b"transfer-encoding") => self.coding(name, value.trim_ascii())?,
            _ => {}
        }
        Ok(false)
    }

    fn host(&mut self, value: &[u8]) -> Result<(), &'static str> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err("host is given twice");
        }
        let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(byte);
        if value.iter().all(sound) { Ok(()) } else { Err("host is no host") }
    }

    fn length(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if self.length.is_some() {
            return Err("content-length is given twice");
        }
        let digits = value.len() <= LENGTH_MAX_DIGITS && value.iter().all(u8::is_ascii_digit);
        let number = str::from_utf8(value)
            .ok()
            .filter(|_| digits && is_spelt(name))
            .and_then(|text| text.parse().ok());
        self.length = Some(number.ok_or("content-length is not one number")?);
        Ok(())
    }

    fn coding(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if self.chunked || !is_spelt(name) || !value.eq_ignore_ascii_case(b"chunked") {
            return Err("transfer-encoding must be chunked alone");
        }
        self.chunked = true;
        Ok(())
    }

    fn body(&self) -> Result<Body, &'static str> {
        match (self.version, self.length, self.chunked) {
            (Some(Version::Http11), ..) if self.hosts == 0 => Err("host is missing"),
            (_, Some(_), true) => Err("content-length and transfer-encoding exclude each other"),
            (Some(Version::Http10), _, true) => Err("HTTP/1.0 knows no transfer-encoding"),
            (_, None, true) => Ok(Body::Chunked),
            (_, None | Some(0), false) => Ok(Body::None),
            (_, Some(length), false) => Ok(Body::Length(length)),
        }
    }
}

/// A name as servers compare them that fold `_` into `-`, as CGI does.
fn is_called(name: &[u8], wanted: &[u8]) -> bool {
    name.iter()
        .zip(wanted)
        .all(|(byte, wanted)| byte.eq_ignore_ascii_case(wanted) || (*byte, *wanted) == (b'_', b'-'))
}

fn is_spelt(name: &[u8]) -> bool {
    memchr(b'_', name).is_none()
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_!#$%&'*+.^`|~".contains(byte))
}

/// Longest head; also the largest single read and buffered write of the parser behind.
pub(super) const HEAD_MAX_BYTES: usize = 64 * 1024;
/// Most headers of a request; the parser behind takes no more.
const FIELDS_MAX: usize = 100;
/// Digits of a length that no machine word is too small for.
const LENGTH_MAX_DIGITS: usize = 18;
/// The first line of an HTTP/2 connection, RFC 9113 section 3.4; no request line of HTTP/1 looks like it.
const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0\r\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "POST /v1/messages HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello\
        \r\nGET /e HTTP/1.0\r\n\r\n\
        POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding:\tChunked \r\nx:\r\n\r\n\
        6\r\nhel\nlo\r\n00A;a=\"b\"\r\n0123456789\r\n0\r\nx: y\r\n\r\n\
        HEAD / HTTP/1.1\r\nhost:\r\ncontent-length: 0\r\n\r\n";

    /// Reads `bytes` as they come in `pieces`, as the stream does; returns what passed and the fault.
    fn read(bytes: &[u8], mut cuts: Vec<usize>) -> (Vec<u8>, Option<Refusal>) {
        cuts.retain(|&cut| cut < bytes.len());
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let (mut framing, mut held, mut passed) = (Framing::Start, Vec::new(), Vec::new());
        for piece in cuts.windows(2) {
            held.extend_from_slice(&bytes[piece[0]..piece[1]]);
            match framing.read(&held) {
                Ok(some) => passed.extend(held.drain(..some)),
                Err((some, fault)) => {
                    passed.extend(held.drain(..some));
                    return (passed, Some(fault));
                }
            }
        }
        (passed, None)
    }

    fn framed(head: &str) -> String {
        format!("POST /v1/messages HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n")
    }

    #[test]
    fn what_has_one_reading_passes_as_it_is() {
        assert_eq!(read(GOOD.as_bytes(), vec![]), (GOOD.as_bytes().to_vec(), None));
        let frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\n\r anything";
        assert_eq!(read(frames, vec![3, 15, 17]), (frames.to_vec(), None));
    }

    #[test]
    fn what_has_two_readings_is_refused_and_not_a_byte_of_its_head_passes() {
        let good = framed("content-length: 0");
        let heads = [
            good.replace("\r\n", "\n"),
            good.replacen("a\r\n", "a\n", 1),
            good.replacen("\r\n\r\n", "\r\n\n", 1),
            good.replacen("\r\n\r\n", "\n\r\n", 1),
            format!("\n{good}"),
            good.replacen("POST /", "POST  /", 1),
            good.replacen("POST /", "POST\t/", 1),
            good.replacen("messages", "mess ages", 1),
            good.replacen("messages", "mess\u{1}ages", 1),
            good.replacen("messages", "m\u{e9}ssages", 1),
            good.replacen("messages", "messages?x=\u{7f}", 1),
            good.replacen("1.1", "1.2", 1),
            good.replacen("1.1", "2.0", 1),
            good.replacen("HTTP/1.1", "", 1),
            good.replacen("host: a\r\n", "", 1),
            good.replacen("host: a", "host: a/b", 1),
            good.replacen("host: a", "host: u@a", 1),
            framed("host: b"),
            framed("content-length : 0"),
            framed("content-length: 0\r\ncontent-length: 0"),
            framed("content-length: 0, 0"),
            framed("content-length: +1"),
            framed("content-length: 0x1"),
            framed("content-length:"),
            framed("content-length: 18446744073709551617"),
            framed("content_length: 1"),
            framed("transfer_encoding: chunked"),
            framed("transfer-encoding: gzip, chunked"),
            framed("transfer-encoding: xchunked"),
            framed("transfer-encoding: \u{b}chunked"),
            framed("transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
            framed("transfer-encoding: chunked\r\ncontent-length: 5"),
            framed("content-length: 5\r\ntransfer-encoding: chunked"),
            framed("transfer-encoding: chunked").replacen("1.1", "1.0", 1),
            framed("x: a\r\n b"),
            framed("x: a\rb"),
            framed("x: a\0b"),
            framed("x: a\u{7f}b"),
            framed("x"),
            framed(": x"),
            framed("x y: z"),
            framed("\u{e9}: z"),
        ];
        for head in heads {
            for cuts in [vec![], vec![1, 20, 21], (0..head.len()).collect()] {
                let (passed, fault) = read(head.as_bytes(), cuts);
                assert!(matches!(fault, Some(Refusal::Malformed(_))), "{head:?}");
                assert!(passed.is_empty(), "{head:?}");
            }
        }
    }

    #[test]
    fn bad_chunks_are_refused() {
        let bodies = [
            "5\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            ";a\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
            "0\n\r\n",
            "0\r\n\n",
            "0\r\nx: y\n\r\n",
            "0\r\n x: y\r\n\r\n",
            "0\r\nx: \0\r\n\r\n",
        ];
        let long = [format!("5;{}\r\n", "a".repeat(1_000)), format!("0\r\nx: {}", "y".repeat(10_000))];
        let head = framed("transfer-encoding: chunked");
        for body in bodies.into_iter().map(str::to_owned).chain(long) {
            let (passed, fault) = read(format!("{head}{body}").as_bytes(), vec![]);
            assert!(matches!(fault, Some(Refusal::Malformed(_))), "{body:?}");
            assert!(passed.starts_with(head.as_bytes()) && !passed.ends_with(b"0\r\n\r\n"), "{body:?}");
        }
    }

    #[test]
    fn heads_are_bounded_in_bytes_and_in_number() {
        let long = framed(&format!("x: {}", "y".repeat(HEAD_MAX_BYTES)));
        let endless = long.trim_end().to_owned();
        let many = framed(&["x: y"; FIELDS_MAX].join("\r\n"));
        let most = framed(&["x: y"; FIELDS_MAX - 1].join("\r\n"));
        for head in [&long, &endless, &many] {
            assert_eq!(read(head.as_bytes(), vec![100]).1, Some(Refusal::HeadTooLarge));
        }
        assert_eq!(read(most.as_bytes(), vec![]).1, None);
    }

    proptest! {
        #[test]
        fn nothing_depends_on_how_bytes_come(
            damage in proptest::option::of((0..GOOD.len(), any::<u8>())),
            cuts in proptest::collection::vec(0..GOOD.len(), 0..12),
        ) {
            let mut bytes = GOOD.as_bytes().to_vec();
            if let Some((at, byte)) = damage {
                bytes[at] = byte;
            }
            let (whole, pieces) = (read(&bytes, vec![]), read(&bytes, cuts));
            prop_assert!(bytes.starts_with(&whole.0));
            prop_assert_eq!(whole, pieces);
        }
    }
}
