//! Administrative changes, and their stream read from its beginning: what a start restores, and what an audit lists.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::chain::Stream;
use super::walk::{FindingKind, WalkFailure, walk};
use crate::clock::rfc3339;

/// A change of keys, limits, configuration or prices. Secrets never appear in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename = "admin")]
pub struct AdminRecord {
    /// Names a change among all instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it happened.
    #[serde(with = "rfc3339")]
    pub timestamp: Timestamp,
    /// What was done, such as `reload` or `key.create`.
    pub action: String,
    /// Who did it: `token:` and a digest of the admin token, `loopback` where none is needed, `SIGHUP`, or
    /// `file change`.
    pub who: String,
    /// What was changed, such as `tenant:acme` or `key:acme-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What it was.
    pub before: Option<Box<RawValue>>,
    /// What it is now.
    pub after: Option<Box<RawValue>>,
    /// What was laid over the configuration, from which a start restores it; keys are hashes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Box<RawValue>>,
}

/// Reads the changes of the journal at `path`, calling `each` with every record and its number, oldest first.
///
/// Verifies on the way and may run beside the gateway that writes; returns the number of the last record of the
/// stream, 0 where there is none. Blocks; fails if the chain is damaged or a file cannot be read.
pub fn changes(path: &Path, mut each: impl FnMut(u64, AdminRecord)) -> Result<u64, WalkFailure> {
    let walked = walk(&path.join(Stream::Admin.name()), Stream::Admin, |place, line| {
        if line.kind == b"admin" {
            let record = serde_json::from_slice(line.bytes).map_err(|error| {
                place.finding(FindingKind::Edit, line.seq, format!("the record cannot be read: {error}"))
            })?;
            each(line.seq, record);
        }
        Ok(())
    })?;
    Ok(walked.end.map_or(0, |end| end.seq))
}
