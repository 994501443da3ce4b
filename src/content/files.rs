//! The files: `FOLDER/TENANT/BEGUN.jsonl`, where `TENANT` is a hash of the name, so that any name is a folder's.
//!
//! A file takes lines for a twenty-fourth of the retention, and up to [`SEGMENT_BYTES_MAX`]. It is dropped whole when
//! its first line is too old, so that nothing is kept longer than was said, and some a little shorter. One process
//! writes or erases at a time, by a lock beside the folders; readers need none.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use memchr::memmem;
use serde::Deserialize;

use super::Kept;
use super::segment::{Segment, entries, segments};

/// The store as its one writer has it.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// The file each tenant's next line goes to.
    open: HashMap<String, Segment>,
    retention: Duration,
    /// Bytes there were at the last look, and written since.
    found_bytes: u64,
    grown_bytes: u64,
}

/// What is kept of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    /// The tenant's name.
    pub tenant: String,
    /// Exchanges.
    pub exchanges: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When the oldest was written.
    pub oldest: Timestamp,
}

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Exchanges.
    pub exchanges: u64,
}

impl Store {
    /// Returns the store in a folder, which is made with its first line.
    #[must_use]
    pub fn new(folder: PathBuf, retention: Duration) -> Self {
        Self { folder, open: HashMap::new(), retention, found_bytes: 0, grown_bytes: 0 }
    }

    /// Writes lines down; returns how many came to the disk, and why the first of the others did not.
    pub fn put(&mut self, kept: &[Kept], now: Timestamp) -> (u64, Option<io::Error>) {
        let lock = match Lock::take(&self.folder) {
            Ok(lock) => lock,
            Err(error) => return (0, Some(error)),
        };
        let (mut written, mut failure) = (0, None);
        for one in kept {
            match self.append(one, now) {
                Ok(()) => written += 1,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        drop(lock);
        (written, failure)
    }

    fn append(&mut self, kept: &Kept, now: Timestamp) -> io::Result<()> {
        let mut line = serde_json::to_vec(kept)?;
        line.push(b'\n');
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        let span_ms = i64::try_from((self.retention / SPANS).as_millis()).unwrap_or(i64::MAX);
        let takes = |segment: &&Segment| {
            let age_ms = now.as_millisecond().saturating_sub(segment.begun_ms);
            (0..span_ms).contains(&age_ms) && segment.bytes() < SEGMENT_BYTES_MAX && segment.path.exists()
        };
        let segment = match self.open.get(&kept.tenant).filter(takes) {
            Some(segment) => segment.clone(),
            None => Segment::begin(&self.folder.join(folder_of(&kept.tenant)), now),
        };
        let appended = segment.append(&line);
        match &appended {
            Ok(()) => {
                self.grown_bytes = self.grown_bytes.saturating_add(line.len() as u64);
                self.open.insert(kept.tenant.clone(), segment)
            }
            // Nothing is appended where a half line may stand.
            Err(_) => self.open.remove(&kept.tenant),
        };
        appended
    }

    /// Returns the bytes there are, as of the last look and what was written since; and the latter alone.
    #[must_use]
    pub const fn bytes(&self) -> (u64, u64) {
        (self.found_bytes.saturating_add(self.grown_bytes), self.grown_bytes)
    }

    /// Drops files whose first line is older than `retention`, and the oldest while all take more than `max_bytes`.
    ///
    /// # Errors
    /// Where the folder cannot be read or changed.
    pub fn tidy(&mut self, now: Timestamp, retention: Duration, max_bytes: u64) -> io::Result<()> {
        self.retention = retention;
        (self.found_bytes, self.grown_bytes) = (0, 0);
        if !self.folder.exists() {
            return Ok(());
        }
        let _lock = Lock::take(&self.folder)?;
        let mut all = Vec::new();
        for folder in tenants(&self.folder)? {
            all.extend(segments(&folder)?);
        }
        all.sort();
        let mut total: u64 = all.iter().map(Segment::bytes).sum();
        let kept_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        for segment in all {
            let too_old = now.as_millisecond().saturating_sub(segment.begun_ms) >= kept_ms;
            if !too_old && total <= max_bytes {
                break;
            }
            total = total.saturating_sub(segment.bytes());
            fs::remove_file(&segment.path)?;
        }
        // Folders of tenants of whom nothing is left; the others are not empty.
        for folder in tenants(&self.folder)? {
            drop(fs::remove_dir(folder));
        }
        self.found_bytes = total;
        Ok(())
    }
}

/// Finds what an exchange said; of one tenant where it is named.
///
/// # Errors
/// Where the folder cannot be read.
pub fn find(folder: &Path, request_id: &str, tenant: Option<&str>) -> io::Result<Option<Kept>> {
    let begins = format!("{{\"request_id\":{}", serde_json::to_string(request_id)?);
    let finder = memmem::Finder::new(begins.as_bytes());
    let folders = match tenant {
        Some(tenant) => vec![folder.join(folder_of(tenant))],
        None => tenants(folder)?,
    };
    for folder in folders {
        for segment in segments(&folder)?.iter().rev() {
            let text = read(segment)?;
            for at in finder.find_iter(&text) {
                // The same text may stand within another's line, but there with its quotes escaped.
                let line = text.get(at..).and_then(|rest| rest.split(|byte| *byte == b'\n').next());
                if let Some(Ok(kept)) = line.map(serde_json::from_slice::<Kept>) {
                    return Ok(Some(kept));
                }
            }
        }
    }
    Ok(None)
}

/// Returns what is kept, by tenant.
///
/// # Errors
/// Where the folder cannot be read.
pub fn stocks(folder: &Path) -> io::Result<Vec<Stock>> {
    let mut stocks: Vec<Stock> = Vec::new();
    for folder in tenants(folder)? {
        let (mut stock, mut exchanges) = (None, 0);
        for segment in segments(&folder)? {
            let text = read(&segment)?;
            let mut lines = lines(&text).filter_map(|line| serde_json::from_slice::<Whose>(line).ok());
            let Some(first) = lines.next() else { continue };
            exchanges += 1 + lines.count() as u64;
            let oldest = Timestamp::from_millisecond(segment.begun_ms).unwrap_or(Timestamp::UNIX_EPOCH);
            let stock = stock.get_or_insert(Stock { tenant: first.tenant, exchanges: 0, bytes: 0, oldest });
            stock.bytes += text.len() as u64;
        }
        stocks.extend(stock.map(|stock| Stock { exchanges, ..stock }));
    }
    stocks.sort_by(|left, right| left.tenant.cmp(&right.tenant));
    Ok(stocks)
}

/// Erases what is kept of a tenant, or of one of its users; beside a gateway that goes on writing.
///
/// # Errors
/// Where the folder cannot be read or changed; what was erased until then stays so.
pub fn erase(folder: &Path, tenant: &str, user: Option<&str>, only_count: bool) -> io::Result<Erased> {
    let mut erased = Erased::default();
    let own = folder.join(folder_of(tenant));
    if !own.exists() {
        return Ok(erased);
    }
    let _lock = Lock::take(folder)?;
    for segment in segments(&own)? {
        let text = read(&segment)?;
        let mut left = Vec::new();
        for line in lines(&text) {
            let whose: Option<Whose> = serde_json::from_slice(line).ok();
            let goes = user.is_none_or(|user| {
                whose.as_ref().is_none_or(|whose| whose.user_id.as_deref().unwrap_or_default() == user)
            });
            erased.exchanges += u64::from(goes && whose.is_some());
            if !goes {
                left.extend_from_slice(line);
                left.push(b'\n');
            }
        }
        match (only_count, left.is_empty()) {
            (true, _) => {}
            (false, true) => fs::remove_file(&segment.path)?,
            (false, false) if left.len() == text.len() => {}
            (false, false) => {
                let anew = segment.path.with_extension("anew");
                fs::remove_file(&anew).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                })?;
                Segment { path: anew.clone(), ..segment.clone() }.append(&left)?;
                fs::rename(&anew, &segment.path)?;
            }
        }
    }
    Ok(erased)
}

/// What says whose a line is.
#[derive(Deserialize)]
struct Whose {
    tenant: String,
    #[serde(default)]
    user_id: Option<String>,
}

/// Held while files change; other processes wait for it.
struct Lock(#[expect(dead_code, reason = "held until it is dropped")] File);

impl Lock {
    fn take(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK))?;
        file.lock()?;
        Ok(Self(file))
    }
}

fn tenants(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = entries(folder)?.iter().map(fs::DirEntry::path).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

/// Reads a file that may be gone meanwhile.
fn read(segment: &Segment) -> io::Result<Vec<u8>> {
    match fs::read(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn folder_of(tenant: &str) -> String {
    blake3::hash(tenant.as_bytes()).to_hex().chars().take(FOLDER_CHARACTERS).collect()
}

const LOCK: &str = "lock";
const FOLDER_CHARACTERS: usize = 32;
/// Parts of the retention that a file takes lines for.
const SPANS: u32 = 24;
/// A file that is larger takes no further line; a line has about half a megabyte at most.
const SEGMENT_BYTES_MAX: u64 = 4 << 20;
/// Tenants whose file is remembered; beyond that all begin new ones.
const OPEN_MAX: usize = 4_096;
