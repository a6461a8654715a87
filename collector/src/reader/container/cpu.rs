//! CPU time, bandwidth control and CPU pressure.

use super::Reading;
use super::context::CpuSource;
use crate::kernel::cgroup::v1::cpuacct::{CpuacctStat, usage_percpu};
use crate::kernel::cgroup::{v1, v2};
use crate::kernel::file::KeptFile;
use crate::kernel::text_formats::unsigned;
use crate::sample::container::{Cfs, Cpu, Pressure, PressureRow};
use crate::sample::kinds::MetricKind;
use crate::sample::unread::Part;
use crate::units::{Micros, Nanos};

/// `cpuacct.stat` counts in hundredths of a second on every architecture.
const NANOS_PER_TICK: u64 = 10_000_000;

#[derive(Debug, Default)]
pub(super) struct CpuFiles {
    usage: KeptFile,
    per_cpu: KeptFile,
    user_and_system: KeptFile,
    stat: KeptFile,
    pressure: KeptFile,
}

impl CpuFiles {
    pub(super) fn each(&mut self, each: &mut impl FnMut(&mut KeptFile)) {
        let Self { usage, per_cpu, user_and_system, stat, pressure } = self;
        [usage, per_cpu, user_and_system, stat, pressure].into_iter().for_each(each);
    }

    pub(super) fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Cpu> {
        let (total, mut cpu) = match reading.ctx.sources.cpu? {
            CpuSource::V1 { cpuacct, cpu, .. } if reading.hierarchy(cpuacct).is_some() => {
                self.v1(reading, cpuacct, cpu)
            }
            // A cgroup that is only in cgroup2, beside v1: its cpu.stat counts time without any controller.
            CpuSource::V1 { unified, .. } => self.v2(reading, unified?),
            CpuSource::V2(position) => self.v2(reading, position),
        };
        cpu.pressure = read_pressure(reading, "cpu.pressure", &mut self.pressure);
        // A cgroup that ended while it was read has no half of a sample.
        let is_known = total.is_some() || (cpu != Cpu::default() && reading.gone == 0);
        match total {
            // The list of the CPUs may be odd, and the sum be read elsewhere.
            Some(_) => reading.unread.remove(Part::CpuTotal),
            None if is_known => reading.unread.add(Part::CpuTotal),
            None => {}
        }
        cpu.total = total.unwrap_or_default();
        is_known.then_some(cpu)
    }

    fn v1(&mut self, reading: &mut Reading<'_>, cpuacct: usize, cpu: Option<usize>) -> (Option<Nanos>, Cpu) {
        // The kernel sums the same per-CPU counters up for cpuacct.usage: one file less to read.
        let mut per_cpu = if reading.ctx.kinds.has(MetricKind::PerCpu) {
            let mut list = Vec::with_capacity(reading.ctx.machine.cpus);
            reading.kept(cpuacct, "cpuacct.usage_percpu", &mut self.per_cpu, |text| {
                usage_percpu(text, |time| list.push(Nanos(time)))?;
                Ok(list)
            })
        } else {
            None
        };
        let total = match &per_cpu {
            Some(list) => Some(list.iter().fold(0_u64, |sum, time| sum.saturating_add(time.0))),
            None => reading.kept(cpuacct, "cpuacct.usage", &mut self.usage, unsigned),
        };
        if let Some(list) = &mut per_cpu {
            leave_out_absent_cpus(list, reading.ctx.machine.present_cpus);
        }
        let split = reading.kept_lines(cpuacct, "cpuacct.stat", &mut self.user_and_system, CpuacctStat::parse);
        let ticks = |ticks: u64| Nanos(ticks.saturating_mul(NANOS_PER_TICK));
        let parse = v1::cpu::CpuStat::parse;
        let cfs = cpu.and_then(|position| reading.kept_lines(position, "cpu.stat", &mut self.stat, parse));
        let cpu = Cpu {
            user: split.and_then(|split| split.user).map(ticks),
            system: split.and_then(|split| split.system).map(ticks),
            per_cpu,
            cfs: cfs.filter(|stat| *stat != v1::cpu::CpuStat::default()).map(|stat| Cfs {
                periods: stat.nr_periods,
                throttled_periods: stat.nr_throttled,
                throttled_time: stat.throttled_time.map(Nanos),
                burst_periods: stat.nr_bursts,
                burst_time: stat.burst_time.map(Nanos),
            }),
            ..Cpu::default()
        };
        (total.map(Nanos), cpu)
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize) -> (Option<Nanos>, Cpu) {
        let stat = reading.kept_lines(position, "cpu.stat", &mut self.stat, v2::cpu::CpuStat::parse);
        let stat = stat.unwrap_or_default();
        // The kernel scales the two so that their sum is the whole.
        let sum = || Some(stat.user_usec?.saturating_add(stat.system_usec?));
        let total = stat.usage_usec.or_else(sum);
        let nanos = |micros| Nanos::from(Micros(micros));
        let cpu = Cpu {
            user: stat.user_usec.map(nanos),
            system: stat.system_usec.map(nanos),
            cfs: stat.bandwidth.map(|bandwidth| Cfs {
                periods: bandwidth.nr_periods,
                throttled_periods: bandwidth.nr_throttled,
                throttled_time: bandwidth.throttled_usec.map(nanos),
                burst_periods: bandwidth.nr_bursts,
                burst_time: bandwidth.burst_usec.map(nanos),
            }),
            ..Cpu::default()
        };
        (total.map(nanos), cpu)
    }
}

/// The kernel lists every CPU that there may ever be; those beyond the last that is there are left out, unless one was
/// used before it was taken away.
fn leave_out_absent_cpus(list: &mut Vec<Nanos>, present: Option<usize>) {
    let used = list.iter().rposition(|time| time.0 > 0).map_or(0, |last| last + 1);
    if let Some(present) = present {
        list.truncate(present.max(used));
    }
}

/// A pressure file of the default hierarchy, which also exists beside v1 controllers.
pub(super) fn read_pressure(reading: &mut Reading<'_>, file: &'static str, kept: &mut KeptFile) -> Option<Pressure> {
    let position = reading.ctx.sources.pressure?;
    let pressure = reading.kept_lines(position, file, kept, v2::pressure::Pressure::parse)?;
    let pressure = Pressure { some: pressure.some.map(row), full: pressure.full.map(row) };
    (pressure != Pressure::default()).then_some(pressure)
}

fn row(row: v2::pressure::PressureRow) -> PressureRow {
    let v2::pressure::PressureRow { avg10, avg60, avg300, total } = row;
    PressureRow { total: Micros(total), avg10, avg60, avg300 }
}
