//! Which uploaded files a request names, so that nobody names another's.

use std::borrow::Cow;

use super::json::{Cursor, Kind, Malformed};

/// Returns the value of every field named `file_id` in a body that looks like a file's id, however deep and
/// however spelt.
///
/// Anything else under that name is a tool's own business. Refuses more than [`FILES_MAX`] of them.
pub fn file_ids(body: &[u8]) -> Result<Vec<Cow<'_, str>>, Malformed> {
    let mut cursor = Cursor::new(body)?;
    let mut found = Vec::new();
    walk(&mut cursor, &mut found)?;
    cursor.end()?;
    Ok(found)
}

/// The cursor bounds the depth, and with it this recursion.
fn walk<'a>(cursor: &mut Cursor<'a>, found: &mut Vec<Cow<'a, str>>) -> Result<(), Malformed> {
    match cursor.kind()? {
        Kind::Object => cursor
            .each_field(|cursor, name| {
                if name.unescape().as_deref() == Some("file_id") {
                    take(cursor, found)
                } else {
                    walk(cursor, found)
                }
            })
            .map(drop),
        Kind::Array => cursor.each_item(|cursor| walk(cursor, found)).map(drop),
        _ => cursor.skip().map(drop),
    }
}

fn take<'a>(cursor: &mut Cursor<'a>, found: &mut Vec<Cow<'a, str>>) -> Result<(), Malformed> {
    let offset = cursor.offset();
    let refused = |message: &str| Malformed { message: message.to_owned(), offset };
    if cursor.kind()? != Kind::String {
        return walk(cursor, found);
    }
    let id = cursor.string()?.unescape().ok_or_else(|| refused("file_id: Input should be a valid string"))?;
    if !id.starts_with(ID_START) {
        return Ok(());
    }
    if found.len() >= FILES_MAX {
        return Err(refused("file_id: too many files are named"));
    }
    found.push(id);
    Ok(())
}

/// How the id of every uploaded file begins.
pub const ID_START: &str = "file_";
/// Most files one request may name.
pub const FILES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_however_deep_and_however_its_field_is_spelt() {
        let body = br#"{"messages":[{"content":[{"source":{"type":"file","file_id":"file_1"}},
            {"type":"container_upload","file\u005fid":"file_2"}]}],"text":"\"file_id\":\"file_3\""}"#;
        assert_eq!(file_ids(body).unwrap(), ["file_1", "file_2"]);
    }

    #[test]
    fn a_field_of_a_tool_that_has_the_same_name_is_no_file() {
        let body = br#"{"tools":[{"input_schema":{"properties":{"file_id":{"type":"string"}}}}],
            "messages":[{"input":{"file_id":"row 7"}},{"input":{"file_id":7}}]}"#;
        assert!(file_ids(body).unwrap().is_empty());
        assert_eq!(file_ids(br#"{"file_id":[{"file_id":"file_1"}]}"#).unwrap(), ["file_1"]);
    }
}
