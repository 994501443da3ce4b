//! The path table: which requests we know, which we may pass on, and which we refuse to look at.
//!
//! An exact list. A path that another parser could read as a known one (an encoded letter or slash, a doubled
//! or trailing slash, dots, another case, a parameter) is unknown, so that what is forwarded is what was
//! metered. Query strings are not looked at. Who may use [`Route::Other`] is decided by the pipeline.

use http::Method;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/messages/batches`
    BatchCreate,
    /// `GET /v1/messages/batches`
    BatchList,
    /// `GET /v1/messages/batches/ID`
    Batch {
        /// The batch.
        id: &'a str,
    },
    /// `POST /v1/messages/batches/ID/cancel`
    BatchCancel {
        /// The batch.
        id: &'a str,
    },
    /// `GET /v1/messages/batches/ID/results`
    BatchResults {
        /// The batch.
        id: &'a str,
    },
    /// `DELETE /v1/messages/batches/ID`
    BatchDelete {
        /// The batch.
        id: &'a str,
    },
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/ID`
    Model {
        /// The model or an alias of ours.
        id: &'a str,
    },
    /// `POST /v1/files`
    FileCreate,
    /// `GET /v1/files`
    FileList,
    /// `GET /v1/files/ID`
    File {
        /// The file.
        id: &'a str,
    },
    /// `GET /v1/files/ID/content`
    FileContent {
        /// The file.
        id: &'a str,
    },
    /// `DELETE /v1/files/ID`
    FileDelete {
        /// The file.
        id: &'a str,
    },
    /// `HEAD /`, by which clients look whether anybody is there.
    Probe,
    /// Any other `/v1/…` path with one reading.
    Other,
    /// None of these.
    Unknown,
    /// A known path with another method.
    MethodNotAllowed,
}

/// Finds the route of a method and a path without its query.
#[must_use]
pub fn route<'a>(method: &Method, path: &'a str) -> Route<'a> {
    let Some(below) = path.strip_prefix("/v1/") else {
        return match (path, method) {
            ("/", &Method::HEAD) => Route::Probe,
            ("/", _) => Route::MethodNotAllowed,
            _ => Route::Unknown,
        };
    };
    let segments = Segments::of(below);
    if let Some(found) = known(method, segments) {
        return found;
    }
    let folded = below.to_ascii_lowercase();
    if !has_one_reading(below) || known(method, Segments::of(&folded)).is_some() {
        return Route::Unknown;
    }
    Route::Other
}

/// The first four segments below `/v1/`, and whether there are more.
#[derive(Clone, Copy)]
struct Segments<'a> {
    first: [Option<&'a str>; 4],
    more: bool,
}

impl<'a> Segments<'a> {
    fn of(below: &'a str) -> Self {
        let mut parts = below.split('/');
        let first = std::array::from_fn(|_| parts.next());
        Self { first, more: parts.next().is_some() }
    }
}

fn known<'a>(method: &Method, segments: Segments<'a>) -> Option<Route<'a>> {
    if segments.more {
        return None;
    }
    let (get, post, delete) = (method == Method::GET, method == Method::POST, method == Method::DELETE);
    let found = match segments.first {
        [Some("messages"), None, ..] => post.then_some(Route::Messages),
        [Some("messages"), Some("count_tokens"), None, _] => post.then_some(Route::CountTokens),
        [Some("messages"), Some("batches"), None, _] if get => Some(Route::BatchList),
        [Some("messages"), Some("batches"), None, _] => post.then_some(Route::BatchCreate),
        [Some("messages"), Some("batches"), Some(id), None] if is_id(id) && delete => {
            Some(Route::BatchDelete { id })
        }
        [Some("messages"), Some("batches"), Some(id), None] if is_id(id) => {
            get.then_some(Route::Batch { id })
        }
        [Some("messages"), Some("batches"), Some(id), Some("cancel")] if is_id(id) => {
            post.then_some(Route::BatchCancel { id })
        }
        [Some("messages"), Some("batches"), Some(id), Some("results")] if is_id(id) => {
            get.then_some(Route::BatchResults { id })
        }
        [Some("models"), None, ..] => get.then_some(Route::Models),
        [Some("models"), Some(id), None, _] if is_id(id) => get.then_some(Route::Model { id }),
        [Some("files"), None, ..] if get => Some(Route::FileList),
        [Some("files"), None, ..] => post.then_some(Route::FileCreate),
        [Some("files"), Some(id), None, _] if is_id(id) && delete => Some(Route::FileDelete { id }),
        [Some("files"), Some(id), None, _] if is_id(id) => get.then_some(Route::File { id }),
        [Some("files"), Some(id), Some("content"), None] if is_id(id) => {
            get.then_some(Route::FileContent { id })
        }
        _ => return None,
    };
    Some(found.unwrap_or(Route::MethodNotAllowed))
}

/// Ids are letters, digits and `_ - . : @`, at most 256 bytes, and no dot segment.
fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:@".contains(&byte);
    !is_dots(text) && (1..=ID_MAX_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

fn is_dots(segment: &str) -> bool {
    segment == "." || segment == ".."
}

/// Whether every parser splits the path alike: no empty or dot segment, no parameter, no backslash, and
/// nothing encoded that need not be or that would divide segments.
fn has_one_reading(below: &str) -> bool {
    below.split('/').all(|segment| !segment.is_empty() && !is_dots(segment))
        && below.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b';')
        && below.split('%').skip(1).all(is_needed_escape)
}

/// Judges what follows a `%`: two hex digits of a byte that has no plain form in a path.
fn is_needed_escape(after: &str) -> bool {
    let Some(byte) = after.get(..2).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit())) else {
        return false;
    };
    u8::from_str_radix(byte, 16).is_ok_and(|byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !plain && !byte.is_ascii_control() && !b"/\\%;?#".contains(&byte)
    })
}

/// Longest id in a path.
const ID_MAX_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_path_has_its_route() {
        let table = [
            ("POST", "/v1/messages", Route::Messages),
            ("POST", "/v1/messages/count_tokens", Route::CountTokens),
            ("POST", "/v1/messages/batches", Route::BatchCreate),
            ("GET", "/v1/messages/batches", Route::BatchList),
            ("GET", "/v1/messages/batches/msgbatch_1", Route::Batch { id: "msgbatch_1" }),
            ("DELETE", "/v1/messages/batches/b", Route::BatchDelete { id: "b" }),
            ("POST", "/v1/messages/batches/b/cancel", Route::BatchCancel { id: "b" }),
            ("GET", "/v1/messages/batches/b/results", Route::BatchResults { id: "b" }),
            ("GET", "/v1/models", Route::Models),
            ("GET", "/v1/models/claude-haiku-5-5", Route::Model { id: "claude-haiku-5-5" }),
            ("POST", "/v1/files", Route::FileCreate),
            ("GET", "/v1/files", Route::FileList),
            ("GET", "/v1/files/file_1", Route::File { id: "file_1" }),
            ("GET", "/v1/files/file_1/content", Route::FileContent { id: "file_1" }),
            ("DELETE", "/v1/files/file_1", Route::FileDelete { id: "file_1" }),
            ("HEAD", "/", Route::Probe),
            ("POST", "/v1/complete", Route::Other),
            ("GET", "/v1/sessions/s_1/events", Route::Other),
            ("GET", "/v1/skills/a%20b", Route::Other),
        ];
        for (method, path, expected) in table {
            assert_eq!(route(&method.parse().unwrap(), path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_known_path_with_another_method_is_said_to_be_so() {
        let table = [
            ("GET", "/"),
            ("GET", "/v1/messages"),
            ("PUT", "/v1/messages/batches"),
            ("PATCH", "/v1/files/f"),
            ("GET", "/v1/messages/batches/b/cancel"),
            ("POST", "/v1/models"),
        ];
        for (method, path) in table {
            assert_eq!(route(&method.parse().unwrap(), path), Route::MethodNotAllowed, "{method} {path}");
        }
    }

    #[test]
    fn a_path_with_two_readings_is_unknown() {
        let paths = [
            "",
            "*",
            "//",
            "/v1",
            "/v1/",
            "/V1/messages",
            "/v2/messages",
            "//v1/messages",
            "/v1//messages",
            "/v1/messages/",
            "/v1/Messages",
            "/v1/messages/Batches",
            "/v1/MODELS",
            "/v1/messages;x",
            "/v1/messages;x=1",
            "/v1/%6dessages",
            "/v1/messages%2f",
            "/v1%2fmessages",
            "/%2e/v1/messages",
            "/v1/./messages",
            "/v1/../v1/messages",
            "/v1/x/../messages",
            "/v1/%2e%2e/v1/messages",
            "/v1/x%2Fy",
            "/v1/x%5cy",
            "/v1/x%252fy",
            "/v1/x%00",
            "/v1/x%",
            "/v1/x%2",
            "/v1/x%zz",
            "/v1/x\\y",
            "/v1/x/",
            "/v1/x//y",
            "/v1/files/..",
            "/v1/files/%2e%2e",
            "/v1/files/a;b",
            "/v1/x%é",
            "/v1/é",
            "/v1/FILES/f/content",
            "/v1/x?y=%3f%3b%3B;",
            "/admin",
            "/metrics",
            "/index.html",
        ];
        for path in paths {
            for method in [Method::POST, Method::GET] {
                let found = route(&method, path);
                assert_eq!(found, Route::Unknown, "{method} {path}");
            }
        }
    }
}
