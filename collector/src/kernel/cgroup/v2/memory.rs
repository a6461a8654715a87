//! The memory controller of cgroup v2: `memory.events` and `memory.events.local`. `memory.stat` is in
//! [`memory_stat`](crate::kernel::cgroup::memory_stat), the other files are single numbers or `max`.

use crate::kernel::text_formats::{FormatError, flat_keyed};

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

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MemoryEvents::parse(&text);
        }
    }
}
