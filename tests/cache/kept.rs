//! Kept answers in an operator's hands: looked up, expired by whose they are, and written down.

use http::Method;
use serde_json::{Value, json};

use super::support::House;
use super::support::RIVAL;
use super::support::http::{ask, get, send};
use super::{again, cached, question};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn look(house: &House, query: &str) -> Value {
    let answer = get(&house.admin_url, "", &format!("/admin/v1/cache{query}")).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()
}

async fn expire(house: &House, query: &str) -> (u16, Value) {
    let url = format!("{}/admin/v1/cache{query}", house.admin_url);
    let answer = send(Method::DELETE, &url, &JSON, "").await;
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_looked_up_and_expired_by_tenant_user_or_key_and_that_is_written_down() {
    let house = House::start(&cached("", "")).await;
    let bodies = ["write 30 words", "write 31 words"].map(|text| ask("claude-haiku-5-5", text));
    let bob = [("x-tercet-user", "bob")];
    let rival = [("x-api-key", RIVAL)];
    again(&house, &[], &bodies[0]).await;
    again(&house, &bob, &bodies[1]).await;
    again(&house, &rival, &bodies[0]).await;
    for (query, entries) in [
        ("", 3),
        ("?tenant=acme", 2),
        ("?tenant=acme&user=bob", 1),
        ("?user=ann", 1),
        ("?key=acme-1", 2),
        ("?tenant=rival&user=bob", 0),
        ("?tenant=nobody", 0),
    ] {
        let shown = look(&house, query).await;
        assert_eq!(shown["local"]["entries"], entries, "{query}: {shown}");
        assert_eq!(shown["shared"], Value::Null, "no redis");
    }
    let shown = look(&house, "").await["local"].clone();
    assert!(
        shown["bytes"].as_u64().unwrap() > 3 * 500 && shown["oldest_s"].as_u64().unwrap() < 60,
        "{shown}"
    );
    assert_eq!(
        (&shown["models"][0]["model"], &shown["models"][0]["entries"]),
        (&json!("claude-haiku-5-5"), &json!(3))
    );

    let (_, dry) = expire(&house, "?tenant=acme&dry_run=true").await;
    assert_eq!((&dry["applied"], &dry["expired"]["local"]["entries"]), (&json!(false), &json!(2)));
    assert_eq!(again(&house, &[], &bodies[0]).await, "hit", "a dry run expires nothing");
    let (_, done) = expire(&house, "?tenant=acme&user=bob").await;
    assert_eq!((&done["applied"], &done["expired"]["local"]["entries"]), (&json!(true), &json!(1)));
    assert_eq!(again(&house, &[], &bodies[0]).await, "hit", "another user's stays");
    // Whoever asks pays now, so that it is ann's from here on.
    assert_eq!(again(&house, &[], &bodies[1]).await, "miss");
    let (_, done) = expire(&house, "?key=acme-1").await;
    assert_eq!(done["expired"]["local"]["entries"], 2);
    assert_eq!(again(&house, &rival, &bodies[0]).await, "hit", "another tenant's stays");
    assert_eq!(again(&house, &[], &bodies[0]).await, "miss");
    assert_eq!(expire(&house, "?all=true").await.0, 200);
    assert_eq!(look(&house, "").await["local"]["entries"], 0);

    let changes = get(&house.admin_url, "", "/admin/v1/changes").await.json();
    let told: Vec<_> = changes["data"].as_array().unwrap().iter().map(|change| &change["subject"]).collect();
    assert_eq!(told, ["cache", "cache:key=acme-1", "cache:tenant=acme,user=bob"]);
    let last = &changes["data"][0];
    assert_eq!((&last["action"], &last["who"]), (&json!("cache.expire"), &json!("loopback")));
    assert_eq!(last["before"]["local"]["entries"], 2, "{last}");
    let (upstream, folder) = house.stop().await;
    let house = House::start_before(upstream, folder, &cached("", "")).await;
    assert_eq!(
        again(&house, &[], &question()).await,
        "miss",
        "the record of an expiry keeps nobody from starting"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_expired_only_where_that_is_said() {
    let house = House::start(&cached("", "")).await;
    again(&house, &[], &question()).await;
    for query in ["", "?dry_run=true", "?all=false", "?all=true&tenant=acme", "?tenants=acme"] {
        let (status, told) = expire(&house, query).await;
        assert_eq!((status, &told["error"]["type"]), (400, &json!("invalid_request_error")), "{query}");
    }
    assert_eq!(again(&house, &[], &question()).await, "hit");
    house.stop().await;
}
