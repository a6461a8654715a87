//! The numbers of a container on pure cgroup v2, all controllers on, against the kernel's own files.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::statistics_v1::check_io;
use crate::support::api::{Pressure, Stats};
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::compare::{Comparison, fresh};
use crate::support::disk::Disk;
use crate::support::harness::{Case, Needs, Skip};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("statistics_v2::cpu_beside_v1", cpu_beside_v1).needs(Needs::Both),
    Case::new("statistics_v2::cpu", cpu).needs(Needs::PureV2),
    Case::new("statistics_v2::cpu_is_throttled", cpu_is_throttled).needs(Needs::PureV2),
    Case::new("statistics_v2::memory", memory).needs(Needs::Cgroup2),
    Case::new("statistics_v2::zswap", zswap).needs(Needs::Cgroup2).on_every_unified_kernel(),
    Case::new("statistics_v2::misc", misc).needs(Needs::PureV2),
    Case::new("statistics_v2::memory_events", memory_events).needs(Needs::Cgroup2),
    Case::new("statistics_v2::processes", processes).needs(Needs::PureV2),
    Case::new("statistics_v2::io", io).needs(Needs::PureV2),
    Case::new("statistics_v2::pressure", pressure).needs(Needs::PureV2),
    Case::new("statistics_v2::hugetlb", hugetlb).needs(Needs::PureV2),
    Case::new("statistics_v2::limits", limits).needs(Needs::PureV2),
    Case::new("statistics_v2::no_limits", no_limits).needs(Needs::PureV2),
];

const FLAGS: [&str; 2] = [
    "--housekeeping_interval=100ms",
    "--enable_metrics=cpu,percpu,memory,disk,diskIO,network,process,hugetlb,sched,cpuset,pressure",
];
const MEMORY_SLACK: u64 = bytes::MIB;

fn pure_v2() -> Result<Cgroups> {
    if Layout::detect()?.is_pure_v2() {
        Cgroups::new(Set::V2)
    } else {
        Err(Skip::because("this machine's controllers are on cgroup v1"))
    }
}

/// Cgroups whose memory is cgroup2's, whatever is mounted beside it.
fn memory_on_v2() -> Result<Cgroups> {
    match Layout::detect()?.memory() {
        Some(mount) if mount.is_v2() => Cgroups::new(Set::Every),
        _ => Err(Skip::because("cgroup2 has no memory controller here")),
    }
}

/// The CPU times of `cpu.stat`, which every v2 cgroup has.
fn compare_cpu(collector: &Collector, cgroup: &Cgroup<'_>) -> Result<()> {
    let stat = |key: &'static str| move || Ok(bytes::read_key(cgroup.v2_file("cpu.stat")?, key)? * 1000);
    Comparison::default()
        .value("cpu.usage.total", stat("usage_usec"), |stats| Some(stats.cpu.as_ref()?.usage.total))
        .value("cpu.usage.user", stat("user_usec"), |stats| Some(stats.cpu.as_ref()?.usage.user))
        .value("cpu.usage.system", stat("system_usec"), |stats| Some(stats.cpu.as_ref()?.usage.system))
        .check(collector, &cgroup.name())
}

/// A container that lives in cgroup2 alone, on a machine whose controllers are on v1.
fn cpu_beside_v1() -> Result<()> {
    if Layout::detect()?.is_pure_v2() {
        return Err(Skip::because("there is no cgroup v1 beside, statistics_v2::cpu has it"));
    }
    let collector = Collector::start(&FLAGS)?;
    let cgroups = Cgroups::new(Set::V2)?;
    let cgroup = cgroups.make("cpu")?;
    let spinner = Plan::new(Work::Spin, &cgroup).start_ready()?;
    compare_cpu(&collector, &cgroup)?;
    spinner.end()
}

fn cpu() -> Result<()> {
    let cgroups = pure_v2()?;
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("cpu")?;
    let spinner = Plan::new(Work::Spin, &cgroup).start_ready()?;
    compare_cpu(&collector, &cgroup)?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    let cpu = stats.cpu.context("no cpu")?;
    ensure!(cpu.usage.per_cpu_usage.is_empty(), "cgroup v2 has no time per CPU: {:?}", cpu.usage);
    // Not looked at for each sample on a slow machine.
    wait::eventually(wait::seconds(10), || {
        let (_, stats) = fresh(&collector, &cgroup.name())?;
        let cpu = stats.cpu.context("no cpu")?;
        ensure!(cpu.schedstat.run_time > 0, "no schedstat: {:?}", cpu.schedstat);
        Ok(())
    })?;
    spinner.end()
}

fn cpu_is_throttled() -> Result<()> {
    let cgroups = pure_v2()?;
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("throttled")?;
    bytes::write(cgroup.v2_file("cpu.max")?, "2000 20000")?;
    let spinner = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let stat = |key: &'static str| {
        let cgroup = &cgroup;
        move || bytes::read_key(cgroup.v2_file("cpu.stat")?, key)
    };
    let throttled = stat("nr_throttled");
    wait::eventually(wait::seconds(5), || {
        let count = throttled()?;
        ensure!(count > 3, "throttled only {count} times: the scene does not work");
        Ok(())
    })?;
    let time = stat("throttled_usec");
    Comparison::default()
        .value("cpu.cfs.periods", stat("nr_periods"), |stats| Some(stats.cpu.as_ref()?.cfs.periods))
        .value("cpu.cfs.throttled_periods", throttled, |stats| Some(stats.cpu.as_ref()?.cfs.throttled_periods))
        .value("cpu.cfs.throttled_time", || Ok(time()? * 1000), |stats| Some(stats.cpu.as_ref()?.cfs.throttled_time))
        .check(&collector, &cgroup.name())?;
    spinner.end()
}

fn memory() -> Result<()> {
    let cgroups = memory_on_v2()?;
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("memory")?;
    let holder = Plan::new(Work::Hold(24), &cgroup).start_ready()?;
    let stat = |key: &'static str| {
        let cgroup = &cgroup;
        move || bytes::read_key(cgroup.v2_file("memory.stat")?, key)
    };
    let current = || bytes::read_number(cgroup.v2_file("memory.current")?);
    let inactive = stat("inactive_file");
    let mut comparison = Comparison::default()
        .within(MEMORY_SLACK, "memory.usage", current, |stats| Some(stats.memory.as_ref()?.usage))
        .within(MEMORY_SLACK, "memory.rss", stat("anon"), |stats| Some(stats.memory.as_ref()?.rss))
        .within(MEMORY_SLACK, "memory.cache", stat("file"), |stats| Some(stats.memory.as_ref()?.cache))
        .within(MEMORY_SLACK, "memory.mapped_file", stat("file_mapped"), |stats| {
            Some(stats.memory.as_ref()?.mapped_file)
        })
        .within(
            MEMORY_SLACK,
            "memory.working_set",
            || Ok(current()?.saturating_sub(inactive()?)),
            |stats| Some(stats.memory.as_ref()?.working_set),
        )
        .within(256, "memory.container_data.pgfault", stat("pgfault"), |stats| {
            Some(stats.memory.as_ref()?.container_data.pgfault)
        })
        .within(256, "memory.container_data.pgmajfault", stat("pgmajfault"), |stats| {
            Some(stats.memory.as_ref()?.container_data.pgmajfault)
        });
    let peak = cgroup.v2_file("memory.peak")?;
    if peak.exists() {
        comparison = comparison.within(
            MEMORY_SLACK,
            "memory.max_usage",
            move || bytes::read_number(&peak),
            |stats| Some(stats.memory.as_ref()?.max_usage),
        );
    }
    comparison.check(&collector, &cgroup.name())?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    let rss = stats.memory.context("no memory")?.rss;
    ensure!(rss + MEMORY_SLACK >= 24 * bytes::MIB, "24 MiB are held, rss is {rss}");
    holder.end()
}

/// A container's newest sample of v2.1 after now, as it is.
fn newest_v21(collector: &Collector, name: &str) -> Result<Value> {
    fresh(collector, name)?;
    let all: Value = collector.json(&format!("/api/v2.1/stats{name}?count=1"), None)?;
    let stats = all.get(name).and_then(|container| container.get("stats")?.as_array()?.last().cloned());
    stats.with_context(|| format!("no sample of {name} in {all}"))
}

/// Without a swap device nothing is compressed, but every number is there, and a limit.
fn zswap() -> Result<()> {
    const LIMIT: u64 = 16 * bytes::MIB;
    let cgroups = memory_on_v2()?;
    let cgroup = cgroups.make("zswap")?;
    let [current, max] = ["memory.zswap.current", "memory.zswap.max"].map(|file| cgroup.v2_file(file));
    let (current, max) = (current?, max?);
    if !current.exists() {
        return Err(Skip::because("the kernel has no memory.zswap.current (since 5.19, CONFIG_ZSWAP)"));
    }
    bytes::write(&max, &LIMIT.to_string())?;
    let collector = Collector::start(&FLAGS)?;
    let holder = Plan::new(Work::Hold(8), &cgroup).start_ready()?;
    let name = cgroup.name();
    let id = [("id", name.as_str())];
    wait::eventually(wait::seconds(5), || {
        let sample = newest_v21(&collector, &name)?;
        let zswap = sample.get("zswap").with_context(|| format!("no zswap in {sample}"))?;
        let stat = bytes::read(cgroup.v2_file("memory.stat")?)?;
        let metrics = collector.metrics()?;
        let usage = bytes::read_number(&current)?;
        ensure!(zswap["usage"] == usage, "memory.zswap.current is {usage}: {zswap}");
        ensure!(metrics.value("container_memory_zswap_bytes", &id) == Some(usage as f64), "usage {usage} at /metrics");
        ensure!(zswap["limit"] == LIMIT, "memory.zswap.max is {LIMIT}: {zswap}");
        let limit = metrics.value("container_spec_memory_zswap_limit_bytes", &id);
        ensure!(limit == Some(LIMIT as f64), "memory.zswap.max is {LIMIT}, at /metrics {limit:?}");
        for (key, field) in
            [("zswapped", "stored"), ("zswpin", "pages_in"), ("zswpout", "pages_out"), ("zswpwb", "pages_written_back")]
        {
            let reported = zswap.get(field).and_then(Value::as_u64);
            ensure!(reported == bytes::find_key(&stat, key), "{field}: {reported:?}, memory.stat: {stat}");
        }
        Ok(())
    })?;
    holder.end()
}

/// Most machines have no resource that the controller counts: the list is empty then, but there.
fn misc() -> Result<()> {
    let cgroups = pure_v2()?;
    let cgroup = cgroups.make("misc")?;
    let current = cgroup.v2_file("misc.current")?;
    if !current.exists() {
        return Err(Skip::because("the kernel has no controller misc (since 5.13, CONFIG_CGROUP_MISC)"));
    }
    let collector = Collector::start(&FLAGS)?;
    let sample = newest_v21(&collector, &cgroup.name())?;
    let reported = sample.get("misc").and_then(Value::as_array).with_context(|| format!("no misc in {sample}"))?;
    let text = bytes::read(&current)?;
    ensure!(reported.len() == text.lines().count(), "misc.current: {text}, said: {reported:?}");
    for resource in reported {
        let name = resource["resource"].as_str().unwrap_or_default();
        ensure!(resource["current"].as_u64() == bytes::find_key(&text, name), "misc.current: {text}, said: {resource}");
    }
    Ok(())
}

fn memory_events() -> Result<()> {
    let cgroups = memory_on_v2()?;
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("limited")?;
    crate::oom::limit_memory(&cgroup, 16)?;
    Plan::new(Work::Grow(64), &cgroup).run()?;
    let max = bytes::read_key(cgroup.v2_file("memory.events")?, "max")?;
    ensure!(max > 0, "the limit was never hit: the scene does not work");
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    let memory = stats.memory.context("no memory")?;
    ensure!(memory.events.as_ref().is_some_and(|events| events.max == max), "memory.events.max is {max}: {memory:?}");
    ensure!(memory.failcnt == 0, "cgroup v2 has no failcnt");
    Ok(())
}

fn processes() -> Result<()> {
    let cgroups = pure_v2()?;
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("processes")?;
    bytes::write(cgroup.v2_file("pids.max")?, "100")?;
    let first = Plan::new(Work::Threads(5), &cgroup).start_ready()?;
    let second = Plan::new(Work::Hold(1), &cgroup).start_ready()?;
    Comparison::default()
        .value(
            "processes.threads_current",
            || bytes::read_number(cgroup.v2_file("pids.current")?),
            |stats| Some(stats.processes.as_ref()?.threads_current),
        )
        .value("processes.threads_max", || Ok(100), |stats| Some(stats.processes.as_ref()?.threads_max))
        .value("processes.process_count", || Ok(2), |stats| stats.processes.as_ref()?.process_count)
        .check(&collector, &cgroup.name())?;
    first.end()?;
    second.end()
}

fn io() -> Result<()> {
    let cgroups = pure_v2()?;
    let disk = Disk::find()?;
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("io")?;
    let writer = Plan::new(Work::Write(disk.file(), 8), &cgroup).start_ready()?;
    let written = disk.bytes_written(&cgroup)?;
    ensure!(written >= 8 * bytes::MIB, "the kernel counts {written} bytes: the scene does not work");
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    check_io(&stats, &disk, written)?;
    writer.end()
}

/// The `total` of one row of a pressure file.
fn pressure_total(cgroup: &Cgroup<'_>, file: &str, row: &str) -> Result<u64> {
    let text = bytes::read(cgroup.v2_file(file)?)?;
    let total = text.lines().find_map(|line| line.strip_prefix(row)?.rsplit_once("total=")?.1.parse().ok());
    total.with_context(|| format!("{file} has no row {row}"))
}

fn pressure() -> Result<()> {
    let cgroups = pure_v2()?;
    if bytes::read("/proc/pressure/cpu").is_err() {
        return Err(Skip::because("pressure stall information is off in this kernel"));
    }
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("pressed")?;
    // Throttled tasks wait for a CPU all the time.
    bytes::write(cgroup.v2_file("cpu.max")?, "2000 20000")?;
    let spinners = [Plan::new(Work::Spin, &cgroup).start_ready()?, Plan::new(Work::Spin, &cgroup).start_ready()?];
    wait::eventually(wait::seconds(10), || {
        let total = pressure_total(&cgroup, "cpu.pressure", "some")?;
        ensure!(total > 10_000, "pressed for only {total} µs: the scene does not work");
        Ok(())
    })?;
    let cpu = |stats: &Stats| stats.cpu.as_ref()?.psi.clone();
    let memory = |stats: &Stats| stats.memory.as_ref()?.psi.clone();
    let io = |stats: &Stats| stats.diskio.as_ref()?.psi.clone();
    let some = |pressure: Option<Pressure>| Some(pressure?.some.total);
    let full = |pressure: Option<Pressure>| Some(pressure?.full.total);
    let kernel = |file: &'static str, row: &'static str| {
        let cgroup = &cgroup;
        move || pressure_total(cgroup, file, row)
    };
    // Before 5.13 the CPU has no such row, and the form that cAdvisor gave the answer has no way to say so.
    let cpu_full = || {
        let text = bytes::read(cgroup.v2_file("cpu.pressure")?)?;
        if text.contains("full") { pressure_total(&cgroup, "cpu.pressure", "full") } else { Ok(0) }
    };
    Comparison::default()
        .value("cpu.psi.some.total", kernel("cpu.pressure", "some"), |stats| some(cpu(stats)))
        .value("cpu.psi.full.total", cpu_full, |stats| full(cpu(stats)))
        .value("memory.psi.some.total", kernel("memory.pressure", "some"), |stats| some(memory(stats)))
        .value("memory.psi.full.total", kernel("memory.pressure", "full"), |stats| full(memory(stats)))
        .value("diskio.psi.some.total", kernel("io.pressure", "some"), |stats| some(io(stats)))
        .value("diskio.psi.full.total", kernel("io.pressure", "full"), |stats| full(io(stats)))
        .check(&collector, &cgroup.name())?;
    for spinner in spinners {
        spinner.end()?;
    }
    Ok(())
}

/// A hugetlbfs mount with a few pages to take, undone when dropped.
struct HugePages {
    folder: PathBuf,
    pages: String,
}

impl HugePages {
    const COUNT: &'static str = "/proc/sys/vm/nr_hugepages";

    fn reserve() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("collector-test-hugetlbfs-{}", std::process::id()));
        let missing = |error: &dyn std::fmt::Display| Skip::because(format!("no huge pages can be had: {error}"));
        let pages = bytes::read(Self::COUNT).map_err(|error| missing(&error))?;
        fs::create_dir_all(&folder)?;
        bytes::write(Self::COUNT, "4").map_err(|error| missing(&error))?;
        let had = bytes::read_number(Self::COUNT)?;
        let this = Self { folder, pages };
        ensure!(had > 0, missing(&"memory is too fragmented"));
        rustix::mount::mount("none", &this.folder, "hugetlbfs", rustix::mount::MountFlags::empty(), None)
            .map_err(|error| missing(&error))?;
        Ok(this)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.folder, rustix::mount::UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.folder);
        let _ = bytes::write(Self::COUNT, &self.pages);
    }
}

fn hugetlb() -> Result<()> {
    let cgroups = pure_v2()?;
    let cgroup = cgroups.make("huge")?;
    let size = bytes::meminfo("Hugepagesize").map_err(|_| Skip::because("the kernel has no huge pages"))?;
    let mib = size / bytes::MIB;
    if !cgroup.v2_file(&format!("hugetlb.{mib}MB.current"))?.exists() {
        return Err(Skip::because("the kernel has no hugetlb controller"));
    }
    let pages = HugePages::reserve()?;
    let collector = Collector::start(&FLAGS)?;
    let taker = Plan::new(Work::HugePages(pages.folder.join("file"), size), &cgroup).start_ready()?;
    let rsvd = cgroup.v2_file(&format!("hugetlb.{mib}MB.rsvd.current"))?;
    let expected = if rsvd.exists() {
        bytes::read_number(rsvd)?
    } else {
        bytes::read_number(cgroup.v2_file(&format!("hugetlb.{mib}MB.current"))?)?
    };
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    let entry = stats.hugetlb.get(&format!("{mib}MB"));
    let entry = entry.with_context(|| format!("no entry of {mib}MB in {:?}", stats.hugetlb))?;
    ensure!(entry.usage == expected, "the kernel says {expected}, said is {entry:?}");
    taker.end()
}

fn limits() -> Result<()> {
    let cgroups = pure_v2()?;
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("limits")?;
    let set = |file: &str, value: String| bytes::write(cgroup.v2_file(file)?, &value);
    let swap = cgroup.v2_file("memory.swap.max")?.exists();
    for (scale, round) in [(1, "at first"), (2, "after a change")] {
        let mib = |count: u64| count * scale * bytes::MIB;
        set("cpu.weight", (50 * scale).to_string())?;
        set("cpu.max", format!("{} {}", 30_000 * scale, 50_000 * scale))?;
        set("memory.max", mib(64).to_string())?;
        set("memory.min", mib(8).to_string())?;
        if swap {
            set("memory.swap.max", mib(16).to_string())?;
        }
        set("pids.max", (100 * scale).to_string())?;
        set("cpuset.cpus", "0".to_owned())?;
        wait::eventually(wait::seconds(3), || {
            let spec = collector.container(&cgroup.name())?.spec;
            let said = format!("{round}; said: {spec:?}");
            ensure!(spec.has_cpu && spec.has_memory && spec.has_processes && spec.has_diskio, "has_*, {said}");
            ensure!(spec.cpu.limit == 2 + ((50 * scale - 1) * 262_142) / 9999, "cpu.limit, {said}");
            ensure!(spec.cpu.period == Some(50_000 * scale), "cpu.period, {said}");
            ensure!(spec.cpu.quota == Some(30_000 * scale), "cpu.quota, {said}");
            ensure!(spec.cpu.mask.as_deref() == Some("0"), "cpu.mask, {said}");
            ensure!(spec.memory.limit == Some(mib(64)), "memory.limit, {said}");
            ensure!(spec.memory.reservation == Some(mib(8)), "memory.reservation, {said}");
            ensure!(!swap || spec.memory.swap_limit == Some(mib(16)), "memory.swap_limit, {said}");
            ensure!(spec.processes.limit == Some(100 * scale), "processes.limit, {said}");
            Ok(())
        })?;
    }
    Ok(())
}

/// What is unlimited is said as cAdvisor says it.
fn no_limits() -> Result<()> {
    let cgroups = pure_v2()?;
    let collector = Collector::start(&["--housekeeping_interval=100ms"])?;
    let (container, stats) = fresh(&collector, &cgroups.name())?;
    let spec = container.spec;
    ensure!(spec.cpu.limit == 2597 && spec.cpu.quota.is_none(), "cpu: {:?}", spec.cpu);
    ensure!(spec.memory.limit == Some(u64::MAX), "memory: {:?}", spec.memory);
    ensure!(spec.memory.reservation.is_none(), "memory: {:?}", spec.memory);
    ensure!(stats.processes.is_none() && stats.hugetlb.is_empty(), "kinds that are off by default are there");
    Ok(())
}
