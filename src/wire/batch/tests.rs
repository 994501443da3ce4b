use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn feed<'c>(
    chunks: impl IntoIterator<Item = &'c [u8]>,
    replace: impl Fn(&str) -> Option<String>,
) -> Result<(Vec<u8>, BatchSummary), Malformed> {
    let mut rewriter = BatchRewriter::default();
    let mut output = Vec::new();
    for chunk in chunks {
        for part in rewriter.feed(&Bytes::copy_from_slice(chunk), &replace)? {
            output.extend_from_slice(&part);
        }
    }
    Ok((output, rewriter.finish()?))
}

fn upper(model: &str) -> Option<String> {
    (model != "keep").then(|| format!("{}\"", model.to_uppercase()))
}

const BATCH: &str = r#" {"x":{"requests":[{"params":{"model":"no"}}]}, "requests" : [
  {"custom_id":"a","params":{"messages":[{"content":"\"model\":\"no\"","model":"no"}],"max_tokens":10,"model":"m\u00e9\\"}},
  {"params":{"model" : "keep","max_tokens":7, "metadata":{"model":1,"model":2}, "x":[1.5e-3,true,{"params":{}}]},"params2":{"model":"no"}},
  {"params":{"model":"keep"}}
 ], "model":"no","params":{"model":"no"}} "#;

#[test]
fn exactly_the_models_of_the_items_are_replaced_and_counted() {
    let (output, summary) = feed([BATCH.as_bytes()], upper).unwrap();
    let expected = BATCH.replacen(r#""m\u00e9\\""#, r#""MÉ\\\"""#, 1);
    assert_eq!(String::from_utf8(output).unwrap(), expected);
    assert_eq!(summary.items, 3);
    let models: Vec<(&str, u64, u64)> =
        summary.models.iter().map(|model| (&*model.model, model.items, model.max_tokens)).collect();
    assert_eq!(models, [("MÉ\\\"", 1, 10), ("keep", 2, 7)]);
    let first = BATCH.lines().nth(1).unwrap();
    let params = first.split_once("\"params\":").unwrap().1.trim_end_matches("},");
    assert_eq!(summary.models[0].params_bytes, params.len() as u64);
}

#[test]
fn an_ambiguous_or_wrong_batch_is_refused_by_the_name_of_the_field() {
    let item =
        |params: &str| format!(r#"{{"requests":[{{"params":{{"model":"m"}}}},{{"params":{params}}}]}}"#);
    for (body, message) in [
        ("[]".to_owned(), "the body should be a JSON object"),
        ("1 ".to_owned(), "the body should be a JSON object"),
        ("{}".to_owned(), "requests: Field required"),
        (r#"{"requests":{}}"#.to_owned(), "requests: Input should be a valid list"),
        (r#"{"requests":null}"#.to_owned(), "requests: Input should be a valid list"),
        (r#"{"requests":[[]]}"#.to_owned(), "requests.0: Input should be a valid dictionary"),
        (r#"{"requests":["x"]}"#.to_owned(), "requests.0: Input should be a valid dictionary"),
        (r#"{"requests":[{}]}"#.to_owned(), "requests.0.params: Field required"),
        (r#"{"requests":[],"requests":[]}"#.to_owned(), "requests: given twice"),
        (r#"{"r\u0065quests":[]}"#.to_owned(), "requests: written with an escape in its name"),
        (item("[]"), "requests.1.params: Input should be a valid dictionary"),
        (item("1"), "requests.1.params: Input should be a valid dictionary"),
        (item("{}"), "requests.1.params.model: Field required"),
        (item(r#"{"model":1}"#), "requests.1.params.model: Input should be a valid string"),
        (item(r#"{"model":{}}"#), "requests.1.params.model: Input should be a valid string"),
        (item(r#"{"model":"\ud800"}"#), "requests.1.params.model: Input should be a valid string"),
        (item(r#"{"model":"a","model":"a"}"#), "requests.1.params.model: given twice"),
        (item(r#"{"\u006dodel":"a"}"#), "requests.1.params.model: written with an escape in its name"),
        (item(r#"{"max_tokens":1.0}"#), "requests.1.params.max_tokens: Input should be a valid integer"),
        (item(r#"{"max_tokens":"1"}"#), "requests.1.params.max_tokens: Input should be a valid integer"),
        (item(r#"{"max_tokens":[]}"#), "requests.1.params.max_tokens: Input should be a valid integer"),
        (item(r#"{"model":"m"},"params":{"model":"m"}"#), "requests.1.params: given twice"),
    ] {
        assert_eq!(feed([body.as_bytes()], upper).expect_err(&body).message, message);
        assert_eq!(feed(body.as_bytes().chunks(1), upper).expect_err(&body).message, message);
    }
    let long = item(&format!(r#"{{"model":"{}"}}"#, "x".repeat(2_000)));
    assert!(feed([long.as_bytes()], upper).unwrap_err().message.contains("at most 1024"));
    let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    assert!(feed([deep.as_bytes()], upper).unwrap_err().message.contains("nested deeper"));
    let many: Vec<String> = (0..65).map(|model| format!(r#"{{"params":{{"model":"m{model}"}}}}"#)).collect();
    let many = format!(r#"{{"requests":[{}]}}"#, many.join(","));
    assert!(feed([many.as_bytes()], upper).unwrap_err().message.contains("at most 64 models"));
}

#[test]
fn a_long_name_is_no_name_that_matters() {
    let body = format!(r#"{{"{}":1,"requests":[]}}"#, "requests".repeat(1_000));
    assert_eq!(feed(body.as_bytes().chunks(100), upper).unwrap().0, body.as_bytes());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<Option<bool>>().prop_map(|flag| json!(flag)),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(inner, 0..3).prop_map(|values| {
                let names = ["requests", "params", "model", "max_tokens"];
                names.iter().map(|name| (*name).to_owned()).zip(values).collect()
            }),
        ]
    })
}

fn batch() -> impl Strategy<Value = String> {
    let item = (any::<String>(), any::<u32>(), value(), value()).prop_map(|(model, max_tokens, extra, other)| {
        json!({"params": {"model": model, "max_tokens": max_tokens, "messages": extra}, "other": other})
    });
    (prop::collection::vec(item, 0..4), value(), any::<bool>()).prop_map(|(items, extra, pretty)| {
        let batch = json!({"requests": items, "a": extra.clone(), "z": extra});
        if pretty { format!("{batch:#}") } else { batch.to_string() }
    })
}

proptest! {
    #[test]
    fn without_replacement_nothing_changes_however_it_is_cut(batch in batch(), size in 1usize..9) {
        let (output, summary) = feed(batch.as_bytes().chunks(size), |_| None).unwrap();
        prop_assert_eq!(output, batch.as_bytes());
        let read: Value = serde_json::from_str(&batch).unwrap();
        let items = read["requests"].as_array().unwrap();
        prop_assert_eq!(summary.items, items.len() as u64);
        let expected: u64 = items.iter().map(|item| item["params"]["max_tokens"].as_u64().unwrap()).sum();
        prop_assert_eq!(summary.models.iter().map(|model| model.max_tokens).sum::<u64>(), expected);
    }

    #[test]
    fn replacing_is_the_same_however_it_is_cut(batch in batch(), cut in any::<prop::sample::Index>()) {
        let whole = feed([batch.as_bytes()], upper).unwrap();
        let mut read: Value = serde_json::from_str(&batch).unwrap();
        for item in read["requests"].as_array_mut().unwrap() {
            let model = item["params"]["model"].as_str().unwrap().to_owned();
            item["params"]["model"] = Value::from(upper(&model).unwrap_or(model));
        }
        prop_assert_eq!(&serde_json::from_slice::<Value>(&whole.0).unwrap(), &read);
        prop_assert_eq!(&feed(batch.as_bytes().chunks(1), upper).unwrap(), &whole);
        let (before, after) = batch.as_bytes().split_at(cut.index(batch.len()));
        prop_assert_eq!(&feed([before, &[], after], upper).unwrap(), &whole);
    }

    #[test]
    fn what_is_accepted_is_json(batch in batch(), at in any::<prop::sample::Index>(), byte in 0u8..128) {
        let mut body = batch.into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let ours = feed([&body[..]], |_| None);
        let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(&body).is_ok();
        if let Ok((output, _)) = &ours {
            prop_assert_eq!(output, &body);
            prop_assert!(is_json || std::str::from_utf8(&body).is_err());
        }
        prop_assert_eq!(feed(body.chunks(1), |_| None).map_err(|refused| refused.message), ours.map_err(|refused| refused.message));
    }
}

#[test]
fn objects_that_items_name_are_found_however_the_body_is_cut() {
    let body = br#"{"requests":[{"params":{"model":"m","messages":[{"file\u005fid":"file_1","x":{"file_id":"row"}}],
        "container":"container_1","thread":{"type":"continue","previous_message_id":"msg_1"}}},{"custom_id":"file_id",
        "params":{"container":{"skills":[{"id":"no"}],"id":"container_2"},"diagnostics":{"previous_message_id":"no"},
        "input":{"file_id":{"type":"file_9"},"container":"no","id":"no"},"model":"m","\u0063ontainer":"container_3"}}]}"#;
    for size in 1..=body.len() {
        let mut rewriter = BatchRewriter::default();
        let mut named = Vec::new();
        for chunk in body.chunks(size) {
            rewriter.feed(&Bytes::copy_from_slice(chunk), |_| None).unwrap();
            named.extend(rewriter.named());
        }
        let found: Vec<_> = named.iter().map(|named| (named.kind, named.id.as_str(), named.item)).collect();
        let expected = [
            (NamedKind::File, "file_1", 0),
            (NamedKind::Container, "container_1", 0),
            (NamedKind::Thread, "msg_1", 0),
            (NamedKind::Container, "container_2", 1),
            (NamedKind::Container, "container_3", 1),
        ];
        assert_eq!(found, expected, "in pieces of {size}");
    }
}
