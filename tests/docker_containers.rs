//! Real Docker containers, of an engine started for the test.

use crate::support::cgroups::Layout;
use crate::support::collector::Collector;
use crate::support::compare::fresh;
use crate::support::docker::Docker;
use crate::support::harness::Case;
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("docker_containers::counters_move", counters_move),
    Case::new("docker_containers::thirty_milliseconds", thirty_milliseconds),
];

/// A container appears by its cgroup, its numbers are the kernel's, and it goes.
fn counters_move() -> Result<()> {
    let docker = Docker::start()?;
    let collector = Collector::start(&["--housekeeping_interval=200ms"])?;
    collector.require_ebpf()?;
    let stream = collector.stream("/docker", &["creation_events", "deletion_events"])?;
    let id = docker.run("while :; do :; done")?;
    let name = format!("/docker/{id}");
    let (container, first) = fresh(&collector, &name)?;
    let (_, second) = fresh(&collector, &name)?;
    let total = |stats: &crate::support::api::Stats| stats.cpu.as_ref().map(|cpu| cpu.usage.total);
    let (before, after) = (total(&first).context("no cpu")?, total(&second).context("no cpu")?);
    ensure!(after > before && before > 0, "it spins, but its CPU time went from {before} to {after} ns");
    let memory = second.memory.context("no memory")?;
    ensure!(memory.usage > 0, "no memory is used");
    let layout = Layout::detect()?;
    let limit = match layout.v1("memory") {
        Some(mount) => mount.path.join(format!("docker/{id}/memory.limit_in_bytes")),
        None => layout.mounts[0].path.join(format!("docker/{id}/memory.max")),
    };
    ensure!(bytes::read_number(limit)? == 64 * bytes::MIB, "Docker has not set the limit: the scene does not work");
    ensure!(container.spec.memory.limit == Some(64 * bytes::MIB), "its limit is 64 MiB: {:?}", container.spec.memory);
    let pid = docker.pid(&id)?;
    ensure!(pid > 0, "the container has no process");
    // With Docker's own `none` network there is nothing but the loopback interface.
    let interfaces = second.network.map(|network| network.interfaces.len());
    ensure!(interfaces.unwrap_or(0) == 0, "it has no network, but {interfaces:?} interfaces");
    let listed = collector.names_below("/docker")?;
    let times = listed.iter().filter(|other| **other == name).count();
    ensure!(times == 1, "it is listed {times} times, in {} hierarchies", layout.mounts.len());

    docker.remove(&id)?;
    wait::eventually(wait::seconds(5), || {
        ensure!(!collector.names_below("/docker")?.contains(&name), "removed but listed");
        let kinds: Vec<String> = stream
            .events()
            .into_iter()
            .filter(|event| event.container_name == name)
            .map(|event| event.event_type)
            .collect();
        ensure!(kinds == ["containerCreation", "containerDeletion"], "the stream told {kinds:?}");
        Ok(())
    })
}

/// Containers gone before any tick could see them leave their last sample.
fn thirty_milliseconds() -> Result<()> {
    const RUNS: usize = 5;
    let docker = Docker::start()?;
    let collector = Collector::start(&["--housekeeping_interval=10s"])?;
    collector.require_ebpf()?;
    let mut names = Vec::new();
    for _ in 0..RUNS {
        let id = docker.run("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done")?;
        docker.wait(&id)?;
        docker.remove(&id)?;
        names.push(format!("/docker/{id}"));
    }
    wait::eventually(wait::seconds(5), || {
        let events = collector.events("/docker", &["deletion_events"])?;
        for name in &names {
            let event = events.iter().find(|event| event.container_name == *name);
            let event = event.with_context(|| format!("no deletion of {name}"))?;
            let stats = event.event_data.deletion.as_ref().and_then(|deletion| deletion.final_stats.as_ref());
            let stats = stats.with_context(|| format!("{name} has no final sample"))?;
            let total = stats.cpu.as_ref().context("no cpu in the final sample")?.usage.total;
            // The runtime's own start in the cgroup and the loop; far more than any first sample would show.
            ensure!(total > 15_000_000, "{name}: the final sample has only {total} ns of CPU time");
        }
        Ok(())
    })
}
