//! Asks the kernel for tasks by state.

use std::sync::Mutex;
use std::time::Duration;

use crate::kernel::taskstats::{TaskstatsError, TaskstatsSocket};

/// Over how long the load is smoothed, seconds.
const SMOOTHED_OVER: f64 = 10.0;

/// Asks the kernel for tasks by state (`--enable_load_reader`). Shared by all sampling threads.
#[derive(Debug)]
pub struct LoadReader {
    pub(super) socket: Mutex<TaskstatsSocket>,
    pub(super) decay: f64,
}

impl LoadReader {
    /// Opens the kernel's interface; the load is smoothed for samples taken at this interval.
    pub fn open(interval: Duration) -> Result<Self, TaskstatsError> {
        Ok(Self { socket: Mutex::new(TaskstatsSocket::open()?), decay: decay(interval) })
    }
}

/// What of an average is left after an interval.
pub(super) fn decay(interval: Duration) -> f64 {
    (-interval.as_secs_f64() / SMOOTHED_OVER).exp()
}
