//! Block device traffic.

use super::Reading;
use super::context::Source;
use super::cpu::read_pressure;
use super::devices::DeviceNames;
use crate::kernel::cgroup::v1::blkio::blkio_lines;
use crate::kernel::cgroup::v2::io::io_stat;
use crate::kernel::file::KeptFile;
use crate::kernel::odd_lines::OddLines;
use crate::sample::container::{DeviceIo, Io, IoStat};

/// Files of one I/O scheduler with the statistic each holds.
pub(super) type Group = &'static [(&'static str, IoStat)];

/// Of the groups the first counts whose first file is there. The first two count only where a device uses BFQ: their
/// files are there as soon as its module is, and then hide the traffic of all other devices.
const BFQ_GROUPS: usize = 2;
const GROUPS: [Group; 5] = [
    // BFQ with CONFIG_BFQ_CGROUP_DEBUG.
    &[
        ("blkio.bfq.sectors_recursive", IoStat::Sectors),
        ("blkio.bfq.io_service_time_recursive", IoStat::ServiceTime),
        ("blkio.bfq.io_wait_time_recursive", IoStat::WaitTime),
        ("blkio.bfq.io_merged_recursive", IoStat::Merged),
        ("blkio.bfq.io_queued_recursive", IoStat::Queued),
        ("blkio.bfq.time_recursive", IoStat::Time),
        ("blkio.bfq.io_serviced_recursive", IoStat::Serviced),
        ("blkio.bfq.io_service_bytes_recursive", IoStat::ServiceBytes),
    ],
    // BFQ, since 4.12.
    &[
        ("blkio.bfq.io_serviced_recursive", IoStat::Serviced),
        ("blkio.bfq.io_service_bytes_recursive", IoStat::ServiceBytes),
    ],
    // CFQ, until 5.0.
    &[
        ("blkio.sectors_recursive", IoStat::Sectors),
        ("blkio.io_service_time_recursive", IoStat::ServiceTime),
        ("blkio.io_wait_time_recursive", IoStat::WaitTime),
        ("blkio.io_merged_recursive", IoStat::Merged),
        ("blkio.io_queued_recursive", IoStat::Queued),
        ("blkio.time_recursive", IoStat::Time),
        ("blkio.io_serviced_recursive", IoStat::Serviced),
        ("blkio.io_service_bytes_recursive", IoStat::ServiceBytes),
    ],
    // Throttling, whichever scheduler; recursive since 4.13.
    &[
        ("blkio.throttle.io_serviced_recursive", IoStat::Serviced),
        ("blkio.throttle.io_service_bytes_recursive", IoStat::ServiceBytes),
    ],
    &[("blkio.throttle.io_serviced", IoStat::Serviced), ("blkio.throttle.io_service_bytes", IoStat::ServiceBytes)],
];

#[derive(Debug, Default)]
pub(super) struct IoFiles {
    stat: KeptFile,
    pressure: KeptFile,
    /// v1: the group that counts, with its files.
    group: Option<(Group, Vec<KeptFile>)>,
}

impl IoFiles {
    pub(super) fn each(&mut self, each: &mut impl FnMut(&mut KeptFile)) {
        each(&mut self.stat);
        each(&mut self.pressure);
        self.group.iter_mut().flat_map(|(_, files)| files).for_each(each);
    }

    pub(super) fn retry(&mut self) {
        // A group in which a file was read stays; the kernel does not take files away.
        self.group.take_if(|(_, files)| !files.iter().any(KeptFile::is_kept));
    }

    /// Whether the file of v2 is not there.
    pub(super) fn lacks_leading(&self) -> bool {
        self.stat.is_absent()
    }

    /// The files that were chosen on v1.
    pub(super) fn group(&self) -> Option<Group> {
        self.group.as_ref().map(|(group, _)| *group)
    }

    pub(super) fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Io> {
        let devices = match reading.ctx.sources.io? {
            Source::V1(position) => self.v1(reading, position),
            Source::V2(position) => self.v2(reading, position),
        };
        let pressure = read_pressure(reading, "io.pressure", &mut self.pressure);
        if devices.is_none() && pressure.is_none() {
            return None;
        }
        Some(Io { devices: devices.unwrap_or_default(), pressure })
    }

    fn v1(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Vec<DeviceIo>> {
        if self.group.is_none() {
            let skipped = if reading.ctx.machine.uses_bfq { 0 } else { BFQ_GROUPS };
            let is_there = |group: &&Group| {
                group.first().is_some_and(|(file, _)| reading.once(position, file, |_| Ok(())).is_some())
            };
            let group = *GROUPS[skipped..].iter().find(is_there)?;
            self.group = Some((group, group.iter().map(|_| KeptFile::default()).collect()));
        }
        let (group, files) = self.group.as_mut()?;
        let mut devices = Vec::new();
        let mut any = false;
        for ((file, stat), kept) in group.iter().zip(files) {
            let names = &reading.ctx.devices;
            let complete = devices.len();
            let read =
                reading.kept_lines(position, file, kept, |text, odd| blkio_file(text, odd, *stat, names, &mut devices));
            match read {
                Some(()) => any = true,
                None => devices.truncate(complete),
            }
        }
        any.then_some(devices)
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Vec<DeviceIo>> {
        let names = &reading.ctx.devices;
        reading.kept_lines(position, "io.stat", &mut self.stat, |text, odd| {
            let mut devices: Vec<DeviceIo> = Vec::new();
            io_stat(text, odd, |line| {
                let device = names.get(line.major, line.minor);
                let mut push = |stat, operations: Vec<(&'static str, Option<u64>)>| {
                    let operations: Vec<_> =
                        operations.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                    let (major, minor) = (line.major, line.minor);
                    let is_told = |device: &DeviceIo| (device.stat, device.major, device.minor) == (stat, major, minor);
                    if !operations.is_empty() && !devices.iter().any(is_told) {
                        devices.push(DeviceIo { stat, major, minor, device: device.clone(), operations });
                    }
                };
                push(
                    IoStat::ServiceBytes,
                    vec![("Read", line.rbytes), ("Write", line.wbytes), ("Discard", line.dbytes)],
                );
                push(IoStat::Serviced, vec![("Read", line.rios), ("Write", line.wios), ("Discard", line.dios)]);
                push(IoStat::CostUsage, vec![("Count", line.cost_usage)]);
                push(IoStat::CostWait, vec![("Count", line.cost_wait)]);
                push(IoStat::CostIndebt, vec![("Count", line.cost_indebt)]);
                push(IoStat::CostIndelay, vec![("Count", line.cost_indelay)]);
            });
            devices
        })
    }
}

/// Appends the devices of one v1 file; the lines of a device follow one another, and each operation counts once.
fn blkio_file(text: &[u8], odd: &mut OddLines, stat: IoStat, names: &DeviceNames, devices: &mut Vec<DeviceIo>) {
    for line in blkio_lines(text, odd) {
        let operation = (line.operation.name(), line.value);
        let known = devices.iter_mut().rev().take_while(|device| device.stat == stat);
        let mut known = known.filter(|device| (device.major, device.minor) == (line.major, line.minor));
        match known.next() {
            Some(device) if device.operations.iter().any(|(name, _)| *name == operation.0) => {}
            Some(device) => device.operations.push(operation),
            None => devices.push(DeviceIo {
                stat,
                major: line.major,
                minor: line.minor,
                device: names.get(line.major, line.minor),
                operations: vec![operation],
            }),
        }
    }
}
