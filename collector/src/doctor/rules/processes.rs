//! The processes of containers, as far as they can be seen.

use crate::doctor::report::Finding;
use crate::kernel::facts::Facts;
use crate::kernel::facts::processes::{Namespace, ProcessFacts, Procfs, Tally};
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
    match processes.pid_namespace {
        Namespace::Host => Finding::works(id, title, "the host's"),
        Namespace::Private => {
            Finding::works(id, title, "private: the kernel has no number for processes outside of it")
                .limited(LOST, "run in the host's pid namespace (hostPID: true, docker run --pid=host)")
        }
        Namespace::Unknown => Finding::works(id, title, "not known"),
    }
}

fn procfs(processes: &ProcessFacts) -> Finding {
    let (id, title) = ("procfs", "procfs");
    match processes.procfs {
        Procfs::Host => Finding::works(id, title, "the host's"),
        Procfs::Own => Finding::works(id, title, "shows the processes of a private pid namespace alone").limited(
            LOST,
            "run in the host's pid namespace (hostPID: true), or mount the host's /proc and name it with --proc_root",
        ),
        Procfs::Unknown => Finding::works(id, title, "there; whose it is cannot be told"),
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
