//! Memory at its limits: swapped out, refused, and taken back by killing one process or all of a cgroup.

use std::os::unix::process::ExitStatusExt as _;

use crate::oom::limit_memory;
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::compare::{Comparison, fresh};
use crate::support::harness::{Case, Skip};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bail, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("dimensions_memory::swapped_out", swapped_out).on_every_unified_kernel(),
    Case::new("dimensions_memory::memory_and_swap_limits_are_hit", memory_and_swap_limits_are_hit)
        .on_every_unified_kernel(),
    Case::new("dimensions_memory::a_whole_group_is_killed", a_whole_group_is_killed).on_every_unified_kernel(),
    Case::new("dimensions_memory::an_ancestors_limit", an_ancestors_limit).on_every_unified_kernel(),
];

/// Swapped out of the cgroup, in mebibytes.
const SWAPPED: u64 = 50;
const FLAGS: [&str; 1] = ["--housekeeping_interval=200ms"];

/// A cgroup's swap as the kernel counts it; skips where it does not, or where there is no swap.
fn swap_of(cgroup: &Cgroup<'_>) -> Result<u64> {
    if Layout::detect()?.is_pure_v2() {
        return bytes::read_number(cgroup.v2_file("memory.swap.current")?);
    }
    bytes::read_key(cgroup.v1_file("memory", "memory.stat")?, "swap")
}

fn need_swap(cgroup: &Cgroup<'_>) -> Result<()> {
    if bytes::meminfo("SwapTotal")? < 2 * SWAPPED * bytes::MIB {
        return Err(Skip::because("there is not enough swap"));
    }
    swap_of(cgroup).map_err(|_| Skip::because("the kernel does not count swap by cgroup"))?;
    Ok(())
}

/// Asks the kernel to take memory away from a cgroup: by the file for it, or else by a limit below what is used.
fn reclaim(cgroup: &Cgroup<'_>, mebibytes: u64) -> Result<()> {
    if !Layout::detect()?.is_pure_v2() {
        let limit = cgroup.v1_file("memory", "memory.limit_in_bytes")?;
        return bytes::write(limit, &((64 - mebibytes) * bytes::MIB).to_string());
    }
    let file = cgroup.v2_file("memory.reclaim")?;
    if file.exists() {
        return bytes::write(file, &(mebibytes * bytes::MIB).to_string());
    }
    bytes::write(cgroup.v2_file("memory.high")?, &((64 - mebibytes) * bytes::MIB).to_string())
}

fn swapped_out() -> Result<()> {
    let cgroups = Cgroups::new(Set::Memory)?;
    let cgroup = cgroups.make("swapped")?;
    need_swap(&cgroup)?;
    let collector = Collector::start(&FLAGS)?;
    let holder = Plan::new(Work::Hold(64), &cgroup).start_ready()?;
    wait::eventually(wait::seconds(6), || {
        // A part at a time: the kernel gives up on what it cannot do at once.
        let tried = reclaim(&cgroup, SWAPPED + 2);
        let swapped = swap_of(&cgroup)?;
        ensure!(swapped >= SWAPPED * bytes::MIB, "only {swapped} bytes are swapped out: {tried:?}");
        Ok(())
    })?;
    Comparison::default()
        .within(bytes::MIB, "memory.swap", || swap_of(&cgroup), |stats| Some(stats.memory.as_ref()?.swap))
        .check(&collector, &cgroup.name())?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    let memory = stats.memory.context("no memory")?;
    ensure!(memory.swap >= SWAPPED * bytes::MIB, "50 MiB are swapped out: {memory:?}");
    ensure!(memory.rss < 24 * bytes::MIB, "of 64 MiB 50 are swapped out: {memory:?}");
    let whole = bytes::meminfo("SwapTotal")?;
    let said = collector.json::<crate::support::api::Machine>("/api/v1.3/machine", None)?.swap_capacity;
    ensure!(said == whole, "the machine has {whole} bytes of swap, said are {said}");
    let root = collector.container("/")?.stats.pop().context("no sample of the machine")?;
    let used = root.memory.context("no memory of the machine")?.swap;
    ensure!(used >= SWAPPED * bytes::MIB, "50 MiB of the machine's swap are used, said are {used}");
    holder.end()
}

/// A process takes all that is allowed, in memory and in swap, and is killed for more.
fn memory_and_swap_limits_are_hit() -> Result<()> {
    const LIMIT: u64 = 16 * bytes::MIB;
    let cgroups = Cgroups::new(Set::Memory)?;
    let cgroup = cgroups.make("limited")?;
    need_swap(&cgroup)?;
    let pure_v2 = Layout::detect()?.is_pure_v2();
    if pure_v2 {
        bytes::write(cgroup.v2_file("memory.max")?, &LIMIT.to_string())?;
        bytes::write(cgroup.v2_file("memory.swap.max")?, &LIMIT.to_string())?;
    } else {
        bytes::write(cgroup.v1_file("memory", "memory.limit_in_bytes")?, &LIMIT.to_string())?;
        let both = cgroup.v1_file("memory", "memory.memsw.limit_in_bytes")?;
        bytes::write(both, &(2 * LIMIT).to_string())?;
    }
    let collector = Collector::start(&FLAGS)?;
    collector.require_ebpf()?;
    let status = Plan::new(Work::Grow(80), &cgroup).run()?;
    ensure!(status.signal() == Some(9), "the process ended with {status}: the scene does not work");
    let refused = if pure_v2 {
        bytes::read_key(cgroup.v2_file("memory.events")?, "max")?
    } else {
        bytes::read_number(cgroup.v1_file("memory", "memory.failcnt")?)?
    };
    ensure!(refused > 0, "the limit was never hit: the scene does not work");
    let (container, stats) = fresh(&collector, &cgroup.name())?;
    let memory = stats.memory.context("no memory")?;
    if pure_v2 {
        ensure!(memory.events.as_ref().is_some_and(|events| events.max == refused), "max is {refused}: {memory:?}");
        ensure!(container.spec.memory.swap_limit == Some(LIMIT), "the limit of swap: {:?}", container.spec.memory);
    } else {
        ensure!(memory.failcnt == refused, "failcnt is {refused}: {memory:?}");
        ensure!(container.spec.memory.swap_limit == Some(2 * LIMIT), "memory and swap: {:?}", container.spec.memory);
    }
    ensure!(container.spec.memory.limit == Some(LIMIT), "the limit of memory: {:?}", container.spec.memory);
    wait::eventually(wait::seconds(2), || is_counted(&collector, &cgroup, 1))
}

fn is_counted(collector: &Collector, cgroup: &Cgroup<'_>, kills: usize) -> Result<()> {
    let counted = collector.metrics()?.value("container_oom_events_total", &[("id", &cgroup.name())]);
    ensure!(counted == Some(kills as f64), "{kills} kills in {}, counted are {counted:?}", cgroup.name());
    Ok(())
}

/// `memory.oom.group`: one process too many, and all of the cgroup are killed.
fn a_whole_group_is_killed() -> Result<()> {
    let cgroups = Cgroups::new(Set::Memory)?;
    let limit = cgroups.make("limit")?;
    limit.delegate()?;
    let group = cgroups.make("limit/group")?;
    let file = group
        .v2_file("memory.oom.group")
        .ok()
        .filter(|file| Layout::detect().is_ok_and(|all| all.is_pure_v2()) && file.exists());
    let file = file.ok_or_else(|| Skip::because("memory.oom.group is of cgroup v2"))?;
    bytes::write(file, "1")?;
    limit_memory(&limit, 32)?;
    let collector = Collector::start(&FLAGS)?;
    collector.require_ebpf()?;
    let mut bystanders = Vec::new();
    for number in 0..3 {
        bystanders.push(Plan::new(Work::Hold(1), &group).named(format!("bystander-{number}")).start_ready()?);
    }
    let mut grower = Plan::new(Work::Grow(80), &group).named("grower").start()?;
    let mut killed = vec![grower.pid()];
    let trigger = grower.pid();
    grower.wait()?;
    for process in &mut bystanders {
        let status = process.wait()?;
        ensure!(status.signal() == Some(9), "a process of the group ended with {status}: the scene does not work");
        killed.push(process.pid());
    }
    killed.sort_unstable();
    // The kernel counts the first of them again when it goes through the group.
    wait::eventually(wait::seconds(5), || {
        for (kind, cgroup) in [("oom_events", &group), ("oom_kill_events", &limit)] {
            let events = collector.events(&limit.name(), &[kind])?;
            let mut reported = Vec::new();
            for event in &events {
                ensure!(event.container_name == cgroup.name(), "a {kind} of {}", event.container_name);
                let oom = event.event_data.oom.as_ref().with_context(|| format!("no event_data.oom in {event:?}"))?;
                ensure!(oom.trigger_pid == Some(trigger), "{trigger} set it off: {oom:?}");
                ensure!(oom.limit_container_name.as_ref() == Some(&limit.name()), "whose limit: {oom:?}");
                ensure!(oom.victim_container_name.as_ref() == Some(&group.name()), "where: {oom:?}");
                reported.push(oom.pid);
            }
            reported.sort_unstable();
            ensure!(reported == killed, "killed were {killed:?}, {kind} report {reported:?}");
        }
        let kernel = bytes::read_key(group.v2_file("memory.events")?, "oom_kill")? as usize;
        let range = killed.len()..=killed.len() + 1;
        ensure!(range.contains(&kernel), "the kernel counts {kernel} kills of {}", killed.len());
        // One number for one kill, everywhere.
        is_counted(&collector, &group, killed.len())
    })
}

/// The limit that is hit is three levels above the process; those in between have none, or a higher one.
fn an_ancestors_limit() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::Memory)?;
    let mut above = Vec::new();
    for name in ["top", "top/middle", "top/middle/low"] {
        let cgroup = cgroups.make(name)?;
        cgroup.delegate()?;
        above.push(cgroup);
    }
    let [top, middle, _] = above.as_slice() else { bail!("three levels") };
    limit_memory(top, 24)?;
    limit_memory(middle, 96)?;
    let leaf = cgroups.make("top/middle/low/leaf")?;
    let mut grower = Plan::new(Work::Grow(80), &leaf).named("grower").start()?;
    let status = grower.wait()?;
    ensure!(status.signal() == Some(9), "the process ended with {status}: the scene does not work");
    wait::eventually(wait::seconds(2), || {
        for (kind, cgroup) in [("oom_events", &leaf), ("oom_kill_events", top)] {
            let events = collector.events(&cgroups.name(), &[kind])?;
            let [event] = events.as_slice() else { bail!("{} {kind}: {events:?}", events.len()) };
            ensure!(event.container_name == cgroup.name(), "the {kind} event is of {}", event.container_name);
            let oom = event.event_data.oom.as_ref().with_context(|| format!("no event_data.oom in {event:?}"))?;
            ensure!(oom.pid == grower.pid() && oom.trigger_pid == Some(grower.pid()), "processes: {oom:?}");
            ensure!(oom.limit_container_name.as_ref() == Some(&top.name()), "whose limit: {oom:?}");
        }
        Ok(())
    })
}
