//! Administration while the gateway runs: in force at once, written down, restored, and nothing that was used is lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use http::Method;
use serde_json::{Value, json};
use support::http::{Answer, ask, get, message, send};
use support::{ACME, House, RIVAL, TENANTS};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn call(house: &House, method: Method, path: &str, body: &Value) -> Answer {
    send(method, &format!("{}{path}", house.admin_url), &JSON, body.to_string()).await
}

async fn done(house: &House, method: Method, path: &str, body: Value) -> Value {
    let answer = call(house, method, path, &body).await;
    assert!(answer.status < 300, "{path}: {} {:?}", answer.status, answer.body);
    answer.json()
}

/// Waits until something holds, ten seconds at most.
async fn until(holds: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("not within ten seconds");
}

async fn status(house: &House, key: &str) -> u16 {
    message(&house.url, key, ask("claude-opus-5-5", "say hi")).await.status
}

fn lines(house: &House) -> String {
    let folder = house.folder.path().join("data/admin");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.ends_with("00000000000000000001.jsonl"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_rotated_expired_and_revoked_without_a_restart() {
    let house = House::start(TENANTS).await;
    let new = json!({"tenant": "acme", "user": "zoe", "budget": {"daily": "2.00 USD"}});
    let answer = call(&house, Method::POST, "/admin/v1/keys", &new).await;
    assert_eq!(answer.status, 201, "{:?}", answer.body);
    let made = answer.json();
    let (id, first) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(made["hash"], format!("blake3:{}", blake3::hash(first.as_bytes()).to_hex()));
    assert_eq!(status(&house, first).await, 200);
    assert_eq!(house.records_when(1).await[0]["user_id"], "zoe");

    let path = format!("/admin/v1/keys/{id}");
    let second = done(&house, Method::POST, &format!("{path}/rotate"), json!({"overlap": "1h"})).await;
    let second = second["key"].as_str().unwrap().to_owned();
    assert_eq!((status(&house, first).await, status(&house, &second).await), (200, 200), "both, for an hour");
    let third = done(&house, Method::POST, &format!("{path}/rotate"), json!({"overlap": "0s"})).await;
    let third = third["key"].as_str().unwrap();
    assert_eq!(status(&house, first).await, 401, "the one before the last is no more");
    assert_eq!(status(&house, &second).await, 401, "and without an overlap neither is the last");
    assert_eq!(status(&house, third).await, 200);
    assert!(house.records_when(4).await.iter().all(|record| record["key_id"] == id), "its counters go on");

    done(&house, Method::PATCH, &path, json!({"expires": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(status(&house, third).await, 401);
    assert_eq!(get(&house.admin_url, "", &path).await.json()["state"], "expired");
    done(&house, Method::PATCH, &path, json!({"expires": null})).await;
    assert_eq!(status(&house, third).await, 200);
    done(&house, Method::DELETE, &path, Value::Null).await;
    assert_eq!(status(&house, third).await, 401);
    assert_eq!(get(&house.admin_url, "", &path).await.status, 404);
    for secret in [first, &second, third] {
        assert!(!lines(&house).contains(secret), "a key is shown once and kept nowhere");
        assert!(
            !String::from_utf8_lossy(&get(&house.admin_url, "", "/admin/v1/changes").await.body)
                .contains(secret)
        );
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_ceiling_holds_at_once_and_what_was_used_stays_used() {
    let house = House::start(TENANTS).await;
    for _ in 0..3 {
        assert_eq!(status(&house, ACME).await, 200);
    }
    let spent: i64 = support::read::sum(&house.records_when(3).await, "cost_nanousd");
    let less = tercet::money::NanoUsd(spent - 1).to_string();
    let path = "/admin/v1/tenants/acme";
    let daily = json!({"budget": {"daily": format!("{less} USD")}});
    let dry = done(&house, Method::PATCH, &format!("{path}?dry_run=true"), daily.clone()).await;
    assert_eq!((&dry["applied"], &dry["before"]["budget"]["daily"]), (&json!(false), &Value::Null));
    assert_eq!(status(&house, ACME).await, 200, "a dry run changes nothing");
    let changed = done(&house, Method::PATCH, path, daily).await;
    assert_eq!(changed["applied"], true);
    let refused = message(&house.url, ACME, ask("claude-opus-5-5", "say hi")).await;
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (429, &json!("billing_error")));
    done(&house, Method::PATCH, path, json!({"budget": {"daily": null, "monthly": "1000.00 USD"}})).await;
    assert_eq!(status(&house, ACME).await, 200);
    let shown = get(&house.admin_url, "", path).await.json();
    let spending = &shown["spending"].as_array().unwrap()[0];
    assert!(spending["spent_nanousd"].as_i64().unwrap() > spent, "counted on, not anew: {spending}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_is_in_force_again_after_a_restart_and_a_reload() {
    let house = House::start(TENANTS).await;
    done(
        &house,
        Method::POST,
        "/admin/v1/tenants",
        json!({"name": "new", "limits": {"concurrent_requests": 3}}),
    )
    .await;
    let key = done(&house, Method::POST, "/admin/v1/keys", json!({"tenant": "new"})).await;
    let key = key["key"].as_str().unwrap();
    done(&house, Method::DELETE, "/admin/v1/keys/acme-1", Value::Null).await;
    done(&house, Method::PATCH, "/admin/v1/tenants/rival", json!({"disabled": true})).await;
    let refused = message(&house.url, RIVAL, ask("claude-opus-5-5", "say hi")).await;
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (403, &json!("permission_error")));
    let policy = get(&house.admin_url, "", "/admin/v1/config").await.json()["version"].clone();

    let (upstream, folder) = house.stop().await;
    let house = House::start_before(upstream, folder, TENANTS).await;
    assert_eq!(get(&house.admin_url, "", "/admin/v1/config").await.json()["version"], policy);
    assert_eq!(
        (status(&house, key).await, status(&house, ACME).await, status(&house, RIVAL).await),
        (200, 401, 403)
    );
    let shown = get(&house.admin_url, "", "/admin/v1/tenants/new").await.json();
    assert_eq!(shown["settings"]["limits"]["concurrent_requests"], 3);

    let verified = tercet::journal::verify(&house.folder.path().join("data"), None).unwrap();
    assert_eq!(verified.len(), 2, "both streams");
    let changes = get(&house.admin_url, "", "/admin/v1/changes?limit=2").await.json();
    let subjects: Vec<_> =
        changes["data"].as_array().unwrap().iter().map(|change| change["subject"].clone()).collect();
    assert_eq!(subjects, ["tenant:rival", "key:acme-1"]);
    let next = format!("/admin/v1/changes?page={}", changes["next_page"]);
    let older = get(&house.admin_url, "", &next).await.json();
    let first = older["data"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&first["who"], &first["action"]), (&json!("loopback"), &json!("tenant.create")));
    assert_eq!(
        (&first["before"], &first["after"]["limits"]["concurrent_requests"]),
        (&Value::Null, &json!(3))
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_makes_no_sense_changes_nothing_and_says_why() {
    let house = House::start(TENANTS).await;
    let policy = get(&house.admin_url, "", "/admin/v1/config").await.json()["version"].clone();
    let taken = json!({"tenant": "acme", "id": "rival-1"});
    let table = [
        (
            Method::PATCH,
            "/admin/v1/tenants/acme",
            json!({"budget": {"daily": "-1 USD"}}),
            400,
            "tenants.acme.budget.daily: must not be negative",
        ),
        (
            Method::PATCH,
            "/admin/v1/tenants/acme",
            json!({"budget": {"dayly": "1 USD"}}),
            400,
            "unknown key `dayly`",
        ),
        (
            Method::PATCH,
            "/admin/v1/tenants/acme",
            json!({"limits": {"requests_per_minute": 0}}),
            400,
            "more than zero",
        ),
        (Method::PATCH, "/admin/v1/tenants/acme", json!({"keys": {}}), 400, "cannot be set here"),
        (Method::PATCH, "/admin/v1/tenants/acme", json!({"users": {"_created": true}}), 400, "underscore"),
        (Method::PATCH, "/admin/v1/tenants/nobody", json!({}), 404, "there is no tenant `nobody`"),
        (Method::POST, "/admin/v1/tenants", json!({"name": "acme"}), 409, "there already"),
        (Method::POST, "/admin/v1/tenants", json!({"name": "_x"}), 400, "underscore"),
        (Method::POST, "/admin/v1/tenants", json!([]), 400, "the body"),
        (Method::POST, "/admin/v1/keys", taken, 409, "taken already"),
        (
            Method::POST,
            "/admin/v1/keys",
            json!({"tenant": "acme", "hash": "blake3:00"}),
            400,
            "cannot be set here",
        ),
        (Method::PATCH, "/admin/v1/keys/acme-1", json!({"secret": "tct-x"}), 400, "cannot be set here"),
        (Method::POST, "/admin/v1/keys/acme-1/rotate", json!({"overlap": "soon"}), 400, "not a duration"),
        (Method::DELETE, "/admin/v1/keys/none", json!(null), 404, "there is no key `none`"),
        (
            Method::PATCH,
            "/admin/v1/gateway",
            json!({"server": {"listen": "0.0.0.0:1"}}),
            400,
            "cannot be set here",
        ),
        (Method::PATCH, "/admin/v1/gateway?dry=1", json!({}), 400, "unknown field"),
    ];
    for (method, path, body, status, told) in table {
        let answer = call(&house, method, path, &body).await;
        let error = answer.json();
        assert_eq!(answer.status, status, "{path} {body}: {error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(told), "{path} {body}: {error}");
        assert_eq!(error["type"], "error");
    }
    assert_eq!(get(&house.admin_url, "", "/admin/v1/config").await.json()["version"], policy);
    assert_eq!(get(&house.admin_url, "", "/admin/v1/changes").await.json()["data"], json!([]));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_changes_at_once_are_all_there_in_the_end() {
    let house = House::start(TENANTS).await;
    let calls = (0..20).map(|number| {
        let url = format!("{}/admin/v1/keys", house.admin_url);
        let body = json!({"tenant": "acme", "id": format!("key-{number}")}).to_string();
        tokio::spawn(async move { send(Method::POST, &url, &JSON, body).await.status })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), 201);
    }
    let keys = get(&house.admin_url, "", "/admin/v1/keys?tenant=acme").await.json();
    assert_eq!(keys.as_array().unwrap().len(), 21);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_the_file_keeps_what_was_changed_and_refuses_what_contradicts_it() {
    let key = |tenant: &str, id: &str, key: &str| {
        format!(
            "[[tenants.{tenant}.keys]]\nid = \"{id}\"\nhash = \"blake3:{}\"\n",
            blake3::hash(key.as_bytes()).to_hex()
        )
    };
    // The file is read again in this process, whose environment has no credential for the upstream.
    let head = "[upstream]\nbase_url = \"$UPSTREAM\"\n";
    let house = House::start(&format!("{head}{}", key("acme", "acme-1", ACME))).await;
    let file = house.folder.path().join("tercet.toml");
    let write = |text: &str| {
        let text = format!("{head}{text}");
        std::fs::write(&file, support::configuration(house.upstream.url(), house.folder.path(), &text))
            .unwrap();
    };
    let made = done(&house, Method::POST, "/admin/v1/keys", json!({"tenant": "acme", "id": "made"})).await;
    done(&house, Method::PATCH, "/admin/v1/tenants/acme", json!({"budget": {"daily": "3.00 USD"}})).await;
    let settings =
        async || get(&house.admin_url, "", "/admin/v1/tenants/acme").await.json()["settings"].clone();

    write(&format!(
        "[tenants.acme.budget]\ndaily = \"9.00 USD\"\nweekly = \"20.00 USD\"\n{}",
        key("acme", "acme-1", RIVAL)
    ));
    done(&house, Method::POST, "/admin/v1/reload", Value::Null).await;
    let budget = settings().await["budget"].clone();
    assert_eq!((&budget["daily"], &budget["weekly"]), (&json!("3.00 USD"), &json!("20.00 USD")));
    let keys = get(&house.admin_url, "", "/admin/v1/keys").await.json();
    assert_eq!(keys.as_array().unwrap().len(), 2);

    write(&(key("acme", "acme-1", RIVAL) + &key("acme", "made", "another key")));
    let answer = call(&house, Method::POST, "/admin/v1/reload", &Value::Null).await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("`made` is taken already"));

    write(&key("other", "other-1", RIVAL));
    done(&house, Method::POST, "/admin/v1/reload", Value::Null).await;
    assert_eq!(settings().await, Value::Null, "what was said of acme rests");
    let key_of_acme = message(&house.url, made["key"].as_str().unwrap(), ask("claude-opus-5-5", "hi")).await;
    assert_eq!(key_of_acme.status, 401);
    write(&key("acme", "acme-1", ACME));
    done(&house, Method::POST, "/admin/v1/reload", Value::Null).await;
    assert_eq!(settings().await["budget"]["daily"], "3.00 USD", "until the file has it again");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_rotates_and_revokes_keys_of_a_running_gateway() {
    let with = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ env = \"ADMIN_TOKEN\" }}\n{TENANTS}");
    let house = House::start(&with).await;
    let tercet = async |arguments: &[&str], token: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tercet"));
        command.args(arguments).args(["--url", &house.admin_url]).env("TERCET_ADMIN_TOKEN", token);
        command.output().await.unwrap()
    };
    const TOKEN: &str = "admin-token-of-the-tests";
    let read = |output: std::process::Output| -> Value {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let create = ["keys", "create", "--tenant", "acme", "--user", "zoe", "--id", "a key/1", "--json"];
    let made = read(tercet(&create, TOKEN).await);
    assert_eq!(made["id"], "a key/1");
    assert_eq!(status(&house, made["key"].as_str().unwrap()).await, 200);
    let rotated = read(tercet(&["keys", "rotate", "a key/1", "--overlap", "0s", "--json"], TOKEN).await);
    assert_eq!(status(&house, made["key"].as_str().unwrap()).await, 401);
    assert_eq!(status(&house, rotated["key"].as_str().unwrap()).await, 200);
    let listed = read(tercet(&["keys", "list", "--json"], TOKEN).await);
    assert!(
        listed["keys"].as_array().unwrap().iter().any(|key| key["id"] == "a key/1" && key["user"] == "zoe")
    );
    read(tercet(&["keys", "revoke", "a key/1", "--json"], TOKEN).await);
    assert_eq!(status(&house, rotated["key"].as_str().unwrap()).await, 401);

    let refused = tercet(&["keys", "revoke", "a key/1"], TOKEN).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no key"));
    let stranger = tercet(&["keys", "list"], "another token").await;
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("refused (401)"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_one_instance_holds_on_the_other_and_while_redis_is_away_it_waits() {
    let redis = support::redis::Redis::start(&[]).await;
    let with = format!("[redis]\ncounters = \"{}\"\n{TENANTS}", redis.url());
    let (one, other) = (House::start(&with).await, House::start(&with).await);
    let made = done(&one, Method::POST, "/admin/v1/keys", json!({"tenant": "acme", "id": "shared"})).await;
    let key = made["key"].as_str().unwrap();
    until(async || status(&other, key).await == 200).await;
    let changes = get(&other.admin_url, "", "/admin/v1/changes").await.json();
    assert_eq!(
        (&changes["data"][0]["subject"], &changes["data"][0]["who"]),
        (&json!("key:shared"), &json!("loopback"))
    );

    redis.kill();
    done(&other, Method::PATCH, "/admin/v1/tenants/acme", json!({"disabled": true})).await;
    assert_eq!(status(&other, key).await, 403, "in force where it was made");
    redis.restart().await;
    until(async || status(&one, key).await == 403).await;
    done(&one, Method::PATCH, "/admin/v1/tenants/acme", json!({"disabled": false})).await;
    until(async || status(&other, key).await == 200).await;
    let version =
        async |house: &House| get(&house.admin_url, "", "/admin/v1/config").await.json()["tenants"].clone();
    assert_eq!(version(&one).await, version(&other).await);
    one.stop().await;
    other.stop().await;
}
