//! Pressure files, which several families have.

use super::{Reading, Rows, fields, flat};
use crate::kernel::cgroup::{Version, v2};
use crate::kernel::file::KeptFile;
use crate::kernel::probes::counters::plan::Stalled;
use crate::reader::container::rows::Section;
use crate::reader::container::rows::keys::{Keys, key};
use crate::sample::container::{Pressure, PressureRow};
use crate::sample::kinds::MetricKind;
use crate::sample::statistic::Absence;
use crate::units::Micros;

/// The file of what is waited for.
const fn file_of(stalled: Stalled) -> &'static str {
    match stalled {
        Stalled::Cpu => "cpu.pressure",
        Stalled::Memory => "memory.pressure",
        Stalled::Io => "io.pressure",
    }
}

/// Pressure in the default hierarchy, which also exists beside v1 controllers.
pub(super) fn read(reading: &mut Reading<'_>, stalled: Stalled, kept: &mut KeptFile) -> Option<Pressure> {
    if let Some(counted) = counted(reading, stalled) {
        return Some(counted);
    }
    let position = reading.ctx.sources.pressure?;
    let pressure = reading.kept_lines(position, file_of(stalled), kept, v2::pressure::Pressure::parse)?;
    let pressure = Pressure { some: pressure.some.map(row), full: pressure.full.map(row) };
    (pressure != Pressure::default()).then_some(pressure)
}

/// The same from kernel memory.
pub(super) fn counted(reading: &mut Reading<'_>, stalled: Stalled) -> Option<Pressure> {
    reading.ctx.sources.pressure?;
    reading.counted_pressure(stalled)
}

/// Has the kernel add up a cgroup's pressure, which it otherwise does every two seconds: reading one of the files does, and
/// for all three.
pub(in crate::reader::container) fn add_up(reading: &mut Reading<'_>, of_cpu: &mut KeptFile) {
    if let Some(position) = reading.ctx.sources.pressure {
        reading.kept(position, file_of(Stalled::Cpu), of_cpu, |_| Ok(()));
    }
}

fn row(row: v2::pressure::PressureRow) -> PressureRow {
    let v2::pressure::PressureRow { avg10, avg60, avg300, total } = row;
    PressureRow { total: Micros(total), avg10, avg60, avg300 }
}

/// The file's name comes with the first kernel that has its row `full`.
pub(super) fn explain(
    rows: &mut Rows<'_>,
    names: [&'static str; 2],
    (file, full_since): (&'static str, &'static str),
    pressure: Option<&Pressure>,
) {
    let section = match rows.reading.ctx.sources.pressure {
        Some(position) => rows.at(Version::V2, position, None),
        None => Section::absent(rows.when(MetricKind::Pressure).err().unwrap_or(Absence::NoCgroup2)),
    };
    fields!(pressure => Pressure { some, full });
    rows.add(names[0], flat(some), &section, Keys::NONE, [key(file, "some").since("4.20")]);
    rows.add(names[1], flat(full), &section, Keys::NONE, [key(file, "full").since(full_since)]);
}
