//! Lists: of models, to which the alias is added, and of a tenant's own batches and files.

use bytes::Bytes;
use http::{Response, StatusCode, Uri};

use super::exchange::Exchange;
use super::passthrough::{self, cross, dress_whole, results_through_us, whole};
use super::relay::{self, Reply};
use super::{finish, policy};
use crate::journal::ObjectType;
use crate::upstream::{RequestBody, Route};
use crate::wire::error::Refusal;
use crate::wire::objects;

/// Answers a list or one of models; `claude-tercet-auto` is ours, and first on the first page.
pub(super) async fn models(exchange: Box<Exchange>, route: Route<'_>) -> Response<Reply> {
    if let Route::Model { id: "claude-tercet-auto" | "tercet-auto" } = route {
        let answer = passthrough::json(&exchange, StatusCode::OK, Bytes::from_static(ALIAS.as_bytes()));
        finish::close(exchange);
        return answer;
    }
    let first_page =
        matches!(route, Route::Models) && !names(exchange.query(), &["after_id", "before_id", "lifecycle"]);
    let forwarded = match cross(exchange, RequestBody::empty()).await {
        Ok(forwarded) => forwarded,
        Err(refused) => return refused,
    };
    if !first_page || !forwarded.response.status().is_success() {
        return relay::relay(forwarded).await;
    }
    match whole(forwarded).await {
        Err(refused) => refused,
        Ok((exchange, mut head, body)) => {
            let body = objects::prepend(&body, ALIAS).map_or(body, Bytes::from);
            dress_whole(&exchange, &mut head);
            finish::close(exchange);
            Response::from_parts(head, Reply::whole(body))
        }
    }
}

/// Answers a list of the tenant's own objects.
///
/// The upstream's pages hold every tenant's; foreign elements are left out. A page of nothing but foreign ones
/// would end a client's paging, so the next is asked for instead, at most [`PAGES_MAX`] times.
pub(super) async fn owned(mut exchange: Box<Exchange>, route: Route<'_>) -> Response<Reply> {
    let kind = if matches!(route, Route::BatchList) { ObjectType::Batch } else { ObjectType::File };
    if let Err(refusal) = own_cursors(&exchange, kind) {
        return finish::refuse(exchange, &refusal).await;
    }
    for page in 1..=PAGES_MAX {
        let forwarded = match cross(exchange, RequestBody::empty()).await {
            Ok(forwarded) => forwarded,
            Err(refused) => return refused,
        };
        if !forwarded.response.status().is_success() {
            return relay::relay(forwarded).await;
        }
        let (returned, mut head, body) = match whole(forwarded).await {
            Ok(answer) => answer,
            Err(refused) => return refused,
        };
        exchange = returned;
        let tenant = exchange.tenant().to_owned();
        let ownership = &exchange.tercet.runtime.ownership;
        let Some(list) = objects::filter_list(&body, |id| ownership.owns(&tenant, kind, id)) else {
            let refusal =
                Refusal::bad_gateway("the upstream's list could not be read, and may be another tenant's");
            return finish::refuse(exchange, &refusal).await;
        };
        let next = next_page(exchange.uri.path(), exchange.query(), &list);
        match next.filter(|_| list.kept == 0 && page < PAGES_MAX) {
            Some(next) => exchange.uri = next,
            None => {
                let body = results_through_us(&exchange, Bytes::from(list.body));
                dress_whole(&exchange, &mut head);
                finish::close(exchange);
                return Response::from_parts(head, Reply::whole(body));
            }
        }
    }
    finish::refuse(exchange, &Refusal::internal("a list had no last page")).await
}

/// Refuses to page from another tenant's object.
fn own_cursors(exchange: &Exchange, kind: ObjectType) -> Result<(), Refusal> {
    for (name, value) in pairs(exchange.query()) {
        if matches!(name, "after_id" | "before_id") {
            policy::owns(exchange, kind, value)?;
        }
    }
    Ok(())
}

/// Returns where the list goes on, if it does.
fn next_page(path: &str, query: &str, list: &objects::FilteredList) -> Option<Uri> {
    let (name, value) = match (&list.next_page, &list.upstream_last_id) {
        (Some(page), _) => ("page", page),
        (None, Some(last)) if list.has_more => ("after_id", last),
        _ => return None,
    };
    let kept =
        pairs(query).filter(|(other, _)| *other != name).map(|(name, value)| format!("{name}={value}"));
    let next: Vec<String> = kept.chain([format!("{name}={value}")]).collect();
    format!("{path}?{}", next.join("&")).parse().ok()
}

fn names(query: &str, wanted: &[&str]) -> bool {
    pairs(query).any(|(name, _)| wanted.contains(&name))
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The free choice, as a model.
const ALIAS: &str = r#"{"type":"model","id":"claude-tercet-auto","display_name":"Tercet: as much model as the request needs","created_at":"2026-11-20T00:00:00Z"}"#;
/// Most pages asked of the upstream for one page of a tenant's own.
const PAGES_MAX: u32 = 20;
