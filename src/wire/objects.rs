//! Reading and splicing the objects that answers describe: whose they are, which of a list are shown, and where
//! a batch's results are fetched.
//!
//! Like requests, answers are never re-serialised: what is kept keeps its bytes. A body that is not what it
//! should be gives `None`, and is the caller's to pass on or to refuse.

use std::borrow::Cow;
use std::ops::Range;

use crate::wire::json::{Cursor, Kind, Malformed, quote};

/// A list with only some of its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilteredList {
    /// The list; `first_id` and `last_id` are those of the kept elements, null where none is.
    pub body: Vec<u8>,
    /// How many elements are kept.
    pub kept: usize,
    /// `has_more`, as the upstream says; more may all be another's.
    pub has_more: bool,
    /// `last_id` as the upstream gave it, to go on from.
    pub upstream_last_id: Option<String>,
    /// `next_page`, likewise.
    pub next_page: Option<String>,
}

/// Bytes to put in place of a span.
type Change = (Range<usize>, String);

/// Returns `type` and `id` of an object.
#[must_use]
pub fn object_id(body: &[u8]) -> Option<(String, String)> {
    let (mut kind, mut id) = (None, None);
    let mut cursor = Cursor::new(body).ok()?;
    each_known(&mut cursor, |cursor, name| match name {
        "type" => word(cursor, &mut kind),
        "id" => word(cursor, &mut id),
        _ => cursor.skip().map(drop),
    })
    .ok()?;
    cursor.end().ok()?;
    Some((kind?.into_owned(), id?.into_owned()))
}

/// Points `results_url` of a batch, or of each batch of a list, at `public_url`; path and query stay, less the
/// path prefix of `upstream_url`. `None` where there is nothing to change.
#[must_use]
pub fn rewrite_results_url(body: &[u8], public_url: &str, upstream_url: &str) -> Option<Vec<u8>> {
    let mut changes = Vec::new();
    let mut cursor = Cursor::new(body).ok()?;
    let mut batch = Batch::default();
    each_known(&mut cursor, |cursor, name| {
        if name != "data" || cursor.kind()? != Kind::Array {
            return batch.field(cursor, name);
        }
        let item = |cursor: &mut Cursor<'_>| {
            if cursor.kind()? != Kind::Object {
                return cursor.skip().map(drop);
            }
            let mut batch = Batch::default();
            each_known(cursor, |cursor, name| batch.field(cursor, name))?;
            changes.extend(batch.change(public_url, upstream_url));
            Ok(())
        };
        cursor.each_item(item).map(drop)
    })
    .ok()?;
    cursor.end().ok()?;
    changes.extend(batch.change(public_url, upstream_url));
    // An element's change stands in the list's bytes before or after a change of the top level.
    changes.sort_by_key(|(span, _)| span.start);
    (!changes.is_empty()).then(|| spliced(body, &changes))
}

/// Returns the list in `body` with those elements alone whose id `keep` accepts; an element without an id is
/// left out. `None` where the body is not a list.
pub fn filter_list(body: &[u8], keep: impl Fn(&str) -> bool) -> Option<FilteredList> {
    let mut cursor = Cursor::new(body).ok()?;
    let mut list = List::default();
    each_known(&mut cursor, |cursor, name| match name {
        "data" if cursor.kind()? == Kind::Array => list.read_data(cursor, &keep),
        "has_more" if cursor.kind()? == Kind::Bool => {
            list.has_more = cursor.boolean()?;
            Ok(())
        }
        "first_id" => spanned_word(cursor, &mut list.first_id),
        "last_id" => spanned_word(cursor, &mut list.last_id),
        "next_page" => word(cursor, &mut list.next_page),
        _ => cursor.skip().map(drop),
    })
    .ok()?;
    cursor.end().ok()?;
    let data = list.data?;
    let items: Vec<&str> = list.kept.iter().map(|(raw, _)| *raw).collect();
    let id = |kept: Option<&(&str, Cow<'_, str>)>| kept.map_or("null".to_owned(), |(_, id)| quote(id));
    let mut changes = vec![(data, format!("[{}]", items.join(",")))];
    changes.extend(list.first_id.map(|(span, _)| (span, id(list.kept.first()))));
    let upstream_last_id = list.last_id.as_ref().and_then(|(_, id)| id.as_deref().map(str::to_owned));
    changes.extend(list.last_id.map(|(span, _)| (span, id(list.kept.last()))));
    changes.sort_by_key(|(span, _)| span.start);
    Some(FilteredList {
        body: spliced(body, &changes),
        kept: list.kept.len(),
        has_more: list.has_more,
        upstream_last_id,
        next_page: list.next_page.map(Cow::into_owned),
    })
}

/// Returns the list in `body` with `element` before its others; `None` where the body is not a list.
#[must_use]
pub fn prepend(body: &[u8], element: &str) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(body).ok()?;
    let (mut data, mut items) = (None, 0_usize);
    each_known(&mut cursor, |cursor, name| {
        if name != "data" || cursor.kind()? != Kind::Array {
            return cursor.skip().map(drop);
        }
        let span = cursor.each_item(|cursor| {
            items += 1;
            cursor.skip().map(drop)
        })?;
        data = Some(span.start);
        Ok(())
    })
    .ok()?;
    let inside = data? + 1;
    let text = if items == 0 { element.to_owned() } else { format!("{element},") };
    Some(spliced(body, &[(inside..inside, text)]))
}

/// Where a string field stands, and its meaning; none where it is null or anything else.
type Spanned<'a> = Option<(Range<usize>, Option<Cow<'a, str>>)>;

#[derive(Default)]
struct Batch<'a> {
    kind: Option<Cow<'a, str>>,
    results_url: Spanned<'a>,
}

#[derive(Default)]
struct List<'a> {
    data: Option<Range<usize>>,
    /// The bytes and the id of each element kept.
    kept: Vec<(&'a str, Cow<'a, str>)>,
    has_more: bool,
    first_id: Spanned<'a>,
    last_id: Spanned<'a>,
    next_page: Option<Cow<'a, str>>,
}

impl<'a> Batch<'a> {
    fn field(&mut self, cursor: &mut Cursor<'a>, name: &str) -> Result<(), Malformed> {
        match name {
            "type" => word(cursor, &mut self.kind),
            "results_url" => spanned_word(cursor, &mut self.results_url),
            _ => cursor.skip().map(drop),
        }
    }

    fn change(self, public_url: &str, upstream_url: &str) -> Option<Change> {
        let (span, url) = self.results_url.filter(|_| self.kind.as_deref() == Some("message_batch"))?;
        Some((span, quote(&moved(&url?, public_url, upstream_url))))
    }
}

impl<'a> List<'a> {
    fn read_data(&mut self, cursor: &mut Cursor<'a>, keep: &impl Fn(&str) -> bool) -> Result<(), Malformed> {
        if self.data.is_some() {
            // Which of the two a client reads is unknown, and so is what it would be shown.
            return Err(Malformed { message: "data: given twice".to_owned(), offset: cursor.offset() });
        }
        let span = cursor.each_item(|cursor| {
            if cursor.kind()? != Kind::Object {
                return cursor.skip().map(drop);
            }
            let mut id = None;
            let span = each_known(cursor, |cursor, name| match name {
                "id" => word(cursor, &mut id),
                _ => cursor.skip().map(drop),
            })?;
            if let Some(id) = id.filter(|id| keep(id)) {
                self.kept.push((std::str::from_utf8(cursor.slice(span)).unwrap_or_default(), id));
            }
            Ok(())
        })?;
        self.data = Some(span);
        Ok(())
    }
}

/// Returns an absolute URL with its scheme, authority and the upstream's path prefix replaced.
fn moved(url: &str, public_url: &str, upstream_url: &str) -> String {
    let path = path_of(url);
    let prefix = path_of(upstream_url).trim_end_matches('/');
    let path = path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    format!("{}{path}", public_url.trim_end_matches('/'))
}

/// Returns what follows the authority of a URL, from the slash on.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
}

/// Reads an object's fields by the meaning of their names.
fn each_known<'a>(
    cursor: &mut Cursor<'a>,
    mut field: impl FnMut(&mut Cursor<'a>, &str) -> Result<(), Malformed>,
) -> Result<Range<usize>, Malformed> {
    cursor.each_field(|cursor, name| field(cursor, &name.unescape().unwrap_or_default()))
}

/// Reads a string into `place`; passes over anything else.
fn word<'a>(cursor: &mut Cursor<'a>, place: &mut Option<Cow<'a, str>>) -> Result<(), Malformed> {
    *place = match cursor.kind()? {
        Kind::String => cursor.string()?.unescape(),
        _ => cursor.skip().map(|_| None)?,
    };
    Ok(())
}

fn spanned_word<'a>(cursor: &mut Cursor<'a>, place: &mut Spanned<'a>) -> Result<(), Malformed> {
    cursor.kind()?;
    let start = cursor.offset();
    let mut meaning = None;
    word(cursor, &mut meaning)?;
    *place = Some((start..cursor.offset(), meaning));
    Ok(())
}

/// Returns `body` with changes made; they are in order and do not overlap.
fn spliced(body: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut output = Vec::with_capacity(body.len());
    let mut at = 0usize;
    for (span, text) in changes {
        output.extend_from_slice(body.get(at..span.start).unwrap_or_default());
        output.extend_from_slice(text.as_bytes());
        at = span.end;
    }
    output.extend_from_slice(body.get(at..).unwrap_or_default());
    output
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UPSTREAM: &str = "https://api.anthropic.com";

    fn rewritten(body: &str, upstream: &str) -> Option<String> {
        let body = rewrite_results_url(body.as_bytes(), "http://127.0.0.1:8787/", upstream)?;
        Some(String::from_utf8(body).unwrap())
    }

    fn batch(url: &str) -> String {
        format!(
            r#"{{ "results_url" :"{url}", "id":"b", "x":{{"results_url":"{url}"}},"type":"message_batch" }}"#
        )
    }

    #[test]
    fn results_are_fetched_through_us_whatever_the_upstreams_prefix() {
        let path = "/v1/messages/batches/b/results?a=1";
        for (url, upstream) in [
            (format!("https://api.anthropic.com{path}"), UPSTREAM),
            (format!("https:\\/\\/api.anthropic.com{path}"), UPSTREAM),
            (format!("http://host:1/prefix{path}"), "http://host:1/prefix/"),
            (format!("http://other{path}"), "http://host/pre"),
        ] {
            let ours = format!("http://127.0.0.1:8787{path}");
            assert_eq!(rewritten(&batch(&url), upstream), Some(batch(&url).replacen(&url, &ours, 1)));
        }
    }

    #[test]
    fn every_batch_of_a_list_is_rewritten_and_nothing_else() {
        let [one, two] = ["https://a/1", "https://a/2"].map(batch);
        let list =
            |one: &str, two: &str| format!(r#"{{"data":[ {one},{{"results_url":"https://a/3"}},1,{two}]}}"#);
        let expected = list(
            &one.replacen("https://a/1", "http://127.0.0.1:8787/1", 1),
            &two.replacen("https://a/2", "http://127.0.0.1:8787/2", 1),
        );
        assert_eq!(rewritten(&list(&one, &two), UPSTREAM), Some(expected));
        for unchanged in [
            r#"{"type":"message_batch","results_url":null}"#,
            r#"{"type":"message","results_url":"https://a/1"}"#,
            r#"[{"type":"message_batch","results_url":"https://a/1"}]"#,
            r#"{"type":"message_batch","results_url":"https://a/1"#,
            "",
        ] {
            assert_eq!(rewritten(unchanged, UPSTREAM), None);
        }
    }

    #[test]
    fn a_list_keeps_the_bytes_of_what_it_shows_and_names_its_ends() {
        let list = r#"{"has_more" : true,"last_id":"d","data": [{"id":"a"}, { "id":"b","x":1.0 } ,{"id":"c\u0021"},{"id":"d"},{"n":1},2],"first_id":"a","next_page":"p"}"#;
        let filtered = filter_list(list.as_bytes(), |id| ["b", "c!"].contains(&id)).unwrap();
        let expected = r#"{"has_more" : true,"last_id":"c!","data": [{ "id":"b","x":1.0 },{"id":"c\u0021"}],"first_id":"b","next_page":"p"}"#;
        assert_eq!(String::from_utf8(filtered.body).unwrap(), expected);
        assert_eq!((filtered.kept, filtered.has_more), (2, true));
        assert_eq!(filtered.upstream_last_id.as_deref(), Some("d"));
        assert_eq!(filtered.next_page.as_deref(), Some("p"));
        let none = filter_list(list.as_bytes(), |_| false).unwrap();
        let none = serde_json::from_slice::<serde_json::Value>(&none.body).unwrap();
        assert!(
            none["first_id"].is_null() && none["last_id"].is_null() && none["data"] == serde_json::json!([])
        );
        for body in [r#"{"data":{}}"#, r#"{"data":[{"id":"x"}],"data":[]}"#, "{}", "[]", "x"] {
            assert_eq!(filter_list(body.as_bytes(), |_| true), None);
        }
    }

    #[test]
    fn an_element_is_put_before_the_others_and_no_byte_of_theirs_changes() {
        let added =
            |list: &str| prepend(list.as_bytes(), "{}").map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(
            added(r#"{"data":[ {"id":1} ],"x":1}"#).as_deref(),
            Some(r#"{"data":[{}, {"id":1} ],"x":1}"#)
        );
        assert_eq!(added(r#"{"data":[]}"#).as_deref(), Some(r#"{"data":[{}]}"#));
        assert_eq!(added(r#"{"data":{}}"#), None);
    }

    #[test]
    fn an_object_tells_its_type_and_id() {
        let object = br#"{"x":{"id":"no"},"id":"msgbatch_1","type":"message_batch"}"#;
        assert_eq!(object_id(object), Some(("message_batch".to_owned(), "msgbatch_1".to_owned())));
        assert_eq!(object_id(br#"{"id":1,"type":"file"}"#), None);
        assert_eq!(object_id(br#"{"id":"a","type":"file"} x"#), None);
    }

    proptest! {
        #[test]
        fn keeping_everything_keeps_every_element(ids in prop::collection::vec(any::<String>(), 0..6)) {
            let data: Vec<_> = ids.iter().map(|id| serde_json::json!({"id": id, "n": 1})).collect();
            let list = serde_json::json!({"data": data, "first_id": ids.first(), "last_id": ids.last(), "has_more": false});
            let filtered = filter_list(list.to_string().as_bytes(), |_| true).unwrap();
            prop_assert_eq!(filtered.body, list.to_string().into_bytes());
            prop_assert_eq!(filtered.kept, ids.len());
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..60), url in any::<String>()) {
            drop((object_id(&body), filter_list(&body, |_| true), rewrite_results_url(&body, "", "")));
            let batch = format!("{{\"type\":\"message_batch\",\"results_url\":{}}}", quote(&url));
            prop_assert!(rewrite_results_url(batch.as_bytes(), "http://h", &url).is_some());
        }
    }
}
