//! The memory controller of cgroup v2: `memory.events`, `memory.events.local` and `memory.numa_stat`. `memory.stat` is in
//! [`memory_stat`](crate::kernel::cgroup::memory_stat), the other files are single numbers or `max`.

use crate::kernel::text_formats::{FormatError, digits, flat_keyed, lines, nested_fields, number};

/// `memory.events` (over the subtree) or `memory.events.local` (this very cgroup, since 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// `low`: reclaimed although below `memory.low`.
    pub low: u64,
    /// `high`: throttled above `memory.high`.
    pub high: u64,
    /// `max`: about to go over `memory.max`.
    pub max: u64,
    /// `oom`: an allocation was about to fail.
    pub oom: u64,
    /// `oom_kill`: processes of the cgroup killed.
    pub oom_kill: u64,
    /// `oom_group_kill`: whole groups killed; since 5.17.
    pub oom_group_kill: Option<u64>,
}

impl MemoryEvents {
    /// Parses the file.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut events = Self::default();
        for pair in flat_keyed(text) {
            let (key, value) = pair?;
            match key {
                b"low" => events.low = value,
                b"high" => events.high = value,
                b"max" => events.max = value,
                b"oom" => events.oom = value,
                b"oom_kill" => events.oom_kill = value,
                b"oom_group_kill" => events.oom_group_kill = Some(value),
                _ => {}
            }
        }
        Ok(events)
    }
}

/// `memory.numa_stat`, since 5.10: the rows that are reported, (node, bytes) over the subtree in the file's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaStat {
    /// `file`: page cache.
    pub file: Vec<(u32, u64)>,
    /// `anon`: anonymous memory.
    pub anon: Vec<(u32, u64)>,
    /// `unevictable`: what cannot be evicted.
    pub unevictable: Vec<(u32, u64)>,
}

impl NumaStat {
    /// Parses the file: `anon N0=4096 N1=0`.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut stat = Self::default();
        for (line, text) in lines(text) {
            let mut fields = nested_fields(text);
            let row = match fields.next() {
                Some((b"file", None)) => &mut stat.file,
                Some((b"anon", None)) => &mut stat.anon,
                Some((b"unevictable", None)) => &mut stat.unevictable,
                _ => continue,
            };
            for field in fields {
                row.push(node_bytes(field).ok_or(FormatError::at(line, "not \"kind N0=bytes\""))?);
            }
        }
        Ok(stat)
    }
}

fn node_bytes((node, bytes): (&[u8], Option<&[u8]>)) -> Option<(u32, u64)> {
    let (node, rest) = digits(node.strip_prefix(b"N")?)?;
    Some((u32::try_from(node).ok().filter(|_| rest.is_empty())?, number(bytes?)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_numa() {
        let text = b"\
anon N0=4096 N1=8192
file N0=0 N1=12288
kernel_stack N0=16384 N1=0
unevictable N0=0 N1=0
";
        let stat = NumaStat::parse(text).unwrap();
        assert_eq!(stat.anon, [(0, 4096), (1, 8192)]);
        assert_eq!(stat.file, [(0, 0), (1, 12_288)]);
        assert_eq!(stat.unevictable, [(0, 0), (1, 0)]);
        assert!(NumaStat::parse(b"anon X0=1\n").is_err());
        assert!(NumaStat::parse(b"anon N0\n").is_err());
    }

    #[test]
    fn recorded() {
        let events = MemoryEvents { high: 2, max: 3, oom: 1, oom_kill: 1, ..MemoryEvents::default() };
        assert_eq!(MemoryEvents::parse(b"low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\n"), Ok(events));
        let new = b"low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\nsock_throttled 0\n";
        assert_eq!(MemoryEvents::parse(new), Ok(MemoryEvents { oom_group_kill: Some(0), ..events }));
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200), likely in "[a-zN0-9=_ \n]{0,80}") {
            let _ = (MemoryEvents::parse(&text), NumaStat::parse(&text), NumaStat::parse(likely.as_bytes()));
        }
    }
}
