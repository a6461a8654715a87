//! Block device traffic.

use super::{Family, Mounted, Place, Reading, Rows, fields, flat, pressure};
use crate::kernel::cgroup::v1::blkio::blkio_lines;
use crate::kernel::cgroup::v2::io::io_stat;
use crate::kernel::file::KeptFile;
use crate::kernel::odd_lines::OddLines;
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::plan::Stalled;
use crate::reader::container::devices::DeviceNames;
use crate::reader::container::rows::keys::{Keys, key, whole};
use crate::sample::container::{DeviceIo, Io, IoStat, Sample};
use crate::sample::kinds::MetricKind;
use crate::sample::spec::Spec;
use crate::sample::statistic::{Absence, Value};

/// Files of one I/O scheduler with the statistic each holds.
type Group = &'static [(&'static str, IoStat)];

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
pub(in crate::reader::container) struct IoFiles {
    stat: KeptFile,
    pressure: KeptFile,
    /// v1: the group that counts, with its files.
    group: Option<(Group, Vec<KeptFile>)>,
    /// Kernel memory had that no device was used, and the files were not looked at.
    is_unused: bool,
}

impl Family for IoFiles {
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        mounted.wanted(MetricKind::DiskIo, "blkio")
    }

    fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        each(&mut self.stat);
        each(&mut self.pressure);
        self.group.iter_mut().flat_map(|(_, files)| files).for_each(each);
    }

    fn release(&mut self, is_taken: &dyn Fn(CounterFamily) -> bool) {
        if self.is_unused {
            self.group.iter_mut().flat_map(|(_, files)| files).for_each(KeptFile::release);
            self.stat.release();
        }
        if is_taken(CounterFamily::Cgroup) {
            self.pressure.release();
        }
    }

    fn retry(&mut self) {
        // A group in which a file was read stays; the kernel does not take files away.
        self.group.take_if(|(_, files)| !files.iter().any(KeptFile::is_kept));
    }

    fn lacks_leading(&self) -> bool {
        // That of v2.
        self.stat.is_absent()
    }

    fn read(&mut self, place: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        sample.io = self.sample(place, reading);
    }

    fn limits(&mut self, place: Option<Place>, reading: &mut Reading<'_>, spec: &mut Spec) {
        let is_member = |position: usize| reading.hierarchy(position).is_some();
        let on_v2 = reading.ctx.sources.unified_only.is_some_and(is_member);
        spec.has_diskio = on_v2 || matches!(place, Some(Place::V1(position)) if is_member(position));
    }

    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        self.explain(place, rows, sample.io.as_ref());
    }
}

impl IoFiles {
    fn sample(&mut self, place: Option<Place>, reading: &mut Reading<'_>) -> Option<Io> {
        self.is_unused = reading.used_no_device();
        let devices = match place? {
            _ if self.is_unused => Some(Vec::new()),
            Place::V1(position) => self.v1(reading, position),
            Place::V2(position) => self.v2(reading, position),
            Place::Kernel(_) => return None,
        };
        let pressure = pressure::read(reading, Stalled::Io, &mut self.pressure);
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
                    let is_reported =
                        |device: &DeviceIo| (device.stat, device.major, device.minor) == (stat, major, minor);
                    if !operations.is_empty() && !devices.iter().any(is_reported) {
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

/// The name of a block device statistic, its keys on v2, and the statistic after it, so that none is forgotten.
fn row_of(stat: IoStat) -> (&'static str, &'static [&'static str], Option<IoStat>) {
    match stat {
        IoStat::ServiceBytes => ("io.service_bytes", &["rbytes", "wbytes", "dbytes"], Some(IoStat::Serviced)),
        IoStat::Serviced => ("io.serviced", &["rios", "wios", "dios"], Some(IoStat::Queued)),
        IoStat::Queued => ("io.queued", &[], Some(IoStat::Sectors)),
        IoStat::Sectors => ("io.sectors", &[], Some(IoStat::ServiceTime)),
        IoStat::ServiceTime => ("io.service_time", &[], Some(IoStat::WaitTime)),
        IoStat::WaitTime => ("io.wait_time", &[], Some(IoStat::Merged)),
        IoStat::Merged => ("io.merged", &[], Some(IoStat::Time)),
        IoStat::Time => ("io.time", &[], Some(IoStat::CostUsage)),
        IoStat::CostUsage => ("io.cost.usage", &["cost.usage"], Some(IoStat::CostWait)),
        IoStat::CostWait => ("io.cost.wait", &["cost.wait"], Some(IoStat::CostIndebt)),
        IoStat::CostIndebt => ("io.cost.indebt", &["cost.indebt"], Some(IoStat::CostIndelay)),
        IoStat::CostIndelay => ("io.cost.indelay", &["cost.indelay"], None),
    }
}

impl IoFiles {
    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, io: Option<&Io>) {
        let section = rows.section(place, MetricKind::DiskIo, "blkio", Some("io"));
        fields!(io => Io { devices, pressure });
        let mut next = Some(IoStat::ServiceBytes);
        while let Some(wanted) = next {
            let (name, v2_words, after) = row_of(wanted);
            next = after;
            let mut values = Vec::new();
            for DeviceIo { stat, major, minor, device, operations } in devices.into_iter().flatten() {
                if *stat == wanted {
                    let device = if device.is_empty() { format!("{major}:{minor}") } else { device.to_string() };
                    let operations =
                        operations.iter().map(|(operation, value)| ((*operation).to_owned(), value.into()));
                    values.push((device, Value::Named(operations.collect())));
                }
            }
            let is_cost = wanted >= IoStat::CostUsage;
            let in_group = self
                .group
                .as_ref()
                .map(|(group, _)| *group)
                .and_then(|group| group.iter().find(|(_, stat)| *stat == wanted));
            let v1 = in_group.map_or(Keys::NONE, |(file, _)| [whole(file)].into());
            // A device without traffic has no keys; those of the iocost policy are there as soon as it is switched on.
            let word = |word: &&'static str| if is_cost { key("io.stat", word) } else { key("io.stat", word).sparse() };
            let v2 = if v2_words.is_empty() { Keys::NONE } else { Keys(vec![v2_words.iter().map(word).collect()]) };
            if !is_cost && in_group.is_none() && section.is_v1() {
                rows.push(name, None, Err(Absence::Scheduler));
            } else {
                // No device at all is an answer too, where traffic would be counted.
                let answers = !is_cost && (in_group.is_some() || !v2_words.is_empty());
                let found = !values.is_empty() || (devices.is_some() && answers);
                rows.add_value(name, found.then_some(Value::Named(values)), &section, v1, v2);
            }
        }
        pressure::explain(rows, ["io.pressure.some", "io.pressure.full"], ("io.pressure", "4.20"), flat(pressure));
    }
}
