use proptest::prelude::*;

use super::*;
use crate::wire::envelope;

#[derive(Clone, Debug, PartialEq)]
struct Owned {
    scope: Vec<Vec<u8>>,
    upstream: String,
    credential: Vec<u8>,
    model: String,
    adaptation: String,
    query: String,
    betas: Vec<String>,
    body: Vec<u8>,
}

fn identity(owned: &Owned) -> Identity {
    let mut headers = HeaderMap::new();
    for beta in &owned.betas {
        headers.append("anthropic-beta", beta.parse().unwrap());
    }
    let scope: Vec<&[u8]> = owned.scope.iter().map(Vec::as_slice).collect();
    let left_out = envelope::read(&owned.body).map(|envelope| envelope.formalities).unwrap_or_default();
    Identity::of(&Parts {
        scope: &scope,
        upstream: &owned.upstream,
        credential: &owned.credential,
        model: &owned.model,
        adaptation: &owned.adaptation,
        query: &owned.query,
        headers: &headers,
        body: &Bytes::from(owned.body.clone()),
        left_out: &left_out,
    })
}

/// Tells whether two requests are the same by key, by comparison and by seal; they must agree.
fn are_same(left: &Owned, right: &Owned) -> bool {
    let (left, right) = (identity(left), identity(right));
    let same = left == right;
    assert_eq!(same, left.key() == right.key());
    assert_eq!(same, left.key().as_bytes() == right.key().as_bytes());
    assert_eq!(same, left.seal() == right.seal());
    same
}

fn owned() -> impl Strategy<Value = Owned> {
    let short = || proptest::collection::vec(0u8..3, 0..3);
    let word = || "[ab]{0,2}";
    let scope = proptest::collection::vec(short(), 0..3);
    let betas = proptest::collection::vec(word(), 0..3);
    (scope, word(), short(), word(), word(), word(), betas, short()).prop_map(
        |(scope, upstream, credential, model, adaptation, query, betas, body)| Owned {
            scope,
            upstream,
            credential,
            model,
            adaptation,
            query,
            betas,
            body,
        },
    )
}

/// A body in which some fields stand in some order, `stream` and `metadata` among them.
fn fields() -> impl Strategy<Value = Vec<String>> {
    let space = || prop::sample::select(vec!["", " ", "\n\t"]);
    let stream = (space(), prop::sample::select(vec!["true", "false", "null"]), space())
        .prop_map(|(before, value, after)| format!("\"stream\"{before}:{after}{value}"));
    let user = (space(), prop::sample::select(vec!["\"u1\"", "\"u2\"", "null"]), space())
        .prop_map(|(before, user, after)| format!("{before}\"user_id\":{after}{user}{before}"));
    let other = prop::option::of(prop::sample::select(vec!["\"tag\":\"user_id\"", "\"stream\":1"]));
    let metadata = (user, other, any::<bool>()).prop_map(|(user, other, first)| {
        let mut members: Vec<String> = [Some(user), other.map(str::to_owned)].into_iter().flatten().collect();
        if first {
            members.reverse();
        }
        format!("\"metadata\":{{{}}}", members.join(","))
    });
    let text = prop::sample::select(vec!["\"stream\":true", "a,b", "", "\\\"metadata\\\""])
        .prop_map(|text| format!("\"system\":{}", serde_json::json!(text)));
    let all = (prop::option::of(stream), prop::option::of(metadata), prop::option::of(text));
    all.prop_flat_map(|(stream, metadata, text)| {
        let model = Some("\"model\":\"m\"".to_owned());
        let given: Vec<String> = [model, stream, metadata, text].into_iter().flatten().collect();
        Just(given).prop_shuffle()
    })
}

fn body(fields: &[String], gap: &str) -> Vec<u8> {
    format!("{{{gap}{}{gap}}}", fields.join(&format!("{gap},{gap}"))).into_bytes()
}

/// What is left of a body is what the standard reader sees without the two fields.
fn plain(body: &[u8]) -> serde_json::Value {
    let mut value: serde_json::Value = serde_json::from_slice(body).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("stream");
    if let Some(metadata) = fields.get_mut("metadata") {
        metadata.as_object_mut().unwrap().remove("user_id");
    }
    value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]
    #[test]
    fn requests_are_the_same_exactly_when_every_part_is(left in owned(), right in owned()) {
        prop_assert_eq!(are_same(&left, &right), left == right);
    }

    #[test]
    fn what_does_not_count_leaves_a_document_of_the_rest(fields in fields(), gap in "[ ]{0,2}") {
        let body = body(&fields, &gap);
        let envelope = envelope::read(&body).unwrap();
        let rest = pieces(&body, &envelope.formalities).concat();
        let value: serde_json::Value = serde_json::from_slice(&rest).unwrap();
        prop_assert_eq!(value, plain(&body), "{}", String::from_utf8_lossy(&rest));
    }

    #[test]
    fn bodies_that_mean_different_things_are_never_the_same(left in fields(), right in fields()) {
        let base = Owned {
            scope: vec![b"acme".to_vec()], upstream: String::new(), credential: vec![], model: "m".to_owned(),
            adaptation: String::new(), query: String::new(), betas: vec![], body: vec![],
        };
        let [one, other] = [&left, &right].map(|fields| Owned { body: body(fields, ""), ..base.clone() });
        if are_same(&one, &other) {
            prop_assert_eq!(plain(&one.body), plain(&other.body));
        }
    }

    #[test]
    fn pieces_are_compared_wherever_they_were_cut(
        bytes in proptest::collection::vec(0u8..2, 0..12), cuts in any::<[prop::sample::Index; 4]>(), flip in any::<prop::sample::Index>(),
    ) {
        let mut at = cuts.map(|cut| cut.index(bytes.len() + 1));
        at[..2].sort_unstable();
        at[2..].sort_unstable();
        let cut = |bytes: &[u8], one: usize, other: usize| [bytes[..one].to_vec(), bytes[one..other].to_vec(), bytes[other..].to_vec()];
        let (left, right) = (cut(&bytes, at[0], at[1]), cut(&bytes, at[2], at[3]));
        let view = |pieces: &[Vec<u8>; 3]| -> bool { same([&left[0], &left[1], &left[2]], [&pieces[0], &pieces[1], &pieces[2]]) };
        prop_assert!(view(&right));
        let mut changed = bytes;
        if !changed.is_empty() {
            let place = flip.index(changed.len());
            changed[place] ^= 1;
            prop_assert!(!view(&cut(&changed, at[2], at[3])));
            changed.pop();
            let shorter = changed.len();
            prop_assert!(!view(&cut(&changed, at[2].min(shorter), at[3].min(shorter))));
        }
    }
}

/// Near twins: a request, and the same with one thing changed that counts.
fn twin(number: usize) -> (Owned, Owned) {
    let text = format!("{{\\\"a\\\":{number}}} write {} words, please", number % 97);
    let messages = format!(r#""messages":[{{"role":"user","content":"{text}"}}]"#);
    let fields = [
        r#""model":"claude-haiku-5-5""#.to_owned(),
        format!(r#""max_tokens":{}"#, 100 + number % 13),
        messages,
        r#""stream":true"#.to_owned(),
        format!(r#""metadata":{{"user_id":"user-{number}"}}"#),
    ];
    let one = Owned {
        scope: vec![b"tenant".to_vec(), b"acme".to_vec()],
        upstream: "https://api.anthropic.com".to_owned(),
        credential: vec![7; 32],
        model: "claude-haiku-5-5".to_owned(),
        adaptation: String::new(),
        query: "beta=true".to_owned(),
        betas: vec!["context-1m-2025-08-07".to_owned()],
        body: format!("{{{}}}", fields.join(",")).into_bytes(),
    };
    let mut other = one.clone();
    match number % 10 {
        0 => other.scope[1] = b"acmf".to_vec(),
        1 => other.scope = vec![b"user".to_vec(), b"acme".to_vec(), b"ann".to_vec()],
        2 => other.credential[number % 32] ^= 1,
        3 => other.model.push('1'),
        4 => other.query.clear(),
        5 => other.betas.push("a".to_owned()),
        6 => other.betas[0].replace_range(..1, "d"),
        7 => {
            let mut fields = fields.clone();
            fields.swap(number / 10 % 3, (number / 10 + 1) % 3);
            other.body = format!("{{{}}}", fields.join(",")).into_bytes();
        }
        _ => {
            // One byte of a field that counts.
            let counted = one.body.len() - fields[3].len() - fields[4].len() - 3;
            let place = number * 31 % counted;
            other.body[place] = if other.body[place] == b'x' { b'y' } else { b'x' };
        }
    }
    (one, other)
}

#[test]
fn ten_thousand_near_twins_are_never_taken_for_one_another() {
    let mut seen = std::collections::HashSet::new();
    for number in 0..10_000 {
        let (one, other) = twin(number);
        assert!(one != other && !are_same(&one, &other), "{one:?}\n{other:?}");
        let formal = String::from_utf8(one.body.clone()).unwrap();
        let formal = formal.replace("\"stream\":true", "\"stream\":false").replace("user-", "person-");
        assert!(are_same(&one, &Owned { body: formal.into_bytes(), ..one.clone() }));
        seen.extend([identity(&one).key(), identity(&other).key()]);
    }
    assert_eq!(seen.len(), 20_000);
}
