//! Without eBPF: slower and by scans, but containers, events and OOM kills are still exposed.

use crate::oom::Scene;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::workload::{Plan, Work};
use crate::support::{Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("degraded::containers_and_events", containers_and_events).on_every_kernel(),
    Case::new("degraded::oom_kills_are_counted", oom_kills_are_counted).on_every_kernel(),
    Case::new("degraded::by_choice_is_said", by_choice_is_said),
    Case::new("degraded::ebpf_or_nothing", ebpf_or_nothing),
];

fn scanning() -> Result<Collector> {
    let collector = Collector::start(&["--kernel_events=scan", "--housekeeping_interval=200ms"])?;
    let mode = collector.event_mode()?;
    ensure!(mode == "scan", "--kernel_events=scan, but kernel events: {mode}");
    Ok(collector)
}

fn containers_and_events() -> Result<()> {
    let collector = scanning()?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("scanned")?;
    let name = cgroup.name();
    let spinner = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let count = |kind: &str| Ok::<_, crate::support::Error>(collector.events(&name, &[kind])?.len());
    wait::eventually(wait::seconds(15), || {
        let stats = collector.container(&name)?.stats;
        let total = stats.last().and_then(|stats| stats.cpu.as_ref()).map_or(0, |cpu| cpu.usage.total);
        ensure!(total > 0, "a process spins in it, but no CPU time is reported");
        ensure!(count("creation_events")? == 1, "{} creation events", count("creation_events")?);
        Ok(())
    })?;
    spinner.end()?;
    cgroup.remove()?;
    wait::eventually(wait::seconds(15), || {
        ensure!(count("deletion_events")? == 1, "{} deletion events", count("deletion_events")?);
        ensure!(collector.names_below(&name)?.is_empty(), "gone but listed");
        Ok(())
    })?;
    let final_stats = collector.events(&name, &["deletion_events"])?.remove(0).event_data.deletion;
    let final_stats = final_stats.and_then(|deletion| deletion.final_stats);
    ensure!(final_stats.is_some(), "it was sampled for a while, but its deletion has no last sample");
    Ok(())
}

fn oom_kills_are_counted() -> Result<()> {
    let collector = scanning()?;
    let cgroups = Cgroups::new(Set::Memory)?;
    let scene = Scene::new(&cgroups, 0)?;
    wait::eventually(wait::seconds(15), || {
        let listed = collector.names_below(&scene.victim_name())?;
        ensure!(!listed.is_empty(), "the victim's cgroup is not listed");
        Ok(())
    })?;
    scene.kill()?;
    wait::eventually(wait::seconds(15), || {
        let counted = collector.metrics()?.value("container_oom_events_total", &[("id", &scene.victim_name())]);
        ensure!(counted == Some(1.0), "one process of the victim's cgroup was killed, counted: {counted:?}");
        let events = collector.events(&scene.victim_name(), &["oom_events"])?.len();
        ensure!(events == 1, "{events} oom events");
        Ok(())
    })?;
    scene.remove()
}

/// A mode that was asked for is stated like any other.
fn by_choice_is_said() -> Result<()> {
    let collector = scanning()?;
    let log = collector.log();
    ensure!(log.iter().any(|line| line.contains("scan")), "the log does not have the mode: {log:?}");
    let plain = collector.get("/healthz")?;
    ensure!((plain.status, plain.text().as_str()) == (200, "ok"), "/healthz: {} {:?}", plain.status, plain.text());
    Ok(())
}

/// Forced to eBPF as root it runs, and says so.
fn ebpf_or_nothing() -> Result<()> {
    let collector = Collector::start(&["--kernel_events=ebpf"])?;
    collector.require_ebpf()?;
    let health = collector.health()?;
    ensure!(!health.lines().any(|line| line.trim().starts_with("degraded:")), "degraded although root:\n{health}");
    let metrics = collector.metrics()?;
    let expected = [
        "collector_events_received_total",
        "collector_events_lost_total",
        "collector_reconciles_total",
        "collector_divergences_total",
        "collector_containers",
        "collector_samples_total",
        "collector_map_bytes",
        "collector_open_descriptors",
    ];
    let missing: Vec<_> = expected.iter().filter(|name| !metrics.has(name)).collect();
    ensure!(missing.is_empty(), "/metrics lacks {missing:?}");
    let maps = metrics.sum("collector_map_bytes");
    ensure!(maps > 0.0 && maps <= 4096.0 * 1024.0, "the eBPF maps take {maps} bytes, at most 4 MiB are promised");
    Ok(())
}
