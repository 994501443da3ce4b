//! ClickHouse's own engine, behind as much of its HTTP interface as the official client uses.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::ACME;
use super::http::send;
use super::port::Port;

/// ClickHouse's engine behind HTTP; its tables outlast the process.
pub struct Engine {
    folder: TempDir,
    port: Port,
    pub certificate: Option<PathBuf>,
    child: Option<Child>,
}

impl Engine {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), port: Port::hold(), certificate: None, child: None }
    }

    /// Speaks TLS, with this certificate and its key.
    pub fn with_certificate(mut self, file: PathBuf) -> Self {
        self.certificate = Some(file);
        self
    }

    pub fn start(&mut self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".cache/clickhouse/python/bin/python");
        assert!(python.exists(), "run scripts/clickhouse-engine (or make test) first");
        let mut command = Command::new(python);
        command.arg(root.join("tests/clickhouse/server.py")).arg(self.port.number().to_string());
        command.arg(self.folder.path()).args(["tercet", ACME]).args(&self.certificate);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        self.child = Some(child);
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The section that names it; with a file of roots by TLS.
    pub fn section(&self, ca: Option<&Path>) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        let ca = ca.map(|ca| format!("ca = \"{}\"\n", ca.display())).unwrap_or_default();
        format!(
            "\n[clickhouse]\nurl = \"{scheme}://localhost:{}\"\nuser = \"tercet\"\npassword = {{ env = \"ACME_KEY\" }}\n{ca}",
            self.port.number()
        )
    }

    pub async fn answers(&self, path: &str, body: &str) -> Result<String, String> {
        let url = format!("http://127.0.0.1:{}/{path}", self.port.number());
        let headers = [("x-clickhouse-user", "tercet"), ("x-clickhouse-key", "tct-acme-key")];
        let answer = send(Method::POST, &url, &headers, body.to_owned()).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        if answer.status == 200 { Ok(text) } else { Err(text) }
    }

    /// The rows that a query gives.
    pub async fn rows(&self, query: &str) -> Result<Vec<Value>, String> {
        let told = self.answers("?database=tercet&default_format=JSONEachRow", query).await?;
        Ok(told.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// Waits until the copy holds as many rows, once each, and returns its sums beside those of the hours.
    pub async fn holds(&self, count: usize) -> (Value, Value) {
        let all = "SELECT count() AS rows, sum(cost_nanousd) AS cost, sum(baseline_requested_nanousd) AS baseline, \
                   sum(output_tokens) AS output, countIf(outcome != 'ok') AS failed FROM requests FINAL";
        let hours = "SELECT sum(requests) AS rows, sum(cost_nanousd) AS cost, sum(baseline_requested_nanousd) AS baseline, \
                     sum(output_tokens) AS output, sum(failed) AS failed FROM hourly";
        let mut told = Err(String::new());
        // Two minutes: where the machine has other work each round of the copy may fail a few times, and waits longer then.
        for _ in 0..2_400 {
            told = self.rows(all).await;
            if told.as_ref().is_ok_and(|rows| whole(&rows[0]["rows"]) == count as i64) {
                let rows = told.unwrap().remove(0);
                return (rows, self.rows(hours).await.unwrap().remove(0));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the copy never held {count} rows: {told:?}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A whole number, which JSON of ClickHouse may quote.
pub fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}
