//! What is certain by form, and that Rust counts and sums as the training script does.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::Value;

use super::features::Features;
use super::*;
use crate::wire::envelope::{self, History, Thinking, Tool, ToolChoice};

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

fn weights() -> Weights {
    Weights::embedded().unwrap()
}

fn formed(envelope: &Envelope<'_>) -> Option<&'static str> {
    classify(envelope, &RequestHints::default(), &weights()).formed.map(|reason| reason.code)
}

/// What a test does to a request.
type Change = fn(&mut Envelope<'static>);

#[test]
fn rust_counts_and_sums_as_the_training_script_does() {
    let weights = weights();
    let cases: Vec<Value> = serde_json::from_str(include_str!("tests.json")).unwrap();
    assert!(cases.len() >= 9);
    for case in cases {
        let mut body =
            serde_json::json!({"model": "m", "messages": [{"role": "user", "content": case["text"]}]});
        if !case["tools"].is_null() {
            body["tools"] = case["tools"].clone();
        }
        // As Python writes it, with a space behind colons and commas, but for the order of fields.
        let spaced = spaced(&body);
        let envelope = envelope::read(spaced.as_bytes()).unwrap();
        let features = Features::of(&envelope, &weights.lexicon);
        let counted: Vec<Value> = (0..features::NAMES.len()).map(|place| features.at(place).into()).collect();
        for (name, (ours, theirs)) in
            features::NAMES.iter().zip(counted.iter().zip(case["features"].as_array().unwrap()))
        {
            assert_eq!(ours, theirs, "{name} of {}", case["text"]);
        }
        let Logits { quality: [haiku, sonnet, opus], familiar, traits } = weights.logits(&features);
        assert_eq!(Value::from(vec![haiku, sonnet, opus, familiar]), case["logits"], "{}", case["text"]);
        assert_eq!(Value::from(traits.to_vec()), case["traits"], "{}", case["text"]);
    }
}

fn spaced(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), spaced(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[test]
fn weights_that_were_cut_changed_or_made_for_something_else_are_refused() {
    let whole = include_str!("weights.json");
    let told = |text: &str| Weights::parse(text).unwrap_err().to_string();
    assert!(told("").contains("two lines"));
    assert!(told(&whole[..whole.len() - 40]).contains("does not match its SHA-256"));
    assert!(told(&whole.replacen("prove", "probe", 1)).contains("does not match its SHA-256"));
    assert!(told(&whole.replacen("tercet-classifier-3", "tercet-classifier-9", 1)).contains("-9"));
    assert!(told(&"x".repeat(2 << 20)).contains("1 MiB"));
    let (_, payload) = whole.split_once('\n').unwrap();
    let resealed = |payload: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, payload.as_bytes());
        let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{{\"format\": \"tercet-classifier-3\", \"sha256\": \"{digest}\"}}\n{payload}\n")
    };
    let payload = payload.trim_end();
    assert_eq!(Weights::parse(&resealed(payload)).unwrap().version(), weights().version());
    assert!(told(&resealed(&payload.replacen("\"text_bytes\"", "\"bytes\"", 1))).contains("other features"));
    let mut written: Value = serde_json::from_str(payload).unwrap();
    written["heads"]["haiku"][0][0][0][2] = 0.into();
    assert!(told(&resealed(&written.to_string())).contains("leads nowhere"), "a loop");
    written["heads"]["haiku"][0][0][0][2] = (-200).into();
    assert!(told(&resealed(&written.to_string())).contains("leads nowhere"), "a leaf that is not there");
    let mut written: Value = serde_json::from_str(payload).unwrap();
    written["traits"]["factors"][0][0] = (1 << 21).into();
    assert!(told(&resealed(&written.to_string())).contains("other traits"));
}

#[test]
fn proofs_are_harder_than_greetings() {
    let quality =
        |text: &str| classify(&envelope(text), &RequestHints::default(), &weights()).logits.quality[0];
    let proof = r"Let $\\theta$ be real with $\\cos \\theta = \\frac{1}{3}$. Compute the sum of all positive integers $n$ for which $\\sqrt{n}$ divides it.";
    let sum = "Anna buys 3 apples at 2 dollars each and pays with a bill of 10 dollars. How many dollars does she get back?";
    assert!(quality(proof) < quality(sum));
}

#[test]
fn plain_short_questions_are_certain_and_hard_ones_are_not() {
    assert_eq!(formed(&envelope("What is the capital of France?")), Some("form-short"));
    assert_eq!(formed(&envelope("hello")), Some("form-short"));
    let translate = "Translate the following greeting to German, and keep it as friendly as it is: Good morning, my dear neighbours!";
    assert_eq!(formed(&envelope(translate)), Some("form-plain"));
    for hard in
        ["Prove that there is no largest prime.", "Debug this deadlock.", "Compare two designs step by step."]
    {
        assert_eq!(formed(&envelope(hard)), None, "{hard}");
    }
    let mut tools = envelope("hello");
    tools.tool_list = vec![Tool { kind: "custom".into(), name: "Read".into(), model: "".into() }];
    assert_eq!(formed(&tools), None, "with tools even a greeting may begin a task");
}

#[test]
fn the_clients_own_hint_is_believed() {
    let named = |class| {
        let hints = RequestHints { request_class: Some(class), ..RequestHints::default() };
        classify(&envelope("anything at all"), &hints, &weights()).hinted.map(|reason| reason.code)
    };
    assert_eq!(named("title_generation"), Some("hint-title"));
    assert_eq!(named("Summary"), Some("hint-summary"));
    assert_eq!(named("safety-classifier"), Some("hint-classifier"));
    assert_eq!(named("main\u{e9}"), None);
}

#[test]
fn forms_are_recognised() {
    let long =
        "Anna is 31 years old and lives in the town of Bern, where she works for the post office every day.";
    let mut title = envelope(long);
    title.system = Some(br#""Write a short title for this conversation.""#);
    assert_eq!(formed(&title), Some("form-title"));

    let mut probe = envelope("quota");
    probe.max_tokens = Some(1);
    assert_eq!(formed(&probe), Some("form-probe"));

    let mut extraction = envelope(long);
    extraction.tool_list = vec![Tool { kind: "custom".into(), name: "person".into(), model: "".into() }];
    extraction.tool_choice = Some(ToolChoice { kind: "tool".into(), name: Some("person".into()) });
    assert_eq!(formed(&extraction), Some("form-extraction"));

    let mut structured = envelope(long);
    structured.structured_output = true;
    assert_eq!(formed(&structured), Some("form-structured"));

    let mut tiny = envelope(long);
    tiny.max_tokens = Some(8);
    assert_eq!(formed(&tiny), Some("form-tiny"));
}

#[test]
fn a_form_is_certain_only_where_the_request_looks_small() {
    let long = "word ".repeat(2_000);
    for (system, max_tokens, code) in [
        (br#""Write a short title.""#.as_slice(), 4_096, "form-title"),
        (br#""Summarize this.""#, 4_096, "form-summary"),
        (br#""Answer.""#, 1, "form-probe"),
    ] {
        let mut small = envelope("how is bread baked?");
        (small.system, small.max_tokens) = (Some(system), Some(max_tokens));
        assert_eq!(formed(&small), Some(code));
        small.effort = Some("low".into());
        assert_eq!(formed(&small), Some(code), "at low effort");
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
            assert_eq!(formed(&large), None, "{code}: {name}");
        }
        let mut text = envelope(&long);
        (text.system, text.max_tokens) = (Some(system), Some(max_tokens));
        assert_eq!(formed(&text), None, "{code}: text");
    }
}

#[test]
fn escapes_do_not_hide_words() {
    let weights = weights();
    let count = |text: &[u8]| Features::count(&[text], None, 0, &weights.lexicon).get(features::Slot::Maths);
    assert_eq!(count(b"prove the theorem"), 2);
    assert_eq!(count(br"\nprove\tthe\u0020theorem\n"), 2);
    assert_eq!(count(br"\u0050ROVE the Theorem"), 2);
}

#[test]
fn only_the_first_and_last_four_kibibytes_are_read() {
    let weights = weights();
    let filler = "x ".repeat(4_096);
    let text = format!("prove {filler} theorem {filler} lemma");
    let whole = Features::count(&[text.as_bytes()], None, 0, &weights.lexicon);
    assert_eq!(whole.get(features::Slot::Maths), 2, "the middle is not read");
    let (one, other) = text.as_bytes().split_at(text.len() / 2);
    assert_eq!(Features::count(&[one, other], None, 0, &weights.lexicon), whole);
}

proptest! {
    #[test]
    fn any_bytes_can_be_counted_and_are_judged_alike_twice(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..6),
        tools in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..5000)),
    ) {
        let weights = weights();
        let borrowed: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let count = || Features::count(&borrowed, tools.as_deref(), 1, &weights.lexicon);
        prop_assert_eq!(weights.logits(&count()), weights.logits(&count()));
    }
}
