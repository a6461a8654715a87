//! The sockets of a network namespace, and what its TCP has counted.

use std::sync::Arc;

use serde_json::Value;

use super::walk::{Described, parts};
use crate::units::Bytes;

/// TCP sockets by state: `/proc/<pid>/net/tcp`, or `tcp6` (kind `tcp`). All gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSockets {
    /// State 01.
    pub established: u64,
    /// State 02.
    pub syn_sent: u64,
    /// State 03, which is also what the file says of connections that are not accepted yet.
    pub syn_recv: u64,
    /// State 04.
    pub fin_wait1: u64,
    /// State 05.
    pub fin_wait2: u64,
    /// State 06.
    pub time_wait: u64,
    /// State 07.
    pub close: u64,
    /// State 08.
    pub close_wait: u64,
    /// State 09.
    pub last_ack: u64,
    /// State 0A.
    pub listen: u64,
    /// State 0B.
    pub closing: u64,
}

impl TcpSockets {
    /// Every count, in the order of the states' numbers.
    pub fn counts_mut(&mut self) -> [&mut u64; 11] {
        let Self {
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
        } = self;
        [established, syn_sent, syn_recv, fin_wait1, fin_wait2, time_wait, close, close_wait, last_ack, listen, closing]
    }
}

/// UDP sockets: `/proc/<pid>/net/udp`, or `udp6` (kind `udp`). All gauges: what a socket that was closed had dropped
/// leaves the sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpSockets {
    /// Sockets, bound or connected: lines of the file. cAdvisor calls it `Listen`.
    pub sockets: u64,
    /// Datagrams the sockets dropped since they were opened, summed: column `drops`.
    pub dropped: u64,
    /// Bytes that wait to be read: second part of `tx_queue rx_queue`.
    pub receive_queue: Bytes,
    /// Bytes that wait to be sent: first part of `tx_queue rx_queue`.
    pub transmit_queue: Bytes,
}

/// What TCP counted in a namespace (kind `advtcp`): row `Tcp` of `/proc/<pid>/net/snmp` and row `TcpExt` of
/// `/proc/<pid>/net/netstat`. Those of [`TCP_ADVANCED`] that the kernel has; the keys are the same for every namespace
/// and are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpAdvanced {
    /// The kernel's names, in the order of [`TCP_ADVANCED`].
    pub keys: Arc<[&'static str]>,
    /// One value per key. [`MAX_CONN`] alone may be negative, and then is its two's complement.
    pub values: Vec<u64>,
}

impl TcpAdvanced {
    /// The value of a key, where the kernel has it.
    pub fn get(&self, key: &str) -> Option<u64> {
        let position = self.keys.iter().position(|candidate| *candidate == key)?;
        self.values.get(position).copied()
    }

    /// Keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.keys.iter().copied().zip(self.values.iter().copied())
    }
}

/// The key whose value is signed: -1 when the number of connections is not limited, which is always so on Linux.
pub const MAX_CONN: &str = "MaxConn";

/// How many keys of [`TCP_ADVANCED`] are in row `Tcp` of `net/snmp`; the rest is in row `TcpExt` of `net/netstat`.
pub const TCP_ROW: usize = 15;

/// The counters that are reported, as the kernel names them and in cAdvisor's order. No kernel has all of them.
#[rustfmt::skip]
pub const TCP_ADVANCED: [&str; 99] = [
    "RtoAlgorithm", "RtoMin", "RtoMax", MAX_CONN, "ActiveOpens", "PassiveOpens", "AttemptFails", "EstabResets",
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

impl Described for Arc<[&'static str]> {
    fn describe(&self) -> Value {
        Value::Array(self.iter().map(|key| Value::from(*key)).collect())
    }

    fn restore(value: &Value) -> Option<Self> {
        let known = |key: &Value| {
            let key = key.as_str()?;
            TCP_ADVANCED.into_iter().find(|known| *known == key)
        };
        value.as_array()?.iter().map(known).collect()
    }
}

parts! {
    TcpSockets {
        gauge established, gauge syn_sent, gauge syn_recv, gauge fin_wait1, gauge fin_wait2, gauge time_wait,
        gauge close, gauge close_wait, gauge last_ack, gauge listen, gauge closing,
    }
    UdpSockets { gauge sockets, gauge dropped, gauge receive_queue, gauge transmit_queue }
    TcpAdvanced { shape keys, gauge values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advanced_keys_are_99_different_ones() {
        let mut keys = TCP_ADVANCED.to_vec();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), TCP_ADVANCED.len());
        assert_eq!(TCP_ADVANCED[TCP_ROW - 1..=TCP_ROW], ["InCsumErrors", "EmbryonicRsts"]);
    }

    #[test]
    fn a_key_the_kernel_lacks_has_no_value() {
        let counters = TcpAdvanced { keys: [MAX_CONN, "TW"].into(), values: vec![u64::MAX, 3] };
        assert_eq!((counters.get("TW"), counters.get("TWRecycled")), (Some(3), None));
        assert_eq!(counters.get(MAX_CONN).map(u64::cast_signed), Some(-1));
    }
}
