//! The network as a simulation plays it: whatever connects on this thread is given what it says.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;

use http::Uri;

use super::connect::Transport;

/// A connection on its way.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Transport>>> + Send>>;

/// What connects to an address.
type Network = Box<dyn Fn(&Uri) -> Connecting>;

thread_local! {
    static NETWORK: RefCell<Option<Network>> = const { RefCell::new(None) };
}

/// Has this thread's connections made by `network`, until another one is set.
pub(crate) fn set_network(network: Option<Network>) {
    NETWORK.with_borrow_mut(|held| *held = network);
}

/// Connects, where the network is played.
pub(super) fn connect(target: &Uri) -> Option<Connecting> {
    NETWORK.with_borrow(|network| network.as_ref().map(|connect| connect(target)))
}
