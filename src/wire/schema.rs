//! Whether a JSON value surely breaks a JSON schema.
//!
//! Only what cannot be read otherwise is a breach: `type`, `enum`, `const`, `required`, `properties`, `items` and
//! `additionalProperties: false`, 32 levels deep. Whatever else a schema says is taken as kept.

use serde_json::Value;

/// Tells whether `value` surely breaks `schema`.
#[must_use]
pub fn breaks(value: &Value, schema: &Value) -> bool {
    breaks_at(value, schema, 0)
}

fn breaks_at(value: &Value, schema: &Value, level: u8) -> bool {
    let Some(schema) = schema.as_object().filter(|_| level < LEVELS_MAX) else { return false };
    let types = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|name| is(value, name)) {
        return true;
    }
    let listed = schema.get("enum").and_then(Value::as_array);
    if listed.is_some_and(|listed| !listed.contains(value)) {
        return true;
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return true;
    }
    if let Some(items) = value.as_array() {
        let rule = schema.get("items");
        return rule.is_some_and(|rule| items.iter().any(|item| breaks_at(item, rule, level + 1)));
    }
    let Some(object) = value.as_object() else { return false };
    let required = schema.get("required").and_then(Value::as_array);
    let missing = |name: &Value| name.as_str().is_some_and(|name| !object.contains_key(name));
    if required.is_some_and(|names| names.iter().any(missing)) {
        return true;
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false))
        && !schema.contains_key("patternProperties");
    object.iter().any(|(name, value)| match properties.and_then(|properties| properties.get(name)) {
        Some(rule) => breaks_at(value, rule, level + 1),
        None => closed,
    })
}

/// Names of types that are not known say nothing.
fn is(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    }
}

const LEVELS_MAX: u8 = 32;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_sure_breaches_count() {
        let schema = json!({
            "type": "object", "required": ["city"], "additionalProperties": false,
            "properties": { "city": { "type": "string" }, "days": { "type": "integer" },
                "unit": { "enum": ["c", "f"] }, "tags": { "items": { "type": ["string", "null"] } } },
        });
        let kept = [
            json!({ "city": "Bern" }),
            json!({ "city": "Bern", "days": 2.0, "unit": "c", "tags": ["a", null] }),
        ];
        for value in kept {
            assert!(!breaks(&value, &schema), "{value}");
        }
        let broken = [
            json!({}),
            json!("Bern"),
            json!({ "city": 7 }),
            json!({ "city": "Bern", "days": 2.5 }),
            json!({ "city": "Bern", "unit": "k" }),
            json!({ "city": "Bern", "tags": [7] }),
            json!({ "city": "Bern", "extra": 1 }),
        ];
        for value in broken {
            assert!(breaks(&value, &schema), "{value}");
        }
        let unknown = json!({ "anyOf": [{ "type": "string" }], "$ref": "#/x", "type": "decimal" });
        assert!(!breaks(&json!(7), &unknown));
    }
}
