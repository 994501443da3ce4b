//! The one shape of an error: `{"type": "error", "error": {"type", "message"}}`, as the Messages API has it.
//!
//! Where a configuration was refused, `error.problems` holds what `tercet check --json` would say.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// Why a call was refused or failed; the message is shown to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The call makes no sense: 400.
    #[error("{0}")]
    Invalid(String),
    /// The configuration that would come of it is wrong: 400, with the problems.
    #[error("{}", told(.0))]
    Configuration(Value),
    /// No token, or a wrong one: 401.
    #[error("{0}")]
    Unauthenticated(String),
    /// From a page or host that may not: 403.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing: 404.
    #[error("{0}")]
    NotFound(String),
    /// The route exists, the method does not: 405.
    #[error("{0}")]
    Method(String),
    /// It clashes with what is there: 409.
    #[error("{0}")]
    Conflict(String),
    /// The body is too large: 413.
    #[error("{0}")]
    TooLarge(String),
    /// The head is too large: 431.
    #[error("{0}")]
    HeadTooLarge(String),
    /// The body's type is not the one wanted: 415.
    #[error("{0}")]
    MediaType(String),
    /// Too often: 429, with the seconds to wait.
    #[error("{0}")]
    TooOften(String, u64),
    /// We failed: 500.
    #[error("{0}")]
    Internal(String),
    /// Not now: 503.
    #[error("{0}")]
    Unavailable(String),
}

impl Problem {
    const fn status_and_type(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid(_) | Self::Configuration(_) => (StatusCode::BAD_REQUEST, "invalid_request_error"),
            Self::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "authentication_error"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "permission_error"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found_error"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "invalid_request_error"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
            Self::HeadTooLarge(_) => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "invalid_request_error"),
            Self::MediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error"),
            Self::TooOften(..) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "api_error"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable_error"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, kind) = self.status_and_type();
        let mut body = json!({"type": "error", "error": {"type": kind, "message": self.to_string()}});
        if let Self::Configuration(problems) = &self {
            body["error"]["problems"] = problems.clone();
        }
        let mut response = (status, Json(body)).into_response();
        match self {
            Self::TooOften(_, seconds) => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            }
            Self::Unauthenticated(_) => {
                let challenge = HeaderValue::from_static(r#"Basic realm="tercet admin", charset="UTF-8""#);
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        response
    }
}

/// Tells the first problem in one line; the others are listed beside it.
fn told(problems: &Value) -> String {
    let first = problems.get(0).unwrap_or(problems);
    let text = |name: &str| first.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let key = text("key").map_or_else(String::new, |key| format!("{key}: "));
    let hint = text("hint").map_or_else(String::new, |hint| format!("; {hint}"));
    format!("{key}{}{hint}", text("message").unwrap_or("the configuration is wrong"))
}
