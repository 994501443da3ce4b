//! The one change made to a request: another model's name in place of the asked one, and, where an adaptation
//! asks for it, a few fields right behind it.
//!
//! Nothing is copied: the changed body is three slices, the first and last of which share the received bytes.

use std::ops::Range;

use bytes::Bytes;

use crate::wire::json::quote;

/// A change to one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Where the model's string stands in the body, quotes included.
    pub model_span: Range<usize>,
    /// The model to name instead.
    pub model: String,
    /// Text put right behind the model's value, such as `,"thinking":{"type":"disabled"}`.
    pub insert: Option<String>,
}

impl Splice {
    /// Returns the changed body's pieces in order; a span that is not within the body changes nothing.
    #[must_use]
    pub fn apply(&self, body: &Bytes) -> [Bytes; 3] {
        let Range { start, end } = self.model_span;
        if start > end || end > body.len() {
            return [body.clone(), Bytes::new(), Bytes::new()];
        }
        let mut replacement = quote(&self.model);
        replacement.push_str(self.insert.as_deref().unwrap_or_default());
        [body.slice(..start), Bytes::from(replacement), body.slice(end..)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::envelope;

    fn splice(body: &[u8], model: &str, insert: Option<&str>) -> Vec<u8> {
        let model_span = envelope::read(body).unwrap().model_span;
        let splice = Splice { model_span, model: model.to_owned(), insert: insert.map(str::to_owned) };
        splice.apply(&Bytes::copy_from_slice(body)).concat()
    }

    proptest! {
        #[test]
        fn only_the_models_value_changes_and_changing_it_again_changes_nothing(
            asked in any::<String>(),
            sent in any::<String>(),
            before in "[ \n]{0,3}(\"x\":\"(\\\\\"model\\\\\":\\\\\"a\\\\\")?\" ?, ?){0,2}",
            after in "[ ]{0,2}(,\"messages\":\\[\\]|, \"y\":1e400,\"y\":\\{\"model\":\"z\"\\})?",
        ) {
            let body = |model: &str| format!("{{{before}\"model\" : {}{after}}}", quote(model)).into_bytes();
            let once = splice(&body(&asked), &sent, None);
            prop_assert_eq!(&once, &body(&sent));
            let read = envelope::read(&once).unwrap();
            prop_assert_eq!(&*read.model, &*sent);
            prop_assert_eq!(splice(&once, &sent, None), once);
        }
    }

    #[test]
    fn fields_are_inserted_right_behind_the_model() {
        let body = br#"{"model":"a" ,"max_tokens":1}"#;
        let changed = splice(body, "b", Some(r#","thinking":{"type":"disabled"}"#));
        assert_eq!(changed, br#"{"model":"b","thinking":{"type":"disabled"} ,"max_tokens":1}"#);
        assert_eq!(envelope::read(&changed).unwrap().thinking.unwrap().kind, "disabled");
    }

    #[test]
    fn an_impossible_span_changes_nothing() {
        let body = Bytes::from_static(b"{\"model\":\"a\"}");
        for model_span in [5..500, Range { start: 4, end: 2 }] {
            let splice = Splice { model_span, model: "b".to_owned(), insert: None };
            assert_eq!(splice.apply(&body).concat(), body);
        }
    }
}
