//! What an application may take at most. No application that means well comes near.

use std::time::Duration;

/// Labels `io.cadvisor.metric.*` of a container.
pub(super) const COLLECTORS: usize = 16;
/// What follows the prefix in such a label, and the path that is its value.
pub(super) const COLLECTOR_BYTES: usize = 256;
pub(super) const PATH_BYTES: usize = 4096;
/// All files of a container that say where its metrics are, and those of all containers.
pub(super) const CONFIGS_BYTES: usize = 128 << 10;
pub(super) const ALL_CONFIGS_BYTES: usize = 8 << 20;

/// An answer.
pub(super) const PAGE_BYTES: usize = 1 << 20;
/// An answer in which expressions look for values.
pub(super) const SEARCHED_BYTES: usize = 128 << 10;
/// The head of an answer, and the number of its headers.
pub(super) const HEAD_BYTES: usize = 32 << 10;
pub(super) const HEADERS: usize = 64;
/// Longest wait for a whole answer, and for the answers of all endpoints of a container that are due.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
pub(super) const PATIENCE_WITH_ALL: Duration = Duration::from_secs(10);
/// Answers that are under way in each lane; each has room for a small one, and so many may be large.
pub(super) const TURNS: usize = 32;
pub(super) const SMALL_PAGE_BYTES: usize = 128 << 10;
pub(super) const LARGE_TURNS: usize = 4;

/// An expression.
pub(super) const EXPRESSION_BYTES: usize = 1024;
/// A compiled expression, so the states that each byte of an answer may have to be tried with.
pub(super) const COMPILED_BYTES: usize = 64 << 10;
/// One that is small enough for what is done quickly.
pub(super) const SMALL_COMPILED_BYTES: usize = 8 << 10;
/// Compiled expressions that a thread keeps.
pub(super) const KEPT_EXPRESSIONS_BYTES: usize = 4 << 20;
/// Time on a CPU for compiling all expressions of a container, and for searching one answer; looked at between two.
pub(super) const EXPRESSIONS_TIME: Duration = Duration::from_millis(500);
/// The same for an answer that is looked through on the thread for what is done quickly, and the largest such answer.
pub(super) const QUICK_TIME: Duration = Duration::from_millis(50);
pub(super) const QUICK_PAGE_BYTES: usize = 16 << 10;
/// Of the CPU time that a container's answers take, it waits this many times as long before the next: a twentieth at most.
pub(super) const REST: u32 = 20;

/// A metric's or a label's name, a label's value, a unit; labels of a value.
pub(super) const NAME_BYTES: usize = 256;
pub(super) const VALUE_BYTES: usize = 4096;
pub(super) const LABELS: usize = 64;
/// Values of one answer.
pub(super) const VALUES: usize = 10_000;
/// One reading of all endpoints of a container, as it is kept.
pub(super) const ROUND_BYTES: usize = 8 << 20;
/// Readings of all containers, of which each has an equal share for what it read lately.
pub(super) const SHARES_BYTES: usize = 12 << 20;
/// Readings that are larger than such a share, all together; each is there twice while it is replaced.
pub(super) const LARGE_ROUNDS_BYTES: usize = 16 << 20;
