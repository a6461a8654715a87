//! Capabilities: which are held, and what each one that is not costs on this machine.

use rustix::thread::CapabilitySet;

use crate::config::KernelEvents;
use crate::doctor::report::Finding;
use crate::kernel::probes::support::Cause;
use crate::kernel::survey::Facts;
use crate::sample::kinds::MetricKind;

use super::{Wishes, events};

const HELD: &str = "held";

pub(super) fn judge(facts: &Facts, wishes: &Wishes, findings: &mut Vec<Finding>) {
    let held = |capability| facts.capabilities.contains(capability);
    let bpf = [
        ("cap_bpf", "CAP_BPF", CapabilitySet::BPF, "grant CAP_BPF (or CAP_SYS_ADMIN)"),
        ("cap_perfmon", "CAP_PERFMON", CapabilitySet::PERFMON, "grant CAP_PERFMON (or CAP_SYS_ADMIN)"),
    ];
    findings.extend(bpf.map(|(id, title, capability, fix)| match (held(capability), wishes.kernel_events) {
        (true, _) => Finding::works(id, title, HELD),
        (false, _) if held(CapabilitySet::SYS_ADMIN) => {
            Finding::works(id, title, "not held; CAP_SYS_ADMIN stands for it")
        }
        (false, KernelEvents::Scan) => Finding::off(id, title, "not held, and there are to be no kernel events"),
        (false, KernelEvents::Auto | KernelEvents::Ebpf) => {
            let finding = Finding::works(id, title, "not held").unavailable("kernel events", fix);
            let failure = facts.probes.failure.as_ref();
            let is_named = failure.is_some_and(|failure| matches!(failure.cause, Cause::MissingCapabilities(_)));
            if is_named { finding.because_of(events::WHOLE) } else { finding }
        }
    }));
    findings.extend([trace(facts, wishes), search(facts, wishes), nice(facts), resource(facts)]);
}

/// What a missing capability means.
enum Cost {
    /// Nothing on this machine, and why.
    None(&'static str),
    /// This is lost.
    Lost(&'static str),
}

fn other(facts: &Facts, id: &'static str, title: &'static str, capability: CapabilitySet, cost: &Cost) -> Finding {
    match cost {
        _ if facts.capabilities.contains(capability) => Finding::works(id, title, HELD),
        Cost::None(why) => Finding::works(id, title, format!("not held; {why}")),
        Cost::Lost(lost) => Finding::works(id, title, "not held").limited(*lost, format!("grant {title}")),
    }
}

fn trace(facts: &Facts, wishes: &Wishes) -> Finding {
    let wanted = [MetricKind::Network, MetricKind::Process].into_iter().any(|kind| wishes.kinds.has(kind));
    let cost = if wanted {
        Cost::Lost("network counters of other users' containers, and the descriptors of their processes")
    } else {
        Cost::None("nothing that is switched on needs it")
    };
    other(facts, "cap_sys_ptrace", "CAP_SYS_PTRACE", CapabilitySet::SYS_PTRACE, &cost)
}

fn search(facts: &Facts, wishes: &Wishes) -> Finding {
    let files = facts.cgroups.as_ref().is_ok_and(|cgroups| cgroups.denied.denied > 0);
    let descriptors = wishes.kinds.has(MetricKind::Process) && facts.processes.descriptors.denied > 0;
    let cost = match (files, descriptors) {
        (true, _) => Cost::Lost("statistics in files that only their owner may read"),
        (false, true) => Cost::Lost("descriptors of other users' processes"),
        (false, false) if facts.capabilities.contains(CapabilitySet::DAC_OVERRIDE) => {
            Cost::None("CAP_DAC_OVERRIDE stands for it")
        }
        (false, false) => Cost::None("all files that were tried can be read"),
    };
    other(facts, "cap_dac_read_search", "CAP_DAC_READ_SEARCH", CapabilitySet::DAC_READ_SEARCH, &cost)
}

fn nice(facts: &Facts) -> Finding {
    let cost = match facts.probes.failure {
        None => Cost::Lost(
            "the event thread and the closing samples go with other work: on a machine whose CPUs are all busy a closing \
             sample may come too late",
        ),
        Some(_) => Cost::None("only kernel events make use of it"),
    };
    other(facts, "cap_sys_nice", "CAP_SYS_NICE", CapabilitySet::SYS_NICE, &cost)
}

fn resource(facts: &Facts) -> Finding {
    let cost = match &facts.probes.failure {
        Some(failure) if matches!(failure.cause, Cause::MemlockLimit(_)) => {
            Cost::Lost("raising the limit of locked memory that stands in the way of kernel events")
        }
        _ => Cost::None("no limit has to be raised with it"),
    };
    other(facts, "cap_sys_resource", "CAP_SYS_RESOURCE", CapabilitySet::SYS_RESOURCE, &cost)
}
