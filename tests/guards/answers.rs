//! Answers: told of as they pass, or given whole or not at all.

use serde_json::{Value, json};
use tercet::simulated::Behaviour;

use super::support::http::{ask, message};
use super::support::read::until;
use super::support::{ACME, House};
use super::{guarded, streaming};

const REFUSE: &str = "[[guards]]\ndetect = [\"pii\"]\naction = \"refuse\"\nin = [\"answer\"]\n";
const CARD: &str = "Your card is 4111 1111 1111 1111.";

fn say(house: &House, text: &str) {
    house.upstream.script(Behaviour::Together {
        behaviours: vec![
            Behaviour::Say { text: text.to_owned() },
            Behaviour::OddChunks { sizes: vec![5, 11] },
        ],
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flagged_answer_passes_and_is_told_of() {
    let house =
        guarded("[[guards]]\ndetect = [\"credit-card\"]\naction = \"flag\"\nin = [\"answer\"]\n").await;
    let body = ask("claude-opus-5-5", "my card 4111 1111 1111 1111?");
    for (number, form) in [body.clone(), streaming(&body)].into_iter().enumerate() {
        say(&house, CARD);
        let answer = message(&house.url, ACME, form).await;
        assert_eq!((answer.status, answer.header("x-tercet-guard")), (200, ""));
        assert!(String::from_utf8_lossy(&answer.body).contains("4111"));
        let record = house.records_when(number + 1).await.remove(number);
        assert_eq!(
            record["guards"],
            json!([{ "found": "credit-card", "in": "answer", "action": "flag", "count": 1 }])
        );
        assert_eq!(record["outcome"], "ok");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_answer_is_refused_whole_and_billed() {
    let house = guarded(
        "[cache]\nenabled = true\n[[guards]]\ndetect = [\"pii\"]\naction = \"refuse\"\nin = [\"answer\"]\n",
    )
    .await;
    let body = ask("claude-opus-5-5", "what is my card?");
    for (number, form) in [body.clone(), streaming(&body)].into_iter().enumerate() {
        say(&house, CARD);
        let answer = message(&house.url, ACME, form).await;
        assert_eq!((answer.status, answer.header("x-tercet-guard")), (400, "refuse:credit-card=1"));
        let error = answer.json();
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert!(error["error"]["message"].as_str().unwrap().contains("credit-card"));
        assert!(!String::from_utf8_lossy(&answer.body).contains("4111"));
        let record = house.records_when(number + 1).await.remove(number);
        assert_eq!((&record["status"], &record["outcome"]), (&json!(400), &json!("client_error")));
        let billed: u64 = house.upstream.bill().iter().map(|call| call.nanousd).sum();
        assert!(record["cost_nanousd"].as_u64().unwrap() > 0);
        let records = house.records();
        assert_eq!(
            records.iter().map(|record| record["cost_nanousd"].as_u64().unwrap()).sum::<u64>(),
            billed
        );
    }
    assert_eq!(house.tercet.runtime.accounts.reserved_total().nanousd, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_find_is_given_as_it_came() {
    let free = guarded("").await;
    let house = guarded(REFUSE).await;
    let body = ask("claude-opus-4-8", "hello");
    for form in [body.clone(), streaming(&body)] {
        let (mut seen, mut types) = (Vec::new(), Vec::new());
        for gateway in [&free, &house] {
            say(gateway, "nothing to see");
            let answer = message(&gateway.url, ACME, form.clone()).await;
            assert_eq!(answer.status, 200);
            types.push(answer.header("content-type").to_owned());
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let ids = text.split('"').filter(|part| !part.starts_with("msg_")).collect::<Vec<_>>().join("\"");
            seen.push(ids);
        }
        assert_eq!(seen[0], seen[1]);
        assert_eq!(types[0], types[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_before_it_was_looked_at_is_not_given() {
    let house = guarded(REFUSE).await;
    house.upstream.script(Behaviour::CutAfter { events: Some(3), bytes: None });
    let answer = message(&house.url, ACME, streaming(&ask("claude-opus-5-5", "hi"))).await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (502, &json!("api_error")));
    let record = house.records_when(1).await.remove(0);
    assert_eq!(record["outcome"], "upstream_error");
    assert_eq!(house.tercet.runtime.accounts.reserved_total().nanousd, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_signed_thinking_is_given_whole_or_not_at_all() {
    let house = guarded(REFUSE).await;
    let ask = |messages: &[Value], stream: bool| {
        json!({ "model": "claude-opus-5-5", "max_tokens": 4000, "stream": stream, "thinking": { "type": "adaptive" },
            "messages": messages })
        .to_string()
    };
    let mut messages = vec![json!({ "role": "user", "content": "think of my card" })];
    say(&house, CARD);
    let withheld = message(&house.url, ACME, ask(&messages, true)).await;
    assert_eq!(withheld.status, 400);
    assert!(!String::from_utf8_lossy(&withheld.body).contains("signature"));
    // What is given can be gone on with: nothing of it was changed.
    for _ in 0..2 {
        let given = message(&house.url, ACME, ask(&messages, false)).await;
        assert_eq!(given.status, 200, "{}", String::from_utf8_lossy(&given.body));
        let content = given.json()["content"].clone();
        assert!(content.to_string().contains("signature"), "{content}");
        messages.push(json!({ "role": "assistant", "content": content }));
        messages.push(json!({ "role": "user", "content": "and now?" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_answer_is_looked_at_too() {
    let house = guarded(REFUSE).await;
    let body = ask("claude-opus-5-5", "what is my card?");
    for form in [body.clone(), streaming(&body)] {
        house.upstream.script(Behaviour::Together {
            behaviours: vec![Behaviour::Say { text: CARD.to_owned() }, Behaviour::Gzip],
        });
        assert_eq!(message(&house.url, ACME, form).await.status, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_its_answer_is_held_is_billed_for_it() {
    let house = guarded(REFUSE).await;
    house.upstream.script(Behaviour::Together {
        behaviours: vec![
            Behaviour::Say { text: CARD.to_owned() },
            Behaviour::Pause { after_events: 2, ms: 300 },
        ],
    });
    let url = house.url.clone();
    let asking = tokio::spawn(async move {
        message(&url, ACME, streaming(&ask("claude-opus-5-5", "what is my card?"))).await
    });
    until("the upstream has the request", || !house.upstream.requests().is_empty()).await;
    asking.abort();
    let record = house.records_when(1).await.remove(0);
    let billed: u64 = house.upstream.bill().iter().map(|call| call.nanousd).sum();
    assert_eq!(record["cost_nanousd"], json!(billed));
    assert_eq!(record["guards"][0]["found"], "credit-card");
    assert_eq!(house.tercet.runtime.accounts.reserved_total().nanousd, 0);
}
