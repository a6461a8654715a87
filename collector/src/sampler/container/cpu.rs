//! CPU time, bandwidth control and CPU pressure.

use super::Reading;
use super::context::CpuSource;
use crate::kernel::cgroup::v1::cpuacct::{CpuacctStat, usage_percpu};
use crate::kernel::cgroup::{v1, v2};
use crate::kernel::file::KeptFile;
use crate::kernel::text_formats::unsigned;
use crate::sample::container::{Cfs, Cpu, Pressure, PressureRow};
use crate::sample::kinds::MetricKind;
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
        let mut cpu = match reading.ctx.sources.cpu? {
            CpuSource::V1 { cpuacct, cpu, .. } if reading.hierarchy(cpuacct).is_some() => {
                self.v1(reading, cpuacct, cpu)?
            }
            // A cgroup that is only in cgroup2, beside v1: its cpu.stat counts time without any controller.
            CpuSource::V1 { unified, .. } => self.v2(reading, unified?)?,
            CpuSource::V2(position) => self.v2(reading, position)?,
        };
        cpu.pressure = read_pressure(reading, "cpu.pressure", &mut self.pressure);
        Some(cpu)
    }

    fn v1(&mut self, reading: &mut Reading<'_>, cpuacct: usize, cpu: Option<usize>) -> Option<Cpu> {
        // The kernel sums the same per-CPU counters up for cpuacct.usage: one file less to read.
        let per_cpu = if reading.ctx.kinds.has(MetricKind::PerCpu) {
            let mut list = Vec::with_capacity(reading.ctx.machine.cpus);
            reading.kept(cpuacct, "cpuacct.usage_percpu", &mut self.per_cpu, |text| {
                usage_percpu(text, |time| list.push(Nanos(time)))?;
                Ok(list)
            })
        } else {
            None
        };
        let total = match &per_cpu {
            Some(list) => list.iter().fold(0_u64, |sum, time| sum.saturating_add(time.0)),
            None => reading.kept(cpuacct, "cpuacct.usage", &mut self.usage, unsigned)?,
        };
        let split = reading.kept(cpuacct, "cpuacct.stat", &mut self.user_and_system, CpuacctStat::parse);
        let ticks = |ticks: u64| Nanos(ticks.saturating_mul(NANOS_PER_TICK));
        let cfs = cpu.and_then(|position| reading.kept(position, "cpu.stat", &mut self.stat, v1::cpu::CpuStat::parse));
        Some(Cpu {
            total: Nanos(total),
            user: split.map(|split| ticks(split.user)),
            system: split.map(|split| ticks(split.system)),
            per_cpu,
            cfs: cfs.map(|stat| Cfs {
                periods: stat.nr_periods,
                throttled_periods: stat.nr_throttled,
                throttled_time: Nanos(stat.throttled_time),
                burst_periods: stat.nr_bursts,
                burst_time: stat.burst_time.map(Nanos),
            }),
            ..Cpu::default()
        })
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize) -> Option<Cpu> {
        let stat = reading.kept(position, "cpu.stat", &mut self.stat, v2::cpu::CpuStat::parse)?;
        Some(Cpu {
            total: Micros(stat.usage_usec).into(),
            user: Some(Micros(stat.user_usec).into()),
            system: Some(Micros(stat.system_usec).into()),
            cfs: stat.bandwidth.map(|bandwidth| Cfs {
                periods: bandwidth.nr_periods,
                throttled_periods: bandwidth.nr_throttled,
                throttled_time: Micros(bandwidth.throttled_usec).into(),
                burst_periods: bandwidth.nr_bursts,
                burst_time: bandwidth.burst_usec.map(|time| Micros(time).into()),
            }),
            ..Cpu::default()
        })
    }
}

/// A pressure file of the default hierarchy, which also exists beside v1 controllers.
pub(super) fn read_pressure(reading: &mut Reading<'_>, file: &'static str, kept: &mut KeptFile) -> Option<Pressure> {
    let position = reading.ctx.sources.pressure?;
    let pressure = reading.kept(position, file, kept, v2::pressure::Pressure::parse)?;
    Some(Pressure { some: row(pressure.some?), full: pressure.full.map(row) })
}

fn row(row: v2::pressure::PressureRow) -> PressureRow {
    let v2::pressure::PressureRow { avg10, avg60, avg300, total } = row;
    PressureRow { total: Micros(total), avg10, avg60, avg300 }
}
