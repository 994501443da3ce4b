//! The locks of counters and leases, which `make loom` exchanges for ones that try every order of threads.

#[cfg(not(tercet_loom))]
pub(super) use std::sync::{Mutex, MutexGuard};

#[cfg(tercet_loom)]
pub(super) use loom::sync::{Mutex, MutexGuard};

pub(super) use std::sync::PoisonError;
