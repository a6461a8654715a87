//! Waits for a CPU, and for whom, which cAdvisor does not have.

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::wire::json::Lossy;
use crate::sample::doubling::below;
use crate::sample::run_queue::{FIRST_EXPONENT, RunQueue};

/// Since the collector's program was loaded; of the cgroup's own tasks, in nanoseconds.
#[derive(JsonSchema, Serialize)]
pub(super) struct RunQueueStats<'a> {
    /// Without what a quota held back.
    wait_time: u64,
    /// Held back by the cgroup's quota or one above.
    throttled_time: u64,
    /// Of `wait_time` what other tasks of the cgroup ran meanwhile.
    own_time: u64,
    /// Waits by length; buckets without any are left out.
    waits: Vec<WaitBucket>,
    /// Of `wait_time` what the cgroups waited for longest ran meanwhile; at most five.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aggressors: Vec<Aggressor<'a>>,
}

/// Waits of about the same length.
#[derive(JsonSchema, Serialize)]
struct WaitBucket {
    /// Absent for the last bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<u64>,
    count: u64,
}

/// A cgroup that ran while another waited.
#[derive(JsonSchema, Serialize)]
struct Aggressor<'a> {
    name: Lossy<'a>,
    time: u64,
}

impl<'a> From<&'a RunQueue> for RunQueueStats<'a> {
    fn from(RunQueue { waited, throttled, own, buckets, behind }: &'a RunQueue) -> Self {
        let used = buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        Self {
            wait_time: waited.0,
            throttled_time: throttled.0,
            own_time: own.0,
            waits: used.map(|(at, count)| WaitBucket { below: below(FIRST_EXPONENT, at), count: *count }).collect(),
            aggressors: behind.iter().map(|(name, time)| Aggressor { name: Lossy(name), time: time.0 }).collect(),
        }
    }
}
