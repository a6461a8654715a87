//! The histograms of single kinds, with their names.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Beside, Label};
use crate::sample::block_latency::{self, DeviceLatency, Latencies};
use crate::sample::doubling::{BUCKETS, Counts};
use crate::sample::run_queue::{self, RunQueue};
use crate::units::Nanos;

/// A histogram of times in seconds, and what it is called.
#[derive(Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "some names are there for the page of names alone"))]
pub(in crate::push) struct Histogram {
    /// The metric of OTLP.
    pub(in crate::push) otlp: &'static str,
    /// The family of `/metrics`.
    pub(in crate::push) prometheus: &'static str,
    /// What the measurements of `InfluxDB` begin with.
    pub(in crate::push) influx: &'static str,
    /// Where it is in the JSON of the API.
    pub(in crate::push) json: &'static str,
    /// The exponent of the first bucket's bound.
    pub(in crate::push) first: i32,
    read: fn(&Beside) -> Vec<Times<'_>>,
}

/// How long something took.
#[derive(Clone, Debug)]
pub(in crate::push) struct Times<'a> {
    pub(in crate::push) labels: Vec<(Label, Cow<'a, str>)>,
    pub(in crate::push) counts: Counts,
    pub(in crate::push) sum: Nanos,
}

impl Times<'_> {
    /// What was added since; all of it where it began anew.
    pub(in crate::push) fn since(self, before: &[Times<'_>]) -> Self {
        let Some(before) = before.iter().find(|other| other.labels == self.labels) else { return self };
        let added: Option<Vec<u64>> =
            self.counts.iter().zip(&before.counts).map(|(now, then)| now.checked_sub(*then)).collect();
        let counts = added.and_then(|added| <[u64; BUCKETS]>::try_from(added).ok());
        match (counts, self.sum.0.checked_sub(before.sum.0)) {
            (Some(counts), Some(sum)) => Self { counts, sum: Nanos(sum), ..self },
            _ => self,
        }
    }
}

impl Histogram {
    /// Its values; none where the kind is off.
    pub(in crate::push) fn times<'a>(&self, beside: &'a Beside) -> Vec<Times<'a>> {
        (self.read)(beside)
    }
}

/// Every histogram.
pub(in crate::push) const HISTOGRAMS: &[Histogram] = &[
    Histogram {
        otlp: "container.cpu.schedule.wait.duration",
        prometheus: "container_cpu_runqueue_wait_seconds",
        influx: "runqueue_wait",
        json: "runqueue.waits",
        first: run_queue::FIRST_EXPONENT,
        read: |beside| {
            let times = |waits: &Arc<RunQueue>| Times { labels: Vec::new(), counts: waits.buckets, sum: waits.waited };
            beside.run_queue.iter().map(times).collect()
        },
    },
    Histogram {
        otlp: "container.disk.queue.duration",
        prometheus: "container_blkio_queue_seconds",
        influx: "blkio_queue",
        json: "blocklatency.queue",
        first: block_latency::FIRST_EXPONENT,
        read: |beside| devices(beside, |device| &device.queued),
    },
    Histogram {
        otlp: "container.disk.operation.duration",
        prometheus: "container_blkio_device_seconds",
        influx: "blkio_device",
        json: "blocklatency.service",
        first: block_latency::FIRST_EXPONENT,
        read: |beside| devices(beside, |device| &device.served),
    },
];

fn devices<'a>(beside: &'a Beside, get: impl Fn(&'a DeviceLatency) -> &'a Latencies) -> Vec<Times<'a>> {
    let times = |device: &'a DeviceLatency| {
        let DeviceLatency { device: name, major, minor, operation, .. } = device;
        let name = if name.is_empty() { Cow::Owned(format!("{major}:{minor}")) } else { Cow::Borrowed(name.as_ref()) };
        let operation = Cow::Owned(operation.name().to_ascii_lowercase());
        let Latencies { total, buckets } = get(device);
        Times { labels: vec![(Label::Operation, operation), (Label::Device, name)], counts: *buckets, sum: *total }
    };
    beside.block_latency.iter().flat_map(|latency| &latency.0).map(times).collect()
}

#[cfg(test)]
pub(in crate::push) fn counted() -> Beside {
    use crate::sample::block_latency::{BlockLatency, Operation};

    let counts: Counts = std::array::from_fn(|bucket| bucket as u64);
    let times = |total| Latencies { total: Nanos(total), buckets: counts };
    let device = DeviceLatency {
        device: "/dev/sda".into(),
        major: 8,
        minor: 0,
        operation: Operation::Write,
        by_task: 0,
        queued: times(3_000_000_000),
        served: times(5_000_000_000),
    };
    Beside {
        run_queue: Some(Arc::new(RunQueue { waited: Nanos(7_000_000_000), buckets: counts, ..RunQueue::default() })),
        block_latency: Some(Arc::new(BlockLatency(vec![device]))),
        ..Beside::default()
    }
}
