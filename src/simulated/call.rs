//! One request after its envelope was checked: credential, API version and betas.
//!
//! Every path but `HEAD /` needs a credential, `x-api-key` or `Authorization: Bearer`, and a known `anthropic-version`.
//! The part of a key before its first `.` names the organisation, so `acme.1` and `acme.2` are two keys of one account.

use hyper::body::Bytes;
use hyper::{HeaderMap, Method};

use super::fault::Fault;

/// A request with a known caller.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub method: Method,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    /// The body after content decoding.
    pub body: Bytes,
    pub key: String,
    pub version: Version,
    pub betas: Vec<String>,
    pub request_id: String,
}

/// The API versions that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    June2023,
    October2026,
}

impl Call {
    /// Returns the organisation that the key belongs to.
    pub(super) fn account(&self) -> &str {
        account_of(&self.key)
    }

    pub(super) fn has_beta(&self, prefix: &str) -> bool {
        self.betas.iter().any(|beta| beta.starts_with(prefix))
    }

    pub(super) fn query_value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Returns the organisation of a key.
pub(super) fn account_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(account, _)| account)
}

/// Returns the presented key, or the documented 401.
pub(super) fn key(headers: &HeaderMap, accepted: Option<&[String]>) -> Result<String, Fault> {
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok());
    let bearer =
        bearer.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
    let key = headers.get("x-api-key").and_then(|value| value.to_str().ok()).or(bearer).unwrap_or("").trim();
    if key.is_empty() {
        return Err(Fault::new(401, "authentication_error", "x-api-key header is required"));
    }
    match accepted {
        Some(keys) if !keys.iter().any(|known| known == key) => {
            Err(Fault::new(401, "authentication_error", "invalid x-api-key"))
        }
        _ => Ok(key.to_owned()),
    }
}

/// Returns the API version, or a 400.
pub(super) fn version(headers: &HeaderMap) -> Result<Version, Fault> {
    let mut values = headers.get_all("anthropic-version").iter();
    match (values.next().map(http::HeaderValue::as_bytes), values.next()) {
        (None, _) => Err(Fault::invalid("anthropic-version: header is required")),
        (Some(b"2023-06-01"), None) => Ok(Version::June2023),
        (Some(b"2026-10-21"), None) => Ok(Version::October2026),
        (Some(other), _) => Err(Fault::invalid(format!(
            "anthropic-version: \"{}\" is not a valid version. Please refer to the documentation for valid versions.",
            String::from_utf8_lossy(other)
        ))),
    }
}

/// Returns the betas asked for, or the documented 400 that names the unknown ones.
pub(super) fn betas(headers: &HeaderMap) -> Result<Vec<String>, Fault> {
    let mut betas = Vec::new();
    for value in headers.get_all("anthropic-beta") {
        let text = value.to_str().map_err(|_| Fault::invalid("anthropic-beta: not a valid header value"))?;
        betas.extend(text.split(',').map(str::trim).filter(|beta| !beta.is_empty()).map(str::to_owned));
    }
    let unknown: Vec<String> = betas
        .iter()
        .filter(|beta| !KNOWN_BETAS.contains(&beta.as_str()))
        .map(|beta| format!("`{beta}`"))
        .collect();
    if unknown.is_empty() {
        return Ok(betas);
    }
    Err(Fault::invalid(format!("Unexpected value(s) {} for the `anthropic-beta` header", unknown.join(", "))))
}

/// Splits and percent-decodes a query string.
pub(super) fn query(text: Option<&str>) -> Vec<(String, String)> {
    let pairs = text.unwrap_or("").split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let value =
                    std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                if let Some(value) = value {
                    bytes.push(value);
                    rest = tail;
                } else {
                    bytes.push(b'%');
                }
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every beta that the SDKs type or that Claude Code and the Vercel SDK send.
const KNOWN_BETAS: &[&str] = &[
    "admin-user-sign-out-2026-10-08",
    "advanced-tool-use-2025-11-20",
    "advisor-tool-2026-03-01",
    "afk-mode-2026-01-31",
    "agent-memory-2026-07-22",
    "analytics-usage-cost-2026-08-24",
    "cache-diagnosis-2026-04-07",
    "ccr-byoc-2025-07-29",
    "ccr-triggers-2026-01-30",
    "ce-claude-code-managed-settings-2026-10-06",
    "ce-plugins-2026-09-01",
    "ce-user-management-2026-07-13",
    "claude-code-20250219",
    "code-execution-2025-05-22",
    "code-execution-2025-08-25",
    "code-execution-web-tools-2026-02-09",
    "compact-2026-01-12",
    "compact-2026-09-04",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-hint-2026-04-09",
    "context-management-2025-06-27",
    "dangerous-tool-use-2026-09-03",
    "dev-full-thinking-2025-05-14",
    "dreaming-2026-04-21",
    "effort-2025-11-24",
    "environments-2025-11-01",
    "experimental-claude-tag-2026-10-21",
    "extended-cache-ttl-2025-04-11",
    "fallback-credit-2026-06-01",
    "fallback-credit-2026-07-01",
    "fast-mode-2026-02-01",
    "files-api-2025-04-14",
    "fine-grained-tool-streaming-2025-05-14",
    "inline-tools-2026-09-15",
    "interleaved-thinking-2025-05-14",
    "managed-agents-2026-04-01",
    "mcp-client-2025-04-04",
    "mcp-client-2025-11-20",
    "mcp-client-2026-09-15",
    "mcp-servers-2025-12-04",
    "mcp-tunnels-2026-06-22",
    "message-batches-2024-09-24",
    "message-threads-2026-08-12",
    "mid-conversation-output-config-2026-07-01",
    "mid-conversation-system-2026-04-07",
    "mid-conversation-system-clear-at-2026-08-21",
    "mid-conversation-tool-changes-2026-07-01",
    "model-context-window-exceeded-2025-08-26",
    "oauth-2025-04-20",
    "oidc-federation-2026-04-01",
    "output-128k-2025-02-19",
    "output-300k-2026-03-24",
    "pdfs-2024-09-25",
    "per-turn-control-2026-07-01",
    "prompt-caching-2024-07-31",
    "prompt-caching-scope-2026-01-05",
    "redact-thinking-2026-02-12",
    "server-side-fallback-2026-06-01",
    "server-side-fallback-2026-06-09",
    "server-side-fallback-2026-07-01",
    "skills-2025-10-02",
    "spend-limit-reads-2026-09-26",
    "structured-outputs-2025-11-13",
    "structured-outputs-2025-12-15",
    "summarize-connector-text-2026-03-13",
    "task-budgets-2026-03-13",
    "telemetry-destinations-2026-08-11",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
    "thinking-token-count-2026-05-13",
    "token-counting-2024-11-01",
    "token-efficient-tools-2025-02-19",
    "tool-search-tool-2025-10-19",
    "user-profiles-2026-03-24",
    "user-profiles-2026-08-18",
    "user-profiles-2026-09-04",
    "user-profiles-billing-2026-10-01",
    "web-fetch-2025-09-10",
    "web-search-2025-03-05",
    "webhooks-2026-10-07",
];
