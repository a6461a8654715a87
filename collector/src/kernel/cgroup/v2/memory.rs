//! The memory controller of cgroup v2: `memory.events`, `memory.events.local` and `memory.numa_stat`. `memory.stat` is
//! in [`memory_stat`](crate::kernel::cgroup::memory_stat), the other files are single numbers or `max`.

use crate::kernel::cgroup::v1::memory::{NumaRows, node_pages};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{flat_keyed, lines, words};

/// Parses `memory.numa_stat`, since 5.9: `file N0=8192 N1=0`, bytes of the subtree. The rows are in pages of this size,
/// like those of cgroup v1.
pub fn numa_stat(text: &[u8], page_size: u64, odd: &mut OddLines) -> NumaRows {
    let mut rows = NumaRows::default();
    for (line, text) in lines(text) {
        let mut fields = words(text);
        let row = match fields.next() {
            Some(b"file") => &mut rows.file,
            Some(b"anon") => &mut rows.anon,
            Some(b"unevictable") => &mut rows.unevictable,
            _ => continue,
        };
        let pages = |field| node_pages(field).map(|(node, bytes)| (node, bytes / page_size.max(1)));
        match fields.map(pages).collect::<Option<Vec<_>>>() {
            Some(nodes) => *row = nodes,
            None => odd.note(line, "not \"kind N0=bytes\"", text),
        }
    }
    rows
}

/// `memory.events` (over the subtree) or `memory.events.local` (this very cgroup, since 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// `low`: reclaimed although below `memory.low`.
    pub low: Option<u64>,
    /// `high`: throttled above `memory.high`.
    pub high: Option<u64>,
    /// `max`: about to go over `memory.max`.
    pub max: Option<u64>,
    /// `oom`: an allocation was about to fail.
    pub oom: Option<u64>,
    /// `oom_kill`: processes of the cgroup killed.
    pub oom_kill: Option<u64>,
    /// `oom_group_kill`: whole groups killed; since 5.17.
    pub oom_group_kill: Option<u64>,
}

impl MemoryEvents {
    /// Parses the file.
    pub fn parse(text: &[u8], odd: &mut OddLines) -> Self {
        let mut events = Self::default();
        for (key, value) in flat_keyed(text, odd) {
            let field = match key {
                b"low" => &mut events.low,
                b"high" => &mut events.high,
                b"max" => &mut events.max,
                b"oom" => &mut events.oom,
                b"oom_kill" => &mut events.oom_kill,
                b"oom_group_kill" => &mut events.oom_group_kill,
                _ => continue,
            };
            *field = Some(value);
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;

    #[test]
    fn recorded() {
        let parse = |text: &[u8]| without_odd_lines(text, MemoryEvents::parse);
        let some = |low, high, max, oom, oom_kill| MemoryEvents {
            low: Some(low),
            high: Some(high),
            max: Some(max),
            oom: Some(oom),
            oom_kill: Some(oom_kill),
            oom_group_kill: None,
        };
        let events = some(0, 2, 3, 1, 1);
        assert_eq!(parse(b"low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\n"), Ok(events));
        let new = b"low 0\nhigh 2\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\nsock_throttled 0\n";
        assert_eq!(parse(new), Ok(MemoryEvents { oom_group_kill: Some(0), ..events }));
        let odd = MemoryEvents::parse(b"low 0\nhigh x\nmax 3\noom 1\noom_kill 1\n", &mut OddLines::default());
        assert_eq!(odd, MemoryEvents { high: None, ..events });
    }

    #[test]
    fn recorded_numa_stat() {
        let text = b"anon N0=12288 N1=4096\nfile N0=8192 N1=0\nkernel_stack N0=16384 N1=0\nunevictable N0=0 N1=0\n\
            slab_reclaimable N0=72 N1=0\n";
        let parse = |text: &[u8]| without_odd_lines(text, |text, odd| numa_stat(text, 4096, odd));
        let rows = parse(text).unwrap();
        assert_eq!(rows.anon, [(0, 3), (1, 1)]);
        assert_eq!(rows.file, [(0, 2), (1, 0)]);
        assert_eq!(rows.unevictable, [(0, 0), (1, 0)]);
        assert!(parse(b"anon X0=1\n").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200), likely in "[a-zN0-9=_ \n]{0,80}") {
            let mut odd = OddLines::default();
            let _ = (MemoryEvents::parse(&text, &mut odd), numa_stat(&text, 0, &mut odd), numa_stat(likely.as_bytes(), 4096, &mut odd));
        }
    }
}
