//! Statistics that depend on what the machine has: NUMA nodes, several CPUs, pressure stall information.

use std::collections::BTreeMap;
use std::fs;

use crate::support::api::{Machine, Pressure, Stats};
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::compare::fresh;
use crate::support::harness::{Case, Skip};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("dimensions_machine::nodes", nodes).on_every_unified_kernel(),
    Case::new("dimensions_machine::cpus", cpus),
    Case::new("dimensions_machine::pressure", pressure).on_every_unified_kernel(),
];

const FLAGS: [&str; 2] = [
    "--housekeeping_interval=200ms",
    "--enable_metrics=cpu,percpu,memory,memory_numa,disk,diskIO,network,process,sched,pressure",
];

/// Pages that 8 MiB have at least: each CPU keeps a few of the count to itself.
const HELD: u64 = 1800;

/// Pages per node.
type Pages = BTreeMap<String, u64>;

/// A row of the kernel's `memory.numa_stat` in pages: `file=3 N0=2 N1=1`, or on cgroup v2 `file N0=8192 N1=4096`.
fn row(text: &str, kind: &str, unit: u64) -> Option<Pages> {
    let line = text.lines().find(|line| line.split(['=', ' ']).next() == Some(kind))?;
    let nodes = line.split(' ').filter_map(|field| field.strip_prefix('N')?.split_once('='));
    Some(nodes.filter_map(|(node, number)| Some((node.to_owned(), number.parse::<u64>().ok()? / unit))).collect())
}

/// Two nodes, a process bound to each: both the machine's description and the pages by node distinguish them.
fn nodes() -> Result<()> {
    let nodes = bytes::read("/sys/devices/system/node/online").unwrap_or_default();
    if !nodes.contains(['-', ',']) {
        return Err(Skip::because("the machine has one NUMA node"));
    }
    let collector = Collector::start(&FLAGS)?;
    let machine: Machine = collector.json("/api/v1.3/machine", None)?;
    let topology = machine.topology.context("no topology")?;
    for (number, node) in topology.iter().enumerate() {
        let total = bytes::read(format!("/sys/devices/system/node/node{number}/meminfo"))?;
        let total =
            total.lines().find_map(|line| line.split_once("MemTotal:")?.1.trim().strip_suffix(" kB")?.parse().ok());
        ensure!(Some(node.memory) == total.map(|kib: u64| kib * 1024), "memory of node {number}: {node:?}");
        let mut threads: Vec<u64> =
            node.cores.iter().flatten().flat_map(|core| core.thread_ids.clone().unwrap_or_default()).collect();
        threads.sort_unstable();
        let list = bytes::read(format!("/sys/devices/system/node/node{number}/cpulist"))?;
        ensure!(threads == cpu_list(&list)?, "CPUs of node {number} are {list}, said: {node:?}");
    }
    ensure!(topology.len() >= 2, "nodes {nodes}, said are {topology:?}");

    let cgroups = Cgroups::new(Set::Every)?;
    let parent = cgroups.make("parent")?;
    parent.delegate()?;
    let mut holders = Vec::new();
    for node in ["0", "1"] {
        let child = cgroups.make(format!("parent/node-{node}"))?;
        let pure_v2 = Layout::detect()?.is_pure_v2();
        let file = if pure_v2 { child.v2_file("cpuset.mems") } else { child.v1_file("cpuset", "cpuset.mems") };
        bytes::write(file.map_err(|_| Skip::because("no cpuset controller"))?, node)?;
        holders.push(Plan::new(Work::Hold(8), &child).start_ready()?);
        let elsewhere = if node == "0" { "1" } else { "0" };
        let (own, _) = numa(&collector, &child)?;
        let pages = |node: &str| own["anon"].get(node).copied().unwrap_or_default();
        ensure!(pages(node) >= HELD && pages(elsewhere) < HELD / 4, "8 MiB are on node {node}: {own:?}");
    }
    let (_, below) = numa(&collector, &parent)?;
    ensure!(below["anon"].values().all(|&pages| pages >= HELD), "8 MiB below are on each node: {below:?}");
    Ok(())
}

/// What a fresh sample says of the cgroup's own pages and of those below too, once it is what the kernel says.
fn numa(collector: &Collector, cgroup: &Cgroup<'_>) -> Result<(BTreeMap<String, Pages>, BTreeMap<String, Pages>)> {
    let pure_v2 = Layout::detect()?.is_pure_v2();
    let (file, unit) = if pure_v2 {
        (cgroup.v2_file("memory.numa_stat")?, rustix::param::page_size() as u64)
    } else {
        (cgroup.v1_file("memory", "memory.numa_stat")?, 1)
    };
    wait::eventually(wait::seconds(3), || {
        let (_, stats) = fresh(collector, &cgroup.name())?;
        let memory = stats.memory.context("no memory")?;
        let text = bytes::read(&file)?;
        for (said, prefix) in [(&memory.container_data, ""), (&memory.hierarchical_data, "hierarchical_")] {
            let prefix = if pure_v2 { "" } else { prefix };
            for kind in ["file", "anon", "unevictable"] {
                let kernel =
                    row(&text, &format!("{prefix}{kind}"), unit).with_context(|| format!("no {kind} in {text}"))?;
                let pages = said.numa_stats.get(kind).cloned().unwrap_or_default();
                ensure!(pages == kernel, "{prefix}{kind} is {kernel:?}, said are {pages:?}");
            }
        }
        Ok((memory.container_data.numa_stats, memory.hierarchical_data.numa_stats))
    })
}

fn cpu_list(list: &str) -> Result<Vec<u64>> {
    let mut cpus = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u64>()?..=last.parse()?);
    }
    Ok(cpus)
}

/// Usage by CPU has as many entries as there are CPUs, and what the programs' maps take does not grow with them.
fn cpus() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    collector.require_ebpf()?;
    let online = cpu_list(&bytes::read("/sys/devices/system/cpu/online")?)?.len();
    let machine: Machine = collector.json("/api/v1.3/machine", None)?;
    ensure!(machine.num_cores == online as u64, "{online} CPUs are online, said are {}", machine.num_cores);
    let maps = collector.metrics()?.sum("collector_map_bytes");
    // The ring buffer, its pages, signals by victim, and maps of fixed sizes.
    ensure!((1.0..3.0).contains(&(maps / f64::from(1 << 20))), "the maps take {maps} bytes with {online} CPUs");
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("cpus")?;
    let spinner = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let (_, stats) = fresh(&collector, &cgroup.name())?;
    let usage = stats.cpu.context("no CPU")?.usage;
    if Layout::detect()?.v1("cpuacct").is_some() {
        let possible = cpu_list(&bytes::read("/sys/devices/system/cpu/possible")?)?.len();
        let count = usage.per_cpu_usage.len();
        ensure!((online..=possible).contains(&count), "{online} of {possible} CPUs are online: {usage:?}");
        let sum: u64 = usage.per_cpu_usage.iter().sum();
        ensure!(sum.abs_diff(usage.total) <= usage.total / 2, "the parts do not make the whole: {usage:?}");
    } else {
        ensure!(usage.per_cpu_usage.is_empty(), "cgroup v2 has no time by CPU: {usage:?}");
    }
    spinner.end()
}

/// Pressure is reported for what the kernel reports it for, grows with contention, and is absent otherwise.
fn pressure() -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("pressed")?;
    let spinners = [Plan::new(Work::Spin, &cgroup).start_ready()?, Plan::new(Work::Spin, &cgroup).start_ready()?];
    let before = compare_pressure(&collector, &cgroup)?;
    if let Some(quota) = cgroup.v2_file("cpu.max").ok().filter(|quota| quota.exists() && before.is_some()) {
        // Throttled tasks wait for a CPU all the time.
        bytes::write(quota, "2000 20000")?;
        wait::eventually(wait::seconds(5), || {
            let now = compare_pressure(&collector, &cgroup)?;
            let waited = |pressure: &Option<Pressure>| pressure.as_ref().map(|pressure| pressure.some.total);
            let (now, before) = (waited(&now), waited(&before));
            ensure!(now > before.map(|before| before + 50_000), "from {before:?} to {now:?} µs: it does not grow");
            Ok(())
        })?;
    }
    // Since 6.1 it can be switched off for one cgroup.
    let switch = cgroup.v2_file("cgroup.pressure").ok().filter(|switch| switch.exists());
    if let Some(switch) = switch {
        bytes::write(switch, "0")?;
        let left = compare_pressure(&collector, &cgroup)?;
        ensure!(left.is_none(), "it is switched off and still reported: {left:?}");
    }
    spinners.into_iter().try_for_each(crate::support::workload::Workload::end)
}

/// Compares which kinds of pressure are reported with which the kernel shows; that of the CPU.
fn compare_pressure(collector: &Collector, cgroup: &Cgroup<'_>) -> Result<Option<Pressure>> {
    let cpu = |stats: &Stats| stats.cpu.as_ref().map(|cpu| cpu.psi.clone());
    let memory = |stats: &Stats| stats.memory.as_ref().map(|memory| memory.psi.clone());
    let io = |stats: &Stats| stats.diskio.as_ref().map(|io| io.psi.clone());
    let (_, stats) = fresh(collector, &cgroup.name())?;
    for (name, reported) in
        [("cpu.pressure", cpu(&stats)), ("memory.pressure", memory(&stats)), ("io.pressure", io(&stats))]
    {
        let shown = cgroup.v2_file(name).is_ok_and(|file| fs::read(file).is_ok());
        // Statistics that are not there at all have no pressure to report.
        ensure!(
            reported.is_none_or(|reported| reported.is_some() == shown),
            "{name} can be read: {shown}; reported: {stats:?}"
        );
    }
    Ok(cpu(&stats).flatten())
}
