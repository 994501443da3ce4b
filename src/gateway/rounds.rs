//! The pace of what is done in the background again and again, and may fail.

use std::time::Duration;

use tokio::sync::watch;

/// Waits behind a round, two seconds, after `failures` in a row doubling to a minute; tells whether the process ends.
pub(super) async fn wait(failures: u32, ended: &mut watch::Receiver<bool>) -> bool {
    let pause = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(5));
    tokio::time::timeout(pause, ended.wait_for(|ended| *ended)).await.is_ok()
}

/// Between two rounds, of which none failed.
const PAUSE: Duration = Duration::from_secs(2);
