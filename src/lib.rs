//! Tercet, a drop-in reverse proxy for the Messages API: it routes, limits, caches and accounts.
//!
//! Floors, lowest first; a module imports from lower floors only (`tests/house.rs` insists):
//!
//! * 0 values: [`money`], [`clock`], [`id`], [`secret`], [`tier`], [`usage`]
//! * 1 meaning, no I/O: [`wire`], [`catalog`], [`config`]
//! * 2 the world: [`upstream`], [`journal`], [`content`], [`store`], [`telemetry`]
//! * 3 policies: [`tenant`], [`classify`], [`route`], [`limit`], [`budget`], [`guard`], [`cache`], [`workload`]
//! * 4 the request: [`pipeline`] — start reading at `pipeline::handle_message`
//! * 5 edges: [`server`], [`admin`]
//! * 6 assembly: [`gateway`]; 7: [`cli`]
//!
//! [`simulated`] is the upstream of the demo and the tests; it stands apart and imports nothing of the above.

mod aside;
pub mod clock;
pub mod id;
pub mod money;
pub mod secret;
pub mod tier;
pub mod usage;

pub mod catalog;
pub mod config;
pub mod wire;

pub mod content;
pub mod journal;
pub mod store;
pub mod telemetry;
pub mod upstream;

pub mod budget;
pub mod cache;
pub mod classify;
pub mod guard;
pub mod limit;
pub mod route;
pub mod sample;
pub mod tenant;
pub mod view;
pub mod workload;

pub mod pipeline;

pub mod admin;
pub mod server;

pub mod gateway;

pub mod cli;

pub mod simulated;
