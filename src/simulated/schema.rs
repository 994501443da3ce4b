//! Values that satisfy a JSON schema: for tool inputs and structured output.
//!
//! Fills required properties by type, follows local `$ref`s, and stops 12 levels deep.

use serde_json::{Map, Value, json};

/// Returns a value that satisfies the schema; `hint` fills free strings.
pub(super) fn example(schema: &Value, hint: &str) -> Value {
    fill(schema, schema, hint, 0)
}

fn fill(schema: &Value, root: &Value, hint: &str, depth: usize) -> Value {
    if depth > 12 {
        return Value::Null;
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, |inner| fill(inner, root, hint, depth + 1));
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(word).and_then(Value::as_array).and_then(|list| list.first()) {
            return fill(first, root, hint, depth + 1);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    };
    match kind {
        "object" => object(schema, root, hint, depth),
        "array" => array(schema, root, hint, depth),
        "string" => json!(string(schema, hint)),
        "integer" => json!(bound(schema, "minimum").unwrap_or(1)),
        "number" => json!(bound(schema, "minimum").unwrap_or(1)),
        "boolean" => json!(true),
        _ => Value::Null,
    }
}

fn object(schema: &Value, root: &Value, hint: &str, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut object = Map::new();
    for name in required.iter().filter_map(Value::as_str) {
        let inner =
            schema.get("properties").and_then(|properties| properties.get(name)).unwrap_or(&Value::Null);
        object.insert(name.to_owned(), fill(inner, root, hint, depth + 1));
    }
    Value::Object(object)
}

fn array(schema: &Value, root: &Value, hint: &str, depth: usize) -> Value {
    let count = bound(schema, "minItems").unwrap_or(1).clamp(0, 16);
    let items = schema.get("items").unwrap_or(&Value::Null);
    (0..count).map(|_| fill(items, root, hint, depth + 1)).collect()
}

fn string(schema: &Value, hint: &str) -> String {
    match schema.get("format").and_then(Value::as_str) {
        Some("date") => return "2026-11-20".to_owned(),
        Some("date-time") => return "2026-11-20T12:00:00Z".to_owned(),
        Some("email") => return "someone@example.com".to_owned(),
        Some("uri") => return "https://example.com/".to_owned(),
        Some("uuid") => return "00000000-0000-4000-8000-000000000000".to_owned(),
        _ => {}
    }
    let most = usize::try_from(bound(schema, "maxLength").unwrap_or(40)).unwrap_or(40);
    let mut text: String = hint.chars().take(most).collect();
    let least = usize::try_from(bound(schema, "minLength").unwrap_or(0)).unwrap_or(0).min(10_000);
    while text.chars().count() < least {
        text.push('x');
    }
    text
}

fn bound(schema: &Value, name: &str) -> Option<i64> {
    schema.get(name).and_then(Value::as_i64)
}
