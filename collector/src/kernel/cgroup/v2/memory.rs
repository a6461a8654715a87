//! The memory controller of cgroup v2: `memory.events`, `memory.events.local` and `memory.numa_stat`. `memory.stat` is
//! in [`memory_stat`](crate::kernel::cgroup::memory_stat), the other files are single numbers or `max`.

use crate::kernel::cgroup::v1::memory::{NumaRows, node_pages};
use crate::kernel::text_formats::{FormatError, flat_keyed, lines, words};

/// Parses `memory.numa_stat`, since 5.9: `file N0=8192 N1=0`, bytes of the subtree. The rows are in pages of this size,
/// like those of cgroup v1.
pub fn numa_stat(text: &[u8], page_size: u64) -> Result<NumaRows, FormatError> {
    let mut rows = NumaRows::default();
    for (line, text) in lines(text) {
        let mut fields = words(text);
        let row = match fields.next() {
            Some(b"file") => &mut rows.file,
            Some(b"anon") => &mut rows.anon,
            Some(b"unevictable") => &mut rows.unevictable,
            _ => continue,
        };
        for field in fields {
            let (node, bytes) = node_pages(field).ok_or(FormatError::at(line, "not \"kind N0=bytes\""))?;
            row.push((node, bytes / page_size.max(1)));
        }
    }
    Ok(rows)
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded() {
        let events = MemoryEvents { high: 2, max: 3, oom: 1, oom_kill: 1, ..MemoryEvents::default() };
        assert_eq!(MemoryEvents::parse(b"low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\n"), Ok(events));
        let new = b"low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\nsock_throttled 0\n";
        assert_eq!(MemoryEvents::parse(new), Ok(MemoryEvents { oom_group_kill: Some(0), ..events }));
    }

    #[test]
    fn recorded_numa_stat() {
        let text = b"anon N0=12288 N1=4096\nfile N0=8192 N1=0\nkernel_stack N0=16384 N1=0\nunevictable N0=0 N1=0\n\
            slab_reclaimable N0=72 N1=0\n";
        let rows = numa_stat(text, 4096).unwrap();
        assert_eq!(rows.anon, [(0, 3), (1, 1)]);
        assert_eq!(rows.file, [(0, 2), (1, 0)]);
        assert_eq!(rows.unevictable, [(0, 0), (1, 0)]);
        assert!(numa_stat(b"anon X0=1\n", 4096).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200), likely in "[a-zN0-9=_ \n]{0,80}") {
            let _ = (MemoryEvents::parse(&text), numa_stat(&text, 0), numa_stat(likely.as_bytes(), 4096));
        }
    }
}
