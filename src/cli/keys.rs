//! `tercet keys`: makes keys, hashes them, lists, rotates and revokes them.
//!
//! A key is printed once and stored nowhere; a configuration or the journal holds its hash. `create` and `list` work
//! on a file without changing it, or with `--live` on the running gateway that the file names; `rotate` and `revoke`
//! are for a running gateway only, as it is the one that can let two keys overlap.

use std::io::{self, IsTerminal, Read};

use clap::{Args, Subcommand};
use http::Method;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::configured;
use super::ending::{Ending, Exit, Failure, print, print_json, tell};
use super::operator::{Gateway, in_url};
use super::table::{Column, Table};
use crate::secret::{self, KeyHash};

/// Makes, hashes, lists, rotates and revokes keys.
#[derive(Subcommand, Debug)]
pub(super) enum Keys {
    Create(Create),
    Hash(Hash),
    List(List),
    Rotate(Rotate),
    Revoke(Revoke),
}

/// Makes a key and prints it once, with the lines to put into the configuration.
#[derive(Args, Debug)]
pub(super) struct Create {
    /// The tenant it belongs to.
    #[arg(long, default_value = "team", value_parser = read_name)]
    tenant: String,
    /// The user it stands for; the key's id by default.
    #[arg(long, value_parser = read_name)]
    user: Option<String>,
    /// Names the key in records; made up by default.
    #[arg(long, value_parser = read_name)]
    id: Option<String>,
    /// Refused from then on, such as 2027-01-31T00:00:00Z; never by default.
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    /// Make it in the running gateway, where it works at once.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    gateway: Gateway,
    /// Print {"id", "key", "hash"}.
    #[arg(long)]
    json: bool,
}

/// Reads a key from standard input and prints its hash.
#[derive(Args, Debug)]
pub(super) struct Hash {
    /// `-`, which is standard input; a key is never an argument, where other processes could read it.
    #[arg(default_value = "-", value_parser = ["-"])]
    source: String,
    /// Print {"hash"}.
    #[arg(long)]
    json: bool,
}

/// Lists the keys of a configuration or of a running gateway, without their hashes.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Ask the running gateway, which also knows the keys made while it ran.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    gateway: Gateway,
    /// Print {"keys": [{"tenant", "id", "user", "expires", "allow_user_header"}]}.
    #[arg(long)]
    json: bool,
}

/// Gives a key of a running gateway a new secret, printed once; its id and counters stay.
#[derive(Args, Debug)]
pub(super) struct Rotate {
    /// Which key.
    id: String,
    /// How long the secret before is still taken.
    #[arg(long, default_value = "1d", value_name = "DURATION")]
    overlap: String,
    #[command(flatten)]
    gateway: Gateway,
    /// Print {"id", "key", "hash"} and what changed.
    #[arg(long)]
    json: bool,
}

/// Ends a key of a running gateway; it is refused from the next request on.
#[derive(Args, Debug)]
pub(super) struct Revoke {
    /// Which key.
    id: String,
    #[command(flatten)]
    gateway: Gateway,
    /// Print what changed.
    #[arg(long)]
    json: bool,
}

pub(super) async fn keys(asked: &Keys) -> Ending {
    match asked {
        Keys::Create(asked) if asked.live || asked.gateway.url.is_some() => create_live(asked).await,
        Keys::Create(asked) => create(asked),
        Keys::Hash(asked) => hash(asked),
        Keys::List(asked) => list(asked).await,
        Keys::Rotate(asked) => rotate(asked).await,
        Keys::Revoke(asked) => revoke(asked).await,
    }
}

fn create(asked: &Create) -> Ending {
    let key = secret::new_key().map_err(Failure::run)?;
    let key = key.expose();
    let hash = KeyHash::of(key.as_bytes()).to_string();
    let id = match &asked.id {
        Some(id) => id.clone(),
        None => secret::new_key_id(asked.user.as_deref().unwrap_or(&asked.tenant)).map_err(Failure::run)?,
    };
    if asked.json {
        print_json(&json!({"id": id, "key": key, "hash": hash}))?;
        return Ok(Exit::Ok);
    }
    let user = asked.user.as_ref().map_or_else(String::new, |user| format!("user = {}\n", quoted(user)));
    let expires = asked.expires.map_or_else(String::new, |time| format!("\nexpires = {time}"));
    print(&format!(
        "key   {key}\nid    {id}\nhash  {hash}\n\n\
         The key is shown this once. Give it to its user, and put this into the configuration:\n\n\
         [[tenants.{}.keys]]\nid = {}\n{user}hash = \"{hash}\"{expires}",
        bare(&asked.tenant),
        quoted(&id),
    ))?;
    Ok(Exit::Ok)
}

async fn create_live(asked: &Create) -> Ending {
    let given = [
        ("tenant", Some(Value::from(asked.tenant.as_str()))),
        ("user", asked.user.as_deref().map(Value::from)),
        ("id", asked.id.as_deref().map(Value::from)),
        ("expires", asked.expires.map(|time| Value::from(time.to_string()))),
    ];
    let named = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let body = Value::Object(named.collect::<Map<_, _>>());
    let made = asked.gateway.ask(Method::POST, "/admin/v1/keys", Some(&body)).await?;
    show(&made, asked.json, "It works from now on.")
}

async fn rotate(asked: &Rotate) -> Ending {
    let path = format!("/admin/v1/keys/{}/rotate", in_url(&asked.id));
    let made = asked.gateway.ask(Method::POST, &path, Some(&json!({"overlap": asked.overlap}))).await?;
    show(&made, asked.json, &format!("The one before is taken for another {}.", asked.overlap))
}

async fn revoke(asked: &Revoke) -> Ending {
    let path = format!("/admin/v1/keys/{}", in_url(&asked.id));
    let made = asked.gateway.ask(Method::DELETE, &path, None).await?;
    let shown = if asked.json { print_json(&made) } else { print(&format!("{} is revoked", asked.id)) };
    shown.map(|()| Exit::Ok)
}

fn show(made: &Value, as_json: bool, what_holds: &str) -> Ending {
    if as_json {
        print_json(made)?;
        return Ok(Exit::Ok);
    }
    let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    print(&format!(
        "key   {}\nid    {}\nhash  {}\n\nThe key is shown this once. {what_holds}",
        text("key"),
        text("id"),
        text("hash"),
    ))?;
    Ok(Exit::Ok)
}

fn hash(asked: &Hash) -> Ending {
    if io::stdin().is_terminal() {
        tell("type or paste the key, then press enter and ctrl-d");
    }
    let mut text = String::new();
    io::stdin().take(KEY_BYTES_MAX + 1).read_to_string(&mut text).map_err(Failure::run)?;
    let key = text.trim();
    if key.is_empty() || text.len() as u64 > KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Failure::usage("a key is one word of visible ASCII on standard input, of at most 4 KiB"));
    }
    let hash = KeyHash::of(key.as_bytes()).to_string();
    let shown = if asked.json { print_json(&json!({"hash": hash})) } else { print(&hash) };
    shown.map(|()| Exit::Ok)
}

async fn list(asked: &List) -> Ending {
    let keys = if asked.live || asked.gateway.url.is_some() {
        asked.gateway.ask(Method::GET, "/admin/v1/keys", None).await?
    } else {
        let config = configured::load(asked.gateway.config.as_deref())?.config;
        let keys =
            config.tenants.iter().flat_map(|(name, held)| held.keys.iter().map(move |key| (name, key)));
        let listed = keys.map(|(tenant, key)| {
            json!({"tenant": tenant, "id": key.id, "user": key.user,
                "expires": key.expires.map(|time| time.to_string()),
                "allow_user_header": key.allow_user_header})
        });
        listed.collect()
    };
    if asked.json {
        print_json(&json!({ "keys": keys }))?;
        return Ok(Exit::Ok);
    }
    let keys = keys.as_array().map(Vec::as_slice).unwrap_or_default();
    if keys.is_empty() {
        tell("no keys are configured, so nobody is identified; `tercet keys create` makes one");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(["Tenant", "Key", "User", "Expires"].map(Column::Words).to_vec());
    for key in keys {
        let text = |name: &str| key.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let named = ["tenant", "id", "user"].map(|name| text(name).unwrap_or_default());
        table.row(named.into_iter().chain([text("expires").unwrap_or_else(|| "never".to_owned())]).collect());
    }
    print(&table.render())?;
    Ok(Exit::Ok)
}

/// Writes a name as a TOML string; names hold no control characters, so JSON's escapes are TOML's.
fn quoted(name: &str) -> String {
    Value::from(name).to_string()
}

/// Writes a name as a TOML key, quoted only where it has to be.
fn bare(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_bare { name.to_owned() } else { quoted(name) }
}

fn read_name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    if is_name && !text.starts_with('_') {
        Ok(text.to_owned())
    } else {
        Err("a name is one line of 1 to 128 bytes and does not begin with an underscore".to_owned())
    }
}

const KEY_BYTES_MAX: u64 = 4_096;
const NAME_BYTES_MAX: usize = 128;
