//! `memory.stat` of both versions: a flat keyed file of some fifty to eighty lines that is read for every cgroup and
//! tick.
//!
//! All cgroups of a hierarchy have the same keys in the same order. The keys are therefore learnt once and shared; a
//! read compares each line's key in place and parses only the number.

use std::sync::{Arc, Mutex, PoisonError};

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{digits, lines};

macro_rules! known_keys {
    ($($(#[$doc:meta])* $variant:ident = $key:literal;)*) => {
        /// Keys whose values mean something to the collector beyond being reported.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum StatKey { $($(#[$doc])* $variant,)* }

        const KNOWN: &[&str] = &[$($key,)*];
    };
}

known_keys! {
    /// v1 `cache`, bytes: the cgroup's own page cache.
    Cache = "cache";
    /// v1 `total_cache`, bytes: the subtree's.
    TotalCache = "total_cache";
    /// v1 `rss`, bytes: own anonymous memory.
    Rss = "rss";
    /// v1 `total_rss`, bytes.
    TotalRss = "total_rss";
    /// v1 `swap`, bytes; with swap accounting.
    Swap = "swap";
    /// v1 `total_swap`, bytes.
    TotalSwap = "total_swap";
    /// v1 `mapped_file`, bytes.
    MappedFile = "mapped_file";
    /// v1 `total_mapped_file`, bytes.
    TotalMappedFile = "total_mapped_file";
    /// v2 `active_file`, bytes over the subtree; v1: own.
    ActiveFile = "active_file";
    /// v1 `total_active_file`, bytes.
    TotalActiveFile = "total_active_file";
    /// v2 `inactive_file`, bytes over the subtree; v1: own.
    InactiveFile = "inactive_file";
    /// v1 `total_inactive_file`, bytes.
    TotalInactiveFile = "total_inactive_file";
    /// `pgfault`, count: v1 own, v2 over the subtree.
    PageFaults = "pgfault";
    /// `pgmajfault`, count: v1 own, v2 over the subtree.
    MajorFaults = "pgmajfault";
    /// v1 `total_pgfault`, count.
    TotalPageFaults = "total_pgfault";
    /// v1 `total_pgmajfault`, count.
    TotalMajorFaults = "total_pgmajfault";
    /// v2 `anon`, bytes.
    Anon = "anon";
    /// v2 `file`, bytes.
    File = "file";
    /// v2 `file_mapped`, bytes.
    FileMapped = "file_mapped";
    /// v2 `kernel`, bytes; since 5.18.
    Kernel = "kernel";
}

/// Beginnings of the keys, without `total_`, whose values only grow. Of these none is ever below zero.
const COUNTERS: [&[u8]; 7] = [b"pg", b"workingset_", b"thp_", b"numa_", b"swpin", b"swpout", b"zswp"];

/// The keys of a `memory.stat`, learnt from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatLayout {
    keys: Arc<[Box<str>]>,
    /// Every key with the space after it, one after another.
    prefixes: Box<[u8]>,
    lines: Box<[Line]>,
    /// The value of each known key.
    known: [Option<u16>; KNOWN.len()],
}

/// A line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// A value, whose key ends here among the prefixes.
    Value(u32),
    /// One that is not understood, or has a key for the second time.
    Odd,
}

impl StatLayout {
    /// The keys in the kernel's order.
    pub fn keys(&self) -> &Arc<[Box<str>]> {
        &self.keys
    }

    /// The value of a known key among the values of a file with this layout.
    #[inline]
    pub fn value(&self, values: &[u64], key: StatKey) -> Option<u64> {
        values.get(usize::from(self.known[key as usize]?)).copied()
    }

    /// The values of a text that has exactly these lines.
    fn values(&self, text: &[u8], odd: &mut OddLines) -> Option<Vec<u64>> {
        let mut values = Vec::with_capacity(self.keys.len());
        let mut rest = text;
        let mut start = 0;
        for (number, line) in self.lines.iter().enumerate() {
            match *line {
                Line::Value(end) => {
                    let key = self.prefixes.get(start..end as usize)?;
                    let after_key = rest.strip_prefix(key)?;
                    let (value, after) = digits(after_key).or_else(|| below_zero(key, after_key))?;
                    values.push(value);
                    start = end as usize;
                    rest = match after {
                        [b'\n', after @ ..] => after,
                        // Only the last line may lack its end.
                        [] => after,
                        _ => return None,
                    };
                }
                Line::Odd => rest = self.odd_line(number + 1, rest, odd)?,
            }
        }
        rest.is_empty().then_some(values)
    }

    /// What follows an odd line, if it still is one.
    #[cold]
    fn odd_line<'a>(&self, number: usize, rest: &'a [u8], odd: &mut OddLines) -> Option<&'a [u8]> {
        let (_, line) = lines(rest).next()?;
        if stat_line(line).is_some_and(|(key, _)| !self.keys.iter().any(|known| **known == *key)) {
            return None;
        }
        note(number, line, odd);
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        rest.get(end..)
    }

    fn learn(text: &[u8], odd: &mut OddLines) -> (Self, Vec<u64>) {
        let mut keys: Vec<Box<str>> = Vec::new();
        let mut prefixes = Vec::new();
        let mut pieces = Vec::new();
        let mut values = Vec::new();
        for (number, line) in lines(text) {
            match stat_line(line) {
                Some((key, value)) if !keys.iter().any(|known| **known == *key) => {
                    keys.push(key.into());
                    prefixes.extend_from_slice(key.as_bytes());
                    prefixes.push(b' ');
                    pieces.push(Line::Value(prefixes.len() as u32));
                    values.push(value);
                }
                _ => {
                    note(number, line, odd);
                    pieces.push(Line::Odd);
                }
            }
        }
        let known = std::array::from_fn(|index| {
            let line = keys.iter().position(|key| &**key == KNOWN[index])?;
            u16::try_from(line).ok()
        });
        (Self { keys: keys.into(), prefixes: prefixes.into(), lines: pieces.into(), known }, values)
    }

    fn is_odd(&self) -> bool {
        self.lines.contains(&Line::Odd)
    }
}

fn note(number: usize, line: &[u8], odd: &mut OddLines) {
    if !line.trim_ascii().is_empty() {
        odd.note(number, "not a new key and its number", line);
    }
}

/// The key and the value of a line. The kernel adds the counters of all CPUs up without stopping them, so that the sum
/// of what comes and goes may be below zero for a moment: that is 0.
fn stat_line(line: &[u8]) -> Option<(&str, u64)> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (key, rest) = (line.get(..space)?, line.get(space + 1..)?);
    let (value, after) = digits(rest).or_else(|| below_zero(key, rest))?;
    let is_key = !key.is_empty() && key.iter().all(u8::is_ascii_graphic);
    let key = str::from_utf8(key).ok().filter(|_| is_key && after.trim_ascii().is_empty())?;
    Some((key, value))
}

/// 0 for a number below zero that is of no counter, and what follows it.
#[cold]
fn below_zero<'a>(key: &[u8], text: &'a [u8]) -> Option<(u64, &'a [u8])> {
    let (_, after) = digits(text.strip_prefix(b"-")?)?;
    let plain = key.strip_prefix(b"total_").unwrap_or(key);
    let is_counter = COUNTERS.iter().any(|counter| plain.starts_with(counter));
    (!is_counter).then_some((0, after))
}

/// The layouts met so far: one per hierarchy, in practice one or two. Shared by all threads.
#[derive(Debug, Default)]
pub struct StatLayouts(Mutex<Vec<Arc<StatLayout>>>);

impl StatLayouts {
    /// More are not kept; files with yet other keys are still read right.
    const KEPT: usize = 16;
    /// Of these so many at most have odd lines, which may be others each time.
    const KEPT_ODD: usize = 8;

    /// The values of a `memory.stat`. `last` is the layout this cgroup had last time, and is brought up to date. A line
    /// that is not understood, or whose key was there before, costs itself.
    #[inline]
    pub fn parse(&self, text: &[u8], last: &mut Option<Arc<StatLayout>>, odd: &mut OddLines) -> Vec<u64> {
        match last.as_ref().and_then(|layout| layout.values(text, odd)) {
            Some(values) => values,
            None => self.find(text, last, odd),
        }
    }

    #[cold]
    fn find(&self, text: &[u8], last: &mut Option<Arc<StatLayout>>, odd: &mut OddLines) -> Vec<u64> {
        let mut layouts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for layout in layouts.iter() {
            // What another layout found odd before it did not fit is not counted.
            let mut of_this = OddLines::default();
            if let Some(values) = layout.values(text, &mut of_this) {
                *last = Some(Arc::clone(layout));
                *odd = of_this;
                return values;
            }
        }
        *odd = OddLines::default();
        let (layout, values) = StatLayout::learn(text, odd);
        let layout = Arc::new(layout);
        let has_room = !layout.is_odd() || layouts.iter().filter(|layout| layout.is_odd()).count() < Self::KEPT_ODD;
        if layouts.len() < Self::KEPT && has_room {
            layouts.push(Arc::clone(&layout));
        }
        *last = Some(layout);
        values
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(layouts: &StatLayouts, text: &[u8], last: &mut Option<Arc<StatLayout>>) -> Vec<u64> {
        layouts.parse(text, last, &mut OddLines::default())
    }

    #[test]
    fn keys_are_shared_between_cgroups() {
        let layouts = StatLayouts::default();
        let (mut first, mut second) = (None, None);
        assert_eq!(parse(&layouts, b"cache 1\ntotal_cache 3\n", &mut first), [1, 3]);
        assert_eq!(parse(&layouts, b"cache 20\ntotal_cache 40\n", &mut second), [20, 40]);
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(Arc::ptr_eq(first.keys(), second.keys()));
        assert_eq!(first.value(&[20, 40], StatKey::TotalCache), Some(40));
        assert_eq!(first.value(&[20, 40], StatKey::Kernel), None);
    }

    #[test]
    fn other_keys_make_another_layout() {
        let layouts = StatLayouts::default();
        let mut last = None;
        parse(&layouts, b"anon 1\nfile 2\n", &mut last);
        for text in [&b"anon 1\nfile 2\nkernel 3\n"[..], b"anon 1\n", b"file 2\nanon 1\n", b"anonfile 1\nx 2\n"] {
            let values = parse(&layouts, text, &mut last);
            assert_eq!(values.len(), last.as_ref().unwrap().keys().len(), "{}", text.escape_ascii());
        }
        assert_eq!(&*last.unwrap().keys()[0], "anonfile");
    }

    #[test]
    fn a_value_below_zero_is_zero_unless_it_only_grows() {
        let layouts = StatLayouts::default();
        let mut last = None;
        for _ in 0..2 {
            let mut odd = OddLines::default();
            let values = layouts.parse(b"anon 5\nsock -4096\ntotal_swap -1\nfile 7\n", &mut last, &mut odd);
            assert_eq!((values, odd.count()), (vec![5, 0, 0, 7], 0));
        }
        let kept = last.clone();
        assert_eq!(parse(&layouts, b"anon 5\nsock 8\ntotal_swap 9\nfile 7\n", &mut last), [5, 8, 9, 7]);
        assert_eq!(kept, last);
        let mut odd = OddLines::default();
        assert_eq!(layouts.parse(b"anon 5\ntotal_pgfault -1\nfile 7\n", &mut last, &mut odd), [5, 7]);
        assert_eq!((odd.count(), last.unwrap().keys().join(" ")), (1, "anon file".into()));
    }

    #[test]
    fn an_odd_line_costs_itself_and_comes_back_when_it_is_odd_no_more() {
        let layouts = StatLayouts::default();
        let mut last = None;
        for line in ["sock x", "sock", "sock 1 2", "sock 18446744073709551616", "so\0ck 1", "anon 6", "s\u{e9} 1"] {
            for _ in 0..2 {
                let mut odd = OddLines::default();
                let text = format!("anon 5\n{line}\nfile 7\n");
                let values = layouts.parse(text.as_bytes(), &mut last, &mut odd);
                assert_eq!((values, odd.count()), (vec![5, 7], 1), "{line:?}");
                assert_eq!(last.as_ref().unwrap().keys().join(" "), "anon file");
            }
            assert_eq!(parse(&layouts, b"anon 5\nsock 6\nfile 7\n", &mut last), [5, 6, 7], "{line:?}");
        }
    }

    #[test]
    fn layouts_are_not_kept_without_end() {
        let layouts = StatLayouts::default();
        for number in 0..100 {
            parse(&layouts, format!("anon 5\n{}sock x\n", "odd\n".repeat(number)).as_bytes(), &mut None);
        }
        assert_eq!(layouts.0.lock().unwrap().len(), StatLayouts::KEPT_ODD);
        parse(&layouts, b"anon 5\nfile 7\n", &mut None);
        assert_eq!(layouts.0.lock().unwrap().len(), StatLayouts::KEPT_ODD + 1);
    }

    #[test]
    fn known_keys_match_their_names() {
        assert_eq!(KNOWN[StatKey::TotalInactiveFile as usize], "total_inactive_file");
        assert_eq!(KNOWN[StatKey::Kernel as usize], "kernel");
    }

    proptest! {
        #[test]
        fn a_known_layout_changes_nothing(text in "([a-c]{1,3} -?[0-9]{1,20}\n){0,5}[a-c0-9 \n]{0,5}") {
            let layouts = StatLayouts::default();
            let mut last = None;
            parse(&layouts, b"a 1\nb 2\n", &mut last);
            let (mut odd, mut again) = (OddLines::default(), OddLines::default());
            let (plain, values) = StatLayout::learn(text.as_bytes(), &mut odd);
            prop_assert_eq!(layouts.parse(text.as_bytes(), &mut last, &mut again), values.clone());
            prop_assert_eq!(layouts.parse(text.as_bytes(), &mut last, &mut OddLines::default()), values);
            prop_assert_eq!(plain.keys(), last.as_ref().unwrap().keys());
            prop_assert_eq!(odd.count(), again.count());
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (layouts, mut last) = (StatLayouts::default(), None);
            parse(&layouts, &text, &mut last);
            parse(&layouts, &text, &mut last);
        }
    }
}
