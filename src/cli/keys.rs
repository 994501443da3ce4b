//! `tercet keys`: makes keys, hashes them, lists those of a configuration.
//!
//! A key is `tct-` and 43 letters of base64url, 32 random bytes. It is printed once and stored nowhere; the
//! configuration holds its hash. Nothing here changes a file.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::configured;
use super::ending::{Ending, Exit, Failure, print, print_json, tell};
use super::table::{Column, Table};
use crate::secret::{self, KeyHash};

/// Makes, hashes and lists keys.
#[derive(Subcommand, Debug)]
pub(super) enum Keys {
    Create(Create),
    Hash(Hash),
    List(List),
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

/// Lists the keys of a configuration, without their hashes.
#[derive(Args, Debug)]
pub(super) struct List {
    /// The configuration file; ./tercet.toml by default.
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Print {"keys": [{"tenant", "id", "user", "expires", "allow_user_header"}]}.
    #[arg(long)]
    json: bool,
}

pub(super) fn keys(asked: &Keys) -> Ending {
    match asked {
        Keys::Create(asked) => create(asked),
        Keys::Hash(asked) => hash(asked),
        Keys::List(asked) => list(asked),
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
    print(&format!(
        "key   {key}\nid    {id}\nhash  {hash}\n\n\
         The key is shown this once. Give it to its user, and put this into the configuration:\n\n\
         [[tenants.{}.keys]]\nid = {}\n{user}hash = \"{hash}\"",
        bare(&asked.tenant),
        quoted(&id),
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

fn list(asked: &List) -> Ending {
    let config = configured::load(asked.config.as_deref())?.config;
    let keys =
        || config.tenants.iter().flat_map(|(name, tenant)| tenant.keys.iter().map(move |key| (name, key)));
    if asked.json {
        let listed = keys().map(|(tenant, key)| {
            json!({"tenant": tenant, "id": key.id, "user": key.user,
                "expires": key.expires.map(|time| time.to_string()),
                "allow_user_header": key.allow_user_header})
        });
        print_json(&json!({"keys": listed.collect::<Vec<Value>>()}))?;
        return Ok(Exit::Ok);
    }
    if keys().next().is_none() {
        tell("no keys are configured, so nobody is identified; `tercet keys create` makes one");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(["Tenant", "Key", "User", "Expires"].map(Column::Words).to_vec());
    for (tenant, key) in keys() {
        let expires = key.expires.map_or_else(|| "never".to_owned(), |time| time.to_string());
        table.row(vec![tenant.clone(), key.id.clone(), key.user.clone(), expires]);
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
