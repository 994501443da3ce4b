//! Promises of the directory.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::config::{
    self, Adaptation, Admin, Cache, Ceiling, Credential, Limits, LogFormat, Mode, Redis, Routing, Scope,
    Server, ShadowSample, Source, Telemetry, Tenant, Tiers, Upstream,
};
use crate::store::Level;
use crate::tier::Tier;

const NOW: &str = "2026-11-20T12:00:00Z";

fn rpm(requests: u64) -> Ceilings {
    Ceilings {
        limits: Limits { requests_per_minute: Some(requests), ..Limits::default() },
        ..Ceilings::default()
    }
}

fn routing() -> Routing {
    Routing {
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

fn cache() -> Cache {
    Cache { enabled: false, ttl: Duration::from_secs(300), max_bytes: 1 << 28, scope: Scope::Tenant }
}

fn key(id: &str, user: &str, secret: &str) -> Key {
    Key {
        id: id.into(),
        user: user.into(),
        hash: KeyHash::of(secret.as_bytes()),
        expires: None,
        previous: None,
        allow_user_header: false,
        ceilings: rpm(4),
    }
}

fn tenant(keys: Vec<Key>) -> Tenant {
    Tenant {
        ceilings: rpm(2),
        user_ceilings: rpm(3),
        users: BTreeMap::from([("ann".to_owned(), rpm(33))]),
        keys,
        disabled: false,
        routing: routing(),
        cache: cache(),
        content: false,
        allow_paths: Vec::new(),
        guards: Vec::new().into(),
    }
}

fn config(tenants: BTreeMap<String, Tenant>) -> Config {
    let second = Duration::from_secs(1);
    Config {
        server: Server {
            listen: ([127, 0, 0, 1], 8787).into(),
            public_url: String::new(),
            tls: None,
            max_body_bytes: 1,
            header_timeout: second,
            body_timeout: second,
            max_connections: 1,
            max_in_flight: 100,
            max_in_flight_bytes: 1 << 30,
            drain_timeout: second,
        },
        admin: Admin { listen: ([127, 0, 0, 1], 8788).into(), token: None, tls: None },
        upstream: Upstream {
            base_url: "https://example.com".parse().unwrap(),
            credential: Credential::Client,
            connect_timeout: second,
            first_byte_timeout: second,
            idle_timeout: second,
            ca: None,
            retry_streams: false,
            fallbacks: Vec::new(),
        },
        redis: Redis::default(),
        clickhouse: None,
        webhook: None,
        tiers: Tiers { haiku: String::new(), sonnet: String::new(), opus: String::new() },
        routing: routing(),
        cache: cache(),
        journal: config::default_config().journal,
        organisation: rpm(1),
        guards: Vec::new().into(),
        redaction_key: None,
        tenants,
        telemetry: Telemetry { log: LogFormat::Json, series_max: 1, exemplars: false, otlp: None },
        catalog: None,
        version: String::new(),
        source: Source::default(),
    }
}

fn directory() -> Directory {
    let expired = Key { expires: Some(NOW.parse().unwrap()), ..key("old", "ann", "sk-old") };
    let naming = Key { allow_user_header: true, ..key("agent", "agent", "sk-agent") };
    let acme = tenant(vec![key("k1", "ann", "sk-one"), key("k2", "k2", "sk-two"), expired, naming]);
    let other = tenant(vec![key("k3", "ann", "sk-three")]);
    Directory::build(&config(BTreeMap::from([("acme".to_owned(), acme), ("other".to_owned(), other)])))
}

fn requests(identity: &Identity) -> Vec<(Level, &str, u64)> {
    let of = |level: &LevelOf| level.ceilings.limits.requests_per_minute.unwrap();
    identity.levels.iter().map(|level| (level.id.level, &*level.id.name, of(level))).collect()
}

#[test]
fn a_key_gives_tenant_user_and_the_ceilings_of_every_level() {
    let directory = directory();
    let who = directory.identify(Some(b"sk-one"), None, NOW.parse().unwrap()).unwrap();
    assert_eq!((&*who.tenant, &*who.user, who.key_id.as_deref()), ("acme", "ann", Some("k1")));
    let expected = [
        (Level::Organisation, "", 1),
        (Level::Tenant, "acme", 2),
        (Level::User, "ann", 33),
        (Level::Key, "k1", 4),
    ];
    assert_eq!(requests(&who), expected);
    let who = directory.identify(Some(b"sk-two"), None, NOW.parse().unwrap()).unwrap();
    assert_eq!(requests(&who)[2], (Level::User, "k2", 3), "the tenant's default for users");
}

#[test]
fn what_is_not_exactly_a_valid_key_has_no_identity() {
    let directory = directory();
    let now: Timestamp = NOW.parse().unwrap();
    let why =
        |credential: Option<&[u8]>, header, now| directory.identify(credential, header, now).unwrap_err();
    assert_eq!(why(None, None, now), Unidentified::Missing);
    for near in ["", "sk-on", "sk-one ", "SK-ONE", "sk-one\0"] {
        assert_eq!(why(Some(near.as_bytes()), None, now), Unidentified::Unknown, "{near:?}");
    }
    assert_eq!(why(Some(b"sk-old"), None, now), Unidentified::Expired);
    let before = now.checked_sub(Duration::from_nanos(1)).unwrap();
    assert!(directory.identify(Some(b"sk-old"), None, before).is_ok());
}

#[test]
fn the_user_header_is_obeyed_only_for_keys_that_may_name_users() {
    let directory = directory();
    let now: Timestamp = NOW.parse().unwrap();
    let ask = |secret: &str, user: &str| directory.identify(Some(secret.as_bytes()), Some(user), now);
    assert_eq!(ask("sk-one", "bob").unwrap_err(), Unidentified::UserHeaderNotAllowed);
    for bad in ["", "a\nb", &"x".repeat(257)] {
        assert_eq!(ask("sk-agent", bad).unwrap_err(), Unidentified::UserHeaderInvalid);
    }
    let who = ask("sk-agent", "bob").unwrap();
    assert_eq!((&*who.user, who.levels[2].configured), ("bob", false));
    let ann = ask("sk-agent", "ann").unwrap();
    assert_eq!((requests(&ann)[2], ann.levels[2].configured), ((Level::User, "ann", 33), true));
    let accounts = Accounts::new(Clock::default());
    let own = directory.identify(Some(b"sk-one"), None, now).unwrap();
    assert!(Arc::ptr_eq(&ann.levels[2].account(&accounts), &own.levels[2].account(&accounts)));
    let neighbour = directory.identify(Some(b"sk-three"), None, now).unwrap();
    assert!(!Arc::ptr_eq(&ann.levels[2].account(&accounts), &neighbour.levels[2].account(&accounts)));
}

#[test]
fn without_tenants_everyone_passes_and_credentials_tell_callers_apart() {
    let directory = Directory::build(&config(BTreeMap::new()));
    let who = |credential: Option<&[u8]>| {
        directory.identify(credential, Some("ignored"), NOW.parse().unwrap()).unwrap()
    };
    assert_eq!((&*who(None).tenant, &*who(None).user), ("default", "anonymous"));
    let (one, other) = (who(Some(b"sk-one")), who(Some(b"sk-two")));
    assert!(one.user.len() == 12 && one.user != other.user);
    assert_eq!(one.user, who(Some(b"sk-one")).user);
    assert_eq!(requests(&one), [(Level::Organisation, "", 1)]);
}

#[test]
fn records_are_counted_at_the_levels_that_still_exist() {
    let directory = directory();
    let count = |tenant, user, key| directory.levels_of(tenant, user, key).len();
    assert_eq!(count("acme", "ann", Some("k1")), 4);
    assert_eq!(count("acme", "ann", Some("revoked")), 3);
    assert_eq!(count("acme", "ann", Some("k3")), 3, "another tenant's key");
    assert_eq!(count("gone", "ann", Some("k1")), 1);
}
