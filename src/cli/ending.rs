//! How a command ends: exit codes, failures, and the two streams it writes to.
//!
//! Results go to standard output, everything else to standard error. Nothing is coloured. A reader that goes
//! away (`tercet usage | head`) ends the command quietly. Text from outside never moves a terminal's cursor:
//! [`plain`] replaces control characters.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::config::ConfigProblem;
use crate::telemetry;

/// How a command ended; the number is the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// Something failed at run time.
    Failure = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// The configuration is wrong.
    Configuration = 3,
    /// The journal is not what was written.
    Verification = 4,
    /// A case of a policy went elsewhere.
    PolicyTests = 5,
    /// No gateway answers, or it is not ready.
    Unreachable = 6,
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// What is wrong and what would mend it; empty where nobody is left to be told.
    pub(super) text: String,
}

/// What a verb comes to.
pub(super) type Ending = Result<Exit, Failure>;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Failure {
    pub(super) fn run(text: impl fmt::Display) -> Self {
        Self { exit: Exit::Failure, text: text.to_string() }
    }

    pub(super) fn usage(text: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, text: text.to_string() }
    }

    pub(super) fn configuration(text: impl fmt::Display) -> Self {
        Self { exit: Exit::Configuration, text: text.to_string() }
    }

    pub(super) fn problems(problems: &[ConfigProblem]) -> Self {
        let rendered: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Self::configuration(rendered.join("\n\n"))
    }

    /// Tells the failure on standard error.
    pub(super) fn tell(&self) -> Exit {
        match self.text.as_str() {
            "" => {}
            text if text.starts_with("error: ") => tell(text),
            text => tell(&format!("error: {text}")),
        }
        self.exit
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { exit: Exit::Ok, text: String::new() },
            _ => Self::run(error),
        }
    }
}

/// Writes a result to standard output, with a line break behind it.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.trim_end_matches('\n').as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes a result as one line of JSON.
pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&value.to_string())
}

/// Writes to standard error; where that is closed there is nobody to tell.
pub(super) fn tell(text: &str) {
    // What was logged before stands before.
    telemetry::flush();
    let mut error = io::stderr().lock();
    drop(error.write_all(format!("{}\n", text.trim_end_matches('\n')).as_bytes()));
}

/// Returns text from outside as it can be shown on one line.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
