//! Which uploaded files a request names, so that nobody names another's.

use std::borrow::Cow;

use super::json::{Cursor, Kind, Malformed};

/// Returns the value of every `file_id` in a body, however deep and however spelt, but for those in what only
/// tools and schemas read (`is_opaque`).
///
/// Refuses more than [`FILES_MAX`] of them; one that is not a string is the upstream's to refuse.
pub fn file_ids(body: &[u8]) -> Result<Vec<Cow<'_, str>>, Malformed> {
    let mut cursor = Cursor::new(body)?;
    let mut found = Vec::new();
    walk(&mut cursor, &mut found)?;
    cursor.end()?;
    Ok(found)
}

/// Tells whether nothing below a field of this name is a reference to an upstream object.
fn is_opaque(name: &str) -> bool {
    OPAQUE_FIELDS.contains(&name)
}

/// The cursor bounds the depth, and with it this recursion.
fn walk<'a>(cursor: &mut Cursor<'a>, found: &mut Vec<Cow<'a, str>>) -> Result<(), Malformed> {
    match cursor.kind()? {
        Kind::Object => cursor
            .each_field(|cursor, name| match name.unescape().as_deref() {
                Some("file_id") if cursor.kind()? == Kind::String => take(cursor, found),
                Some(name) if is_opaque(name) => cursor.skip().map(drop),
                _ => walk(cursor, found),
            })
            .map(drop),
        Kind::Array => cursor.each_item(|cursor| walk(cursor, found)).map(drop),
        _ => cursor.skip().map(drop),
    }
}

fn take<'a>(cursor: &mut Cursor<'a>, found: &mut Vec<Cow<'a, str>>) -> Result<(), Malformed> {
    let offset = cursor.offset();
    let refused = |message: &str| Malformed { message: message.to_owned(), offset };
    let id = cursor.string()?.unescape().ok_or_else(|| refused("file_id: Input should be a valid string"))?;
    if found.len() >= FILES_MAX {
        return Err(refused("file_id: too many files are named"));
    }
    found.push(id);
    Ok(())
}

/// A tool's input and a schema are the client's own words; the upstream looks nothing up in them.
const OPAQUE_FIELDS: [&str; 6] =
    ["input", "tools", "tool_choice", "output_config", "metadata", "mcp_servers"];
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
    fn what_a_tool_calls_a_file_is_none_of_ours() {
        let body = br#"{"tools":[{"input_schema":{"properties":{"file_id":{"type":"string"}}}}],
            "messages":[{"content":[{"type":"tool_use","input":{"file_id":"mine"}}]}]}"#;
        assert!(file_ids(body).unwrap().is_empty());
    }
}
