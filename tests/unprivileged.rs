//! With fewer rights the collector does less, says so three times over, and never panics.

use rustix::thread::CapabilitySet;

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, Rights};
use crate::support::harness::Case;
use crate::support::surroundings::Surroundings;
use crate::support::{Context as _, Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("unprivileged::another_user", || check(&rights(Some(65534), CapabilitySet::empty()))),
    Case::new("unprivileged::another_user_with_bpf", another_user_with_bpf).on_every_unified_kernel(),
    Case::new("unprivileged::root_without_one_capability", root_without_one_capability),
    Case::new("unprivileged::root_losing_one_after_the_other", root_losing_one_after_the_other),
];

/// Capabilities the collector can make use of.
const USEFUL: [CapabilitySet; 8] = [
    CapabilitySet::BPF,
    CapabilitySet::PERFMON,
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_RESOURCE,
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::DAC_READ_SEARCH,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::NET_ADMIN,
];

fn rights(uid: Option<u32>, capabilities: CapabilitySet) -> Rights {
    Rights { uid, capabilities: Some(capabilities.bits()), open_files: None }
}

/// Whether the kernel lets a process with these capabilities load and attach tracing programs.
fn may_use_bpf(rights: &Rights) -> bool {
    let has = CapabilitySet::from_bits_retain(rights.capabilities.unwrap_or(u64::MAX));
    let either = |capability| has.intersects(capability | CapabilitySet::SYS_ADMIN);
    either(CapabilitySet::BPF) && either(CapabilitySet::PERFMON)
}

/// Starts a collector with these rights; its mode must be the one they allow, and it must work in that mode.
fn check(rights: &Rights) -> Result<()> {
    // As service managers and container engines set it: kernels before 5.11 count BPF maps in it.
    let surroundings = Surroundings::from(rights).locked_memory(8 << 20);
    let mut collector = Collector::start_as(surroundings, &[])?;
    let expected = if may_use_bpf(rights) { "ebpf" } else { "scan" };
    let health = collector.health()?;
    let mode = collector.event_mode()?;
    ensure!(mode == expected, "kernel events: {mode}, these rights allow {expected}:\n{health}");
    let reasons: Vec<&str> = health.lines().map(str::trim).filter(|line| line.starts_with("degraded:")).collect();
    let facilities = collector.metrics()?.labels_above_zero("collector_degraded", "facility");
    if expected == "scan" {
        let all = reasons.join("\n");
        let errno = ["EPERM", "EACCES", "os error 1)", "os error 13)"].iter().any(|errno| all.contains(errno));
        ensure!(errno, "the reason names no errno:\n{health}");
        ensure!(all.contains("CAP_BPF"), "the reason does not say what would fix it:\n{health}");
        ensure!(!facilities.is_empty(), "no collector_degraded metric is set, but:\n{health}");
    }
    ensure!(reasons.len() == facilities.len(), "the metric names {facilities:?}, the health page says\n{health}");
    for facility in &facilities {
        ensure!(reasons.iter().any(|reason| reason.contains(facility.as_str())), "{facility} is not in\n{health}");
        let log = collector.log();
        let reported = log.iter().filter(|line| line.contains("degraded") && line.contains(facility.as_str()));
        let reported = reported.count();
        ensure!(reported == 1, "{reported} log lines instead of one report that {facility} is degraded");
    }
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("seen")?;
    wait::eventually(wait::seconds(15), || {
        let stats = collector.container(&cgroup.name())?.stats;
        stats.last().and_then(|stats| stats.cpu.as_ref()).context("no sample of its CPU")?;
        Ok(())
    })?;
    cgroup.remove()?;
    wait::eventually(wait::seconds(15), || {
        let listed = collector.names_below(&cgroups.name())?;
        ensure!(listed == [cgroups.name()], "gone but listed: {listed:?}");
        Ok(())
    })?;
    collector.check_alive()
}

fn named(rights: &Rights, what: &str) -> Result<()> {
    check(rights).with_context(|| what.to_owned())
}

fn another_user_with_bpf() -> Result<()> {
    let both = CapabilitySet::BPF | CapabilitySet::PERFMON;
    named(&rights(Some(65534), both), "with both")?;
    named(&rights(Some(65534), CapabilitySet::BPF), "with CAP_BPF alone")?;
    named(&rights(Some(65534), CapabilitySet::PERFMON), "with CAP_PERFMON alone")
}

fn root_without_one_capability() -> Result<()> {
    for capability in USEFUL {
        named(&rights(None, CapabilitySet::all().difference(capability)), &format!("root without {capability:?}"))?;
    }
    Ok(())
}

fn root_losing_one_after_the_other() -> Result<()> {
    let mut left = CapabilitySet::all();
    for capability in USEFUL {
        left = left.difference(capability);
        named(&rights(None, left), &format!("root with {capability:?} lost too"))?;
    }
    named(&rights(None, CapabilitySet::empty()), "root without any")
}
