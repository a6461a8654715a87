//! Counters from kernel memory: that they are taken, that they are those of the files, and that files alone can be had.

use std::process::Command;

use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs, Skip};
use crate::support::settings::settings;
use crate::support::workload::{Plan, Work};
use crate::support::{Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("kernel_memory::is_taken_and_is_like_the_files", is_taken_and_is_like_the_files)
        .needs(Needs::V1)
        .on_every_kernel(),
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
    wait::eventually(wait::seconds(20), || {
        let health = collector.health()?;
        let line = health.lines().find(|line| line.starts_with("counters from:")).unwrap_or_default();
        ensure!(!line.contains("not looked at yet"), "{line}");
        Ok(())
    })?;
    let health = collector.health()?;
    if !health.contains("counters from: kernel memory") {
        let line = health.lines().find(|line| line.starts_with("counters from:")).unwrap_or_default();
        return Err(Skip::because(format!("no counters in kernel memory here: {line}")));
    }
    let names = health.split_once("kernel memory (").and_then(|(_, rest)| rest.split_once(')')).unwrap_or_default().0;
    let names: Vec<_> = names.split(", ").map(str::to_owned).collect();
    wait::eventually(wait::seconds(20), || {
        let metrics = collector.metrics()?;
        // Which there are depends on the kernel.
        let served = ["cpuacct", "cpu"].into_iter().filter(|family| names.contains(&(*family).to_owned()));
        for family in served {
            let of = |name| metrics.value(name, &[("family", family)]).unwrap_or_default();
            let (records, compared) = (of(RECORDS), of(COMPARED));
            ensure!(records > 20.0 && compared > 4.0, "{family}: {records} records, {compared} compared");
        }
        Ok(())
    })?;
    let health = collector.health()?;
    ensure!(!health.contains("is not what the files have"), "{health}");
    // What is printed of one container has the fields of the kernel's, and values like the files.
    let output =
        Command::new(&settings().collector).args(["statistics", &format!("--cgroup={}", outer.name())]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "(kernel memory: task_group.cfs_bandwidth.nr_periods; cpu.stat: nr_periods)";
    ensure!(text.contains(expected), "{text}");
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
