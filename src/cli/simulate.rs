//! `tercet simulate`: the simulated upstream by itself, for tests of clients and of gateways.
//!
//! Accepts any key, answers deterministically, bills nothing; its rules are those of the Messages API.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::ending::{Ending, Exit, Failure, print, print_json};
use super::serving::Signals;
use super::span;
use crate::simulated;

/// Runs the simulated upstream alone and prints its address.
#[derive(Args, Debug)]
pub(super) struct Simulate {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The wait between two events of a stream.
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = span::duration)]
    pace: Duration,
    /// The wait before the first byte of an answer.
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = span::duration)]
    first_byte: Duration,
    /// Print {"url"}.
    #[arg(long)]
    json: bool,
}

pub(super) async fn simulate(asked: &Simulate) -> Ending {
    let mut signals = Signals::listen()?;
    let upstream = start(asked.listen, asked.pace, asked.first_byte).await?;
    if asked.json {
        print_json(&json!({"url": upstream.url()}))?;
    } else {
        print(upstream.url())?;
    }
    signals.next().await;
    upstream.stop().await;
    Ok(Exit::Ok)
}

/// Starts a simulated upstream.
pub(super) async fn start(
    listen: SocketAddr,
    pace: Duration,
    first_byte: Duration,
) -> Result<simulated::Upstream, Failure> {
    let options =
        simulated::Options { listen, pace, first_byte, seed: SEED, ..simulated::Options::default() };
    simulated::Upstream::start(options)
        .await
        .map_err(|error| Failure::run(format_args!("cannot listen on {listen}: {error}")))
}

const SEED: u64 = 1;
