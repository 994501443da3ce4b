//! Pages of a list: by the ids `after_id` and `before_id`, 20 to a page unless `limit` says otherwise.

use serde_json::{Value, json};

use super::call::Call;
use super::fault::Fault;

/// Returns the page that the query asks for.
pub(super) fn by_id(all: Vec<Value>, call: &Call) -> Result<Value, Fault> {
    let most = limit(call)?;
    let place = |name: &str| match call.query_value(name) {
        None => Ok(None),
        Some(id) => match all.iter().position(|item| item["id"] == id) {
            Some(place) => Ok(Some(place)),
            None => Err(Fault::invalid(format!("{name}: no such object"))),
        },
    };
    let (after, before) = (place("after_id")?, place("before_id")?);
    let (start, end, has_more) = match (after, before) {
        (Some(_), Some(_)) => return Err(Fault::invalid("after_id and before_id cannot be combined")),
        (None, Some(before)) => (before.saturating_sub(most), before, before > most),
        (after, None) => {
            let start = after.map_or(0, |place| place + 1);
            let end = (start + most).min(all.len());
            (start, end, end < all.len())
        }
    };
    let data: Vec<Value> = all.into_iter().skip(start).take(end.saturating_sub(start)).collect();
    let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    Ok(
        json!({ "first_id": id(data.first()), "last_id": id(data.last()), "has_more": has_more, "data": data }),
    )
}

/// Returns `limit`, 1 to 1,000.
pub(super) fn limit(call: &Call) -> Result<usize, Fault> {
    let Some(text) = call.query_value("limit") else { return Ok(20) };
    match text.parse() {
        Ok(limit) if (1..=1000).contains(&limit) => Ok(limit),
        _ => Err(Fault::invalid("limit: Input should be between 1 and 1000")),
    }
}
