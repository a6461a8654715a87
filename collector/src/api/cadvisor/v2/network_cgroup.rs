//! What passed the sockets of a cgroup, which cAdvisor does not have.

use schemars::JsonSchema;
use serde::Serialize;

use crate::sample::network_cgroup::{NetworkCgroup, NetworkNamespace};

/// Since the collector's programs were attached. Not a part of `network`, which is what passed the interfaces of a network
/// namespace: the two are never to be added up.
#[derive(JsonSchema, Serialize)]
pub(super) struct NetworkCgroupStats {
    receive_bytes: u64,
    receive_packets: u64,
    transmit_bytes: u64,
    transmit_packets: u64,
    /// Whose network namespace that is: `host`, `pod`, `container` (another one's) or `own`; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    network_namespace: Option<&'static str>,
}

impl From<NetworkCgroup> for NetworkCgroupStats {
    fn from(NetworkCgroup { receive, transmit, namespace }: NetworkCgroup) -> Self {
        Self {
            receive_bytes: receive.bytes.0,
            receive_packets: receive.packets,
            transmit_bytes: transmit.bytes.0,
            transmit_packets: transmit.packets,
            network_namespace: namespace.map(NetworkNamespace::name),
        }
    }
}
