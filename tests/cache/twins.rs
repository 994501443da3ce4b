//! A request that is another's to the byte is answered as that one was decided, without being read again.

use serde_json::Value;

use super::support::House;
use super::support::http::ask;
use super::{cached, post};

fn enforced(sections: &str) -> String {
    cached("", sections).replace("mode = \"off\"", "mode = \"enforce\"")
}

/// What routing sends elsewhere than it asks to.
fn title() -> String {
    let asked = ask("claude-opus-4-8", "hello there");
    asked.replacen('{', "{\"system\":\"Write a short title for the conversation.\",", 1)
}

const TOLD: [&str; 3] = ["x-tercet-model", "x-tercet-tier", "x-tercet-reason"];

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_is_told_and_recorded_as_the_first_was_decided() {
    let house = House::start(&enforced("")).await;
    let body = title();
    let mut answers = Vec::new();
    for expected in ["miss", "hit", "hit"] {
        let answer = post(&house, "", &[], &body).await;
        assert_eq!((answer.status, answer.header("x-tercet-cache")), (200, expected));
        answers.push(answer);
    }
    assert_eq!(answers[0].header("x-tercet-tier"), "haiku", "{:?}", answers[0].headers);
    for answer in &answers[1..] {
        assert_eq!(answer.body, answers[0].body);
        for name in TOLD {
            assert_eq!(answer.header(name), answers[0].header(name), "{name}");
        }
    }
    let mut decisions: Vec<Value> =
        house.records_when(3).await.into_iter().map(|record| record["decision"].clone()).collect();
    let basis = decisions[0].as_object_mut().unwrap().remove("basis").unwrap();
    for twin in &mut decisions[1..] {
        assert_eq!(twin.get("basis"), None, "what it was decided from stands in the first one's record");
        for (candidate, share) in twin["candidates"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .skip(1)
            .zip(basis["sufficiency"].as_array().unwrap())
        {
            let told = candidate.as_object_mut().unwrap().remove("sufficiency").unwrap();
            assert_eq!(told.as_f64().unwrap() * 1_000.0, share.as_f64().unwrap());
        }
        twin["candidates"][0].as_object_mut().unwrap().remove("sufficiency").unwrap();
    }
    assert_eq!(decisions[1], decisions[0]);
    assert_eq!(decisions[2], decisions[0]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_header_decides_is_no_twin_of_what_it_does_not() {
    let house = House::start(&enforced("")).await;
    let body = title();
    for _ in 0..2 {
        assert_eq!(post(&house, "", &[], &body).await.header("x-tercet-tier"), "haiku");
    }
    let asked = post(&house, "", &[("x-tercet-route", "off")], &body).await;
    assert_eq!((asked.header("x-tercet-tier"), asked.header("x-tercet-cache")), ("opus", "miss"));
    let forced = post(&house, "", &[("x-tercet-tier", "sonnet")], &body).await;
    assert_eq!((forced.header("x-tercet-tier"), forced.header("x-tercet-cache")), ("sonnet", "miss"));
    house.stop().await;
}
