//! What the page is shown: rows of containers, what changed of them, and their last two minutes.

use std::sync::Arc;

pub use crate::api::query::feed::Cursor;
use crate::sample::event::Name;
use crate::sample::identity::Identity;
use crate::sample::machine::Filesystems;
use crate::units::{Bytes, WallTime};

/// A container as the page lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Another number for each container that there was since the collector's start.
    pub id: u64,
    /// Who it is.
    pub subject: Arc<Subject>,
    /// When that changed last.
    pub subject_changed: u64,
    /// What it uses.
    pub figures: Figures,
    /// When that changed last.
    pub figures_changed: u64,
}

/// What changes seldom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
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
pub struct Figures {
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
    pub rows: Vec<Arc<Row>>,
    /// Rows that are no more.
    pub gone: Vec<u64>,
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
}
