//! How long requests to block devices waited and took: what cAdvisor does not have. Absent where the kind `blocklatency` is
//! off.

use crate::api::prometheus::family::{Family, Group, Moment, Row};
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::{Bucket, Writer};
use crate::sample::block_latency::{BUCKETS, DeviceLatency, Latencies};
use crate::sample::kinds::MetricKind::BlockLatency as Kind;

pub(super) const FAMILIES: &[Family] = &[
    Family::counter(
        "container_blkio_queue_seconds",
        "How long requests waited until the block device got them.",
        |row, _, out| times(row, out, |device| &device.queued),
    )
    .histogram()
    .labels(LABELS)
    .of(Kind, Group::DeviceDetails)
    .at(Moment::None)
    .since_start(),
    Family::counter(
        "container_blkio_device_seconds",
        "How long the block device took for requests, from when it got them.",
        |row, _, out| times(row, out, |device| &device.served),
    )
    .histogram()
    .labels(LABELS)
    .of(Kind, Group::DeviceDetails)
    .at(Moment::None)
    .since_start(),
];

const LABELS: &[&str] = &["device", "le", "operation"];

fn times(row: &Row<'_>, out: &mut Writer<'_>, get: impl Fn(&DeviceLatency) -> &Latencies) {
    let Some(latency) = row.block_latency else { return };
    let mut before: Option<&DeviceLatency> = None;
    for device in &latency.0 {
        // Two devices of one name, one of which is gone, must not be one series.
        let is_same = |other: &DeviceLatency| !device.device.is_empty() && other.device == device.device;
        if before.is_some_and(|other| is_same(other) && other.operation == device.operation) {
            continue;
        }
        before = Some(device);
        let times = get(device);
        let name = match &*device.device {
            "" => Text::Device(device.major, device.minor),
            name => Text::Is(name),
        };
        let labels = [("device", name), ("operation", Text::Is(device.operation.name()))];
        out.histogram_with(&labels, &buckets(times), times.count(), times.total);
    }
}

/// Bounds that are reported, and the bucket that each is the upper bound of: every other one, four times the one before.
const BOUNDS: [(&str, usize); 12] = [
    ("4.096e-06", 0),
    ("1.6384e-05", 2),
    ("6.5536e-05", 4),
    ("0.000262144", 6),
    ("0.001048576", 8),
    ("0.004194304", 10),
    ("0.016777216", 12),
    ("0.067108864", 14),
    ("0.268435456", 16),
    ("1.073741824", 18),
    ("4.294967296", 20),
    ("17.179869184", 22),
];

fn buckets(times: &Latencies) -> [Bucket<'static>; BOUNDS.len()] {
    let count = |bucket: usize| times.buckets.iter().take(bucket + 1).sum();
    let bound = |bucket: usize| Latencies::upper_bound(bucket.min(BUCKETS)).unwrap_or(u64::MAX);
    BOUNDS.map(|(text, bucket)| Bucket { text, bound: Value::Nanos(bound(bucket)), count: count(bucket) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_their_buckets() {
        for (text, bucket) in BOUNDS {
            let seconds = Latencies::upper_bound(bucket).unwrap() as f64 / 1e9;
            assert_eq!(text.parse(), Ok(seconds));
        }
        let times = Latencies { buckets: std::array::from_fn(|bucket| bucket as u64), ..Latencies::default() };
        let buckets = buckets(&times);
        assert_eq!((buckets[0].count, buckets[1].count, buckets[11].count), (0, 3, 253));
        assert_eq!(times.count(), 276);
    }
}
