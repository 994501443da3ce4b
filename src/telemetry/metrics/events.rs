//! Events that are counted without labels.

use super::Metrics;

impl Metrics {
    /// Counts a client connection opened.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// Counts a client connection closed.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// Counts a reservation that was dropped without being posted or voided.
    pub fn record_leaked_reservation(&self) {
        self.leaked.inc();
    }

    /// Counts a caught panic.
    pub fn record_panic(&self) {
        self.panics.inc();
    }
}
