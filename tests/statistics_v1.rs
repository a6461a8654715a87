//! The numbers of a container on cgroup v1 against the kernel's own files.

use crate::support::api::Stats;
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::compare::{Comparison, fresh};
use crate::support::disk::Disk;
use crate::support::harness::{Case, Needs};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("statistics_v1::cpu", cpu).needs(Needs::V1).on_every_kernel(),
    Case::new("statistics_v1::cpu_is_throttled", cpu_is_throttled).needs(Needs::V1).on_every_kernel(),
    Case::new("statistics_v1::memory", memory).needs(Needs::V1).on_every_kernel(),
    Case::new("statistics_v1::memory_of_a_subtree", memory_of_a_subtree).needs(Needs::V1).on_every_kernel(),
    Case::new("statistics_v1::memory_failcnt", memory_failcnt).needs(Needs::V1).on_every_kernel(),
    Case::new("statistics_v1::processes", processes).needs(Needs::V1).on_every_kernel(),
    Case::new("statistics_v1::io", io).needs(Needs::V1).on_every_kernel(),
    Case::new("statistics_v1::hugetlb", hugetlb).needs(Needs::V1).on_every_kernel(),
    Case::new("statistics_v1::limits", limits).needs(Needs::V1).on_every_kernel(),
    Case::new("statistics_v1::no_limits", no_limits).needs(Needs::V1).on_every_kernel(),
];

const TICK_NANOS: u64 = 10_000_000;
const FLAGS: [&str; 2] = [
    "--housekeeping_interval=100ms",
    "--enable_metrics=cpu,percpu,memory,disk,diskIO,network,process,hugetlb,sched,cpuset",
];

/// What the kernel counts in batches per CPU.
const MEMORY_SLACK: u64 = bytes::MIB;

/// Cgroups in all v1 hierarchies that a sample is read from, these among them.
fn v1(needed: &[&str]) -> Result<Cgroups> {
    let layout = Layout::detect()?;
    let there = |controller: &&str| needed.contains(controller) || layout.v1(controller).is_some();
    let all: Vec<&str> = ["cpu", "cpuacct", "cpuset", "memory", "pids", "blkio"].into_iter().filter(there).collect();
    Cgroups::new(Set::V1(&all))
}

fn cpu_total(stats: &Stats) -> Option<u64> {
    Some(stats.cpu.as_ref()?.usage.total)
}

fn cpu() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = v1(&["cpu", "cpuacct"])?;
    let cgroup = cgroups.make("cpu")?;
    let spinner = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let acct = |file: &str| cgroup.v1_file("cpuacct", file);
    let ticks = |key: &'static str| {
        move |cgroup: &Cgroup<'_>| -> Result<u64> {
            Ok(bytes::read_key(cgroup.v1_file("cpuacct", "cpuacct.stat")?, key)? * TICK_NANOS)
        }
    };
    let (user, system) = (ticks("user"), ticks("system"));
    let percpu = || -> Result<u64> {
        let text = bytes::read(acct("cpuacct.usage_percpu")?)?;
        Ok(text.split_whitespace().filter_map(|number| number.parse::<u64>().ok()).sum())
    };
    let schedstat = || -> Result<u64> {
        let text = bytes::read(format!("/proc/{}/schedstat", spinner.pid()))?;
        Ok(text.split(' ').next().context("a field")?.parse()?)
    };
    Comparison::default()
        .value("cpu.usage.total", || bytes::read_number(acct("cpuacct.usage")?), cpu_total)
        .value("cpu.usage.user", || user(&cgroup), |stats| Some(stats.cpu.as_ref()?.usage.user))
        .value("cpu.usage.system", || system(&cgroup), |stats| Some(stats.cpu.as_ref()?.usage.system))
        .value("the sum of cpu.usage.per_cpu_usage", percpu, |stats| {
            Some(stats.cpu.as_ref()?.usage.per_cpu_usage.iter().sum())
        })
        .value("cpu.schedstat.run_time", schedstat, |stats| Some(stats.cpu.as_ref()?.schedstat.run_time))
        .check(&collector, &cgroup.name())?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    let cpu = stats.cpu.context("no cpu")?;
    ensure!(cpu.schedstat.run_periods > 0, "schedstat has no run periods");
    spinner.end()
}

fn cpu_is_throttled() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = v1(&["cpu"])?;
    let cgroup = cgroups.make("throttled")?;
    let file = |name: &str| cgroup.v1_file("cpu", name);
    bytes::write(file("cpu.cfs_period_us")?, "20000")?;
    bytes::write(file("cpu.cfs_quota_us")?, "2000")?;
    let spinner = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let stat = |key: &'static str| move |cgroup: &Cgroup<'_>| bytes::read_key(cgroup.v1_file("cpu", "cpu.stat")?, key);
    let (periods, throttled, time) = (stat("nr_periods"), stat("nr_throttled"), stat("throttled_time"));
    wait::eventually(wait::seconds(5), || {
        let count = throttled(&cgroup)?;
        ensure!(count > 3, "throttled only {count} times: the scene does not work");
        Ok(())
    })?;
    Comparison::default()
        .value("cpu.cfs.periods", || periods(&cgroup), |stats| Some(stats.cpu.as_ref()?.cfs.periods))
        .value(
            "cpu.cfs.throttled_periods",
            || throttled(&cgroup),
            |stats| Some(stats.cpu.as_ref()?.cfs.throttled_periods),
        )
        .value("cpu.cfs.throttled_time", || time(&cgroup), |stats| Some(stats.cpu.as_ref()?.cfs.throttled_time))
        .check(&collector, &cgroup.name())?;
    spinner.end()
}

/// Compares all memory values of one cgroup.
fn compare_memory(collector: &Collector, cgroup: &Cgroup<'_>) -> Result<()> {
    let number = |file: &'static str| move || bytes::read_number(cgroup.v1_file("memory", file)?);
    let stat = |key: &'static str| move || bytes::read_key(cgroup.v1_file("memory", "memory.stat")?, key);
    let working_set = || {
        let usage = bytes::read_number(cgroup.v1_file("memory", "memory.usage_in_bytes")?)?;
        Ok(usage.saturating_sub(stat("total_inactive_file")()?))
    };
    Comparison::default()
        .within(MEMORY_SLACK, "memory.usage", number("memory.usage_in_bytes"), |stats| {
            Some(stats.memory.as_ref()?.usage)
        })
        .within(MEMORY_SLACK, "memory.max_usage", number("memory.max_usage_in_bytes"), |stats| {
            Some(stats.memory.as_ref()?.max_usage)
        })
        .within(MEMORY_SLACK, "memory.rss", stat("total_rss"), |stats| Some(stats.memory.as_ref()?.rss))
        .within(MEMORY_SLACK, "memory.cache", stat("total_cache"), |stats| Some(stats.memory.as_ref()?.cache))
        .within(MEMORY_SLACK, "memory.mapped_file", stat("total_mapped_file"), |stats| {
            Some(stats.memory.as_ref()?.mapped_file)
        })
        .within(MEMORY_SLACK, "memory.working_set", working_set, |stats| Some(stats.memory.as_ref()?.working_set))
        .value("memory.failcnt", number("memory.failcnt"), |stats| Some(stats.memory.as_ref()?.failcnt))
        .within(256, "memory.container_data.pgfault", stat("pgfault"), |stats| {
            Some(stats.memory.as_ref()?.container_data.pgfault)
        })
        .within(256, "memory.container_data.pgmajfault", stat("pgmajfault"), |stats| {
            Some(stats.memory.as_ref()?.container_data.pgmajfault)
        })
        .check(collector, &cgroup.name())
}

fn memory() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = v1(&["memory"])?;
    let cgroup = cgroups.make("memory")?;
    let holder = Plan::new(Work::Hold(24), &cgroup).start_ready()?;
    compare_memory(&collector, &cgroup)?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    let rss = stats.memory.context("no memory")?.rss;
    ensure!(rss + MEMORY_SLACK >= 24 * bytes::MIB, "24 MiB are held, rss is {rss}");
    holder.end()?;
    // After its end the memory is gone from the next samples too.
    wait::eventually(wait::seconds(5), || {
        let (_, stats) = fresh(&collector, &cgroup.name())?;
        let rss = stats.memory.context("no memory")?.rss;
        ensure!(rss < 2 * bytes::MIB, "nothing is held any more, rss is {rss}");
        Ok(())
    })
}

/// A parent's memory includes its children's.
fn memory_of_a_subtree() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = v1(&["memory"])?;
    let parent = cgroups.make("parent")?;
    let child = cgroups.make("parent/child")?;
    let holder = Plan::new(Work::Hold(16), &child).start_ready()?;
    compare_memory(&collector, &parent)?;
    let (_, stats) = fresh(&collector, &parent.name())?;
    let rss = stats.memory.context("no memory")?.rss;
    ensure!(rss + MEMORY_SLACK >= 16 * bytes::MIB, "a child holds 16 MiB, the parent's rss is {rss}");
    holder.end()
}

fn memory_failcnt() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = v1(&["memory"])?;
    let cgroup = cgroups.make("failing")?;
    // Not the limit of memory and swap: that one, if as low, is hit first and counted elsewhere.
    bytes::write(cgroup.v1_file("memory", "memory.limit_in_bytes")?, &(16 * bytes::MIB).to_string())?;
    Plan::new(Work::Grow(64), &cgroup).run()?;
    let failures = bytes::read_number(cgroup.v1_file("memory", "memory.failcnt")?)?;
    ensure!(failures > 0, "no failure was counted: the scene does not work");
    compare_memory(&collector, &cgroup)
}

fn processes() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = v1(&["pids", "cpuacct"])?;
    let cgroup = cgroups.make("processes")?;
    bytes::write(cgroup.v1_file("pids", "pids.max")?, "100")?;
    let first = Plan::new(Work::Threads(5), &cgroup).start_ready()?;
    let second = Plan::new(Work::Hold(1), &cgroup).start_ready()?;
    Comparison::default()
        .value(
            "processes.threads_current",
            || bytes::read_number(cgroup.v1_file("pids", "pids.current")?),
            |stats| Some(stats.processes.as_ref()?.threads_current),
        )
        .value("processes.threads_max", || Ok(100), |stats| Some(stats.processes.as_ref()?.threads_max))
        .value("processes.process_count", || Ok(2), |stats| stats.processes.as_ref()?.process_count)
        .check(&collector, &cgroup.name())?;
    first.end()?;
    second.end()
}

fn io() -> Result<()> {
    let disk = Disk::find()?;
    let collector = Collector::start(&FLAGS)?;
    let cgroups = v1(&["blkio"])?;
    let cgroup = cgroups.make("io")?;
    disk.account(&cgroup)?;
    let writer = Plan::new(Work::Write(disk.file(), 8), &cgroup).start_ready()?;
    let written = disk.bytes_written(&cgroup)?;
    ensure!(written >= 8 * bytes::MIB, "the kernel counts {written} bytes: the scene does not work");
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    check_io(&stats, &disk, written)?;
    writer.end()
}

/// A disk's entries in a sample.
pub(crate) fn check_io(stats: &Stats, disk: &Disk, written: u64) -> Result<()> {
    let io = stats.diskio.as_ref().context("no diskio")?;
    let entry = |list: &[crate::support::api::PerDisk]| {
        list.iter().find(|entry| (entry.major, entry.minor) == disk.numbers()).cloned()
    };
    let bytes = entry(&io.io_service_bytes).with_context(|| format!("no entry of the disk in {io:?}"))?;
    ensure!(bytes.stats.get("Write") == Some(&written), "the kernel counts {written} bytes written, said is {bytes:?}");
    ensure!(bytes.device.starts_with("/dev/"), "the device has no name: {bytes:?}");
    let operations = entry(&io.io_serviced).with_context(|| format!("no operations of the disk in {io:?}"))?;
    ensure!(operations.stats.get("Write").is_some_and(|&count| count >= 1), "no operations: {operations:?}");
    Ok(())
}

fn hugetlb() -> Result<()> {
    let cgroups = Cgroups::new(Set::V1(&["hugetlb"]))?;
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("huge")?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    ensure!(!stats.hugetlb.is_empty(), "no hugetlb entries");
    ensure!(stats.hugetlb.values().all(|size| size.usage == 0), "huge pages that nobody took: {:?}", stats.hugetlb);
    Ok(())
}

fn limits() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = v1(&["cpu", "pids", "blkio"])?;
    let cgroup = cgroups.make("limits")?;
    let set = |controller: &str, file: &str, value: &str| bytes::write(cgroup.v1_file(controller, file)?, value);
    // Kernels without CONFIG_MEMCG_V1 and CONFIG_CPUSETS_V1 have the two on cgroup2 alone.
    let has_memory = cgroup.v1_file("memory", "").is_ok();
    let has_cpuset = cgroup.v1_file("cpuset", "").is_ok();
    let swap = has_memory && cgroup.v1_file("memory", "memory.memsw.limit_in_bytes")?.exists();
    for (scale, round) in [(1, "at first"), (2, "after a change")] {
        let mib = |count: u64| count * scale * bytes::MIB;
        set("cpu", "cpu.shares", &(512 * scale).to_string())?;
        set("cpu", "cpu.cfs_period_us", &(50_000 * scale).to_string())?;
        set("cpu", "cpu.cfs_quota_us", &(30_000 * scale).to_string())?;
        let mut memory = [("memory.limit_in_bytes", mib(64)), ("memory.memsw.limit_in_bytes", mib(128))];
        if scale > 1 {
            // The limit of memory and swap together is never the lower one.
            memory.reverse();
        }
        for (file, value) in memory {
            if has_memory && (swap || file == "memory.limit_in_bytes") {
                set("memory", file, &value.to_string())?;
            }
        }
        if has_memory {
            set("memory", "memory.soft_limit_in_bytes", &mib(32).to_string())?;
        }
        set("pids", "pids.max", &(100 * scale).to_string())?;
        if has_cpuset {
            set("cpuset", "cpuset.cpus", "0")?;
        }
        wait::eventually(wait::seconds(3), || {
            let spec = collector.container(&cgroup.name())?.spec;
            let said = format!("{round}; said: {spec:?}");
            ensure!(spec.has_cpu && spec.has_processes && spec.has_diskio, "has_*, {said}");
            ensure!(spec.has_memory == has_memory, "has_memory, {said}");
            ensure!(spec.cpu.limit == 512 * scale, "cpu.limit, {said}");
            ensure!(spec.cpu.period == Some(50_000 * scale), "cpu.period, {said}");
            ensure!(spec.cpu.quota == Some(30_000 * scale), "cpu.quota, {said}");
            ensure!(spec.cpu.mask.as_deref() == has_cpuset.then_some("0"), "cpu.mask, {said}");
            ensure!(spec.memory.limit == has_memory.then(|| mib(64)), "memory.limit, {said}");
            ensure!(spec.memory.reservation == has_memory.then(|| mib(32)), "memory.reservation, {said}");
            ensure!(!swap || spec.memory.swap_limit == Some(mib(128)), "memory.swap_limit, {said}");
            ensure!(spec.processes.limit == Some(100 * scale), "processes.limit, {said}");
            Ok(())
        })?;
    }
    Ok(())
}

/// What is unlimited is said as cAdvisor says it.
fn no_limits() -> Result<()> {
    const UNLIMITED: u64 = 9_223_372_036_854_771_712;
    let collector = Collector::start(&["--housekeeping_interval=100ms"])?;
    let cgroups = v1(&["cpu"])?;
    let (container, stats) = fresh(&collector, &cgroups.name())?;
    let spec = container.spec;
    ensure!(spec.cpu.limit == 1024 && spec.cpu.quota.is_none() && spec.cpu.mask.is_none(), "cpu: {:?}", spec.cpu);
    let unlimited = Layout::detect()?.v1("memory").map(|_| UNLIMITED);
    ensure!(spec.memory.limit == unlimited, "memory: {:?}", spec.memory);
    ensure!(spec.memory.reservation == unlimited, "memory: {:?}", spec.memory);
    ensure!(!spec.has_processes && !spec.has_network, "has_*: {spec:?}");
    ensure!(stats.processes.is_none() && stats.hugetlb.is_empty(), "kinds that are off by default are there");
    ensure!(stats.network.is_none(), "a cgroup without processes has no network");
    Ok(())
}
