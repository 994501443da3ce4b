//! Request ids: sortable by time, unique across instances.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Identifies one exchange; `tct_` and a version-7 UUID (RFC 9562) without hyphens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(String);

impl RequestId {
    /// Returns a new id.
    #[must_use]
    pub fn generate() -> Self {
        let (second, nanos) = uuid::Timestamp::now(uuid::NoContext).to_unix();
        let micros = u64::from(nanos) / 1_000;
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        // A keyed hash of a counter, whose key the system drew at the first: asking it each time is a system call.
        let one = KEY.hash_one(counter).to_le_bytes();
        let mut random = [0; 10];
        let (first, last) = random.split_at_mut(2);
        last.copy_from_slice(&one);
        // Within a millisecond ids go on in order, to a quarter of a microsecond.
        let fraction = u16::try_from(micros % 1_000 * 4_096 / 1_000).unwrap_or(0);
        first.copy_from_slice(&fraction.to_be_bytes());
        let uuid =
            uuid::Builder::from_unix_timestamp_millis(second * 1_000 + micros / 1_000, &random).into_uuid();
        let mut text = String::with_capacity(PREFIX.len() + uuid::fmt::Simple::LENGTH);
        text.push_str(PREFIX);
        text.push_str(uuid.simple().encode_lower(&mut [0; uuid::fmt::Simple::LENGTH]));
        Self(text)
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns a new name for an administrative change: `chg_` and a version-7 UUID without hyphens.
#[must_use]
pub fn change_id() -> String {
    format!("chg_{}", uuid::Uuid::now_v7().simple())
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

const PREFIX: &str = "tct_";
static COUNTER: AtomicU64 = AtomicU64::new(0);
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_of_version_7() {
        let ids: std::collections::BTreeSet<_> = (0..10_000).map(|_| RequestId::generate()).collect();
        assert_eq!(ids.len(), 10_000);
        let uuid =
            uuid::Uuid::parse_str(ids.first().unwrap().as_str().strip_prefix(PREFIX).unwrap()).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
    }
}
