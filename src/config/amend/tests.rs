//! What amendments change, and what they leave.

use serde_json::json;

use super::super::{Config, load};
use super::*;
use crate::money::NanoUsd;

const FILE: &str = r#"
    [tenants.acme.user_budget]
    daily = "5.00 USD"
    monthly = "90.00 USD"
    [tenants.acme.budget]
    daily = "50.00 USD"
    [[tenants.acme.keys]]
    id = "one"
    secret = { env = "ONE" }
    [[tenants.acme.keys]]
    id = "two"
    hash = "blake3:0000000000000000000000000000000000000000000000000000000000000002"
"#;

fn file() -> Config {
    load::parse(FILE, None, &|name| (name == "ONE").then(|| "tct-one".to_owned())).unwrap()
}

fn amendments(changes: &[Value]) -> Amendments {
    let at = Timestamp::from_second(1_000).unwrap();
    changes.iter().fold(Amendments::default(), |before, change| before.with(change, at).unwrap())
}

fn amended(changes: &[Value]) -> Config {
    file().amended(&amendments(changes)).unwrap()
}

fn dollars(amount: i64) -> Option<NanoUsd> {
    Some(NanoUsd::from_dollars(amount))
}

#[test]
fn what_is_changed_holds_and_the_rest_stays() {
    let config = amended(&[json!({"tenants": {"acme": {"budget": {"weekly": "9.00 USD"}}}})]);
    let budget = &config.tenants["acme"].ceilings.budget;
    assert_eq!((budget.daily, budget.weekly), (dollars(50), dollars(9)));
    assert_ne!(config.version, file().version, "the policy is another");
    let none = amended(&[json!({"tenants": {"acme": {"budget": {"daily": null}}}})]);
    assert_eq!(none.tenants["acme"].ceilings.budget.daily, None);
}

#[test]
fn what_is_taken_back_leaves_the_file_as_it_was() {
    let set = json!({"limits": {"requests_per_minute": 5},
        "tenants": {"acme": {"budget": {"daily": "1.00 USD"}}}});
    let back = json!({"limits": {"requests_per_minute": {"_forget": true}},
        "tenants": {"acme": {"_forget": true}}});
    let config = amended(std::slice::from_ref(&set));
    assert_eq!(config.organisation.limits.requests_per_minute, Some(5));
    let both = amendments(&[set, back]);
    assert_eq!(file().amended(&both).unwrap().version, file().version);
    assert!(both.touched(&["tenants", "acme", "budget", "daily"]).is_none());
}

#[test]
fn a_user_inherits_each_ceiling_by_itself() {
    let own = json!({"tenants": {"acme": {"users": {"ann": {"budget": {"daily": "8.00 USD"}}}}}});
    let all = json!({"tenants": {"acme": {"user_budget": {"monthly": "70.00 USD"}}}});
    let config = amended(&[own, all]);
    let ann = &config.tenants["acme"].users["ann"].budget;
    assert_eq!((ann.daily, ann.monthly), (dollars(8), dollars(70)));
}

#[test]
fn keys_are_found_by_id_added_and_taken_away() {
    let config = amended(&[json!({"tenants": {"acme": {"keys": {
        "one": {"expires": "2027-01-01T00:00:00Z"},
        "two": null,
        "new": {"_created": true, "user": "ann", "hash": format!("blake3:{}", "3".repeat(64))},
        "gone": {"expires": "2027-01-01T00:00:00Z"},
    }}}})]);
    let keys: Vec<_> = config.tenants["acme"].keys.iter().map(|key| (&*key.id, &*key.user)).collect();
    assert_eq!(keys, [("one", "one"), ("new", "ann")]);
    assert!(config.tenants["acme"].keys[0].expires.is_some());
}

#[test]
fn what_is_said_of_a_tenant_rests_while_the_file_does_not_have_it() {
    let said = json!({"tenants": {"gone": {"budget": {"daily": "1.00 USD"}}, "new": {"_created": true}}});
    let names: Vec<String> = amended(&[said]).tenants.into_keys().collect();
    assert_eq!(names, ["acme", "new"]);
}

#[test]
fn a_change_is_checked_like_the_file_and_its_problem_names_the_key() {
    for (change, key, what) in [
        (json!({"budget": {"daily": "-1 USD"}}), "budget.daily", "must not be negative"),
        (json!({"budget": {"dayly": "1 USD"}}), "budget.dayly", "unknown key"),
        (
            json!({"keys": {"one": {"_created": true, "hash": format!("blake3:{}", "4".repeat(64))}}}),
            "keys[2].id",
            "taken already",
        ),
    ] {
        let change = amendments(&[json!({"tenants": {"acme": change}})]);
        let problem = file().amended(&change).unwrap_err().remove(0);
        assert!(problem.what.contains(what), "{problem}");
        assert_eq!((&*problem.key, problem.place.is_some()), (&*format!("tenants.acme.{key}"), false));
    }
    assert!(Amendments::default().with(&json!({"tenants": [null]}), Timestamp::MIN).is_err());
}
