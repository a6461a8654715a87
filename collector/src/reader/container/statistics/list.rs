//! The list of statistics: for every field of a sample and of a spec its name and its files on both versions of
//! cgroups.
//!
//! The structures are taken apart without `..`: a field that is added to one of them and not here does not compile.

use super::keys::{Base, Key, Keys, key, part, whole};
use super::{Family, Rows};
use crate::sample::container::{
    Cfs, Cpu, DeviceIo, Faults, Hugetlb, Io, IoStat, Load, Memory, MemoryEvents, MemoryStat, Numa, NumaPages, Pressure,
    Processes, ReportedStat, Sample, Schedstat, TaskStates,
};
use crate::sample::kinds::MetricKind;
use crate::sample::spec::{CpuSpec, MemorySpec, Spec};
use crate::sample::statistic::{Absence, Source, Value};

/// Each field of a structure that may be absent, as an option.
macro_rules! fields {
    ($from:expr => $structure:ident { $($field:ident),* $(,)? }) => {
        let ($($field,)*) = match $from {
            Some($structure { $($field),* }) => ($(Some($field),)*),
            None => ($({ let $field = None; $field },)*),
        };
    };
}

mod hardware;
mod network;

fn flat<T>(value: Option<&Option<T>>) -> Option<&T> {
    value.and_then(Option::as_ref)
}

/// Appends every statistic.
pub(super) fn fill(rows: &mut Rows<'_>, sample: &Sample, spec: &Spec, oom_kills: Option<u64>) {
    let Sample {
        at: _,     // the collector's clock
        unread: _, // what is absent is told by the rows
        cpu,
        memory,
        io,
        processes,
        hugetlb,
        network,
        cpuset_memory_migrate,
        tasks,
        referenced,
        resctrl,
        perf,
        perf_uncore,
        oom_kills: _, // counted from events where there are any; else from the file, which is `oom_kills`
    } = sample;
    fill_cpu(rows, cpu.as_ref());
    let migrate = cpuset_memory_migrate.as_ref();
    rows.add("cpuset.memory_migrate", migrate, Family::CpusetMigrate, [whole("cpuset.memory_migrate")], Keys::NONE);
    fill_tasks(rows, tasks.as_ref());
    fill_memory(rows, memory.as_ref());
    let v1 = [key("memory.oom_control", "oom_kill").since("4.13")];
    let v2 = [key("memory.events.local", "oom_kill").since("5.2")];
    rows.add("oom_kills", oom_kills.as_ref(), Family::OomKills, v1, v2);
    fill_hugetlb(rows, hugetlb.as_deref());
    fill_io(rows, io.as_ref());
    fill_processes(rows, processes.as_ref());
    network::fill(rows, network.as_ref());
    let pages = key("smaps_rollup", "Referenced").of(Base::Process);
    let touched = referenced.as_ref().map(Value::from);
    rows.add_of_process("memory.referenced", MetricKind::ReferencedMemory, touched, pages);
    hardware::fill_resctrl(rows, resctrl.as_ref());
    hardware::fill_perf(rows, perf.as_deref(), perf_uncore.as_deref());
    fill_spec(rows, spec);
}

fn fill_cpu(rows: &mut Rows<'_>, cpu: Option<&Cpu>) {
    fields!(cpu => Cpu { total, user, system, per_cpu, cfs, schedstat, load, pressure });
    let per_cpu = flat(per_cpu);
    let file = "cpuacct.usage_percpu";
    let usage = if per_cpu.is_some() { part(file, "their sum") } else { whole("cpuacct.usage") };
    rows.add("cpu.usage.total", total, Family::CpuTime, [usage], [key("cpu.stat", "usage_usec")]);
    rows.add("cpu.usage.per_cpu", per_cpu, Family::PerCpu, [whole(file)], Keys::NONE);
    for (name, value, v1, v2) in [
        ("cpu.usage.user", flat(user), "user", "user_usec"),
        ("cpu.usage.system", flat(system), "system", "system_usec"),
    ] {
        rows.add(name, value, Family::CpuTime, [key("cpuacct.stat", v1)], [key("cpu.stat", v2)]);
    }
    fields!(flat(cfs) => Cfs { periods, throttled_periods, throttled_time, burst_periods, burst_time });
    let stat = |v1, v2| (Family::CpuBandwidth, [key("cpu.stat", v1)], [key("cpu.stat", v2)]);
    let (family, v1, v2) = stat("nr_periods", "nr_periods");
    rows.add("cpu.cfs.periods", flat(periods), family, v1, v2);
    let (family, v1, v2) = stat("nr_throttled", "nr_throttled");
    rows.add("cpu.cfs.throttled_periods", flat(throttled_periods), family, v1, v2);
    let (family, v1, v2) = stat("throttled_time", "throttled_usec");
    rows.add("cpu.cfs.throttled_time", flat(throttled_time), family, v1, v2);
    let (family, v1, v2) = stat("nr_bursts", "nr_bursts");
    rows.add("cpu.cfs.burst_periods", flat(burst_periods), family, v1.map(since_bursts), v2.map(since_bursts));
    let (family, v1, v2) = stat("burst_time", "burst_usec");
    rows.add("cpu.cfs.burst_time", flat(burst_time), family, v1.map(since_bursts), v2.map(since_bursts));
    fields!(flat(schedstat) => Schedstat { run_time, runqueue_time, run_periods });
    for (name, value, number) in [
        ("cpu.schedstat.run_time", run_time.map(Value::from), "1st number"),
        ("cpu.schedstat.runqueue_time", runqueue_time.map(Value::from), "2nd number"),
        ("cpu.schedstat.run_periods", run_periods.map(Value::from), "3rd number"),
    ] {
        rows.add_of_process(name, MetricKind::Sched, value, part("schedstat", number).of(Base::Process));
    }
    fields!(flat(load) => Load { running_milli, uninterruptible_milli });
    rows.add("cpu.load.running_milli", running_milli, Family::Tasks, [taskstats("nr_running")], Keys::NONE);
    let v1 = [taskstats("nr_uninterruptible")];
    rows.add("cpu.load.uninterruptible_milli", uninterruptible_milli, Family::Tasks, v1, Keys::NONE);
    fill_pressure(rows, ["cpu.pressure.some", "cpu.pressure.full"], ("cpu.pressure", "5.13"), flat(pressure));
}

const fn since_bursts(key: Key) -> Key {
    key.since("5.15")
}

const fn taskstats(counter: &'static str) -> Key {
    part("taskstats CGROUPSTATS_CMD_GET", counter).of(Base::Netlink)
}

fn fill_tasks(rows: &mut Rows<'_>, tasks: Option<&TaskStates>) {
    fields!(tasks => TaskStates { sleeping, running, stopped, uninterruptible, io_wait });
    for (name, value, counter) in [
        ("tasks.sleeping", sleeping, "nr_sleeping"),
        ("tasks.running", running, "nr_running"),
        ("tasks.stopped", stopped, "nr_stopped"),
        ("tasks.uninterruptible", uninterruptible, "nr_uninterruptible"),
        ("tasks.io_wait", io_wait, "nr_io_wait"),
    ] {
        rows.add(name, value, Family::Tasks, [taskstats(counter)], Keys::NONE);
    }
}

/// The file's name comes with the first kernel that has its row `full`.
fn fill_pressure(
    rows: &mut Rows<'_>,
    names: [&'static str; 2],
    (file, full_since): (&'static str, &'static str),
    pressure: Option<&Pressure>,
) {
    fields!(pressure => Pressure { some, full });
    rows.add(names[0], flat(some), Family::Pressure, Keys::NONE, [key(file, "some").since("4.20")]);
    rows.add(names[1], flat(full), Family::Pressure, Keys::NONE, [key(file, "full").since(full_since)]);
}

fn fill_memory(rows: &mut Rows<'_>, memory: Option<&Memory>) {
    fields!(memory => Memory {
        usage, max_usage, cache, rss, swap, mapped_file, working_set, active_file, inactive_file, failcnt, kernel,
        own_faults, hierarchical_faults, events, pressure, numa, stat,
    });
    let own_only = rows.choices.own_memory_only;
    let counted = |total, own| [key("memory.stat", if own_only { own } else { total })];
    let in_stat = |word| key("memory.stat", word);
    // The root of v2 has neither file.
    let at_root = rows.reading.is_root();
    let v1_usage = whole("memory.usage_in_bytes");
    let in_use = Keys::from([whole("memory.current")]);
    let in_use = if at_root { in_use.or([in_stat("anon"), in_stat("file")]) } else { in_use };
    rows.add("memory.usage", usage, Family::Memory, [v1_usage], in_use);
    let peak = [whole("memory.peak").since("5.19")];
    rows.add("memory.max_usage", flat(max_usage), Family::Memory, [whole("memory.max_usage_in_bytes")], peak);
    rows.add("memory.cache", cache, Family::Memory, counted("total_cache", "cache"), [in_stat("file")]);
    rows.add("memory.rss", rss, Family::Memory, counted("total_rss", "rss"), [in_stat("anon")]);
    let swapped = Keys::from([whole("memory.swap.current")]);
    let machine_swap = ["SwapTotal", "SwapFree"].map(|word| key("meminfo", word).of(Base::Proc));
    let swapped = if at_root { swapped.or(machine_swap) } else { swapped };
    rows.add("memory.swap", flat(swap), Family::Memory, counted("total_swap", "swap"), swapped);
    let v1 = counted("total_mapped_file", "mapped_file");
    rows.add("memory.mapped_file", mapped_file, Family::Memory, v1, [in_stat("file_mapped")]);
    let less = Keys::from([whole("memory.current"), in_stat("inactive_file")]);
    let less = if at_root { less.or([in_stat("anon"), in_stat("file"), in_stat("inactive_file")]) } else { less };
    rows.add("memory.working_set", working_set, Family::Memory, [v1_usage, in_stat("total_inactive_file")], less);
    let v1 = [in_stat("total_active_file")];
    rows.add("memory.active_file", flat(active_file), Family::Memory, v1, [in_stat("active_file")]);
    let v1 = [in_stat("total_inactive_file")];
    rows.add("memory.inactive_file", flat(inactive_file), Family::Memory, v1, [in_stat("inactive_file")]);
    rows.add("memory.failcnt", flat(failcnt), Family::Memory, [whole("memory.failcnt")], Keys::NONE);
    let v1 = [whole("memory.kmem.usage_in_bytes")];
    rows.add("memory.kernel", flat(kernel), Family::Memory, v1, [in_stat("kernel").since("5.18")]);
    fields!(own_faults => Faults { pgfault, pgmajfault });
    rows.add("memory.own_faults.pgfault", pgfault, Family::Memory, [in_stat("pgfault")], [in_stat("pgfault")]);
    rows.add(
        "memory.own_faults.pgmajfault",
        pgmajfault,
        Family::Memory,
        [in_stat("pgmajfault")],
        [in_stat("pgmajfault")],
    );
    fields!(hierarchical_faults => Faults { pgfault, pgmajfault });
    let (name, v1) = ("memory.hierarchical_faults.pgfault", [in_stat("total_pgfault")]);
    rows.add(name, pgfault, Family::Memory, v1, [in_stat("pgfault")]);
    let (name, v1) = ("memory.hierarchical_faults.pgmajfault", [in_stat("total_pgmajfault")]);
    rows.add(name, pgmajfault, Family::Memory, v1, [in_stat("pgmajfault")]);
    fields!(flat(events) => MemoryEvents { low, high, max, oom, oom_kill, oom_group_kill });
    for (name, value, word) in [
        ("memory.events.low", low, "low"),
        ("memory.events.high", high, "high"),
        ("memory.events.max", max, "max"),
        ("memory.events.oom", oom, "oom"),
        ("memory.events.oom_kill", oom_kill, "oom_kill"),
    ] {
        rows.add(name, flat(value), Family::Memory, Keys::NONE, [key("memory.events", word)]);
    }
    let v2 = [key("memory.events", "oom_group_kill").since("5.17")];
    rows.add("memory.events.oom_group_kill", flat(oom_group_kill), Family::Memory, Keys::NONE, v2);
    let names = ["memory.pressure.some", "memory.pressure.full"];
    fill_pressure(rows, names, ("memory.pressure", "4.20"), flat(pressure));
    fill_numa(rows, flat(numa));
    fill_stat(rows, stat);
}

fn fill_numa(rows: &mut Rows<'_>, numa: Option<&Numa>) {
    fields!(numa => Numa { own, hierarchical });
    // On v2 both are the subtree's.
    let names = ["memory.numa.own.file", "memory.numa.own.anon", "memory.numa.own.unevictable"];
    fill_pages(rows, own, names, ["file", "anon", "unevictable"]);
    let names =
        ["memory.numa.hierarchical.file", "memory.numa.hierarchical.anon", "memory.numa.hierarchical.unevictable"];
    let v1 = ["hierarchical_file", "hierarchical_anon", "hierarchical_unevictable"];
    fill_pages(rows, hierarchical, names, v1);
}

fn fill_pages(rows: &mut Rows<'_>, pages: Option<&NumaPages>, names: [&'static str; 3], v1: [&'static str; 3]) {
    fields!(pages => NumaPages { file, anon, unevictable });
    for (number, (pages, v2)) in [(file, "file"), (anon, "anon"), (unevictable, "unevictable")].into_iter().enumerate()
    {
        let by_node = |(node, pages): &(u32, u64)| (node.to_string(), Value::Count(*pages));
        let value = pages.filter(|pages| !pages.is_empty()).map(|pages| pages.iter().map(by_node).collect());
        let row = |word| key("memory.numa_stat", word).since("5.10");
        rows.add_value(names[number], value.map(Value::Named), Family::Numa, [row(v1[number])], [row(v2)]);
    }
}

fn fill_stat(rows: &mut Rows<'_>, stat: Option<&MemoryStat>) {
    let all = stat.map(|MemoryStat { keys, values }| {
        Value::Named(keys.iter().map(ToString::to_string).zip(values.iter().map(Value::from)).collect())
    });
    rows.add_value("memory.stat", all, Family::Memory, [whole("memory.stat")], [whole("memory.stat")]);
    let reported = stat.map(MemoryStat::reported);
    fields!(reported => ReportedStat {
        file_dirty, file_writeback, pgscan, pgsteal, workingset_refault_file, workingset_refault_anon,
    });
    for (name, value, v1, v2) in [
        ("memory.file_dirty", file_dirty, Some("total_dirty"), "file_dirty"),
        ("memory.file_writeback", file_writeback, Some("total_writeback"), "file_writeback"),
        ("memory.pgscan", pgscan, None, "pgscan"),
        ("memory.pgsteal", pgsteal, None, "pgsteal"),
        (
            "memory.workingset_refault_file",
            workingset_refault_file,
            Some("total_workingset_refault_file"),
            "workingset_refault_file",
        ),
        (
            "memory.workingset_refault_anon",
            workingset_refault_anon,
            Some("total_workingset_refault_anon"),
            "workingset_refault_anon",
        ),
    ] {
        let v1 = v1.map_or(Keys::NONE, |word| [key("memory.stat", word)].into());
        let value = value.flatten().map(Value::Count);
        rows.add_value(name, value, Family::Memory, v1, [key("memory.stat", v2)]);
    }
}

fn fill_hugetlb(rows: &mut Rows<'_>, sizes: Option<&[Hugetlb]>) {
    let mut values = [const { Vec::<(String, Value)>::new() }; 3];
    for Hugetlb { page_size, usage, max_usage, failcnt } in sizes.into_iter().flatten() {
        let size_values = [usage, max_usage].map(|bytes| bytes.as_ref().map(Value::from));
        let size_values = size_values.into_iter().chain([failcnt.as_ref().map(Value::from)]);
        for (values, value) in values.iter_mut().zip(size_values) {
            values.extend(value.map(|value| (page_size.to_string(), value)));
        }
    }
    let [usage, max_usage, failcnt] = values.map(|values| Some(Value::Named(values)).filter(|_| sizes.is_some()));
    // The reservations count where the kernel has them.
    let v1 = Keys::from([whole("hugetlb.<size>.rsvd.usage_in_bytes")]).or([whole("hugetlb.<size>.usage_in_bytes")]);
    let v2 = Keys::from([whole("hugetlb.<size>.rsvd.current")]).or([whole("hugetlb.<size>.current")]);
    rows.add_value("hugetlb.usage", usage, Family::Hugetlb, v1, v2);
    let v1 =
        Keys::from([whole("hugetlb.<size>.rsvd.max_usage_in_bytes")]).or([whole("hugetlb.<size>.max_usage_in_bytes")]);
    let has_max = max_usage.filter(|value| !matches!(value, Value::Named(sizes) if sizes.is_empty()));
    rows.add_value("hugetlb.max_usage", has_max, Family::Hugetlb, v1, Keys::NONE);
    let v1 = Keys::from([whole("hugetlb.<size>.rsvd.failcnt")]).or([whole("hugetlb.<size>.failcnt")]);
    rows.add_value("hugetlb.failcnt", failcnt, Family::Hugetlb, v1, [key("hugetlb.<size>.events", "max")]);
}

/// The name of a block device statistic, its keys on v2, and the statistic after it, so that none is forgotten.
fn io_stat(stat: IoStat) -> (&'static str, &'static [&'static str], Option<IoStat>) {
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

fn fill_io(rows: &mut Rows<'_>, io: Option<&Io>) {
    fields!(io => Io { devices, pressure });
    let mut next = Some(IoStat::ServiceBytes);
    while let Some(wanted) = next {
        let (name, v2_words, after) = io_stat(wanted);
        next = after;
        let mut values = Vec::new();
        for DeviceIo { stat, major, minor, device, operations } in devices.into_iter().flatten() {
            if *stat == wanted {
                let device = if device.is_empty() { format!("{major}:{minor}") } else { device.to_string() };
                let operations = operations.iter().map(|(operation, value)| ((*operation).to_owned(), value.into()));
                values.push((device, Value::Named(operations.collect())));
            }
        }
        let is_cost = wanted >= IoStat::CostUsage;
        let in_group = rows.choices.io_group.and_then(|group| group.iter().find(|(_, stat)| *stat == wanted));
        let v1 = in_group.map_or(Keys::NONE, |(file, _)| [whole(file)].into());
        // A device without traffic has no keys; those of the iocost policy are there as soon as it is switched on.
        let word = |word: &&'static str| if is_cost { key("io.stat", word) } else { key("io.stat", word).sparse() };
        let v2 = if v2_words.is_empty() { Keys::NONE } else { Keys(vec![v2_words.iter().map(word).collect()]) };
        let place = rows.place(Family::Io);
        if !is_cost && in_group.is_none() && place.is_ok_and(|(version, _)| version == super::Version::V1) {
            rows.push(name, None, Err(Absence::Scheduler));
        } else {
            // No device at all is an answer too, where traffic would be counted.
            let answers = !is_cost && (in_group.is_some() || !v2_words.is_empty());
            let found = !values.is_empty() || (devices.is_some() && answers);
            rows.add_value(name, found.then_some(Value::Named(values)), Family::Io, v1, v2);
        }
    }
    fill_pressure(rows, ["io.pressure.some", "io.pressure.full"], ("io.pressure", "4.20"), flat(pressure));
}

fn fill_processes(rows: &mut Rows<'_>, processes: Option<&Processes>) {
    fields!(processes => Processes { count, descriptors, sockets, threads, threads_max, max_open_files });
    rows.add("processes.count", flat(count), Family::Processes, [whole("cgroup.procs")], [whole("cgroup.procs")]);
    let listed = flat(descriptors).map(Value::from);
    rows.add_of_process("processes.descriptors", MetricKind::Process, listed, whole("fd").of(Base::Process));
    let listed = flat(sockets).map(Value::from);
    rows.add_of_process("processes.sockets", MetricKind::Process, listed, part("fd", "sockets").of(Base::Process));
    let threads = flat(threads);
    let v2 = Keys::from([whole("pids.current")]).or([part("cgroup.threads", "lines")]);
    rows.add("processes.threads", threads, Family::Pids, [whole("pids.current")], v2);
    let limit = |limit: &u64| if *limit == u64::MAX { Value::Unlimited } else { limit.into() };
    let max = flat(threads_max).map(Value::from).or(threads.map(|_| Value::Unlimited));
    rows.add_value("processes.threads_max", max, Family::Pids, [whole("pids.max")], [whole("pids.max")]);
    let files = flat(max_open_files)
        .map(|(soft, hard)| Value::Named(vec![("soft".to_owned(), limit(soft)), ("hard".to_owned(), limit(hard))]));
    let row = key("limits", "Max open files").of(Base::Process);
    rows.add_of_process("processes.max_open_files", MetricKind::Process, files, row);
}

fn fill_spec(rows: &mut Rows<'_>, spec: &Spec) {
    let Spec {
        created,
        cpu,
        memory,
        processes,
        // They follow from which hierarchies and counters there are.
        has_hugetlb: _,
        has_network: _,
        unread: _,
        has_diskio: _,
    } = spec;
    // Of the collector's own kernel events where there are any.
    let text = "cgroup_mkdir, or else modification times of the cgroup's directories".to_owned();
    rows.push("spec.creation_time", created.as_ref().map(Value::from), Ok(Source { text, files: Vec::new() }));
    fields!(cpu.as_ref() => CpuSpec { shares, quota, period, mask });
    rows.add("spec.cpu.shares", flat(shares), Family::CpuLimits, [whole("cpu.shares")], [whole("cpu.weight")]);
    let period = flat(period);
    let limited = flat(quota).map(Value::from).or(period.map(|_| Value::Unlimited));
    let v2 = [part("cpu.max", "quota")];
    rows.add_value("spec.cpu.quota", limited, Family::CpuLimits, [whole("cpu.cfs_quota_us")], v2);
    let v2 = [part("cpu.max", "period")];
    rows.add("spec.cpu.period", period, Family::CpuLimits, [whole("cpu.cfs_period_us")], v2);
    let every_cpu = whole("devices/system/cpu/online").of(Base::Sys);
    let v2 = Keys::from([whole("cpuset.cpus.effective")]);
    let v2 = if rows.reading.ctx.sources.unified_only.is_some() { v2.or([every_cpu]) } else { v2 };
    rows.add("spec.cpu.mask", flat(mask), Family::CpuMask, [whole("cpuset.cpus")], v2);
    fields!(memory.as_ref() => MemorySpec { limit, reservation, swap_limit });
    // The root has what the machine has.
    let at_root = rows.reading.is_root();
    let or_machine =
        |file, word| if at_root { Keys::from([key("meminfo", word).of(Base::Proc)]) } else { [whole(file)].into() };
    let (v1, v2) = (or_machine("memory.limit_in_bytes", "MemTotal"), or_machine("memory.max", "MemTotal"));
    rows.add("spec.memory.limit", flat(limit), Family::Memory, v1, v2);
    let (v1, v2) = ([whole("memory.soft_limit_in_bytes")], [whole("memory.min")]);
    rows.add("spec.memory.reservation", flat(reservation), Family::Memory, v1, v2);
    let v1 = or_machine("memory.memsw.limit_in_bytes", "SwapTotal");
    rows.add(
        "spec.memory.swap_limit",
        flat(swap_limit),
        Family::Memory,
        v1,
        or_machine("memory.swap.max", "SwapTotal"),
    );
    let file = [whole("pids.max")];
    rows.add("spec.processes.limit", processes.as_ref(), Family::PidsLimit, file, file);
}
