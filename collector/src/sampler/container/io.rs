//! Block device traffic.

use super::Reading;
use super::context::Source;
use super::cpu::read_pressure;
use super::devices::DeviceNames;
use crate::kernel::cgroup::v1::blkio::blkio_lines;
use crate::kernel::cgroup::v2::io::io_stat;
use crate::kernel::file::KeptFile;
use crate::kernel::text_formats::FormatError;
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
            let read = reading.kept(position, file, kept, |text| blkio_file(text, *stat, names, &mut devices));
            match read {
                Some(()) => any = true,
                None => devices.truncate(complete),
            }
        }
        any.then_some(devices)
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Vec<DeviceIo>> {
        let names = &reading.ctx.devices;
        reading.kept(position, "io.stat", &mut self.stat, |text| {
            let mut devices = Vec::new();
            io_stat(text, |line| {
                let device = names.get(line.major, line.minor);
                let mut push = |stat, operations: Vec<(&'static str, Option<u64>)>| {
                    let operations: Vec<_> =
                        operations.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                    if !operations.is_empty() {
                        let (major, minor) = (line.major, line.minor);
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
            })?;
            Ok(devices)
        })
    }
}

/// Appends the devices of one v1 file; the lines of a device follow one another.
fn blkio_file(text: &[u8], stat: IoStat, names: &DeviceNames, devices: &mut Vec<DeviceIo>) -> Result<(), FormatError> {
    for line in blkio_lines(text) {
        let line = line?;
        let operation = (line.operation.name(), line.value);
        match devices.last_mut() {
            Some(last) if (last.stat, last.major, last.minor) == (stat, line.major, line.minor) => {
                last.operations.push(operation);
            }
            _ => devices.push(DeviceIo {
                stat,
                major: line.major,
                minor: line.minor,
                device: names.get(line.major, line.minor),
                operations: vec![operation],
            }),
        }
    }
    Ok(())
}
