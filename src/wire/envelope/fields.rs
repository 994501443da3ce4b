//! The rules of one reading, in one place: which fields are acted on, given once, under their own name, and of
//! their type. Every refusal names the field by its path, in the words the API uses.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::wire::json::{Cursor, Kind, Malformed, Text};

/// Where a field stands, for refusals; lives on the stack, so that a good request pays nothing for it.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'static str),
    Item(&'p Path<'p>, usize),
}

/// The fields of one object that are acted on, and which of them were seen.
pub(super) struct Fields {
    names: &'static [&'static str],
    seen: u32,
}

impl Path<'_> {
    pub(super) fn refuse(&self, what: &str, offset: usize) -> Malformed {
        Malformed { message: format!("{self}: {what}"), offset }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => formatter.write_str("body"),
            Self::Field(Self::Root, name) => formatter.write_str(name),
            Self::Field(parent, name) => write!(formatter, "{parent}.{name}"),
            Self::Item(parent, index) => write!(formatter, "{parent}.{index}"),
        }
    }
}

impl Fields {
    /// Begins an object in which `names` (at most 32) are acted on.
    pub(super) const fn of(names: &'static [&'static str]) -> Self {
        Self { names, seen: 0 }
    }

    /// Returns the name if it is one that is acted on; refuses it under an escape or given twice.
    pub(super) fn recognise(
        &mut self,
        name: &Text<'_>,
        parent: &Path<'_>,
    ) -> Result<Option<&'static str>, Malformed> {
        let meaning =
            if name.escaped { name.unescape().unwrap_or_default() } else { Cow::Borrowed(name.raw) };
        let found = self.names.iter().enumerate().find(|(_, known)| **known == meaning);
        let Some((index, known)) = found.map(|(index, known)| (index, *known)) else { return Ok(None) };
        let path = Path::Field(parent, known);
        if name.escaped {
            return Err(path.refuse("written with an escape in its name", name.span.start));
        }
        let bit = 1u32.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
        if self.seen & bit != 0 {
            return Err(path.refuse("given twice", name.span.start));
        }
        self.seen |= bit;
        Ok(Some(known))
    }
}

/// Reads `null` where it stands and tells whether it did.
pub(super) fn null(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    let found = cursor.kind()? == Kind::Null;
    if found {
        cursor.skip()?;
    }
    Ok(found)
}

/// Reads a string.
pub(super) fn text<'a>(cursor: &mut Cursor<'a>, path: &Path<'_>) -> Result<Text<'a>, Malformed> {
    if cursor.kind()? != Kind::String {
        return Err(path.refuse("Input should be a valid string", cursor.offset()));
    }
    cursor.string()
}

/// Reads a string's meaning.
pub(super) fn word<'a>(cursor: &mut Cursor<'a>, path: &Path<'_>) -> Result<Cow<'a, str>, Malformed> {
    let text = text(cursor, path)?;
    text.unescape().ok_or_else(|| path.refuse("Input should be a valid string", text.span.start))
}

/// Reads a string's meaning, or null.
pub(super) fn optional_word<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
) -> Result<Option<Cow<'a, str>>, Malformed> {
    if null(cursor)? { Ok(None) } else { word(cursor, path).map(Some) }
}

/// Reads a whole number from 0 to 2^64 - 1, written as digits alone.
pub(super) fn count(cursor: &mut Cursor<'_>, path: &Path<'_>) -> Result<u64, Malformed> {
    let span = cursor.skip()?;
    let digits = cursor.slice(span.clone());
    Some(digits)
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .ok_or_else(|| path.refuse("Input should be a valid integer", span.start))
}

/// Reads true or false, null as false.
pub(super) fn flag(cursor: &mut Cursor<'_>, path: &Path<'_>) -> Result<bool, Malformed> {
    match cursor.kind()? {
        Kind::Bool => cursor.boolean(),
        Kind::Null => cursor.skip().map(|_| false),
        _ => Err(path.refuse("Input should be a valid boolean", cursor.offset())),
    }
}

/// Reads a value and tells whether it was other than null.
pub(super) fn given(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    let kind = cursor.kind()?;
    cursor.skip()?;
    Ok(kind != Kind::Null)
}

/// Returns where a field stands that has just been read and whose value began at `value`: name, value, and the
/// comma before it, or after it where it is the first.
pub(super) fn member(cursor: &Cursor<'_>, name: &str, value: usize) -> Range<usize> {
    let back = |until: usize| cursor.slice(0..until).trim_ascii_end().len();
    let colon = back(value).saturating_sub(1);
    let quotes = 2;
    let start = back(colon).saturating_sub(name.len() + quotes);
    let (before, end) = (back(start), cursor.offset());
    if cursor.slice(0..before).ends_with(b",") {
        return before - 1..end;
    }
    let rest = cursor.remainder();
    let space = rest.len() - rest.trim_ascii_start().len();
    if rest.get(space) == Some(&b',') { start..end + space + 1 } else { start..end }
}

/// Reads an object's acted-on fields with `field`; others are passed over.
pub(super) fn object<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    names: &'static [&'static str],
    mut field: impl FnMut(&mut Cursor<'a>, &'static str, &Path<'_>) -> Result<(), Malformed>,
) -> Result<Range<usize>, Malformed> {
    if cursor.kind()? != Kind::Object {
        return Err(path.refuse("Input should be a valid dictionary", cursor.offset()));
    }
    let mut fields = Fields::of(names);
    cursor.each_field(|cursor, name| match fields.recognise(name, path)? {
        Some(known) => field(cursor, known, &Path::Field(path, known)),
        None => cursor.skip().map(drop),
    })
}

/// Reads an array's items with `item`.
pub(super) fn list<'a>(
    cursor: &mut Cursor<'a>,
    path: &Path<'_>,
    mut item: impl FnMut(&mut Cursor<'a>, usize, &Path<'_>) -> Result<(), Malformed>,
) -> Result<Range<usize>, Malformed> {
    if cursor.kind()? != Kind::Array {
        return Err(path.refuse("Input should be a valid list", cursor.offset()));
    }
    let mut index = 0usize;
    cursor.each_item(|cursor| {
        item(cursor, index, &Path::Item(path, index))?;
        index = index.saturating_add(1);
        Ok(())
    })
}
