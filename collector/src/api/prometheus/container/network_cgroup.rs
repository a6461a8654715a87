//! What passed the sockets of a cgroup: what cAdvisor does not have. Absent where the kind `network_cgroup` is off.

use crate::api::prometheus::family::{Family, Group, Moment, Row};
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::Writer;
use crate::sample::kinds::MetricKind::NetworkCgroup as Kind;
use crate::sample::network_cgroup::{NetworkCgroup, NetworkNamespace};

/// The label with whose network namespace it is; without a value where that is not known.
const NAMESPACE: &str = "network_namespace";

pub(super) const FAMILIES: &[Family] = &[
    of_kind(Family::counter(
        "container_network_cgroup_receive_bytes_total",
        "IP bytes that the sockets of a cgroup got, beside what container_network_receive_bytes_total has.",
        |row, _, out| passed(row, out, |network| network.receive.bytes),
    )),
    of_kind(Family::counter(
        "container_network_cgroup_receive_packets_total",
        "IP packets that the sockets of a cgroup got.",
        |row, _, out| passed(row, out, |network| network.receive.packets),
    )),
    of_kind(Family::counter(
        "container_network_cgroup_transmit_bytes_total",
        "IP bytes that the sockets of a cgroup sent, beside what container_network_transmit_bytes_total has.",
        |row, _, out| passed(row, out, |network| network.transmit.bytes),
    )),
    of_kind(Family::counter(
        "container_network_cgroup_transmit_packets_total",
        "IP packets that the sockets of a cgroup sent.",
        |row, _, out| passed(row, out, |network| network.transmit.packets),
    )),
];

const fn of_kind(family: Family) -> Family {
    family.of(Kind, Group::Network).at(Moment::None).since_start().labels(&[NAMESPACE])
}

fn passed<T: Into<Value>>(row: &Row<'_>, out: &mut Writer<'_>, get: impl FnOnce(NetworkCgroup) -> T) {
    if let Some(network) = row.network_cgroup {
        let namespace = network.namespace.map_or("", NetworkNamespace::name);
        out.with(&[(NAMESPACE, Text::Is(namespace))], get(network));
    }
}
