//! The file as it is written: one struct for each section, one field for each key, and no meaning.
//!
//! Every key is optional here; `check` fills in defaults and insists on what is needed. Unknown keys are
//! errors everywhere. `docs/configuration.md` and `config/tercet.toml` name every key, which a test insists on.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use super::detectors::Detectors;
use super::guards::{Action, Redaction, Side};
use super::value::{Bytes, Count, Moment, Permille, Section, Text};
use super::{Adaptation, Ceiling, LogFormat, Mode, Reserve, Scope, WhenLow, clickhouse, redis, webhook};
use crate::money::NanoUsd;
use crate::secret::KeyHash;
use crate::tier::Tier;

/// A key that may be left out, with the place where it was given.
pub(super) type Given<T> = Option<Spanned<T>>;

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) server: Section<Server>,
    pub(super) admin: Section<Admin>,
    pub(super) upstream: Section<Upstream>,
    pub(super) tiers: Section<Tiers>,
    pub(super) routing: Section<Routing>,
    pub(super) cache: Section<Cache>,
    pub(super) journal: Section<Journal>,
    pub(super) redis: Section<redis::Written>,
    pub(super) webhook: Section<webhook::Written>,
    pub(super) clickhouse: Section<clickhouse::Written>,
    pub(super) limits: Section<Limits>,
    pub(super) budget: Section<Budget>,
    pub(super) quota: Section<Quota>,
    pub(super) tenants: BTreeMap<Spanned<String>, Section<Tenant>>,
    pub(super) guards: Vec<Spanned<Section<Guard>>>,
    pub(super) redaction: Section<Redaction>,
    pub(super) telemetry: Section<Telemetry>,
    pub(super) catalog: Given<PathBuf>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Server {
    pub(super) listen: Given<Text<SocketAddr>>,
    pub(super) public_url: Given<Text<Uri>>,
    pub(super) tls: Given<Section<Tls>>,
    pub(super) max_body: Given<Text<Bytes>>,
    pub(super) header_timeout: Given<Text<Duration>>,
    pub(super) body_timeout: Given<Text<Duration>>,
    pub(super) max_connections: Given<Count>,
    pub(super) max_in_flight: Given<Count>,
    pub(super) max_in_flight_size: Given<Text<Bytes>>,
    pub(super) drain_timeout: Given<Text<Duration>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) cert: Given<PathBuf>,
    pub(super) key: Given<PathBuf>,
    pub(super) client_ca: Given<PathBuf>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) listen: Given<Text<SocketAddr>>,
    pub(super) token: Given<Reference>,
    pub(super) tls: Given<Section<Tls>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    pub(super) base_url: Given<Text<Uri>>,
    pub(super) credential: Given<Credential>,
    pub(super) connect_timeout: Given<Text<Duration>>,
    pub(super) first_byte_timeout: Given<Text<Duration>>,
    pub(super) idle_timeout: Given<Text<Duration>>,
    pub(super) ca: Given<PathBuf>,
    pub(super) retry_streams: Option<bool>,
    pub(super) fallback: Vec<Spanned<Section<Fallback>>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fallback {
    pub(super) name: Given<String>,
    pub(super) base_url: Given<Text<Uri>>,
    pub(super) credential: Given<Credential>,
    pub(super) same_account: Option<bool>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tiers {
    pub(super) haiku: Given<String>,
    pub(super) sonnet: Given<String>,
    pub(super) opus: Given<String>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Routing {
    pub(super) mode: Option<Text<Mode>>,
    pub(super) quality: Option<Permille>,
    pub(super) ceiling: Option<Text<Ceiling>>,
    pub(super) adaptations: Option<Vec<Text<Adaptation>>>,
    pub(super) control: Option<Permille>,
    pub(super) tiers: Given<Vec<Text<Tier>>>,
    pub(super) header_override: Option<bool>,
    pub(super) escalate: Option<bool>,
    pub(super) shadow_sample: Option<Spanned<Section<ShadowSample>>>,
    pub(super) canary: Option<Spanned<Section<Canary>>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ShadowSample {
    pub(super) share: Option<Permille>,
    pub(super) daily: Option<Text<NanoUsd>>,
    pub(super) judge: Given<String>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Canary {
    pub(super) share: Option<Permille>,
    pub(super) policy: Box<Section<Routing>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cache {
    pub(super) enabled: Option<bool>,
    pub(super) ttl: Given<Text<Duration>>,
    pub(super) max_size: Option<Text<Bytes>>,
    pub(super) scope: Option<Text<Scope>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Journal {
    pub(super) path: Given<PathBuf>,
    pub(super) fsync: Option<Text<Duration>>,
    pub(super) retention: Given<Text<Duration>>,
    pub(super) content: Option<bool>,
    pub(super) content_path: Given<PathBuf>,
    pub(super) content_retention: Given<Text<Duration>>,
    pub(super) content_max_size: Given<Text<Bytes>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) requests_per_minute: Option<Count>,
    pub(super) input_tokens_per_minute: Option<Count>,
    pub(super) output_tokens_per_minute: Option<Count>,
    pub(super) concurrent_requests: Option<Count>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Budget {
    pub(super) daily: Option<Text<NanoUsd>>,
    pub(super) weekly: Option<Text<NanoUsd>>,
    pub(super) monthly: Option<Text<NanoUsd>>,
    pub(super) zone: Option<Text<TimeZone>>,
    pub(super) reserve: Option<Text<Reserve>>,
    pub(super) warn_at: Option<Permille>,
    pub(super) when_low: Option<Text<WhenLow>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Quota {
    pub(super) daily_tokens: Option<Count>,
    pub(super) monthly_tokens: Option<Count>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tenant {
    pub(super) limits: Section<Limits>,
    pub(super) budget: Section<Budget>,
    pub(super) quota: Section<Quota>,
    pub(super) user_limits: Section<Limits>,
    pub(super) user_budget: Section<Budget>,
    pub(super) user_quota: Section<Quota>,
    pub(super) users: BTreeMap<Spanned<String>, Section<User>>,
    pub(super) keys: Vec<Spanned<Section<Key>>>,
    pub(super) disabled: Option<bool>,
    pub(super) routing: Section<Routing>,
    pub(super) cache: Section<TenantCache>,
    pub(super) journal: Section<TenantJournal>,
    pub(super) allow_paths: Vec<Spanned<String>>,
    pub(super) guards: Vec<Spanned<Section<Guard>>>,
}

/// Sections left out fall back to the tenant's `user_*` sections, one by one.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct User {
    pub(super) limits: Option<Section<Limits>>,
    pub(super) budget: Option<Section<Budget>>,
    pub(super) quota: Option<Section<Quota>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Key {
    pub(super) id: Given<String>,
    pub(super) user: Given<String>,
    pub(super) secret: Given<Reference>,
    pub(super) hash: Given<Text<KeyHash>>,
    pub(super) expires: Option<Moment>,
    pub(super) previous: Given<Section<Previous>>,
    pub(super) allow_user_header: Option<bool>,
    pub(super) limits: Section<Limits>,
    pub(super) budget: Section<Budget>,
    pub(super) quota: Section<Quota>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Previous {
    pub(super) hash: Given<Text<KeyHash>>,
    pub(super) expires: Option<Moment>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TenantCache {
    pub(super) enabled: Option<bool>,
    pub(super) ttl: Given<Text<Duration>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TenantJournal {
    pub(super) content: Option<bool>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Guard {
    pub(super) name: Given<String>,
    pub(super) action: Given<Text<Action>>,
    #[serde(rename = "in")]
    pub(super) sides: Vec<Text<Side>>,
    pub(super) max_body: Option<Text<Bytes>>,
    pub(super) max_messages: Option<Count>,
    pub(super) max_output_tokens: Option<Count>,
    pub(super) max_text: Option<Text<Bytes>>,
    pub(super) allow_content: Option<Vec<String>>,
    pub(super) allow_tools: Option<Vec<String>>,
    pub(super) deny_tools: Vec<String>,
    pub(super) detect: Vec<Text<Detectors>>,
    pub(super) patterns: Vec<Spanned<String>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Telemetry {
    pub(super) log: Option<Text<LogFormat>>,
    pub(super) series_max: Given<Count>,
    pub(super) exemplars: Option<bool>,
    pub(super) otlp: Given<String>,
}

/// Where a secret is; never the secret itself.
#[derive(Clone, Debug)]
pub(super) enum Reference {
    /// `{ env = "NAME" }`
    Env(String),
    /// `{ file = "path" }`
    File(PathBuf),
}

/// `"client"`, or a reference to our own.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    Client,
    Ours(Reference),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ReferenceTable {
    env: Option<String>,
    file: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReferenceVisitor;
        impl<'de> Visitor<'de> for ReferenceVisitor {
            type Value = Reference;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a reference to a secret: { env = \"NAME\" } or { file = \"path\" }")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Reference, E> {
                Err(E::custom(BARE_SECRET))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reference, A::Error> {
                let table = ReferenceTable::deserialize(MapAccessDeserializer::new(map))?;
                match (table.env, table.file) {
                    (Some(name), None) if is_variable_name(&name) => Ok(Reference::Env(name)),
                    (Some(_), None) => Err(A::Error::custom(
                        "`env` is the name of an environment variable: letters, digits and underscores",
                    )),
                    (None, Some(path)) => Ok(Reference::File(path)),
                    _ => Err(A::Error::custom("a secret needs either `env` or `file`")),
                }
            }
        }
        deserializer.deserialize_any(ReferenceVisitor)
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CredentialVisitor;
        impl<'de> Visitor<'de> for CredentialVisitor {
            type Value = Credential;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"client\", { env = \"NAME\" } or { file = \"path\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Credential, E> {
                if text == "client" { Ok(Credential::Client) } else { Err(E::custom(BARE_SECRET)) }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Credential, A::Error> {
                Reference::deserialize(MapAccessDeserializer::new(map)).map(Credential::Ours)
            }
        }
        deserializer.deserialize_any(CredentialVisitor)
    }
}

fn is_variable_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    letters && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

const BARE_SECRET: &str = "a secret is never written into this file\n\
    refer to it: { env = \"NAME\" } or { file = \"path\" }";
