//! Network interfaces and sockets of a container's network namespace.

use crate::sample::container::{Interface, Network};
use crate::sample::kinds::MetricKind::Network as NetworkKind;
use crate::views::prometheus::family::{Context, Family, Group, Row};
use crate::views::prometheus::writer::{Text, Writer};

/// Of a container's interfaces so many are told in the recommended profile.
const INTERFACES: usize = 1;

pub(super) const FAMILIES: &[Family] = &[
    Family::counter("container_network_receive_bytes_total", "Bytes received.", |row, ctx, out| {
        interfaces(row, ctx, out, |interface| interface.receive.bytes);
    })
    .of(NetworkKind, Group::Network)
    .labels(&["interface"])
    .recommended(),
    Family::counter("container_network_receive_packets_total", "Packets received.", |row, ctx, out| {
        interfaces(row, ctx, out, |interface| interface.receive.packets);
    })
    .of(NetworkKind, Group::Network)
    .labels(&["interface"])
    .recommended(),
    Family::counter("container_network_receive_errors_total", "Packets received with an error.", |row, ctx, out| {
        interfaces(row, ctx, out, |interface| interface.receive.errors);
    })
    .of(NetworkKind, Group::Network)
    .labels(&["interface"])
    .recommended(),
    Family::counter(
        "container_network_receive_packets_dropped_total",
        "Packets dropped on their way in.",
        |row, ctx, out| interfaces(row, ctx, out, |interface| interface.receive.dropped),
    )
    .of(NetworkKind, Group::Network)
    .labels(&["interface"])
    .recommended(),
    Family::counter("container_network_transmit_bytes_total", "Bytes sent.", |row, ctx, out| {
        interfaces(row, ctx, out, |interface| interface.transmit.bytes);
    })
    .of(NetworkKind, Group::Network)
    .labels(&["interface"])
    .recommended(),
    Family::counter("container_network_transmit_packets_total", "Packets sent.", |row, ctx, out| {
        interfaces(row, ctx, out, |interface| interface.transmit.packets);
    })
    .of(NetworkKind, Group::Network)
    .labels(&["interface"])
    .recommended(),
    Family::counter("container_network_transmit_errors_total", "Packets that could not be sent.", |row, ctx, out| {
        interfaces(row, ctx, out, |interface| interface.transmit.errors);
    })
    .of(NetworkKind, Group::Network)
    .labels(&["interface"])
    .recommended(),
    Family::counter(
        "container_network_transmit_packets_dropped_total",
        "Packets dropped on their way out.",
        |row, ctx, out| interfaces(row, ctx, out, |interface| interface.transmit.dropped),
    )
    .of(NetworkKind, Group::Network)
    .labels(&["interface"])
    .recommended(),
];

fn network<'a>(row: &Row<'a>) -> Option<&'a Network> {
    row.sample?.network.as_ref()
}

fn interfaces(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>, get: impl Fn(&Interface) -> u64) {
    let Some(network) = network(row) else { return };
    let all = &network.interfaces;
    // A namespace has each name once; a list read while one was replaced may have it twice.
    let first = |position: usize| !all[..position].iter().any(|other| other.name == all[position].name);
    let once = (0..all.len()).filter(|position| first(*position)).map(|position| &all[position]);
    for interface in ctx.at_most(INTERFACES, once, out) {
        out.with(&[("interface", Text::Is(&interface.name))], get(interface));
    }
}
