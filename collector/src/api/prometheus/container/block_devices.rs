//! Block devices: what the container's cgroup counts, and beside it what `/proc/diskstats` counts for the devices of its
//! file systems.
//!
//! Both have the device's name as their label, so where one device is both, the cgroup's own count is reported.

use crate::api::prometheus::family::{Context, Counted, Family, Group, Row};
use crate::api::prometheus::options::Profile;
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::Writer;
use crate::sample::container::{DeviceIo, Io, IoStat, Pressure};
use crate::sample::kinds::MetricKind::{DiskIo, Pressure as PressureKind};
use crate::sample::machine::DiskCounters;
use crate::sample::unread::Part;
use crate::units::Micros;

/// Of a container's devices so many are reported in the recommended profile.
const DEVICES: usize = 2;

pub(super) const FAMILIES: &[Family] = &[
    Family::counter("container_blkio_device_usage_total", "Bytes by block device and operation.", device_usage)
        .of(DiskIo, Group::DeviceDetails)
        .labels(&["device", "major", "minor", "operation"]),
    Family::counter("container_fs_reads_bytes_total", "Bytes read.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::ServiceBytes, "Read")), None, Value::Count);
    })
    .of(DiskIo, Group::Devices)
    .labels(&["device"])
    .recommended(),
    Family::counter("container_fs_writes_bytes_total", "Bytes written.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::ServiceBytes, "Write")), None, Value::Count);
    })
    .of(DiskIo, Group::Devices)
    .labels(&["device"])
    .recommended(),
    Family::counter("container_fs_reads_total", "Reads done.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::Serviced, "Read")), Some(|disk| disk.reads), Value::Count);
    })
    .of(DiskIo, Group::Devices)
    .labels(&["device"]),
    Family::counter("container_fs_writes_total", "Writes done.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::Serviced, "Write")), Some(|disk| disk.writes), Value::Count);
    })
    .of(DiskIo, Group::Devices)
    .labels(&["device"]),
    Family::counter("container_fs_reads_merged_total", "Reads merged with one that was queued.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::Merged, "Read")), Some(|disk| disk.reads_merged), Value::Count);
    })
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter("container_fs_writes_merged_total", "Writes merged with one that was queued.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::Merged, "Write")), Some(|disk| disk.writes_merged), Value::Count);
    })
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter("container_fs_sector_reads_total", "Sectors of 512 bytes read.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::Sectors, "Read")), Some(|disk| disk.sectors_read), Value::Count);
    })
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter("container_fs_sector_writes_total", "Sectors of 512 bytes written.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::Sectors, "Write")), Some(|disk| disk.sectors_written), Value::Count);
    })
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter("container_fs_read_seconds_total", "Time that all reads took together.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::ServiceTime, "Read")), Some(|disk| disk.read_ms), Value::Nanos);
    })
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter("container_fs_write_seconds_total", "Time that all writes took together.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::ServiceTime, "Write")), Some(|disk| disk.write_ms), Value::Nanos);
    })
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter("container_fs_io_time_seconds_total", "Time with any request under way.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::ServiceTime, "Total")), Some(|disk| disk.io_ms), Value::Nanos);
    })
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter(
        "container_fs_io_time_weighted_seconds_total",
        "Time that all requests took together, those under way included.",
        |row, ctx, out| devices(row, ctx, out, None, Some(|disk| disk.weighted_io_ms), Value::Nanos),
    )
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::gauge("container_fs_io_current", "Requests under way.", |row, ctx, out| {
        devices(row, ctx, out, Some((IoStat::Queued, "Total")), Some(|disk| disk.in_progress), Value::Count);
    })
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter(
        "container_fs_io_cost_usage_seconds_total",
        "Device time used, by the kernel's model of the device.",
        |row, ctx, out| cost(row, ctx, out, IoStat::CostUsage),
    )
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter(
        "container_fs_io_cost_wait_seconds_total",
        "Time waited for the right to use a device.",
        |row, ctx, out| cost(row, ctx, out, IoStat::CostWait),
    )
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter(
        "container_fs_io_cost_indebt_seconds_total",
        "Time in debt for requests that could not wait.",
        |row, ctx, out| cost(row, ctx, out, IoStat::CostIndebt),
    )
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter(
        "container_fs_io_cost_indelay_seconds_total",
        "Time that tasks were delayed to pay for requests that could not wait.",
        |row, ctx, out| cost(row, ctx, out, IoStat::CostIndelay),
    )
    .of(DiskIo, Group::DeviceDetails)
    .labels(&["device"]),
    Family::counter(
        "container_pressure_io_waiting_seconds_total",
        "Time in which at least one task waited for a block device.",
        |row, ctx, out| pressure(row, ctx, out, |pressure| Some(pressure.some?.total)),
    )
    .of(PressureKind, Group::Pressure)
    .recommended(),
    Family::counter(
        "container_pressure_io_stalled_seconds_total",
        "Time in which all tasks waited for a block device.",
        |row, ctx, out| pressure(row, ctx, out, |pressure| Some(pressure.full?.total)),
    )
    .of(PressureKind, Group::Pressure)
    .recommended(),
];

fn io<'a>(row: &Row<'a>) -> Option<&'a Io> {
    row.sample?.io.as_ref()
}

fn name(device: &DeviceIo) -> Text<'_> {
    // Several devices without a name must not share one.
    if device.device.is_empty() { Text::Device(device.major, device.minor) } else { Text::Is(&device.device) }
}

fn same(one: &DeviceIo, other: &DeviceIo) -> bool {
    if one.device.is_empty() {
        other.device.is_empty() && (one.major, one.minor) == (other.major, other.minor)
    } else {
        one.device == other.device
    }
}

/// The devices that a statistic reports, each name once.
fn of_statistic(io: &Io, stat: IoStat) -> impl Iterator<Item = &DeviceIo> {
    let before = move |position: usize, device: &DeviceIo| {
        io.devices[..position].iter().any(|other| other.stat == stat && same(other, device))
    };
    let devices = io.devices.iter().enumerate().filter(move |(_, device)| device.stat == stat);
    devices.filter(move |(position, device)| !before(*position, device)).map(|(_, device)| device)
}

fn operation(device: &DeviceIo, operation: &str) -> Option<u64> {
    device.operations.iter().find(|(name, _)| *name == operation).map(|(_, value)| *value)
}

fn device_usage(row: &Row<'_>, _: &Context<'_>, out: &mut Writer<'_>) {
    let Some(io) = io(row) else { return };
    let bytes = || io.devices.iter().filter(|device| device.stat == IoStat::ServiceBytes);
    for (position, device) in bytes().enumerate() {
        let mut before = bytes().take(position);
        if before.any(|other| (other.major, other.minor) == (device.major, device.minor)) {
            continue;
        }
        let [major, minor] = [device.major, device.minor].map(|number| Text::Number(number.into()));
        for (operation, value) in &device.operations {
            let labels = [
                ("device", Text::Is(&device.device)),
                ("major", major),
                ("minor", minor),
                ("operation", Text::Is(operation)),
            ];
            out.with(&labels, *value);
        }
    }
}

/// One operation of a statistic by device, and what `/proc/diskstats` has of the file systems' devices, there times in
/// milliseconds.
fn devices(
    row: &Row<'_>,
    ctx: &Context<'_>,
    out: &mut Writer<'_>,
    of_cgroup: Option<(IoStat, &str)>,
    of_disk: Option<fn(&DiskCounters) -> u64>,
    value: fn(u64) -> Value,
) {
    // cAdvisor's lists of the two are reported together or not at all, but for the one that no cgroup has.
    let io = match (io(row), of_cgroup) {
        (None, Some(_)) => return,
        (io, _) => io,
    };
    let reported = of_cgroup.and_then(|(stat, _)| Some((io?, stat)));
    if let (Some((io, stat)), Some((_, name_of_operation))) = (reported, of_cgroup) {
        for device in ctx.at_most(DEVICES, of_statistic(io, stat), out) {
            match (operation(device, name_of_operation), ctx.profile) {
                (Some(count), _) => out.with(&[("device", name(device))], value(count)),
                // The kernel has none such, unless its line could not be read.
                (None, Profile::Compatible) if !row.sample.is_some_and(|sample| sample.unread.has(Part::Io)) => {
                    out.with(&[("device", name(device))], Value::Count(0));
                }
                (None, Profile::Compatible | Profile::Recommended) => {}
            }
        }
    }
    // A device counts for everybody on it: no number of this container's.
    let (Some(of_disk), Profile::Compatible) = (of_disk, ctx.profile) else { return };
    for filesystem in &row.filesystems {
        let own =
            reported.is_some_and(|(io, stat)| of_statistic(io, stat).any(|other| *other.device == *filesystem.device));
        if own {
            continue;
        }
        // A file system without a block device has none; of a block device the line could not be read.
        let count = match (&filesystem.disk, filesystem.counted) {
            (Some(disk), _) => of_disk(disk),
            (None, Counted::No) => 0,
            (None, Counted::Yes) => continue,
        };
        let reported = match value(count) {
            Value::Nanos(millis) => Value::Millis(millis),
            other => other,
        };
        out.with(&[("device", Text::Is(filesystem.device))], reported);
    }
}

fn cost(row: &Row<'_>, _: &Context<'_>, out: &mut Writer<'_>, stat: IoStat) {
    for device in io(row).into_iter().flat_map(|io| of_statistic(io, stat)) {
        if let Some(micros) = operation(device, "Count") {
            out.with(&[("device", name(device))], Micros(micros));
        }
    }
}

fn pressure(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>, get: impl FnOnce(&Pressure) -> Option<Micros>) {
    let Some(sample) = row.sample else { return };
    if let Some(io) = &sample.io {
        ctx.value(sample, &[Part::IoPressure], io.pressure.as_ref().and_then(get), out);
    }
}
