//! What is known of a conversation, and that no sequence of turns loses thinking.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;
use crate::wire::envelope::read;

const ALONE: Speaker<'_> = Speaker { tenant: "t", user: "u", session: None, agent: None };

fn user(text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}]})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": [{"type": "text", "text": text}]})
}

fn prefixes(speaker: &Speaker<'_>, messages: &[Value]) -> Prefixes {
    let body = json!({"model": "m", "max_tokens": 9, "messages": messages}).to_string();
    Prefixes::of(speaker, &read(body.as_bytes()).unwrap()).unwrap()
}

fn remembering_nothing() -> Conversations {
    Conversations::new(Clock::default())
}

fn state(by: &str, asked: &str, model: &str) -> Past {
    Past { by: by.to_owned(), ..past(asked, model) }
}

/// What is known of `turn`, after each of `before` asked for a model and was sent to one.
fn known(before: &[(&[Value], &str, &str)], turn: &[Value]) -> Option<Past> {
    let conversations = remembering_nothing();
    for (number, (messages, asked, model)) in before.iter().enumerate() {
        conversations.record(&prefixes(&ALONE, messages), state(&number.to_string(), asked, model));
    }
    conversations.lookup(&prefixes(&ALONE, turn))
}

#[test]
fn a_turn_is_known_by_the_request_it_extends() {
    let first = [user("hi")];
    let second = [user("hi"), assistant("hello"), user("more")];
    let found = known(&[(&first, "opus", "haiku")], &second).unwrap();
    assert_eq!(found.stay("opus"), Stay::With("haiku"));
    assert_eq!(known(&[(&first, "opus", "haiku")], &first), None, "it extends nothing");
    let edited = [user("ho"), assistant("hello"), user("more")];
    assert_eq!(known(&[(&first, "opus", "haiku")], &edited), None);
    let later = [&second[..], &[assistant("a"), user("b"), user("c")]].concat();
    assert_eq!(known(&[(&first, "opus", "haiku")], &later), None, "only the last answer counts");
    assert!(known(&[(&second, "opus", "haiku")], &later).is_some());
}

#[test]
fn prompts_that_share_their_examples_are_not_one_conversation() {
    let item = |text| [user("example"), assistant("label"), user(text)];
    assert_eq!(known(&[(&item("one"), "opus", "haiku")], &item("two")), None);
}

#[test]
fn conversations_with_the_same_first_text_do_not_meet() {
    let here = [user("hi"), assistant("hello"), user("more")];
    let there = [user("hi"), assistant("good day"), user("less")];
    let beyond = [&there[..], &[assistant("a"), user("b")]].concat();
    let found = known(&[(&here, "opus", "opus"), (&there, "opus", "haiku")], &beyond).unwrap();
    assert_eq!(found.stay("opus"), Stay::With("haiku"));
}

#[test]
fn another_asked_model_ends_the_stay() {
    let (first, second) = ([user("hi")], [user("hi"), assistant("hello"), user("more")]);
    assert_eq!(known(&[(&first, "haiku", "haiku")], &second).unwrap().stay("opus"), Stay::Parted);
}

#[test]
fn a_request_that_went_both_ways_is_nobodys() {
    let (first, second) = ([user("hi")], [user("hi"), assistant("hello"), user("more")]);
    for other in [("opus", "opus"), ("sonnet", "haiku")] {
        let sent: [(&[Value], _, _); 3] =
            [(&first, "opus", "haiku"), (&first, other.0, other.1), (&first, "opus", "haiku")];
        assert_eq!(known(&sent, &second).unwrap().stay("opus"), Stay::Parted);
    }
}

#[test]
fn a_request_may_say_itself_that_it_went_elsewhere() {
    let (first, second) = ([user("hi")], [user("hi"), assistant("hello"), user("more")]);
    let conversations = remembering_nothing();
    for model in ["haiku", "sonnet"] {
        conversations.record(&prefixes(&ALONE, &first), state("tct_1", "opus", model));
    }
    let found = conversations.lookup(&prefixes(&ALONE, &second)).unwrap();
    assert_eq!(found.stay("opus"), Stay::With("sonnet"));
    conversations.record(&prefixes(&ALONE, &first), state("tct_2", "opus", "haiku"));
    conversations.record(&prefixes(&ALONE, &first), state("tct_2", "opus", "haiku"));
    let found = conversations.lookup(&prefixes(&ALONE, &second)).unwrap();
    assert_eq!(found.stay("opus"), Stay::Parted, "what was parted stays so, however often it is said again");
}

#[test]
fn tenants_users_sessions_and_agents_do_not_share() {
    let messages = [user("hi")];
    let speakers = [
        ALONE,
        Speaker { tenant: "other", ..ALONE },
        Speaker { user: "other", ..ALONE },
        Speaker { session: Some("s"), ..ALONE },
        Speaker { session: Some("s"), agent: Some("a"), ..ALONE },
    ];
    let mut names: Vec<_> = speakers.iter().map(|speaker| prefixes(speaker, &messages).whole).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), speakers.len());
}

#[test]
fn moving_cache_markers_do_not_part_a_conversation() {
    let marked = |text: &str| json!({"role": "user", "content": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]});
    let before = prefixes(&ALONE, &[marked("hi")]);
    let after = prefixes(&ALONE, &[user("hi"), assistant("hello"), marked("more")]);
    assert_eq!(after.extended, Some(before.whole));
    assert_ne!(after.extended, Some(prefixes(&ALONE, &[user("hi")]).whole), "another way of hashing");
    let calls = |input: Value| {
        let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": input}]});
        prefixes(&ALONE, &[marked("hi"), call]).whole
    };
    assert_ne!(
        calls(json!({"cache_control": 1})),
        calls(json!({"cache_control": 2})),
        "what a tool is called with counts"
    );
}

/// One turn: what is asked, which header, how hard it looks, whether it thinks, how it ends, and from which earlier
/// turn it goes on.
type AnyTurn = (&'static str, u8, u8, bool, u8, prop::sample::Index);

fn any_turn() -> impl Strategy<Value = AnyTurn> {
    let asked = prop::sample::select(vec![
        "claude-opus-5-5",
        "claude-opus-5-5",
        "claude-opus-5-5",
        "claude-opus-5-5",
        "claude-opus-5-5",
        "claude-opus-5-5",
        "claude-sonnet-5-5",
        "claude-haiku-5-5",
        "claude-opus-5",
        "claude-opus-4-8",
        "claude-sonnet-5",
        "claude-sonnet-4-6",
        "claude-opus-4-6",
        "claude-haiku-4-5",
        "claude-fable-5-2",
        "sonnet",
        "tercet-auto",
    ]);
    (asked, 0u8..10, 0u8..4, any::<bool>(), 0u8..6, any::<prop::sample::Index>())
}

fn tiers_of(age: u8) -> Tiers {
    match age {
        0 => tiers(),
        1 => Tiers {
            haiku: "claude-haiku-4-5".into(),
            sonnet: "claude-sonnet-4-6".into(),
            opus: "claude-opus-4-6".into(),
        },
        _ => Tiers { sonnet: "claude-sonnet-5".into(), opus: "claude-opus-4-8".into(), ..tiers() },
    }
}

/// Plays `turns`, some of them going on from an earlier one, and checks what each model sent to can read.
fn play(turns: &[AnyTurn], mode: Mode, tiers: &Tiers) -> Result<(), TestCaseError> {
    let conversations = remembering_nothing();
    // Every state of a conversation: its messages, and who wrote the thinking in them.
    let mut states: Vec<(Vec<Value>, Vec<String>)> = vec![(Vec::new(), Vec::new())];
    for (number, (asked, header, hardness, thinks, ending, from)) in turns.iter().enumerate() {
        let at = if number % 2 == 1 { from.index(states.len()) } else { states.len() - 1 };
        let (mut messages, mut writers) = states[at].clone();
        messages.push(user("go on"));
        let body = json!({"model": asked, "max_tokens": 8_000, "messages": messages}).to_string();
        let envelope = read(body.as_bytes()).unwrap();
        let prefixes = Prefixes::of(&ALONE, &envelope).unwrap();
        let mut known = conversations.lookup(&prefixes);
        if let Some(past) = &mut known {
            past.note_tools(&envelope);
        }
        let facts = Facts {
            override_tier: Tier::ROUTED.get(usize::from(*header)).copied(),
            route_off: *header == 3,
            past: known.as_ref(),
            ..facts()
        };
        let complexity = match hardness {
            0 => middling(),
            1 => hard(),
            _ => easy(),
        };
        let decided =
            decide(&Asked::parse(asked), &envelope, &complexity, &CATALOG, tiers, &routing(mode), &facts);
        let Ok(decision) = decided else { continue };
        for writer in &writers {
            let lost = CATALOG.reads(&decision.reference, writer) && !CATALOG.reads(decision.model(), writer);
            prop_assert!(!lost, "turn {number}: {writer} is lost: {decision:?}");
        }
        let mut past = Past::sent(known.as_ref(), &envelope, &format!("tct_{number}"), decision.model());
        conversations.record(&prefixes, past.clone());
        // What an answer was may never come to be known.
        if *ending > 0 {
            let stop_reason = [None, Some("refusal"), Some("max_tokens")][usize::from(ending % 3)];
            past.note_answer(&Answered { stop_reason, has_thinking: *thinks, ..Answered::default() });
            conversations.record(&prefixes, past);
        }
        let mut answer = vec![json!({"type": "text", "text": format!("{number}")})];
        if *thinks {
            answer.insert(0, json!({"type": "thinking", "thinking": "", "signature": decision.model()}));
            writers.push(decision.model().to_owned());
        }
        messages.push(json!({"role": "assistant", "content": answer}));
        states.push((messages, writers));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn no_sequence_of_turns_loses_thinking_that_the_asked_model_could_read(
        turns in prop::collection::vec(any_turn(), 2..10), mode in 0u8..3, age in 0u8..3,
    ) {
        let mode = [Mode::Enforce, Mode::Enforce, Mode::Shadow][usize::from(mode)];
        play(&turns, mode, &tiers_of(age))?;
    }
}
