//! Looks for reservations that their exchanges have lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::pipeline::Tercet;

/// Sweeps every minute, until the end.
pub(super) async fn keep(tercet: Arc<Tercet>, mut ended: watch::Receiver<bool>) {
    let mut longest = Duration::ZERO;
    while tokio::time::timeout(SWEEP_EVERY, ended.wait_for(|ended| *ended)).await.is_err() {
        // An exchange goes on under the configuration it began with.
        longest = longest.max(silence(&tercet.snapshot.load().config));
        tercet.runtime.batches.touch();
        tercet.runtime.accounts.sweep(longest);
    }
}

/// Returns how long a reservation may stand still: a day, and beyond it two attempts with all their waits.
fn silence(config: &Config) -> Duration {
    let (server, upstream) = (&config.server, &config.upstream);
    let waits =
        [server.body_timeout, upstream.connect_timeout, upstream.first_byte_timeout, upstream.idle_timeout];
    waits.iter().fold(DAY, |sum, wait| sum.saturating_add(wait.saturating_mul(2)))
}

const SWEEP_EVERY: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_outlasts_every_wait_that_is_configured() {
        let text = "[upstream]\nfirst_byte_timeout = \"10d\"\nidle_timeout = \"2d\"";
        let config = crate::config::parse(text, None, &|_| None).unwrap();
        assert!(silence(&config) > Duration::from_secs(12 * 86_400));
        let config = crate::config::parse("", None, &|_| None).unwrap();
        assert!((DAY..2 * DAY).contains(&silence(&config)));
    }
}
