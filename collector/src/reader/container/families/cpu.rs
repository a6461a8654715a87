//! CPU time, bandwidth control, CPU pressure, and the limits of CPU time.

use super::{Family, Mounted, Place, Reading, Rows, fields, flat, pressure};
use crate::kernel::cgroup::v1::cpuacct::{CpuacctStat, usage_percpu};
use crate::kernel::cgroup::{Version, v1, v2};
use crate::kernel::file::KeptFile;
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::cpu_time::ShownTimes;
use crate::kernel::probes::counters::plan::Stalled;
use crate::kernel::text_formats::{FormatError, Signed, signed, unsigned};
use crate::reader::container::context::ReaderContext;
use crate::reader::container::kernel_memory::CountedCpuTime;
use crate::reader::container::places::CpuSource;
use crate::reader::container::rows::Section;
use crate::reader::container::rows::keys::{Base, Keys, key, part, whole};
use crate::sample::container::{Cfs, Cpu, CpuSpec, Sample};
use crate::sample::kinds::MetricKind;
use crate::sample::spec::Spec;
use crate::sample::statistic::{Absence, Value};
use crate::sample::unread::Part;
use crate::units::{Limit, Micros, Nanos};

/// `cpuacct.stat` counts in hundredths of a second on every architecture.
const NANOS_PER_TICK: u64 = 10_000_000;

#[derive(Debug, Default)]
pub(in crate::reader::container) struct CpuFiles {
    usage: KeptFile,
    per_cpu: KeptFile,
    user_and_system: KeptFile,
    stat: KeptFile,
    pressure: KeptFile,
    /// User and system time as they were last shown, of those that are counted in kernel memory.
    shown: ShownTimes,
}

impl Family for CpuFiles {
    /// The hierarchies of cpuacct and cpu may differ, and a cgroup be in neither: see [`CpuSource`].
    fn place(&self, _: &Mounted<'_>) -> Option<Place> {
        None
    }

    fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        let Self { usage, per_cpu, user_and_system, stat, pressure, shown: _ } = self;
        [usage, per_cpu, user_and_system, stat, pressure].into_iter().for_each(each);
    }

    fn release(&mut self, is_taken: &dyn Fn(CounterFamily) -> bool) {
        let Self { usage, per_cpu, user_and_system, stat, pressure: _, shown: _ } = self;
        if is_taken(CounterFamily::CpuTime) {
            [usage, per_cpu, user_and_system].into_iter().for_each(KeptFile::release);
        }
        if is_taken(CounterFamily::Bandwidth) || is_taken(CounterFamily::Cgroup) {
            stat.release();
        }
    }

    fn read(&mut self, _: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        sample.cpu = self.sample(reading);
    }

    fn limits(&mut self, _: Option<Place>, reading: &mut Reading<'_>, spec: &mut Spec) {
        spec.cpu = match reading.ctx.sources.cpu {
            Some(CpuSource::V2(position)) => limits_v2(reading, position),
            _ => limits_v1(reading),
        };
    }

    fn limits_again(
        &mut self,
        place: Option<Place>,
        reading: &mut Reading<'_>,
        is_known: &dyn Fn(CounterFamily) -> bool,
        spec: &mut Spec,
    ) {
        match &mut spec.cpu {
            Some(cpu) if is_known(CounterFamily::Bandwidth) => {
                cpu.mask = match reading.ctx.sources.cpu {
                    Some(CpuSource::V2(position)) => mask_v2(reading, position),
                    _ => mask_v1(reading),
                };
            }
            _ => self.limits(place, reading, spec),
        }
    }

    fn explain(&self, _: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        explain(rows, sample.cpu.as_ref());
    }

    fn explain_limits(&self, _: Option<Place>, rows: &mut Rows<'_>, spec: &Spec) {
        explain_limits(rows, spec.cpu.as_ref());
    }
}

impl CpuFiles {
    /// Has the kernel add up pressure.
    pub(in crate::reader::container) fn add_up_pressure(&mut self, reading: &mut Reading<'_>) {
        pressure::add_up(reading, &mut self.pressure);
    }

    fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Cpu> {
        let (total, mut cpu) = match reading.ctx.sources.cpu? {
            CpuSource::V1 { cpuacct, cpu, .. } if reading.hierarchy(cpuacct).is_some() => {
                self.v1(reading, cpuacct, cpu)
            }
            // A cgroup that is only in cgroup2, beside v1: its cpu.stat counts time without any controller.
            CpuSource::V1 { unified, .. } => self.v2(reading, unified?),
            CpuSource::V2(position) => self.v2(reading, position),
        };
        cpu.pressure = pressure::read(reading, Stalled::Cpu, &mut self.pressure);
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
        let (total, times) = match counted_time(reading, self.shown) {
            Some((times, shown)) => {
                self.shown = shown;
                (Some(times.total), times)
            }
            None => self.v1_time(reading, cpuacct),
        };
        let cfs = match (cpu, counted_bandwidth(reading)) {
            (None, _) => None,
            (Some(_), Some(counted)) => Some(counted),
            (Some(position), None) => {
                let stat = reading.kept_lines(position, "cpu.stat", &mut self.stat, v1::cpu::CpuStat::parse);
                stat.filter(|stat| *stat != v1::cpu::CpuStat::default()).map(|stat| Cfs {
                    periods: stat.nr_periods,
                    throttled_periods: stat.nr_throttled,
                    throttled_time: stat.throttled_time.map(Nanos),
                    burst_periods: stat.nr_bursts,
                    burst_time: stat.burst_time.map(Nanos),
                })
            }
        };
        (total, Cpu { cfs, ..times })
    }

    fn v1_time(&mut self, reading: &mut Reading<'_>, cpuacct: usize) -> (Option<Nanos>, Cpu) {
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
        let cpu = Cpu {
            user: split.and_then(|split| split.user).map(ticks),
            system: split.and_then(|split| split.system).map(ticks),
            per_cpu,
            ..Cpu::default()
        };
        (total.map(Nanos), cpu)
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize) -> (Option<Nanos>, Cpu) {
        if let Some((times, shown)) = counted_unified_time(reading, self.shown) {
            self.shown = shown;
            // Without the controller there is no bandwidth, neither here nor in the file.
            return (Some(times.total), Cpu { cfs: counted_bandwidth(reading), ..times });
        }
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

/// CPU time of v2 as its file would have it, from kernel memory, and what is shown of it by that.
pub(super) fn counted_unified_time(reading: &mut Reading<'_>, before: ShownTimes) -> Option<(Cpu, ShownTimes)> {
    let (raw, of_kernel) = reading.counted_unified_time()?;
    let shown = raw.shared_out(later(before, of_kernel));
    Some((unified_times(raw.total, shown), shown))
}

/// CPU time of v2 as its file has it.
pub(in crate::reader::container) fn unified_times(total: u64, shown: ShownTimes) -> Cpu {
    let whole = |nanos: u64| Nanos::from(Micros(nanos / 1000));
    let (user, system) = (Some(whole(shown.user)), Some(whole(shown.system)));
    Cpu { total: whole(total), user, system, ..Cpu::default() }
}

/// Whichever was shown last: by the collector, or by the kernel to whoever read the file.
pub(in crate::reader::container) fn later(before: ShownTimes, of_kernel: ShownTimes) -> ShownTimes {
    let sum = |shown: ShownTimes| shown.user.saturating_add(shown.system);
    if sum(of_kernel) > sum(before) { of_kernel } else { before }
}

/// Bandwidth control as the file would have it, whose unit on v2 is the microsecond.
pub(super) fn counted_bandwidth(reading: &mut Reading<'_>) -> Option<Cfs> {
    let cfs = reading.counted_bandwidth()?;
    if !matches!(reading.ctx.sources.cpu, Some(CpuSource::V2(_))) {
        return Some(cfs);
    }
    let whole = |time: Option<Nanos>| time.map(|Nanos(nanos)| Nanos::from(Micros(nanos / 1000)));
    Some(Cfs { throttled_time: whole(cfs.throttled_time), burst_time: whole(cfs.burst_time), ..cfs })
}

/// CPU time of v1 as its files would have it, from kernel memory, and what is shown of it by that.
pub(super) fn counted_time(reading: &mut Reading<'_>, before: ShownTimes) -> Option<(Cpu, ShownTimes)> {
    let CountedCpuTime { raw, shown: of_kernel, each } = reading.counted_cpu_time()?;
    let shown = raw.shared_out(later(before, of_kernel));
    Some((legacy_times(reading.ctx, raw.total, shown, each), shown))
}

/// CPU time of v1 as its files have it.
pub(in crate::reader::container) fn legacy_times(
    ctx: &ReaderContext,
    total: u64,
    shown: ShownTimes,
    each: Vec<u64>,
) -> Cpu {
    let whole_ticks = |nanos: u64| Nanos(nanos / NANOS_PER_TICK * NANOS_PER_TICK);
    let per_cpu = ctx.kinds.has(MetricKind::PerCpu).then(|| {
        let mut list = each.into_iter().map(Nanos).collect();
        leave_out_absent_cpus(&mut list, ctx.machine.present_cpus);
        list
    });
    let (user, system) = (Some(whole_ticks(shown.user)), Some(whole_ticks(shown.system)));
    Cpu { total: Nanos(total), user, system, per_cpu, ..Cpu::default() }
}

/// The kernel lists every CPU that there may ever be; those beyond the last that is there are left out, unless one was
/// used before it was taken away.
fn leave_out_absent_cpus(list: &mut Vec<Nanos>, present: Option<usize>) {
    let used = list.iter().rposition(|time| time.0 > 0).map_or(0, |last| last + 1);
    if let Some(present) = present {
        list.truncate(present.max(used));
    }
}

fn limits_v1(reading: &mut Reading<'_>) -> Option<CpuSpec> {
    let cpu = match reading.ctx.sources.cpu {
        Some(CpuSource::V1 { cpu, .. }) => cpu.filter(|position| reading.hierarchy(*position).is_some()),
        _ => None,
    };
    if cpu.is_none() && cpuset_v1(reading).is_none() {
        return None;
    }
    let mut spec = CpuSpec::default();
    if let Some(position) = cpu {
        spec.shares = reading.once(position, "cpu.shares", unsigned);
        spec.period = reading.once(position, "cpu.cfs_period_us", unsigned).map(Micros);
        spec.quota = match reading.once(position, "cpu.cfs_quota_us", signed) {
            Some(Signed::Positive(quota)) => Some(Micros(quota)),
            Some(Signed::Negative) | None => None,
        };
    }
    spec.mask = mask_v1(reading);
    Some(spec)
}

fn cpuset_v1(reading: &Reading<'_>) -> Option<usize> {
    reading.ctx.sources.cpuset_migrate.filter(|position| reading.hierarchy(*position).is_some())
}

fn mask_v1(reading: &mut Reading<'_>) -> Option<String> {
    if let Some(position) = cpuset_v1(reading) {
        return mask(reading, position, "cpuset.cpus");
    }
    let beside = reading.ctx.sources.cpuset_beside;
    beside.and_then(|position| mask(reading, position, "cpuset.cpus.effective"))
}

fn limits_v2(reading: &mut Reading<'_>, position: usize) -> Option<CpuSpec> {
    reading.hierarchy(position)?;
    let max = reading.once(position, "cpu.max", v2::cpu::CpuMax::parse);
    Some(CpuSpec {
        shares: shares(reading, position),
        quota: max.and_then(|max| match max.quota {
            Limit::Value(quota) => Some(Micros(quota)),
            Limit::Max => None,
        }),
        period: max.map(|max| Micros(max.period)),
        mask: mask_v2(reading, position),
    })
}

fn mask_v2(reading: &mut Reading<'_>, position: usize) -> Option<String> {
    mask(reading, position, "cpuset.cpus.effective").or_else(|| Some(all_cpus(reading)))
}

/// The shares of a cgroup that is idle (`cpu.idle`, since 5.15; its weight is said to be 0) are the fewest there are: it
/// runs when nobody else does.
fn shares(reading: &mut Reading<'_>, position: usize) -> Option<u64> {
    shares_of_weight(reading.once(position, "cpu.weight", unsigned)?)
}

/// v1 shares (2 to 262144) that correspond to a v2 weight (1 to 10000).
fn shares_of_weight(weight: u64) -> Option<u64> {
    (0..=10_000).contains(&weight).then(|| 2 + weight.saturating_sub(1) * 262_142 / 9_999)
}

fn mask(reading: &mut Reading<'_>, position: usize, file: &'static str) -> Option<String> {
    let list = reading.once(position, file, |text| {
        let text = std::str::from_utf8(text.trim_ascii()).map_err(|_| FormatError::at(1, "a list that is not text"))?;
        Ok(text.to_owned())
    })?;
    Some(if list.is_empty() { all_cpus(reading) } else { list })
}

fn all_cpus(reading: &Reading<'_>) -> String {
    match reading.ctx.machine.cpus {
        0 | 1 => "0".to_owned(),
        cpus => format!("0-{}", cpus - 1),
    }
}

/// Where CPU time is counted, and beside it on v1 bandwidth: the place of cpuacct, that of cpu.
fn time_and_cpu(rows: &Rows<'_>) -> (Section, Section) {
    let both = |section: Section| (section.clone(), section);
    match rows.reading.ctx.sources.cpu {
        Some(CpuSource::V1 { cpuacct, cpu, .. }) if rows.reading.hierarchy(cpuacct).is_some() => {
            (rows.at(Version::V1, cpuacct, None), of_cpu(rows, cpu))
        }
        Some(CpuSource::V1 { unified: Some(unified), .. }) => {
            (rows.at(Version::V2, unified, None), rows.at(Version::V2, unified, Some("cpu")))
        }
        Some(CpuSource::V1 { unified: None, .. }) => {
            both(Section::absent(Absence::NotMember("the controller cpuacct")))
        }
        Some(CpuSource::V2(position)) => {
            (rows.at(Version::V2, position, None), rows.at(Version::V2, position, Some("cpu")))
        }
        None => both(rows.section(None, MetricKind::Cpu, "cpuacct", None)),
    }
}

/// The files of v1's controller cpu.
fn of_cpu(rows: &Rows<'_>, cpu: Option<usize>) -> Section {
    match cpu {
        Some(position) => rows.at(Version::V1, position, Some("cpu")),
        None => Section::absent(Absence::NoController("cpu")),
    }
}

fn explain(rows: &mut Rows<'_>, cpu: Option<&Cpu>) {
    let (time, bandwidth) = time_and_cpu(rows);
    // Scheduler statistics and the load are families of their own.
    fields!(cpu => Cpu { total, user, system, per_cpu, cfs, schedstat: _, load: _, pressure });
    let per_cpu = flat(per_cpu);
    let file = "cpuacct.usage_percpu";
    let usage = if per_cpu.is_some() { part(file, "their sum") } else { whole("cpuacct.usage") };
    rows.add("cpu.usage.total", total, &time, [usage], [key("cpu.stat", "usage_usec")]);
    let each_cpu = rows.when(MetricKind::PerCpu).map_or_else(Section::absent, |()| time.clone());
    rows.add("cpu.usage.per_cpu", per_cpu, &each_cpu, [whole(file)], Keys::NONE);
    for (name, value, v1, v2) in [
        ("cpu.usage.user", flat(user), "user", "user_usec"),
        ("cpu.usage.system", flat(system), "system", "system_usec"),
    ] {
        rows.add(name, value, &time, [key("cpuacct.stat", v1)], [key("cpu.stat", v2)]);
    }
    fields!(flat(cfs) => Cfs { periods, throttled_periods, throttled_time, burst_periods, burst_time });
    let burst = |word| [key("cpu.stat", word).since("5.15")];
    let (v1, v2) = ([key("cpu.stat", "nr_periods")], [key("cpu.stat", "nr_periods")]);
    rows.add("cpu.cfs.periods", flat(periods), &bandwidth, v1, v2);
    let (v1, v2) = ([key("cpu.stat", "nr_throttled")], [key("cpu.stat", "nr_throttled")]);
    rows.add("cpu.cfs.throttled_periods", flat(throttled_periods), &bandwidth, v1, v2);
    let (v1, v2) = ([key("cpu.stat", "throttled_time")], [key("cpu.stat", "throttled_usec")]);
    rows.add("cpu.cfs.throttled_time", flat(throttled_time), &bandwidth, v1, v2);
    rows.add("cpu.cfs.burst_periods", flat(burst_periods), &bandwidth, burst("nr_bursts"), burst("nr_bursts"));
    rows.add("cpu.cfs.burst_time", flat(burst_time), &bandwidth, burst("burst_time"), burst("burst_usec"));
    pressure::explain(rows, ["cpu.pressure.some", "cpu.pressure.full"], ("cpu.pressure", "5.13"), flat(pressure));
}

fn explain_limits(rows: &mut Rows<'_>, cpu: Option<&CpuSpec>) {
    let sources = rows.reading.ctx.sources;
    let limits = match sources.cpu {
        Some(CpuSource::V1 { cpu, .. }) => of_cpu(rows, cpu),
        _ => time_and_cpu(rows).1,
    };
    let cpus = match (sources.cpu, sources.cpuset_migrate, sources.cpuset_beside) {
        (Some(CpuSource::V2(position)), ..) | (_, None, Some(position)) => {
            rows.at(Version::V2, position, Some("cpuset"))
        }
        (_, Some(position), _) => rows.at(Version::V1, position, Some("cpuset")),
        (_, None, None) => rows.section(None, MetricKind::Cpuset, "cpuset", None),
    };
    fields!(cpu => CpuSpec { shares, quota, period, mask });
    rows.add("spec.cpu.shares", flat(shares), &limits, [whole("cpu.shares")], [whole("cpu.weight")]);
    let period = flat(period);
    let limited = flat(quota).map(Value::from).or(period.map(|_| Value::Unlimited));
    let v2 = [part("cpu.max", "quota")];
    rows.add_value("spec.cpu.quota", limited, &limits, [whole("cpu.cfs_quota_us")], v2);
    let v2 = [part("cpu.max", "period")];
    rows.add("spec.cpu.period", period, &limits, [whole("cpu.cfs_period_us")], v2);
    let every_cpu = whole("devices/system/cpu/online").of(Base::Sys);
    let v2 = Keys::from([whole("cpuset.cpus.effective")]);
    let v2 = if rows.reading.ctx.sources.unified_only.is_some() { v2.or([every_cpu]) } else { v2 };
    rows.add("spec.cpu.mask", flat(mask), &cpus, [whole("cpuset.cpus")], v2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_shares() {
        assert_eq!(shares_of_weight(1), Some(2));
        assert_eq!(shares_of_weight(100), Some(2597));
        assert_eq!(shares_of_weight(10_000), Some(262_144));
        assert_eq!(shares_of_weight(0), Some(2), "cpu.idle");
        assert_eq!(shares_of_weight(10_001), None);
    }
}
