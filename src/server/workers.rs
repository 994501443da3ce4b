//! Threads that serve clients, each with a scheduler and a reactor of its own.
//!
//! A connection stays on the thread it was given to, and what its requests open towards the upstream with it: what
//! arrives is handled where it is heard of. On one scheduler for all, threads take tasks from one another and wake one
//! another for it (`docs/decisions/0024-a-thread-keeps-its-connections.md`).
//!
//! Limits: as many threads as the runtime has that starts them; of each 64 more for work that blocks.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// The threads; they end, and all tasks on them, when the last of this is dropped.
#[derive(Clone, Debug, Default)]
pub struct Workers(Arc<[Worker]>);

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Held by this and by each connection that the thread serves.
    open: Arc<()>,
    /// Ends the thread when dropped.
    _end: oneshot::Sender<()>,
}

/// A connection's place on one of the threads, for as long as it is open.
pub(super) struct Place {
    pub(super) runtime: Handle,
    open: Option<Arc<()>>,
}

impl Workers {
    /// Starts as many threads as the runtime has in which this is called; none, where that has only its own, on which
    /// connections then stay.
    ///
    /// # Errors
    /// When the system gives no thread, or no reactor.
    pub fn start() -> io::Result<Self> {
        let here = Handle::current();
        let count = match here.runtime_flavor() {
            RuntimeFlavor::CurrentThread => 0,
            _ => here.metrics().num_workers(),
        };
        (0..count).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    /// Returns a place on the thread that serves the fewest connections.
    pub(super) fn place(&self) -> Place {
        match self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.open)) {
            Some(worker) => Place { runtime: worker.runtime.clone(), open: Some(Arc::clone(&worker.open)) },
            None => Place { runtime: Handle::current(), open: None },
        }
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime =
            Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_MAX).build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
            // Nothing is ever sent: the other end is dropped.
            let _: Result<(), _> = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, open: Arc::new(()), _end: end })
    }
}

impl Place {
    /// Returns whether the place is on a thread of its own, to which a connection has to be moved.
    pub(super) const fn is_elsewhere(&self) -> bool {
        self.open.is_some()
    }
}

/// Threads for work that blocks, of each serving thread.
const BLOCKING_MAX: usize = 64;
