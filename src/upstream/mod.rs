//! The way to the upstream: connections, attempts, failures.
