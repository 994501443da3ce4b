//! Body → decision: what is accepted has one reading, and only the model's name changes.

use bytes::Bytes;
use serde_json::Value;
use tercet::wire::envelope;
use tercet::wire::splice::Splice;

/// Reads a body, holds what was read against another parser, and splices another model in.
///
/// # Panics
/// Where the two parsers differ, or where anything but the model changed.
pub fn run(data: &[u8]) {
    let Ok(read) = envelope::read(data) else { return };
    let other: Value = match serde_json::from_slice(data) {
        Ok(other) => other,
        // Numbers that no double holds, lone surrogates in escapes and depth are its own limits, and kept by us byte for byte.
        Err(_) => return,
    };
    assert_eq!(other["model"].as_str(), Some(&*read.model));
    assert_eq!(other["max_tokens"].as_u64(), read.max_tokens);
    assert_eq!(other["stream"].as_bool().unwrap_or(false), read.stream);
    let body = Bytes::copy_from_slice(data);
    let (span, model) = (read.model_span.clone(), read.model.clone().into_owned());
    let splice =
        Splice { model_span: span.clone(), model: "a-model \"of\u{e9}\" ours".to_owned(), insert: None };
    let spliced = splice.apply(&body).concat();
    let again = envelope::read(&spliced).expect("a spliced body is as sound as it was");
    assert_eq!(again.model, "a-model \"of\u{e9}\" ours");
    assert_eq!((again.max_tokens, again.stream), (read.max_tokens, read.stream));
    let back = Splice { model_span: again.model_span.clone(), model, insert: None }
        .apply(&spliced.clone().into())
        .concat();
    assert_eq!(back[..span.start], data[..span.start]);
    assert!(back.ends_with(&data[span.end..]));
}
