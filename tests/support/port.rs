//! Ports that nobody listens at yet, and that nobody else is given meanwhile.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port of loopback that refuses connections until somebody who reuses addresses listens at it.
///
/// Bound and not listened at: a port that is only looked for and let go is another test's a moment later.
pub struct Port {
    pub address: SocketAddr,
    _held: TcpSocket,
}

impl Port {
    pub fn hold() -> Self {
        let held = TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self { address: held.local_addr().unwrap(), _held: held }
    }

    pub fn number(&self) -> u16 {
        self.address.port()
    }
}
