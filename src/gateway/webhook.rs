//! Posts notices to the configured webhook: one after the other, each a few times, none for ever.
//!
//! Nothing waits for it but the notices behind. What waits when the process ends is tried once more.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};
use tokio::sync::watch;

use crate::config::{self, Config, Credential, Webhook};
use crate::pipeline::Tercet;
use crate::telemetry::Notice;
use crate::upstream::{RequestBody, Upstream};

/// Posts what is queued, until the end.
pub(super) async fn keep(tercet: Arc<Tercet>, mut ended: watch::Receiver<bool>) {
    let outbox = &tercet.runtime.outbox;
    loop {
        let end = ended.clone();
        let notice = tokio::select! {
            notice = outbox.next() => notice,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        let delivered = deliver(&tercet, &notice, &WAITS, end).await;
        outbox.count(delivered);
    }
    while let Some(notice) = outbox.try_next() {
        let delivered = deliver(&tercet, &notice, &[], ended.clone()).await;
        outbox.count(delivered);
    }
}

/// Tries once, and again after each wait; tells whether the receiver took it.
async fn deliver(
    tercet: &Tercet,
    notice: &Notice,
    waits: &[Duration],
    mut ended: watch::Receiver<bool>,
) -> bool {
    for wait in waits.iter().copied().map(Some).chain([None]) {
        // Read each time, so that a reload mends a wrong address.
        let snapshot = tercet.snapshot.load_full();
        let Some(webhook) = &snapshot.config.webhook else { return false };
        let problem = match tokio::time::timeout(TRY_TIMEOUT, post(&snapshot.config, webhook, notice)).await {
            Ok(Ok(())) => return true,
            Ok(Err(problem)) => problem,
            Err(_) => "no answer in time".to_owned(),
        };
        // The address holds a secret, perhaps; its host does not.
        tracing::warn!(
            id = notice.id,
            webhook = webhook.origin(),
            problem,
            "the webhook did not take a notice"
        );
        let Some(wait) = wait else { break };
        // At the end of the process there is one more try, at once.
        drop(tokio::time::timeout(wait, ended.wait_for(|ended| *ended)).await);
    }
    tracing::error!(id = notice.id, event = notice.event, "a notice was given up");
    false
}

async fn post(config: &Config, webhook: &Webhook, notice: &Notice) -> Result<(), String> {
    let receiver = Upstream::new(&receiver_of(config, webhook)?).map_err(|problem| problem.to_string())?;
    let answer = receiver.send(request(webhook, notice)?).await.map_err(|failure| failure.to_string())?;
    let status = answer.response.status();
    if status.is_success() { Ok(()) } else { Err(format!("status {}", status.as_u16())) }
}

/// The receiver by scheme and host; with the certificates that are trusted of the upstream.
fn receiver_of(config: &Config, webhook: &Webhook) -> Result<config::Upstream, String> {
    Ok(config::Upstream {
        base_url: webhook.origin().parse().map_err(|_| "no address".to_owned())?,
        credential: Credential::Client,
        connect_timeout: TRY_TIMEOUT,
        first_byte_timeout: TRY_TIMEOUT,
        idle_timeout: TRY_TIMEOUT,
        ca: config.upstream.ca.clone(),
        retry_streams: false,
        fallbacks: Vec::new(),
    })
}

fn request(webhook: &Webhook, notice: &Notice) -> Result<Request<RequestBody>, String> {
    let body = Bytes::from(notice.body.clone());
    let path = webhook.url.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(Uri::from(path))
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("tercet/", env!("CARGO_PKG_VERSION")))
        .header("x-tercet-event", notice.event)
        .header("x-tercet-delivery", &notice.id);
    if let Some(secret) = &webhook.secret {
        let mut signature = HeaderValue::from_str(&signature(secret.expose(), &body))
            .map_err(|_| "no signature".to_owned())?;
        signature.set_sensitive(true);
        request = request.header("x-tercet-signature", signature);
    }
    request.body(body.into()).map_err(|_| "no request can be made of it".to_owned())
}

/// `sha256=` and the HMAC-SHA256 of the body in hexadecimal digits (RFC 2104).
fn signature(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, body);
    tag.as_ref().iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// How long one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between the tries of one notice.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(16)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_rfc_4231_says() {
        let (secret, body) = ("Jefe", b"what do ya want for nothing?");
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(secret, body), expected);
    }
}
