//! Headers on their way through: whose key is presented, what stays between two hops, and what is ours.
//!
//! Everything not named here passes as it came. A client's key goes upstream only where no credential of ours
//! takes its place.

use http::header::{AUTHORIZATION, CONNECTION, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};

use crate::wire::json::Malformed;

/// What a request asked of us in `x-tercet-*` headers; several values of one are joined by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ours {
    /// `x-tercet-tier`: the tier to use.
    pub tier: Option<String>,
    /// `x-tercet-route`: `off` keeps the asked model.
    pub route: Option<String>,
    /// `x-tercet-cache`: `off` or `refresh`.
    pub cache: Option<String>,
    /// `x-tercet-user`: on whose behalf the key's holder asks.
    pub user: Option<String>,
    /// `x-tercet-tags`: labels for the journal.
    pub tags: Option<String>,
}

/// The longest key that is looked at.
pub const MAX_KEY_BYTES: usize = 6 * 1024;

/// Returns the key in `x-api-key` or in `authorization` with the scheme Bearer; an empty one is none.
///
/// Refused: a header given several times, two keys that differ, a key over [`MAX_KEY_BYTES`].
pub fn presented_key(headers: &HeaderMap) -> Result<Option<&[u8]>, Malformed> {
    let plain = only(headers, &API_KEY)?.map(HeaderValue::as_bytes).filter(|key| !key.is_empty());
    let bearer = only(headers, &AUTHORIZATION)?.and_then(|value| bearer(value.as_bytes()));
    let key = match (plain, bearer) {
        (Some(plain), Some(bearer)) if plain != bearer => {
            return Err(refusal("x-api-key and authorization hold different keys; send one of them"));
        }
        (plain, bearer) => plain.or(bearer),
    };
    match key {
        Some(key) if key.len() > MAX_KEY_BYTES => Err(refusal("the API key is too long")),
        key => Ok(key),
    }
}

/// Removes every credential of the client's and sets ours: API keys as `x-api-key`, other tokens as Bearer.
///
/// Fails, with no credential left in place, where the secret holds bytes that no header can.
pub fn replace_credential(headers: &mut HeaderMap, secret: &str) -> Result<(), InvalidHeaderValue> {
    headers.remove(API_KEY);
    headers.remove(AUTHORIZATION);
    let (name, mut value) = if secret.starts_with("sk-ant-") && !secret.starts_with("sk-ant-oat") {
        (API_KEY, HeaderValue::from_str(secret)?)
    } else {
        (AUTHORIZATION, HeaderValue::from_str(&["Bearer ", secret].concat())?)
    };
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

/// Removes what concerns one connection only: the standard's set, `proxy-*`, and whatever `connection` names,
/// except headers that bear meaning end to end.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !bears_meaning(name.as_str()))
        .collect();
    for name in &named {
        headers.remove(name);
    }
    remove_where(headers, |name| HOP_BY_HOP.contains(&name) || name.starts_with("proxy-"));
}

/// Removes every `x-tercet-*` header and returns those we know; a value that is not UTF-8 or over 1,024 bytes
/// counts as absent.
pub fn take_ours(headers: &mut HeaderMap) -> Ours {
    // Few requests have any, and to look for a name costs more than to look at all of them.
    if !headers.keys().any(|name| name.as_str().starts_with("x-tercet-")) {
        return Ours::default();
    }
    let ours = Ours {
        tier: joined(headers, "x-tercet-tier"),
        route: joined(headers, "x-tercet-route"),
        cache: joined(headers, "x-tercet-cache"),
        user: joined(headers, "x-tercet-user"),
        tags: joined(headers, "x-tercet-tags"),
    };
    remove_where(headers, |name| name.starts_with("x-tercet-"));
    ours
}

/// Removes cookies and where a request came from, which are between the client and us where the account is ours.
pub fn strip_origin(headers: &mut HeaderMap) {
    remove_where(headers, |name| matches!(name, "cookie" | "forwarded") || name.starts_with("x-forwarded-"));
}

/// Removes the upstream's rate-limit headers, which tell of a shared account and not of the caller.
pub fn strip_upstream_ratelimits(headers: &mut HeaderMap) {
    remove_where(headers, |name| RATE_LIMITS.iter().any(|prefix| name.starts_with(prefix)));
}

/// Removes of them what tells of a subscription or a budget.
pub fn strip_upstream_unified(headers: &mut HeaderMap) {
    remove_where(headers, |name| name.starts_with("anthropic-ratelimit-unified-"));
}

/// Returns the headers of these names in memory of their own, the first value of each.
///
/// Values are slices of the read buffer they came in, of 8 KiB and more; who keeps a few of them for long keeps copies.
#[must_use]
pub fn copied(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let own = |name: &HeaderName| HeaderValue::from_bytes(headers.get(name)?.as_bytes()).ok();
    names.iter().filter_map(|name| Some((name.clone(), own(name)?))).collect()
}

/// Returns the client's place in a trace, where it is one of W3C's form, version 00.
#[must_use]
pub fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_whole =
        version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && parts.next().is_none();
    let is_none = |part: &str| part.bytes().all(|digit| digit == b'0');
    (is_whole && !is_none(trace) && !is_none(span)).then_some(text)
}

/// Returns the client's session, as Claude Code gives it.
#[must_use]
pub fn session_id(headers: &HeaderMap) -> Option<&str> {
    short(headers, &SESSION_ID)
}

/// Returns the subagent that asks, as Claude Code gives it.
#[must_use]
pub fn agent_id(headers: &HeaderMap) -> Option<&str> {
    short(headers, &AGENT_ID)
}

/// Returns what kind of request the client says it is.
#[must_use]
pub fn request_class(headers: &HeaderMap) -> Option<&str> {
    short(headers, &REQUEST_CLASS)
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(refusal(&format!("{name} is given several times; send it once")));
    }
    Ok(first)
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(b"bearer ".len())?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !key.is_empty()).then_some(key)
}

fn refusal(message: &str) -> Malformed {
    Malformed { message: message.to_owned(), offset: 0 }
}

fn bears_meaning(name: &str) -> bool {
    MEANING_BEARING.contains(&name) || name.starts_with("anthropic-") || name.starts_with("content-")
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in &names {
        headers.remove(name);
    }
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut text = String::new();
    for (index, value) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(std::str::from_utf8(value.as_bytes()).ok()?);
        if text.len() > MAX_OURS_BYTES {
            return None;
        }
    }
    (!text.is_empty()).then_some(text)
}

fn short<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let value = headers.get(name)?.to_str().ok()?;
    (!value.is_empty() && value.len() <= MAX_ID_BYTES).then_some(value)
}

/// `anthropic-version`; to look a header up by text costs three times what it costs by a name that is made already.
pub const API_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// `anthropic-beta`
pub const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
/// `x-claude-code-request-class`
pub const REQUEST_CLASS: HeaderName = HeaderName::from_static("x-claude-code-request-class");
/// `x-claude-code-auxiliary-type`
pub const AUXILIARY_TYPE: HeaderName = HeaderName::from_static("x-claude-code-auxiliary-type");
/// Headers that a record of an exchange tells of.
pub static RECORDED: [HeaderName; 4] = [http::header::USER_AGENT, SESSION_ID, AGENT_ID, TRACEPARENT];
const SESSION_ID: HeaderName = HeaderName::from_static("x-claude-code-session-id");
const AGENT_ID: HeaderName = HeaderName::from_static("x-claude-code-agent-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"];
const MEANING_BEARING: [&str; 7] =
    ["authorization", "x-api-key", "host", "accept", "request-id", "retry-after", "x-should-retry"];
const RATE_LIMITS: [&str; 3] = ["anthropic-ratelimit-", "anthropic-fast-", "anthropic-priority-"];
const MAX_OURS_BYTES: usize = 1_024;
/// The longest id or class of a client that is read.
const MAX_ID_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn one_key_is_found_in_either_header() {
        for (lines, key) in [
            (&[("x-api-key", "k")][..], Some("k")),
            (&[("authorization", "Bearer k")], Some("k")),
            (&[("authorization", "bEARER   k ")], Some("k")),
            (&[("authorization", "Bearer k"), ("x-api-key", "k")], Some("k")),
            (&[("authorization", "Bearer k"), ("x-api-key", "")], Some("k")),
            (&[("authorization", "Basic k")], None),
            (&[("authorization", "Bearer ")], None),
            (&[("authorization", "Bearerk")], None),
            (&[], None),
        ] {
            assert_eq!(presented_key(&map(lines)).unwrap(), key.map(str::as_bytes), "{lines:?}");
        }
        let longest = "k".repeat(MAX_KEY_BYTES);
        assert!(presented_key(&map(&[("x-api-key", &longest)])).is_ok());
    }

    #[test]
    fn keys_with_two_readings_are_refused() {
        let long = "k".repeat(MAX_KEY_BYTES + 1);
        for lines in [
            &[("x-api-key", "k"), ("x-api-key", "k")][..],
            &[("authorization", "Bearer k"), ("authorization", "Basic x")],
            &[("authorization", "Bearer k"), ("x-api-key", "K")],
            &[("x-api-key", &long)],
        ] {
            assert!(presented_key(&map(lines)).is_err());
        }
    }

    #[test]
    fn our_credential_replaces_the_clients_exactly_once() {
        for (secret, name, value) in [
            ("sk-ant-api03-x", "x-api-key", "sk-ant-api03-x"),
            ("sk-ant-oat01-x", "authorization", "Bearer sk-ant-oat01-x"),
            ("other", "authorization", "Bearer other"),
        ] {
            let mut headers = map(&[
                ("x-api-key", "a"),
                ("x-api-key", "b"),
                ("authorization", "Bearer c"),
                ("accept", "x"),
            ]);
            replace_credential(&mut headers, secret).unwrap();
            assert_eq!(headers.len(), 2);
            assert_eq!(headers[name], value);
            assert!(!format!("{headers:?}").contains(secret));
        }
        let mut headers = map(&[("x-api-key", "a")]);
        assert!(replace_credential(&mut headers, "a\nb").is_err());
        assert!(headers.is_empty());
    }

    #[test]
    fn connection_cannot_take_away_what_bears_meaning() {
        let mut headers = map(&[
            ("connection", "close, X-Api-Key , anthropic-version,x-extra"),
            ("connection", "authorization, keep-alive,,@"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "x"),
            ("proxy-connection", "x"),
            ("x-api-key", "k"),
            ("anthropic-version", "2023-06-01"),
            ("authorization", "Bearer k"),
            ("x-extra", "1"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["anthropic-version", "authorization", "x-api-key"]);
    }

    #[test]
    fn our_headers_are_taken_and_none_is_left() {
        let mut headers = map(&[
            ("x-tercet-tier", "haiku"),
            ("x-tercet-user", "läs"),
            ("x-tercet-tags", "a"),
            ("x-tercet-tags", "b"),
            ("x-tercet-future", "1"),
            ("x-other", "1"),
        ]);
        let ours = take_ours(&mut headers);
        assert_eq!(ours.tier.as_deref(), Some("haiku"));
        assert_eq!(
            (ours.user.as_deref(), ours.tags.as_deref(), ours.route),
            (Some("läs"), Some("a,b"), None)
        );
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn the_upstreams_rate_limits_go_and_the_rest_of_its_headers_stay() {
        let mut headers = map(&[
            ("anthropic-ratelimit-requests-limit", "1"),
            ("anthropic-ratelimit-unified-status", "1"),
            ("anthropic-fast-input-tokens-limit", "1"),
            ("anthropic-priority-input-tokens-limit", "1"),
            ("anthropic-organization-id", "o"),
            ("retry-after", "1"),
            ("request-id", "r"),
        ]);
        strip_upstream_ratelimits(&mut headers);
        assert_eq!(headers.len(), 3);
        let hints = map(&[("x-claude-code-session-id", "s"), ("x-claude-code-request-class", "")]);
        assert_eq!((session_id(&hints), agent_id(&hints), request_class(&hints)), (Some("s"), None, None));
    }

    #[test]
    fn what_is_copied_does_not_hold_the_buffer_it_came_in() {
        let buffer = bytes::Bytes::from("agent/1, session".to_owned());
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_maybe_shared(buffer.slice(..7)).unwrap());
        headers.insert("x-other", HeaderValue::from_maybe_shared(buffer.slice(9..)).unwrap());
        assert!(!buffer.is_unique());
        headers = copied(&headers, &RECORDED);
        assert!(buffer.is_unique());
        assert_eq!((headers.len(), &headers["user-agent"]), (1, &HeaderValue::from_static("agent/1")));
    }

    proptest! {
        #[test]
        fn any_connection_value_leaves_no_hop_by_hop_header(value in "[ -~]{0,40}", named in "[a-z-]{1,12}") {
            let mut headers = map(&[("connection", &format!("{value},{named}")), ("te", "x"), ("x-api-key", "k")]);
            if let Ok(name) = HeaderName::from_bytes(named.as_bytes()) {
                headers.insert(name.clone(), HeaderValue::from_static("x"));
                strip_hop_by_hop(&mut headers);
                prop_assert!(bears_meaning(&named) || !headers.contains_key(name));
            }
            strip_hop_by_hop(&mut headers);
            prop_assert!(!headers.contains_key("te") && !headers.contains_key("connection"));
            prop_assert!(headers.contains_key("x-api-key"));
        }
    }
}
