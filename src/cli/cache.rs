//! `tercet cache`: kept answers of a running gateway, looked up and expired.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::ending::{Ending, Exit, Failure, print, print_json};
use super::operator::{Gateway, in_url};
use super::table::{Column, Table, grouped};

/// Looks up and expires the answers that a running gateway keeps.
#[derive(Subcommand, Debug)]
pub(super) enum Cache {
    Show(Show),
    Expire(Expire),
}

/// Whose answers.
#[derive(Args, Debug)]
struct Whose {
    /// Only those of this tenant.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only those this user paid for.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only those paid for with this key.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
}

/// Shows how many answers are kept, in the instance that is asked and in the Redis they are shared through.
#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    gateway: Gateway,
    /// Print {"local", "shared"} as the admin API does.
    #[arg(long)]
    json: bool,
}

/// Expires kept answers, in every instance.
#[derive(Args, Debug)]
pub(super) struct Expire {
    #[command(flatten)]
    whose: Whose,
    /// All of them.
    #[arg(long, conflicts_with_all = ["tenant", "user", "key"])]
    all: bool,
    /// Only say which would be expired.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    gateway: Gateway,
    /// Print what was expired as the admin API does.
    #[arg(long)]
    json: bool,
}

pub(super) async fn cache(asked: &Cache) -> Ending {
    match asked {
        Cache::Show(asked) => {
            let told = asked.gateway.ask(Method::GET, &asked.whose.path(&[]), None).await?;
            show(&told, &told, asked.json)
        }
        Cache::Expire(asked) => {
            if !asked.all && asked.whose.path(&[]) == PATH {
                return Err(Failure::usage("name a --tenant, a --user or a --key, or say --all"));
            }
            let more = [("all", asked.all), ("dry_run", asked.dry_run)];
            let told = asked.gateway.ask(Method::DELETE, &asked.whose.path(&more), None).await?;
            show(&told, told.get("expired").unwrap_or(&Value::Null), asked.json)
        }
    }
}

impl Whose {
    fn path(&self, more: &[(&str, bool)]) -> String {
        let names = [("tenant", &self.tenant), ("user", &self.user), ("key", &self.key)];
        let names =
            names.into_iter().filter_map(|(what, name)| Some(format!("{what}={}", in_url(name.as_ref()?))));
        let more = more.iter().filter(|(_, is_set)| *is_set).map(|(what, _)| format!("{what}=true"));
        let query = names.chain(more).collect::<Vec<_>>().join("&");
        if query.is_empty() { PATH.to_owned() } else { format!("{PATH}?{query}") }
    }
}

fn show(told: &Value, stocks: &Value, as_json: bool) -> Ending {
    if as_json {
        return print_json(told).map(|()| Exit::Ok);
    }
    let mut table = Table::new(vec![
        Column::Words("Where"),
        Column::Words("Model"),
        Column::Numbers("Answers"),
        Column::Numbers("Bytes"),
        Column::Numbers("Newest (s)"),
        Column::Numbers("Oldest (s)"),
    ]);
    for place in ["local", "shared"] {
        let Some(stock) = stocks.get(place).filter(|stock| !stock.is_null()) else { continue };
        if let Some(failure) = stock.get("failure").and_then(Value::as_str) {
            table.row([place, failure, "", "", "", ""].map(ToOwned::to_owned).to_vec());
            continue;
        }
        let number =
            |of: &Value, name: &str| of.get(name).and_then(Value::as_u64).map_or("-".to_owned(), grouped);
        let ages = [number(stock, "newest_s"), number(stock, "oldest_s")];
        let counts = [number(stock, "entries"), number(stock, "bytes")];
        table.row([place, "all"].map(ToOwned::to_owned).into_iter().chain(counts).chain(ages).collect());
        for model in stock.get("models").and_then(Value::as_array).into_iter().flatten() {
            let name = model.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
            let counts = [number(model, "entries"), number(model, "bytes"), String::new(), String::new()];
            table.row([String::new(), name].into_iter().chain(counts).collect());
        }
    }
    print(&table.render()).map(|()| Exit::Ok)
}

const PATH: &str = "/admin/v1/cache";
