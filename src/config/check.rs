//! From what was written to what is meant: defaults, references, and what must hold between keys.
//!
//! All problems are collected, so that a file can be mended in one go; the `Config` that comes with problems
//! is never used. Secrets are read here, from the environment as it is passed in or from files of at most
//! 64 KiB. Tenants are in `tenants`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use toml::Spanned;

use super::problem::Finding;
use super::schema::{self, File, Given, Reference};
use super::source::{Surroundings, readable};
use super::value::{Bytes, Count, Permille, Section, Text, ZERO};
use super::{
    Adaptation, Admin, Budget, Cache, Canary, Ceiling, Config, Credential, Journal, Limits, Mode, Quota,
    Reserve, Routing, Scope, Server, ShadowSample, Source, Tiers, Tls, WhenLow,
};
use super::{clickhouse, content, guards, redis, sample, telemetry, tenants, upstream, webhook};
use crate::secret::Secret;
use crate::tier::Tier;

/// The checks of one file and what they found.
pub(super) struct Check<'a> {
    pub(super) surroundings: &'a Surroundings<'a>,
    pub(super) findings: Vec<Finding>,
}

/// Gives `file` its meaning; `version` is left empty.
pub(super) fn config(check: &mut Check<'_>, file: &File) -> Config {
    let server = server(check, &file.server.0);
    let admin = admin(check, &file.admin.0, &server);
    let upstream = upstream::upstream(check, &file.upstream.0);
    let open_relay = matches!(upstream.credential, Credential::Ours(_)) && file.tenants.is_empty();
    if open_relay && !server.listen.ip().is_loopback() {
        check.absent(
            file.server.0.listen.as_ref().map(Spanned::span),
            "anyone who reaches this address could spend our credential: it is not loopback and there are no tenants\n\
             name tenants with keys, or set `upstream.credential = \"client\"`",
        );
    }
    let routing = routing(check, &file.routing.0, &Routing::default());
    let cache = cache(check, &file.cache.0);
    let redaction_key = guards::redaction_key(check, &file.redaction.0);
    let has_key = file.redaction.0.is_given();
    let around = guards::Around { has_key, allow_paths: &[] };
    let guards = guards::guards(check, &file.guards, &[], around);
    let journal = journal(check, &file.journal.0);
    let keeps_content = journal.content.enabled;
    let base = tenants::Base { routing: &routing, cache: &cache, guards: &guards, has_key, keeps_content };
    Config {
        tiers: tiers(check, &file.tiers.0),
        journal,
        redis: redis::redis(check, &file.redis.0),
        webhook: webhook::webhook(check, &file.webhook.0),
        clickhouse: clickhouse::clickhouse(check, &file.clickhouse.0),
        organisation: super::Ceilings {
            limits: limits(&file.limits.0),
            budget: budget(&file.budget.0),
            quota: quota(&file.quota.0),
        },
        tenants: tenants::tenants(check, &file.tenants, &base),
        telemetry: telemetry::telemetry(check, &file.telemetry.0),
        catalog: check.file(file.catalog.as_ref()),
        redaction_key,
        version: String::new(),
        source: Source::default(),
        server,
        admin,
        upstream,
        guards: Arc::clone(&guards),
        routing,
        cache,
    }
}

impl Check<'_> {
    /// Notes a problem; a line break in `what` parts it from the hint.
    pub(super) fn report(&mut self, span: Range<usize>, what: &str) {
        self.findings.push(Finding::new(Some(span), what));
    }

    /// Notes that something is missing, unless it may be among what could not be read.
    pub(super) fn absent(&mut self, span: Option<Range<usize>>, what: &str) {
        if self.surroundings.complete {
            self.findings.push(Finding::new(span, what));
        }
    }

    /// Reads the secret that `reference` names.
    pub(super) fn secret(&mut self, reference: &Spanned<Reference>) -> Option<Secret> {
        match self.surroundings.secret(reference.get_ref()) {
            Ok(secret) => Some(secret),
            Err(what) => {
                self.report(reference.span(), &what);
                None
            }
        }
    }

    /// Resolves the path of a file that must be readable.
    pub(super) fn file(&mut self, path: Option<&Spanned<PathBuf>>) -> Option<PathBuf> {
        let path = path?;
        let resolved = self.surroundings.resolve(path.get_ref());
        if let Err(error) = readable(&resolved) {
            self.report(path.span(), &format!("cannot read `{}`: {error}", resolved.display()));
        }
        Some(resolved)
    }

    /// Returns a duration of more than zero.
    pub(super) fn positive(&mut self, given: &Given<Text<Duration>>, default: Duration) -> Duration {
        let Some(given) = given else { return default };
        if given.get_ref().0.is_zero() {
            self.report(given.span(), ZERO);
        }
        given.get_ref().0
    }

    pub(super) fn size(&mut self, given: Option<&Spanned<Count>>, default: usize) -> usize {
        let Some(given) = given else { return default };
        usize::try_from(given.get_ref().0).unwrap_or(usize::MAX)
    }

    /// Returns a name that is fit for records: not empty, 128 bytes at most, no control characters.
    pub(super) fn name(&mut self, given: &Spanned<String>) -> String {
        let name = given.get_ref();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            self.report(given.span(), "not a name\n1 to 128 bytes without control characters");
        }
        name.clone()
    }
}

fn server(check: &mut Check<'_>, file: &schema::Server) -> Server {
    let listen = spanned(file.listen.as_ref(), DATA_LISTEN);
    let tls = tls(check, file.tls.as_ref());
    let public_url = match &file.public_url {
        Some(url) => url.get_ref().0.to_string().trim_end_matches('/').to_owned(),
        None => url_of(listen, file.tls.is_some()),
    };
    let size =
        |given: &Given<Text<Bytes>>, default| given.as_ref().map_or(default, |size| size.get_ref().0.0);
    let (max_body_bytes, max_in_flight_bytes) =
        (size(&file.max_body, 32 << 20), size(&file.max_in_flight_size, 1 << 30));
    if max_in_flight_bytes < max_body_bytes.saturating_mul(2) {
        let given =
            file.max_in_flight_size.as_ref().map(Spanned::span).or(file.max_body.as_ref().map(Spanned::span));
        check.absent(
            given,
            "`max_in_flight_size` is less than twice `max_body`\nmake it larger, or `max_body` smaller",
        );
    }
    Server {
        listen,
        public_url,
        tls,
        max_body_bytes,
        header_timeout: check.positive(&file.header_timeout, Duration::from_secs(10)),
        body_timeout: check.positive(&file.body_timeout, Duration::from_secs(120)),
        max_connections: check.size(file.max_connections.as_ref(), 10_000),
        max_in_flight: check.size(file.max_in_flight.as_ref(), 20_000),
        max_in_flight_bytes,
        drain_timeout: spanned(file.drain_timeout.as_ref(), Duration::from_secs(60)),
    }
}

fn tls(check: &mut Check<'_>, given: Option<&Spanned<Section<schema::Tls>>>) -> Option<Tls> {
    let given = given?;
    let files = &given.get_ref().0;
    if files.cert.is_none() || files.key.is_none() {
        check.absent(Some(given.span()), "tls needs both `cert` and `key`");
    }
    let (cert, key) = (check.file(files.cert.as_ref()), check.file(files.key.as_ref()));
    let client_ca = check.file(files.client_ca.as_ref());
    Some(Tls { cert: cert?, key: key?, client_ca })
}

/// An address to connect to: listening on every interface is reached over loopback.
fn url_of(listen: SocketAddr, tls: bool) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("{}://{}", if tls { "https" } else { "http" }, SocketAddr::new(ip, listen.port()))
}

fn admin(check: &mut Check<'_>, file: &schema::Admin, server: &Server) -> Admin {
    let listen = spanned(file.listen.as_ref(), ADMIN_LISTEN);
    let span = file.listen.as_ref().map(Spanned::span);
    if !listen.ip().is_loopback() && file.token.is_none() {
        check.absent(
            span.clone(),
            "an admin listener that is not on loopback needs a token\n\
             add `token = { env = \"TERCET_ADMIN_TOKEN\" }` to [admin]",
        );
    }
    if listen == server.listen && listen.port() != 0 {
        check.absent(span, "admin and server listen on the same address");
    }
    let token = file.token.as_ref().and_then(|token| check.secret(token));
    Admin { listen, token, tls: tls(check, file.tls.as_ref()) }
}

fn tiers(check: &mut Check<'_>, file: &schema::Tiers) -> Tiers {
    let mut model = |given: &Given<String>, default: &str| {
        let Some(given) = given else { return default.to_owned() };
        let id = given.get_ref();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
            check.report(given.span(), "not a model id\nsuch as \"claude-sonnet-5-5\"");
        }
        id.clone()
    };
    Tiers {
        haiku: model(&file.haiku, "claude-haiku-5-5"),
        sonnet: model(&file.sonnet, "claude-sonnet-5-5"),
        opus: model(&file.opus, "claude-opus-5-5"),
    }
}

/// Lays the keys of `file` over `base`.
pub(super) fn routing(check: &mut Check<'_>, file: &schema::Routing, base: &Routing) -> Routing {
    let tiers = file.tiers.as_ref().map(|given| {
        if given.get_ref().is_empty() {
            check.report(
                given.span(),
                "at least one tier is needed\nto send every request as asked, set `mode = \"off\"`",
            );
        }
        let mut tiers: Vec<Tier> = given.get_ref().iter().map(|tier| tier.0).collect();
        tiers.sort_unstable();
        tiers.dedup();
        tiers
    });
    let adaptations = file.adaptations.as_ref();
    let routing = Routing {
        mode: text(file.mode.as_ref(), base.mode),
        quality_permille: share(file.quality, base.quality_permille),
        ceiling: text(file.ceiling.as_ref(), base.ceiling),
        adaptations: adaptations.map_or_else(
            || base.adaptations.clone(),
            |given| given.iter().map(|adaptation| adaptation.0).collect(),
        ),
        control_permille: share(file.control, base.control_permille),
        tiers: tiers.unwrap_or_else(|| base.tiers.clone()),
        header_override: file.header_override.unwrap_or(base.header_override),
        escalate: file.escalate.unwrap_or(base.escalate),
        shadow_sample: sample::shadow_sample(check, file.shadow_sample.as_ref(), &base.shadow_sample),
        canary: base.canary.clone(),
    };
    let Some(canary) = &file.canary else { return routing };
    let Section(given) = canary.get_ref();
    if given.policy.0.canary.is_some() {
        check.report(canary.span(), "a canary has no canary of its own\nremove `policy.canary`");
    }
    if given.policy.0.shadow_sample.is_some() {
        check.report(
            canary.span(),
            "a canary is sampled like the rest, from the same budget\nremove `policy.shadow_sample`",
        );
    }
    let alone = schema::Routing { canary: None, shadow_sample: None, ..given.policy.0.clone() };
    let policy = self::routing(check, &alone, &Routing { canary: None, ..routing.clone() });
    let canary = Canary { share_permille: share(given.share, 0), routing: policy };
    Routing { canary: Some(Box::new(canary)), ..routing }
}

fn cache(check: &mut Check<'_>, file: &schema::Cache) -> Cache {
    Cache {
        enabled: file.enabled.unwrap_or(false),
        ttl: check.positive(&file.ttl, Duration::from_secs(300)),
        max_bytes: file.max_size.as_ref().map_or(256 << 20, |size| size.0.0),
        scope: text(file.scope.as_ref(), Scope::Tenant),
    }
}

fn journal(check: &mut Check<'_>, file: &schema::Journal) -> Journal {
    let path = file.path.as_ref().map_or(Path::new("data"), |path| path.get_ref());
    Journal {
        content: content::content(check, file),
        path: check.surroundings.resolve(path),
        fsync: text(file.fsync.as_ref(), Duration::from_millis(100)),
        retention: check.positive(&file.retention, Duration::from_secs(90 * 86_400)),
    }
}

pub(super) fn limits(file: &schema::Limits) -> Limits {
    Limits {
        requests_per_minute: count(file.requests_per_minute),
        input_tokens_per_minute: count(file.input_tokens_per_minute),
        output_tokens_per_minute: count(file.output_tokens_per_minute),
        concurrent_requests: count(file.concurrent_requests),
    }
}

pub(super) fn budget(file: &schema::Budget) -> Budget {
    let amount = |given: &Option<Text<_>>| given.as_ref().map(|money| money.0);
    Budget {
        daily: amount(&file.daily),
        weekly: amount(&file.weekly),
        monthly: amount(&file.monthly),
        zone: text(file.zone.as_ref(), TimeZone::UTC),
        reserve: text(file.reserve.as_ref(), Reserve::Expected),
        warn_at_permille: share(file.warn_at, 800),
        when_low: text(file.when_low.as_ref(), WhenLow::Warn),
    }
}

pub(super) fn quota(file: &schema::Quota) -> Quota {
    Quota { daily_tokens: count(file.daily_tokens), monthly_tokens: count(file.monthly_tokens) }
}

pub(super) fn count(given: Option<Count>) -> Option<u64> {
    given.map(|count| count.0)
}

pub(super) fn share(given: Option<Permille>, default: u16) -> u16 {
    given.map_or(default, |share| share.0)
}

pub(super) fn text<T: Clone>(given: Option<&Text<T>>, default: T) -> T {
    given.map_or(default, |given| given.0.clone())
}

pub(super) fn spanned<T: Clone>(given: Option<&Spanned<Text<T>>>, default: T) -> T {
    text(given.map(Spanned::get_ref), default)
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            mode: Mode::Shadow,
            quality_permille: 950,
            ceiling: Ceiling::Requested,
            adaptations: vec![Adaptation::ThinkingDefault],
            control_permille: 0,
            tiers: Tier::ROUTED.to_vec(),
            header_override: true,
            escalate: false,
            shadow_sample: ShadowSample::default(),
            canary: None,
        }
    }
}

const DATA_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8788);
const NAME_BYTES_MAX: usize = 128;
