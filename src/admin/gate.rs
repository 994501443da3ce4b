//! Stands before every admin route: who may call, from which page, how often.
//!
//! With a token, callers present it as `Authorization: Bearer` or `x-api-key`, or a browser as the password of HTTP Basic with
//! any user name; both are compared in constant time. Without a token (loopback only) the `Host` header must
//! name this machine, so that a foreign page cannot reach us through a name that it points here. `/healthz` and
//! `/readyz` are open to all. Calls that change something must not come from a foreign page: they need a JSON
//! content type, which a browser sends across sites only after asking, or the bearer token.
//!
//! Bounds: [`CALLS_PER_SECOND`], [`LOGINS_BURST`], [`ADDRESSES_MAX`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::Access;
use super::reply::Problem;
use crate::clock::Clock;
use crate::secret::Secret;

/// The rules and what they remember of callers.
pub(super) struct Gate {
    access: Access,
    clock: Clock,
    calls: DefaultDirectRateLimiter,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

/// Failed logins of one address.
struct Failures {
    limiter: DefaultDirectRateLimiter,
    last: Instant,
    locked_until: Option<Instant>,
}

/// How a caller proved to know the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// No token is configured.
    NotNeeded,
    /// A bearer token or `x-api-key`; no browser sends either by itself.
    Bearer,
    /// HTTP Basic; a browser repeats it by itself.
    Basic,
}

/// Who is calling, as changes are written down: `token:` and eight digits of the token's digest, or `loopback`.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) String);

/// Lets a request through or refuses it, and sets the security headers either way.
pub(super) async fn stand(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let address = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip().to_canonical());
    let mut response = match gate.check(&request, address) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

impl Gate {
    pub(super) fn new(access: Access, clock: Clock) -> Self {
        let quota = Quota::per_second(CALLS_PER_SECOND).allow_burst(CALLS_BURST);
        Self { access, clock, calls: RateLimiter::direct(quota), failures: Mutex::default() }
    }

    fn check(&self, request: &Request, address: IpAddr) -> Result<Caller, Problem> {
        if matches!(request.uri().path(), "/healthz" | "/readyz") {
            return Ok(Caller("anyone".to_owned()));
        }
        if self.calls.check().is_err() {
            return Err(Problem::TooOften("too many admin calls; try again in a second".to_owned(), 1));
        }
        let (proof, caller) = match (self.access.token)() {
            Some(token) => (self.login(&token, request.headers(), address)?, token_id(&token)),
            // A reload took the token away, but the listener stays where it was.
            None if !self.access.listen.ip().is_loopback() => {
                return Err(Problem::Forbidden(
                    "without a token the admin listener must be on loopback".to_owned(),
                ));
            }
            None => {
                self.check_host(request)?;
                (Proof::NotNeeded, "loopback".to_owned())
            }
        };
        check_page(request, proof)?;
        Ok(Caller(caller))
    }

    fn login(&self, token: &Secret, headers: &HeaderMap, address: IpAddr) -> Result<Proof, Problem> {
        let presented = (headers.get(header::AUTHORIZATION), headers.get(API_KEY));
        if presented == (None, None) {
            return Err(Problem::Unauthenticated(
                "the admin token is required: send `Authorization: Bearer …` or `x-api-key`".to_owned(),
            ));
        }
        self.refuse_locked(address)?;
        let by_key = |key: &HeaderValue| token.matches(key.as_bytes()).then_some(Proof::Bearer);
        let proof = match presented {
            (Some(presented), _) => proof(token, presented.as_bytes()),
            (None, key) => key.and_then(by_key),
        };
        match proof {
            Some(proof) => Ok(proof),
            None => Err(self.note_failure(address)),
        }
    }

    fn refuse_locked(&self, address: IpAddr) -> Result<(), Problem> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let until = failures.get(&address).and_then(|failures| failures.locked_until);
        match until.and_then(|until| until.checked_duration_since(self.clock.instant())) {
            Some(left) if !left.is_zero() => Err(locked(left)),
            _ => Ok(()),
        }
    }

    fn note_failure(&self, address: IpAddr) -> Problem {
        let now = self.clock.instant();
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= ADDRESSES_MAX && !all.contains_key(&address) {
            all.retain(|_, failures| now.saturating_duration_since(failures.last) < FORGET_AFTER);
        }
        if all.len() >= ADDRESSES_MAX && !all.contains_key(&address) {
            return locked(LOCK);
        }
        let failures = all.entry(address).or_insert_with(|| Failures {
            limiter: RateLimiter::direct(Quota::per_minute(LOGINS_PER_MINUTE).allow_burst(LOGINS_BURST)),
            last: now,
            locked_until: None,
        });
        failures.last = now;
        if failures.limiter.check().is_ok() {
            return Problem::Unauthenticated("the admin token is wrong".to_owned());
        }
        failures.locked_until = now.checked_add(LOCK);
        locked(LOCK)
    }

    /// Refuses a `Host` that is not this machine: a foreign page under a name that resolves to loopback.
    fn check_host(&self, request: &Request) -> Result<(), Problem> {
        let named = request.uri().host().map(str::to_owned).or_else(|| {
            let host = request.headers().get(header::HOST)?.to_str().ok()?;
            host.parse::<http::uri::Authority>().ok().map(|authority| authority.host().to_owned())
        });
        let named = named.unwrap_or_default().to_ascii_lowercase();
        let bare = named.trim_start_matches('[').trim_end_matches(']');
        let ours = match bare.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip == self.access.listen.ip(),
            Err(_) => {
                bare == "localhost" || self.access.hosts.iter().any(|host| host.eq_ignore_ascii_case(bare))
            }
        };
        if ours { Ok(()) } else { Err(Problem::Forbidden(HOST_MESSAGE.to_owned())) }
    }
}

/// Refuses what a foreign page could make a browser send.
fn check_page(request: &Request, proof: Proof) -> Result<(), Problem> {
    if matches!(*request.method(), Method::GET | Method::HEAD) || proof == Proof::Bearer {
        return Ok(());
    }
    let value = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    if value(FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err(Problem::Forbidden("calls from other sites are refused".to_owned()));
    }
    // A browser asks before it sends any other method or content type to another site.
    let json = value(header::CONTENT_TYPE)
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    let path = request.uri().path();
    // The dashboard's own forms are sealed instead.
    let is_api = path.starts_with("/admin/") || path.starts_with("/v1/");
    if *request.method() == Method::POST && is_api && path != "/admin/v1/explain" && !json {
        return Err(Problem::MediaType(
            "send `content-type: application/json`, or the token as `Authorization: Bearer …`".to_owned(),
        ));
    }
    Ok(())
}

/// Names a token without telling it: a few digits of a digest made for this alone.
fn token_id(token: &Secret) -> String {
    let digest = blake3::derive_key("tercet 2026 admin token id", token.expose().as_bytes());
    format!("token:{}", &blake3::Hash::from_bytes(digest).to_hex()[..8])
}

fn locked(left: Duration) -> Problem {
    Problem::TooOften("too many failed logins from this address".to_owned(), left.as_secs().max(1))
}

/// Reads an `Authorization` value; `None` unless it holds the token.
fn proof(token: &Secret, presented: &[u8]) -> Option<Proof> {
    let space = presented.iter().position(|byte| *byte == b' ')?;
    let (scheme, value) = (&presented[..space], presented[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return token.matches(value).then_some(Proof::Bearer);
    }
    if scheme.eq_ignore_ascii_case(b"basic") {
        let pair = decode_base64(value)?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        return token.matches(&pair[colon + 1..]).then_some(Proof::Basic);
    }
    None
}

/// Decodes standard base64, padded or not; `None` on any other character or more than 4 KiB.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > 4_096 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0u32);
    let unpadded = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    for byte in &text[..unpadded] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).ok()?);
        }
    }
    Some(bytes)
}

const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Without a referrer browsers call the origin of our own forms `null`.
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// As the API's own clients present an admin key; no browser sends it by itself.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const HOST_MESSAGE: &str =
    "this host name is not known; call localhost or 127.0.0.1, or set an admin token to use other names";

/// Calls of all callers together, health excepted.
const CALLS_PER_SECOND: NonZeroU32 = NonZeroU32::new(500).unwrap();
const CALLS_BURST: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// Failed logins an address may make at once, and then per minute.
const LOGINS_BURST: NonZeroU32 = NonZeroU32::new(10).unwrap();
const LOGINS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// How long an address waits after one failed login too many.
const LOCK: Duration = Duration::from_secs(60);

/// Addresses whose failures are remembered; when full, those quiet for ten minutes go.
const ADDRESSES_MAX: usize = 1_024;
const FORGET_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_written_or_not_at_all() {
        for (text, bytes) in
            [("", ""), ("YQ==", "a"), ("YTpi", "a:b"), ("OnNlY3JldA==", ":secret"), ("Onk", ":y")]
        {
            assert_eq!(decode_base64(text.as_bytes()).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decode_base64(b"a b"), None);
        assert_eq!(decode_base64(&vec![b'A'; 4_097]), None);
    }

    #[test]
    fn remembered_addresses_are_bounded_and_forgotten_in_time() {
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
        let access =
            Access { token: Box::new(|| None), listen: ([127, 0, 0, 1], 0).into(), hosts: Vec::new() };
        let gate = Gate::new(access, clock.clone());
        for number in 0..5_000u32 {
            gate.note_failure(IpAddr::V4(number.into()));
        }
        assert_eq!(gate.failures.lock().unwrap().len(), ADDRESSES_MAX);
        clock.advance(FORGET_AFTER);
        assert!(matches!(gate.note_failure(IpAddr::V4(9_999.into())), Problem::Unauthenticated(_)));
        assert_eq!(gate.failures.lock().unwrap().len(), 1);
    }
}
