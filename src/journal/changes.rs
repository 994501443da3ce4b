//! The stream of administrative changes, read from its beginning: what a start restores, and what an audit lists.

use std::path::Path;

use super::chain::Stream;
use super::record::AdminRecord;
use super::walk::{FindingKind, WalkFailure, walk};

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
