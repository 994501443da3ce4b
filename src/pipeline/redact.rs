//! Our own credential, kept out of what clients see even where an upstream repeats it.
//!
//! Only errors are searched, as upstreams explain failures with what they were sent; they are small, and read
//! whole for it. Streams and successful answers pass untouched.

use bytes::Bytes;
use http::Response;
use http::response::Parts;
use http_body::Frame;
use http_body_util::{BodyExt, Limited};
use memchr::memmem;

use super::exchange::Exchange;
use super::finish::{self, Ending};
use super::relay::Reply;
use super::watch::Watch;
use crate::config::Credential;
use crate::secret::Secret;
use crate::upstream::TimedBody;
use crate::wire::error::Refusal;

/// Returns our credential where it was sent upstream.
pub(super) fn ours(exchange: &Exchange) -> Option<&Secret> {
    match exchange.credential() {
        Credential::Ours(secret) => Some(secret),
        Credential::Client => None,
    }
}

/// Takes headers off that hold our credential.
pub(super) fn headers(secret: &Secret, head: &mut Parts) {
    let finder = memmem::Finder::new(secret.expose().as_bytes());
    let holds = |value: &http::HeaderValue| finder.find(value.as_bytes()).is_some();
    let named: Vec<_> =
        head.headers.iter().filter(|(_, value)| holds(value)).map(|(name, _)| name.clone()).collect();
    for name in named {
        head.headers.remove(name);
    }
}

/// Answers with an upstream's error, our credential masked; byte for byte where it is not in it.
pub(super) async fn error(mut watch: Watch, mut head: Parts, body: TimedBody) -> Response<Reply> {
    let Ok(collected) = Limited::new(body, ERROR_MAX_BYTES).collect().await else {
        let (exchange, ..) = watch.into_parts();
        let refusal =
            Refusal::bad_gateway("the upstream's error broke off or was too large to be read whole");
        return finish::refuse(exchange, &refusal).await;
    };
    let mut bytes = collected.to_bytes();
    if let Some(masked) = ours(&watch.exchange).and_then(|secret| masked(secret, &bytes)) {
        bytes = masked;
        head.headers.remove(http::header::CONTENT_LENGTH);
    }
    watch.observe(&Frame::data(bytes.clone()));
    finish::finish(watch, Ending::Whole).await;
    Response::from_parts(head, Reply::whole(bytes))
}

fn masked(secret: &Secret, bytes: &[u8]) -> Option<Bytes> {
    let secret = secret.expose().as_bytes();
    let finder = memmem::Finder::new(secret);
    finder.find(bytes)?;
    let mut output = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = finder.find(rest) {
        output.extend_from_slice(rest.get(..at).unwrap_or_default());
        output.extend_from_slice(MASK);
        rest = rest.get(at.saturating_add(secret.len())..).unwrap_or_default();
    }
    output.extend_from_slice(rest);
    Some(output.into())
}

const MASK: &[u8] = b"***";
/// Largest error that is read whole.
const ERROR_MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_is_masked_and_nothing_else_changes() {
        let secret = Secret::new("sk-1".to_owned());
        let mask = |text: &str| masked(&secret, text.as_bytes());
        assert_eq!(mask("a sk-1 and sk-1sk-1.").as_deref(), Some(b"a *** and ******.".as_slice()));
        assert_eq!(mask("sk-2"), None);
    }
}
