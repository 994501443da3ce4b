//! `[webhook]`: whom the gateway tells of budgets that near their end.
//!
//! Addresses of chat services are secrets in themselves, so an address may be referred to like one, and nothing but
//! its scheme and host is ever shown.

use std::fmt;

use http::Uri;
use toml::Spanned;

use super::address::Address;
use super::check::Check;
use super::excerpt::Secrecy;
use super::problem::Finding;
use super::schema::{Given, Reference};
use crate::secret::Secret;

/// `[webhook]`
#[derive(Clone)]
pub struct Webhook {
    /// Where warnings are posted: http or https, with a host.
    pub url: Uri,
    /// Signs each body.
    pub secret: Option<Secret>,
}

impl Webhook {
    /// Returns scheme and host, all of the address that may be shown.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}", self.url.authority().map_or("", |authority| authority.as_str()))
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Webhook").field("url", &self.origin()).finish_non_exhaustive()
    }
}

/// The section as it is written.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Written {
    url: Given<Address>,
    secret: Given<Reference>,
}

/// Gives the section its meaning.
pub(super) fn webhook(check: &mut Check<'_>, file: &Written) -> Option<Webhook> {
    let secret = file.secret.as_ref().and_then(|secret| check.secret(secret));
    let Some(given) = &file.url else {
        if let Some(secret) = &file.secret {
            check.absent(Some(secret.span()), "a webhook needs a `url`");
        }
        return None;
    };
    let url = match given.get_ref() {
        Address::Written(address) => parse(address),
        Address::Kept(reference) => {
            parse(check.secret(&Spanned::new(given.span(), reference.clone()))?.expose())
        }
    };
    let Some(url) = url else {
        check
            .findings
            .push(Finding { secrecy: Secrecy::Secret, ..Finding::new(Some(given.span()), NO_ADDRESS) });
        return None;
    };
    Some(Webhook { url, secret })
}

fn parse(address: &str) -> Option<Uri> {
    let url: Uri = address.parse().ok()?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    let named = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (known && named).then_some(url)
}

const NO_ADDRESS: &str = "not the address of a webhook\n\
    http:// or https:// with a host and no user; where it holds a secret: { env = \"NAME\" } or { file = \"path\" }";
