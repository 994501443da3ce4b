//! Workloads as they are written down: a head, then a line of JSON for each; refused whole where any of it is wrong.

use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fingerprint::{Level, name};
use super::posterior::Tally;
use super::trouble::Troubles;

/// One workload as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Whose it is.
    pub tenant: String,
    /// 16 hex digits in the file.
    #[serde(with = "hex")]
    pub fingerprint: u64,
    /// How narrowly it is meant.
    pub level: Level,
    /// What was learned.
    pub tally: Tally,
    /// What trouble there was.
    #[serde(default)]
    pub troubles: Troubles,
    /// When it was taught last, counted in outcomes of its tenant.
    pub taught: u64,
}

impl Written {
    /// Returns it as `tercet workloads list --json` and the admin API show it.
    #[must_use]
    pub fn describe(&self) -> Value {
        let [haiku, sonnet, opus] = self
            .tally
            .rates()
            .map(|rate| rate.map(|(rate, seen)| json!({"quality": rate, "outcomes": seen})));
        json!({
            "tenant": self.tenant,
            "workload": name(self.fingerprint),
            "level": self.level.code(),
            "tiers": {"haiku": haiku, "sonnet": sonnet, "opus": opus},
        })
    }
}

/// Why workloads cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadsProblem {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// It is not what was written.
    #[error("line {line}: {why}; nothing of the file was taken over")]
    Damaged {
        /// From 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    workloads: usize,
}

/// Writes workloads as lines of JSON, the head first.
///
/// # Errors
/// Where writing fails.
pub fn write(workloads: &[Written], out: &mut impl Write) -> io::Result<()> {
    let head = Head { format: FORMAT.to_owned(), workloads: workloads.len() };
    serde_json::to_writer(&mut *out, &head)?;
    for workload in workloads {
        out.write_all(b"\n")?;
        serde_json::to_writer(&mut *out, workload)?;
    }
    out.write_all(b"\n")
}

/// Reads workloads; all or none.
///
/// # Errors
/// A file of another format, cut off, longer than 512 MiB, or with numbers that cannot have come about.
pub fn read(from: impl Read) -> Result<Vec<Written>, WorkloadsProblem> {
    let mut text = String::new();
    from.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let damaged = |line: usize, why: String| WorkloadsProblem::Damaged { line, why };
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    let (_, head) = lines.next().ok_or_else(|| damaged(1, "the file is empty".to_owned()))?;
    let head: Head = serde_json::from_str(head).map_err(|error| damaged(1, error.to_string()))?;
    if head.format != FORMAT {
        return Err(damaged(1, format!("format {:?}, this version reads {FORMAT:?}", head.format)));
    }
    let mut workloads = Vec::new();
    for (line, text) in lines {
        let workload: Written =
            serde_json::from_str(text).map_err(|error| damaged(line, error.to_string()))?;
        if !(workload.tally.is_sound() && workload.troubles.is_sound()) {
            return Err(damaged(line, "sums that no outcomes add up to".to_owned()));
        }
        workloads.push(workload);
    }
    if workloads.len() != head.workloads {
        let why = format!("{} workloads announced, {} found", head.workloads, workloads.len());
        return Err(damaged(1, why));
    }
    Ok(workloads)
}

/// Writes workloads to a file in place of what it held; a crash leaves the old or the new, whole.
///
/// # Errors
/// Where the folder refuses.
pub fn save(workloads: &[Written], path: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = io::BufWriter::new(std::fs::File::create(&beside)?);
    write(workloads, &mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Reads the file of workloads; none where there is no file yet.
///
/// # Errors
/// As [`read`].
pub fn load(path: &Path) -> Result<Vec<Written>, WorkloadsProblem> {
    match std::fs::File::open(path) {
        Ok(file) => read(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::name(*hash))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(|_| de::Error::custom("a fingerprint is 16 hex digits"))
    }
}

const FORMAT: &str = "tercet-workloads-1";
const FILE_BYTES_MAX: u64 = 512 << 20;

#[cfg(test)]
mod tests;
