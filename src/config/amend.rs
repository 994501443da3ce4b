//! What was changed while the gateway ran, laid over the file.
//!
//! Amendments speak the file's own words, as JSON: `{"tenants": {"acme": {"budget": {"daily": "5.00 USD"}}}}`.
//! They are laid over the file's table before it is given its meaning, so that everything they say is checked
//! as if it stood in the file. `null` takes a key away. Three rules are their own:
//!
//! * A tenant or key that the file does not have is added only where a change made it (`"_created": true`);
//!   else what is said of it rests until the file has it again.
//! * A key is found by its id: `{"keys": {"ID": {…}}}`.
//! * A user's section begins as a copy of the tenant's section for users, so that each ceiling is inherited by
//!   itself.
//!
//! In a change `{"_forget": true}` takes back what earlier changes said there. Nothing here knows what the keys
//! mean. All amendments together are at most 4 MiB.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Everything that changes said and no later one took back.
#[derive(Clone, Debug, Default)]
pub struct Amendments {
    tree: Map<String, Value>,
    /// `tree` as TOML, less what it takes away.
    text: String,
    touched: BTreeMap<Vec<String>, Touched>,
}

/// When something was said first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// By the oldest change that was not taken back.
    pub first: Timestamp,
    /// By the newest.
    pub last: Timestamp,
}

impl Amendments {
    /// Returns these amendments with one more change.
    ///
    /// # Errors
    /// What of it cannot be put into a configuration file, or that there would be too many.
    pub fn with(&self, change: &Value, at: Timestamp) -> Result<Self, String> {
        let Value::Object(change) = change else { return Err("a change is a JSON object".to_owned()) };
        let (mut tree, mut touched) = (self.tree.clone(), self.touched.clone());
        merge(&mut tree, change);
        touch(&mut touched, &mut Vec::new(), change, at);
        let text = toml::to_string(&written(&tree)).map_err(|error| format!("not a change: {error}"))?;
        if text.len() > AMENDMENTS_BYTES_MAX {
            return Err(
                "more was changed than is kept (4 MiB); put it into the configuration file".to_owned()
            );
        }
        DeTable::parse(&text).map_err(|error| format!("not a change: {}", error.message()))?;
        Ok(Self { tree, text, touched })
    }

    /// Returns whether the same is said, whenever it was.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.tree == other.tree
    }

    /// Returns whether nothing was changed, or all of it taken back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Returns what is said under these names, one below the other; `null` where something is taken away.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.tree.get(*first)?, |value, name| value.get(*name))
    }

    /// Returns when the key under these names was changed.
    #[must_use]
    pub fn touched(&self, path: &[&str]) -> Option<Touched> {
        self.touched.get(&path.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).copied()
    }

    /// Returns a text that differs where the amendments do.
    pub(super) fn digested(&self) -> String {
        Value::Object(self.tree.clone()).to_string()
    }

    /// Returns the amendments as TOML behind `offset` spaces, so that no place in it is one of the file's.
    pub(super) fn text_behind(&self, offset: usize) -> String {
        if self.is_empty() { String::new() } else { format!("{:offset$}{}", "", self.text) }
    }

    /// Lays the amendments over a file's table; `text` is [`Self::text_behind`] it.
    pub(super) fn lay_over<'a>(&self, table: &mut DeTable<'a>, text: &'a str) {
        let mut said = DeTable::parse(text).map(Spanned::into_inner).unwrap_or_default();
        for (name, value) in &self.tree {
            match value {
                Value::Object(tenants) if name == "tenants" => {
                    let (mut said, span) = taken(&mut said, name);
                    let Some(into) = table_in(table, name, span) else { continue };
                    for (tenant, value) in tenants {
                        lay_tenant(into, tenant, value, &mut said);
                    }
                }
                _ => lay(table, name, value, &mut said),
            }
        }
    }
}

fn lay_tenant<'a>(tenants: &mut DeTable<'a>, name: &str, value: &Value, said: &mut DeTable<'a>) {
    let Value::Object(changes) = value else { return lay(tenants, name, value, said) };
    if !tenants.contains_key(name) && !is_created(changes) {
        return;
    }
    let (mut said, span) = taken(said, name);
    let Some(tenant) = table_in(tenants, name, span) else { return };
    for (name, value) in changes.iter().filter(|(name, _)| name.as_str() != "users") {
        match value {
            Value::Object(keys) if name == "keys" => lay_keys(tenant, keys, &mut said),
            _ => lay(tenant, name, value, &mut said),
        }
    }
    // Last, because users inherit what was changed for all of them.
    if let Some(Value::Object(users)) = changes.get("users") {
        lay_users(tenant, users, &mut said);
    }
}

fn lay_keys<'a>(tenant: &mut DeTable<'a>, keys: &Map<String, Value>, said: &mut DeTable<'a>) {
    let (mut said, span) = taken(said, "keys");
    if !tenant.contains_key("keys") {
        tenant.insert(spanned("keys", &span), Spanned::new(span, DeValue::Array(DeArray::new())));
    }
    let Some(DeValue::Array(array)) = tenant.get_mut("keys").map(Spanned::get_mut) else { return };
    let is_named = |key: &Spanned<DeValue<'_>>, id: &str| {
        key.get_ref().get("id").and_then(|given| given.get_ref().as_str()) == Some(id)
    };
    for (id, value) in keys {
        let place = array.iter().position(|key| is_named(key, id));
        let Value::Object(changes) = value else {
            let kept = std::mem::replace(array, DeArray::new()).into_iter().filter(|key| !is_named(key, id));
            *array = kept.collect();
            continue;
        };
        let (mut said, span) = taken(&mut said, id);
        if is_created(changes) {
            // Beside one of the file that has the same id, so that the check tells of both.
            let mut key = DeTable::new();
            let named = DeValue::String(Cow::Owned(id.clone()));
            key.insert(spanned("id", &span), Spanned::new(span.clone(), named));
            lay_all(&mut key, changes, &mut said);
            array.push(Spanned::new(span, DeValue::Table(key)));
        } else if let Some(DeValue::Table(key)) =
            place.and_then(|place| array.get_mut(place)).map(Spanned::get_mut)
        {
            lay_all(key, changes, &mut said);
        }
    }
}

fn lay_users<'a>(tenant: &mut DeTable<'a>, users: &Map<String, Value>, said: &mut DeTable<'a>) {
    let inherited = SECTIONS.map(|section| tenant.get(format!("user_{section}").as_str()).cloned());
    let (mut said, span) = taken(said, "users");
    let Some(into) = table_in(tenant, "users", span) else { return };
    for (user, value) in users {
        let Value::Object(changes) = value else {
            lay(into, user, value, &mut said);
            continue;
        };
        let (mut said, span) = taken(&mut said, user);
        let Some(own) = table_in(into, user, span) else { continue };
        for (section, inherited) in SECTIONS.iter().zip(&inherited) {
            let is_changed = changes.get(*section).is_some_and(Value::is_object);
            if let Some(inherited) = inherited.as_ref().filter(|_| is_changed && !own.contains_key(*section))
            {
                own.insert(spanned(section, &inherited.span()), inherited.clone());
            }
        }
        lay_all(own, changes, &mut said);
    }
}

fn lay_all<'a>(into: &mut DeTable<'a>, changes: &Map<String, Value>, said: &mut DeTable<'a>) {
    for (name, value) in changes {
        lay(into, name, value, said);
    }
}

/// Lays one value, whose TOML stands in `said` under its name.
fn lay<'a>(into: &mut DeTable<'a>, name: &str, value: &Value, said: &mut DeTable<'a>) {
    match value {
        _ if is_mark(name) => {}
        Value::Null => drop(into.remove(name)),
        Value::Object(changes) => {
            let (mut said, span) = taken(said, name);
            if let Some(into) = table_in(into, name, span) {
                lay_all(into, changes, &mut said);
            }
        }
        _ => {
            if let Some((name, value)) = said.remove_entry(name) {
                into.insert(name, value);
            }
        }
    }
}

/// Takes the table of this name out of `said`; empty where nothing but removals is said there.
fn taken<'a>(said: &mut DeTable<'a>, name: &str) -> (DeTable<'a>, Range<usize>) {
    match said.remove(name).map(|value| (value.span(), value.into_inner())) {
        Some((span, DeValue::Table(table))) => (table, span),
        _ => (DeTable::new(), 0..0),
    }
}

/// Returns the table of this name, made where there is none; `None` where the file has something else there.
fn table_in<'t, 'a>(
    into: &'t mut DeTable<'a>,
    name: &str,
    span: Range<usize>,
) -> Option<&'t mut DeTable<'a>> {
    if !into.contains_key(name) {
        into.insert(spanned(name, &span), Spanned::new(span, DeValue::Table(DeTable::new())));
    }
    match into.get_mut(name)?.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn spanned<'a>(name: &str, span: &Range<usize>) -> Spanned<Cow<'a, str>> {
    Spanned::new(span.clone(), Cow::Owned(name.to_owned()))
}

/// Adds a change to what was said before.
fn merge(into: &mut Map<String, Value>, change: &Map<String, Value>) {
    for (name, value) in change {
        match value {
            Value::Object(object) if object.contains_key(FORGET) => drop(into.remove(name)),
            Value::Object(object) => {
                let fresh = is_created(object) || !into.get(name).is_some_and(Value::is_object);
                if fresh {
                    into.insert(name.clone(), Value::Object(Map::new()));
                }
                if let Some(Value::Object(inner)) = into.get_mut(name) {
                    merge(inner, object);
                    if inner.is_empty() {
                        into.remove(name);
                    }
                }
            }
            _ => drop(into.insert(name.clone(), value.clone())),
        }
    }
}

/// Notes when each key of a change was changed, and forgets what was taken back.
fn touch(
    touched: &mut BTreeMap<Vec<String>, Touched>,
    path: &mut Vec<String>,
    change: &Map<String, Value>,
    at: Timestamp,
) {
    for (name, value) in change {
        path.push(name.clone());
        match value {
            Value::Object(object) if object.contains_key(FORGET) => {
                touched.retain(|other, _| !other.starts_with(path));
            }
            Value::Object(object) => touch(touched, path, object, at),
            _ => touched.entry(path.clone()).or_insert(Touched { first: at, last: at }).last = at,
        }
        path.pop();
    }
}

/// Returns what of a tree can be written as TOML: all but removals and marks.
fn written(tree: &Map<String, Value>) -> Map<String, Value> {
    let kept = tree.iter().filter(|(name, value)| !value.is_null() && !is_mark(name));
    let write = |(name, value): (&String, &Value)| match value {
        Value::Object(object) => (name.clone(), Value::Object(written(object))),
        other => (name.clone(), other.clone()),
    };
    kept.map(write).collect()
}

fn is_created(object: &Map<String, Value>) -> bool {
    object.get(CREATED) == Some(&Value::Bool(true))
}

fn is_mark(name: &str) -> bool {
    matches!(name, CREATED | FORGET)
}

/// Marks a tenant or key that a change made.
pub const CREATED: &str = "_created";
/// Marks what a change takes back.
pub const FORGET: &str = "_forget";

const SECTIONS: [&str; 3] = ["limits", "budget", "quota"];
const AMENDMENTS_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests;
