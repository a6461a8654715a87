//! What passed the sockets of a cgroup, whosever network they are in (kind `network_cgroup`).

use crate::units::Bytes;

/// IP packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From the IP header on: without what the link adds. Of segments that a card or a driver puts together or takes apart
    /// the headers are in it once.
    pub bytes: Bytes,
    /// Packets; such segments one by one.
    pub packets: u64,
}

/// What passed the sockets that were made in a cgroup, since the collector's programs were attached. Each packet of a
/// socket is counted for one cgroup only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCgroup {
    /// What its sockets got.
    pub receive: Passed,
    /// What they sent.
    pub transmit: Passed,
    /// Whose network its processes are in; `None` where that is not known.
    pub namespace: Option<NetworkNamespace>,
}

/// Whose network namespace the processes of a cgroup are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkNamespace {
    /// The host's.
    Host,
    /// Their pod's, which all its containers share.
    Pod,
    /// Another container's.
    Container,
    /// One of their own.
    Own,
}

impl NetworkNamespace {
    /// Its name in metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Own => "own",
        }
    }
}
