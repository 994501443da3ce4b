//! What a file means once it is read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::super::value::{Bytes, FromText};
use super::super::{
    Credential, FailurePolicy, Mode, OnFailure, RedisServer, Reserve, Scope, describe, load, parse,
};
use super::super::{describe as describing, load as loading};
use super::{bad, fake_environment, good, rendered};
use crate::money::NanoUsd;
use crate::secret::KeyHash;
use crate::tier::Tier;

#[test]
fn an_empty_file_has_the_documented_defaults() {
    let config = good("");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8787");
    assert_eq!(config.server.public_url, "http://127.0.0.1:8787");
    assert_eq!(config.server.max_body_bytes, 33_554_432);
    assert_eq!(config.server.max_connections, 10_000);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8788");
    assert!(matches!(config.upstream.credential, Credential::Client));
    assert_eq!(config.upstream.base_url, "https://api.anthropic.com");
    assert_eq!(config.tiers.sonnet, "claude-sonnet-5-5");
    assert_eq!((config.routing.mode, config.routing.quality_permille), (Mode::Shadow, 950));
    assert_eq!(config.routing.tiers, Tier::ROUTED);
    assert_eq!((config.cache.enabled, config.cache.scope), (false, Scope::Tenant));
    assert_eq!(config.journal.path, Path::new("data"));
    assert_eq!(config.journal.retention, Duration::from_secs(90 * 86_400));
    assert_eq!(config.organisation.budget.warn_at_permille, 800);
    assert_eq!(config.telemetry.series_max, 20_000);
    assert!(config.tenants.is_empty() && config.version.len() == 12);
}

#[test]
fn without_a_file_the_journal_lies_in_the_users_data_folder() {
    let with = |pairs: &'static [(&str, &str)]| {
        let find = move |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        loading::default_config_with(&find).journal.path
    };
    let both = with(&[("XDG_DATA_HOME", "/xdg"), ("HOME", "/home/ada")]);
    assert_eq!(both, PathBuf::from("/xdg/tercet"));
    assert_eq!(with(&[("HOME", "/home/ada")]), PathBuf::from("/home/ada/.local/share/tercet"));
    assert_eq!(with(&[]), PathBuf::from("data"));
}

#[test]
fn the_public_url_comes_from_where_we_listen() {
    let credential = "[upstream]\ncredential = \"client\"\n";
    for (listen, url) in [
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:9000", "http://[::1]:9000"),
        ("10.0.0.1:8787", "http://10.0.0.1:8787"),
    ] {
        let config = good(&format!("{credential}[server]\nlisten = \"{listen}\""));
        assert_eq!(config.server.public_url, url);
    }
    let config = good("[server]\npublic_url = \"https://tercet.example/gate/\"");
    assert_eq!(config.server.public_url, "https://tercet.example/gate");
}

#[test]
fn a_tenant_changes_the_gateways_policy_and_a_user_the_tenants() {
    let config = good(
        r#"
        [routing]
        mode = "enforce"
        [cache]
        ttl = "1m"
        [tenants.t.routing]
        quality = 0.9
        tiers = ["sonnet", "haiku", "sonnet"]
        [tenants.t.cache]
        enabled = true
        [tenants.t.user_limits]
        requests_per_minute = 10
        [tenants.t.user_budget]
        daily = "2.50 USD"
        reserve = "max"
        zone = "Europe/Berlin"
        [tenants.t.users.ada.limits]
        concurrent_requests = 3
        [[tenants.t.keys]]
        id = "k1"
        secret = { env = "KEY" }
        expires = "2030-01-01T00:00:00+01:00"
        [[tenants.t.keys]]
        id = "k2"
        user = "ada"
        hash = "blake3:00000000000000000000000000000000000000000000000000000000000000ff"
        expires = 2030-01-01T00:00:00Z
        limits = { requests_per_minute = 1 }
        "#,
    );
    let tenant = &config.tenants["t"];
    assert_eq!((tenant.routing.mode, tenant.routing.quality_permille), (Mode::Enforce, 900));
    assert_eq!(tenant.routing.tiers, [Tier::Haiku, Tier::Sonnet]);
    assert_eq!((tenant.cache.enabled, tenant.cache.ttl), (true, Duration::from_secs(60)));
    let (all, ada) = (&tenant.user_ceilings, &tenant.users["ada"]);
    assert_eq!(all.limits.requests_per_minute, Some(10));
    assert_eq!((ada.limits.requests_per_minute, ada.limits.concurrent_requests), (None, Some(3)));
    assert_eq!((ada.budget.daily, ada.budget.reserve), (Some(NanoUsd(2_500_000_000)), Reserve::Max));
    assert_eq!(ada.budget.zone.iana_name(), Some("Europe/Berlin"));
    let (first, second) = (&tenant.keys[0], &tenant.keys[1]);
    assert_eq!((first.user.as_str(), second.user.as_str()), ("k1", "ada"));
    assert_eq!(first.hash, KeyHash::of(b"tercet-key-secret"));
    assert_eq!(first.expires.unwrap().to_string(), "2029-12-31T23:00:00Z");
    assert_eq!(second.expires.unwrap().to_string(), "2030-01-01T00:00:00Z");
    assert_eq!(second.ceilings.limits.requests_per_minute, Some(1));
}

#[test]
fn paths_start_from_the_files_folder_and_secret_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tercet.toml");
    std::fs::write(folder.path().join("upstream-key"), "sk-from-file\n").unwrap();
    std::fs::write(&path, "[upstream]\ncredential = { file = \"upstream-key\" }\n[journal]\npath = \"j\"")
        .unwrap();
    let config = load(&path).unwrap();
    let Credential::Ours(secret) = &config.upstream.credential else { panic!("not ours") };
    assert_eq!(secret.expose(), "sk-from-file");
    assert_eq!(config.journal.path, folder.path().join("j"));

    let before = loading::digest_of_files(&path);
    assert_eq!(before, loading::digest_of_files(&path));
    std::fs::write(folder.path().join("upstream-key"), "sk-rotated\n").unwrap();
    assert_ne!(before, loading::digest_of_files(&path));
    assert_eq!(config.version, load(&path).unwrap().version, "the version is not made of secrets");

    std::fs::remove_file(folder.path().join("upstream-key")).unwrap();
    assert!(rendered(&load(&path).unwrap_err()).contains("upstream-key`: No such file"));
    let absent = rendered(&load(&folder.path().join("absent.toml")).unwrap_err());
    assert!(absent.starts_with("error: cannot read the file: No such file"), "{absent}");
}

#[test]
fn secrets_are_in_no_output() {
    let text = r#"
        [admin]
        token = { env = "TERCET_ADMIN_TOKEN" }
        [upstream]
        credential = { env = "ANTHROPIC_API_KEY" }
        [[tenants.t.keys]]
        id = "k"
        secret = { env = "KEY" }
    "#;
    let config = good(text);
    let outputs = format!("{config:?} {}", describe(&config));
    let hash = KeyHash::of(b"tercet-key-secret").to_string();
    assert!(!outputs.contains("-secret"), "{outputs}");
    assert!(!describe(&config).to_string().contains(&hash));
    assert_eq!(describe(&config)["admin"]["token"], "***");
}

#[test]
fn the_description_has_the_form_of_the_file() {
    let described = describe(&good("[budget]\nmonthly = \"12.3456 USD\"\n[routing]\ncontrol = 0.05"));
    assert_eq!(described["budget"]["monthly"], "12.3456 USD");
    assert_eq!(described["budget"]["warn_at"], 0.8);
    assert_eq!(described["routing"]["control"], 0.05);
    assert_eq!(described["server"]["max_body"], "32 MiB");
    assert_eq!(described["upstream"]["first_byte_timeout"], "10m");
    assert_eq!(described["journal"]["retention"], "90d");
}

#[test]
fn json_of_a_problem_has_stable_keys() {
    let problems = parse("[server]\nlisten = 5", Some("a.toml".as_ref()), &fake_environment).unwrap_err();
    assert_eq!(
        problems[0].to_json(),
        serde_json::json!({
            "file": "a.toml", "line": 2, "column": 10, "key": "server.listen", "hint": null,
            "message": "expected an address and a port such as \"127.0.0.1:8787\", found an integer",
        })
    );
}

proptest! {
    #[test]
    fn a_value_survives_writing_and_reading(number in 1u64..1 << 50) {
        let duration = Duration::from_millis(number % 3_000_000_000_000);
        prop_assert_eq!(Duration::from_text(&describing::duration(duration)), Ok(duration));
        prop_assert_eq!(Bytes::from_text(&describing::size(number)), Ok(Bytes(number)));
        let money = NanoUsd(number.cast_signed());
        prop_assert_eq!(NanoUsd::from_text(&describing::money(money)), Ok(money));
    }

    #[test]
    fn no_text_brings_the_reader_down(text in "[\\[\\]a-z_.=\"'{}#, \n0-9é]{0,60}") {
        if let Err(problems) = parse(&text, None, &fake_environment) {
            prop_assert!(!rendered(&problems).is_empty());
        }
    }

    #[test]
    fn no_value_brings_the_reader_down(value in "\\PC{0,20}", key in "(server.listen|limits|tenants.é.keys|budget.daily|admin.token)") {
        for text in [format!("{key} = {value}"), format!("{key} = {value:?}")] {
            if parse(&text, None, &fake_environment).is_err() {
                prop_assert!(!bad(&text).is_empty());
            }
        }
    }
}

#[test]
fn the_address_of_a_redis_is_read_and_its_login_never_shown() {
    let config = good("[redis]\ncounters = { env = \"REDIS\" }\ncache = \"redis://127.0.0.1:7000/3\"");
    let counters = config.redis.counters.clone().unwrap();
    assert_eq!(counters.node.redis_settings().password(), Some("redis-secret"));
    assert_eq!(counters.to_string(), "rediss://cache.example:6380/2");
    assert_eq!(config.redis.cache.as_ref().unwrap().to_string(), "redis://127.0.0.1:7000/3");
    assert!(!format!("{config:?}{}", describe(&config)).contains("redis-secret"));
    assert_eq!(config.redis.on_failure, OnFailure::default());
    let closed = good("[redis]\non_failure = { limits = \"closed\" }").redis.on_failure;
    assert_eq!((closed.limits, closed.budgets), (FailurePolicy::Closed, FailurePolicy::Closed));
}

#[test]
fn sentinels_are_named_with_the_master_they_watch() {
    let server = RedisServer::parse("redis+sentinel://a:b@one,two:26380/main/4").unwrap();
    let sentinels = server.sentinels.clone().unwrap();
    let addresses: Vec<String> = sentinels.nodes.iter().map(|node| node.addr().to_string()).collect();
    assert_eq!(
        (addresses, sentinels.master.as_str()),
        (vec!["one:26379".into(), "two:26380".into()], "main")
    );
    assert_eq!((server.node.redis_settings().db(), server.node.redis_settings().password()), (4, Some("b")));
    assert!(sentinels.nodes.iter().all(|node| node.redis_settings().password().is_none()));
    for bad in ["", "h", "http://h", "redis://", "redis://h/x", "redis+sentinel://h", "redis+sentinel:///m"] {
        assert!(RedisServer::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn clickhouse_is_a_host_and_names() {
    let config = good("[clickhouse]\nurl = \"http://host:8123\"\npassword = { env = \"KEY\" }");
    let clickhouse = config.clickhouse.clone().unwrap();
    assert_eq!((clickhouse.origin().as_str(), clickhouse.database.as_str()), ("http://host:8123", "tercet"));
    assert!(clickhouse.create_tables && clickhouse.user == "default");
    assert!(!format!("{config:?}{}", describe(&config)).contains("tercet-key-secret"));
    assert!(good("[clickhouse]").clickhouse.is_none());
    for wrong in ["tcp://host", "http://host/path", "http://user@host", "host"] {
        assert!(bad(&format!("[clickhouse]\nurl = \"{wrong}\"")).contains("HTTP interface"), "{wrong}");
    }
    assert!(bad("[clickhouse]\nurl = \"http://h\"\ndatabase = \"a b\"").contains("not a name"));
    assert!(bad("[clickhouse]\nuser = \"ada\"").contains("ClickHouse needs a `url`"));
}

#[test]
fn the_address_of_a_webhook_is_shown_by_its_host_alone() {
    let config =
        good("[webhook]\nurl = \"https://hooks.example/T0/path-secret?sig=1\"\nsecret = { env = \"KEY\" }");
    let webhook = config.webhook.clone().unwrap();
    assert_eq!(webhook.url.path_and_query().unwrap(), "/T0/path-secret?sig=1");
    assert_eq!(webhook.secret.unwrap().expose(), "tercet-key-secret");
    let shown = format!("{config:?}{}", describe(&config));
    assert!(shown.contains("https://hooks.example") && !shown.contains("path-secret"), "{shown}");
    assert!(good("[webhook]").webhook.is_none());
    for wrong in ["ftp://host", "host", "https://", "https://user@host/"] {
        assert!(
            bad(&format!("[webhook]\nurl = \"{wrong}\"")).contains("not the address of a webhook"),
            "{wrong}"
        );
    }
    assert!(bad("[webhook]\nsecret = { env = \"KEY\" }").contains("a webhook needs a `url`"));
}
