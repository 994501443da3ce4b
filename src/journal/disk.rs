//! Disks that fail, for tests: by a list of faults, or as a simulation plays them.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::segment;

/// What the disk is made to do; without any it works.
#[derive(Clone, Debug)]
pub(super) enum Faults {
    /// Nothing.
    None,
    /// These, in order.
    Listed(Arc<Mutex<VecDeque<Fault>>>),
    /// As a simulation says.
    Played(Disk),
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The next write takes only so many bytes, at least one.
    Short(usize),
    /// The next write fails.
    Fails(io::ErrorKind),
    /// The next cut fails.
    CutFails,
}

/// A disk that is played: files are real, what befalls them is drawn; cheap to clone.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    died: Notify,
}

struct State {
    /// Draws a number below another.
    draw: Draw,
    trouble: Trouble,
    /// Writes that are refused yet.
    refuses: u64,
    /// Groups that are written before the process dies in the next.
    dies_after: Option<u64>,
    is_dead: bool,
    /// How much of a file, by its number, a power cut leaves.
    synced: HashMap<u64, u64>,
    has_failed: bool,
}

type Draw = Box<dyn FnMut(u64) -> u64 + Send>;

/// How often, of a thousand times, something befalls a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// A write takes a part.
    pub(crate) short: u64,
    /// A write is refused, and some after it.
    pub(crate) refused: u64,
    /// A file cannot be cut back.
    pub(crate) uncut: u64,
    /// A sync fails.
    pub(crate) unsynced: u64,
    /// How long a sync takes at most, in milliseconds.
    pub(crate) sync_ms: u64,
    /// How long it takes at most until what is left to the stream's thread is written.
    pub(crate) write_ms: u64,
}

thread_local! {
    static HERE: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

/// How large segments are, where the disk is played: small, so that there are many.
pub(super) fn segment_bytes() -> Option<u64> {
    HERE.with_borrow(|disk| disk.as_ref().map(|_| PLAYED_SEGMENT_BYTES))
}

impl Faults {
    /// Returns those of the disk that is played on this thread, if one is.
    pub(super) fn here() -> Self {
        HERE.with_borrow(|disk| disk.clone().map_or(Self::None, Self::Played))
    }

    pub(super) fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self::Listed(Arc::new(Mutex::new(faults.into_iter().collect())))
    }

    pub(super) fn push(&self, fault: Fault) {
        if let Self::Listed(faults) = self {
            faults.lock().unwrap().push_back(fault);
        }
    }

    pub(super) fn clear(&self) {
        if let Self::Listed(faults) = self {
            faults.lock().unwrap().clear();
        }
    }

    fn next(&self, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let Self::Listed(faults) = self else { return None };
        let mut faults = faults.lock().unwrap();
        let index = faults.iter().position(wanted)?;
        faults.remove(index)
    }

    /// Returns what the next write takes of `lines`.
    pub(super) fn before_write<'a>(&self, lines: &'a [u8]) -> io::Result<&'a [u8]> {
        if let Self::Played(disk) = self {
            return disk.before_write(lines);
        }
        match self.next(|fault| !matches!(fault, Fault::CutFails)) {
            Some(Fault::Short(bytes)) => Ok(&lines[..bytes.clamp(1, lines.len())]),
            Some(Fault::Fails(kind)) => Err(kind.into()),
            _ => Ok(lines),
        }
    }

    pub(super) fn before_cut(&self) -> io::Result<()> {
        if let Self::Played(disk) = self {
            return disk.before_cut();
        }
        match self.next(|fault| matches!(fault, Fault::CutFails)) {
            Some(_) => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    /// Syncs, where the disk is played.
    pub(super) fn sync(&self, file: &File) -> Option<io::Result<()>> {
        self.disk().map(|disk| disk.sync(file))
    }

    pub(super) const fn disk(&self) -> Option<&Disk> {
        match self {
            Self::Played(disk) => Some(disk),
            _ => None,
        }
    }
}

impl Disk {
    /// Returns one that works, and draws by `draw` what befalls it.
    pub(crate) fn new(draw: impl FnMut(u64) -> u64 + Send + 'static) -> Self {
        let state = State {
            draw: Box::new(draw),
            trouble: Trouble::default(),
            refuses: 0,
            dies_after: None,
            is_dead: false,
            synced: HashMap::new(),
            has_failed: false,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), died: Notify::new() }))
    }

    /// Has the journals that are opened on this thread write to it, or to none that is played.
    pub(crate) fn set(disk: Option<Self>) {
        HERE.with_borrow_mut(|held| *held = disk);
    }

    /// Works again, for another process.
    pub(crate) fn revive(&self) {
        let mut state = self.state();
        (state.is_dead, state.has_failed, state.dies_after) = (false, false, None);
        state.trouble = Trouble::default();
    }

    /// Has it meet such trouble from now on.
    pub(crate) fn meet(&self, trouble: Trouble) {
        let mut state = self.state();
        state.trouble = trouble;
        state.refuses = 0;
    }

    /// Dies in the middle of a write, so many later.
    pub(crate) fn die_after(&self, writes: u64) {
        self.state().dies_after = Some(writes);
    }

    /// Takes nothing any more, as the process has ended.
    pub(crate) fn die(&self) {
        self.state().is_dead = true;
        self.0.died.notify_one();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// Waits until it takes nothing any more.
    pub(crate) async fn died(&self) {
        // A word of an earlier death may still be there.
        while !self.is_dead() {
            self.0.died.notified().await;
        }
    }

    /// Tells whether a write or a sync failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Takes from every segment below `folder` some of what was not synced; returns how much in all.
    pub(crate) fn cut_power(&self, folder: &Path) -> u64 {
        let mut state = self.state();
        let mut lost = 0;
        for segment in segment::list(folder).unwrap() {
            let file = OpenOptions::new().write(true).open(&segment.path).unwrap();
            let meta = file.metadata().unwrap();
            let synced = state.synced.get(&meta.ino()).copied().unwrap_or_default();
            let left = synced + (state.draw)(meta.len().saturating_sub(synced) + 1);
            lost += meta.len() - left;
            file.set_len(left).unwrap();
        }
        lost
    }

    /// How long the next sync takes.
    pub(super) fn sync_time(&self) -> Duration {
        self.state().time(|trouble| trouble.sync_ms)
    }

    /// How long the next write takes that is not made by an appender.
    pub(super) fn write_time(&self) -> Duration {
        self.state().time(|trouble| trouble.write_ms)
    }

    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        let mut state = self.state();
        if state.is_dead || state.befalls(|trouble| trouble.unsynced) {
            state.has_failed = true;
            return Err(io::Error::other("a sync that fails"));
        }
        let meta = file.metadata()?;
        state.synced.insert(meta.ino(), meta.len());
        Ok(())
    }

    fn before_write<'a>(&self, lines: &'a [u8]) -> io::Result<&'a [u8]> {
        let mut state = self.state();
        if state.is_dead {
            return Err(io::Error::other("a process that has ended"));
        }
        if let Some(left) = &mut state.dies_after {
            let Some(fewer) = left.checked_sub(1) else {
                state.is_dead = true;
                self.0.died.notify_one();
                let some = (state.draw)(lines.len() as u64 + 1);
                return Ok(&lines[..usize::try_from(some).unwrap()]);
            };
            *left = fewer;
        }
        if state.refuses == 0 && state.befalls(|trouble| trouble.refused) {
            state.refuses = 1 + (state.draw)(20);
        }
        if state.refuses > 0 {
            state.refuses -= 1;
            state.has_failed = true;
            let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::Other];
            return Err(kinds[usize::try_from((state.draw)(2)).unwrap()].into());
        }
        if state.befalls(|trouble| trouble.short) {
            let some = 1 + (state.draw)(lines.len() as u64);
            return Ok(&lines[..usize::try_from(some).unwrap()]);
        }
        Ok(lines)
    }

    fn before_cut(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.is_dead || state.befalls(|trouble| trouble.uncut) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

impl State {
    fn time(&mut self, most: impl Fn(&Trouble) -> u64) -> Duration {
        let below = most(&self.trouble) + 1;
        Duration::from_millis((self.draw)(below))
    }

    fn befalls(&mut self, how_often: impl Fn(&Trouble) -> u64) -> bool {
        let permille = how_often(&self.trouble);
        permille > 0 && (self.draw)(1_000) < permille
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Disk(…)")
    }
}

const PLAYED_SEGMENT_BYTES: u64 = 6_000;
