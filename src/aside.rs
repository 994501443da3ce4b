//! Work behind the requests that blocks a thread and takes some of a processor: requests come before it.

use std::io;
use std::thread;

use tokio::sync::oneshot;

/// Does `work` in a thread of its own that the system runs after those of requests, where they want the same processor.
///
/// Fails where there can be no thread, or `work` panicked.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    thread::Builder::new().name("aside".to_owned()).spawn(move || {
        step_back();
        // Whoever asked may have ended.
        let _ = done.send(work());
    })?;
    result.await.map_err(|_| io::Error::other("it panicked"))
}

/// Where the kernel shares a processor evenly, a request waits for milliseconds of a step that was begun.
#[cfg(target_os = "linux")]
fn step_back() {
    // A number of a thread names that thread alone. Without permission it runs as it is.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}

/// Elsewhere niceness is the whole process's.
#[cfg(not(target_os = "linux"))]
const fn step_back() {}

/// A tenth of the processor's time where requests want all of it, so that copies come on under full load.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_comes_back_and_a_panic_is_told() {
        assert_eq!(aside(|| 7).await.unwrap(), 7);
        assert!(aside(|| -> () { panic!("on purpose") }).await.is_err());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn requests_come_before_it() {
        let of = |thread| rustix::process::getpriority_process(Some(thread)).unwrap();
        let before = of(rustix::thread::gettid());
        assert_eq!(aside(move || of(rustix::thread::gettid())).await.unwrap(), (before + NICENESS).min(19));
        assert_eq!(of(rustix::thread::gettid()), before);
    }
}
