//! The one change made to a request: another model's name in place of the asked one, and, where an adaptation
//! asks for it, a few fields right behind it.
//!
//! Nothing is copied: the changed body is three slices, the first and last of which share the received bytes.

use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

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

/// A request body as it is sent: what was received, with or without a splice; cloned to send it again.
#[derive(Clone, Debug)]
pub struct SplicedBody {
    parts: [Bytes; 3],
}

impl Splice {
    /// Returns the body with this change made; a span that is not within the body changes nothing.
    #[must_use]
    pub fn apply(&self, body: &Bytes) -> SplicedBody {
        let Range { start, end } = self.model_span;
        if start > end || end > body.len() {
            return SplicedBody::whole(body.clone());
        }
        let mut replacement = quote(&self.model);
        replacement.push_str(self.insert.as_deref().unwrap_or_default());
        SplicedBody { parts: [body.slice(..start), Bytes::from(replacement), body.slice(end..)] }
    }
}

impl SplicedBody {
    /// Returns a body that is sent as it was received.
    #[must_use]
    pub fn whole(body: Bytes) -> Self {
        Self { parts: [body, Bytes::new(), Bytes::new()] }
    }

    /// Returns the pieces in order; what is left of them once sending has begun.
    #[must_use]
    pub const fn parts(&self) -> &[Bytes; 3] {
        &self.parts
    }

    /// Returns how many bytes are left to send.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Tells whether nothing is left to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }
}

impl Body for SplicedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.get_mut().parts.iter_mut().find(|part| !part.is_empty()).map(std::mem::take);
        Poll::Ready(next.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::envelope;

    fn sent(body: SplicedBody) -> Vec<u8> {
        let length = body.size_hint().exact().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(body.collect()).unwrap().to_bytes().to_vec();
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    fn splice(body: &[u8], model: &str, insert: Option<&str>) -> Vec<u8> {
        let model_span = envelope::read(body).unwrap().model_span;
        let splice = Splice { model_span, model: model.to_owned(), insert: insert.map(str::to_owned) };
        sent(splice.apply(&Bytes::copy_from_slice(body)))
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
    fn an_unchanged_body_and_an_impossible_span_are_sent_as_received() {
        let body = Bytes::from_static(b"{\"model\":\"a\"}");
        assert_eq!(sent(SplicedBody::whole(body.clone())), body);
        for model_span in [5..500, Range { start: 4, end: 2 }] {
            let splice = Splice { model_span, model: "b".to_owned(), insert: None };
            assert_eq!(sent(splice.apply(&body)), body);
        }
        assert!(SplicedBody::whole(Bytes::new()).is_end_stream());
    }

    #[test]
    fn a_clone_taken_before_sending_sends_it_all_again() {
        let body = Bytes::from_static(b"{\"model\":\"a\"}");
        let splice = Splice { model_span: 9..12, model: "b".to_owned(), insert: None };
        let first = splice.apply(&body);
        let again = first.clone();
        assert_eq!(sent(first), sent(again));
    }
}
