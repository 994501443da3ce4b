//! Ceilings on rates: who is let through, what a refusal says, and that nobody is charged for one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use support::http::{Answer, ask, get, message, open, send};
use support::read::{idle, metric, standing, sum};
use support::{ACME, House, RIVAL};
use tercet::simulated::Behaviour;
use tercet::store::{AccountId, Cell, Period, Rate, Unit};
use tokio::task::JoinSet;

/// Two tenants, routing off; `acme` has these sections, and its key these lines.
fn tenants(sections: &str, key: &str) -> String {
    format!(
        "[routing]\nmode = \"off\"\n{sections}\n\
         [[tenants.acme.keys]]\nid = \"acme-1\"\nuser = \"ann\"\nsecret = {{ env = \"ACME_KEY\" }}\n{key}\n\
         [[tenants.rival.keys]]\nid = \"rival-1\"\nuser = \"rob\"\nsecret = {{ env = \"RIVAL_KEY\" }}\n"
    )
}

async fn as_user(url: &str, key: &str, user: &str, body: String) -> Answer {
    let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01"), ("x-tercet-user", user)];
    send(Method::POST, &format!("{url}/v1/messages"), &headers, body).await
}

fn assert_rate_limited(answer: &Answer) {
    assert_eq!(answer.status, 429, "{:?}", answer.body);
    let body = answer.json();
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["type"], "rate_limit_error");
    assert_eq!(body["request_id"].as_str(), Some(answer.header("request-id")));
    let retry_after: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&retry_after), "{retry_after}");
    assert_eq!(answer.header("x-should-retry"), "");
}

fn number(answer: &Answer, header: &str) -> u64 {
    answer.header(header).parse().unwrap_or_else(|_| panic!("{header}: {:?}", answer.headers))
}

async fn storm(house: &House, count: usize, user: &'static str) -> Vec<Answer> {
    let mut storm = JoinSet::new();
    for index in 0..count {
        let url = house.url.clone();
        storm.spawn(async move {
            as_user(&url, ACME, user, ask("claude-haiku-5-5", &format!("say {index}"))).await
        });
    }
    storm.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_requests_at_once_exactly_the_limit_of_twenty_passes() {
    for section in ["[tenants.acme.limits]", "[tenants.acme.user_limits]"] {
        let house = House::start(&tenants(
            &format!("{section}\nrequests_per_minute = 20"),
            "allow_user_header = true",
        ))
        .await;
        let clock = &house.tercet.runtime.clock;
        let begun = clock.instant();
        let answers = storm(&house, 200, "ann").await;
        let refilled = clock.instant().duration_since(begun).as_secs() / 3;
        let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        let most = 20 + usize::try_from(refilled).unwrap();
        assert!((20..=most).contains(&passed.len()), "{section}: {} of {most}", passed.len());
        for answer in refused {
            assert_rate_limited(answer);
            assert_eq!(number(answer, "anthropic-ratelimit-requests-limit"), 20);
            assert_eq!(number(answer, "anthropic-ratelimit-requests-remaining"), 0);
            let reset: Timestamp = answer.header("anthropic-ratelimit-requests-reset").parse().unwrap();
            assert!(reset > clock.now(), "full again in the future");
            assert_eq!(
                answer.header("anthropic-ratelimit-tokens-limit"),
                "",
                "the upstream's is not the caller's"
            );
        }
        assert_eq!(house.upstream.bill().len(), passed.len(), "what was refused never left");
        let neighbour = message(&house.url, RIVAL, ask("claude-haiku-5-5", "say hi")).await;
        assert_eq!(neighbour.status, 200, "another tenant is not held up");
        let colleague = as_user(&house.url, ACME, "bob", ask("claude-haiku-5-5", "say hi")).await;
        assert_eq!(colleague.status == 200, section.contains("user"), "each user has a bucket of their own");
        idle(&house).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_requests_at_once_exactly_the_twenty_pass_that_a_daily_quota_holds() {
    let probe = House::start(&tenants("", "")).await;
    let one = || ask("claude-haiku-5-5", "say hi").replace("1000", "5");
    assert_eq!(message(&probe.url, ACME, one()).await.status, 200);
    idle(&probe).await;
    let held = probe.records()[0]["tokens_used"].as_u64().unwrap();
    assert!(held > 0);
    probe.stop().await;
    // What a request holds at most is its body's estimate and `max_tokens`; the quota is twenty times that.
    let least = tercet::budget::PromptSize { body_bytes: one().len(), ..Default::default() };
    let new = tercet::budget::Tokenizer::New;
    let each = tercet::budget::estimate_tokens(&least, new, None, None, 1_000_000).most + 5;
    assert!(each >= held);
    let quota = format!(
        "[tenants.acme.quota]\ndaily_tokens = {}\n[tenants.acme.budget]\nreserve = \"max\"",
        20 * each
    );
    let house = House::start(&tenants(&quota, "")).await;
    for _ in 0..200 {
        // Answers wait until all have asked, so that what is given back lets nobody else in.
        house.upstream.script(Behaviour::SlowFirstByte { ms: 3_000 });
    }
    let mut storm = JoinSet::new();
    for _ in 0..200 {
        let (url, body) = (house.url.clone(), one());
        storm.spawn(async move { message(&url, ACME, body).await.status });
    }
    let statuses = storm.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 20, "{statuses:?}");
    idle(&house).await;
    let used = sum(&house.records(), "tokens_used");
    assert!(used <= i64::try_from(20 * each).unwrap(), "{used} of {}", 20 * each);
    assert_eq!(house.upstream.bill().len(), 20);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_per_minute_are_held_and_corrected_by_what_was_used() {
    for (key, header, field, text) in [
        ("input_tokens_per_minute", "input", "input_tokens", format!("say {}", "word ".repeat(100))),
        ("output_tokens_per_minute", "output", "output_tokens", "write 100 words".to_owned()),
    ] {
        let house = House::start(&tenants(&format!("[tenants.acme.limits]\n{key} = 1000"), "")).await;
        let clock = &house.tercet.runtime.clock;
        let begun = clock.instant();
        let mut refused = None;
        for _ in 0..40 {
            let body = ask("claude-haiku-5-5", &text).replace("1000", "400");
            let answer = message(&house.url, ACME, body).await;
            if answer.status == 200 {
                assert_eq!(number(&answer, &format!("anthropic-ratelimit-{header}-tokens-limit")), 1_000);
                assert!(number(&answer, &format!("anthropic-ratelimit-{header}-tokens-remaining")) < 1_000);
                continue;
            }
            refused = Some(answer);
            break;
        }
        let refused = refused.unwrap_or_else(|| panic!("{key}: nothing was refused"));
        assert_rate_limited(&refused);
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains("tokens per minute"));
        assert_eq!(number(&refused, "anthropic-ratelimit-tokens-limit"), 1_000);
        let records = house.records();
        let (last, before) = records[..records.len() - 1].split_last().unwrap();
        let refilled = 1_000 * clock.instant().duration_since(begun).as_secs().div_ceil(60).max(1);
        assert!(
            sum(before, field) <= i64::try_from(1_000 + refilled).unwrap(),
            "{key}: {}",
            sum(before, field)
        );
        assert!(
            last[field].as_i64().unwrap() > 0 && before.len() > 1,
            "estimates were given back: {}",
            before.len()
        );
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_requests_are_in_flight_as_allowed() {
    let house = House::start(&tenants("[tenants.acme.user_limits]\nconcurrent_requests = 3", "")).await;
    let body =
        ask("claude-haiku-5-5", "write 20 words").replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"");
    let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01")];
    let url = format!("{}/v1/messages", house.url);
    let mut streams = Vec::new();
    for _ in 0..3 {
        house.upstream.script(Behaviour::Pause { after_events: 2, ms: 1_500 });
        streams.push(open(Method::POST, &url, &headers, body.clone()).await);
    }
    let text = get(&house.admin_url, "", "/metrics").await.body;
    let gauge = |text: &[u8]| {
        metric(std::str::from_utf8(text).unwrap(), "tercet_inflight_requests", "tenant=\"acme\"")
            / 1_000_000_000
    };
    assert_eq!(gauge(&text), 3, "requests being handled are counted");
    let fourth = message(&house.url, ACME, ask("claude-haiku-5-5", "say hi")).await;
    assert_rate_limited(&fourth);
    assert_eq!(fourth.header("retry-after"), "1");
    assert!(fourth.json()["error"]["message"].as_str().unwrap().contains("concurrent requests"));
    for stream in streams {
        http_body_util::BodyExt::collect(stream.into_body()).await.unwrap();
    }
    assert_eq!(message(&house.url, ACME, ask("claude-haiku-5-5", "say hi")).await.status, 200);
    idle(&house).await;
    assert_eq!(gauge(&get(&house.admin_url, "", "/metrics").await.body), 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_at_one_level_takes_nothing_at_the_others() {
    let levels = [
        ("[limits]\nrequests_per_minute = 2", "the organisation"),
        ("[tenants.acme.limits]\nrequests_per_minute = 2", "tenant `acme`"),
        ("[tenants.acme.users.ann.limits]\nrequests_per_minute = 2", "user `ann`"),
        ("limits = { requests_per_minute = 2 }", "key `acme-1`"),
    ];
    for (tight, named) in levels {
        let (section, key) = if tight.starts_with('[') { (tight, "") } else { ("", tight) };
        let house = House::start(&tenants(section, key)).await;
        let answers = storm_as_key(&house, 8).await;
        let passed = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(passed, 2, "{named}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_rate_limited(answer);
            assert!(answer.json()["error"]["message"].as_str().unwrap().contains(named), "{:?}", answer.body);
        }
        idle(&house).await;
        let records = house.records();
        assert_eq!(records.len(), 8);
        let acme = || Arc::from("acme");
        for id in [
            AccountId::organisation(),
            AccountId::tenant(acme()),
            AccountId::user(acme(), Arc::from("ann")),
            AccountId::key(acme(), Arc::from("acme-1")),
        ] {
            let used = |cell| standing(&house, &id, cell, 1_000_000_000).used;
            let (money, tokens) =
                (Cell::Window(Unit::Money, Period::Day), Cell::Window(Unit::Tokens, Period::Day));
            assert_eq!(used(money), u64::try_from(sum(&records, "cost_nanousd")).unwrap(), "{named} {id}");
            assert_eq!(used(tokens), u64::try_from(sum(&records, "tokens_used")).unwrap(), "{named} {id}");
            assert_eq!(used(Cell::Concurrency), 0, "{named} {id}");
            assert!(standing(&house, &id, Cell::Rate(Rate::Requests), 1_000).used <= 2, "{named} {id}");
        }
        house.stop().await;
    }
}

async fn storm_as_key(house: &House, count: usize) -> Vec<Answer> {
    let mut storm = JoinSet::new();
    for _ in 0..count {
        let url = house.url.clone();
        storm.spawn(async move { message(&url, ACME, ask("claude-haiku-5-5", "say hi")).await });
    }
    storm.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_carries_the_callers_own_limits_or_else_the_upstreams() {
    let house = House::start(&tenants("[tenants.acme.limits]\nrequests_per_minute = 50", "")).await;
    let limited = message(&house.url, ACME, ask("claude-haiku-5-5", "say hi")).await;
    assert_eq!(number(&limited, "anthropic-ratelimit-requests-limit"), 50);
    assert_eq!(number(&limited, "anthropic-ratelimit-requests-remaining"), 49);
    let theirs = |answer: &Answer| {
        answer.headers.keys().filter(|name| name.as_str().starts_with("anthropic-ratelimit-")).count()
    };
    assert_eq!(theirs(&limited), 3, "nothing of the shared account's: {:?}", limited.headers);
    let free = message(&house.url, RIVAL, ask("claude-haiku-5-5", "say hi")).await;
    assert!(theirs(&free) > 3, "{:?}", free.headers);
    assert!(number(&free, "anthropic-ratelimit-requests-limit") > 50, "the upstream's own");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_tokens_is_free_and_never_blocked() {
    let sections =
        "[tenants.acme.limits]\nrequests_per_minute = 1\n[tenants.acme.budget]\ndaily = \"0.000001 USD\"";
    let house = House::start(&tenants(sections, "")).await;
    let count = |text: &str| {
        let body = serde_json::json!({ "model": "claude-haiku-5-5",
            "messages": [{ "role": "user", "content": text }] });
        let url = format!("{}/v1/messages/count_tokens", house.url);
        async move {
            let headers = [("x-api-key", ACME), ("anthropic-version", "2023-06-01")];
            send(Method::POST, &url, &headers, body.to_string()).await
        }
    };
    for _ in 0..5 {
        assert_eq!(count("before").await.status, 200);
    }
    assert_eq!(message(&house.url, ACME, ask("claude-haiku-5-5", "say hi")).await.status, 429);
    let counted = count("after").await;
    assert_eq!(counted.status, 200);
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);
    assert_eq!(sum(&house.records(), "cost_nanousd"), 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_key_that_may_names_its_user() {
    let house = House::start(&tenants("", "allow_user_header = true")).await;
    let body = || ask("claude-haiku-5-5", "say hi");
    assert_eq!(as_user(&house.url, ACME, "eve", body()).await.status, 200);
    let long = as_user(&house.url, ACME, &"e".repeat(300), body()).await;
    assert_eq!(long.status, 400, "{:?}", long.body);
    let refused = as_user(&house.url, RIVAL, "eve", body()).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["error"]["type"], "permission_error");
    assert_eq!(house.records()[0]["user_id"], "eve");
    assert!(house.upstream.requests().iter().all(|seen| seen.header("x-tercet-user").is_none()));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_is_no_key() {
    for (expires, status) in [("2020-01-01T00:00:00Z", 401), ("2099-01-01T00:00:00Z", 200)] {
        let house = House::start(&tenants("", &format!("expires = {expires}"))).await;
        let answer = message(&house.url, ACME, ask("claude-haiku-5-5", "say hi")).await;
        assert_eq!(answer.status, status, "{:?}", answer.body);
        if status == 401 {
            assert_eq!(answer.json()["error"]["type"], "authentication_error");
            assert_eq!(answer.header("x-should-retry"), "false");
            assert!(house.upstream.requests().is_empty());
        }
        house.stop().await;
    }
}
