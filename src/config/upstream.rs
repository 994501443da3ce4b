//! `[upstream]`: where requests go, with whose credential, and where else while that does not answer.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use toml::Spanned;

use super::check::{Check, spanned};
use super::schema;
use crate::secret::Secret;

/// `[upstream]`
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Default <https://api.anthropic.com>; scheme, authority and an optional path prefix.
    pub base_url: Uri,
    /// Whose credential goes upstream.
    pub credential: Credential,
    /// Default 5 s.
    pub connect_timeout: Duration,
    /// Until the first byte of the answer; default 600 s.
    pub first_byte_timeout: Duration,
    /// Between two reads of the answer; default 300 s.
    pub idle_timeout: Duration,
    /// Extra root certificates (PEM) trusted besides the built-in ones: `ca = "file"`.
    pub ca: Option<PathBuf>,
    /// Whether a stream that fails before its first content is asked for once more where no fallback may have it.
    pub retry_streams: bool,
    /// Where else messages go while it cannot answer, in this order; at most 8.
    pub fallbacks: Vec<Fallback>,
}

/// Whose credential goes upstream.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The caller's own passes through.
    Client,
    /// Ours replaces the caller's.
    Ours(Secret),
}

/// `[[upstream.fallback]]`
#[derive(Clone, Debug)]
pub struct Fallback {
    /// Names it in records, headers and metrics; unique.
    pub name: String,
    /// As the upstream's.
    pub base_url: Uri,
    /// As the upstream's: the caller's own or ours, whichever goes there.
    pub credential: Credential,
    /// Whether it is the upstream's own account at another address; default false, true for the caller's own.
    pub same_account: bool,
}

impl Upstream {
    /// Returns the settings of a fallback: its own address, everything else as here.
    #[must_use]
    pub fn at(&self, fallback: &Fallback) -> Self {
        let (base_url, credential) = (fallback.base_url.clone(), fallback.credential.clone());
        Self { base_url, credential, fallbacks: Vec::new(), ..self.clone() }
    }
}

/// Gives `[upstream]` its meaning.
pub(super) fn upstream(check: &mut Check<'_>, file: &schema::Upstream) -> Upstream {
    let credential = credential(check, file.credential.as_ref());
    if let Some(beyond) = file.fallback.get(FALLBACKS_MAX) {
        check.report(beyond.span(), &format!("too many fallbacks\n{FALLBACKS_MAX} at most"));
    }
    let mut fallbacks = Vec::new();
    for given in file.fallback.iter().take(FALLBACKS_MAX) {
        if let Some(fallback) = fallback(check, given, &credential, &fallbacks) {
            fallbacks.push(fallback);
        }
    }
    Upstream {
        base_url: spanned(file.base_url.as_ref(), Uri::from_static("https://api.anthropic.com")),
        credential,
        connect_timeout: check.positive(&file.connect_timeout, Duration::from_secs(5)),
        first_byte_timeout: check.positive(&file.first_byte_timeout, Duration::from_secs(600)),
        idle_timeout: check.positive(&file.idle_timeout, Duration::from_secs(300)),
        ca: check.file(file.ca.as_ref()),
        retry_streams: file.retry_streams.unwrap_or(false),
        fallbacks,
    }
}

fn fallback(
    check: &mut Check<'_>,
    given: &Spanned<super::value::Section<schema::Fallback>>,
    ours: &Credential,
    before: &[Fallback],
) -> Option<Fallback> {
    let file = &given.get_ref().0;
    let (Some(name), Some(base_url)) = (&file.name, &file.base_url) else {
        check.absent(Some(given.span()), "a fallback needs a `name` and a `base_url`");
        return None;
    };
    if before.iter().any(|other| other.name == *name.get_ref()) {
        check.report(name.span(), "another fallback has this name");
    }
    let credential = credential(check, file.credential.as_ref());
    // A tenant's key must never leave us, nor anyone spend our credential that may not spend it here.
    if matches!(credential, Credential::Client) != matches!(ours, Credential::Client) {
        check.absent(
            Some(file.credential.as_ref().map_or(given.span(), Spanned::span)),
            "a fallback takes the same kind of credential as the upstream\n\
             both `credential = \"client\"`, or both a secret",
        );
    }
    let same_account = file.same_account.unwrap_or(matches!(credential, Credential::Client));
    let (name, base_url) = (check.name(name), base_url.get_ref().0.clone());
    Some(Fallback { name, base_url, credential, same_account })
}

fn credential(check: &mut Check<'_>, given: Option<&Spanned<schema::Credential>>) -> Credential {
    let secret = given.and_then(|credential| match credential.get_ref() {
        schema::Credential::Client => None,
        schema::Credential::Ours(reference) => {
            check.secret(&Spanned::new(credential.span(), reference.clone()))
        }
    });
    secret.map_or(Credential::Client, Credential::Ours)
}

/// Most fallbacks; each is a pool of connections and a label.
const FALLBACKS_MAX: usize = 8;
