//! How many connections there may be, and the words for what happens beyond.

use std::fmt;

use crate::auth::Client;

/// Which connections share their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pool {
    /// Those of the main port and of the socket.
    Main,
    /// Those of the kubelet's ports.
    Kubelet,
}

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    pub(super) main: usize,
    pub(super) kubelet: usize,
    pub(super) reserve: usize,
}

impl ConnectionLimits {
    /// So many connections shared out; those of the kubelet's ports are kept free for them if there are such ports.
    pub(crate) fn of(connections: usize, kubelet_ports: usize) -> Self {
        let reserve = (connections / 14).clamp(4, 32);
        let kubelet = if kubelet_ports > 0 { connections / 8 } else { 0 };
        Self { main: connections.saturating_sub(reserve + kubelet), kubelet, reserve }
    }

    pub(super) const fn pool(&self, pool: Pool) -> usize {
        match pool {
            Pool::Main => self.main,
            Pool::Kubelet => self.kubelet,
        }
    }

    /// What one client may have. Who may open the socket is no stranger, and Docker's client takes a connection for each
    /// container.
    pub(super) const fn share(&self, pool: Pool, client: Client) -> usize {
        match client {
            Client::Local => self.pool(pool) * 7 / 8,
            Client::At(_) => self.pool(pool).div_ceil(2),
        }
    }

    pub(super) const fn all(&self) -> usize {
        self.main + self.kubelet + self.reserve
    }
}

/// Why the collector ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Others needed its place.
    GivenUp,
    /// There was no place for it.
    Full,
    /// No request came in time.
    Head,
    /// No other request came in time.
    Idle,
    /// No key was agreed upon in time.
    Handshake,
    /// Its client does not read.
    SlowReader,
}

impl Reason {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::GivenUp => "given_up",
            Self::Full => "full",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Handshake => "handshake",
            Self::SlowReader => "slow_reader",
        }
    }
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This client has too much under way.
    Address(Client),
    /// Everybody together has.
    Full,
    /// The heads of requests are too much together.
    Heads,
}

impl Refusal {
    /// The value of the label `reason`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Full => "full",
            Self::Heads => "heads",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(client) => {
                write!(
                    f,
                    "{client} has its share of connections and requests in use; one address may have half of them"
                )
            }
            Self::Full => f.write_str("all connections are in use; the health checks alone are answered"),
            Self::Heads => f.write_str("the heads of all requests under way are too long together"),
        }
    }
}
