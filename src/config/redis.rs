//! `[redis]`: where counters and kept answers are shared between instances, and what holds while they cannot be.
//!
//! An address is written as it is where it holds no password, and referred to like any secret where it does:
//! `redis://`, `rediss://` (TLS), and either with `+sentinel`, which names sentinels and the master they watch:
//! `redis+sentinel://[user:password@]host[:26379][,host…]/master[/db]`. The sentinels are asked without a login.

use std::fmt;

use redis::{ConnectionInfo, IntoConnectionInfo};
use toml::Spanned;

use super::address::Address;
use super::check::Check;
use super::excerpt::Secrecy;
use super::problem::Finding;
use super::schema::Given;
use super::value::{Section, Text};

/// `[redis]`
#[derive(Clone, Debug, Default)]
pub struct Redis {
    /// Where limits, budgets and conversations are shared; without it each instance counts for itself.
    pub counters: Option<RedisServer>,
    /// Where kept answers are shared.
    pub cache: Option<RedisServer>,
    /// What holds while the counters cannot be reached.
    pub on_failure: OnFailure,
}

/// One Redis or Valkey server, or the master that sentinels name; never prints its login.
#[derive(Clone)]
pub struct RedisServer {
    /// How to connect to it; with sentinels, everything but host and port.
    pub node: ConnectionInfo,
    /// Who says where the master is.
    pub sentinels: Option<Sentinels>,
    shown: String,
}

/// The sentinels of a master.
#[derive(Clone)]
pub struct Sentinels {
    /// How to connect to each.
    pub nodes: Vec<ConnectionInfo>,
    /// The name by which they know the master.
    pub master: String,
}

/// What holds while shared counters cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnFailure {
    /// Rates and concurrent requests; open by default.
    pub limits: FailurePolicy,
    /// Budgets and quotas; closed by default.
    pub budgets: FailurePolicy,
}

/// Whether requests pass that cannot be counted together with those of other instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// They pass, held to what this instance alone has counted.
    Open,
    /// They are refused.
    Closed,
}

impl FailurePolicy {
    /// Returns the name used in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl Default for OnFailure {
    fn default() -> Self {
        Self { limits: FailurePolicy::Open, budgets: FailurePolicy::Closed }
    }
}

/// The address without a login, such as `redis://localhost:6379/0`.
impl fmt::Display for RedisServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl RedisServer {
    /// Reads an address; what is wrong is said without repeating it, a hint after a line break.
    ///
    /// # Errors
    /// When it is none of the forms above.
    pub fn parse(address: &str) -> Result<Self, String> {
        let (scheme, rest) = address.split_once("://").ok_or(NO_ADDRESS)?;
        if let Some(scheme) = scheme.strip_suffix("+sentinel") {
            return Self::watched(scheme, rest);
        }
        let node = connection(scheme, rest)?;
        let shown = format!("{scheme}://{}/{}", node.addr(), node.redis_settings().db());
        Ok(Self { node, sentinels: None, shown })
    }

    fn watched(scheme: &str, rest: &str) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (master, db) = path.split_once('/').unwrap_or((path, "0"));
        if master.is_empty() {
            return Err("no master is named\nwrite redis+sentinel://host:26379,host:26379/MASTER".to_owned());
        }
        let (login, hosts) =
            authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
        let at = if login.is_empty() { "" } else { "@" };
        let node = connection(scheme, &format!("{login}{at}master/{db}"))?;
        let nodes: Result<Vec<ConnectionInfo>, String> = hosts
            .split(',')
            .map(|host| {
                let named = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                connection(scheme, &if named { host.to_owned() } else { format!("{host}:{SENTINEL_PORT}") })
            })
            .collect();
        let shown = format!("{scheme}+sentinel://{hosts}/{master}/{db}");
        Ok(Self { node, sentinels: Some(Sentinels { nodes: nodes?, master: master.to_owned() }), shown })
    }

    fn has_password(&self) -> bool {
        self.node.redis_settings().password().is_some()
    }
}

fn connection(scheme: &str, rest: &str) -> Result<ConnectionInfo, String> {
    if !matches!(scheme, "redis" | "rediss") {
        return Err(NO_ADDRESS.to_owned());
    }
    // The error may repeat the address, and with it a password.
    format!("{scheme}://{rest}").into_connection_info().map_err(|_| NO_ADDRESS.to_owned())
}

/// The section as it is written.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Written {
    counters: Given<Address>,
    cache: Given<Address>,
    on_failure: Section<WrittenOnFailure>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenOnFailure {
    limits: Option<Text<FailurePolicy>>,
    budgets: Option<Text<FailurePolicy>>,
}

/// Gives the section its meaning.
pub(super) fn redis(check: &mut Check<'_>, file: &Written) -> Redis {
    let (limits, budgets) = (&file.on_failure.0.limits, &file.on_failure.0.budgets);
    let default = OnFailure::default();
    Redis {
        counters: server(check, file.counters.as_ref()),
        cache: server(check, file.cache.as_ref()),
        on_failure: OnFailure {
            limits: limits.as_ref().map_or(default.limits, |given| given.0),
            budgets: budgets.as_ref().map_or(default.budgets, |given| given.0),
        },
    }
}

fn server(check: &mut Check<'_>, given: Option<&Spanned<Address>>) -> Option<RedisServer> {
    let given = given?;
    let parsed = match given.get_ref() {
        Address::Written(address) => RedisServer::parse(address)
            .and_then(|server| if server.has_password() { Err(PASSWORD.to_owned()) } else { Ok(server) }),
        Address::Kept(reference) => {
            let secret = check.secret(&Spanned::new(given.span(), reference.clone()))?;
            RedisServer::parse(secret.expose())
        }
    };
    let secret =
        |what: String| Finding { secrecy: Secrecy::Secret, ..Finding::new(Some(given.span()), &what) };
    parsed.map_err(|what| check.findings.push(secret(what))).ok()
}

const NO_ADDRESS: &str = "not the address of a Redis\n\
    such as \"redis://host:6379/0\", \"rediss://host:6380\" or \"redis+sentinel://host:26379/master\"";
const PASSWORD: &str = "a secret is never written into this file\n\
    an address with a password is referred to: { env = \"NAME\" } or { file = \"path\" }";
const SENTINEL_PORT: u16 = 26_379;
