//! Reads now and then what the programs about the block layer counted, and gives each container its part.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use tracing::info;

use super::kind_reader;
use crate::bounds::Bound;
use crate::config::Config;
use crate::degradations::Degradations;
use crate::kernel::cgroup::Version;
use crate::kernel::probes::block_latency::{
    BlockLatencies, BlockOperation, BlockRow, BlockTimes, FIRST_LATENCY_EXPONENT, LATENCY_BUCKETS,
};
use crate::sample::block_latency::{BlockLatency, DeviceLatency, FIRST_EXPONENT, Latencies, Operation};
use crate::sample::doubling::BUCKETS;
use crate::sample::kinds::MetricKind;
use crate::sampler::engine::Engine;
use crate::supervisor::Supervisor;
use crate::units::Nanos;

/// Whose cgroups requests are counted for.
const CONTROLLER: &str = "blkio";

// The programs' buckets are those of the samples.
const _: () = assert!(BUCKETS == LATENCY_BUCKETS && FIRST_EXPONENT == FIRST_LATENCY_EXPONENT);

/// Loads the programs where the kind is switched on, and starts the thread that reads them. Without them the collector goes
/// on.
pub(super) fn start(
    config: &Config,
    engine: &Arc<Engine>,
    degradations: &Degradations,
    supervisor: &Supervisor,
) -> io::Result<()> {
    if !config.kinds.has(MetricKind::BlockLatency) {
        return Ok(());
    }
    let hierarchy = kind_reader::hierarchy(engine.context().hierarchies(), CONTROLLER);
    let version = hierarchy.map_or(Version::V2, |hierarchy| hierarchy.version);
    let latencies = match BlockLatencies::load(&config.roots, version) {
        Ok(latencies) => latencies,
        Err(without) => {
            degradations.set(&without.kind.facility(), &without);
            return Ok(());
        }
    };
    info!(map_bytes = latencies.map_bytes(), "block latency: the programs are attached");
    let mut reader = BlockLatencyReader { latencies, unlisted: HashSet::new(), left_out: None };
    kind_reader::start("block-latency", engine, supervisor, move |engine| reader.read(engine))
}

struct BlockLatencyReader {
    latencies: BlockLatencies,
    /// Cgroups with rows that were not listed the last time: one that was just made may be listed in a moment.
    unlisted: HashSet<u64>,
    /// Requests that were not counted, as last seen.
    left_out: Option<u64>,
}

impl BlockLatencyReader {
    fn read(&mut self, engine: &Engine) -> io::Result<()> {
        let context = engine.context();
        let hierarchy = kind_reader::hierarchy(context.hierarchies(), CONTROLLER);
        let containers = kind_reader::containers_by_id(engine, hierarchy);
        let unlisted = &self.unlisted;
        let rows = self.latencies.read(|id| unlisted.contains(&id) && !containers.contains_key(&id))?;
        self.unlisted = rows.keys().filter(|id| !containers.contains_key(id)).copied().collect();
        for (id, rows) in rows {
            if let Some(container) = containers.get(&id) {
                container.set_block_latency(latency(rows, |major, minor| context.devices().get(major, minor)));
            }
        }
        let left_out = self.latencies.left_out();
        if let Some(more) = self.left_out.and_then(|before| left_out.checked_sub(before)) {
            Bound::BlockLatencyRequests.exceeded_by(more);
        }
        self.left_out = Some(left_out);
        Ok(())
    }
}

fn latency(rows: Vec<BlockRow>, name: impl Fn(u32, u32) -> Arc<str>) -> BlockLatency {
    let mut devices: Vec<DeviceLatency> = rows.into_iter().map(|row| device(row, &name)).collect();
    devices.sort_unstable_by(|one, other| {
        let key = |device: &DeviceLatency| (device.major, device.minor, device.operation);
        one.device.cmp(&other.device).then_with(|| key(one).cmp(&key(other)))
    });
    BlockLatency(devices)
}

fn device(row: BlockRow, name: impl Fn(u32, u32) -> Arc<str>) -> DeviceLatency {
    let BlockRow { major, minor, operation, by_task, queued, served } = row;
    let operation = match operation {
        BlockOperation::Read => Operation::Read,
        BlockOperation::Write => Operation::Write,
        BlockOperation::Discard => Operation::Discard,
    };
    let times = |BlockTimes { total, buckets }| Latencies { total: Nanos(total), buckets };
    let (queued, served) = (times(queued), times(served));
    DeviceLatency { device: name(major, minor), major, minor, operation, by_task, queued, served }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_and_sorted() {
        let row = |minor, operation| BlockRow {
            major: 8,
            minor,
            operation,
            by_task: 1,
            queued: BlockTimes { total: 5, ..BlockTimes::default() },
            served: BlockTimes { total: 7, ..BlockTimes::default() },
        };
        let rows = vec![
            row(16, BlockOperation::Read),
            row(0, BlockOperation::Write),
            row(32, BlockOperation::Read),
            row(0, BlockOperation::Read),
        ];
        let name = |_, minor| Arc::from(["/dev/sda", "/dev/sdb"].get(minor as usize / 16).copied().unwrap_or_default());
        let found = latency(rows, name);
        let shown: Vec<_> = found.0.iter().map(|row| (&*row.device, row.minor, row.operation.name())).collect();
        let expected = [("", 32, "Read"), ("/dev/sda", 0, "Read"), ("/dev/sda", 0, "Write"), ("/dev/sdb", 16, "Read")];
        assert_eq!(shown, expected);
        assert_eq!((found.0[0].queued.total, found.0[0].served.total), (Nanos(5), Nanos(7)));
    }
}
