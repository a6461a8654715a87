//! Where families of statistics are on this machine: in which hierarchy's files, or asked of the kernel.

use crate::kernel::cgroup::{DEFAULT_HIERARCHY, Hierarchies, Hierarchy, Mode, Version};
use crate::kernel::probes::counters::CounterFamily;
use crate::sample::kinds::{KindSet, MetricKind};

/// Where a family is read. A number is the place of a hierarchy in the list of those that are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In files of this v1 hierarchy.
    V1(usize),
    /// In files of this v2 hierarchy.
    V2(usize),
    /// In kernel memory, without any file: the kernel is asked about the cgroup of this hierarchy. Taskstats and perf
    /// events today; counters that the collector's own programs keep belong here too.
    Kernel(usize),
}

impl Place {
    /// The hierarchy's place in the list.
    pub(super) const fn hierarchy(self) -> usize {
        let (Self::V1(position) | Self::V2(position) | Self::Kernel(position)) = self;
        position
    }
}

/// The hierarchies that are mounted, and the kinds that are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mounted<'a> {
    hierarchies: &'a Hierarchies,
    kinds: KindSet,
}

impl<'a> Mounted<'a> {
    pub(super) fn new(hierarchies: &'a Hierarchies, kinds: KindSet) -> Self {
        Self { hierarchies, kinds }
    }

    fn find(&self, wanted: impl FnMut(&Hierarchy) -> bool) -> Option<usize> {
        self.hierarchies.iter().position(wanted)
    }

    /// The v1 hierarchy of a controller.
    pub(super) fn v1(&self, controller: &str) -> Option<usize> {
        self.find(|hierarchy| hierarchy.version == Version::V1 && hierarchy.has(controller))
    }

    /// The default hierarchy.
    pub(super) fn unified(&self) -> Option<usize> {
        self.find(|hierarchy| hierarchy.id == DEFAULT_HIERARCHY && hierarchy.version == Version::V2)
    }

    /// Whether the kind is wanted.
    pub(super) fn wants(&self, kind: MetricKind) -> bool {
        self.kinds.has(kind)
    }

    /// The files of a controller by its v1 name; one that is mounted as v1 cannot be on v2 at the same time.
    pub(super) fn controller(&self, controller: &str) -> Option<Place> {
        self.v1(controller).map(Place::V1).or_else(|| self.unified().map(Place::V2))
    }

    /// The same where the kind is wanted.
    pub(super) fn wanted(&self, kind: MetricKind, controller: &str) -> Option<Place> {
        self.controller(controller).filter(|_| self.wants(kind))
    }
}

/// Where CPU time is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum CpuSource {
    /// The hierarchies of cpuacct and cpu, and cgroup2 for the cgroups that are not in cpuacct.
    V1 {
        cpuacct: usize,
        cpu: Option<usize>,
        unified: Option<usize>,
    },
    V2(usize),
}

/// Places that several families look at. A controller of v1 whose kind is switched off is not used at all; on v2 the kinds
/// for CPU and memory switch nothing off, as in cAdvisor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sources {
    pub(super) cpu: Option<CpuSource>,
    /// Memory, where its kind is wanted.
    pub(super) memory: Option<Place>,
    /// Block devices and tasks, where wanted.
    pub(super) io: Option<Place>,
    pub(super) pids: Option<Place>,
    /// Memory even where its kind is off: OOM kills have a kind of their own.
    pub(super) memory_always: Option<Place>,
    /// The hierarchy whose `cgroup.procs` are the container's processes.
    pub(super) processes: Option<usize>,
    /// Where a container's processes most likely are.
    pub(super) likely_processes: [Option<usize>; 3],
    /// v1 cpuset, where wanted.
    pub(super) cpuset_migrate: Option<usize>,
    /// The default hierarchy, where it has cpuset beside v1 hierarchies: kernels without `CONFIG_CPUSETS_V1`.
    pub(super) cpuset_beside: Option<usize>,
    /// The default hierarchy, if the whole machine uses it.
    pub(super) unified_only: Option<usize>,
    /// Where pressure is read.
    pub(super) pressure: Option<usize>,
}

impl Sources {
    pub(super) fn find(mounted: &Mounted<'_>) -> Self {
        let unified = mounted.unified();
        let hierarchies = mounted.hierarchies;
        let when = |kind: MetricKind, position: Option<usize>| position.filter(|_| mounted.wants(kind));
        let memory = mounted.controller("memory");
        let processes = mounted.v1("cpu").or(unified);
        let memory_place = memory.map(Place::hierarchy);
        Self {
            cpu: match (mounted.v1("cpuacct"), unified) {
                (Some(cpuacct), _) => when(MetricKind::Cpu, Some(cpuacct)).map(|cpuacct| CpuSource::V1 {
                    cpuacct,
                    cpu: mounted.v1("cpu"),
                    unified,
                }),
                (None, unified) => unified.map(CpuSource::V2),
            },
            memory: memory.filter(|place| matches!(place, Place::V2(_)) || mounted.wants(MetricKind::Memory)),
            io: mounted.wanted(MetricKind::DiskIo, "blkio"),
            pids: mounted.wanted(MetricKind::Process, "pids"),
            memory_always: memory,
            processes,
            likely_processes: [
                processes,
                memory_place.filter(|place| Some(*place) != processes),
                unified.filter(|place| Some(*place) != processes && Some(*place) != memory_place),
            ],
            cpuset_migrate: when(MetricKind::Cpuset, mounted.v1("cpuset")),
            cpuset_beside: unified.filter(|place| {
                hierarchies.mode != Mode::V2 && hierarchies.at(*place).is_some_and(|hierarchy| hierarchy.has("cpuset"))
            }),
            unified_only: unified.filter(|_| hierarchies.mode == Mode::V2),
            pressure: unified.filter(|_| hierarchies.mode == Mode::V2 || mounted.wants(MetricKind::Pressure)),
        }
    }

    /// The hierarchy in which a cgroup has a family of counters, as far as these are read from kernel memory.
    pub(super) fn counted(&self, family: CounterFamily) -> Option<usize> {
        let in_files = |place: Option<Place>| match place? {
            Place::V1(position) | Place::V2(position) => Some(position),
            Place::Kernel(_) => None,
        };
        match (family, self.cpu) {
            (CounterFamily::Memory, _) => in_files(self.memory),
            (CounterFamily::CpuTime, Some(CpuSource::V1 { cpuacct, .. })) => Some(cpuacct),
            (CounterFamily::Bandwidth, Some(CpuSource::V1 { cpu, .. })) => cpu,
            (CounterFamily::Bandwidth | CounterFamily::Cgroup, Some(CpuSource::V2(position))) => Some(position),
            (CounterFamily::Blkio, _) => in_files(self.io),
            (CounterFamily::Pids, _) => in_files(self.pids),
            _ => None,
        }
    }
}
