//! An answer on its way in: its head, read strictly enough that its body has one end, and the body's framing.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};
use memchr::memmem;

use super::fault::Fault;
use crate::wire::chunked::Chunked;

/// A head that has not come whole.
#[derive(Debug, Default)]
pub(super) struct Heading {
    bytes: BytesMut,
    /// Where no end was found before.
    searched: usize,
    /// Of interim answers before it.
    skipped: usize,
}

/// What is left of an answer's body.
#[derive(Debug)]
pub(super) enum Remaining {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunks(Chunked),
    /// Whatever comes until the connection ends.
    ToTheEnd,
}

/// An answer whose head has come.
pub(super) struct Arrived {
    /// Status and headers.
    pub(super) head: Response<()>,
    /// The body.
    pub(super) remaining: Remaining,
    /// What came behind the head.
    pub(super) behind: Bytes,
    /// The connection may be used again once the body was read.
    pub(super) lasts: bool,
}

impl Heading {
    /// Where bytes of the head are read into.
    pub(super) fn bytes_mut(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Gives up memory that holds nothing.
    pub(super) fn give_up_room(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }

    /// Reads the head, if it is whole; interim answers before it are passed over. `asked` is the request's method.
    ///
    /// # Errors
    /// Where it is too long, or not the head of a sound answer.
    pub(super) fn read(&mut self, asked: &Method) -> Result<Option<Arrived>, Fault> {
        loop {
            let first = self.searched == 0;
            let fresh = self.bytes.get(self.searched.saturating_sub(3)..).unwrap_or_default();
            let ended = memmem::find(fresh, b"\n\r\n").is_some() || memmem::find(fresh, b"\n\n").is_some();
            self.searched = self.bytes.len();
            if self.skipped + self.bytes.len() > HEAD_MAX_BYTES && !ended {
                return Err(Fault::TooLarge);
            }
            // Tried at once as well, so that whoever speaks something else is not waited for.
            if self.bytes.is_empty() || !(ended || first) {
                return Ok(None);
            }
            let whole = std::mem::take(&mut self.bytes).freeze();
            let Some((head, length)) = parse(&whole)? else {
                self.bytes = whole.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
                return Ok(None);
            };
            let behind = whole.slice(length..);
            let interim =
                head.status().is_informational() && head.status() != StatusCode::SWITCHING_PROTOCOLS;
            if !interim {
                return arrived(head, behind, asked).map(Some);
            }
            self.skipped += length;
            (self.bytes, self.searched) = (BytesMut::from(&*behind), 0);
        }
    }
}

/// Parses a head; nothing where it is not whole.
fn parse(bytes: &Bytes) -> Result<Option<(Response<()>, usize)>, Fault> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let read = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields);
    let length = match read {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooLarge),
        Err(_) => return Err(Fault::Unsound("its head cannot be read")),
    };
    if length > HEAD_MAX_BYTES {
        return Err(Fault::TooLarge);
    }
    let mut head = Response::new(());
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default());
    *head.status_mut() = status.map_err(|_| Fault::Unsound("its status is none"))?;
    *head.version_mut() = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let (Ok(name), Ok(value)) = (name, value) else { return Err(Fault::Unsound("a header is none")) };
        headers.append(name, value);
    }
    *head.headers_mut() = headers;
    Ok(Some((head, length)))
}

/// Finds out how the body of an answer ends.
fn arrived(head: Response<()>, behind: Bytes, asked: &Method) -> Result<Arrived, Fault> {
    let headers = head.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (coding, length) = (codings.next(), lengths.next());
    if lengths.next().is_some() {
        return Err(Fault::Unsound("it gives its length twice"));
    }
    if coding.is_some() && length.is_some() {
        return Err(Fault::Unsound("it has both content-length and transfer-encoding"));
    }
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if coding.is_some_and(|coding| codings.next().is_some() || !is_chunked(coding)) {
        return Err(Fault::Unsound("its transfer-encoding is not chunked alone"));
    }
    if coding.is_some() && head.version() == Version::HTTP_10 {
        return Err(Fault::Unsound("HTTP/1.0 knows no transfer-encoding"));
    }
    if head.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fault::Unsound("it switches protocols, which was not asked for"));
    }
    let length = length.map(number).transpose()?;
    let bodiless =
        *asked == Method::HEAD || matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let remaining = match (coding, length) {
        _ if bodiless => Remaining::Length(0),
        (Some(_), _) => Remaining::Chunks(Chunked::default()),
        (None, Some(length)) => Remaining::Length(length),
        (None, None) => Remaining::ToTheEnd,
    };
    let closes = |value: &HeaderValue| {
        value
            .to_str()
            .is_ok_and(|text| text.split(',').any(|option| option.trim().eq_ignore_ascii_case("close")))
    };
    let lasts = head.version() == Version::HTTP_11 && !headers.get_all(CONNECTION).iter().any(closes);
    Ok(Arrived { head, remaining, behind, lasts })
}

fn number(value: &HeaderValue) -> Result<u64, Fault> {
    let text = value.to_str().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(Fault::Unsound("its content-length is not one number"))
}

impl Remaining {
    /// Takes the next piece of the body out of what was read; none where more has to be read first, or nothing is left.
    ///
    /// # Errors
    /// What is wrong with how it is framed.
    pub(super) fn piece(&mut self, bytes: &mut Bytes) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Length(left) => {
                let some = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= some as u64;
                Ok((some > 0).then(|| bytes.split_to(some)))
            }
            Self::Chunks(chunks) => chunks.piece(bytes).map_err(Fault::Unsound),
            Self::ToTheEnd => Ok(Some(bytes.split_to(bytes.remaining())).filter(|piece| !piece.is_empty())),
        }
    }

    /// Tells whether the body has been read to its end.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunks(chunks) => chunks.has_ended(),
            Self::ToTheEnd => false,
        }
    }
}

/// Longest head of an answer, interim ones before it included.
const HEAD_MAX_BYTES: usize = 256 * 1024;
/// Most headers of an answer.
const FIELDS_MAX: usize = 100;
