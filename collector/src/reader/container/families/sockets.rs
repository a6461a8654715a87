//! The sockets of a network namespace, where their kinds are switched on: a part of the family `network`.

use std::sync::Arc;

use super::Reading;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::process::ProcessDir;
use crate::kernel::procfs::sockets::{Udp, counters, tcp_states};
use crate::kernel::text_formats::{FormatError, number};
use crate::reader::container::processes::parsed_lines;
use crate::sample::container::Network;
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::sockets::{MAX_CONN, TCP_ADVANCED, TCP_ROW, TcpAdvanced, TcpSockets, UdpSockets};
use crate::sample::statistic::Value;
use crate::units::Bytes;

/// Whether any of the kinds that are read here is switched on.
pub(super) fn are_wanted(kinds: KindSet) -> bool {
    [MetricKind::Tcp, MetricKind::Udp, MetricKind::AdvTcp].into_iter().any(|kind| kinds.has(kind))
}

/// Adds what the process's namespace has. `keys` are those of the last time, so that samples share them.
pub(super) fn read(reading: &mut Reading<'_>, pid: u32, network: &mut Network, keys: &mut Arc<[&'static str]>) {
    let process = ProcessDir::new(pid);
    let proc = &reading.ctx.roots.proc;
    let kinds = reading.ctx.kinds;
    if kinds.has(MetricKind::Tcp) {
        network.tcp = parsed_lines(reading, process.file(proc, "net/tcp"), "net/tcp", tcp);
        network.tcp6 = parsed_lines(reading, process.file(proc, "net/tcp6"), "net/tcp6", tcp);
    }
    if kinds.has(MetricKind::Udp) {
        network.udp = parsed_lines(reading, process.file(proc, "net/udp"), "net/udp", udp);
        network.udp6 = parsed_lines(reading, process.file(proc, "net/udp6"), "net/udp6", udp);
    }
    if kinds.has(MetricKind::AdvTcp) {
        let mut found = [None; TCP_ADVANCED.len()];
        let (tcp, extended) = found.split_at_mut(TCP_ROW);
        let snmp = parsed_lines(reading, process.file(proc, "net/snmp"), "net/snmp", |text, odd| {
            pick(text, b"Tcp", 0, tcp, odd);
        });
        let netstat = parsed_lines(reading, process.file(proc, "net/netstat"), "net/netstat", |text, odd| {
            pick(text, b"TcpExt", TCP_ROW, extended, odd);
        });
        network.tcp_advanced = snmp.or(netstat).map(|()| advanced(&found, keys));
    }
}

fn tcp(text: &[u8], odd: &mut OddLines) -> TcpSockets {
    let counts = tcp_states(text, odd);
    let mut sockets = TcpSockets::default();
    for (count, counted) in sockets.counts_mut().into_iter().zip(&counts[1..]) {
        *count = *counted;
    }
    sockets
}

fn udp(text: &[u8], odd: &mut OddLines) -> UdpSockets {
    let Udp { sockets, drops, tx_queue, rx_queue } = Udp::parse(text, odd);
    UdpSockets { sockets, dropped: drops, receive_queue: Bytes(rx_queue), transmit_queue: Bytes(tx_queue) }
}

/// Sets the values of those keys of a row that are reported; the first of them is at this place of the list. Values that
/// are not understood, and names and values that do not go together, are noted.
fn pick(text: &[u8], row: &[u8], first: usize, values: &mut [Option<u64>], odd: &mut OddLines) {
    let keys = &TCP_ADVANCED[first..first + values.len()];
    // Both lists have about the same order.
    let mut expected = 0;
    let counters = match counters(text, row) {
        Ok(counters) => counters,
        Err(FormatError { line, what }) => return odd.note(line, what, row),
    };
    for (name, value) in counters {
        let find = |keys: &[&str]| keys.iter().position(|key| key.as_bytes() == name);
        let after = find(&keys[expected..]).map(|at| expected + at);
        let Some(at) = after.or_else(|| find(keys)) else { continue };
        expected = at + 1;
        values[at] = if keys[at] == MAX_CONN { signed(value) } else { number(value) };
        if values[at].is_none() {
            odd.note(1, "a counter that is not a number", name);
        }
    }
}

/// A number that may be negative, as its two's complement.
fn signed(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok().map(i64::cast_unsigned)
}

fn advanced(found: &[Option<u64>; TCP_ADVANCED.len()], keys: &mut Arc<[&'static str]>) -> TcpAdvanced {
    let there = TCP_ADVANCED.into_iter().zip(found).filter_map(|(key, value)| Some((key, (*value)?)));
    let (names, values): (Vec<_>, Vec<_>) = there.unzip();
    if **keys != *names {
        *keys = names.into();
    }
    TcpAdvanced { keys: Arc::clone(keys), values }
}

impl From<&TcpSockets> for Value {
    fn from(sockets: &TcpSockets) -> Self {
        let states = [
            "established",
            "syn_sent",
            "syn_recv",
            "fin_wait1",
            "fin_wait2",
            "time_wait",
            "close",
            "close_wait",
            "last_ack",
            "listen",
            "closing",
        ];
        let mut sockets = *sockets;
        let counts = sockets.counts_mut().map(|count| Self::from(&*count));
        Self::Named(states.map(str::to_owned).into_iter().zip(counts).collect())
    }
}

impl From<&UdpSockets> for Value {
    fn from(UdpSockets { sockets, dropped, receive_queue, transmit_queue }: &UdpSockets) -> Self {
        let values: [(&str, Self); 4] = [
            ("sockets", sockets.into()),
            ("dropped", dropped.into()),
            ("receive_queue", receive_queue.into()),
            ("transmit_queue", transmit_queue.into()),
        ];
        Self::Named(values.map(|(name, value)| (name.to_owned(), value)).to_vec())
    }
}

impl From<&TcpAdvanced> for Value {
    fn from(counters: &TcpAdvanced) -> Self {
        Self::Named(counters.iter().map(|(key, value)| (key.to_owned(), Self::Count(value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_the_kernel_has_are_taken_by_name() {
        let mut found = [None; TCP_ADVANCED.len()];
        let snmp =
            b"Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens\nTcp: 1 200 120000 -1 9\n";
        let (tcp, extended) = found.split_at_mut(TCP_ROW);
        let mut odd = OddLines::default();
        pick(snmp, b"Tcp", 0, tcp, &mut odd);
        // In another order than reported, with a counter that is not, and one that cannot be.
        let netstat = b"TcpExt: TCPTimeouts TCPMPTCP TW EmbryonicRsts PAWSEstab\nTcpExt: 4 8 3 2 -5\n";
        pick(netstat, b"TcpExt", TCP_ROW, extended, &mut odd);
        assert_eq!(odd.count(), 1);
        let mut keys = Arc::default();
        let counters = advanced(&found, &mut keys);
        let expected = [
            ("RtoAlgorithm", 1),
            ("RtoMin", 200),
            ("RtoMax", 120_000),
            ("MaxConn", u64::MAX),
            ("ActiveOpens", 9),
            ("EmbryonicRsts", 2),
            ("TW", 3),
            ("TCPTimeouts", 4),
        ];
        assert_eq!(counters.iter().collect::<Vec<_>>(), expected);
        assert!(Arc::ptr_eq(&advanced(&found, &mut keys).keys, &counters.keys));
    }
}
