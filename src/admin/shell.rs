//! What every page of the dashboard has: head, masthead, the list of pages, foot, and the seal on its forms.
//!
//! Pages need no script. A page that renews itself does so by the header `refresh`, and says how to stop that. Forms
//! carry a token made from a cookie that only this site's own pages send (`SameSite=Strict`), so that no other page
//! can fill them in.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use maud::{DOCTYPE, Markup, html};
use subtle::ConstantTimeEq;

use super::dashboard::stylesheet_path;
use super::format::{count, dollars, time_of_day};
use super::overview::Overview;
use super::reply::Problem;
use crate::secret;

/// The pages there are, in the order of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    Today,
    Live,
    Explain,
    Replay,
    Tenants,
    Sessions,
    SetUp,
    System,
}

/// A page before it is sent.
pub(super) struct Page<'a> {
    pub(super) overview: &'a Overview,
    pub(super) here: Here,
    /// The title and the heading; the first page's is the sum spent today.
    pub(super) title: &'a str,
    /// Whether it renews itself; `None` where it never does.
    pub(super) live: Option<bool>,
    pub(super) content: Markup,
}

impl Here {
    const ALL: [Self; 8] = [
        Self::Today,
        Self::Live,
        Self::Explain,
        Self::Replay,
        Self::Tenants,
        Self::Sessions,
        Self::SetUp,
        Self::System,
    ];

    const fn name_and_path(self) -> (&'static str, &'static str) {
        match self {
            Self::Today => ("Today", "/"),
            Self::Live => ("Live", "/live"),
            Self::Explain => ("Explain", "/explain"),
            Self::Replay => ("Replay", "/replay"),
            Self::Tenants => ("Tenants and keys", "/tenants"),
            Self::Sessions => ("Sessions", "/sessions"),
            Self::SetUp => ("Set-up", "/setup"),
            Self::System => ("System", "/system"),
        }
    }
}

impl Page<'_> {
    pub(super) fn render(&self) -> Markup {
        let title = if self.here == Here::Today {
            format!("{} today", dollars(self.overview.today.spent))
        } else {
            self.title.to_owned()
        };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · Tercet" }
                    link rel="stylesheet" href=(stylesheet_path());
                }
                body {
                    a.skip href="#main" { "Skip to the page" }
                    (self.masthead())
                    main #main {
                        @if self.here == Here::Today { h1.hidden { (title) } } @else { h1.title { (self.title) } }
                        @if let Err(reason) = &self.overview.ready {
                            p.alarm role="alert" { strong { "Not ready." } " " (reason) }
                        }
                        (self.content)
                    }
                    (colophon(self.overview))
                }
            }
        }
    }

    fn masthead(&self) -> Markup {
        let overview = self.overview;
        let (_, path) = self.here.name_and_path();
        html! {
            header.masthead {
                p.brand {
                    svg.mark viewBox="0 0 22 18" aria-hidden="true" {
                        rect x="0" y="1" width="22" height="3" rx="1.5" {}
                        rect x="0" y="7.5" width="15" height="3" rx="1.5" {}
                        rect x="0" y="14" width="19" height="3" rx="1.5" {}
                    }
                    "Tercet"
                }
                ul.state {
                    li {
                        @if overview.ready.is_ok() { span.dot.good {} "Ready" } @else { span.dot.bad {} "Not ready" }
                    }
                    li { b { (count(overview.in_flight)) } " in flight" }
                    li { "Routing: " b { (overview.mode.name()) } }
                    li.clock {
                        time datetime=(overview.now) { (time_of_day(overview.now)) " UTC" }
                        @match self.live {
                            Some(true) => a href={ (path) "?live=off" } { "Pause" },
                            Some(false) => a href=(path) { "Resume" },
                            None => {}
                        }
                    }
                }
            }
            nav.pages aria-label="Pages" {
                ul { @for page in Here::ALL {
                    @let (name, path) = page.name_and_path();
                    li { a href=(path) aria-current=[(page == self.here).then_some("page")] { (name) } }
                } }
            }
        }
    }

    /// Sends the page; one that renews itself says so in a header.
    pub(super) fn send(&self) -> Response {
        let mut response = Html(self.render().into_string()).into_response();
        if self.live == Some(true) {
            response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("5"));
        }
        response
    }
}

fn colophon(overview: &Overview) -> Markup {
    html! {
        footer {
            span { "Version " (env!("CARGO_PKG_VERSION")) }
            span { "Policy " code { (overview.policy_version) } }
            span { "Journal at record " (count(overview.journal_head)) }
            a href="/metrics" { "Metrics" }
            a href="/admin/v1/usage?by=tenant" { "Usage" }
            a href="/admin/v1/config" { "Configuration" }
            span { "Times are UTC; costs are at list price." }
        }
    }
}

/// Seals forms, so that only a page of ours can send one.
pub(super) struct Seal(Option<[u8; 32]>);

/// What a page with forms needs.
pub(super) struct Sealed {
    /// For the forms.
    pub(super) token: String,
    cookie: Option<String>,
}

impl Seal {
    pub(super) fn new() -> Self {
        Self(secret::random().ok())
    }

    /// Returns the token for this browser's forms.
    pub(super) fn seal(&self, headers: &HeaderMap) -> Result<Sealed, Problem> {
        if let Some(known) = cookie_of(headers) {
            return Ok(Sealed { token: self.token(known)?, cookie: None });
        }
        let fresh = secret::random::<32>().map_err(|error| Problem::Internal(error.to_string()))?;
        let fresh = blake3::Hash::from_bytes(fresh).to_hex().to_string();
        Ok(Sealed { token: self.token(&fresh)?, cookie: Some(fresh) })
    }

    /// Refuses a form whose token is not the one of this browser, or that another site sent.
    pub(super) fn check(&self, headers: &HeaderMap, given: &str) -> Result<(), Problem> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let is_foreign = |origin: &str| {
            let named = origin.split_once("://").map_or(origin, |(_, host)| host);
            text(header::HOST) != Some(named)
        };
        let expected = cookie_of(headers).map(|cookie| self.token(cookie)).transpose()?;
        let is_ours = expected.is_some_and(|token| bool::from(token.as_bytes().ct_eq(given.as_bytes())));
        if is_ours && !text(header::ORIGIN).is_some_and(is_foreign) {
            return Ok(());
        }
        Err(Problem::Forbidden("this form is not one of ours, or is too old; open the page again".to_owned()))
    }

    fn token(&self, cookie: &str) -> Result<String, Problem> {
        let key = self.0.as_ref().ok_or_else(|| Problem::Internal("forms cannot be sealed".to_owned()))?;
        Ok(blake3::keyed_hash(key, cookie.as_bytes()).to_hex().to_string())
    }
}

impl Sealed {
    /// Returns the hidden field that a form needs.
    pub(super) fn field(&self) -> Markup {
        html! { input type="hidden" name="token" value=(self.token); }
    }

    /// Sends a page whose forms it sealed.
    pub(super) fn send(&self, page: &Page<'_>) -> Response {
        let mut response = page.send();
        let cookie = self.cookie.as_ref().map(|cookie| {
            HeaderValue::try_from(format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict"))
        });
        if let Some(Ok(cookie)) = cookie {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }
}

fn cookie_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, value)| *name == COOKIE && value.len() == 64).map(|(_, value)| value)
}

const COOKIE: &str = "tercet_forms";
