//! Where log lines go: a bounded buffer, and a thread that writes it to standard error.
//!
//! Whoever logs appends to the buffer and goes on; a reader of our lines that stalls stalls nobody. The thread writes
//! what 10 ms brought at once, so that at some load a line costs no system call of its own. Where the
//! buffer is full lines are dropped, and counted in a line when there is room again.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The way to standard error.
#[derive(Clone)]
pub(super) struct Sink(Arc<Shared>);

struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    /// How many they are.
    waiting: u64,
    /// Dropped since that was last said in a line.
    dropped: u64,
    dropped_ever: u64,
    /// The thread waits for a line, or is asked to hurry.
    wakes: bool,
    is_writing: bool,
}

impl Sink {
    /// Starts the thread that writes; one sink serves the process.
    pub(super) fn start() -> io::Result<Self> {
        let buffer = Buffer { wakes: true, ..Buffer::default() };
        let shared =
            Arc::new(Shared { buffer: Mutex::new(buffer), filled: Condvar::new(), written: Condvar::new() });
        let serving = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || serving.serve())?;
        let sink = Self(shared);
        let _ = OF_THE_PROCESS.set(sink.clone());
        Ok(sink)
    }
}

/// What the way to standard error holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogReading {
    /// Lines dropped since the start.
    pub(super) dropped: u64,
    /// Lines that wait to be written.
    pub(super) waiting: u64,
}

/// Reads the sink of the process; nothing where none was started.
pub(super) fn reading() -> LogReading {
    OF_THE_PROCESS.get().map_or_else(LogReading::default, |Sink(shared)| shared.reading())
}

/// Waits until every line logged so far is written, a second at most.
pub fn flush() {
    let Some(Sink(shared)) = OF_THE_PROCESS.get() else { return };
    let mut buffer = shared.buffer();
    buffer.wakes = true;
    shared.filled.notify_one();
    let waits = |buffer: &mut Buffer| !buffer.lines.is_empty() || buffer.is_writing;
    // A reader that stalls may keep us from it; the process ends all the same.
    drop(shared.written.wait_timeout_while(buffer, FLUSH_TIME, waits));
}

impl Shared {
    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> LogReading {
        let buffer = self.buffer();
        LogReading { dropped: buffer.dropped_ever, waiting: buffer.waiting }
    }

    fn serve(&self) {
        let mut lines = Vec::new();
        loop {
            let mut buffer = self.buffer();
            buffer.is_writing = false;
            self.written.notify_all();
            buffer.wakes = true;
            while buffer.lines.is_empty() {
                buffer = self.filled.wait(buffer).unwrap_or_else(PoisonError::into_inner);
            }
            // More will come: it is gathered for a moment, unless somebody asks to hurry.
            buffer.wakes = false;
            let gathering = self.filled.wait_timeout_while(buffer, GATHER, |buffer| !buffer.wakes);
            let (mut buffer, _) = gathering.unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut buffer.lines, &mut lines);
            buffer.waiting = 0;
            let dropped = mem::take(&mut buffer.dropped);
            buffer.is_writing = true;
            drop(buffer);
            // Where standard error is closed there is nobody to tell.
            drop(io::stderr().lock().write_all(&lines));
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
            if dropped > 0 {
                tracing::warn!(dropped, "log lines were dropped: they were not read fast enough");
            }
        }
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut buffer = self.0.buffer();
        if buffer.lines.len() + line.len() > BUFFER_BYTES {
            buffer.dropped += 1;
            buffer.dropped_ever += 1;
        } else {
            buffer.waiting += 1;
            buffer.lines.extend_from_slice(line);
        }
        if mem::take(&mut buffer.wakes) {
            drop(buffer);
            self.0.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

static OF_THE_PROCESS: OnceLock<Sink> = OnceLock::new();
/// Most bytes of lines that wait to be written.
const BUFFER_BYTES: usize = 4 << 20;
const KEPT_BYTES: usize = 256 << 10;
/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(10);
const FLUSH_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_and_what_was_dropped_is_counted() {
        let shared =
            Arc::new(Shared { buffer: Mutex::default(), filled: Condvar::new(), written: Condvar::new() });
        // Nobody serves this one, so that it fills up.
        let mut sink = Sink(Arc::clone(&shared));
        let line = vec![b'x'; BUFFER_BYTES / 4];
        for _ in 0..7 {
            sink.write_all(&line).unwrap();
        }
        assert_eq!(shared.reading(), LogReading { dropped: 3, waiting: 4 });
    }
}
