//! The command line: one file per verb, exit codes, `--json` wherever there is a result.
//!
//! Decides nothing about requests: a verb reads its arguments, asks the rest of the library, and lays out the
//! answer. Results go to standard output, everything else to standard error. Verbs that only look
//! (`check`, `explain`, `usage`, `audit`) never write to the journal and work beside a running gateway.

mod audit;
mod cache;
mod call;
mod check;
mod classify;
mod configured;
mod content;
mod demo;
mod ending;
mod explain;
mod export;
mod health;
mod journal;
mod keys;
mod operator;
mod policy;
mod prices;
mod prompt_cache;
mod reconcile;
mod records;
mod replay;
mod run;
mod screen;
mod serving;
mod simulate;
mod span;
mod statusline;
mod table;
mod tail;
mod top;
mod trust;
mod usage;
mod workloads;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

pub use ending::Exit;

use ending::{Ending, Failure};

/// A drop-in reverse proxy for the Messages API: it routes, limits, caches and accounts.
#[derive(Parser, Debug)]
#[command(name = "tercet", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Run(run::Run),
    Demo(demo::Demo),
    Simulate(simulate::Simulate),
    Check(check::Check),
    Explain(explain::Explain),
    Classify(classify::Classify),
    #[command(subcommand)]
    Workloads(workloads::Verb),
    Usage(usage::Usage),
    Reconcile(reconcile::Reconcile),
    Statusline(statusline::Statusline),
    Top(top::Top),
    Tail(tail::Tail),
    Replay(replay::ReplayVerb),
    #[command(subcommand)]
    Policy(policy::Policy),
    #[command(subcommand)]
    Keys(keys::Keys),
    #[command(subcommand)]
    Cache(cache::Cache),
    #[command(subcommand)]
    Content(content::Verb),
    Health(health::Health),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Prices(prices::Prices),
    #[command(subcommand)]
    Journal(journal::Verb),
    Export(export::Export),
}

/// Does what `arguments` ask, the program's name first among them, and returns how it ended.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(refusal) => {
            // Help and version come this way too; where they cannot be written there is nobody to tell.
            drop(refusal.print());
            return if refusal.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let exit = cli.verb.obey().unwrap_or_else(|failure| failure.tell());
    crate::telemetry::flush();
    exit
}

impl Verb {
    fn obey(&self) -> Ending {
        match self {
            Self::Run(asked) => wait_for(run::run(asked)),
            Self::Demo(asked) => wait_for(demo::demo(asked)),
            Self::Simulate(asked) => wait_for(simulate::simulate(asked)),
            Self::Check(asked) => check::check(asked),
            Self::Explain(asked) => explain::explain(asked),
            Self::Classify(asked) => classify::classify(asked),
            Self::Workloads(asked) => workloads::workloads(asked),
            Self::Usage(asked) => usage::usage(asked),
            Self::Reconcile(asked) => wait_for(reconcile::reconcile(asked)),
            Self::Statusline(asked) => wait_for(statusline::statusline(asked)),
            Self::Top(asked) => wait_for(top::top(asked)),
            Self::Tail(asked) => tail::tail(asked),
            Self::Keys(asked) => wait_for(keys::keys(asked)),
            Self::Cache(asked) => wait_for(cache::cache(asked)),
            Self::Content(asked) => content::content(asked),
            Self::Replay(asked) => replay::replay(asked),
            Self::Policy(asked) => policy::policy(asked),
            Self::Health(asked) => wait_for(health::health(asked)),
            Self::Audit(asked) => audit::audit(asked),
            Self::Journal(asked) => journal::journal(asked),
            Self::Prices(asked) => prices::prices(asked),
            Self::Export(asked) => export::export(asked),
        }
    }
}

/// Runs a verb that waits; what it leaves running when it ends is dropped, not waited for.
fn wait_for(verb: impl Future<Output = Ending>) -> Ending {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from)?;
    let ending = runtime.block_on(verb);
    runtime.shutdown_background();
    ending
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
