//! Counters from kernel memory: that they are taken, that they are those of the files, and that files alone can be had.

use std::process::Command;
use std::time::Duration;

use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs, Skip};
use crate::support::settings::settings;
use crate::support::workload::{Plan, Work};
use crate::support::{Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("kernel_memory::is_taken_and_is_like_the_files", is_taken_and_is_like_the_files)
        .needs(Needs::V1)
        .on_every_kernel(),
    Case::new("kernel_memory::of_cgroup2_is_taken_and_is_like_the_files", of_cgroup2_is_taken_and_is_like_the_files)
        .needs(Needs::PureV2)
        .on_every_kernel(),
    Case::new("kernel_memory::an_ending_cgroup_is_no_difference", an_ending_cgroup_is_no_difference).needs(Needs::V1),
    Case::new("kernel_memory::files_alone_on_request", files_alone_on_request),
];

const RECORDS: &str = "collector_kernel_memory_records_total";
const COMPARED: &str = "collector_kernel_memory_compared_total";

/// Nested cgroups with work in them, compared over and over again by the collector itself while it samples them.
fn is_taken_and_is_like_the_files() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=100ms"])?;
    let layout = Layout::detect()?;
    let there = |controller: &&str| layout.v1(controller).is_some();
    let all: Vec<&str> = ["cpu", "cpuacct", "memory", "pids", "blkio"].into_iter().filter(there).collect();
    let cgroups = Cgroups::new(Set::V1(&all))?;
    let outer = cgroups.make("outer")?;
    let inner = cgroups.make("outer/inner")?;
    let _busy = Plan::new(Work::Spin, &inner).start_ready()?;
    let _idle = Plan::new(Work::Threads(3), &outer).start_ready()?;
    let served = served(&collector, &["cpuacct", "cpu"])?;
    is_compared(&collector, &served)?;
    // What is printed of one container has the fields of the kernel's, and values like the files.
    is_printed(&outer.name(), "(kernel memory: task_group.cfs_bandwidth.nr_periods; cpu.stat: nr_periods)")
}

/// The same on cgroup v2, where a cgroup that passes its controllers on has no processes of its own. Memory is in kernel
/// memory since 6.1, all else on every kernel.
fn of_cgroup2_is_taken_and_is_like_the_files() -> Result<()> {
    if !Layout::detect()?.is_pure_v2() {
        return Err(Skip::because("cgroup2 is not alone here"));
    }
    let collector = Collector::start(&["--housekeeping_interval=100ms"])?;
    let cgroups = Cgroups::new(Set::V2)?;
    let outer = cgroups.make("outer")?;
    outer.delegate()?;
    let inner = cgroups.make("outer/inner")?;
    let beside = cgroups.make("outer/beside")?;
    // Throttled, and with a limit that is not reached.
    bytes::write(inner.v2_file("cpu.max")?, "50000 100000")?;
    bytes::write(beside.v2_file("memory.high")?, "64M")?;
    let _busy = Plan::new(Work::Spin, &inner).start_ready()?;
    let _held = Plan::new(Work::Hold(20), &beside).start_ready()?;
    let _idle = Plan::new(Work::Threads(3), &beside).start_ready()?;
    let served = served(&collector, &["cgroup", "cpu", "memory"])?;
    for family in ["cgroup", "cpu"] {
        ensure!(served.contains(&family.to_owned()), "{family} is not among {served:?}");
    }
    is_compared(&collector, &served)?;
    is_printed(&inner.name(), "(kernel memory: cgroup.bstat.cputime.sum_exec_runtime; cpu.stat: usage_usec)")?;
    // Of memory it may be the file: who reads once may not be certain yet of every line.
    is_printed(&inner.name(), "(kernel memory: task_group.cfs_bandwidth.nr_throttled; cpu.stat: nr_throttled)")
}

/// A cgroup's files are gone at once, its structures a while later, and in its other hierarchies it is still there. It takes
/// four seconds.
fn an_ending_cgroup_is_no_difference() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=100ms"])?;
    let layout = Layout::detect()?;
    let there = |controller: &&str| layout.v1(controller).is_some();
    let all: Vec<&str> = ["cpu", "cpuacct", "memory", "pids", "blkio"].into_iter().filter(there).collect();
    let served = served(&collector, &all)?;
    let cgroups = Cgroups::new(Set::V1(&all))?;
    for number in 0..150 {
        let cgroup = cgroups.make(format!("ending-{number}"))?;
        std::thread::sleep(Duration::from_millis(number % 15));
        // What is compared at its first sample loses one controller meanwhile.
        for directory in cgroup.dirs().iter().skip(number as usize % all.len()).take(1) {
            std::fs::remove_dir(directory)?;
        }
        std::thread::sleep(Duration::from_millis(12));
        cgroup.remove()?;
    }
    let health = collector.health()?;
    ensure!(!health.contains("is not what the files have"), "of {served:?}: {health}");
    Ok(())
}

/// Which of these families the collector reads from kernel memory; a skip where there is none.
fn served(collector: &Collector, of: &[&str]) -> Result<Vec<String>> {
    let line = wait::eventually(wait::seconds(20), || {
        let health = collector.health()?;
        let line = health.lines().find(|line| line.starts_with("counters from:")).unwrap_or_default();
        ensure!(!line.contains("not looked at yet"), "{line}");
        Ok(line.to_owned())
    })?;
    if !line.contains("kernel memory (") {
        return Err(Skip::because(format!("no counters in kernel memory here: {line}")));
    }
    let names = line.split_once("kernel memory (").and_then(|(_, rest)| rest.split_once(')')).unwrap_or_default().0;
    Ok(names.split(", ").filter(|name| of.contains(name)).map(str::to_owned).collect())
}

/// Waits until many records of each family were taken and some compared, none of them with a difference.
fn is_compared(collector: &Collector, families: &[String]) -> Result<()> {
    wait::eventually(wait::seconds(40), || {
        let metrics = collector.metrics()?;
        for family in families {
            let of = |name| metrics.value(name, &[("family", family)]).unwrap_or_default();
            let (records, compared) = (of(RECORDS), of(COMPARED));
            ensure!(records > 20.0 && compared > 4.0, "{family}: {records} records, {compared} compared");
        }
        Ok(())
    })?;
    let health = collector.health()?;
    ensure!(!health.contains("is not what the files have"), "{health}");
    Ok(())
}

/// Whether `collector statistics` says this of the cgroup.
fn is_printed(cgroup: &str, expected: &str) -> Result<()> {
    let output = Command::new(&settings().collector).args(["statistics", &format!("--cgroup={cgroup}")]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.contains(expected), "no {expected} in {text}");
    Ok(())
}

/// Nothing is loaded for it, and numbers are there all the same.
fn files_alone_on_request() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=100ms", "--counters=files"])?;
    wait::eventually(wait::seconds(10), || {
        let root = collector.container("/")?;
        ensure!(root.stats.last().is_some_and(|stats| stats.cpu.is_some()), "no sample yet");
        Ok(())
    })?;
    let health = collector.health()?;
    ensure!(health.contains("counters from: files (--counters=files)"), "{health}");
    ensure!(!collector.metrics()?.has(RECORDS), "{RECORDS} although files are read");
    Ok(())
}
