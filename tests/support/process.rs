//! The real binary: `tercet run` as a process of its own.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{ACME, RIVAL, UPSTREAM_KEY};

/// A running gateway; killed when dropped.
pub struct Process {
    child: Child,
    pub url: String,
    pub admin_url: String,
}

impl Process {
    /// Starts `tercet run --config FILE` and waits for its addresses.
    pub async fn start(file: &Path) -> Self {
        Self::start_with(file, &[]).await
    }

    /// Likewise, with these variables in its environment.
    pub async fn start_with(file: &Path, variables: &[(&str, &str)]) -> Self {
        let log = file.with_extension("log");
        let mut child = command(&["run", "--config", file.to_str().unwrap()])
            .envs(variables.iter().copied())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        for _ in 0..1_000 {
            let told = std::fs::read_to_string(&log).unwrap();
            let after =
                |name: &str| told.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
            if let (Some(url), Some(admin_url), Some(_)) =
                (after("export ANTHROPIC_BASE_URL="), after("dashboard "), after("routing "))
            {
                return Self { child, url, admin_url };
            }
            assert!(child.try_wait().unwrap().is_none(), "{told}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway did not start: {}", std::fs::read_to_string(&log).unwrap());
    }

    /// Returns the id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> ExitStatus {
        for _ in 0..2_000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway did not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns a command of the binary, with the environment of the tests.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tercet"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command.env("UPSTREAM_KEY", UPSTREAM_KEY).env("ACME_KEY", ACME).env("RIVAL_KEY", RIVAL);
    command
}

/// Runs a command of the binary to its end: exit code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = command(arguments).stdout(Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
