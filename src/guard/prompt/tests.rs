use proptest::prelude::*;
use regex::Regex;
use serde_json::{Value, json};

use super::*;
use crate::config::Detector;
use crate::guard::tests::guard;
use crate::wire::envelope;

fn redacting(detect: &[Detector]) -> Vec<Guard> {
    vec![Guard { detect: detect.to_vec(), ..guard(Action::Redact) }]
}

fn asked(guards: &[Guard], body: &[u8]) -> Prompt {
    let key = Secret::new("a key of the tests".to_owned());
    look(Policy { guards, key: Some(&key), scope: "acme" }, &envelope::read(body).unwrap())
}

fn sent(guards: &[Guard], body: &Value) -> Value {
    let text = body.to_string();
    let prompt = asked(guards, text.as_bytes());
    assert_eq!(prompt.refused, None);
    serde_json::from_slice(prompt.body.as_deref().unwrap_or(text.as_bytes())).unwrap()
}

fn body(messages: &[Value]) -> Value {
    json!({ "model": "m", "max_tokens": 1, "messages": messages })
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

#[test]
fn only_what_was_found_is_replaced_where_it_stands() {
    let guards = redacting(&[Detector::Email]);
    let raw = br#"{ "model" : "m","max_tokens":1,"x":1e400, "messages":[{"role":"user","content":"caf\u00e9 \u0061da@acme.io\n\ud83d\ude00 end"}],"x":2 }"#;
    let prompt = asked(&guards, raw);
    let sent = String::from_utf8(prompt.body.unwrap()).unwrap();
    let at = sent.find("REDACTED_EMAIL_").unwrap();
    let placeholder = &sent[at..at + 27];
    let expected = String::from_utf8_lossy(raw).replace(r"\u0061da@acme.io", placeholder);
    assert_eq!(sent, expected);
    assert_eq!(prompt.finds.header(), "redact:email=1");
    let nothing = asked(&guards, body(&[user("nothing here")]).to_string().as_bytes());
    assert!(nothing.body.is_none() && nothing.restoration.is_none() && nothing.finds.is_empty());
}

#[test]
fn tool_inputs_results_and_systems_are_looked_at_and_thinking_is_not() {
    let guards = redacting(&[Detector::Email]);
    let body = json!({ "model": "m", "max_tokens": 1, "system": [{ "type": "text", "text": "sys@acme.io" }],
        "tools": [{ "name": "mail", "description": "tool@acme.io", "input_schema": { "type": "object" } }],
        "messages": [
            user("one@acme.io"),
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "mail", "input": { "to": "two@acme.io" } }] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "text", "text": "three@acme.io" }] }] },
        ] });
    let text = sent(&guards, &body).to_string();
    assert_eq!(text.matches("REDACTED_EMAIL_").count(), 5);
    assert!(!text.contains("acme.io"));
    let thinking = json!({ "model": "m", "max_tokens": 1, "messages": [user("hi"),
        { "role": "assistant", "content": [{ "type": "thinking", "thinking": "one@acme.io", "signature": "two@acme.io" }] }] });
    assert_eq!(sent(&guards, &thinking), thinking);
}

#[test]
fn what_the_model_wrote_stays_what_it_wrote() {
    let guards = redacting(&[Detector::Email]);
    let thinks = json!({ "type": "thinking", "thinking": "hm", "signature": "s" });
    let turn =
        |text: &str| json!({ "role": "assistant", "content": [thinks, { "type": "text", "text": text }] });
    let seen = sent(
        &guards,
        &body(&[
            user("ada@acme.io"),
            turn("xada@acme.io, bob@acme.io"),
            user("bob@acme.io"),
            turn("bob@acme.io"),
        ]),
    );
    let text = |index: usize| seen["messages"][index]["content"].clone();
    let ada = text(0).as_str().unwrap().to_owned();
    let bob = text(2).as_str().unwrap().to_owned();
    // What was put back is replaced wherever it stands; what nobody had sent before is the model's own.
    assert_eq!(text(1)[1]["text"], json!(format!("x{ada}, bob@acme.io")));
    assert_eq!(text(3)[1]["text"], json!(bob));
    // Without thinking nothing is bound, and the client may have written it.
    let plain = sent(
        &guards,
        &body(&[user("hi"), json!({ "role": "assistant", "content": "bob@acme.io" }), user("x")]),
    );
    assert_eq!(plain["messages"][1]["content"], json!(bob));
}

#[test]
fn guards_are_asked_in_order() {
    let find = |action, detect: &[Detector]| Guard { detect: detect.to_vec(), ..guard(action) };
    let (secret, text) = ("AKIAQ3EGSDKJ7RTYPLMN", "ada@acme.io and AKIAQ3EGSDKJ7RTYPLMN");
    let refuse = [find(Action::Flag, &[Detector::Email]), find(Action::Refuse, &[Detector::AwsKey])];
    let prompt = asked(&refuse, body(&[user("x"), user(text)]).to_string().as_bytes());
    let refused = prompt.refused.unwrap();
    assert_eq!(refused.message, "messages.1: this tenant does not allow aws-key in prompts");
    assert!(!refused.message.contains(secret));
    assert_eq!(prompt.finds.header(), "flag:email=1, refuse:aws-key=1");
    // What an earlier guard took out a later one does not see.
    let hidden = [find(Action::Redact, &[Detector::AwsKey]), find(Action::Refuse, &[Detector::AwsKey])];
    let prompt = asked(&hidden, body(&[user(text)]).to_string().as_bytes());
    assert_eq!((prompt.refused, prompt.finds.header().as_str()), (None, "redact:aws-key=1"));
    let named = Guard {
        name: "project".to_owned(),
        patterns: vec![Regex::new("bluebird").unwrap()],
        ..guard(Action::Redact)
    };
    let prompt = asked(&[named], body(&[user("bluebird")]).to_string().as_bytes());
    assert!(String::from_utf8(prompt.body.unwrap()).unwrap().contains("REDACTED_PROJECT_"));
}

#[test]
fn what_guards_find_in_one_place_becomes_one() {
    let pattern = |text: &str| Guard { patterns: vec![Regex::new(text).unwrap()], ..guard(Action::Redact) };
    let cases = [
        (vec!["bcd", "cde"], "abcdef", "a#f"),
        (vec!["cde", "bcd"], "abcdef", "a#f"),
        (vec!["b", "d", "abcde"], "abcdef", "#f"),
        (vec!["abcde", "b", "d"], "abcdef", "#f"),
        (vec!["bc", "ef", "cde"], "abcdef", "a#"),
        (vec!["ab", "cd"], "abcdab", "###"),
        (vec!["b", "ab|bc"], "abc bc", "#c #"),
    ];
    let placeholder = Regex::new("REDACTED_PATTERN_[0-9a-z]{12}").unwrap();
    for (patterns, text, expected) in cases {
        let guards: Vec<Guard> = patterns.iter().map(|text| pattern(text)).collect();
        let seen = sent(&guards, &body(&[user(text)]))["messages"][0]["content"].as_str().unwrap().to_owned();
        assert_eq!(placeholder.replace_all(&seen, "#"), expected, "{patterns:?}");
    }
}

#[test]
fn a_text_that_stands_there_often_is_replaced_each_time() {
    let text = "ada@acme.io ".repeat(20_000);
    let seen =
        sent(&redacting(&[Detector::Email]), &body(&[user(&text)]))["messages"][0]["content"].to_string();
    assert_eq!((seen.matches("REDACTED_EMAIL_").count(), seen.contains('@')), (20_000, false));
}

#[test]
fn a_conversation_that_lies_upstream_cannot_be_redacted() {
    let thread = json!({ "model": "m", "max_tokens": 1, "thread": { "type": "continue", "previous_message_id": "msg_1" },
        "messages": [user("hi")] });
    let prompt = asked(&redacting(&[Detector::Email]), thread.to_string().as_bytes());
    assert!(prompt.refused.unwrap().message.contains("thread"));
}

/// Messages with and without what is found, by both.
fn messages() -> impl Strategy<Value = Vec<Value>> {
    let word = prop::sample::select(vec![
        "ada@acme.io",
        "bob@acme.io",
        "x",
        " ",
        "+49 30 901820",
        "\"",
        "é\n",
        "a@b.io",
        ",",
    ]);
    let text = prop::collection::vec(word, 0..6).prop_map(|words| words.concat());
    let message = (text, any::<bool>(), any::<bool>()).prop_map(|(text, assistant, thinks)| match (assistant, thinks) {
        (false, _) => user(&text),
        (true, false) => json!({ "role": "assistant", "content": text }),
        (true, true) => json!({ "role": "assistant", "content": [{ "type": "thinking", "thinking": "t", "signature": "s" }, { "type": "text", "text": text }] }),
    });
    prop::collection::vec(message, 1..7)
}

proptest! {
    #[test]
    fn a_conversation_that_goes_on_keeps_its_beginning(messages in messages(), cut in any::<prop::sample::Index>()) {
        let guards = redacting(&[Detector::Email, Detector::Phone]);
        let cut = cut.index(messages.len()) + 1;
        let (part, whole) = (sent(&guards, &body(&messages[..cut])), sent(&guards, &body(&messages)));
        prop_assert_eq!(part["messages"].as_array().unwrap(), &whole["messages"].as_array().unwrap()[..cut]);
    }

    #[test]
    fn however_a_text_is_escaped_only_its_bytes_change(
        escapes in prop::collection::vec(0u8..3, 11),
        before in "[ \\n]{0,3}",
        around in prop::sample::select(vec!["", "caf\\u00e9 ", "\\ud83d\\ude00", "\\n", "\\\\ ", "\\ud800 "]),
    ) {
        let written: String = "ada@acme.io".chars().zip(&escapes).map(|(letter, escape)| match escape {
            0 => letter.to_string(),
            1 => format!("\\u{:04x}", letter as u32),
            _ => format!("\\u{:04X}", letter as u32),
        }).collect();
        let raw = format!("{{{before}\"model\":\"m\",\"x\":[1e400,\"{written}\"],\"messages\":[{{\"content\":\"{around}{written}{before}\",\"role\" : \"user\"}}]}}")
            .replace(&format!("{before}\",\"role"), "\",\"role");
        let prompt = asked(&redacting(&[Detector::Email]), raw.as_bytes());
        let sent = String::from_utf8(prompt.body.unwrap()).unwrap();
        let at = sent.find("REDACTED_").unwrap();
        let begin = raw.rfind(&written).unwrap();
        prop_assert_eq!(&sent[..at], &raw[..begin]);
        prop_assert_eq!(&sent[at + 27..], &raw[begin + written.len()..]);
    }

    /// Whatever the model answers with placeholders in it comes back up as the model wrote it.
    #[test]
    fn what_is_put_back_is_taken_out_again(
        words in prop::collection::vec(prop::sample::select(vec![0usize, 1, 2, 3, 4, 5]), 0..8)
    ) {
        let guards = redacting(&[Detector::Email, Detector::Phone]);
        let first = body(&[user("ada@acme.io, bob@acme.io or +49 30 901820?")]);
        let prompt = asked(&guards, first.to_string().as_bytes());
        let up: Value = serde_json::from_slice(prompt.body.as_deref().unwrap()).unwrap();
        let line = up["messages"][0]["content"].as_str().unwrap();
        let placeholders: Vec<&str> = line.split([' ', ',', '?']).filter(|word| word.starts_with("RED")).collect();
        let said: String = words.iter().map(|word| match word {
            0..=2 => placeholders[*word],
            3 => " ",
            4 => "\"\n",
            _ => "z",
        }).collect();
        let answer = json!({ "role": "assistant", "content": [
            { "type": "thinking", "thinking": placeholders[0], "signature": "s" },
            { "type": "text", "text": said },
            { "type": "tool_use", "id": "t", "name": "n", "input": { "deep": [said] } },
        ] });
        let bytes = answer.to_string();
        let restored = prompt.restoration.unwrap().whole(bytes.as_bytes());
        let seen: Value = serde_json::from_slice(restored.as_deref().unwrap_or(bytes.as_bytes())).unwrap();
        prop_assert!(!seen["content"][1].to_string().contains("REDACTED"));
        let next = body(&[first["messages"][0].clone(), seen, user("go on")]);
        prop_assert_eq!(&sent(&guards, &next)["messages"][1], &answer);
    }
}
