//! What each right buys: with the least everything that is promised works, and what else a right gives is there with it
//! and absent without it.

use std::fs;

use rustix::thread::CapabilitySet;

use crate::oom::Scene;
use crate::support::api::Stats;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Skip};
use crate::support::surroundings::Surroundings;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("dimensions_privileges::the_least", the_least).on_every_kernel(),
    Case::new("dimensions_privileges::processes_of_others", processes_of_others),
    Case::new("dimensions_privileges::priority", priority),
    Case::new("dimensions_privileges::load_average", load_average),
];

const BPF: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// Another user with the two capabilities that kernel events take. Kernels that count BPF maps as locked memory want a
/// limit that is high enough, as a service manager or a container runtime sets it.
pub(crate) fn nobody_with(more: CapabilitySet) -> Surroundings {
    Surroundings::of_nobody(BPF | more).locked_memory(8 << 20)
}

/// No root, no tracefs, nothing that can be written to.
fn the_least() -> Result<()> {
    // Some kernels have no memory controller on v1, and without one nothing is killed.
    drop(Cgroups::new(Set::Memory)?);
    let surroundings = nobody_with(CapabilitySet::empty())
        .without("/sys/kernel/tracing")
        .without("/sys/kernel/debug")
        .without("/sys/fs/bpf")
        .read_only();
    let mut collector = Collector::start_as(&surroundings, &["--kernel_events=ebpf"])?;
    collector.require_ebpf()?;
    let health = collector.health()?;
    let degraded = health.lines().filter(|line| line.starts_with("degraded:"));
    let unexpected: Vec<&str> = degraded.filter(|line| !line.contains("network namespaces")).collect();
    ensure!(unexpected.is_empty(), "degraded with what it takes for events: {unexpected:?}");
    let cgroups = Cgroups::new(Set::Every)?;
    for number in 0..3 {
        let scene = Scene::new(&cgroups, number)?;
        let killing = scene.kill()?;
        scene.is_reported(&killing, &collector)?;
        scene.remove()?;
    }
    // Without CAP_SYS_NICE a closing sample may come too late where the one CPU is busy, but not each time.
    let lives: Vec<String> = (0..4).map(|number| brief_life(&cgroups, number)).collect::<Result<_>>()?;
    wait::eventually(wait::seconds(5), || {
        let mut short = Vec::new();
        for name in &lives {
            let created = collector.events(name, &["creation_events"])?.len();
            ensure!(created == 1, "{created} creations of {name}");
            let events = collector.events(name, &["deletion_events"])?;
            let deletion = events.into_iter().next().with_context(|| format!("no deletion of {name}"))?;
            let last = deletion.event_data.deletion.and_then(|deletion| deletion.final_stats);
            let total = last.and_then(|last| last.cpu).map(|cpu| cpu.usage.total);
            if total.is_none_or(|total| total < 20_000_000) {
                short.push(total);
            }
        }
        ensure!(short.len() < lives.len(), "20 ms were burnt each time, the final samples say {short:?}");
        Ok(())
    })?;
    collector.check_alive()
}

/// A cgroup whose process uses 20 ms of CPU; its name.
fn brief_life(cgroups: &Cgroups, number: usize) -> Result<String> {
    let brief = cgroups.make(format!("brief-{number}"))?;
    Plan::new(Work::Burn(20), &brief).run()?;
    wait::pause_of_a_runtime();
    brief.remove()?;
    Ok(brief.name())
}

/// The namespaces and descriptors of processes that belong to others.
fn processes_of_others() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("other")?;
    let process = Plan::new(Work::Network(10), &cgroup).start_ready()?;
    let flags = ["--enable_metrics=cpu,memory,network,process"];
    let ptrace = CapabilitySet::SYS_PTRACE;
    let search = CapabilitySet::DAC_READ_SEARCH;
    for held in [CapabilitySet::empty(), ptrace, search, ptrace | search] {
        let collector = Collector::start_as(nobody_with(held), &flags)?;
        wait::eventually(wait::seconds(5), || {
            let stats = last_sample(&collector, &cgroup.name())?;
            let said = format!("with {held:?}; said: {:?} {:?}", stats.network, stats.processes);
            let processes = stats.processes.as_ref().context("no processes")?;
            ensure!(processes.process_count == Some(1), "the number of processes is anybody's to know, {said}");
            ensure!(stats.network.is_some() == held.contains(ptrace), "network, {said}");
            ensure!(processes.fd_count.is_some() == held.contains(search), "descriptors, {said}");
            ensure!(processes.socket_count.is_some() == held.contains(ptrace | search), "sockets, {said}");
            Ok(())
        })?;
    }
    process.end()
}

fn last_sample(collector: &Collector, name: &str) -> Result<Stats> {
    collector.container(name)?.stats.pop().context("no sample")
}

/// The threads that must not wait go before others.
fn priority() -> Result<()> {
    for held in [CapabilitySet::empty(), CapabilitySet::SYS_NICE] {
        let collector = Collector::start_as(nobody_with(held), &[])?;
        let mut raised = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/task", collector.pid()))? {
            let stat = bytes::read(entry?.path().join("stat"))?;
            let (name, fields) = stat.rsplit_once(')').context("a name")?;
            let nice: i32 = fields.split_whitespace().nth(16).context("a priority")?.parse()?;
            if nice < 0 {
                raised.push(name.rsplit_once('(').context("a name")?.1.to_owned());
            }
        }
        raised.sort();
        let expected: &[&str] = if held.is_empty() { &[] } else { &["follower", "sampler-urgent"] };
        ensure!(raised == expected, "with {held:?} these go before others: {raised:?}");
    }
    Ok(())
}

/// Taskstats, where there is cgroup v1: no right is needed.
fn load_average() -> Result<()> {
    let cgroups = Cgroups::new(Set::V1(&["cpu", "cpuacct"]))?;
    let cgroup = cgroups.make("loaded")?;
    let process = Plan::new(Work::Threads(3), &cgroup).start_ready()?;
    for surroundings in [Surroundings::default(), nobody_with(CapabilitySet::empty())] {
        let collector = Collector::start_as(&surroundings, &["--enable_load_reader", "--enable_metrics=cpu,cpuLoad"])?;
        let log = collector.log().concat();
        if log.contains("load averages are not available") {
            return Err(Skip::because("the kernel has no taskstats"));
        }
        wait::eventually(wait::seconds(5), || {
            let sleeping = last_sample(&collector, &cgroup.name())?.task_stats.nr_sleeping;
            // Of the four threads the kernel counts since 6.1 only the one whose sleep does not stop the freezer.
            ensure!((1..=4).contains(&sleeping), "threads sleep, reported are {sleeping} to {surroundings:?}");
            Ok(())
        })?;
    }
    process.end()
}
