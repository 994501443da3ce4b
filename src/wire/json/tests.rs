use proptest::prelude::*;
use serde_json::value::RawValue;

use super::{Cursor, MAX_DEPTH, Malformed};

fn accept(body: &[u8]) -> Result<std::ops::Range<usize>, Malformed> {
    let mut cursor = Cursor::new(body)?;
    let span = cursor.skip()?;
    cursor.end()?;
    Ok(span)
}

/// Walks the same document through the pull interface, as readers do.
fn walk(cursor: &mut Cursor<'_>) -> Result<(), Malformed> {
    match cursor.kind()? {
        super::Kind::Object => cursor.each_field(|cursor, _| walk(cursor)).map(drop),
        super::Kind::Array => cursor.each_item(walk).map(drop),
        _ => cursor.skip().map(drop),
    }
}

fn walked(body: &[u8]) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(body)?;
    walk(&mut cursor)?;
    cursor.end()
}

fn json_ish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"model\"", " ", "\n", "\t", "\r", "0", "-", "1", "12.5",
            "01", "1e5", "1E+", "e", ".", "true", "false", "null", "tru", "\\", "\"\\u00e9\"", "\"\\ud800\"",
            "\"\\x\"", "\"é\"", "{}", "[]", "{\"a\":1}", "[1,2]", "\"a\":", "\u{feff}", "\u{1}", "\"\u{1f}\"",
            "\"a string of more than sixteen and more than forty-eight bytes, to be passed in blocks\\n\"",
        ]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

fn valid_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just(" true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        (-1e9..1e9f64).prop_map(|number| format!("{number:e}")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|fields| {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{} :{value}", serde_json::to_string(name).unwrap()))
                    .collect();
                format!("{{ {} }}", fields.join(","))
            }),
        ]
    })
}

/// What may stand in a string and what may not, at every place of a block and across two.
fn in_a_string() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => (prop::sample::select(vec!["\\", "\\\\", "\\\"", "\\n", "\\t", "\\/", "\\u00e9", "\\\\\\\"", "é"]), 1..4usize)
            .prop_map(|(piece, times)| piece.repeat(times).into_bytes()),
        4 => (0..40usize).prop_map(|length| vec![b'n'; length]),
        1 => prop::sample::select(vec!["\"", "\n", "\u{1f}", "\\x", "\\u00g0", "\\u12"])
            .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    (prop::collection::vec(piece, 0..12), any::<bool>()).prop_map(|(pieces, ends)| {
        let end: &[u8] = if ends { b"\"" } else { b"" };
        [b"\"", &pieces.concat()[..], end].concat()
    })
}

/// serde_json reads lone surrogates of a raw value without complaint, as we do; and so do we with 1e400.
fn reference(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<&RawValue>(body).ok().map(|raw| raw.get().to_owned())
}

proptest! {
    #[test]
    fn accepts_exactly_what_the_reference_accepts(body in json_ish()) {
        let ours = accept(&body).ok().map(|span| String::from_utf8(body[span].to_vec()).unwrap());
        prop_assert_eq!(&ours, &reference(&body));
        prop_assert_eq!(walked(&body).is_ok(), ours.is_some());
    }

    #[test]
    fn accepts_every_valid_document_and_one_broken_byte_as_the_reference_does(
        document in valid_json(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = document.into_bytes();
        prop_assert!(accept(&body).is_ok());
        prop_assert!(walked(&body).is_ok());
        let at = at.index(body.len());
        body[at] = byte;
        prop_assert_eq!(accept(&body).is_ok(), reference(&body).is_some());
    }

    #[test]
    fn escapes_are_told_from_ends_wherever_a_block_is_cut(string in in_a_string(), after in 0..70usize) {
        let body = [&string[..], &vec![b' '; after]].concat();
        prop_assert_eq!(accept(&body).ok().map(|span| span.end), reference(&body).map(|raw| raw.len()));
        if let Ok(text) = Cursor::new(&body).unwrap().string() {
            prop_assert_eq!(text.escaped, text.raw.contains('\\'));
        }
    }

    #[test]
    fn a_string_means_what_the_reference_says(text in any::<String>(), escape_all in any::<bool>()) {
        let quoted = if escape_all {
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            format!("\"{units}\"")
        } else {
            serde_json::to_string(&text).unwrap()
        };
        let read = Cursor::new(quoted.as_bytes()).unwrap().string().unwrap();
        prop_assert_eq!(read.span.clone(), 0..quoted.len());
        prop_assert_eq!(read.unescape().unwrap(), text);
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(accept(&body).is_ok(), reference(&body).is_some());
    }
}

#[test]
fn nesting_is_bounded_by_depth_and_not_by_the_stack() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    for depth in [1, MAX_DEPTH] {
        assert!(accept(&nested(depth)).is_ok());
        assert!(walked(&nested(depth)).is_ok());
    }
    for depth in [MAX_DEPTH + 1, 100_000] {
        assert!(accept(&nested(depth)).unwrap_err().message.contains("nested deeper than 128 levels"));
        assert!(walked(&nested(depth)).unwrap_err().message.contains("nested deeper than 128 levels"));
    }
    let objects = "{\"a\":".repeat(100_000);
    assert!(accept(objects.as_bytes()).unwrap_err().message.contains("nested deeper"));
}

#[test]
fn a_refusal_says_what_was_expected_and_where() {
    for (body, message) in [
        (r#"{"a" 1}"#, "the body is not valid JSON: expected ':' at byte 5"),
        ("{} {}", "the body is not valid JSON: expected the end of the document at byte 3"),
        ("", "the body is not valid JSON: expected a value at byte 0"),
        ("\u{feff}{}", "the body is not valid JSON: a byte order mark is not allowed at byte 0"),
        ("[\"a\nb\"]", "the body is not valid JSON: a control character in a string at byte 3"),
        ("\"\\n\\x\n", "the body is not valid JSON: an unknown escape in a string at byte 3"),
        ("\"\\u00", "the body is not valid JSON: an unknown escape in a string at byte 1"),
        ("\"a\\", "the body is not valid JSON: expected '\"' at byte 3"),
        ("[1 2]", "the body is not valid JSON: expected ',' or ']' at byte 3"),
    ] {
        assert_eq!(accept(body.as_bytes()).unwrap_err().message, message);
    }
    assert!(accept(b"\"\xff\"").unwrap_err().message.contains("not UTF-8"));
    assert!(accept(b"{\x00\"\x00").is_err(), "UTF-16 is not UTF-8 JSON");
}

#[test]
fn a_lone_surrogate_is_accepted_but_means_nothing() {
    for body in
        [r#""\ud800""#, r#""\ud800x""#, r#""\udc00\ud800""#, r#""\ud800\u0041""#, r#""\ud800\n12345""#]
    {
        assert!(accept(body.as_bytes()).is_ok());
        assert_eq!(Cursor::new(body.as_bytes()).unwrap().string().unwrap().unescape(), None);
    }
}

#[test]
fn every_string_length_and_position_of_the_end_is_found() {
    for length in 0..140 {
        for special in [b'"', b'\\', b'\x1f'] {
            let mut bytes = vec![b'x'; length];
            assert_eq!(super::plain_prefix(&bytes), length);
            bytes.push(special);
            bytes.extend_from_slice(&[b'y'; 70]);
            assert_eq!(super::plain_prefix(&bytes), length);
        }
    }
}
