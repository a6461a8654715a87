//! How long requests to block devices waited and took: what cAdvisor does not have. Absent where the kind `blocklatency` is
//! off.

use super::doubling;
use crate::api::prometheus::family::{Family, Group, Moment, Row};
use crate::api::prometheus::value::Text;
use crate::api::prometheus::writer::{Bucket, Writer};
use crate::sample::block_latency::{DeviceLatency, Latencies};
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

fn buckets(times: &Latencies) -> [Bucket<'static>; doubling::REPORTED] {
    doubling::buckets(&times.buckets, Latencies::upper_bound, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_their_buckets() {
        let times = Latencies { buckets: std::array::from_fn(|bucket| bucket as u64), ..Latencies::default() };
        let buckets = buckets(&times);
        doubling::check(&buckets);
        assert_eq!((buckets[0].count, buckets[1].count, buckets[11].count), (0, 3, 253));
        assert_eq!(times.count(), 276);
    }
}
