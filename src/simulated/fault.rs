//! Errors in the API's shape: a status, a type, a message and, for some, a machine-readable code.
//!
//! Texts that the documentation quotes are kept to the letter by whoever raises the fault.

use serde_json::{Value, json};

/// A refusal by the simulated upstream.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub status: u16,
    pub kind: String,
    pub message: String,
    /// `error.details`, if any.
    pub details: Option<Value>,
    pub headers: Vec<(String, String)>,
}

impl Fault {
    pub(super) fn new(status: u16, kind: &str, message: impl Into<String>) -> Self {
        Self { status, kind: kind.to_owned(), message: message.into(), details: None, headers: Vec::new() }
    }

    /// A 400 `invalid_request_error`.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// The 400 for a field that does not exist or is not enabled.
    pub(super) fn extra(field: &str) -> Self {
        Self::invalid(format!("{field}: Extra inputs are not permitted"))
    }

    /// A 404 `not_found_error`.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "not_found_error", message)
    }

    /// Adds `error.details.error_code`.
    pub(super) fn code(mut self, code: &str) -> Self {
        self.details = Some(json!({ "error_code": code }));
        self
    }

    /// Returns the error object alone, as in batch results.
    pub(super) fn envelope(&self, request_id: &str) -> Value {
        let mut error = json!({ "type": self.kind, "message": self.message });
        if let Some(details) = &self.details {
            error["details"] = details.clone();
        }
        json!({ "type": "error", "error": error, "request_id": request_id })
    }
}
