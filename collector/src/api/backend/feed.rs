//! What the page is shown: rows of containers, what changed of them, and their last two minutes.

use std::sync::Arc;

pub use crate::api::query::feed::Cursor;
use crate::sample::event::Name;
use crate::sample::identity::Identity;
use crate::sample::machine::Filesystems;
use crate::units::{Bytes, WallTime};

/// A container as the page lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedRow {
    /// Another number for each container that there was since the collector's start.
    pub id: u64,
    /// Who it is.
    pub subject: Arc<FeedSubject>,
    /// When that changed last.
    pub subject_changed: u64,
    /// What it uses.
    pub figures: FeedFigures,
    /// When that changed last.
    pub figures_changed: u64,
}

/// What changes seldom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedSubject {
    /// The cgroup's name.
    pub name: Name,
    /// What its runtime says.
    pub identity: Option<Arc<Identity>>,
    /// When it was made.
    pub created: Option<WallTime>,
    /// The CPU quota in thousandths of a core; absent without one.
    pub cpu_limit: Option<u64>,
    /// The memory limit; absent without one.
    pub memory_limit: Option<Bytes>,
    /// The limit on processes and threads; absent without one.
    pub task_limit: Option<u64>,
    /// How its first process ended, in words; absent as long as it runs.
    pub exit: Option<Box<str>>,
    /// The time of its last sample, of one that is gone.
    pub ended: Option<WallTime>,
}

/// What it uses. Rates are those between its last two samples that the table saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedFigures {
    /// CPU in thousandths of a core.
    pub cpu: Option<u64>,
    /// Of the periods of its quota those it was throttled in, in percent.
    pub throttled: Option<u64>,
    /// Working set in KiB.
    pub memory: Option<u64>,
    /// The most memory it ever used, in KiB; v1 `memory.max_usage_in_bytes`, v2 `memory.peak` since 5.19.
    pub peak: Option<u64>,
    /// Time in which something waited for the CPU, over ten seconds, in tenths of a percent.
    pub cpu_pressure: Option<u64>,
    /// The same for memory.
    pub memory_pressure: Option<u64>,
    /// The same for disks.
    pub io_pressure: Option<u64>,
    /// Bytes received per second.
    pub received: Option<u64>,
    /// Bytes sent per second.
    pub sent: Option<u64>,
    /// Bytes read from block devices per second.
    pub read: Option<u64>,
    /// Bytes written to block devices per second.
    pub written: Option<u64>,
    /// Processes and threads: `pids.current`.
    pub tasks: Option<u64>,
    /// OOM kills of its processes.
    pub oom_kills: u64,
}

/// What one client is sent.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    /// What the client shows the next time.
    pub cursor: Cursor,
    /// What it showed this time; `None` when all rows are sent.
    pub since: Option<u64>,
    /// The moment.
    pub at: WallTime,
    /// The machine's name.
    pub host: String,
    /// Online CPUs.
    pub cpus: u32,
    /// The machine's memory.
    pub memory: Option<Bytes>,
    /// The kernel's release.
    pub kernel: String,
    /// The machine's file systems, where they are looked at.
    pub filesystems: Option<Arc<Filesystems>>,
    /// Rows that changed.
    pub rows: Vec<Arc<FeedRow>>,
    /// Rows that are no more.
    pub gone: Vec<u64>,
    /// Since when the history on disk can be asked; absent without one.
    pub history_from: Option<WallTime>,
}

/// What a container used at a moment of a long span; rates and peaks are those since the point before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: WallTime,
    /// What it used.
    pub figures: FeedFigures,
    /// Anonymous memory in KiB.
    pub rss: Option<u64>,
    /// Page cache in KiB.
    pub cache: Option<u64>,
    /// The CPU quota of then in thousandths of a core; absent without one.
    pub cpu_limit: Option<u64>,
    /// The memory limit of then; absent without one.
    pub memory_limit: Option<Bytes>,
    /// The limit on processes and threads of then; absent without one.
    pub task_limit: Option<u64>,
}

/// Why a moment of the past cannot be shown.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoHistory {
    /// Nothing is kept.
    #[error("nothing is kept on disk: start the collector with --history_dir to look back")]
    Off,
    /// It is written out for somebody already.
    #[error("the history is written out for somebody already; try again when that is done")]
    Exporting,
    /// The disk does not answer.
    #[error("the disk with the history does not answer in time; try again")]
    Slow,
}

/// The last two minutes of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trend {
    /// Which row.
    pub id: u64,
    /// CPU between one sample and the next, in thousandths of a core.
    pub cpu: Vec<Option<u64>>,
    /// Working set at each of these samples, in KiB.
    pub memory: Vec<Option<u64>>,
    /// When each of these samples was taken.
    pub at: Vec<WallTime>,
}

/// What the page shows.
pub trait Feed: Send + Sync + 'static {
    /// The rows that changed since this cursor, or all of them. It takes them from memory, off the executor.
    fn tick(&self, since: Option<Cursor>) -> impl Future<Output = Tick> + Send;

    /// The last two minutes of these rows, without those that are no more.
    fn trends(&self, rows: Vec<u64>) -> impl Future<Output = Vec<Trend>> + Send;

    /// All rows as they were at this time, from the history on disk, read off the executor.
    fn moment(&self, _at: WallTime) -> impl Future<Output = Result<Tick, NoHistory>> + Send {
        std::future::ready(Err(NoHistory::Off))
    }

    /// What the container of this name used from one time to another, as some hundred points.
    fn series(
        &self,
        _name: Name,
        _from: WallTime,
        _to: WallTime,
    ) -> impl Future<Output = Result<Vec<Point>, NoHistory>> + Send {
        std::future::ready(Err(NoHistory::Off))
    }

    /// The two minutes before this time of rows as [`Self::moment`] numbers them.
    fn trends_at(&self, _rows: Vec<u64>, _at: WallTime) -> impl Future<Output = Result<Vec<Trend>, NoHistory>> + Send {
        std::future::ready(Err(NoHistory::Off))
    }
}
