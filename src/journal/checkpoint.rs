//! Signed checkpoints: the journal's own key says which record stood where, so that a head can be kept by others.
//!
//! The key (Ed25519) is made at the first start, `PATH/key`, readable by its owner only. A checkpoint is written
//! into the chain every [`EVERY_RECORDS`] records and at the first write an hour after the last; it signs the
//! record before it. Whoever rewrites the chain needs the key from there on; whoever has both key and files can
//! rewrite everything, which only a head kept elsewhere shows.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::{Head, Line, Link, RecordHash, Stream, from_hex, to_hex};
use super::entry::Entry;
use crate::clock::Clock;
use crate::clock::rfc3339;

/// A signature over one record of a stream: which it is, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename = "checkpoint")]
pub struct CheckpointRecord {
    /// When it was signed.
    #[serde(with = "rfc3339")]
    pub timestamp: Timestamp,
    /// The stream.
    pub stream: Stream,
    /// The stream's origin, from its first record.
    pub origin: String,
    /// The number of the record it signs; a line has a number of its own.
    #[serde(rename = "head_seq")]
    pub seq: u64,
    /// That record's hash.
    #[serde(rename = "head_hash")]
    pub hash: RecordHash,
    /// The public half of the key, 64 hexadecimal digits.
    pub key: String,
    /// Ed25519, 128 hexadecimal digits.
    pub signature: String,
}

/// The key that signs for one journal; cheap to clone.
#[derive(Clone, Debug)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl SigningKey {
    /// Reads the key of the journal at `root`.
    ///
    /// # Errors
    /// Where there is none, it may not be read, or it is no key.
    pub fn read(root: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(root.join(KEY_FILE))?;
        let pair = Ed25519KeyPair::from_pkcs8(&bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it holds no Ed25519 key (PKCS #8)"))?;
        Ok(Self(Arc::new(pair)))
    }

    /// Reads the key, or makes one where there is none.
    pub(super) fn read_or_make(root: &Path) -> io::Result<Self> {
        match Self::read(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let document = made.map_err(|_| io::Error::other("no random bytes"))?;
        let (path, begun) = (root.join(KEY_FILE), root.join(KEY_FILE_BEGUN));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&begun)?;
        file.write_all(document.as_ref())?;
        file.sync_all()?;
        std::fs::rename(begun, path)?;
        Self::read(root)
    }

    /// Returns the public half, 64 hexadecimal digits.
    #[must_use]
    pub fn public(&self) -> String {
        to_hex(self.0.public_key().as_ref())
    }

    /// Returns the signature over `bytes`, 128 hexadecimal digits; `bytes` begin with what they are.
    pub(super) fn sign_bytes(&self, bytes: &[u8]) -> String {
        to_hex(self.0.sign(bytes).as_ref())
    }

    /// Says whether this key made the signature.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0.public_key().as_ref());
        from_hex(signature).is_some_and(|signature| key.verify(bytes, &signature).is_ok())
    }

    /// Says of a head that it stood so at `now`.
    #[must_use]
    pub fn sign(&self, head: &Head, origin: &str, now: Timestamp) -> CheckpointRecord {
        let mut checkpoint = CheckpointRecord {
            timestamp: now,
            stream: head.stream,
            origin: origin.to_owned(),
            seq: head.seq,
            hash: head.hash,
            key: self.public(),
            signature: String::new(),
        };
        checkpoint.signature = self.sign_bytes(checkpoint.signed_text().as_bytes());
        checkpoint
    }
}

impl CheckpointRecord {
    /// Returns what it says of the chain.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head { stream: self.stream, seq: self.seq, hash: self.hash }
    }

    /// Says whether the signature is that of the key it names.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        let (Some(key), Some(signature)) = (from_hex(&self.key), from_hex(&self.signature)) else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, key).verify(self.signed_text().as_bytes(), &signature).is_ok()
    }

    fn signed_text(&self) -> String {
        let Self { timestamp, stream, origin, seq, hash, .. } = self;
        format!("tercet checkpoint\n{}\n{origin}\n{seq}\n{hash}\n{timestamp:.6}\n", stream.name())
    }
}

/// Checks a line of the kind `checkpoint` that stands behind `end`; the error says what is wrong.
pub(super) fn check(
    line: &Line<'_>,
    stream: Stream,
    origin: &str,
    end: Link,
) -> Result<String, &'static str> {
    let Ok(checkpoint) = serde_json::from_slice::<CheckpointRecord>(line.bytes) else {
        return Err("the checkpoint cannot be read");
    };
    let head = Head { stream, seq: end.seq, hash: end.hash };
    if checkpoint.head() != head || checkpoint.origin != origin {
        return Err("the checkpoint is not about the record before it");
    }
    if !checkpoint.is_genuine() {
        return Err("the checkpoint's signature is not that of the key it names");
    }
    Ok(checkpoint.key)
}

/// Makes the checkpoints of one stream.
#[derive(Debug)]
pub(super) struct Signer {
    key: SigningKey,
    clock: Clock,
    stream: Stream,
    origin: String,
    last_seq: u64,
    last_time: Timestamp,
}

impl Signer {
    pub(super) fn new(key: SigningKey, clock: Clock, stream: Stream, origin: String, end: Link) -> Self {
        let last_time = clock.now();
        Self { key, clock, stream, origin, last_seq: end.seq, last_time }
    }

    /// Returns the checkpoint's bytes where one is due behind `end`.
    pub(super) fn due(&self, end: Link) -> Option<Vec<u8>> {
        let now = self.clock.now();
        let is_late = now.duration_since(self.last_time).unsigned_abs() >= EVERY;
        if end.seq < self.last_seq + EVERY_RECORDS && !(is_late && end.seq > self.last_seq) {
            return None;
        }
        let head = Head { stream: self.stream, seq: end.seq, hash: end.hash };
        Entry::Checkpoint(self.key.sign(&head, &self.origin, now))
            .to_line()
            .map(super::entry::Line::into_bytes)
    }

    /// Returns how many records may be written at once behind `end`, after the checkpoint that is due there.
    pub(super) fn room(&self, end: Link) -> usize {
        let left = (self.last_seq + EVERY_RECORDS).saturating_sub(end.seq);
        usize::try_from(if left == 0 { EVERY_RECORDS - 1 } else { left }).unwrap_or(usize::MAX)
    }

    /// Notes that a checkpoint was written behind `end`, and says so in the log: kept elsewhere, it anchors the chain.
    pub(super) fn written(&mut self, end: Link) {
        (self.last_seq, self.last_time) = (end.seq, self.clock.now());
        let (stream, key) = (self.stream.name(), self.key.public());
        tracing::info!(stream, seq = end.seq, hash = %end.hash, key, "journal checkpoint");
    }
}

pub(super) const KEY_FILE: &str = "key";

const KEY_FILE_BEGUN: &str = "key.begun";
/// How many records stand between two checkpoints, at most.
pub(super) const EVERY_RECORDS: u64 = 1_000;
const EVERY: Duration = Duration::from_secs(3_600);
