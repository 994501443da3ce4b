//! What is refused for its form before any handler sees it.
//!
//! hyper already refuses heads it cannot parse, lengths that differ or are no numbers, and codings that do not
//! end in chunked; where a request gives both a length and a coding it takes the coding and closes the
//! connection afterwards. Refused here is what remains with two readings, and what asks for a tunnel.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Method, Request, Version};

/// Names what is wrong with a request's form, if anything is.
pub(super) fn fault<B>(request: &Request<B>) -> Option<&'static str> {
    if request.method() == Method::CONNECT {
        return Some("this is not a tunnel: CONNECT is not supported");
    }
    if request.version() > Version::HTTP_11 {
        return None;
    }
    let uri = request.uri();
    if uri.scheme().is_some() || uri.authority().is_some() {
        return Some("the request target must be a path: this is not a forward proxy");
    }
    let headers = request.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    if headers.get_all(HOST).iter().count() > 1 {
        return Some("host is given twice");
    }
    match codings.next() {
        _ if lengths > 1 => Some("content-length is given twice"),
        Some(_) if lengths > 0 => Some("content-length and transfer-encoding exclude each other"),
        Some(coding) if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Some("transfer-encoding must be chunked alone")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_reading_passes() {
        let plain = |target: &str| Request::post(target);
        let table = [
            (plain("/v1/messages").header(CONTENT_LENGTH, "5"), true),
            (plain("/v1/messages").header(TRANSFER_ENCODING, "Chunked"), true),
            (plain("/").header(CONTENT_LENGTH, "5").header(CONTENT_LENGTH, "5"), false),
            (plain("/").header(CONTENT_LENGTH, "5").header(TRANSFER_ENCODING, "chunked"), false),
            (plain("/").header(TRANSFER_ENCODING, "gzip, chunked"), false),
            (plain("/").header(TRANSFER_ENCODING, "chunked").header(TRANSFER_ENCODING, "chunked"), false),
            (plain("/").header(HOST, "a").header(HOST, "b"), false),
            (plain("http://a/v1/messages"), false),
            (plain("a:1").method(Method::CONNECT), false),
            (plain("http://a/v1/messages").version(Version::HTTP_2), true),
            (plain("http://a/").version(Version::HTTP_2).method(Method::CONNECT), false),
        ];
        for (request, sound) in table {
            let request = request.body(()).unwrap();
            assert_eq!(fault(&request).is_none(), sound, "{request:?}");
        }
    }
}
