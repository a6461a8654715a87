//! Real containers, of engines started for the test: Docker, containerd, a pod of its CRI plugin, podman.

use std::path::PathBuf;

use crate::network;
use crate::support::cgroups::Layout;
use crate::support::collector::Collector;
use crate::support::compare::{Comparison, fresh};
use crate::support::containerd::Containerd;
use crate::support::cri::{Pod, PodNetwork};
use crate::support::docker::Docker;
use crate::support::engine::{Container, ContainerEngine, MEMORY_LIMIT};
use crate::support::harness::Case;
use crate::support::network::{PACKET, RECEIVER, SENDER};
use crate::support::stream::EventStream;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("engine_containers::docker", || whole_lives(&Docker::start()?, Network::Own)),
    Case::new("engine_containers::containerd", || whole_lives(&Containerd::start("burstable")?, Network::Own)),
    Case::new("engine_containers::cri_pod", cri_pod),
    Case::new("engine_containers::podman", || whole_lives(&Docker::podman()?, Network::Own)),
];

/// Of all cgroups only those whose names look like containers are listed: these must.
const FLAGS: [&str; 3] =
    ["--housekeeping_interval=200ms", "--docker_only", "--enable_metrics=cpu,memory,network,process,oom_event"];
/// How far memory may move between two readings: what a running shell and the engine's own start still change.
const MEMORY_SLACK: u64 = bytes::MIB;

/// Which network an engine's containers are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// One of their own, with nothing but the loopback interface until the test makes more.
    Own,
    /// The host's.
    Host,
}

/// The containers of a pod, and the sandbox beside them.
fn cri_pod() -> Result<()> {
    let pod = Pod::start(PodNetwork::Host)?;
    whole_lives(&pod, Network::Host)?;
    let collector = Collector::start(&["--docker_only"])?;
    let (_, stats) = fresh(&collector, &pod.sandbox())?;
    let used = stats.cpu.context("the sandbox has no CPU time")?.usage.total;
    ensure!(used > 0, "the sandbox has used no CPU time at all");
    Ok(())
}

/// What is asked of the collector about the containers of any engine.
fn whole_lives(engine: &dyn ContainerEngine, network: Network) -> Result<()> {
    let collector = Collector::start(&FLAGS)?;
    collector.require_ebpf()?;
    let stream = collector.stream("/", &["creation_events", "deletion_events"])?;
    let spinning = engine.start("while :; do :; done")?;
    numbers(&collector, &spinning).context("its numbers")?;
    match network {
        Network::Own => own_network(&collector, &spinning).context("its network")?,
        Network::Host => {
            let (_, stats) = fresh(&collector, &spinning.cgroup)?;
            ensure!(stats.network.is_none(), "it is in the host's network but has {:?}", stats.network);
        }
    }
    comes_and_goes(engine, &collector, &stream, &spinning).context("its end")?;
    out_of_memory(engine, &collector).context("out of memory")?;
    thirty_milliseconds(engine).context("short lives")
}

/// Where the kernel shows something of a container: on v1 in this controller's hierarchy, or in cgroup2.
struct Files {
    layout: Layout,
    container: String,
}

impl Files {
    fn new(container: &Container) -> Result<Self> {
        Ok(Self { layout: Layout::detect()?, container: container.cgroup.clone() })
    }

    /// The file of one of two names: that of a v1 controller, or that of cgroup2.
    fn file(&self, (controller, v1): (&str, &str), v2: &str) -> Result<PathBuf> {
        let (mount, name) = match self.layout.v1(controller) {
            Some(mount) => (mount, v1),
            None => (self.layout.v2().context("no hierarchy")?, v2),
        };
        Ok(mount.dir(self.container.as_ref()).join(name))
    }

    fn cpu_nanos(&self) -> Result<u64> {
        let file = self.file(("cpuacct", "cpuacct.usage"), "cpu.stat")?;
        if file.ends_with("cpu.stat") {
            Ok(bytes::read_key(file, "usage_usec")? * 1000)
        } else {
            bytes::read_number(file)
        }
    }

    fn memory(&self) -> Result<u64> {
        bytes::read_number(self.file(("memory", "memory.usage_in_bytes"), "memory.current")?)
    }

    fn limit(&self) -> Result<u64> {
        bytes::read_number(self.file(("memory", "memory.limit_in_bytes"), "memory.max")?)
    }

    /// OOM kills in it, by the kernel's count.
    fn oom_kills(&self) -> Result<u64> {
        bytes::read_key(self.file(("memory", "memory.oom_control"), "memory.events")?, "oom_kill")
    }

    /// Its processes; `None` when it is gone.
    fn processes(&self) -> Option<Vec<u32>> {
        let text = bytes::read(self.file(("memory", "cgroup.procs"), "cgroup.procs").ok()?).ok()?;
        Some(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Waits until the last process has ended.
    fn wait_empty(&self) -> Result<()> {
        wait::eventually(wait::seconds(20), || {
            let processes = self.processes().unwrap_or_default();
            ensure!(processes.is_empty(), "processes {processes:?} still run in {}", self.container);
            Ok(())
        })
    }
}

/// A container appears by its cgroup, once, and its numbers are the kernel's.
fn numbers(collector: &Collector, container: &Container) -> Result<()> {
    let (files, name) = (Files::new(container)?, &container.cgroup);
    let (described, first) = fresh(collector, name)?;
    let (_, second) = fresh(collector, name)?;
    let total = |stats: &crate::support::api::Stats| stats.cpu.as_ref().map(|cpu| cpu.usage.total);
    let (before, after) = (total(&first).context("no cpu")?, total(&second).context("no cpu")?);
    ensure!(after > before && before > 0, "it spins, but its CPU time went from {before} to {after} ns");
    Comparison::default()
        .value("cpu.usage.total", || files.cpu_nanos(), total)
        .within(MEMORY_SLACK, "memory.usage", || files.memory(), |stats| Some(stats.memory.as_ref()?.usage))
        .check(collector, name)?;
    ensure!(files.limit()? == MEMORY_LIMIT, "the engine has not set the limit: the scene does not work");
    ensure!(described.spec.memory.limit == Some(MEMORY_LIMIT), "its limit: {:?}", described.spec.memory);
    let processes = files.processes().unwrap_or_default().len() as u64;
    let said = second.processes.context("no processes")?.process_count;
    ensure!(said == Some(processes) && processes > 0, "it has {processes} processes, not {said:?}");
    let parent = parent_of(container)?;
    let listed = collector.names_below(parent)?;
    let times = listed.iter().filter(|other| *other == name).count();
    ensure!(times == 1, "it is listed {times} times, in {} hierarchies", files.layout.mounts.len());
    ensure!(!listed.iter().any(|other| other == parent), "{parent} is no container, yet listed");
    Ok(())
}

fn parent_of(container: &Container) -> Result<&str> {
    Ok(container.cgroup.rsplit_once('/').context("a cgroup's name has a slash")?.0)
}

/// Nothing but the loopback interface, then what is sent in the container's own namespace.
fn own_network(collector: &Collector, container: &Container) -> Result<()> {
    let (_, stats) = fresh(collector, &container.cgroup)?;
    let interfaces = stats.network.map(|network| network.interfaces).unwrap_or_default();
    ensure!(interfaces.is_empty(), "it has no interface, but there are {interfaces:?}");
    let processes = Files::new(container)?.processes().context("it is gone")?;
    let first = *processes.first().context("no process")?;
    Plan::here(Work::NetworkOf(first, 10)).start_ready()?.wait()?;
    let before = network::devices(first)?;
    let (_, stats) = fresh(collector, &container.cgroup)?;
    let after = network::devices(first)?;
    let said = stats.network.context("no network although the container has one of its own")?.interfaces;
    network::check(&said, &before, &after)?;
    let by_name = |name: &str| said.iter().find(|interface| interface.name == name);
    let (sender, receiver) = (by_name(SENDER).context("no sender")?, by_name(RECEIVER).context("no receiver")?);
    ensure!(sender.tx_bytes >= 10 * PACKET && receiver.rx_packets >= 10, "10 packets were sent: {said:?}");
    Ok(())
}

/// It is reported once when it comes and once when it goes, and its last sample is not before the kernel's last word.
fn comes_and_goes(
    engine: &dyn ContainerEngine,
    collector: &Collector,
    stream: &EventStream,
    container: &Container,
) -> Result<()> {
    let used = Files::new(container)?.cpu_nanos()?;
    engine.remove(container)?;
    wait::eventually(wait::seconds(5), || {
        ensure!(!collector.names_below(parent_of(container)?)?.contains(&container.cgroup), "removed but listed");
        let of_it: Vec<_> =
            stream.events().into_iter().filter(|event| event.container_name == container.cgroup).collect();
        let of_it: Vec<_> = of_it.into_iter().filter(|event| event.event_type != "containerExit").collect();
        let kinds: Vec<&str> = of_it.iter().map(|event| event.event_type.as_str()).collect();
        ensure!(kinds == ["containerCreation", "containerDeletion"], "the stream reported {kinds:?}");
        let stats = of_it[1].event_data.deletion.as_ref().and_then(|deletion| deletion.final_stats.as_ref());
        let last = stats.and_then(|stats| stats.cpu.as_ref()).context("no CPU time in the final sample")?;
        ensure!(last.usage.total >= used, "it had used {used} ns, the final sample has {}", last.usage.total);
        Ok(())
    })
}

/// A process that outgrows its container's limit: the container is victim, trigger and owner of the limit.
fn out_of_memory(engine: &dyn ContainerEngine, collector: &Collector) -> Result<()> {
    let command = "/bin/busybox dd if=/dev/zero of=/dev/null bs=256M count=1; while :; do /bin/busybox sleep 1; done";
    let container = engine.start(command)?;
    let files = Files::new(&container)?;
    wait::eventually(wait::seconds(10), || {
        let kills = files.oom_kills()?;
        ensure!(kills == 1, "{kills} processes were killed: the scene does not work");
        Ok(())
    })?;
    let name = &container.cgroup;
    wait::eventually(wait::seconds(2), || {
        let events = collector.events(name, &["oom_events", "oom_kill_events"])?;
        let mut kinds: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
        kinds.sort_unstable();
        ensure!(kinds == ["oom", "oomKill"], "reported: {events:?}");
        for event in &events {
            ensure!(event.container_name == *name, "reported {}", event.container_name);
            let oom = event.event_data.oom.as_ref().with_context(|| format!("no event_data.oom in {event:?}"))?;
            ensure!(oom.constraint == "CONSTRAINT_MEMCG", "the constraint: {oom:?}");
            for named in [&oom.victim_container_name, &oom.trigger_container_name, &oom.limit_container_name] {
                ensure!(named.as_ref() == Some(name), "containers: {oom:?}");
            }
            let anonymous = oom.anon_rss_bytes.context("no anon_rss_bytes")?;
            ensure!((MEMORY_LIMIT / 2..=MEMORY_LIMIT).contains(&anonymous), "anonymous memory: {oom:?}");
        }
        let count = collector.metrics()?.value("container_oom_events_total", &[("id", name)]);
        ensure!(count == Some(1.0), "counted {count:?} times");
        Ok(())
    })?;
    engine.remove(&container)
}

/// Containers gone before any tick could see them leave their last sample.
fn thirty_milliseconds(engine: &dyn ContainerEngine) -> Result<()> {
    const RUNS: usize = 3;
    let collector = Collector::start(&["--housekeeping_interval=10s"])?;
    collector.require_ebpf()?;
    let mut names = Vec::new();
    for _ in 0..RUNS {
        let container = engine.start("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")?;
        Files::new(&container)?.wait_empty()?;
        engine.remove(&container)?;
        names.push(container.cgroup);
    }
    wait::eventually(wait::seconds(5), || {
        let events = collector.events("/", &["deletion_events"])?;
        let mut short = Vec::new();
        for name in &names {
            let event = events.iter().find(|event| event.container_name == *name);
            let event = event.with_context(|| format!("no deletion of {name}"))?;
            let stats = event.event_data.deletion.as_ref().and_then(|deletion| deletion.final_stats.as_ref());
            let stats = stats.with_context(|| format!("{name} has no final sample"))?;
            let total = stats.cpu.as_ref().context("no cpu in the final sample")?.usage.total;
            // The runtime's own start in the cgroup and the loop; far more than any first sample would show.
            if total <= 15_000_000 {
                short.push(format!("{name}: the final sample has only {total} ns of CPU time"));
            }
        }
        // A machine that stands still while one ends is rare enough not to do so twice.
        ensure!(short.len() <= 1, "{}", short.join(", "));
        Ok(())
    })
}
