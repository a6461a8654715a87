//! `NetworkStats`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::sample::container::{Interface, Network, Traffic};

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
    #[schemars(schema_with = "tcp")]
    tcp: Zeros,
    #[schemars(schema_with = "tcp")]
    tcp6: Zeros,
    #[schemars(schema_with = "udp")]
    udp: Zeros,
    #[schemars(schema_with = "udp")]
    udp6: Zeros,
    #[schemars(schema_with = "tcp_advanced")]
    tcp_advanced: Zeros,
}

impl<'a> From<&'a Network> for NetworkStats<'a> {
    fn from(network: &'a Network) -> Self {
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
            tcp: Zeros(TCP),
            tcp6: Zeros(TCP),
            udp: Zeros(UDP),
            udp6: Zeros(UDP),
            tcp_advanced: Zeros(TCP_ADVANCED),
        }
    }
}

/// An interface's counters, cumulative.
#[derive(Default, JsonSchema, Serialize)]
pub(in crate::views) struct InterfaceStats<'a> {
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

pub(in crate::views) fn interfaces<S: Serializer>(interfaces: &[Interface], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(interfaces.iter().map(InterfaceStats::from))
}

/// The schema of a block of counters: every key, and no other.
fn counters(keys: &[&str]) -> Schema {
    let properties: serde_json::Map<_, _> =
        keys.iter().map(|key| ((*key).to_owned(), serde_json::json!({ "type": "integer" }))).collect();
    json_schema!({ "type": "object", "properties": properties, "required": keys })
}

pub(in crate::views) fn tcp(_: &mut SchemaGenerator) -> Schema {
    counters(TCP)
}

pub(in crate::views) fn udp(_: &mut SchemaGenerator) -> Schema {
    counters(UDP)
}

pub(in crate::views) fn tcp_advanced(_: &mut SchemaGenerator) -> Schema {
    counters(TCP_ADVANCED)
}

/// A block of counters whose metric kind (`tcp`, `udp`, `advtcp`) is not collected: every key with 0, as cAdvisor
/// writes it for a kind that is switched off.
pub(in crate::views) struct Zeros(pub(in crate::views) &'static [&'static str]);

impl Serialize for Zeros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|key| (key, 0_u64)))
    }
}

/// Sockets by state.
#[rustfmt::skip]
pub(in crate::views) const TCP: &[&str] = &[
    "Established", "SynSent", "SynRecv", "FinWait1", "FinWait2", "TimeWait", "Close", "CloseWait", "LastAck", "Listen",
    "Closing",
];

/// UDP sockets.
pub(in crate::views) const UDP: &[&str] = &["Listen", "Dropped", "RxQueued", "TxQueued"];

/// Row `Tcp` of `net/snmp`, then row `TcpExt` of `net/netstat`.
#[rustfmt::skip]
pub(in crate::views) const TCP_ADVANCED: &[&str] = &[
    "RtoAlgorithm", "RtoMin", "RtoMax", "MaxConn", "ActiveOpens", "PassiveOpens", "AttemptFails", "EstabResets",
    "CurrEstab", "InSegs", "OutSegs", "RetransSegs", "InErrs", "OutRsts", "InCsumErrors", "EmbryonicRsts",
    "SyncookiesSent", "SyncookiesRecv", "SyncookiesFailed", "PruneCalled", "RcvPruned", "OfoPruned",
    "OutOfWindowIcmps", "LockDroppedIcmps", "TW", "TWRecycled", "TWKilled", "TCPTimeWaitOverflow", "TCPTimeouts",
    "TCPSpuriousRTOs", "TCPLossProbes", "TCPLossProbeRecovery", "TCPRenoRecoveryFail", "TCPSackRecoveryFail",
    "TCPRenoFailures", "TCPSackFailures", "TCPLossFailures", "DelayedACKs", "DelayedACKLocked", "DelayedACKLost",
    "ListenOverflows", "ListenDrops", "TCPHPHits", "TCPPureAcks", "TCPHPAcks", "TCPRenoRecovery", "TCPSackRecovery",
    "TCPSACKReneging", "TCPFACKReorder", "TCPSACKReorder", "TCPRenoReorder", "TCPTSReorder", "TCPFullUndo",
    "TCPPartialUndo", "TCPDSACKUndo", "TCPLossUndo", "TCPFastRetrans", "TCPSlowStartRetrans", "TCPLostRetransmit",
    "TCPRetransFail", "TCPRcvCollapsed", "TCPDSACKOldSent", "TCPDSACKOfoSent", "TCPDSACKRecv", "TCPDSACKOfoRecv",
    "TCPAbortOnData", "TCPAbortOnClose", "TCPAbortOnMemory", "TCPAbortOnTimeout", "TCPAbortOnLinger",
    "TCPAbortFailed", "TCPMemoryPressures", "TCPMemoryPressuresChrono", "TCPSACKDiscard", "TCPDSACKIgnoredOld",
    "TCPDSACKIgnoredNoUndo", "TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure", "TCPSackShifted",
    "TCPSackMerged", "TCPSackShiftFallback", "TCPBacklogDrop", "PFMemallocDrop", "TCPMinTTLDrop",
    "TCPDeferAcceptDrop", "IPReversePathFilter", "TCPReqQFullDoCookies", "TCPReqQFullDrop", "TCPFastOpenActive",
    "TCPFastOpenActiveFail", "TCPFastOpenPassive", "TCPFastOpenPassiveFail", "TCPFastOpenListenOverflow",
    "TCPFastOpenCookieReqd", "TCPSynRetrans", "TCPOrigDataSent", "PAWSActive", "PAWSEstab",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advanced_block_has_99_different_keys() {
        let mut keys = TCP_ADVANCED.to_vec();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((TCP_ADVANCED.len(), keys.len()), (99, 99));
    }
}
