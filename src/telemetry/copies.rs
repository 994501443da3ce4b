//! How far the copies of the journal outside this process are; told by what keeps them, read at each scrape.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;

use super::readings::CopyReading;

/// The copies there may be.
#[derive(Debug, Default)]
pub struct Copies {
    /// The database of sums beside the journal.
    pub sums: Copied,
    /// The inode of that database's file while its writer, who read it whole, is at it; else 0, which is no file's.
    pub sums_inode: AtomicU64,
    /// The copy of the exchanges in ClickHouse.
    pub clickhouse: Copied,
    /// What is told by OTLP.
    pub otlp: Copied,
}

/// One copy.
#[derive(Debug, Default)]
pub struct Copied {
    is_kept: AtomicBool,
    seq: AtomicU64,
    level_at_ms: AtomicI64,
    failures: AtomicU64,
}

impl Copies {
    /// Returns where those stand that are kept, beside a journal whose last record has the number `head`.
    #[must_use]
    pub fn readings(&self, head: u64, now: Timestamp) -> Vec<CopyReading> {
        let all = [("sums", &self.sums), ("clickhouse", &self.clickhouse), ("otlp", &self.otlp)];
        all.into_iter().filter_map(|(name, copied)| copied.reading(name, head, now)).collect()
    }
}

impl Copied {
    /// Notes that the copy has the records up to number `seq`, of `head`, at a look at both.
    pub fn stands(&self, seq: u64, head: u64, now: Timestamp) {
        self.seq.store(seq, Ordering::Relaxed);
        if seq >= head || !self.is_kept.load(Ordering::Relaxed) {
            self.level_at_ms.store(now.as_millisecond(), Ordering::Relaxed);
        }
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Counts a round that failed at `now`.
    pub fn failed(&self, now: Timestamp) {
        if !self.is_kept.swap(true, Ordering::Relaxed) {
            self.level_at_ms.store(now.as_millisecond(), Ordering::Relaxed);
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that there is no such copy any more.
    pub fn ended(&self) {
        self.is_kept.store(false, Ordering::Relaxed);
    }

    fn reading(&self, name: &'static str, head: u64, now: Timestamp) -> Option<CopyReading> {
        if !self.is_kept.load(Ordering::Relaxed) {
            return None;
        }
        let behind_records = head.saturating_sub(self.seq.load(Ordering::Relaxed));
        let since_ms = now.as_millisecond().saturating_sub(self.level_at_ms.load(Ordering::Relaxed));
        let behind_ms = if behind_records == 0 { 0 } else { u64::try_from(since_ms).unwrap_or(0) };
        let failures = self.failures.load(Ordering::Relaxed);
        Some(CopyReading { name, behind_records, behind_ms, failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_copy_is_behind_since_it_last_had_everything() {
        let copies = Copies::default();
        assert_eq!(copies.readings(7, at(0)), []);
        let reading =
            |head, now| copies.readings(head, now).pop().map(|one| (one.behind_records, one.behind_ms));
        copies.sums.stands(0, 5, at(0));
        assert_eq!(reading(5, at(2)), Some((5, 2_000)));
        copies.sums.stands(5, 5, at(4));
        assert_eq!(reading(5, at(900)), Some((0, 0)));
        copies.sums.stands(5, 5, at(900));
        assert_eq!(reading(6, at(901)), Some((1, 1_000)));
        copies.sums.failed(at(902));
        copies.sums.stands(6, 9, at(903));
        assert_eq!(
            copies.readings(9, at(905)),
            [CopyReading { name: "sums", behind_records: 3, behind_ms: 5_000, failures: 1 }]
        );
        copies.sums.ended();
        copies.otlp.failed(at(1_000));
        assert_eq!(reading(9, at(1_060)), Some((9, 60_000)));
    }
}
