//! The statistics of network namespaces.

use super::super::Rows;
use super::super::keys::{Base, part, whole};
use super::flat;
use crate::sample::container::{Interface, Network, Traffic};
use crate::sample::kinds::MetricKind;
use crate::sample::sockets::{TcpAdvanced, TcpSockets, UdpSockets};
use crate::sample::statistic::{Absence, Value};

pub(super) fn fill(rows: &mut Rows<'_>, network: Option<&Network>) {
    let mut values = [const { Vec::<(String, Value)>::new() }; 8];
    fields!(network => Network { interfaces, tcp, tcp6, udp, udp6, tcp_advanced });
    for Interface { name, receive, transmit } in interfaces.into_iter().flatten() {
        for (direction, traffic) in [receive, transmit].into_iter().enumerate() {
            let Traffic { bytes, packets, errors, dropped } = *traffic;
            let traffic = [Value::Bytes(bytes), Value::Count(packets), Value::Count(errors), Value::Count(dropped)];
            for (number, value) in traffic.into_iter().enumerate() {
                values[direction * 4 + number].push((name.to_string(), value));
            }
        }
    }
    let columns = [
        ("network.rx_bytes", "receive bytes"),
        ("network.rx_packets", "receive packets"),
        ("network.rx_errors", "receive errs"),
        ("network.rx_dropped", "receive drop"),
        ("network.tx_bytes", "transmit bytes"),
        ("network.tx_packets", "transmit packets"),
        ("network.tx_errors", "transmit errs"),
        ("network.tx_dropped", "transmit drop"),
    ];
    let any_process = std::mem::replace(&mut rows.process, rows.choices.network_process);
    for ((name, column), values) in columns.into_iter().zip(values) {
        let row = part("net/dev", column).of(Base::Process);
        if rows.process.is_none() && network.is_none() && rows.when(MetricKind::Network).is_ok() {
            let absence = if any_process.is_none() { Absence::NoProcess } else { Absence::SharedNetwork };
            rows.push(name, None, Err(absence));
        } else {
            rows.add_of_process(name, MetricKind::Network, network.map(|_| Value::Named(values)), row);
        }
    }
    for (name, kind, value, file) in [
        ("network.tcp", MetricKind::Tcp, flat(tcp).map(Value::from), "net/tcp"),
        ("network.tcp6", MetricKind::Tcp, flat(tcp6).map(Value::from), "net/tcp6"),
        ("network.udp", MetricKind::Udp, flat(udp).map(Value::from), "net/udp"),
        ("network.udp6", MetricKind::Udp, flat(udp6).map(Value::from), "net/udp6"),
        ("network.tcp_advanced", MetricKind::AdvTcp, flat(tcp_advanced).map(Value::from), "net/netstat"),
    ] {
        if rows.process.is_none() && network.is_none() && rows.when(kind).is_ok() {
            let absence = if any_process.is_none() { Absence::NoProcess } else { Absence::SharedNetwork };
            rows.push(name, None, Err(absence));
        } else {
            rows.add_of_process(name, kind, value, whole(file).of(Base::Process));
        }
    }
    rows.process = any_process;
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
