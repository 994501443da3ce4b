//! `[clickhouse]`: where exchanges are copied to for analysis.

use std::fmt;
use std::path::PathBuf;

use http::Uri;
use toml::Spanned;

use super::check::Check;
use super::excerpt::Secrecy;
use super::problem::Finding;
use super::schema::{Given, Reference};
use crate::secret::Secret;

/// `[clickhouse]`
#[derive(Clone)]
pub struct ClickHouse {
    /// The HTTP interface: http or https, a host and nothing behind it.
    pub url: Uri,
    /// The database; default `tercet`.
    pub database: String,
    /// The user; default `default`.
    pub user: String,
    /// The user's password; none by default.
    pub password: Option<Secret>,
    /// Extra root certificates (PEM) trusted besides the built-in ones.
    pub ca: Option<PathBuf>,
    /// Whether the tables are made where they are missing; default yes.
    pub create_tables: bool,
}

impl ClickHouse {
    /// Returns scheme and host.
    #[must_use]
    pub fn origin(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}", self.url.authority().map_or("", |authority| authority.as_str()))
    }
}

impl fmt::Debug for ClickHouse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("ClickHouse");
        shown.field("url", &self.origin()).field("database", &self.database).finish_non_exhaustive()
    }
}

/// The section as it is written.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Written {
    url: Given<String>,
    database: Given<String>,
    user: Given<String>,
    password: Given<Reference>,
    ca: Given<PathBuf>,
    create_tables: Option<bool>,
}

/// Gives the section its meaning.
pub(super) fn clickhouse(check: &mut Check<'_>, file: &Written) -> Option<ClickHouse> {
    let password = file.password.as_ref().and_then(|password| check.secret(password));
    let Some(given) = &file.url else {
        let others = [&file.database, &file.user].into_iter().flatten().map(Spanned::span).next();
        if let Some(span) = others.or_else(|| file.password.as_ref().map(Spanned::span)) {
            check.absent(Some(span), "ClickHouse needs a `url`");
        }
        return None;
    };
    let Some(url) = bare_address(given.get_ref()) else {
        let finding = Finding::new(Some(given.span()), NO_ADDRESS);
        check.findings.push(Finding { secrecy: Secrecy::Secret, ..finding });
        return None;
    };
    let mut name = |given: &Given<String>, default: &str| match given {
        None => default.to_owned(),
        Some(given) => {
            let is_name = |text: &str| {
                let mut letters = text.bytes().take(NAME_BYTES_MAX + 1);
                !text.is_empty()
                    && text.len() <= NAME_BYTES_MAX
                    && letters.all(|letter| letter.is_ascii_alphanumeric() || b"_-.".contains(&letter))
            };
            if !is_name(given.get_ref()) {
                check.report(given.span(), "not a name\nletters, digits, `_`, `-` and `.`, at most 64");
            }
            given.get_ref().clone()
        }
    };
    let (database, user) = (name(&file.database, "tercet"), name(&file.user, "default"));
    let ca = check.file(file.ca.as_ref());
    Some(ClickHouse { url, database, user, password, ca, create_tables: file.create_tables.unwrap_or(true) })
}

/// Reads http or https and a host, with no user before it and nothing behind it.
pub(super) fn bare_address(address: &str) -> Option<Uri> {
    let url: Uri = address.parse().ok()?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    let named = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let bare = matches!(url.path(), "" | "/") && url.query().is_none();
    (known && named && bare).then_some(url)
}

const NAME_BYTES_MAX: usize = 64;
const NO_ADDRESS: &str = "not the address of a ClickHouse server's HTTP interface\n\
    http:// or https:// with a host, such as http://localhost:8123; user and password have keys of their own";
