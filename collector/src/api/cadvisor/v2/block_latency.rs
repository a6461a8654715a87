//! How long requests to block devices waited and took, which cAdvisor does not have.

use schemars::JsonSchema;
use serde::Serialize;

use crate::sample::block_latency::{BlockLatency, DeviceLatency, FIRST_EXPONENT, Latencies};
use crate::sample::doubling::below;

/// Since the collector's programs were loaded; the cgroup's own requests of one kind to one device.
#[derive(JsonSchema, Serialize)]
pub(super) struct BlockLatencyStats<'a> {
    /// Absent where the machine has no name for it.
    #[serde(skip_serializing_if = "str::is_empty")]
    device: &'a str,
    major: u32,
    minor: u32,
    /// `Discard`, `Read` or `Write`.
    operation: &'static str,
    /// Requests that were counted for the cgroup of the task that made them, in place of their bio's.
    by_task: u64,
    /// From the making of a request until the device got it; without requests that the kernel does not note the beginning
    /// of.
    queue: RequestTimes,
    /// From then until it was done.
    service: RequestTimes,
}

/// How long requests took, in nanoseconds.
#[derive(JsonSchema, Serialize)]
struct RequestTimes {
    time: u64,
    count: u64,
    /// By length; buckets without any are left out.
    requests: Vec<RequestBucket>,
}

/// Requests that took about the same time.
#[derive(JsonSchema, Serialize)]
struct RequestBucket {
    /// Absent for the last bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<u64>,
    count: u64,
}

impl From<&Latencies> for RequestTimes {
    fn from(times: &Latencies) -> Self {
        let used = times.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        let requests = used.map(|(at, count)| RequestBucket { below: below(FIRST_EXPONENT, at), count: *count });
        Self { time: times.total.0, count: times.count(), requests: requests.collect() }
    }
}

/// All devices.
pub(super) fn stats(latency: &BlockLatency) -> Vec<BlockLatencyStats<'_>> {
    latency.0.iter().map(BlockLatencyStats::from).collect()
}

impl<'a> From<&'a DeviceLatency> for BlockLatencyStats<'a> {
    fn from(latency: &'a DeviceLatency) -> Self {
        let DeviceLatency { device, major, minor, operation, by_task, queued, served } = latency;
        Self {
            device,
            major: *major,
            minor: *minor,
            operation: operation.name(),
            by_task: *by_task,
            queue: queued.into(),
            service: served.into(),
        }
    }
}
