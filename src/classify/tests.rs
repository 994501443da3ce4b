//! What the first form promises, with envelopes built by hand.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::wire::envelope::{History, Thinking, Tool, ToolChoice};

fn envelope<'a>(text: &'a str) -> Envelope<'a> {
    Envelope {
        body: text.as_bytes(),
        model: Cow::Borrowed("claude-opus-5-5"),
        max_tokens: Some(4_096),
        history: History {
            spans: vec![0..text.len(); 1],
            last_user_text: vec![text.as_bytes()],
            ..History::default()
        },
        ..Envelope::default()
    }
}

fn codes(complexity: &Complexity) -> Vec<&'static str> {
    complexity.reasons.iter().map(|reason| reason.code).collect()
}

fn score(text: &str) -> u16 {
    classify(&envelope(text), &RequestHints::default()).score_permille
}

const QUALITY: u16 = 950;

/// What a test does to a request.
type Change = fn(&mut Envelope<'static>);

#[test]
fn a_request_nothing_is_known_of_lands_in_the_middle() {
    let text = "Our team met on Tuesday. ".repeat(20);
    let complexity = classify(&envelope(&text), &RequestHints::default());
    assert_eq!(complexity.score_permille, 450);
    assert!(complexity.sufficiency[0] < QUALITY && complexity.sufficiency[1] < QUALITY);
    assert!(complexity.sufficiency[2] >= QUALITY);
}

#[test]
fn plain_short_questions_are_easier_than_proofs_and_code() {
    for easy in ["What is the capital of France?", "Translate 'good morning' to German.", "hello"] {
        assert!(classify(&envelope(easy), &RequestHints::default()).sufficiency[0] >= QUALITY, "{easy}");
    }
    for hard in [
        "Prove that every integer polynomial equation of odd degree has a real root, then derive a bound.",
        "Refactor this Rust struct to be async; debug the deadlock, compare two designs and plan the steps.",
    ] {
        let complexity = classify(&envelope(hard), &RequestHints::default());
        assert!(complexity.sufficiency[1] < QUALITY, "{hard}: {complexity:?}");
    }
    assert!(score("hello") < score(r"Compute \\frac{1}{2} + \\sqrt{3} modulo 7"));
}

#[test]
fn the_clients_own_hint_is_believed() {
    for (hint, code) in [
        ("title_generation", "hint-title"),
        ("Summary", "hint-summary"),
        ("safety-classifier", "hint-classifier"),
    ] {
        let hints = RequestHints { request_class: Some(hint), ..RequestHints::default() };
        let complexity = classify(&envelope("anything at all"), &hints);
        assert_eq!(codes(&complexity), [code]);
        assert!(complexity.sufficiency[0] >= QUALITY);
    }
    let unknown = RequestHints { request_class: Some("main\u{e9}"), ..RequestHints::default() };
    assert_eq!(
        classify(&envelope("anything"), &unknown),
        classify(&envelope("anything"), &RequestHints::default())
    );
}

#[test]
fn forms_are_recognised() {
    let mut title = envelope("user: how do I bake bread?");
    title.system = Some(br#""Write a short title for this conversation.""#);
    assert_eq!(codes(&classify(&title, &RequestHints::default())), ["form-title"]);

    let mut probe = envelope("quota");
    probe.max_tokens = Some(1);
    assert_eq!(codes(&classify(&probe, &RequestHints::default())), ["form-probe"]);

    let mut extraction = envelope("Anna, 31, Bern");
    extraction.tool_list = vec![Tool { kind: "custom".into(), name: "person".into(), model: "".into() }];
    extraction.tool_choice = Some(ToolChoice { kind: "tool".into(), name: Some("person".into()) });
    assert_eq!(codes(&classify(&extraction, &RequestHints::default())), ["form-extraction"]);

    let mut structured = envelope("Anna, 31, Bern");
    structured.structured_output = true;
    assert_eq!(codes(&classify(&structured, &RequestHints::default())), ["form-structured"]);

    let mut tiny = envelope("Is this mail spam? Win a prize now.");
    tiny.max_tokens = Some(8);
    assert_eq!(codes(&classify(&tiny, &RequestHints::default())), ["form-tiny"]);
}

#[test]
fn a_small_form_around_a_hard_text_is_not_believed() {
    let mut tiny = envelope("Prove the lemma, then compute the integral. Answer with one number.");
    tiny.max_tokens = Some(8);
    assert!(classify(&tiny, &RequestHints::default()).sufficiency[0] < QUALITY);
    let mut thinking = envelope("Is this spam?");
    thinking.max_tokens = Some(8);
    thinking.thinking = Some(Thinking { kind: "adaptive".into(), display: None, budget_tokens: None });
    assert!(!codes(&classify(&thinking, &RequestHints::default())).contains(&"form-tiny"));
}

#[test]
fn a_title_a_summary_or_a_probe_is_certain_only_where_the_request_looks_small() {
    let long = "word ".repeat(2_000);
    for (system, max_tokens, code) in [
        (br#""Write a short title.""#.as_slice(), 4_096, "form-title"),
        (br#""Summarize this.""#, 4_096, "form-summary"),
        (br#""Answer.""#, 1, "form-probe"),
    ] {
        let mut small = envelope("how is bread baked?");
        (small.system, small.max_tokens) = (Some(system), Some(max_tokens));
        let certain =
            |envelope: &Envelope<'_>| codes(&classify(envelope, &RequestHints::default())) == [code];
        assert!(certain(&small), "{code}");
        small.effort = Some("low".into());
        assert!(certain(&small), "{code} at low effort");
        let changes: [(&str, Change); 6] = [
            ("effort", |one| one.effort = Some("high".into())),
            ("thinking", |one| {
                one.thinking = Some(Thinking { kind: "adaptive".into(), display: None, budget_tokens: None });
            }),
            ("image", |one| one.history.images = 1),
            ("document", |one| one.history.documents = 1),
            ("later turn", |one| one.history.assistant_messages = 1),
            ("hard words", |one| one.history.last_user_text = vec![b"Prove the lemma, derive the theorem."]),
        ];
        for (name, change) in changes {
            let mut large = envelope("how is bread baked?");
            (large.system, large.max_tokens) = (Some(system), Some(max_tokens));
            change(&mut large);
            assert!(!certain(&large), "{code}: {name}");
        }
        let mut text = envelope(&long);
        (text.system, text.max_tokens) = (Some(system), Some(max_tokens));
        assert!(!certain(&text), "{code}: text");
    }
}

#[test]
fn an_agents_first_turn_stays_where_it_was_asked() {
    let mut agent = envelope("hi");
    agent.tool_list = vec![Tool { kind: "custom".into(), name: "Read".into(), model: "".into() }; 12];
    let system = vec![b'x'; 40_000];
    agent.system = Some(&system);
    agent.effort = Some("medium".into());
    agent.thinking =
        Some(Thinking { kind: "adaptive".into(), display: Some("omitted".into()), budget_tokens: None });
    let complexity = classify(&agent, &RequestHints { session: true, ..RequestHints::default() });
    assert!(complexity.sufficiency[1] < QUALITY, "{complexity:?}");
}

#[test]
fn escapes_do_not_hide_words() {
    let plain = words::count(&[b"prove the theorem"]);
    assert_eq!(words::count(&[br"\nprove\tthe\u0020theorem\n"]), plain);
    assert_eq!(words::count(&[b"PROVE the Theorem"]), plain);
}

#[test]
fn only_the_first_and_last_four_kibibytes_are_read() {
    let filler = "x ".repeat(4_096);
    let text = format!("prove {filler} theorem {filler} lemma");
    let split = text.len() / 3;
    let counts = words::count(&[text.as_bytes()]);
    assert_eq!(counts.maths, 2, "the middle is not read");
    assert_eq!(words::count(&[&text.as_bytes()[..split], &text.as_bytes()[split..]]), counts);
}

proptest! {
    #[test]
    fn any_text_is_judged_monotonely_and_alike_twice(text in ".{0,6000}", max_tokens in proptest::option::of(0u64..200_000)) {
        let mut request = envelope(&text);
        request.max_tokens = max_tokens;
        let complexity = classify(&request, &RequestHints::default());
        prop_assert!(complexity.sufficiency.is_sorted());
        prop_assert!(complexity.sufficiency[2] <= 1_000 && complexity.score_permille <= 1_000);
        prop_assert!(complexity.reasons.len() <= 16);
        prop_assert_eq!(complexity, classify(&request, &RequestHints::default()));
    }

    #[test]
    fn any_bytes_can_be_counted(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..6)) {
        let borrowed: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let _ = words::count(&borrowed);
    }

    #[test]
    fn a_harder_score_never_suffices_more(score in 0u16..1000) {
        let (easier, harder) = (sufficiency(score), sufficiency(score + 1));
        prop_assert!((0..3).all(|tier| easier[tier] >= harder[tier]));
    }
}
