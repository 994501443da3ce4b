//! Which upstream objects a batch names, so that nobody names another's.
//!
//! Found are `file_id` at any depth below `params`, `container` or its `id`, and `previous_message_id` of a
//! thread; escapes in names are resolved. Whose the objects are is for the caller to know.

use crate::wire::file_ids;
use crate::wire::json::Text;

/// A kind of object that an item can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedKind {
    /// An uploaded file.
    File,
    /// A container of code execution.
    Container,
    /// The answer that a thread goes on from.
    Thread,
}

/// An object that an item names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What it is.
    pub kind: NamedKind,
    /// Its id.
    pub id: String,
    /// The item, counted from 0.
    pub item: u64,
}

/// Follows the fields below `params`.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The field of `params` whose value is at hand.
    inside: Option<NamedKind>,
    /// What the next string names.
    next: Option<NamedKind>,
    found: Vec<Named>,
}

impl Names {
    /// Notes a field of `params` itself.
    pub(super) fn field(&mut self, name: Option<&str>) {
        self.inside = match name {
            Some("container") => Some(NamedKind::Container),
            Some("thread") => Some(NamedKind::Thread),
            _ => None,
        };
        self.next = self.inside.filter(|kind| *kind == NamedKind::Container);
    }

    /// Notes a field further down; `depth` counts the containers around it.
    pub(super) fn deep_field(&mut self, raw: &[u8], escaped: bool, depth: usize) {
        let text = std::str::from_utf8(raw).ok();
        let name = text.and_then(|raw| Text { raw, span: 0..0, escaped }.unescape());
        let direct = depth == PARAMS_DEPTH + 1;
        self.next = match (name.as_deref(), self.inside) {
            (Some("file_id"), _) => Some(NamedKind::File),
            (Some("id"), Some(NamedKind::Container)) if direct => Some(NamedKind::Container),
            (Some("previous_message_id"), Some(NamedKind::Thread)) if direct => Some(NamedKind::Thread),
            _ => None,
        };
    }

    /// Tells whether the next string names an object.
    pub(super) const fn expects(&self) -> bool {
        self.next.is_some()
    }

    /// Forgets what the next string names: the value is no string.
    pub(super) fn pass(&mut self) {
        self.next = None;
    }

    /// Takes the string that names an object; nobody owns one that cannot be read.
    pub(super) fn take(&mut self, raw: &[u8], escaped: bool, item: u64) {
        let Some(kind) = self.next.take() else { return };
        let raw = String::from_utf8_lossy(raw);
        let id = Text { raw: &raw, span: 0..0, escaped }.unescape().unwrap_or_default().into_owned();
        if kind != NamedKind::File || id.starts_with(file_ids::ID_START) {
            self.found.push(Named { kind, id, item });
        }
    }

    /// Hands over what was found.
    pub(super) fn found(&mut self) -> Vec<Named> {
        std::mem::take(&mut self.found)
    }
}

/// Containers around a field of `params`: the body, `requests`, the item, `params`.
pub(super) const PARAMS_DEPTH: usize = 4;
