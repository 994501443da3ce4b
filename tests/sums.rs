//! The database of sums that a running gateway keeps, and `tercet journal rebuild`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::http::{ask, get, message};
use support::process::run;
use support::read::until;
use support::{ACME, House, RIVAL, TENANTS};
use tempfile::TempDir;
use tercet::clock::Clock;
use tercet::journal::Stream;
use tercet::simulated::{Options, Upstream};
use tercet::view::Sums;

fn told(arguments: &[&str]) -> Value {
    let (code, out, error) = run(arguments);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).unwrap()
}

fn usage(data: &Path, more: &[&str]) -> Value {
    let by = "day,tenant,user,model,tier";
    let asked = ["usage", "--journal", data.to_str().unwrap(), "--by", by, "--json"];
    told(&[&asked, more].concat())
}

async fn some_requests(house: &House) {
    for (key, model) in [(ACME, "claude-opus-5-5"), (RIVAL, "haiku"), (ACME, "claude-sonnet-5-5")] {
        assert_eq!(message(&house.url, key, ask(model, "say hi")).await.status, 200);
    }
}

/// Waits until the database goes up to the journal's end.
async fn summed(house: &House) {
    let data = house.folder.path().join("data");
    until("the sums are kept up", || {
        let head = house.tercet.runtime.journal.head(Stream::Exchanges).seq;
        Sums::open(&data).is_ok_and(|sums| sums.place().is_ok_and(|place| place.seq == head))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_keeps_them_and_makes_them_anew_where_they_are_damaged() {
    let house = House::start(TENANTS).await;
    some_requests(&house).await;
    house.records_when(3).await;
    summed(&house).await;
    let data = house.folder.path().join("data");
    let told = usage(&data, &[]);
    assert_eq!(told["totals"]["requests"], 3);
    assert_eq!(told, usage(&data, &["--verify"]));

    // Someone removes the file of a running gateway, and someone writes into another's.
    fs::remove_file(Sums::file(&data)).unwrap();
    some_requests(&house).await;
    house.records_when(6).await;
    summed(&house).await;
    assert_eq!(usage(&data, &[]), usage(&data, &["--verify"]));
    let (upstream, folder) = house.stop().await;
    fs::write(Sums::file(&data), "damaged").unwrap();
    let house = House::start_before(upstream, folder, TENANTS).await;
    summed(&house).await;
    let (told, verified) = (usage(&data, &[]), usage(&data, &["--verify"]));
    assert_eq!((&told["totals"]["requests"], &told), (&6.into(), &verified));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_beside_a_running_gateway_counts_nothing_twice() {
    let house = House::start(TENANTS).await;
    let data = house.folder.path().join("data");
    for round in 1..4 {
        some_requests(&house).await;
        house.records_when(3 * round).await;
        let rebuilt = told(&["journal", "rebuild", "--journal", data.to_str().unwrap(), "--json"]);
        assert_eq!(rebuilt["exchanges"], 3 * round, "{rebuilt}");
    }
    summed(&house).await;
    assert_eq!(usage(&data, &[]), usage(&data, &["--verify"]));
    let (_upstream, _folder) = house.stop().await;
    let (code, out, error) = run(&["journal", "rebuild", "--journal", data.to_str().unwrap()]);
    assert_eq!((code, out.contains(": 9 exchanges up to record ")), (0, true), "{out}{error}");
    assert!(error.contains("100 % of "), "{error}");

    let segment = fs::read_dir(data.join("exchanges")).unwrap().map(|file| file.unwrap().path());
    let segment =
        segment.into_iter().find(|file| file.extension().is_some_and(|end| end == "jsonl")).unwrap();
    let text = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, text.replacen("\"user_id\":\"ann\"", "\"user_id\":\"bob\"", 1)).unwrap();
    let (code, _, error) = run(&["journal", "rebuild", "--journal", data.to_str().unwrap()]);
    assert!(code == 4 && error.contains("tercet audit verify"), "{code}: {error}");
    assert_eq!(usage(&data, &[])["totals"]["requests"], 9, "the sums stay what they were");
    assert_eq!(run(&["usage", "--journal", data.to_str().unwrap(), "--verify"]).0, 4);
    assert_eq!(run(&["journal", "rebuild", "--journal", "/nowhere"]).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_tells_hours_of_long_ago_as_the_records_do() {
    let clock = Clock::manual("2026-11-02T09:10:00Z".parse().unwrap());
    let upstream = Upstream::start(Options::default()).await.unwrap();
    let house = House::start_by(clock.clone(), upstream, TempDir::new().unwrap(), TENANTS).await;
    for (number, hours) in [0, 1, 1, 30, 100, 48].into_iter().enumerate() {
        clock.advance(Duration::from_secs(hours * 3_600));
        some_requests(&house).await;
        house.records_when(3 * (number + 1)).await;
    }
    let data = house.folder.path().join("data");
    for (admin, more) in [
        ("by=hour,tenant", vec!["--by", "hour,tenant"]),
        (
            "by=hour&from=2026-11-02T10:00:00Z&to=2026-11-02T11:00:00Z",
            vec!["--by", "hour", "--since", "2026-11-02T10:00:00Z", "--until", "2026-11-02T11:00:00Z"],
        ),
        ("by=day&from=2026-11-02T11:00:00Z", vec!["--by", "day", "--since", "2026-11-02T11:00:00Z"]),
        ("by=day,user", vec!["--by", "day,user"]),
    ] {
        let api = get(&house.admin_url, "", &format!("/admin/v1/usage?{admin}")).await.json();
        let asked = [vec!["usage", "--journal", data.to_str().unwrap(), "--json", "--verify"], more].concat();
        assert_eq!(api, told(&asked), "{admin}");
        assert!(!api["rows"].as_array().unwrap().is_empty(), "{admin}");
    }
    // A time within an hour counts that hour whole, as ever.
    let whole =
        get(&house.admin_url, "", "/admin/v1/usage?from=2026-11-02T10:00:00Z&to=2026-11-02T11:00:00Z").await;
    let within =
        get(&house.admin_url, "", "/admin/v1/usage?from=2026-11-02T10:59:00Z&to=2026-11-02T10:59:30Z").await;
    assert_eq!((within.json(), whole.json()["totals"]["requests"].clone()), (whole.json(), 3.into()));
}
