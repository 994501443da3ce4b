//! Runs a client in a process of its own against a gateway of its own, then asks whether the house kept its promises.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tercet::store::Held;
use tokio::process::Command;

use crate::support::{ACME, House};

/// A program that speaks the API, with the script that drives it.
#[derive(Clone, Copy)]
pub(crate) enum Client {
    AnthropicPython,
    LangchainPython,
    LitellmPython,
    AnthropicNode,
    VercelNode,
}

/// What a client left behind.
pub(crate) struct Run {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) told: String,
}

/// What the upstream is expected to have answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// Every request with a 2xx.
    Answers,
    /// Some with errors, which the scenario asked for.
    Errs,
}

impl Client {
    /// Runs one scenario of the client's script; panics with all it printed where it fails.
    pub(crate) async fn passes(self, house: &House, scenario: &str) {
        let run = self.run(house, scenario).await;
        assert!(run.succeeded, "{scenario} failed\n{}\nthe journal: {:#?}", run.told, house.records());
    }

    async fn run(self, house: &House, scenario: &str) -> Run {
        let (program, script) = match self {
            Self::AnthropicPython => ("python/bin/python", "anthropic_python.py"),
            Self::LangchainPython => ("python/bin/python", "langchain_python.py"),
            Self::LitellmPython => ("litellm/bin/python", "litellm_python.py"),
            Self::AnthropicNode => ("node/node_modules/.bin/node", "anthropic_node.mjs"),
            Self::VercelNode => ("node/node_modules/.bin/node", "vercel_node.mjs"),
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
        let mut command = command(program);
        command
            .arg(script)
            .arg(scenario)
            .env("BASE_URL", &house.url)
            .env("API_KEY", ACME)
            .env("NODE_CLIENTS", clients().join("node"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        finished(command).await
    }
}

/// Returns a command of the clients' environment, which sees nothing of ours but where programs are.
pub(crate) fn command(program: &str) -> Command {
    let program = clients().join(program);
    assert!(program.exists(), "{}: run scripts/test-environment (or make test) first", program.display());
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Waits for a process to end, at most [`PATIENCE`]; one that does not is killed.
pub(crate) async fn finished(command: Command) -> Run {
    let home = TempDir::new().unwrap();
    finished_at(command, home.path()).await
}

/// Likewise, with a home that is set up.
pub(crate) async fn finished_at(mut command: Command, home: &Path) -> Run {
    command.env("HOME", home).current_dir(home);
    let child = command.spawn().unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{command:?} did not end within {PATIENCE:?}")).unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = format!("{}\n{stdout}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    Run { succeeded: output.status.success(), stdout, told }
}

/// Asserts what holds after any scenario: nothing failed by our doing, nothing was lost, and the money adds up.
///
/// Returns the journal's exchanges.
pub(crate) async fn promises_are_kept(house: &House, upstream: Upstream) -> Vec<Value> {
    let all = house.upstream.bill();
    let bills: Vec<_> = all.iter().filter(|bill| !bill.batch).collect();
    let records = house.records_when(bills.len()).await;
    assert_eq!(house.upstream.dropped_thinking(), [], "thinking was lost");
    if upstream == Upstream::Answers {
        let requests = house.upstream.requests();
        let asked = requests
            .iter()
            .filter(|seen| seen.method == "POST" && seen.path.split('?').next() == Some("/v1/messages"));
        assert_eq!(bills.len(), asked.count(), "a message was not answered: {records:#?}");
        let unwell = |record: &&Value| record["status"] != 200 || record["outcome"] != "ok";
        let unwell: Vec<&Value> = records.iter().filter(unwell).collect();
        assert!(unwell.is_empty(), "failed: {unwell:#?}");
    }
    assert!(bills.iter().all(|bill| bill.complete), "an answer was not read to its end: {bills:#?}");
    let billed: u64 = all.iter().map(|bill| bill.nanousd).sum();
    let journaled: u64 = records.iter().map(|record| record["cost_nanousd"].as_u64().unwrap()).sum();
    assert_eq!(journaled, billed, "the journal and the bill differ: {records:#?}\n{all:#?}");
    for _ in 0..500 {
        if house.tercet.runtime.accounts.reserved_total() == Held::default() {
            return records;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("held when idle: {:?}", house.tercet.runtime.accounts.reserved_total());
}

pub(crate) fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/clients")
}

/// How long one client may take.
const PATIENCE: Duration = Duration::from_secs(120);
