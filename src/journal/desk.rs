//! One stream's way to the disk: whoever finds nobody at it writes, and takes along what others queue meanwhile.
//!
//! What is queued together becomes one group, one chain, one `write(2)`: an appender queues, lets the others of its
//! thread come as far, and then writes whatever is queued. It does so on its own thread: a write into the page cache
//! takes one or two microseconds, a hand-over to a thread and back ten, and tens where processors sleep. What may take
//! longer is left to the stream's thread: a write beside a sync, a new segment, a disk that refused, the end.

use std::fs::File;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::chain::Link;
use super::tail::Tail;
use super::writer::{Kept, State, StoreFailure, Writer};

/// What a writer is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Write a record and, if somebody waits, say which number it got.
    Write(Kept),
    /// Write and sync all that came before, and end.
    Close { done: Option<Closer> },
}

/// The way into a stream.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    shared: Arc<Shared>,
    deputy: Deputy,
}

/// Who goes on where appenders leave off.
#[derive(Clone, Debug)]
enum Deputy {
    Thread(Thread),
    /// Where a simulation has but one thread.
    #[cfg(test)]
    Task(Arc<Notify>),
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Told when a full queue was emptied.
    room: Notify,
    /// The thread has to go on where an appender left off.
    is_called: AtomicBool,
    seat: Mutex<Seat>,
}

#[derive(Debug, Default)]
struct Queue {
    orders: Vec<Order>,
    /// Somebody writes, and will look at the queue again before stopping. Else whoever queued what is there will write.
    is_attended: bool,
    is_closed: bool,
}

/// Whoever holds this writes.
#[derive(Debug)]
struct Seat {
    writer: Writer,
    taken: Vec<Order>,
    ending: Option<Option<Closer>>,
}

type Closer = oneshot::Sender<Result<Link, StoreFailure>>;

/// Starts the threads of a stream; they hold `lock` until the stream is closed.
pub(super) fn start(
    name: &'static str,
    tail: Tail,
    fsync: Duration,
    lock: Arc<File>,
) -> io::Result<(Desk, Arc<State>)> {
    #[cfg(test)]
    let played = tail.faults.disk().cloned();
    let writer = Writer::start(name, tail, fsync)?;
    let state = writer.state();
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        room: Notify::new(),
        is_called: AtomicBool::new(false),
        seat: Mutex::new(Seat { writer, taken: Vec::new(), ending: None }),
    });
    let served = Arc::clone(&shared);
    #[cfg(test)]
    if let Some(disk) = played {
        let called = Arc::new(Notify::new());
        tokio::spawn(played::serve(served, Arc::clone(&called), (disk, lock)));
        return Ok((Desk { shared, deputy: Deputy::Task(called) }, state));
    }
    let thread = thread::Builder::new().name(format!("journal-{name}")).spawn(move || served.serve(lock))?;
    Ok((Desk { shared, deputy: Deputy::Thread(thread.thread().clone()) }, state))
}

/// An order in the queue; when this is dropped it is written, with all that is queued by then, or left to who writes.
#[derive(Debug)]
#[must_use = "dropped at once it is written by itself"]
pub(super) struct Queued(Desk);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.attend();
    }
}

/// Why an order was not queued.
#[derive(Debug)]
pub(super) enum Refused {
    /// The queue is full; the order may be sent again when there is room.
    Full(Order),
    /// The stream has ended.
    Closed,
}

impl Desk {
    /// Queues an order.
    pub(super) fn submit(&self, order: Order) -> Result<Queued, Refused> {
        let mut queue = self.shared.queue();
        if queue.is_closed {
            return Err(Refused::Closed);
        }
        if queue.orders.len() >= QUEUED_RECORDS {
            return Err(Refused::Full(order));
        }
        queue.is_closed = matches!(order, Order::Close { .. });
        queue.orders.push(order);
        drop(queue);
        Ok(Queued(self.clone()))
    }

    /// Writes what is queued, here where nobody is writing and it is quickly done.
    fn attend(&self) {
        let mut queue = self.shared.queue();
        if queue.orders.is_empty() || mem::replace(&mut queue.is_attended, true) {
            return;
        }
        drop(queue);
        if !self.shared.write_here() {
            self.shared.is_called.store(true, Ordering::Release);
            match &self.deputy {
                Deputy::Thread(thread) => thread.unpark(),
                #[cfg(test)]
                Deputy::Task(called) => called.notify_one(),
            }
        }
    }

    /// Has an order written, waiting for room in the queue.
    pub(super) async fn submit_when_room(&self, mut order: Order) -> Result<(), StoreFailure> {
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable();
            match self.submit(order) {
                Ok(_queued) => return Ok(()),
                Err(Refused::Closed) => return Err(StoreFailure::Closed),
                Err(Refused::Full(refused)) => order = refused,
            }
            self.attend();
            room.await;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shared.queue().is_closed
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what is queued to the writer; where that is nothing, nobody attends the queue any more.
    fn take(&self, into: &mut Vec<Order>) -> bool {
        let mut queue = self.queue();
        if queue.orders.is_empty() {
            queue.is_attended = false;
            return false;
        }
        mem::swap(&mut queue.orders, into);
        if into.len() >= QUEUED_RECORDS {
            self.room.notify_waiters();
        }
        true
    }

    /// Writes what is queued, as far as it goes quickly; whether all is done.
    fn write_here(&self) -> bool {
        let mut seat = self.seat();
        for _ in 0..GROUPS_HERE {
            if seat.ending.is_some() || !seat.writer.is_quick() {
                return false;
            }
            if !self.take(&mut seat.taken) {
                return true;
            }
            seat.write_taken();
        }
        false
    }

    /// The stream's thread: goes on where appenders left off, tries again what failed, and closes.
    fn serve(&self, lock: Arc<File>) {
        let ended = loop {
            if self.seat().writer.waits_for_disk() {
                thread::sleep(RETRY);
            } else {
                while !self.is_called.swap(false, Ordering::AcqRel) {
                    thread::park();
                }
            }
            if let Some(ended) = self.go_on() {
                break ended;
            }
        };
        ended.tell(lock);
    }

    /// Writes what is queued and what is kept; closes where that is asked for.
    fn go_on(&self) -> Option<Closed> {
        let mut seat = self.seat();
        while self.take(&mut seat.taken) || seat.writer.waits_for_disk() {
            seat.write_taken();
            if seat.writer.waits_for_disk() || seat.ending.is_some() {
                break;
            }
        }
        let closer = seat.ending.take()?;
        Some(Closed { end: seat.writer.close(), closer })
    }
}

/// A stream that was closed, and who asked for it.
struct Closed {
    end: Result<Link, StoreFailure>,
    closer: Option<Closer>,
}

impl Closed {
    /// The folder is free for the next process before anybody hears that this one is done with it.
    fn tell(self, lock: Arc<File>) {
        drop(lock);
        if let Some(closer) = self.closer {
            // Whoever asked may have given up waiting.
            let _ = closer.send(self.end);
        }
    }
}

impl Seat {
    fn write_taken(&mut self) {
        for order in self.taken.drain(..) {
            match order {
                Order::Write(kept) => self.writer.keep(kept),
                Order::Close { done } => self.ending = Some(done),
            }
        }
        self.writer.commit();
    }
}

/// How many records may wait to be written.
const QUEUED_RECORDS: usize = 4096;
/// How many groups an appender writes, its own and what others queued meanwhile, before the thread takes over.
const GROUPS_HERE: usize = 4;
/// How long a disk that refused is left alone.
const RETRY: Duration = Duration::from_millis(50);

/// The deputy as a task, by the runtime's time.
#[cfg(test)]
mod played {
    use super::{Arc, File, Notify, Ordering, RETRY, Shared};
    use crate::journal::disk::Disk;

    pub(super) async fn serve(shared: Arc<Shared>, called: Arc<Notify>, (disk, lock): (Disk, Arc<File>)) {
        loop {
            if shared.seat().writer.waits_for_disk() {
                tokio::time::sleep(RETRY).await;
            } else {
                while !shared.is_called.swap(false, Ordering::AcqRel) {
                    called.notified().await;
                }
            }
            tokio::time::sleep(disk.write_time()).await;
            if let Some(ended) = shared.go_on() {
                return ended.tell(lock);
            }
        }
    }
}
