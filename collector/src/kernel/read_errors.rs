//! How often each kernel file could not be read, for the collector's own metrics and the log.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::kernel::error::ReadError;

/// More names than there are files the collector reads; what goes beyond is counted together under [`OTHER`].
const NAMES: usize = 96;
/// The name under which files beyond the table's end are counted.
const OTHER: &str = "other";
/// A file's failures are logged at most this often.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// Counters by file name, of a fixed size and shared by all sampling threads.
#[derive(Debug)]
pub struct ReadErrors {
    started: Instant,
    entries: [Entry; NAMES],
    other: Entry,
    /// Failures for want of a descriptor.
    exhausted: AtomicU64,
}

#[derive(Debug, Default)]
struct Entry {
    name: OnceLock<&'static str>,
    count: AtomicU64,
    /// Milliseconds since the start plus one; 0 before the first message.
    logged: AtomicU64,
}

impl Default for ReadErrors {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            entries: std::array::from_fn(|_| Entry::default()),
            other: Entry::default(),
            exhausted: AtomicU64::new(0),
        }
    }
}

impl ReadErrors {
    /// Counts a failure to read this file and logs it unless that was done within the last minute. A cgroup or process
    /// that ended, a file that is not there and one for a feature that is switched off are no failures.
    #[cold]
    pub fn count(&self, file: &'static str, error: &ReadError) {
        if matches!(error, ReadError::Missing(_) | ReadError::Gone(_) | ReadError::Unsupported(_)) {
            return;
        }
        if matches!(error, ReadError::Failed { errno: Errno::MFILE | Errno::NFILE, .. }) {
            self.exhausted.fetch_add(1, Ordering::Relaxed);
        }
        let entry = self.entry(file);
        let count = entry.count.fetch_add(1, Ordering::Relaxed) + 1;
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let logged = entry.logged.load(Ordering::Relaxed);
        let due = logged == 0 || now.saturating_sub(logged) >= LOG_EVERY.as_millis() as u64;
        // Of several threads only one logs.
        if due && entry.logged.compare_exchange(logged, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(file, count, %error, "cannot read a kernel file; its values are left out");
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
    fn want_of_descriptors_is_told_apart() {
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
