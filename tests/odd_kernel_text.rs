//! Cgroups that are not as usual: threaded ones, and such whose controllers come late.

use std::fs;

use serde_json::Value;

use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs, Skip};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("odd_kernel_text::threaded_cgroup", threaded_cgroup).on_every_kernel(),
    Case::new("odd_kernel_text::every_thread_has_schedstat", every_thread_has_schedstat).on_every_kernel(),
    Case::new("odd_kernel_text::late_controllers", late_controllers).needs(Needs::PureV2),
    Case::new("odd_kernel_text::idle_weight", idle_weight).needs(Needs::PureV2),
];

const FLAGS: [&str; 2] =
    ["--housekeeping_interval=100ms", "--enable_metrics=cpu,percpu,memory,diskIO,process,sched,cpuset"];

fn threads_of(pid: u32) -> Result<Vec<u32>> {
    let mut tids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        tids.push(entry?.file_name().to_string_lossy().parse()?);
    }
    Ok(tids)
}

/// Four threads of one process are one process, with its descriptors once. Takes a second.
fn threaded_cgroup() -> Result<()> {
    let cgroups = Cgroups::new(Set::V2)?;
    let collector = Collector::start(&FLAGS)?;
    let domain = cgroups.make("domain")?;
    let threaded = cgroups.make("domain/threaded")?;
    bytes::write(threaded.v2_file("cgroup.type")?, "threaded")?;
    let workload = Plan::new(Work::Threads(4), &domain).start_ready()?;
    let pid = workload.pid();
    let tids: Vec<u32> = threads_of(pid)?.into_iter().filter(|tid| *tid != pid).collect();
    ensure!(tids.len() == 4, "{tids:?}");
    for tid in &tids {
        bytes::write(threaded.v2_file("cgroup.threads")?, &tid.to_string())?;
    }
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    let counts_threads = Layout::detect()?.is_pure_v2();
    wait::eventually(wait::seconds(3), || {
        let container = collector.container(&threaded.name())?;
        let processes = container.stats.last().and_then(|stats| stats.processes.clone()).context("no processes yet")?;
        ensure!(processes.process_count == Some(1), "{processes:?}");
        ensure!(processes.fd_count == Some(open), "{open} descriptors are open: {processes:?}");
        // Beside cgroup v1 the controller is elsewhere; without one the threads themselves are counted.
        let threads = if counts_threads { 4 } else { 0 };
        ensure!(processes.threads_current == threads, "{processes:?}");
        Ok(())
    })?;
    let list: Vec<Value> = collector.json(&format!("/api/v2.0/ps{}", threaded.name()), None)?;
    ensure!(list.len() == 1 && list[0]["pid"] == u64::from(pid), "{list:?}");
    let metrics = collector.metrics()?;
    let name = threaded.name();
    let reported =
        ["container_processes", "container_file_descriptors"].map(|family| metrics.value(family, &[("id", &name)]));
    ensure!(reported == [Some(1.0), Some(open as f64)], "{reported:?}");
    workload.end()
}

/// A process of which only the second thread works. Takes a second.
fn every_thread_has_schedstat() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let collector = Collector::start(&FLAGS)?;
    let cgroup = cgroups.make("threads")?;
    let workload = Plan::new(Work::SpinThread, &cgroup).start_ready()?;
    let pid = workload.pid();
    let sum = || -> Result<u64> {
        let mut sum = 0;
        for tid in threads_of(pid)? {
            let text = bytes::read(format!("/proc/{pid}/task/{tid}/schedstat"))?;
            sum += text.split(' ').next().context("empty")?.parse::<u64>()?;
        }
        Ok(sum)
    };
    let mut last = 0;
    wait::eventually(wait::seconds(5), || {
        let before = sum()?;
        wait::pass(wait::millis(300));
        let stats = collector.container(&cgroup.name())?.stats;
        let cpu = stats.last().and_then(|stats| stats.cpu.clone()).context("no CPU yet")?;
        let main: u64 = bytes::read(format!("/proc/{pid}/schedstat"))?.split(' ').next().context("empty")?.parse()?;
        let after = sum()?;
        let said = cpu.schedstat.run_time;
        ensure!(said >= last, "{said} is less than {last}");
        last = said;
        ensure!(
            (before..=after).contains(&said),
            "{said} is not between {before} and {after}; the first thread: {main}"
        );
        ensure!(said > main + 100_000_000, "{said} is that of the first thread: {main}");
        Ok(())
    })?;
    workload.end()
}

/// Controllers that are switched on after the first samples are seen at once, gone when they are switched off, and back
/// when they come back; with them the limits. Takes about ten seconds.
fn late_controllers() -> Result<()> {
    if !Layout::detect()?.is_pure_v2() {
        return Err(Skip::because("this machine's controllers are on cgroup v1"));
    }
    let cgroups = Cgroups::new(Set::V2)?;
    // Longer than anything that goes by count would wait.
    let flags = ["--housekeeping_interval=1s", "--allow_dynamic_housekeeping=false", FLAGS[1]];
    let collector = Collector::start(&flags)?;
    let parent = cgroups.make("parent")?;
    let late = cgroups.make("parent/late")?;
    let workload = Plan::new(Work::Hold(4), &late).start_ready()?;
    let name = late.name();
    let family = |family: &str| Ok(collector.metrics()?.value(family, &[("id", &name)]));
    for round in 0..2 {
        wait::pass(wait::seconds(if round == 0 { 4 } else { 2 }));
        let stats = collector.container(&name)?.stats;
        ensure!(stats.last().is_some_and(|stats| stats.memory.is_none()), "memory without its controller in {round}");
        for absent in ["container_memory_usage_bytes", "container_memory_rss", "container_spec_memory_limit_bytes"] {
            let reported: Result<Option<f64>> = family(absent);
            ensure!(reported?.is_none(), "{absent} without its controller in round {round}");
        }
        bytes::write(parent.v2_file("cgroup.subtree_control")?, "+memory +pids +io")?;
        bytes::write(late.v2_file("memory.max")?, "67108864")?;
        bytes::write(late.v2_file("pids.max")?, "100")?;
        wait::eventually(wait::millis(2500), || {
            let container = collector.container(&name)?;
            let stats = container.stats.last().context("no sample")?;
            ensure!(stats.memory.is_some(), "no memory yet");
            ensure!(
                stats.processes.as_ref().is_some_and(|processes| processes.threads_max == 100),
                "no limit of tasks"
            );
            ensure!(family("container_memory_usage_bytes")?.is_some(), "not in /metrics");
            ensure!(family("container_spec_memory_limit_bytes")? == Some(67_108_864.0), "no limit in /metrics");
            Ok(())
        })?;
        bytes::write(parent.v2_file("cgroup.subtree_control")?, "-memory -pids -io")?;
    }
    workload.end()
}

/// The weight of an idle cgroup is said to be 0: that is the least, and no limit of 0. Takes a second.
fn idle_weight() -> Result<()> {
    let cgroups = Cgroups::new(Set::V2)?;
    let cgroup = cgroups.make("idle")?;
    if !cgroup.v2_file("cpu.idle")?.exists() {
        return Err(Skip::because("this kernel has no cpu.idle"));
    }
    bytes::write(cgroup.v2_file("cpu.idle")?, "1")?;
    let collector = Collector::start(&FLAGS)?;
    wait::eventually(wait::seconds(3), || {
        let spec = collector.container(&cgroup.name())?.spec;
        ensure!(spec.cpu.limit == 2, "{spec:?}");
        Ok(())
    })
}
