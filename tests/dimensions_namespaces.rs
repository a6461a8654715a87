//! What a collector sees from within namespaces of its own, and through mounts that show less than the host's.

use rustix::thread::CapabilitySet;

use crate::dimensions_privileges::nobody_with;
use crate::oom::Scene;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, run_to_end};
use crate::support::harness::Case;
use crate::support::surroundings::Surroundings;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("dimensions_namespaces::cgroup_namespace_with_the_hosts_mounts", with_the_hosts_mounts)
        .on_every_unified_kernel(),
    Case::new("dimensions_namespaces::cgroup_namespace_with_mounts_of_its_own", with_mounts_of_its_own)
        .on_every_unified_kernel(),
    Case::new("dimensions_namespaces::processes_are_hidden", processes_are_hidden),
    Case::new("dimensions_namespaces::no_cgroup_mount", no_cgroup_mount).on_every_unified_kernel(),
];

/// The mounts show the whole hierarchies, and so the names are the host's: also those of the cgroup the collector is
/// in, of cgroups beside it, and in what the kernel reports.
fn with_the_hosts_mounts() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let home = cgroups.make("home")?;
    let surroundings = Surroundings::default().inside(&home).in_cgroup_namespace();
    let mut collector = Collector::start_as(surroundings, &[])?;
    collector.require_ebpf()?;
    let beside = cgroups.make("beside")?;
    let spinner = Plan::new(Work::Spin, &beside).start_ready()?;
    wait::eventually(wait::seconds(5), || {
        let listed = collector.names_below(&cgroups.name())?;
        ensure!(listed == [cgroups.name(), beside.name(), home.name()], "listed are {listed:?}");
        let stats = collector.container(&beside.name())?.stats;
        let total = stats.last().and_then(|stats| stats.cpu.as_ref()).map_or(0, |cpu| cpu.usage.total);
        ensure!(total > 0, "a process spins in {}, but no CPU time is reported", beside.name());
        Ok(())
    })?;
    spinner.end()?;
    let scene = Scene::new(&cgroups, 0)?;
    let killing = scene.kill()?;
    scene.is_reported(&killing, &collector)?;
    scene.remove()?;
    beside.remove()?;
    wait::eventually(wait::seconds(5), || {
        for kind in ["creation_events", "deletion_events"] {
            let count = collector.events(&beside.name(), &[kind])?.len();
            ensure!(count == 1, "{count} {kind} of {}", beside.name());
        }
        Ok(())
    })?;
    let roots = collector.names_below("/")?;
    let wrong: Vec<_> = roots.iter().filter(|name| name.contains("..") || *name == "/beside").collect();
    ensure!(wrong.is_empty(), "names that are not the host's: {wrong:?}");
    collector.check_alive()
}

/// The mounts begin at the collector's own cgroup, whose name on the host is unknown. What is below is listed by names
/// that begin there, whether a scan or an event found it, nothing else is listed, and the collector reports that.
fn with_mounts_of_its_own() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let home = cgroups.make("home")?;
    let surroundings = Surroundings::default().inside(&home).in_cgroup_namespace().with_fresh_cgroup_mounts()?;
    let mut collector = Collector::start_as(&surroundings, &["--housekeeping_interval=200ms"])?;
    let health = collector.health()?;
    for words in ["only the collector's own cgroup", "every other container", "mount the host's /sys/fs/cgroup"] {
        ensure!(health.contains(words), "{words:?} is not in\n{health}");
    }
    collector.require_ebpf()?;
    let below = cgroups.make("home/below")?;
    let beside = cgroups.make("beside")?;
    let stranger = Plan::new(Work::Spin, &beside).start_ready()?;
    wait::eventually(wait::seconds(5), || {
        let container = collector.container("/[own]/below")?;
        ensure!(container.name == "/[own]/below", "its name is {}", container.name);
        container.stats.last().and_then(|stats| stats.cpu.as_ref()).context("no sample of the CPU of what is below")?;
        container_has_cpu(&collector, "/[own]")?;
        Ok(())
    })?;
    beside_is_unknown(&collector, &cgroups)?;
    stranger.end()?;
    below.remove()?;
    beside.remove()?;
    wait::eventually(wait::seconds(5), || {
        for kind in ["creation_events", "deletion_events"] {
            let count = collector.events("/[own]/below", &[kind])?.len();
            ensure!(count == 1, "{count} {kind} of what is below");
        }
        Ok(())
    })?;
    beside_is_unknown(&collector, &cgroups)?;
    collector.check_alive()
}

fn container_has_cpu(collector: &Collector, name: &str) -> Result<()> {
    let stats = collector.container(name)?.stats;
    stats.last().and_then(|stats| stats.cpu.as_ref()).with_context(|| format!("no sample of the CPU of {name}"))?;
    Ok(())
}

fn beside_is_unknown(collector: &Collector, cgroups: &Cgroups) -> Result<()> {
    let listed = collector.names_below("/")?;
    let events = collector.events("/", &["all_events"])?;
    let reported = events.iter().map(|event| &event.container_name);
    let wrong: Vec<_> = listed
        .iter()
        .chain(reported)
        .filter(|name| name.contains("beside") || name.contains("..") || name.starts_with(&cgroups.name()))
        .collect();
    ensure!(wrong.is_empty(), "reported although it cannot be seen: {wrong:?}");
    Ok(())
}

/// procfs with `hidepid=2`: the processes of others are not there. Everything that does not come from them still is.
fn processes_are_hidden() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("hidden")?;
    let process = Plan::new(Work::Network(10), &cgroup).start_ready()?;
    let surroundings = nobody_with(CapabilitySet::empty()).with_proc("hidepid=2");
    let flags = ["--enable_metrics=cpu,memory,network,process,sched"];
    let mut collector = Collector::start_as(&surroundings, &flags)?;
    collector.require_ebpf()?;
    let stats = wait::eventually(wait::seconds(5), || {
        let stats = collector.container(&cgroup.name())?.stats;
        stats.last().cloned().context("no sample")
    })?;
    ensure!(stats.cpu.is_some() && stats.memory.is_some(), "no statistics of the cgroup itself: {stats:?}");
    ensure!(stats.network.is_none(), "network counters of a process that cannot be seen: {stats:?}");
    let processes = stats.processes.as_ref().context("no processes")?;
    ensure!(processes.process_count == Some(1), "the cgroup lists one process: {processes:?}");
    ensure!(processes.fd_count.is_none(), "descriptors of a process that cannot be seen: {processes:?}");
    process.end()?;
    let scene = Scene::new(&cgroups, 0)?;
    let killing = scene.kill()?;
    scene.is_reported(&killing, &collector)?;
    collector.check_alive()
}

fn no_cgroup_mount() -> Result<()> {
    let (status, said) = run_to_end(Surroundings::default().without("/sys/fs/cgroup"), &[])?;
    let all = said.join("\n");
    ensure!(status.code() == Some(1), "it ended with {status}: {all}");
    for words in ["/sys/fs/cgroup", "no cgroup file system is mounted", "mount the host's"] {
        ensure!(all.contains(words), "{words:?} is not in {all:?}");
    }
    ensure!(!all.contains("panicked"), "{all}");
    Ok(())
}
