//! The controllers that statistics come from.

use crate::doctor::report::Finding;
use crate::kernel::cgroup::{Extent, Mode, Version};
use crate::kernel::survey::cgroups::{CgroupFacts, ControllerState};
use crate::sample::kinds::MetricKind;

use super::Wishes;

/// A controller that is looked for.
struct Controller {
    id: &'static str,
    title: &'static str,
    /// Its name on v1 and on v2; `None` where that version has none of its own.
    v1: &'static str,
    v2: Option<&'static str>,
    kind: MetricKind,
    lost: &'static str,
    config: &'static str,
}

const CONTROLLERS: [Controller; 7] = [
    Controller {
        id: "controller_memory",
        title: "controller memory",
        v1: "memory",
        v2: Some("memory"),
        kind: MetricKind::Memory,
        lost: "memory of containers: usage, limits, failures, and the limit that an OOM kill was about",
        config: "CONFIG_MEMCG",
    },
    Controller {
        id: "controller_cpuacct",
        title: "controller cpuacct",
        v1: "cpuacct",
        v2: None,
        kind: MetricKind::Cpu,
        lost: "CPU time of containers, unless cgroup2 is mounted beside",
        config: "CONFIG_CGROUP_CPUACCT",
    },
    Controller {
        id: "controller_cpu",
        title: "controller cpu",
        v1: "cpu",
        v2: Some("cpu"),
        kind: MetricKind::Cpu,
        lost: "CPU limits of containers and how often they were throttled",
        config: "CONFIG_CGROUP_SCHED and CONFIG_CFS_BANDWIDTH",
    },
    Controller {
        id: "controller_io",
        title: "controller io",
        v1: "blkio",
        v2: Some("io"),
        kind: MetricKind::DiskIo,
        lost: "traffic of containers to and from block devices",
        config: "CONFIG_BLK_CGROUP",
    },
    Controller {
        id: "controller_pids",
        title: "controller pids",
        v1: "pids",
        v2: Some("pids"),
        kind: MetricKind::Process,
        lost: "the number of threads of containers and its limit",
        config: "CONFIG_CGROUP_PIDS",
    },
    Controller {
        id: "controller_cpuset",
        title: "controller cpuset",
        v1: "cpuset",
        v2: Some("cpuset"),
        kind: MetricKind::Cpuset,
        lost: "whether memory follows when the memory nodes of a container change",
        config: "CONFIG_CPUSETS",
    },
    Controller {
        id: "controller_hugetlb",
        title: "controller hugetlb",
        v1: "hugetlb",
        v2: Some("hugetlb"),
        kind: MetricKind::Hugetlb,
        lost: "huge pages of containers",
        config: "CONFIG_CGROUP_HUGETLB",
    },
];

pub(super) fn judge(cgroups: &CgroupFacts, wishes: &Wishes, findings: &mut Vec<Finding>) {
    let wanted = CONTROLLERS.iter().filter(|controller| cgroups.mode != Mode::V2 || controller.v2.is_some());
    findings.extend(wanted.map(|controller| one(controller, cgroups, wishes)));
}

fn one(controller: &Controller, cgroups: &CgroupFacts, wishes: &Wishes) -> Finding {
    let finding = |found: String| Finding::works(controller.id, controller.title, found);
    let place = cgroups.hierarchies.iter().find_map(|hierarchy| {
        let name = match hierarchy.version {
            Version::V1 => controller.v1,
            Version::V2 => controller.v2?,
        };
        hierarchy.controllers.iter().any(|other| **other == *name).then_some((hierarchy, name))
    });
    let judged = match place {
        Some((hierarchy, name)) => {
            let passed_on = hierarchy.passed_on.iter().any(|other| **other == *name);
            if hierarchy.version == Version::V2 && hierarchy.extent == Extent::Whole && !passed_on {
                let control = hierarchy.mount.join("cgroup.subtree_control");
                finding(format!("there, but not passed on to the cgroups: {} lacks it", control.display()))
                    .limited(controller.lost, format!("echo +{name} > {}", control.display()))
            } else {
                finding(format!("at {}", hierarchy.mount.display()))
            }
        }
        None => missing(controller, cgroups, finding),
    };
    if wishes.kinds.has(controller.kind) || judged.trouble.is_none() { judged } else { judged.not_asked_for() }
}

fn missing(controller: &Controller, cgroups: &CgroupFacts, finding: impl Fn(String) -> Finding) -> Finding {
    let names = [Some(controller.v1), controller.v2];
    let is_it = |name: &str| names.contains(&Some(name));
    let listed = cgroups.listed.iter().find(|row| is_it(&row.name)).map(|row| row.state);
    let by_flag = cgroups.disabled.iter().find(|name| is_it(name));
    if let Some(name) = by_flag.map(String::as_str).or((listed == Some(ControllerState::Off)).then_some(controller.v1))
    {
        return finding(format!("switched off when the kernel was started (cgroup_disable={name})"))
            .unavailable(controller.lost, format!("start the kernel without cgroup_disable={name}"));
    }
    if listed == Some(ControllerState::On) {
        let fix = match cgroups.mode {
            Mode::V1 | Mode::Hybrid => "mount its hierarchy, and in a container the host's /sys/fs/cgroup as a whole",
            Mode::V2 => "free it from a v1 hierarchy, or have the cgroup above pass it on",
        };
        return finding("the kernel has it, but no mounted hierarchy does".to_owned())
            .unavailable(controller.lost, fix);
    }
    finding("no mounted hierarchy has it, and the kernel does not list it".to_owned())
        .unavailable(controller.lost, format!("run a kernel with {}", controller.config))
}
