//! CPU time, bandwidth control, scheduling, load and CPU pressure.

use crate::api::prometheus::family::{Context, Family, Group, Row};
use crate::api::prometheus::options::Profile;
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::Writer;
use crate::sample::container::{Cfs, Load, Pressure, Schedstat, TaskStates};
use crate::sample::kinds::MetricKind::{Cpu, CpuLoad, Pressure as PressureKind, Sched};
use crate::sample::unread::Part;
use crate::units::Micros;

pub(super) const FAMILIES: &[Family] = &[
    Family::counter("container_cpu_usage_seconds_total", "CPU time used.", usage)
        .of(Cpu, Group::Core)
        .labels(&["cpu"])
        .recommended(),
    Family::counter("container_cpu_user_seconds_total", "CPU time used in user mode.", |row, ctx, out| {
        ctx.cpu(row, out, SPLIT, |cpu| cpu.user);
    })
    .of(Cpu, Group::Core)
    .recommended(),
    Family::counter("container_cpu_system_seconds_total", "CPU time used in the kernel.", |row, ctx, out| {
        ctx.cpu(row, out, SPLIT, |cpu| cpu.system);
    })
    .of(Cpu, Group::Core)
    .recommended(),
    Family::counter(
        "container_cpu_cfs_periods_total",
        "Enforcement periods that have passed while the container was runnable.",
        |row, ctx, out| cfs(row, ctx, out, |cfs| cfs.periods),
    )
    .of(Cpu, Group::Limits)
    .recommended(),
    Family::counter(
        "container_cpu_cfs_throttled_periods_total",
        "Enforcement periods in which the container was held back.",
        |row, ctx, out| cfs(row, ctx, out, |cfs| cfs.throttled_periods),
    )
    .of(Cpu, Group::Limits)
    .recommended(),
    Family::counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Time for which the container's tasks were held back.",
        |row, ctx, out| cfs(row, ctx, out, |cfs| cfs.throttled_time),
    )
    .of(Cpu, Group::Limits)
    .recommended(),
    Family::counter(
        "container_cpu_cfs_burst_periods_total",
        "Enforcement periods in which the container used saved-up time.",
        |row, ctx, out| cfs(row, ctx, out, |cfs| cfs.burst_periods),
    )
    .of(Cpu, Group::Limits),
    Family::counter(
        "container_cpu_cfs_burst_seconds_total",
        "Saved-up CPU time used beyond the quota.",
        |row, ctx, out| cfs(row, ctx, out, |cfs| cfs.burst_time),
    )
    .of(Cpu, Group::Limits),
    Family::counter(
        "container_cpu_schedstat_run_seconds_total",
        "Time that the container's processes were on a CPU.",
        |row, ctx, out| schedstat(row, ctx, out, |stat| stat.run_time),
    )
    .of(Sched, Group::Tasks),
    Family::counter(
        "container_cpu_schedstat_runqueue_seconds_total",
        "Time that the container's processes waited for a CPU.",
        |row, ctx, out| schedstat(row, ctx, out, |stat| stat.runqueue_time),
    )
    .of(Sched, Group::Tasks),
    Family::counter(
        "container_cpu_schedstat_run_periods_total",
        "Times that the container's processes were put on a CPU.",
        |row, ctx, out| schedstat(row, ctx, out, |stat| stat.run_periods),
    )
    .of(Sched, Group::Tasks),
    Family::gauge(
        "container_cpu_load_average_10s",
        "Running tasks times 1000, smoothed over about ten seconds.",
        |row, ctx, out| load(row, ctx, out, |load| load.running_milli),
    )
    .of(CpuLoad, Group::Tasks),
    Family::gauge(
        "container_cpu_load_d_average_10s",
        "Uninterruptible tasks times 1000, smoothed over about ten seconds.",
        |row, ctx, out| load(row, ctx, out, |load| load.uninterruptible_milli),
    )
    .of(CpuLoad, Group::Tasks),
    Family::gauge("container_tasks_state", "Tasks of the cgroup itself by state.", tasks)
        .of(CpuLoad, Group::Tasks)
        .labels(&["state"]),
    Family::counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Time in which at least one task waited for a CPU.",
        |row, ctx, out| pressure(row, ctx, out, |pressure| Some(pressure.some?.total)),
    )
    .of(PressureKind, Group::Pressure)
    .recommended(),
    Family::counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Time in which all tasks waited for a CPU.",
        |row, ctx, out| pressure(row, ctx, out, |pressure| Some(pressure.full?.total)),
    )
    .of(PressureKind, Group::Pressure)
    .recommended(),
];

/// Where time in user mode and in the kernel is reported.
const SPLIT: &[Part] = &[Part::CpuSplit, Part::CpuStat];

type Sampled = crate::sample::container::Cpu;

impl Context<'_> {
    /// A value of a container's CPU statistics, which these parts of the sample have.
    fn cpu<T: Into<Value> + Default>(
        &self,
        row: &Row<'_>,
        out: &mut Writer<'_>,
        parts: &[Part],
        get: impl FnOnce(&Sampled) -> Option<T>,
    ) {
        let Some(sample) = row.sample else { return };
        if let Some(cpu) = &sample.cpu {
            self.value(sample, parts, get(cpu), out);
        }
    }
}

/// Per CPU, those that were used; or in all.
fn usage(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>) {
    let Some(cpu) = row.sample.and_then(|sample| sample.cpu.as_ref()) else { return };
    match &cpu.per_cpu {
        Some(list) if ctx.per_cpu() && !list.is_empty() => {
            for (number, time) in list.iter().enumerate().filter(|(_, time)| time.0 > 0) {
                out.with(&[("cpu", Text::Cpu(number))], *time);
            }
        }
        // A counter that is there from the beginning has its first increase counted.
        _ if row.sample.is_some_and(|sample| sample.unread.has(Part::CpuTotal)) => {}
        _ if cpu.total.0 > 0 || ctx.profile == Profile::Recommended => {
            out.with(&[("cpu", Text::Is("total"))], cpu.total);
        }
        _ => {}
    }
}

fn cfs<T: Into<Value> + Default>(
    row: &Row<'_>,
    ctx: &Context<'_>,
    out: &mut Writer<'_>,
    get: impl FnOnce(&Cfs) -> Option<T>,
) {
    let quota = row.spec.cpu.as_ref().and_then(|cpu| cpu.quota).unwrap_or_default();
    if quota != Micros(0) {
        ctx.cpu(row, out, &[Part::CpuStat], |cpu| cpu.cfs.as_ref().and_then(get));
    }
}

fn schedstat<T: Into<Value> + Default>(
    row: &Row<'_>,
    ctx: &Context<'_>,
    out: &mut Writer<'_>,
    get: impl FnOnce(&Schedstat) -> T,
) {
    ctx.cpu(row, out, &[Part::Schedstat], |cpu| cpu.schedstat.as_ref().map(get));
}

fn load(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>, get: impl FnOnce(&Load) -> u64) {
    ctx.cpu(row, out, &[Part::Tasks], |cpu| cpu.load.as_ref().map(get));
}

fn tasks(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>) {
    let Some(sample) = row.sample else { return };
    let Some(states) = ctx.or_zero(sample.unread, &[Part::Tasks], sample.tasks) else { return };
    let TaskStates { sleeping, running, stopped, uninterruptible, io_wait } = states;
    for (state, count) in [
        ("sleeping", sleeping),
        ("running", running),
        ("stopped", stopped),
        ("uninterruptible", uninterruptible),
        ("iowaiting", io_wait),
    ] {
        out.with(&[("state", Text::Is(state))], count);
    }
}

fn pressure(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>, get: impl FnOnce(&Pressure) -> Option<Micros>) {
    ctx.cpu(row, out, &[Part::CpuPressure], |cpu| cpu.pressure.as_ref().and_then(get));
}
