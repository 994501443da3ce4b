//! The pages of tenants and keys: where budgets stand, and the forms to change things; `forms` answers those.

use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use maud::{Markup, html};
use serde_json::Value;

use super::format::{clip, query_value};
use super::forms::told;
use super::reply::Problem;
use super::shell::{Here, Page, Sealed};
use super::{AdminState, api, dashboard};

/// `GET /tenants`
pub(super) async fn list(State(state): State<AdminState>, headers: HeaderMap) -> Result<Response, Problem> {
    let sealed = state.seal.seal(&headers)?;
    let overview = api::blocking(&state, |sources| (sources.overview)()).await?;
    let content = html! {
        (dashboard::tenants(&overview))
        section aria-labelledby="new" {
            h2 #new { "New tenant" }
            form.fields method="post" action="/tenants" {
                (sealed.field())
                (input("name", "Name", "", "1 to 128 bytes, not beginning with an underscore"))
                div.actions { button { "Create" } }
            }
        }
    };
    Ok(sealed.send(&Page {
        overview: &overview,
        here: Here::Tenants,
        title: "Tenants and keys",
        live: None,
        content,
    }))
}

/// `GET /tenants/{name}`
pub(super) async fn show(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sealed = state.seal.seal(&headers)?;
    let gathered =
        api::blocking(&state, |sources| ((sources.overview)(), (sources.tenants)(), (sources.keys)()));
    let (mut overview, tenants, keys) = gathered.await?;
    let found = of(&tenants, "name", &name).next();
    let settings = found.and_then(|tenant| tenant.get("settings"));
    let settings = settings.ok_or_else(|| Problem::NotFound(format!("there is no tenant `{name}`")))?;
    overview.tenants.retain(|tenant| tenant.name == name);
    let content = html! {
        p.note { a href="/tenants" { "All tenants" } }
        (dashboard::tenants(&overview))
        (ceilings_form(&name, settings, &sealed))
        (keys_of(&name, of(&keys, "tenant", &name).collect(), &sealed))
    };
    let title = clip(&name);
    Ok(sealed.send(&Page { overview: &overview, here: Here::Tenants, title: &title, live: None, content }))
}

/// Returns those of a list whose member is as wanted.
pub(super) fn of<'a>(all: &'a Value, name: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(move |one| one.get(name).and_then(Value::as_str) == Some(wanted))
}

fn ceilings_form(name: &str, settings: &Value, sealed: &Sealed) -> Markup {
    html! {
        section aria-labelledby="ceilings" {
            h2 #ceilings { "Ceilings" }
            p.note { "An empty field is no ceiling. Nothing changes before you have seen what would." }
            form.fields method="post" action={ "/tenants/" (query_value(name)) } {
                (sealed.field())
                @for (legend, fields) in GROUPS {
                    fieldset {
                        legend { (legend) }
                        @for (path, label, hint) in fields { (input(path, label, &present(settings, path), hint)) }
                    }
                }
                fieldset {
                    legend { "State" }
                    label.check {
                        input type="checkbox" name="disabled" value="yes" checked[is_disabled(settings)];
                        "Refuse all keys of this tenant"
                    }
                }
                div.actions { button { "See what would change" } }
            }
        }
    }
}

fn keys_of(tenant: &str, keys: Vec<&Value>, sealed: &Sealed) -> Markup {
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    html! {
        section aria-labelledby="keys" {
            h2 #keys { "Keys" }
            @if keys.is_empty() { p.empty { "This tenant has no keys." } } @else {
                table.plain.keys {
                    thead { tr {
                        th scope="col" { "Key" } th scope="col" { "User" } th scope="col" { "Expires" }
                        th scope="col" { "Change" }
                    } }
                    tbody { @for key in keys {
                        @let id = text(key, "id");
                        tr {
                            th scope="row" { (clip(&id)) }
                            td { (clip(&text(key, "user"))) }
                            td {
                                @match text(key, "expires").as_str() { "" => "never", time => (time) }
                                @if text(key, "state") == "expired" { " " span.chip { "expired" } }
                            }
                            td.verbs {
                                (verb(&format!("/keys/{}/rotate", query_value(&id)), "Rotate", &id, tenant, sealed))
                                (verb(&format!("/keys/{}/revoke", query_value(&id)), "Revoke", &id, tenant, sealed))
                            }
                        }
                    } }
                }
            }
            h3 { "New key" }
            form.fields method="post" action="/keys" {
                (sealed.field())
                input type="hidden" name="tenant" value=(tenant);
                fieldset {
                    legend { "Whose it is" }
                    (input("user", "User", "", "the key's id where empty"))
                    (input("expires", "Expires", "", "such as 2027-01-31T00:00:00Z; never where empty"))
                }
                div.actions { button { "Create" } }
            }
        }
    }
}

fn verb(action: &str, name: &str, id: &str, tenant: &str, sealed: &Sealed) -> Markup {
    html! {
        form method="post" action=(action) {
            (sealed.field())
            input type="hidden" name="tenant" value=(tenant);
            button.small aria-label={ (name) " " (id) } { (name) }
        }
    }
}

fn input(name: &str, label: &str, value: &str, hint: &str) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(value) autocomplete="off" aria-describedby={ (name) "-hint" };
            small id={ (name) "-hint" } { (hint) }
        }
    }
}

/// Returns a setting as it stands in its field.
pub(super) fn present(settings: &Value, path: &str) -> String {
    let value = path.split('.').try_fold(settings, |value, name| value.get(name));
    value.filter(|value| !value.is_null()).map(told).unwrap_or_default()
}

pub(super) fn is_disabled(settings: &Value) -> bool {
    settings.get("disabled") == Some(&Value::Bool(true))
}

pub(super) type Group = (&'static str, &'static [(&'static str, &'static str, &'static str)]);

/// The fields of the form: where in the settings, what they are called, what to write.
pub(super) const GROUPS: [Group; 4] = [
    (
        "The tenant's money",
        &[
            ("budget.daily", "A day", "such as 25.00 USD"),
            ("budget.weekly", "A week", "from Monday"),
            ("budget.monthly", "A month", "by the calendar"),
        ],
    ),
    (
        "Each user's money",
        &[
            ("user_budget.daily", "A day", "of users with nothing of their own"),
            ("user_budget.monthly", "A month", "by the calendar"),
        ],
    ),
    (
        "The tenant's rates",
        &[
            ("limits.requests_per_minute", "Requests a minute", "a whole number"),
            ("limits.input_tokens_per_minute", "Input tokens a minute", "uncached, and cache writes"),
            ("limits.output_tokens_per_minute", "Output tokens a minute", "a whole number"),
            ("limits.concurrent_requests", "Requests in flight", "a whole number"),
        ],
    ),
    (
        "The tenant's tokens",
        &[
            ("quota.daily_tokens", "A day", "all kinds together"),
            ("quota.monthly_tokens", "A month", "all kinds together"),
        ],
    ),
];
