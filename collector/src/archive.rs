//! History on disk: every sample of a coarse step, every event, and who the containers were, so that one can look back a
//! day.
//!
//! A directory has one database for about each hour. One thread writes to the newest; whoever reads opens the others as
//! needed. Nothing of it is needed for anything else: whatever goes wrong here is reported, and the collector goes on.

#[cfg(test)]
mod day;
mod query;
mod reading;
mod records;
mod run;
mod segment;
mod storage;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use self::segment::{Segment, SegmentError};
use self::tail::Tail;
use crate::bounds::Shown;
use crate::degradations::Degradations;

pub use query::{PastContainer, SamplePiece, WantedSamples};
pub use records::ArchivedSubject;
pub use writer::{Writer, start};

/// How much is kept, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// The directory; it is made if it is not there.
    pub directory: PathBuf,
    /// From one sample of a container to the next.
    pub step: Duration,
    /// What is older is dropped.
    pub age: Duration,
    /// More is not taken of the disk.
    pub bytes: u64,
}

impl ArchiveOptions {
    /// The time of one file, in milliseconds: small against the age, so that little is dropped at once.
    fn span(&self) -> u64 {
        const LONGEST: Duration = Duration::from_hours(6);
        let steps = self.step.saturating_mul(6);
        (self.age / 24).min(LONGEST).max(steps).as_millis() as u64
    }
}

/// Files that are open to be read at once.
const OPEN_FILES: usize = 4;
/// A file that could not be opened is not tried again sooner.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What is kept, for everybody who reads it.
#[derive(Debug)]
pub struct Archive {
    options: ArchiveOptions,
    /// By the time they begin.
    files: RwLock<Vec<Arc<File>>>,
    tail: Mutex<Tail>,
    /// Those that were opened to be read, the one opened last at the end.
    opened: Mutex<VecDeque<Arc<File>>>,
    degradations: Degradations,
    counters: HistoryCounters,
}

/// What happened to the history since the start.
#[derive(Debug, Default)]
struct HistoryCounters {
    bytes: AtomicU64,
    samples: AtomicU64,
    events: AtomicU64,
    lost_samples: AtomicU64,
    lost_events: AtomicU64,
    damaged: AtomicU64,
    failed_writes: AtomicU64,
}

/// What there is and what happened to it since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryCounts {
    /// Bytes on disk.
    pub bytes: u64,
    /// When the oldest file begins, in milliseconds since 1970; 0 without any.
    pub oldest: u64,
    /// Samples written.
    pub samples: u64,
    /// Events written.
    pub events: u64,
    /// Samples that could not be written.
    pub lost_samples: u64,
    /// Events that could not be.
    pub lost_events: u64,
    /// Blocks and files that could not be read.
    pub damaged: u64,
    /// Steps that could not be written at once.
    pub failed_writes: u64,
}

/// One file.
#[derive(Debug)]
struct File {
    /// When it begins, in milliseconds.
    from: u64,
    path: PathBuf,
    state: Mutex<FileState>,
}

#[derive(Debug)]
enum FileState {
    Closed,
    Open(Arc<Segment>),
    Unusable(Instant),
}

impl File {
    fn new(from: u64, path: PathBuf, state: FileState) -> Arc<Self> {
        Arc::new(Self { from, path, state: Mutex::new(state) })
    }

    /// Bytes that it takes.
    fn bytes(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(&self.path).map_or(0, |metadata| metadata.blocks() * 512)
    }
}

const EXTENSION: &str = "redb";

/// The files of a directory, the oldest first.
fn files_of(directory: &Path) -> std::io::Result<Vec<Arc<File>>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let from = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(from) = from.filter(|_| path.extension().is_some_and(|extension| extension == EXTENSION)) {
            files.push(File::new(from, path, FileState::Closed));
        }
    }
    files.sort_by_key(|file| file.from);
    Ok(files)
}

impl Archive {
    /// What is in a directory, whoever wrote it; nothing is written.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn open(options: ArchiveOptions, degradations: Degradations) -> std::io::Result<Self> {
        let archive = Self::empty(options, degradations);
        *lock_write(&archive.files) = files_of(&archive.options.directory)?;
        archive.measure();
        archive.read_rows();
        Ok(archive)
    }

    fn empty(options: ArchiveOptions, degradations: Degradations) -> Self {
        Self {
            options,
            files: RwLock::default(),
            tail: Mutex::default(),
            opened: Mutex::default(),
            degradations,
            counters: HistoryCounters::default(),
        }
    }

    /// How much there is and what happened to it.
    pub fn counts(&self) -> HistoryCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let HistoryCounters { bytes, samples, events, lost_samples, lost_events, damaged, failed_writes } =
            &self.counters;
        HistoryCounts {
            bytes: of(bytes),
            oldest: self.oldest().unwrap_or_default(),
            samples: of(samples),
            events: of(events),
            lost_samples: of(lost_samples),
            lost_events: of(lost_events),
            damaged: of(damaged),
            failed_writes: of(failed_writes),
        }
    }

    /// When the oldest file begins, in milliseconds since 1970.
    pub fn oldest(&self) -> Option<u64> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).first().map(|file| file.from)
    }

    fn files(&self) -> Vec<Arc<File>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn measure(&self) -> u64 {
        let bytes = self.files().iter().map(|file| file.bytes()).sum();
        self.counters.bytes.store(bytes, Ordering::Relaxed);
        bytes
    }

    /// The last file of a collector that did not end well has rows that are in no block.
    fn read_rows(&self) {
        let Some(segment) = self.files().last().and_then(|file| self.segment(file)) else { return };
        match segment.rows() {
            Ok((rows, damaged)) => {
                self.damaged(segment.path(), damaged, "rows of steps");
                let mut tail = lock(&self.tail);
                for (step, row) in &rows {
                    tail.replay(*step, row);
                }
            }
            Err(error) => self.unusable(segment.path(), &error),
        }
    }

    /// An open file; `None`, reported, for one that cannot be read.
    fn segment(&self, file: &Arc<File>) -> Option<Arc<Segment>> {
        let mut state = lock(&file.state);
        match &*state {
            FileState::Open(segment) => return Some(Arc::clone(segment)),
            FileState::Unusable(since) if since.elapsed() < TRY_AGAIN => return None,
            FileState::Closed | FileState::Unusable(_) => {}
        }
        let opened = guarded(|| Segment::open(&file.path));
        match opened {
            Ok((segment, damaged)) => {
                self.damaged(&file.path, damaged, "lists of containers");
                let segment = Arc::new(segment);
                *state = FileState::Open(Arc::clone(&segment));
                drop(state);
                let mut opened = lock(&self.opened);
                opened.push_back(Arc::clone(file));
                let closed = (opened.len() > OPEN_FILES).then(|| opened.pop_front()).flatten();
                drop(opened);
                if let Some(closed) = closed {
                    *lock(&closed.state) = FileState::Closed;
                }
                Some(segment)
            }
            Err(error) => {
                *state = FileState::Unusable(Instant::now());
                drop(state);
                // One that is dropped at this moment is no loss.
                if file.path.exists() {
                    self.unusable(&file.path, &error);
                }
                None
            }
        }
    }

    /// Reports what of a file is damaged.
    fn damaged(&self, path: &Path, count: usize, what: &str) {
        if count == 0 {
            return;
        }
        let total = self.counters.damaged.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        tracing::error!(path = %path.display(), count, what, "the history is damaged; the rest is served");
        let reason = format!(
            "history: {what} in {} are damaged, {total} pieces in all: what they had cannot be looked at any more, the \
             rest can; look for errors of the disk, and delete the file to be rid of this report",
            shown(path)
        );
        self.degradations.set(&"history_damaged", &reason);
    }

    fn unusable(&self, path: &Path, error: &SegmentError) {
        let total = self.counters.damaged.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(path = %path.display(), %error, "a file of the history cannot be read; the rest is served");
        let reason = format!(
            "history: {} cannot be read ({error}), {total} pieces in all: its time cannot be looked at, the rest can; \
             delete the file if it is to be rid of",
            shown(path)
        );
        self.degradations.set(&"history_damaged", &reason);
    }
}

fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    Shown(path.as_os_str().as_bytes()).to_string()
}

/// The database panics where it finds what it never wrote; that is damage like any other.
fn guarded<T>(work: impl FnOnce() -> Result<T, SegmentError>) -> Result<T, SegmentError> {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(SegmentError::Database("its structure is damaged".to_owned())))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock_write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
