//! `NetworkStats`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::sample::container::{Interface, Network, Traffic};
use crate::sample::sockets::{MAX_CONN, TCP_ADVANCED, TcpAdvanced, TcpSockets, UdpSockets};

/// The first interface's counters, then all interfaces, then the socket blocks.
#[derive(JsonSchema, Serialize)]
pub(super) struct NetworkStats<'a> {
    // The first interface once more, flattened: serde's own flattening would buffer every value.
    name: &'a str,
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "interfaces")]
    #[schemars(with = "Vec<InterfaceStats<'a>>")]
    interfaces: &'a [Interface],
    tcp: Tcp,
    tcp6: Tcp,
    udp: Udp,
    udp6: Udp,
    tcp_advanced: Advanced<'a>,
}

impl<'a> From<&'a Network> for NetworkStats<'a> {
    fn from(network: &'a Network) -> Self {
        let Sockets { tcp, tcp6, udp, udp6, tcp_advanced } = network.into();
        let InterfaceStats {
            name,
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        } = network.interfaces.first().map(InterfaceStats::from).unwrap_or_default();
        Self {
            name,
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
            interfaces: &network.interfaces,
            tcp,
            tcp6,
            udp,
            udp6,
            tcp_advanced,
        }
    }
}

/// An interface's counters, cumulative.
#[derive(Default, JsonSchema, Serialize)]
pub(crate) struct InterfaceStats<'a> {
    name: &'a str,
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

impl<'a> From<&'a Interface> for InterfaceStats<'a> {
    fn from(Interface { name, receive, transmit }: &'a Interface) -> Self {
        let Traffic { bytes: rx_bytes, packets: rx_packets, errors: rx_errors, dropped: rx_dropped } = *receive;
        let Traffic { bytes: tx_bytes, packets: tx_packets, errors: tx_errors, dropped: tx_dropped } = *transmit;
        Self { name, rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped }
    }
}

pub(crate) fn interfaces<S: Serializer>(interfaces: &[Interface], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(interfaces.iter().map(InterfaceStats::from))
}

/// The blocks of a namespace's sockets, in their order. A block that was not read, because its metric kind is off or
/// the kernel has none, is all zeros, as cAdvisor writes it.
pub(crate) struct Sockets<'a> {
    pub(crate) tcp: Tcp,
    pub(crate) tcp6: Tcp,
    pub(crate) udp: Udp,
    pub(crate) udp6: Udp,
    pub(crate) tcp_advanced: Advanced<'a>,
}

impl<'a> From<&'a Network> for Sockets<'a> {
    fn from(Network { interfaces: _, tcp, tcp6, udp, udp6, tcp_advanced }: &'a Network) -> Self {
        Self {
            tcp: tcp.unwrap_or_default().into(),
            tcp6: tcp6.unwrap_or_default().into(),
            udp: udp.unwrap_or_default().into(),
            udp6: udp6.unwrap_or_default().into(),
            tcp_advanced: Advanced(tcp_advanced.as_ref()),
        }
    }
}

/// TCP sockets by state.
#[derive(Default, JsonSchema, Serialize)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "TcpStat")]
pub(crate) struct Tcp {
    established: u64,
    syn_sent: u64,
    syn_recv: u64,
    #[serde(rename = "FinWait1")]
    fin_wait1: u64,
    #[serde(rename = "FinWait2")]
    fin_wait2: u64,
    time_wait: u64,
    close: u64,
    close_wait: u64,
    last_ack: u64,
    listen: u64,
    closing: u64,
}

impl From<TcpSockets> for Tcp {
    fn from(sockets: TcpSockets) -> Self {
        let TcpSockets {
            established,
            syn_sent,
            syn_recv,
            fin_wait1,
            fin_wait2,
            time_wait,
            close,
            close_wait,
            last_ack,
            listen,
            closing,
        } = sockets;
        Self {
            established,
            syn_sent,
            syn_recv,
            fin_wait1,
            fin_wait2,
            time_wait,
            close,
            close_wait,
            last_ack,
            listen,
            closing,
        }
    }
}

/// UDP sockets.
#[derive(Default, JsonSchema, Serialize)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "UdpStat")]
pub(crate) struct Udp {
    listen: u64,
    dropped: u64,
    rx_queued: u64,
    tx_queued: u64,
}

impl From<UdpSockets> for Udp {
    fn from(UdpSockets { sockets, dropped, receive_queue, transmit_queue }: UdpSockets) -> Self {
        Self { listen: sockets, dropped, rx_queued: receive_queue.0, tx_queued: transmit_queue.0 }
    }
}

/// All of cAdvisor's keys; those that the kernel lacks with 0.
#[derive(Default)]
pub(crate) struct Advanced<'a>(Option<&'a TcpAdvanced>);

impl JsonSchema for Advanced<'_> {
    fn schema_name() -> Cow<'static, str> {
        "TcpAdvancedStat".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let counter = |key: &&str| ((*key).to_owned(), json!({ "type": "integer" }));
        let properties: Map<String, Value> = TCP_ADVANCED.iter().map(counter).collect();
        json_schema!({ "type": "object", "properties": properties, "required": TCP_ADVANCED.as_slice() })
    }
}

impl Serialize for Advanced<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut read = self.0.into_iter().flat_map(TcpAdvanced::iter).peekable();
        let mut object = serializer.serialize_map(Some(TCP_ADVANCED.len()))?;
        for key in TCP_ADVANCED {
            // Both lists have one order.
            let value = read.next_if(|(name, _)| *name == key).map_or(0, |(_, value)| value);
            if key == MAX_CONN {
                object.serialize_entry(key, &value.cast_signed())?;
            } else {
                object.serialize_entry(key, &value)?;
            }
        }
        object.end()
    }
}
