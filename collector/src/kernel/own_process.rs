//! What the collector's own process takes: `/proc/self` of the procfs it sees itself in, which need not be the host's.

use std::fs;
use std::time::Duration;

use procfs::process::{LimitValue, Process};
use procfs::{boot_time_secs, page_size, ticks_per_second};

use crate::kernel::procfs::sockets::counters;
use crate::units::Bytes;

/// Each value is absent where its file cannot be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnProcess {
    /// User and system time of all threads: `stat` `utime`, `stime`.
    pub cpu: Option<Duration>,
    /// Entries of `fd`.
    pub open_descriptors: Option<u64>,
    /// `limits` `Max open files`, the soft limit.
    pub most_descriptors: Option<Limit>,
    /// `stat` `vsize`.
    pub address_space: Option<Bytes>,
    /// `limits` `Max address space`, the soft limit.
    pub most_address_space: Option<Limit>,
    /// `stat` `rss`.
    pub resident: Option<Bytes>,
    /// Since the Unix epoch: `stat` `starttime` after `btime` of `/proc/stat`.
    pub started: Option<Duration>,
    /// What passed through the process's network namespace.
    pub network: Option<Octets>,
}

/// A limit of the kernel's for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So much and no more.
    At(u64),
    /// `unlimited`.
    None,
}

/// IP traffic of a network namespace: `net/netstat` `IpExt: InOctets`, `OutOctets` (since 2.6.30).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Octets {
    /// What came in.
    pub received: Bytes,
    /// What left.
    pub sent: Bytes,
}

impl OwnProcess {
    /// Reads all of it.
    pub fn read() -> Self {
        let mut read = Self {
            network: fs::read("/proc/self/net/netstat").ok().and_then(|text| Octets::parse(&text)),
            ..Self::default()
        };
        let Ok(own) = Process::myself() else { return read };
        if let Ok(stat) = own.stat() {
            let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / ticks_per_second() as f64);
            read.cpu = Some(time(stat.utime.saturating_add(stat.stime)));
            read.address_space = Some(Bytes(stat.vsize));
            read.resident = Some(Bytes(stat.rss.saturating_mul(page_size())));
            read.started = boot_time_secs().ok().map(|boot| Duration::from_secs(boot) + time(stat.starttime));
        }
        read.open_descriptors = own.fd_count().ok().map(|count| count as u64);
        if let Ok(limits) = own.limits() {
            let limit = |value| match value {
                LimitValue::Value(most) => Limit::At(most),
                LimitValue::Unlimited => Limit::None,
            };
            read.most_descriptors = Some(limit(limits.max_open_files.soft_limit));
            read.most_address_space = Some(limit(limits.max_address_space.soft_limit));
        }
        read
    }
}

impl Octets {
    fn parse(netstat: &[u8]) -> Option<Self> {
        let (mut received, mut sent) = (None, None);
        for (name, value) in counters(netstat, b"IpExt").ok()? {
            let value = || Some(Bytes(str::from_utf8(value).ok()?.parse().ok()?));
            match name {
                b"InOctets" => received = value(),
                b"OutOctets" => sent = value(),
                _ => {}
            }
        }
        Some(Self { received: received?, sent: sent? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_namespace() {
        let text = b"TcpExt: A\nTcpExt: 1\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 12 34\n";
        assert_eq!(Octets::parse(text), Some(Octets { received: Bytes(12), sent: Bytes(34) }));
        assert_eq!(Octets::parse(b"TcpExt: A\nTcpExt: 1\n"), None);
        assert_eq!(Octets::parse(b"IpExt: InOctets OutOctets\nIpExt: -1 2\n"), None);
        assert_eq!(Octets::parse(b"IpExt: InOctets OutOctets\n"), None);
    }
}
