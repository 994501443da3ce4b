//! What is fuzzed: each target takes any bytes and fails where a promise does not hold.
//!
//! The same functions replay the corpora in the tests of the gateway, so that what was found once stays found.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a target fails by a panic"
)]

pub mod body;
pub mod cache_key;
pub mod config;
pub mod http1;
pub mod journal;
pub mod stream;
