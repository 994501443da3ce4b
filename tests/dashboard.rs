//! The dashboard in a real browser; its content policy forbids scripts, and it needs none to be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::http::{Answer, ask, message, send};
use support::{ACME, House, TENANTS};
use tempfile::TempDir;
use tokio::process::Command;

/// Returns the page as Chromium built it.
async fn page(url: &str) -> String {
    let profile = TempDir::new().unwrap();
    let mut browser = Command::new("chromium");
    browser
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-sync",
        ])
        .args(["--disable-background-networking", "--disable-component-update"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", url])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output =
        tokio::time::timeout(Duration::from_secs(60), browser.output()).await.expect("chromium in time");
    let output =
        output.expect("chromium is not installed: run scripts/test-environment (or make test) first");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_what_was_spent_without_a_script() {
    let house = House::start(TENANTS).await;
    for word in ["one", "two", "three"] {
        assert_eq!(
            message(&house.url, ACME, ask("claude-opus-5-5", &format!("say {word}"))).await.status,
            200
        );
    }
    let record = house.records_when(3).await.remove(0);
    let page = page(&house.admin_url).await;
    assert!(page.contains("acme") && page.contains("rival"), "every tenant is shown:\n{page}");
    assert!(page.contains(record["request_id"].as_str().unwrap()), "the last exchanges are shown");
    let setup = support::http::get(&house.admin_url, "", "/setup").await;
    assert!(text(&setup).contains(&house.url), "clients are told where to point");
    assert!(!page.contains("<script"), "no script is needed");
    house.stop().await;
}

/// Returns the answer of a page, with the cookie and token that its forms carry.
async fn form(house: &House, path: &str) -> (String, String) {
    let answer = support::http::get(&house.admin_url, "", path).await;
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(
        answer.header("set-cookie").contains("SameSite=Strict")
            && answer.header("set-cookie").contains("HttpOnly")
    );
    let page = String::from_utf8(answer.body.to_vec()).unwrap();
    let token = page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    (cookie, token)
}

async fn post(house: &House, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
    all.extend_from_slice(headers);
    send(Method::POST, &format!("{}{path}", house.admin_url), &all, body.to_owned()).await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_page_changes_nothing() {
    let house = House::start(TENANTS).await;
    let (cookie, token) = form(&house, "/tenants/acme").await;
    let change = format!("token={token}&confirmed=yes&budget.daily=1.00+USD");
    let origin = house.admin_url.clone();
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let table: [(Headers<'_>, &str, u16); 6] = [
        (&[], &change, 403),
        (&[("cookie", &cookie)], "confirmed=yes&budget.daily=1.00+USD", 403),
        (
            &[("cookie", "tercet_forms=0000000000000000000000000000000000000000000000000000000000000000")],
            &change,
            403,
        ),
        (&[("cookie", &cookie), ("sec-fetch-site", "cross-site")], &change, 403),
        (&[("cookie", &cookie), ("origin", "https://evil.example")], &change, 403),
        (&[("cookie", &cookie), ("origin", &origin), ("sec-fetch-site", "same-origin")], &change, 303),
    ];
    for (headers, body, status) in table {
        assert_eq!(post(&house, "/tenants/acme", headers, body).await.status, status, "{headers:?}");
        let settings = support::http::get(&house.admin_url, "", "/admin/v1/tenants/acme").await.json();
        assert_eq!(settings["settings"]["budget"]["daily"].is_string(), status == 303, "{headers:?}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_decisions_are_made_again_on_the_page() {
    let house = House::start(&format!("{TENANTS}\n[tenants.rival.routing]\nmode = \"off\"\n")).await;
    let title = json!({ "model": "claude-opus-5-5", "max_tokens": 32,
        "system": "Summarize this conversation in a title of at most six words. Answer with the title only.",
        "messages": [{ "role": "user", "content": "Write a title for a conversation about: sorting" }] });
    for key in [ACME, ACME, support::RIVAL] {
        assert_eq!(message(&house.url, key, title.to_string()).await.status, 200);
    }
    house.records_when(3).await;
    let (cookie, token) = form(&house, "/replay").await;
    let headers = [("cookie", cookie.as_str())];
    let page = text(&support::http::get(&house.admin_url, "", "/replay").await);
    let policy = page.split("<textarea").nth(1).unwrap().split('>').nth(1).unwrap();
    let policy = policy.split("</textarea").next().unwrap().replace("&quot;", "\"").replace("</textarea", "");
    assert!(policy.contains("mode = \"enforce\""), "{policy}");
    let asked = |policy: &str, more: &str| {
        let mut form = form_urlencoded::Serializer::new(format!("token={token}&since=1h{more}"));
        form.append_pair("policy", policy).finish()
    };
    let run = async |policy: &str, more: &str| post(&house, "/replay", &headers, &asked(policy, more)).await;
    let same = run(&policy, "").await;
    assert!(text(&same).contains("0 of 3 decisions would change"), "{}", text(&same));
    let off = text(&run("[routing]\nmode = \"off\"", "").await);
    assert!(off.contains("2 of 3 decisions would change") && off.contains("claude-haiku-5-5"), "{off}");
    let rival = text(&run("[routing]\nmode = \"enforce\"", "&tenant=rival").await);
    assert!(rival.contains("0 of 1 decisions would change"), "it has a routing of its own: {rival}");
    for (policy, said) in [
        ("catalog = \"/etc/passwd\"", "no part of a policy"),
        ("[routing]\nmode = \"sideways\"", "sideways"),
        ("[routing", "TOML"),
    ] {
        let answer = run(policy, "").await;
        assert!(answer.status == 400 && text(&answer).contains(said), "{}", text(&answer));
    }
    assert_eq!(post(&house, "/replay", &[], &asked(&policy, "")).await.status, 403);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_on_the_page_shown_once_and_revoked() {
    let house = House::start(TENANTS).await;
    let (cookie, token) = form(&house, "/tenants/acme").await;
    let headers = [("cookie", cookie.as_str())];
    let asked = post(&house, "/keys", &headers, &format!("token={token}&tenant=acme&user=zoe")).await;
    assert!(text(&asked).contains("Is this right?") && !text(&asked).contains("tct-"), "first the question");
    let made =
        post(&house, "/keys", &headers, &format!("token={token}&tenant=acme&user=zoe&confirmed=yes")).await;
    let page = text(&made);
    let key = page.split("tct-").nth(1).unwrap().split('<').next().unwrap();
    let key = format!("tct-{key}");
    assert_eq!(made.header("cache-control"), "no-store");
    assert_eq!(message(&house.url, &key, ask("claude-opus-5-5", "say hi")).await.status, 200);
    let listed = support::http::get(&house.admin_url, "", "/tenants/acme").await;
    assert!(text(&listed).contains("zoe") && !text(&listed).contains(&key));
    let keys = support::http::get(&house.admin_url, "", "/admin/v1/keys?tenant=acme").await.json();
    let id = keys.as_array().unwrap().iter().find(|key| key["user"] == "zoe").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let revoke = format!("token={token}&tenant=acme&confirmed=yes");
    assert_eq!(post(&house, &format!("/keys/{id}/revoke"), &headers, &revoke).await.status, 303);
    assert_eq!(message(&house.url, &key, ask("claude-opus-5-5", "say hi")).await.status, 401);
    let wrong =
        post(&house, "/tenants/acme", &headers, &format!("token={token}&limits.requests_per_minute=lots"))
            .await;
    assert_eq!(wrong.status, 400);
    assert!(text(&wrong).contains("Nothing was changed") && text(&wrong).contains("expected a whole number"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_narrow_and_safe_whatever_names_say() {
    let hostile = "<img src=x onerror=alert(1)>";
    let config = TENANTS.replacen("user = \"ann\"", &format!("user = \"{hostile}\""), 1);
    let house = House::start(&config).await;
    let body = ask(hostile, "say hi");
    message(&house.url, ACME, body).await;
    assert_eq!(message(&house.url, ACME, ask("claude-opus-5-5", "say hi")).await.status, 200);
    let id = house.records_when(2).await[1]["request_id"].as_str().unwrap().to_owned();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = root.join(".cache/clients/node");
    let explain = format!("/explain?request_id={id}");
    // Standing still: a page that renews itself while it is looked at is another one.
    let pages = [
        "/?live=off",
        "/live?live=off",
        &explain,
        "/replay",
        "/tenants",
        "/tenants/acme",
        "/sessions",
        "/setup",
        "/system",
    ]
    .join(" ");
    let mut browser = Command::new(modules.join("node_modules/.bin/node"));
    browser
        .arg(root.join("tests/dashboard/axe.mjs"))
        .envs([
            ("ADMIN_URL", house.admin_url.as_str()),
            ("PAGES", &pages),
            ("MODULES", modules.to_str().unwrap()),
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ran =
        tokio::time::timeout(Duration::from_secs(120), browser.output()).await.expect("chromium in time");
    let ran = ran.expect("the clients are not installed: run scripts/test-environment (or make test) first");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&found["violations"], &found["widths"]), (&json!([]), &json!([])), "{found:#}");
    assert!(found["steps"][0].as_str().unwrap().contains("budget.daily"), "{found}");
    assert_eq!(found["steps"][1], "12.00 USD");
    house.stop().await;
}
