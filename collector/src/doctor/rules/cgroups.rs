//! The cgroup hierarchies and what is read from them.

use crate::config::LoadReading;
use crate::doctor::report::Finding;
use crate::kernel::cgroup::{Extent, Mode, Version};
use crate::kernel::namespaces::CgroupNamespace;
use crate::kernel::survey::Facts;
use crate::kernel::survey::cgroups::{Accounting, CgroupFacts, Denied, Swap};
use crate::kernel::survey::system::{BuiltIn, Pressure, PressureState};
use crate::sample::kinds::MetricKind;

use super::{Wishes, controllers};

const MOUNT_FIX: &str = "mount the host's /sys/fs/cgroup, in a container as a recursive bind mount, and name the place \
                         with --cgroup_root";

/// Whether there is anything to read.
pub(super) fn mounts(facts: &Facts, findings: &mut Vec<Finding>) {
    let (id, title) = ("cgroup_mounts", "cgroup mounts");
    findings.push(match &facts.cgroups {
        Err(error) => Finding::works(id, title, error.to_string())
            .unavailable("everything: the collector does not start", MOUNT_FIX)
            .essential(),
        Ok(cgroups) => {
            let finding = Finding::works(id, title, layout(cgroups));
            let unreadable: Vec<_> =
                cgroups.hierarchies.iter().filter(|hierarchy| hierarchy.unreadable.is_some()).collect();
            match unreadable.first() {
                None => finding,
                Some(first) => {
                    let errno = first.unreadable.map(|errno| errno.to_string()).unwrap_or_default();
                    let found = format!("{} cannot be listed ({errno})", first.mount.display());
                    let finding = Finding { found, ..finding };
                    let fix = "give this process read access to it: run as root, or grant CAP_DAC_READ_SEARCH";
                    if unreadable.len() == cgroups.hierarchies.len() {
                        finding.unavailable("everything: no cgroup is found", fix).essential()
                    } else {
                        finding.limited("the statistics of this hierarchy", fix)
                    }
                }
            }
        }
    });
}

/// Everything else about them.
pub(super) fn judge(facts: &Facts, wishes: &Wishes, findings: &mut Vec<Finding>) {
    let Ok(cgroups) = &facts.cgroups else { return };
    findings.push(namespace(facts.processes.surroundings.cgroups, cgroups));
    controllers::judge(cgroups, wishes, findings);
    findings.push(denied(&cgroups.denied));
    findings.push(pressure(facts.pressure, cgroups, wishes));
    findings.push(swap(cgroups.swap));
    findings.push(load_average(facts, cgroups, wishes));
}

/// The mode as `/healthz?verbose` says it, and the mounts.
fn layout(cgroups: &CgroupFacts) -> String {
    let mode = match cgroups.mode {
        Mode::V1 => "v1",
        Mode::V2 => "v2",
        Mode::Hybrid => "v1 and v2 (hybrid)",
    };
    let v1 = cgroups.hierarchies.iter().filter(|hierarchy| hierarchy.version == Version::V1).count();
    let v2 = cgroups.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2);
    let mut parts = Vec::new();
    if v1 > 0 {
        parts.push(format!("{v1} of v1"));
    }
    if let Some(unified) = v2 {
        parts.push(format!("cgroup2 at {}", unified.mount.display()));
    }
    format!("{mode}: {}; {} cgroups now", parts.join(", "), cgroups.cgroups)
}

fn namespace(namespace: CgroupNamespace, cgroups: &CgroupFacts) -> Finding {
    let (id, title) = ("cgroup_namespace", "cgroup namespace");
    let own = cgroups.hierarchies.iter().find(|hierarchy| hierarchy.extent == Extent::Own);
    let is_node = cgroups.hierarchies.iter().any(|hierarchy| hierarchy.extent == Extent::Node);
    match (own, namespace) {
        (None, CgroupNamespace::Initial) => Finding::works(id, title, "the host's"),
        (None, CgroupNamespace::Private) if is_node => {
            Finding::works(id, title, "private; the machine is a container itself, and its cgroups are all there")
        }
        (None, CgroupNamespace::Private) => Finding::works(id, title, "private, but the hierarchies are mounted whole"),
        (Some(first), namespace) => {
            let whose = if namespace == CgroupNamespace::Private { "private; " } else { "" };
            let found = format!("{whose}{} shows one cgroup and those below it", first.mount.display());
            Finding::works(id, title, found).limited(
                "every cgroup outside of it: other containers are not seen",
                "run in the host's cgroup namespace (docker run --cgroupns=host), or mount the host's /sys/fs/cgroup",
            )
        }
    }
}

fn denied(denied: &Denied) -> Finding {
    let (id, title) = ("statistics_files", "statistics files");
    match &denied.first {
        None => Finding::works(id, title, format!("all {} that were tried may be read", denied.tried)),
        Some(first) => {
            let found = format!("{} of {} may not be read: {}", denied.denied, denied.tried, first.display());
            Finding::works(id, title, found).limited(
                "their values, which are absent and counted in collector_read_errors_total",
                "run as root, or grant CAP_DAC_READ_SEARCH",
            )
        }
    }
}

fn pressure(pressure: Pressure, cgroups: &CgroupFacts, wishes: &Wishes) -> Finding {
    let (id, title) = ("pressure", "pressure (PSI)");
    let lost = "pressure of containers: how long they waited for CPU, memory and I/O";
    let has_v2 = cgroups.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V2);
    if cgroups.mode != Mode::V2 && !wishes.kinds.has(MetricKind::Pressure) {
        return Finding::off(id, title, "the metric kind pressure is switched off");
    }
    if !has_v2 {
        let fix = "mount cgroup2 beside the v1 hierarchies, or start the machine with cgroup v2";
        return Finding::works(id, title, "cgroup v1 has no pressure files").unavailable(lost, fix);
    }
    let finding = |found| Finding::works(id, title, found);
    match (pressure.state, pressure.built_in) {
        (PressureState::On, _) => finding("on"),
        (PressureState::Denied, _) => {
            finding("/proc/pressure may not be read").unavailable(lost, "give this process read access to it")
        }
        (PressureState::Off, BuiltIn::Yes) => {
            finding("built into the kernel, but switched off").unavailable(lost, "start the kernel with psi=1")
        }
        (PressureState::Off, BuiltIn::No) => {
            finding("not built into the kernel").unavailable(lost, "run a kernel with CONFIG_PSI=y, since 4.20")
        }
        (PressureState::Off, BuiltIn::Unknown) => finding("switched off, or not built into the kernel")
            .unavailable(lost, "start the kernel with psi=1; it needs CONFIG_PSI=y, since 4.20"),
    }
}

fn swap(swap: Swap) -> Finding {
    let (id, title) = ("swap_accounting", "swap accounting");
    let finding = |found| Finding::works(id, title, found);
    match (swap.accounting, swap.total) {
        (Accounting::On, _) => finding("swap is counted by cgroup"),
        (Accounting::Off, Some(0)) => finding("off, and this machine has no swap"),
        (Accounting::Off, _) => finding("off").limited(
            "swap used by each container",
            "start the kernel with swapaccount=1; it needs CONFIG_SWAP=y (and CONFIG_MEMCG_SWAP=y before 6.1)",
        ),
        (Accounting::Unknown, _) => Finding::off(id, title, "no cgroup has memory counted, so it is not known"),
    }
}

fn load_average(facts: &Facts, cgroups: &CgroupFacts, wishes: &Wishes) -> Finding {
    let (id, title) = ("load_average", "load average");
    if wishes.load_reader == LoadReading::Off {
        return Finding::off(id, title, "--enable_load_reader is not set");
    }
    let lost = "load averages of containers";
    let has_v1 = cgroups.hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1);
    match &facts.taskstats {
        Err(error) => Finding::works(id, title, error.to_string())
            .unavailable(lost, "run a kernel with CONFIG_TASKSTATS=y, and in the host's network namespace"),
        Ok(()) if !has_v1 => Finding::works(id, title, "the kernel counts tasks by state for cgroup v1 alone")
            .unavailable(lost, "none with cgroup v2; use pressure instead"),
        Ok(()) => Finding::works(id, title, "taskstats answers"),
    }
}
