//! What stands in the way of kernel events: each is named, and without them containers and OOM kills are still exposed.

use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::oom::Scene;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Skip};
use crate::support::surroundings::Surroundings;
use crate::support::{Context as _, Result, bytes, ensure, settings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("dimensions_events::btf_is_hidden", btf_is_hidden).on_every_kernel(),
    Case::new("dimensions_events::no_capability_for_bpf", no_capability_for_bpf).on_every_unified_kernel(),
    Case::new("dimensions_events::bpf_for_anybody_or_nobody", bpf_for_anybody_or_nobody),
    Case::new("dimensions_events::seccomp_refuses_bpf", seccomp_refuses_bpf),
    Case::new("dimensions_events::little_locked_memory", little_locked_memory).on_every_unified_kernel(),
];

/// All capabilities but those that stand for the right to load tracing programs.
pub(crate) fn all_but_bpf() -> CapabilitySet {
    CapabilitySet::all().difference(CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN)
}

/// The one line that says why something does not work; it must hold all of `words`.
pub(crate) fn reason(collector: &Collector, words: &[&str]) -> Result<String> {
    let health = collector.health()?;
    let mode = collector.event_mode()?;
    ensure!(mode == "scan", "kernel events: {mode}, they cannot work here:\n{health}");
    // Rights that are taken away may cost more than events, which this distinguishes.
    let reasons: Vec<&str> =
        health.lines().map(str::trim).filter(|line| line.starts_with("degraded: kernel events")).collect();
    let [reason] = reasons.as_slice() else { crate::support::bail!("{} reasons:\n{health}", reasons.len()) };
    for word in words {
        ensure!(reason.contains(word), "{word:?} is not in the reason: {reason}");
    }
    let (log, logged) = (collector.log(), reason.trim_start_matches("degraded: "));
    ensure!(log.iter().any(|line| line.contains(logged)), "the log does not say {logged:?}: {log:?}");
    let facilities = collector.metrics()?.labels_above_zero("collector_degraded", "facility");
    let reported = facilities.iter().filter(|facility| reason.contains(facility.as_str())).count();
    ensure!(reported == 1, "collector_degraded is set for {facilities:?}, the reason is {reason}");
    Ok((*reason).to_owned())
}

/// A container that came and went, and an OOM kill, are reported by a collector without kernel events.
pub(crate) fn still_reports(collector: &mut Collector) -> Result<()> {
    let cgroups = Cgroups::new(Set::Memory)?;
    let scene = Scene::new(&cgroups, 0)?;
    let victim = scene.victim_name();
    wait::eventually(wait::seconds(5), || {
        let listed = collector.names_below(&cgroups.name())?;
        ensure!(listed.contains(&victim), "{victim} is not among {listed:?}");
        Ok(())
    })?;
    scene.kill()?;
    wait::eventually(wait::seconds(5), || {
        let counted = collector.metrics()?.value("container_oom_events_total", &[("id", &victim)]);
        ensure!(counted == Some(1.0), "one process of {victim} was killed, counted: {counted:?}");
        Ok(())
    })?;
    scene.remove()?;
    wait::eventually(wait::seconds(5), || {
        for kind in ["creation_events", "deletion_events"] {
            let count = collector.events(&victim, &[kind])?.len();
            ensure!(count == 1, "{count} {kind} of {victim}");
        }
        Ok(())
    })?;
    collector.check_alive()
}

/// A kernel without type information, or a sysfs that does not show it.
fn btf_is_hidden() -> Result<()> {
    let mut collector = Collector::start_as(Surroundings::default().without("/sys/kernel/btf"), &[])?;
    reason(&collector, &["BTF", "/sys/kernel/btf/vmlinux does not exist", "CONFIG_DEBUG_INFO_BTF"])?;
    still_reports(&mut collector)
}

fn no_capability_for_bpf() -> Result<()> {
    let mut collector = Collector::start_as(Surroundings::of_root(all_but_bpf()), &[])?;
    reason(&collector, &["lacks CAP_BPF and CAP_PERFMON"])?;
    still_reports(&mut collector)
}

/// `kernel.unprivileged_bpf_disabled`: whatever it is, tracing programs need their capabilities, and suffice.
fn bpf_for_anybody_or_nobody() -> Result<()> {
    const SETTING: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";
    let was = bytes::read(SETTING).map_err(|_| Skip::because("the kernel has no unprivileged_bpf_disabled"))?;
    // From 1 there is no way back until the next boot: it comes last, and not on a machine that lives on.
    let values: &[&str] = match was.as_str() {
        "1" => &["1"],
        _ if settings::in_vm() => &["0", "2", "1"],
        _ => &[&was],
    };
    for value in values {
        bytes::write(SETTING, value)?;
        let named = || format!("unprivileged_bpf_disabled is {value}");
        let nobody = Collector::start_as(Surroundings::of_nobody(CapabilitySet::empty()), &[])?;
        reason(&nobody, &["lacks CAP_BPF and CAP_PERFMON", "to fix: "]).with_context(named)?;
        let both = CapabilitySet::BPF | CapabilitySet::PERFMON;
        let capable = Collector::start_as(Surroundings::of_nobody(both).locked_memory(8 << 20), &[])?;
        capable.require_ebpf().with_context(named)?;
    }
    Ok(())
}

fn seccomp_refuses_bpf() -> Result<()> {
    for errno in [Errno::PERM, Errno::NOSYS] {
        let surroundings = Surroundings::default().answering_bpf(errno);
        let mut collector = Collector::start_as(surroundings, &[])?;
        reason(&collector, &["seccomp", "allow bpf(2)"]).with_context(|| format!("answered with {errno:?}"))?;
        still_reports(&mut collector)?;
    }
    Ok(())
}

/// A hard limit of locked memory that the process may not raise: kernels before 5.11 count BPF maps in it.
fn little_locked_memory() -> Result<()> {
    let counts = settings::kernel()? < (5, 11);
    let without = CapabilitySet::all().difference(CapabilitySet::SYS_RESOURCE | CapabilitySet::IPC_LOCK);
    for limit in [64 << 10, 0] {
        let surroundings = Surroundings::of_root(without).locked_memory(limit);
        let mut collector = Collector::start_as(&surroundings, &[])?;
        if counts {
            reason(&collector, &["RLIMIT_MEMLOCK", &limit.to_string(), "CAP_SYS_RESOURCE"])
                .with_context(|| format!("{limit} bytes may be locked"))?;
            still_reports(&mut collector)?;
        } else {
            collector.require_ebpf()?;
        }
    }
    // With the right to raise the limit, or with one that is high enough, nothing is in the way on any kernel.
    let may_raise = CapabilitySet::SYS_RESOURCE;
    if rustix::thread::capabilities(None)?.effective.contains(may_raise) {
        Collector::start_as(Surroundings::default().locked_memory(64 << 10), &[])?.require_ebpf()?;
    }
    Collector::start_as(Surroundings::of_root(without).locked_memory(8 << 20), &[])?.require_ebpf()
}
