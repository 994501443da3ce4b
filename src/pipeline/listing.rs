//! Lists: of models, to which the alias is added, and of a tenant's own batches and files.

use bytes::Bytes;
use form_urlencoded::{Parse, Serializer};
use http::{Response, StatusCode, Uri};

use super::exchange::Exchange;
use super::passthrough::{self, dress_whole, results_through_us, whole};
use super::relay::{self, Reply};
use super::{finish, forward, policy};
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
    let forwarded = match forward::cross(exchange, RequestBody::empty(), None).await {
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
/// would end a client's paging, so the next is asked for instead, at most [`PAGES_MAX`] times; not where the client
/// reads backwards, for which there is no such next.
pub(super) async fn owned(mut exchange: Box<Exchange>, route: Route<'_>) -> Response<Reply> {
    let kind = if matches!(route, Route::BatchList) { ObjectType::Batch } else { ObjectType::File };
    if let Err(refusal) = own_cursors(&exchange, kind) {
        return finish::refuse(exchange, &refusal).await;
    }
    for page in 1..=PAGES_MAX {
        let forwarded = match forward::cross(exchange, RequestBody::empty(), None).await {
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
        if matches!(&*name, "after_id" | "before_id") {
            policy::owns(exchange, kind, &value)?;
        }
    }
    Ok(())
}

/// Returns where the list goes on, if it does; one read backwards does not.
fn next_page(path: &str, query: &str, list: &objects::FilteredList) -> Option<Uri> {
    if names(query, &["before_id"]) {
        return None;
    }
    let (name, value) = match (&list.next_page, &list.upstream_last_id) {
        (Some(page), _) => ("page", page),
        (None, Some(last)) if list.has_more => ("after_id", last),
        _ => return None,
    };
    let kept = pairs(query).filter(|(other, _)| other != name);
    let next = Serializer::new(String::new()).extend_pairs(kept).append_pair(name, value).finish();
    format!("{path}?{next}").parse().ok()
}

fn names(query: &str, wanted: &[&str]) -> bool {
    pairs(query).any(|(name, _)| wanted.contains(&&*name))
}

/// Names and values as the upstream reads them, escapes resolved.
fn pairs(query: &str) -> Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

/// The free choice, as a model.
const ALIAS: &str = r#"{"type":"model","id":"claude-tercet-auto","display_name":"Tercet: as much model as the request needs","created_at":"2026-11-20T00:00:00Z"}"#;
/// Most pages asked of the upstream for one page of a tenant's own.
const PAGES_MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(next_page: Option<&str>, last: Option<&str>) -> objects::FilteredList {
        objects::FilteredList {
            body: Vec::new(),
            kept: 0,
            has_more: true,
            upstream_last_id: last.map(str::to_owned),
            next_page: next_page.map(str::to_owned),
        }
    }

    #[test]
    fn an_escaped_name_of_a_cursor_is_a_cursor() {
        for query in ["after_id=x", "after%5Fid=x", "limit=1&%61fter_id=x", "after%5fid"] {
            assert!(names(query, &["after_id"]), "{query}");
        }
        assert!(!names("limit=after_id", &["after_id"]));
    }

    #[test]
    fn a_page_s_token_keeps_its_signs() {
        let next = next_page("/v1/files", "limit=5&page=old", &list(Some("a+b&c=d%"), None)).unwrap();
        assert_eq!(next, "/v1/files?limit=5&page=a%2Bb%26c%3Dd%25");
    }

    #[test]
    fn a_list_read_backwards_is_never_turned_around() {
        assert_eq!(next_page("/v1/files", "before_id=f_9", &list(None, Some("f_1"))), None);
        assert_eq!(next_page("/v1/files", "before%5Fid=f_9", &list(Some("p"), None)), None);
        let next = next_page("/v1/files", "limit=2&after_id=f_0", &list(None, Some("f_1"))).unwrap();
        assert_eq!(next, "/v1/files?limit=2&after_id=f_1");
    }
}
