//! How long requests to block devices waited and took: what cAdvisor does not have. Absent where the kind `blocklatency` is
//! off.

use crate::api::prometheus::doubling::Doubling;
use crate::api::prometheus::family::{Family, Group, Moment, Row};
use crate::api::prometheus::value::Text;
use crate::api::prometheus::writer::Writer;
use crate::sample::block_latency::{DeviceLatency, FIRST_EXPONENT, Latencies};
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
        out.histogram(&labels, Doubling { counts: &times.buckets, first: FIRST_EXPONENT, sum: times.total });
    }
}
