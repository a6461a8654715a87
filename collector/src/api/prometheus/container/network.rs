//! Network interfaces and sockets of a container's network namespace.

use crate::api::prometheus::family::{Context, Family, Group, Row};
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::Writer;
use crate::sample::container::{Interface, Network, Sample};
use crate::sample::kinds::MetricKind::{AdvTcp, Network as NetworkKind, Tcp, Udp};
use crate::sample::sockets::{MAX_CONN, TCP_ADVANCED, TcpSockets, UdpSockets};
use crate::sample::unread::Part;

/// TCP's states, in the order of their numbers.
#[rustfmt::skip]
const STATES: [&str; 11] = [
    "established", "synsent", "synrecv", "finwait1", "finwait2", "timewait", "close", "closewait", "lastack", "listen",
    "closing",
];

/// Of a container's interfaces so many are reported in the recommended profile.
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
    .labels(&["interface"]),
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
    .labels(&["interface"]),
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
    // Gauges, whatever cAdvisor called them.
    Family::gauge("container_network_tcp_usage_total", "TCP sockets by state, IPv4.", |row, ctx, out| {
        tcp(row, ctx, out, Part::Tcp, |network| network.tcp);
    })
    .of(Tcp, Group::Sockets)
    .labels(&["tcp_state"]),
    Family::gauge("container_network_tcp6_usage_total", "TCP sockets by state, IPv6.", |row, ctx, out| {
        tcp(row, ctx, out, Part::Tcp6, |network| network.tcp6);
    })
    .of(Tcp, Group::Sockets)
    .labels(&["tcp_state"]),
    Family::gauge(
        "container_network_udp_usage_total",
        "UDP sockets, IPv4: how many, datagrams dropped, bytes waiting to be read and to be sent.",
        |row, ctx, out| udp(row, ctx, out, Part::Udp, |network| network.udp),
    )
    .of(Udp, Group::Sockets)
    .labels(&["udp_state"]),
    Family::gauge(
        "container_network_udp6_usage_total",
        "UDP sockets, IPv6: how many, datagrams dropped, bytes waiting to be read and to be sent.",
        |row, ctx, out| udp(row, ctx, out, Part::Udp6, |network| network.udp6),
    )
    .of(Udp, Group::Sockets)
    .labels(&["udp_state"]),
    Family::gauge("container_network_advance_tcp_stats_total", "What TCP counted, by the kernel's names.", advanced)
        .of(AdvTcp, Group::TcpDetails)
        .labels(&["tcp_state"]),
];

fn sampled<'a>(row: &Row<'a>) -> Option<(&'a Sample, &'a Network)> {
    let sample = row.sample?;
    Some((sample, sample.network.as_ref()?))
}

fn interfaces(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>, get: impl Fn(&Interface) -> u64) {
    let Some((_, network)) = sampled(row) else { return };
    let all = &network.interfaces;
    // A namespace has each name once; a list read while one was replaced may have it twice.
    let first = |position: usize| !all[..position].iter().any(|other| other.name == all[position].name);
    let once = (0..all.len()).filter(|position| first(*position)).map(|position| &all[position]);
    for interface in ctx.at_most(INTERFACES, once, out) {
        out.with(&[("interface", Text::Is(&interface.name))], get(interface));
    }
}

fn tcp(
    row: &Row<'_>,
    ctx: &Context<'_>,
    out: &mut Writer<'_>,
    part: Part,
    get: impl FnOnce(&Network) -> Option<TcpSockets>,
) {
    let Some((sample, network)) = sampled(row) else { return };
    let Some(mut sockets) = ctx.or_zero(sample.unread, &[part], get(network)) else { return };
    for (state, count) in STATES.into_iter().zip(sockets.counts_mut()) {
        out.with(&[("tcp_state", Text::Is(state))], *count);
    }
}

fn udp(
    row: &Row<'_>,
    ctx: &Context<'_>,
    out: &mut Writer<'_>,
    part: Part,
    get: impl FnOnce(&Network) -> Option<UdpSockets>,
) {
    let Some((sample, network)) = sampled(row) else { return };
    let Some(sockets) = ctx.or_zero(sample.unread, &[part], get(network)) else { return };
    let UdpSockets { sockets, dropped, receive_queue, transmit_queue } = sockets;
    for (state, value) in
        [("listen", sockets), ("dropped", dropped), ("rxqueued", receive_queue.0), ("txqueued", transmit_queue.0)]
    {
        out.with(&[("udp_state", Text::Is(state))], value);
    }
}

fn advanced(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>) {
    let Some((sample, network)) = sampled(row) else { return };
    let parts = &[Part::TcpAdvanced];
    let Some(counters) = ctx.or_zero(sample.unread, parts, network.tcp_advanced.clone()) else { return };
    // The kernel's keys are in the order of the list.
    let mut known = counters.iter().peekable();
    for key in TCP_ADVANCED {
        let value = match known.next_if(|(name, _)| *name == key) {
            Some((_, value)) if key == MAX_CONN => Value::Signed(value.cast_signed()),
            Some((_, value)) => Value::Count(value),
            // One that could not be read.
            None if sample.unread.has_any(parts) => continue,
            None => Value::Count(0),
        };
        out.with(&[("tcp_state", Text::Lower(key))], value);
    }
}
