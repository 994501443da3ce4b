//! Spend limits in the shapes of Anthropic's Admin API, through its official Python client.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use http::Method;
use serde_json::json;
use support::http::{ask, get, message, send};
use support::{ACME, House, RIVAL, TENANTS};
use tokio::process::Command;

const TOKEN: &str = "admin-token-of-the-tests";

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_manages_spend_limits_and_they_hold() {
    let with = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = {{ env = \"ADMIN_TOKEN\" }}\n{TENANTS}");
    let house = House::start(&with).await;
    assert_eq!(message(&house.url, ACME, ask("claude-opus-5-5", "say hi")).await.status, 200);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".cache/clients/python/bin/python");
    assert!(python.exists(), "run scripts/test-environment (or make test) first");
    let ran = Command::new(python)
        .arg(root.join("tests/clients/spend_limits_python.py"))
        .env("ADMIN_URL", &house.admin_url)
        .env("ADMIN_TOKEN", TOKEN)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "refused");
    let refused = message(&house.url, ACME, ask("claude-opus-5-5", "say hi")).await;
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (429, &json!("billing_error")));
    assert_eq!(message(&house.url, RIVAL, ask("claude-opus-5-5", "say hi")).await.status, 200);

    let audit = get(&house.admin_url, TOKEN, "/v1/organizations/spend_limits/audit?limit=2").await.json();
    let last = &audit["data"][0];
    assert_eq!((&last["action"], &last["after"]), (&json!("spend_limit.delete"), &json!(null)));
    assert_eq!(last["before"]["amount"], "20000");
    assert!(last["actor"]["id"].as_str().unwrap().starts_with("token:"), "{last}");
    assert!(audit["next_page"].is_string() && !audit.to_string().contains(TOKEN));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_limit_is_inherited_until_it_is_set_and_again_when_it_is_deleted() {
    let house = House::start(&format!(
        "{TENANTS}\n[tenants.acme.user_budget]\ndaily = \"5.00 USD\"\nmonthly = \"90.005 USD\"\n"
    ))
    .await;
    let path = "/v1/organizations/spend_limits";
    let effective = async || {
        let told = get(&house.admin_url, "", &format!("{path}/effective?user_ids[]=ann")).await.json();
        let rows = told["data"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| format!("{} {} {}", row["period"], row["amount"], row["source"]["type"]))
            .collect::<Vec<_>>()
    };
    let inherited = ["\"daily\" \"500\" \"rbac_group\"", "\"monthly\" \"9000\" \"rbac_group\""];
    assert_eq!(effective().await, inherited);
    let json = [("content-type", "application/json")];
    let set = json!({"amount": "800", "scope": {"type": "user", "user_id": "acme/ann"}, "period": "daily"});
    let url = format!("{}{path}", house.admin_url);
    let made = send(Method::POST, &url, &json, set.to_string()).await;
    assert_eq!(made.status, 200, "{:?}", made.body);
    assert_eq!(effective().await, ["\"daily\" \"800\" \"user\"", inherited[1]]);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let updated = send(Method::POST, &format!("{url}/{id}"), &json, r#"{"amount": "900"}"#).await;
    assert_eq!(updated.json()["amount"], "900");
    assert_eq!(send(Method::DELETE, &format!("{url}/{id}"), &json, "").await.status, 200);
    assert_eq!(effective().await, inherited);
    house.stop().await;
}
