//! What the forms of tenants and keys come to: the question first, then the change.
//!
//! A form is first answered with what would differ, and changes something only when that answer is sent on. A new
//! key is shown on the page that made it and nowhere else. Everything goes through the same change as the API's.

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::change::{Asked, Change, Changed};
use super::changes::{OVERLAP, new_key, new_key_id};
use super::format::query_value;
use super::gate::Caller;
use super::reply::Problem;
use super::shell::{Here, Page, Sealed};
use super::tenants::{GROUPS, is_disabled, of, present};
use super::{AdminState, api};
use crate::config;
use crate::secret::Secret;

/// `POST /tenants`
pub(super) async fn create(asker: Asker, body: Bytes) -> Result<Response, Problem> {
    let fields = Fields::read(&body);
    let name = fields.text("name").to_owned();
    let back = format!("/tenants/{}", query_value(&name));
    let asked = Asked::TenantCreate { name, settings: Map::new() };
    act(asker, &fields, "/tenants", asked, Then::Go(back)).await
}

/// `POST /tenants/{name}`
pub(super) async fn edit(asker: Asker, Path(name): Path<String>, body: Bytes) -> Result<Response, Problem> {
    let fields = Fields::read(&body);
    let wanted = name.clone();
    let tenants = api::blocking(&asker.1, |sources| (sources.tenants)()).await?;
    let found = of(&tenants, "name", &wanted).next().and_then(|tenant| tenant.get("settings"));
    let settings = found.ok_or_else(|| Problem::NotFound(format!("there is no tenant `{wanted}`")))?;
    let settings = changed_fields(settings, &fields);
    let here = format!("/tenants/{}", query_value(&name));
    act(asker, &fields, &here, Asked::TenantChange { name, settings }, Then::Go(here.clone())).await
}

/// `POST /keys`
pub(super) async fn create_key(asker: Asker, body: Bytes) -> Result<Response, Problem> {
    let fields = Fields::read(&body);
    let tenant = fields.text("tenant").to_owned();
    let given = ["user", "expires"].into_iter().filter(|name| !fields.text(name).is_empty());
    let settings: Map<String, Value> =
        given.map(|name| (name.to_owned(), Value::from(fields.text(name)))).collect();
    let (key, hash) = new_key()?;
    let id = new_key_id(&tenant, &settings)?;
    let asked = Asked::KeyCreate { tenant, id, hash, settings };
    act(asker, &fields, "/keys", asked, Then::Show(key)).await
}

/// `POST /keys/{id}/rotate`
pub(super) async fn rotate_key(
    asker: Asker,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let fields = Fields::read(&body);
    let overlap = config::parse_duration(OVERLAP).map_err(Problem::Internal)?;
    let (key, hash) = new_key()?;
    let here = format!("/keys/{}/rotate", query_value(&id));
    act(asker, &fields, &here, Asked::KeyRotate { id, hash, overlap }, Then::Show(key)).await
}

/// `POST /keys/{id}/revoke`
pub(super) async fn revoke_key(
    asker: Asker,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let fields = Fields::read(&body);
    let here = format!("/keys/{}/revoke", query_value(&id));
    let back = format!("/tenants/{}", query_value(fields.text("tenant")));
    act(asker, &fields, &here, Asked::KeyRevoke { id }, Then::Go(back)).await
}

/// Who sent a form, and to whom.
type Asker = (Extension<Caller>, State<AdminState>, HeaderMap);

/// What follows a change.
enum Then {
    /// Another page.
    Go(String),
    /// The key that was made, once.
    Show(Secret),
}

/// Asks for confirmation, or does what was confirmed.
async fn act(
    (Extension(caller), State(state), headers): Asker,
    fields: &Fields,
    here: &str,
    asked: Asked,
    then: Then,
) -> Result<Response, Problem> {
    state.seal.check(&headers, fields.text("token"))?;
    let sealed = state.seal.seal(&headers)?;
    let dry_run = fields.text("confirmed") != "yes";
    let change = Change { who: caller.0, asked, dry_run };
    let made = api::blocking(&state, move |sources| (sources.change)(change)).await?;
    if let (Ok(_), false, Then::Go(page)) = (&made, dry_run, &then) {
        return Ok(Redirect::to(page).into_response());
    }
    let overview = api::blocking(&state, |sources| (sources.overview)()).await?;
    let back = format!("/tenants/{}", query_value(fields.text("tenant")));
    let (status, title, content) = match (made, then) {
        (Err(problem), _) => {
            let status = problem.clone().into_response().status();
            (status, "Nothing was changed", html! { p.alarm role="alert" { (problem) } })
        }
        (Ok(_), Then::Show(key)) if !dry_run => (StatusCode::OK, "The new key", key_once(&key, &back)),
        (Ok(made), _) => (StatusCode::OK, "Is this right?", confirmation(&made, fields, here, &sealed)),
    };
    let page = Page { overview: &overview, here: Here::Tenants, title, live: None, content };
    let mut response = sealed.send(&page);
    *response.status_mut() = status;
    Ok(response)
}

fn key_once(key: &Secret, back: &str) -> Markup {
    html! {
        section {
            p { "It works from now on. It is shown this once and stored nowhere: copy it, and give it to its user." }
            pre tabindex="0" { code { (key.expose()) } }
            p { a href=(back) { "Back to the tenant" } }
        }
    }
}

fn confirmation(made: &Changed, fields: &Fields, here: &str, sealed: &Sealed) -> Markup {
    let mut rows = Vec::new();
    differences(&mut rows, "", &made.before, &made.after);
    html! {
        section aria-labelledby="differences" {
            h2 #differences { (made.subject) }
            @if rows.is_empty() { p.empty { "Nothing would change." } } @else {
                table.plain.differences {
                    thead { tr {
                        th scope="col" { "Setting" } th scope="col" { "Now" } th scope="col" { "Then" }
                    } }
                    tbody { @for (name, before, after) in &rows { tr {
                        th scope="row" { code { (name) } } td { del { (before) } } td { ins { (after) } }
                    } } }
                }
            }
            form.actions method="post" action=(here) {
                (sealed.field())
                input type="hidden" name="confirmed" value="yes";
                @for (name, value) in fields.others() { input type="hidden" name=(name) value=(value); }
                button { "Confirm" }
                a href="/tenants" { "Leave it" }
            }
        }
    }
}

/// Lists what differs, one line for each setting.
fn differences(rows: &mut Vec<(String, String, String)>, path: &str, before: &Value, after: &Value) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names {
                let of = |side: &Map<String, Value>| side.get(name).cloned().unwrap_or_default();
                differences(rows, &join(name), &of(old), &of(new));
            }
        }
        (Value::Null, Value::Object(_)) => differences(rows, path, &json!({}), after),
        (Value::Object(_), Value::Null) => differences(rows, path, before, &json!({})),
        (before, after) if before != after => rows.push((path.to_owned(), told(before), told(after))),
        _ => {}
    }
}

/// Writes a setting's value.
pub(super) fn told(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The fields of a form, as they came.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// Returns a field's text without space around it; empty where it is absent.
    fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value.trim())
    }

    /// Returns the fields that are the user's own.
    fn others(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter().filter(|(name, _)| !matches!(name.as_str(), "token" | "confirmed"))
    }
}

/// Returns the settings that a form changes.
fn changed_fields(settings: &Value, fields: &Fields) -> Map<String, Value> {
    let mut changed = Map::new();
    for (path, ..) in GROUPS.iter().flat_map(|(_, fields)| fields.iter()) {
        let given = fields.text(path);
        let (Some((section, name)), false) = (path.split_once('.'), given == present(settings, path)) else {
            continue;
        };
        let value = match given {
            "" => Value::Null,
            text => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
        };
        let section = changed.entry(section).or_insert_with(|| json!({}));
        if let Value::Object(section) = section {
            section.insert(name.to_owned(), value);
        }
    }
    let disabled = fields.text("disabled") == "yes";
    if disabled != is_disabled(settings) {
        changed.insert("disabled".to_owned(), Value::Bool(disabled));
    }
    changed
}
