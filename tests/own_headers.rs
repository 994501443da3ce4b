//! What answers and refusals tell a caller of its own limits and budgets: a table of all there is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly anywhere")]

mod support;

use jiff::Timestamp;
use support::http::{Answer, ask, message};
use support::{ACME, House};
use tercet::simulated::Behaviour;

/// Names of the rate-limit headers of an answer, without what they begin with, joined by spaces.
fn told(answer: &Answer) -> String {
    let names = answer.headers.keys().filter_map(|name| name.as_str().strip_prefix("anthropic-ratelimit-"));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}

fn group(kind: &str) -> String {
    format!("{kind}-limit {kind}-remaining {kind}-reset")
}

fn unified() -> String {
    ["representative-claim", "reset", "spend-reset", "spend-status", "spend-utilization", "status"]
        .map(|name| format!("unified-{name}"))
        .join(" ")
}

/// Joins and sorts the names of several groups.
fn names(groups: &[String]) -> String {
    let mut names: Vec<&str> = groups.iter().flat_map(|group| group.split(' ')).collect();
    names.sort_unstable();
    names.join(" ")
}

/// Sections of the tenant, then which groups its answers carry.
fn table() -> Vec<(&'static str, Vec<String>)> {
    let (requests, tokens) = (group("requests"), group("tokens"));
    let (input, output) = (group("input-tokens"), group("output-tokens"));
    vec![
        ("[tenants.acme.limits]\nrequests_per_minute = 2", vec![requests.clone()]),
        ("[tenants.acme.limits]\ninput_tokens_per_minute = 300", vec![input.clone(), tokens.clone()]),
        ("[tenants.acme.user_limits]\noutput_tokens_per_minute = 2000", vec![output.clone(), tokens.clone()]),
        (
            "[limits]\ninput_tokens_per_minute = 2000\n[tenants.acme.user_limits]\noutput_tokens_per_minute = 1500",
            vec![input.clone(), output.clone(), tokens.clone()],
        ),
        (
            "[tenants.acme.limits]\nrequests_per_minute = 30\n[tenants.acme.budget]\ndaily = \"0.03 USD\"",
            vec![requests.clone(), unified()],
        ),
        (
            "[tenants.acme.limits]\nrequests_per_minute = 30\n[tenants.acme.user_quota]\nmonthly_tokens = 2500",
            vec![requests, unified()],
        ),
        ("[tenants.acme.limits]\nconcurrent_requests = 5", Vec::new()),
    ]
}

fn number(answer: &Answer, name: &str) -> u64 {
    answer.header(&format!("anthropic-ratelimit-{name}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_refusals_tell_of_the_callers_own_limits_and_nothing_else() {
    for (sections, groups) in table() {
        let house = House::start(&format!(
            "[routing]\nmode = \"off\"\n{sections}\n\
             [[tenants.acme.keys]]\nid = \"acme-1\"\nuser = \"ann\"\nsecret = {{ env = \"ACME_KEY\" }}\n"
        ))
        .await;
        let body = || ask("claude-opus-5-5", "write 60 words");
        let answer = message(&house.url, ACME, body()).await;
        assert_eq!(answer.status, 200, "{sections}: {:?}", answer.body);
        if groups.is_empty() {
            assert!(told(&answer).contains("requests-limit"), "{sections}: the upstream's own");
            house.stop().await;
            continue;
        }
        assert_eq!(told(&answer), names(&groups), "{sections}");
        let now = house.tercet.runtime.clock.now();
        for kind in ["requests", "tokens", "input-tokens", "output-tokens"] {
            if !told(&answer).split(' ').any(|name| name == format!("{kind}-limit")) {
                continue;
            }
            assert!(
                number(&answer, &format!("{kind}-remaining")) <= number(&answer, &format!("{kind}-limit"))
            );
            let reset: Timestamp =
                answer.header(&format!("anthropic-ratelimit-{kind}-reset")).parse().unwrap();
            assert!((-1..=61).contains(&(reset.as_second() - now.as_second())), "{kind} {reset}");
        }
        let mut refused = None;
        for _ in 0..20 {
            let answer = message(&house.url, ACME, body()).await;
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.unwrap_or_else(|| panic!("{sections}: 20 requests passed"));
        let spent = refused.json()["error"]["type"] == "billing_error";
        // A limit that soon gives way must not look like a spent budget, at which Claude Code stops.
        let expected: Vec<String> =
            groups.iter().filter(|group| spent || !group.starts_with("unified")).cloned().collect();
        assert_eq!(told(&refused), names(&expected), "{sections}: {:?}", refused.body);
        assert_eq!(refused.header("x-should-retry"), if spent { "false" } else { "" }, "{sections}");
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_upstream_pass_with_its_own_headers() {
    let house = House::start(
        "[routing]\nmode = \"off\"\n[tenants.acme.limits]\nrequests_per_minute = 100\n\
         [tenants.acme.budget]\ndaily = \"5.00 USD\"\n\
         [[tenants.acme.keys]]\nid = \"acme-1\"\nuser = \"ann\"\nsecret = { env = \"ACME_KEY\" }\n",
    )
    .await;
    for (status, error_type) in [(429, "rate_limit_error"), (529, "overloaded_error")] {
        let headers = [("retry-after", "7"), ("x-should-retry", "true")];
        house.upstream.script(Behaviour::Status {
            status,
            error_type: error_type.to_owned(),
            message: "of the upstream".to_owned(),
            code: None,
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        });
        let answer = message(&house.url, ACME, ask("claude-opus-5-5", "hello")).await;
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (status, &error_type.into()));
        assert_eq!(answer.json()["error"]["message"], "of the upstream");
        for (name, value) in headers {
            assert_eq!(answer.header(name), value, "{status}");
        }
        assert!(number(&answer, "requests-limit") > 100, "the upstream's own: {:?}", answer.headers);
        assert_eq!(answer.header("anthropic-ratelimit-unified-status"), "");
    }
    let spent: i64 = house.records().iter().map(|record| record["cost_nanousd"].as_i64().unwrap()).sum();
    assert_eq!(spent, 0, "what the upstream refused costs nothing");
    house.stop().await;
}
