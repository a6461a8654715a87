//! The processes of containers, as far as they can be seen.

use crate::doctor::report::Finding;
use crate::kernel::namespaces::{Place, ProcfsView};
use crate::kernel::survey::Facts;
use crate::kernel::survey::processes::{ProcessFacts, Tally};
use crate::sample::kinds::MetricKind;
use rustix::thread::CapabilitySet;

use super::Wishes;

const LOST: &str = "network counters of containers, and what is read from each of their processes (descriptors, \
                    scheduler statistics)";

pub(super) fn judge(facts: &Facts, wishes: &Wishes, findings: &mut Vec<Finding>) {
    let processes = &facts.processes;
    let may_trace = facts.capabilities.contains(CapabilitySet::SYS_PTRACE);
    findings.push(pid_namespace(processes));
    findings.push(procfs(processes));
    findings.push(hidepid(processes, may_trace));
    findings.push(networks(processes.networks, may_trace, wishes));
}

fn pid_namespace(processes: &ProcessFacts) -> Finding {
    let (id, title) = ("pid_namespace", "pid namespace");
    match (processes.surroundings.procfs, processes.surroundings.place) {
        (ProcfsView::Initial, _) => Finding::works(id, title, "the host's"),
        (ProcfsView::Outer, _) => Finding::works(id, title, "private; processes are taken from the host's procfs"),
        (ProcfsView::Own, Place::Machine) => {
            Finding::works(id, title, "private; the machine is a container itself, and its processes are all there")
        }
        (ProcfsView::Own, Place::OwnContainer) => {
            Finding::works(id, title, "private: the kernel has no number for processes outside of it").limited(
                LOST,
                "mount the host's /proc at /host/proc, or run in the host's pid namespace (hostPID: true)",
            )
        }
    }
}

fn procfs(processes: &ProcessFacts) -> Finding {
    let (id, title) = ("procfs", "procfs");
    match (processes.surroundings.procfs, processes.surroundings.place) {
        (ProcfsView::Initial | ProcfsView::Outer, _) => Finding::works(id, title, "the host's"),
        (ProcfsView::Own, Place::Machine) => Finding::works(id, title, "the machine's, which is a container itself"),
        (ProcfsView::Own, Place::OwnContainer) => {
            Finding::works(id, title, "shows the processes of a private pid namespace alone")
                .limited(LOST, "mount the host's /proc at /host/proc, or anywhere and name it with --proc_root")
        }
    }
}

fn hidepid(processes: &ProcessFacts, may_trace: bool) -> Finding {
    let (id, title) = ("hidepid", "hidden processes");
    match &processes.hidepid {
        None => Finding::works(id, title, "procfs is mounted without hidepid"),
        Some(value) if may_trace => {
            Finding::works(id, title, format!("hidepid={value}, which CAP_SYS_PTRACE sees through"))
        }
        Some(value) => Finding::works(id, title, format!("hidepid={value} hides the processes of others")).limited(
            LOST,
            "grant CAP_SYS_PTRACE, or mount procfs with hidepid=0 or with gid= of a group of this process",
        ),
    }
}

fn networks(networks: Tally, may_trace: bool, wishes: &Wishes) -> Finding {
    let (id, title) = ("network_namespaces", "network namespaces");
    let Tally { allowed, denied } = networks;
    let tried = allowed + denied;
    if !wishes.kinds.has(MetricKind::Network) {
        return Finding::off(id, title, "the metric kind network is switched off");
    }
    let finding = |found| Finding::works(id, title, found);
    let (lost, fix) = ("network counters of containers", "grant CAP_SYS_PTRACE");
    match (denied, may_trace) {
        (0, _) => finding(format!("those of all {tried} processes that were tried can be looked at")),
        (_, true) if allowed > 0 => finding(format!("those of {allowed} of {tried} processes can be looked at")),
        (_, true) => finding(format!("none of {tried} processes may be looked at, although CAP_SYS_PTRACE is held"))
            .limited(lost, "allow ptrace in the security module's policy and in the seccomp profile"),
        (_, false) => {
            finding(format!("those of {denied} of {tried} processes may not be looked at")).limited(lost, fix)
        }
    }
}
