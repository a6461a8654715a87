//! `memory.stat` of both versions: a flat keyed file of some fifty to eighty lines that is read for every cgroup and
//! tick.
//!
//! All cgroups of a hierarchy have the same keys in the same order. The keys are therefore learnt once and shared; a
//! read compares each line's key in place and parses only the number.

use std::sync::{Arc, Mutex, PoisonError};

use crate::kernel::text_formats::{FormatError, digits, flat_keyed};

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

/// The keys of a `memory.stat`, learnt from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatLayout {
    keys: Arc<[Box<str>]>,
    /// Every key with the space after it, one after another.
    prefixes: Box<[u8]>,
    /// Where each of them ends.
    ends: Box<[u32]>,
    /// The line of each known key.
    known: [Option<u16>; KNOWN.len()],
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

    /// The values of a text that has exactly these keys.
    fn values(&self, text: &[u8]) -> Option<Vec<u64>> {
        let mut values = Vec::with_capacity(self.ends.len());
        let mut rest = text;
        let mut start = 0;
        for end in &self.ends {
            let end = *end as usize;
            let (value, after) = digits(rest.strip_prefix(self.prefixes.get(start..end)?)?)?;
            rest = after.strip_prefix(b"\n")?;
            start = end;
            values.push(value);
        }
        rest.is_empty().then_some(values)
    }

    fn learn(text: &[u8]) -> Result<(Self, Vec<u64>), FormatError> {
        let mut keys: Vec<Box<str>> = Vec::new();
        let mut prefixes = Vec::new();
        let mut ends = Vec::new();
        let mut values = Vec::new();
        for pair in flat_keyed(text) {
            let (key, value) = pair?;
            let Ok(key) = std::str::from_utf8(key) else {
                return Err(FormatError::at(keys.len() + 1, "a key that is not text"));
            };
            keys.push(key.into());
            prefixes.extend_from_slice(key.as_bytes());
            prefixes.push(b' ');
            ends.push(prefixes.len() as u32);
            values.push(value);
        }
        let known = std::array::from_fn(|index| {
            let line = keys.iter().position(|key| &**key == KNOWN[index])?;
            u16::try_from(line).ok()
        });
        Ok((Self { keys: keys.into(), prefixes: prefixes.into(), ends: ends.into(), known }, values))
    }
}

/// The layouts met so far: one per hierarchy, in practice one or two. Shared by all threads.
#[derive(Debug, Default)]
pub struct StatLayouts(Mutex<Vec<Arc<StatLayout>>>);

impl StatLayouts {
    /// More are not kept; files with yet other keys are still read right.
    const KEPT: usize = 16;

    /// The values of a `memory.stat`. `last` is the layout this cgroup had last time, and is brought up to date.
    #[inline]
    pub fn parse(&self, text: &[u8], last: &mut Option<Arc<StatLayout>>) -> Result<Vec<u64>, FormatError> {
        match last.as_ref().and_then(|layout| layout.values(text)) {
            Some(values) => Ok(values),
            None => self.find(text, last),
        }
    }

    #[cold]
    fn find(&self, text: &[u8], last: &mut Option<Arc<StatLayout>>) -> Result<Vec<u64>, FormatError> {
        let mut layouts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for layout in layouts.iter() {
            if let Some(values) = layout.values(text) {
                *last = Some(Arc::clone(layout));
                return Ok(values);
            }
        }
        let (layout, values) = StatLayout::learn(text)?;
        let layout = Arc::new(layout);
        if layouts.len() < Self::KEPT {
            layouts.push(Arc::clone(&layout));
        }
        *last = Some(layout);
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_shared_between_cgroups() {
        let layouts = StatLayouts::default();
        let (mut first, mut second) = (None, None);
        assert_eq!(layouts.parse(b"cache 1\ntotal_cache 3\n", &mut first), Ok(vec![1, 3]));
        assert_eq!(layouts.parse(b"cache 20\ntotal_cache 40\n", &mut second), Ok(vec![20, 40]));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(Arc::ptr_eq(first.keys(), second.keys()));
        assert_eq!(first.value(&[20, 40], StatKey::TotalCache), Some(40));
        assert_eq!(first.value(&[20, 40], StatKey::Kernel), None);
    }

    #[test]
    fn other_keys_make_another_layout() {
        let layouts = StatLayouts::default();
        let mut last = None;
        layouts.parse(b"anon 1\nfile 2\n", &mut last).unwrap();
        for text in [&b"anon 1\nfile 2\nkernel 3\n"[..], b"anon 1\n", b"file 2\nanon 1\n", b"anonfile 1\nx 2\n"] {
            let values = layouts.parse(text, &mut last).unwrap();
            assert_eq!(values.len(), last.as_ref().unwrap().keys().len(), "{}", text.escape_ascii());
        }
        assert_eq!(&*last.unwrap().keys()[0], "anonfile");
        assert!(layouts.parse(b"anon x\n", &mut None).is_err());
    }

    #[test]
    fn known_keys_match_their_names() {
        assert_eq!(KNOWN[StatKey::TotalInactiveFile as usize], "total_inactive_file");
        assert_eq!(KNOWN[StatKey::Kernel as usize], "kernel");
    }

    proptest! {
        #[test]
        fn never_panics_and_agrees_with_the_plain_parser(text in "([a-c]{1,3} [0-9]{1,20}\n){0,5}[a-c0-9 \n]{0,5}") {
            let layouts = StatLayouts::default();
            let mut last = None;
            layouts.parse(b"a 1\nb 2\n", &mut last).unwrap();
            let plain: Result<Vec<_>, _> = flat_keyed(text.as_bytes()).map(|pair| pair.map(|(_, value)| value)).collect();
            prop_assert_eq!(layouts.parse(text.as_bytes(), &mut last), plain.clone());
            prop_assert_eq!(layouts.parse(text.as_bytes(), &mut last), plain);
        }
    }
}
