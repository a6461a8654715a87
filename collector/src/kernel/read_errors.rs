//! How often each kernel file could not be read, for the collector's own metrics and the log.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rustix::io::Errno;

use crate::kernel::error::ReadError;

/// More names than there are files the collector reads; what goes beyond is counted together under [`OTHER`].
const NAMES: usize = 96;
/// The name under which files beyond the table's end are counted.
const OTHER: &str = "other";
/// Counters by file name, of a fixed size and shared by all sampling threads.
#[derive(Debug)]
pub struct ReadErrors {
    entries: [Entry; NAMES],
    other: Entry,
    /// Failures for want of a descriptor.
    exhausted: AtomicU64,
}

#[derive(Debug, Default)]
struct Entry {
    name: OnceLock<&'static str>,
    count: AtomicU64,
    /// A bit for each kind of failure that was logged.
    logged: AtomicU8,
}

/// Files that describe the machine and are counted by their names; all others together as `machine`.
const MACHINE_FILES: [&str; 7] = ["cpuinfo", "diskstats", "distance", "loadavg", "meminfo", "mountinfo", "online"];

/// Kinds of failures, of which each is logged once for a file.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Denied,
    Failed,
    Malformed,
    OddLines,
}

impl Default for ReadErrors {
    fn default() -> Self {
        Self {
            entries: std::array::from_fn(|_| Entry::default()),
            other: Entry::default(),
            exhausted: AtomicU64::new(0),
        }
    }
}

impl ReadErrors {
    /// Counts a failure to read this file, or the lines of it that were not understood, and logs the first of each kind.
    /// A cgroup or process that ended, a file that is not there and one for a feature that is switched off are no
    /// failures.
    #[cold]
    pub fn count(&self, file: &'static str, error: &ReadError) {
        let (kind, more) = match error {
            ReadError::Missing(_) | ReadError::Gone(_) | ReadError::Unsupported(_) => return,
            ReadError::Denied(_) => (Kind::Denied, 1),
            ReadError::Failed { .. } => (Kind::Failed, 1),
            ReadError::Malformed { .. } => (Kind::Malformed, 1),
            ReadError::OddLines { count, .. } => (Kind::OddLines, *count),
        };
        if matches!(error, ReadError::Failed { errno: Errno::MFILE | Errno::NFILE, .. }) {
            self.exhausted.fetch_add(1, Ordering::Relaxed);
        }
        let entry = self.entry(file);
        let count = entry.count.fetch_add(more, Ordering::Relaxed) + more;
        let bit = 1 << kind as u8;
        // Of several threads only one logs.
        if entry.logged.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return;
        }
        let what = match kind {
            Kind::OddLines => "a line of a kernel file is not understood; its values are left out",
            Kind::Denied | Kind::Failed | Kind::Malformed => "cannot read a kernel file; its values are left out",
        };
        tracing::warn!(file, count, %error, "{what}");
    }

    /// The same for a file that describes the machine, of which only odd text is a failure: some may be read by nobody but
    /// root, and a file system may be out of reach.
    pub fn count_of_machine(&self, error: &ReadError) {
        if matches!(error, ReadError::Malformed { .. } | ReadError::OddLines { .. }) {
            let name = error.path().file_name().and_then(|name| name.to_str());
            let known = MACHINE_FILES.iter().find(|file| Some(**file) == name);
            self.count(known.unwrap_or(&"machine"), error);
        }
    }

    fn entry(&self, file: &'static str) -> &Entry {
        self.entries.iter().find(|entry| *entry.name.get_or_init(|| file) == file).unwrap_or(&self.other)
    }

    /// How often a file could not be opened because the process or the machine had no descriptor left (`EMFILE`,
    /// `ENFILE`).
    pub fn exhausted(&self) -> u64 {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// File names with their counts, in the order of their first failure.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let named = self.entries.iter().map_while(|entry| Some((*entry.name.get()?, entry)));
        let other = Some((OTHER, &self.other)).filter(|(_, entry)| entry.count.load(Ordering::Relaxed) > 0);
        named.chain(other).map(|(name, entry)| (name, entry.count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::text_formats::FormatError;

    #[test]
    fn failures_are_counted_by_file_and_normal_ends_are_not() {
        let errors = ReadErrors::default();
        errors.count("memory.stat", &ReadError::Denied("/a/memory.stat".into()));
        errors.count("cpu.stat", &ReadError::Denied("/a/cpu.stat".into()));
        errors.count("memory.stat", &ReadError::Denied("/b/memory.stat".into()));
        errors.count("io.stat", &ReadError::Gone("/b/io.stat".into()));
        errors.count("io.stat", &ReadError::Missing("/b/io.stat".into()));
        assert_eq!(errors.counts().collect::<Vec<_>>(), [("memory.stat", 2), ("cpu.stat", 1)]);
    }

    #[test]
    fn odd_text_about_the_machine_is_counted_by_file() {
        let errors = ReadErrors::default();
        let odd = |path: &str, count| ReadError::OddLines {
            path: path.into(),
            count,
            reason: FormatError::at(1, "odd"),
            text: "x".into(),
        };
        errors.count_of_machine(&odd("/proc/diskstats", 2));
        errors.count_of_machine(&odd("/sys/devices/x/level", 1));
        errors.count_of_machine(&ReadError::Denied("/sys/class/dmi/id/product_uuid".into()));
        assert_eq!(errors.counts().collect::<Vec<_>>(), [("diskstats", 2), ("machine", 1)]);
    }

    #[test]
    fn each_kind_of_failure_is_logged_once_for_a_file() {
        let errors = ReadErrors::default();
        let logged = || errors.entry("memory.stat").logged.load(Ordering::Relaxed).count_ones();
        for _ in 0..3 {
            errors.count("memory.stat", &ReadError::Denied("/a".into()));
        }
        assert_eq!(logged(), 1);
        let reason = FormatError::at(1, "odd");
        for _ in 0..3 {
            errors.count("memory.stat", &ReadError::Malformed { path: "/a".into(), reason: reason.clone() });
        }
        assert_eq!((logged(), errors.counts().last()), (2, Some(("memory.stat", 6))));
    }

    #[test]
    fn want_of_descriptors_is_distinguished() {
        let errors = ReadErrors::default();
        for errno in [Errno::MFILE, Errno::IO, Errno::NFILE] {
            errors.count("io.stat", &ReadError::from_errno("/a/io.stat".as_ref(), errno));
        }
        assert_eq!((errors.exhausted(), errors.counts().collect::<Vec<_>>()), (2, vec![("io.stat", 3)]));
    }

    #[test]
    fn names_beyond_the_table_are_counted_together() {
        let errors = ReadErrors::default();
        for number in 0..NAMES + 5 {
            let name: &'static str = Box::leak(format!("file{number}").into_boxed_str());
            errors.count(name, &ReadError::Denied("/x".into()));
        }
        assert_eq!(errors.counts().last(), Some((OTHER, 5)));
        assert_eq!(errors.counts().count(), NAMES + 1);
    }
}
