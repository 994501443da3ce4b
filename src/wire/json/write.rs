//! JSON objects of records, written straight into their text.
//!
//! Two records are put as JSON for each request. A serialiser that looks at every byte, names of fields included, took
//! 16,000 instructions for one; here names are pasted and strings are searched in blocks for what needs an escape.

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::clock;

/// JSON that is known to be whole, because it was written here or has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// Takes over an object.
    pub(crate) fn written(object: Object) -> Self {
        Self(object.end().into())
    }

    /// Returns the text.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl From<Box<RawValue>> for Json {
    fn from(read: Box<RawValue>) -> Self {
        Self(read.get().into())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = serde_json::from_str::<&RawValue>(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
    }
}

/// An object being written.
pub(crate) struct Object(String);

impl Object {
    /// Begins a record of `kind`.
    pub(crate) fn begin(kind: &'static str) -> Self {
        let mut object = Self(String::with_capacity(TYPICAL_BYTES));
        object.0.push_str(r#"{"kind":""#);
        object.0.push_str(kind);
        object.0.push('"');
        object
    }

    /// Begins an object that nothing is in yet, behind a text.
    pub(crate) fn after(mut text: String) -> Self {
        text.push('{');
        Self(text)
    }

    /// Begins an object of some hundred bytes.
    pub(crate) fn small() -> Self {
        Self::after(String::with_capacity(SMALL_BYTES))
    }

    /// Writes a member's name, and returns where its value goes.
    pub(crate) fn member(&mut self, name: &'static str) -> &mut String {
        self.0.push_str(if self.0.ends_with('{') { "\"" } else { ",\"" });
        self.0.push_str(name);
        self.0.push_str("\":");
        &mut self.0
    }

    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        push_text(self.member(name), value);
    }

    /// Writes null for none.
    pub(crate) fn maybe(&mut self, name: &'static str, value: Option<&str>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.member(name).push_str("null"),
        }
    }

    /// Writes a word of our own, which needs no escape.
    pub(crate) fn word(&mut self, name: &'static str, value: &'static str) {
        let text = self.member(name);
        text.push('"');
        text.push_str(value);
        text.push('"');
    }

    pub(crate) fn number(&mut self, name: &'static str, value: i64) {
        push_number(self.member(name), value);
    }

    pub(crate) fn count(&mut self, name: &'static str, value: u64) {
        push_decimal(self.member(name), value);
    }

    /// Writes a text where there is one.
    pub(crate) fn some(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Writes a count that is not zero.
    pub(crate) fn counted(&mut self, name: &'static str, value: u64) {
        if value > 0 {
            self.count(name, value);
        }
    }

    /// Writes a flag that is set.
    pub(crate) fn set(&mut self, name: &'static str, value: bool) {
        if value {
            self.flag(name, true);
        }
    }

    /// Writes texts where there are any.
    pub(crate) fn texts<T: AsRef<str>>(&mut self, name: &'static str, values: &[T]) {
        if !values.is_empty() {
            self.list(name, values, |text, value| push_text(text, value.as_ref()));
        }
    }

    /// Writes an object as a member.
    pub(crate) fn object(&mut self, name: &'static str, fill: impl FnOnce(&mut Self)) {
        self.member(name);
        push_object(&mut self.0, fill);
    }

    pub(crate) fn flag(&mut self, name: &'static str, value: bool) {
        self.member(name).push_str(if value { "true" } else { "false" });
    }

    pub(crate) fn time(&mut self, name: &'static str, value: Timestamp) {
        let text = self.member(name);
        text.push('"');
        clock::push_rfc3339(text, value, clock::Precision::Micros);
        text.push('"');
    }

    /// Writes text that is JSON already; null for none.
    pub(crate) fn json(&mut self, name: &'static str, value: Option<&str>) {
        self.member(name).push_str(value.unwrap_or("null"));
    }

    /// Writes an array, one item after the other.
    pub(crate) fn list<T>(&mut self, name: &'static str, items: &[T], item: impl Fn(&mut String, &T)) {
        let text = self.member(name);
        text.push('[');
        for (index, one) in items.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            item(text, one);
        }
        text.push(']');
    }

    /// Writes an object of numbers.
    pub(crate) fn nested(&mut self, name: &'static str, fields: [(&'static str, i64); 2]) {
        let text = self.member(name);
        for (index, (name, value)) in fields.into_iter().enumerate() {
            text.push_str(if index == 0 { "{\"" } else { ",\"" });
            text.push_str(name);
            text.push_str("\":");
            push_number(text, value);
        }
        text.push('}');
    }

    /// Returns the object's text.
    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Appends an object.
pub(crate) fn push_object(text: &mut String, fill: impl FnOnce(&mut Object)) {
    let mut object = Object::after(std::mem::take(text));
    fill(&mut object);
    *text = object.end();
}

/// Appends a string, quotes included.
pub(crate) fn push_text(text: &mut String, value: &str) {
    text.push('"');
    if is_plain(value.as_bytes()) {
        text.push_str(value);
    } else {
        for character in value.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                // A string takes everything.
                '\0'..='\u{1f}' => drop(write!(text, "\\u{:04x}", u32::from(character))),
                plain => text.push(plain),
            }
        }
    }
    text.push('"');
}

/// Tells whether a string needs no escape, in a form that becomes vector instructions.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

fn push_number(text: &mut String, value: i64) {
    if value < 0 {
        text.push('-');
    }
    push_decimal(text, value.unsigned_abs());
}

/// Appends a whole number.
pub(crate) fn push_decimal(text: &mut String, value: u64) {
    text.push_str(itoa::Buffer::new().format(value));
}

const SMALL_BYTES: usize = 1_024;
/// What a record of an exchange usually takes.
const TYPICAL_BYTES: usize = 2_048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(text in any::<String>(), number in any::<i64>(), count in any::<u64>(), flag in any::<bool>()) {
            let mut object = Object::begin("test");
            object.text("text", &text);
            object.maybe("none", None);
            object.number("number", number);
            object.count("count", count);
            object.flag("flag", flag);
            object.list("list", std::slice::from_ref(&text), |into, one| push_text(into, one));
            let read: Value = serde_json::from_str(&object.end()).unwrap();
            let expected = serde_json::json!({
                "kind": "test", "text": text, "none": null, "number": number, "count": count, "flag": flag, "list": [text],
            });
            prop_assert_eq!(read, expected);
        }
    }
}
