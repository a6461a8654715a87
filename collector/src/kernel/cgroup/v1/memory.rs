//! The memory controller of cgroup v1: `memory.numa_stat` and `memory.oom_control`. `memory.stat` is in
//! [`memory_stat`](crate::kernel::cgroup::memory_stat), the other files are single numbers.

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{digits, flat_keyed, lines, number, words};

/// The rows of `memory.numa_stat` that are reported: (node, pages) in the file's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaStat {
    /// `file`, `anon`, `unevictable`: the cgroup's own pages.
    pub own: NumaRows,
    /// The same with `hierarchical_` before them: the subtree's pages.
    pub hierarchical: NumaRows,
}

/// Pages per node by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaRows {
    /// Page cache.
    pub file: Vec<(u32, u64)>,
    /// Anonymous memory.
    pub anon: Vec<(u32, u64)>,
    /// Pages that cannot be evicted.
    pub unevictable: Vec<(u32, u64)>,
}

impl NumaStat {
    /// Parses `memory.numa_stat`: `file=54 N0=50 N1=4`.
    pub fn parse(text: &[u8], odd: &mut OddLines) -> Self {
        let mut stat = Self::default();
        for (line, text) in lines(text) {
            let mut fields = words(text);
            let Some(first) = fields.next() else { continue };
            let Some(equals) = first.iter().position(|byte| *byte == b'=') else {
                odd.note(line, "not \"kind=pages N0=pages\"", text);
                continue;
            };
            let row = match &first[..equals] {
                b"file" => &mut stat.own.file,
                b"anon" => &mut stat.own.anon,
                b"unevictable" => &mut stat.own.unevictable,
                b"hierarchical_file" => &mut stat.hierarchical.file,
                b"hierarchical_anon" => &mut stat.hierarchical.anon,
                b"hierarchical_unevictable" => &mut stat.hierarchical.unevictable,
                _ => continue,
            };
            match fields.map(node_pages).collect::<Option<Vec<_>>>() {
                Some(nodes) => *row = nodes,
                None => odd.note(line, "not \"kind=pages N0=pages\"", text),
            }
        }
        stat
    }
}

/// The node and the number of `N0=50`.
pub(crate) fn node_pages(field: &[u8]) -> Option<(u32, u64)> {
    let (node, rest) = digits(field.strip_prefix(b"N")?)?;
    Some((u32::try_from(node).ok()?, number(rest.strip_prefix(b"=")?)?))
}

/// `memory.oom_control`: how many processes of this very cgroup the OOM killer ended (`oom_kill`, since 4.13).
pub fn oom_kills(text: &[u8], odd: &mut OddLines) -> Option<u64> {
    flat_keyed(text, odd).find_map(|(key, kills)| (key == b"oom_kill").then_some(kills))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;

    #[test]
    fn recorded_numa() {
        let text = b"\
total=54 N0=50 N1=4
file=54 N0=50 N1=4
anon=0 N0=0 N1=0
unevictable=0 N0=0 N1=0
hierarchical_total=61 N0=54 N1=7
hierarchical_file=54 N0=50 N1=4
hierarchical_anon=7 N0=4 N1=3
hierarchical_unevictable=0 N0=0 N1=0
";
        let stat = without_odd_lines(text, NumaStat::parse).unwrap();
        assert_eq!(stat.own.file, [(0, 50), (1, 4)]);
        assert_eq!(stat.hierarchical.anon, [(0, 4), (1, 3)]);
        assert_eq!(stat.hierarchical.unevictable, [(0, 0), (1, 0)]);
        for odd in [&b"file=1 X0=1\n"[..], b"file\n"] {
            assert!(without_odd_lines(odd, NumaStat::parse).is_err());
            assert_eq!(NumaStat::parse(&[odd, text].concat(), &mut OddLines::default()), stat);
        }
    }

    #[test]
    fn recorded_oom_control() {
        let kills = |text: &[u8]| oom_kills(text, &mut OddLines::default());
        assert_eq!(kills(b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(kills(b"oom_kill_disable\nunder_oom x\noom_kill 3\n"), Some(3));
        assert_eq!(kills(b"oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200), likely in "[a-zN0-9=_ \n]{0,80}") {
            let mut odd = OddLines::default();
            let _ = (NumaStat::parse(&text, &mut odd), oom_kills(&text, &mut odd), NumaStat::parse(likely.as_bytes(), &mut odd));
        }
    }
}
