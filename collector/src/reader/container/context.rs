//! What all containers' readers share: where the host is, which statistics are wanted, and where each family of them
//! is found on this machine.

use std::sync::Arc;

use super::devices::DeviceNames;
use super::limitations::{self, Limitation};
use super::load::LoadReader;
use super::perf::PerfEvents;
use super::referenced::ResetEvery;
use super::resctrl::ResctrlReader;
use super::sockets::NETWORK_KINDS;
use crate::kernel::HostRoots;
use crate::kernel::cgroup::hugetlb::page_sizes;
use crate::kernel::cgroup::memory_stat::StatLayouts;
use crate::kernel::cgroup::{DEFAULT_HIERARCHY, Hierarchies, Mode, Version};
use crate::kernel::file::{FileBudget, ReadBuffer};
use crate::kernel::machine::container_mounts::ListedMounts;
use crate::kernel::namespaces::{Place, ProcfsView, Surroundings};
use crate::kernel::procfs::process::{NamespaceId, host_network_namespace};
use crate::kernel::procfs::process_index::ProcessIndex;
use crate::kernel::read_errors::ReadErrors;
use crate::sample::kinds::{KindSet, MetricKind};
use crate::units::{Bytes, WallTime};

/// What a reader needs to know of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineFacts {
    /// Logical CPUs.
    pub cpus: usize,
    /// One more than the highest number of a CPU that is there, switched on or not; `None` where it is not known.
    pub present_cpus: Option<usize>,
    /// `MemTotal`.
    pub memory: Bytes,
    /// `SwapTotal`.
    pub swap: Bytes,
    /// When the machine was started.
    pub booted: WallTime,
    /// The host has a network interface that is counted.
    pub has_network: bool,
    /// A block device uses the BFQ scheduler, which then does the accounting of cgroup v1.
    pub uses_bfq: bool,
    /// Which file systems are listed as the machine's.
    pub listed_mounts: ListedMounts,
}

/// Statistics that somebody has to ask for, and where they come from.
#[derive(Debug, Default)]
pub struct Extras {
    /// When the marks of touched pages are cleared.
    pub referenced_reset: ResetEvery,
    /// Monitoring groups of the processor.
    pub resctrl: Option<ResctrlReader>,
    /// Perf events.
    pub perf: Option<PerfEvents>,
}

/// Whether a file of a container's network namespace stays open between samples. While it does, the namespace cannot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFiles {
    /// Until the container's last process has ended, which the kernel's events tell, or it is found to be elsewhere.
    Kept,
    /// Opened for each sample: nobody would tell when to let go.
    OpenedEachTime,
}

/// The parts of a [`ReaderContext`] that are decided elsewhere.
#[derive(Debug)]
pub struct ContextParts {
    /// Where the host's file systems are.
    pub roots: HostRoots,
    /// The mounted hierarchies.
    pub hierarchies: Arc<Hierarchies>,
    /// Which statistics are wanted.
    pub kinds: KindSet,
    /// How many descriptors may be kept.
    pub budget: Arc<FileBudget>,
    /// Whether files of network namespaces are among them.
    pub network_files: NetworkFiles,
    /// Where failures are counted.
    pub errors: Arc<ReadErrors>,
    /// Counts tasks by state, where switched on.
    pub load: Option<LoadReader>,
    /// What is optional and read from elsewhere than cgroups.
    pub extras: Extras,
    /// The machine.
    pub machine: MachineFacts,
    /// The wall clock.
    pub clock: fn() -> WallTime,
}

/// Shared by the readers of all containers and by all sampling threads.
#[derive(Debug)]
pub struct ReaderContext {
    pub(super) roots: HostRoots,
    pub(super) hierarchies: Arc<Hierarchies>,
    pub(super) kinds: KindSet,
    pub(super) budget: Arc<FileBudget>,
    /// The same for files of network namespaces; without room where none are kept.
    pub(super) network_budget: Arc<FileBudget>,
    pub(super) errors: Arc<ReadErrors>,
    pub(super) load: Option<LoadReader>,
    pub(super) referenced_reset: ResetEvery,
    pub(super) resctrl: Option<ResctrlReader>,
    pub(super) perf: Option<PerfEvents>,
    pub(super) machine: MachineFacts,
    pub(super) clock: fn() -> WallTime,
    /// The host's network namespace; `None` where it may not be looked at, and then no container's can be told apart.
    pub(super) host_network: Option<NamespaceId>,
    pub(super) devices: DeviceNames,
    pub(super) layouts: StatLayouts,
    pub(super) page_sizes: Vec<PageSize>,
    pub(super) sources: Sources,
    pub(super) processes: ProcessSource,
    limitations: Vec<Limitation>,
}

/// Where a cgroup's processes are told.
#[derive(Debug)]
pub(super) enum ProcessSource {
    /// In `cgroup.procs`: its ids are those of procfs.
    Listed(Hints),
    /// In the host's procfs, of which the collector's pid namespace shows only a part.
    Indexed(ProcessIndex),
    /// Nowhere: most processes are in a pid namespace around the collector's, and there is no procfs of it.
    Hidden,
}

/// Whether the ids of kernel events, which are those of the initial pid namespace, are also those of procfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hints {
    Taken,
    Ignored,
}

/// A huge page size and the names of its files.
#[derive(Debug)]
pub(super) struct PageSize {
    pub(super) name: Arc<str>,
    /// Usage, peak and failures on v1, of the reservations first (since 5.7).
    pub(super) v1: [[String; 3]; 2],
    /// Usage on v2, of the reservations first.
    pub(super) v2_usage: [String; 2],
    /// Failures on v2.
    pub(super) v2_events: String,
}

impl PageSize {
    fn new(size: &str) -> Self {
        let v1 = |reserved: &str| {
            ["usage_in_bytes", "max_usage_in_bytes", "failcnt"].map(|file| format!("hugetlb.{size}{reserved}.{file}"))
        };
        Self {
            name: size.into(),
            v1: [v1(".rsvd"), v1("")],
            v2_usage: [format!("hugetlb.{size}.rsvd.current"), format!("hugetlb.{size}.current")],
            v2_events: format!("hugetlb.{size}.events"),
        }
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

/// Where memory is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum MemorySource {
    V1(usize),
    V2(usize),
}

/// Where any other family is read that differs between the versions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    V1(usize),
    V2(usize),
}

/// The place, in the list of hierarchies, of each family that is wanted. A controller of v1 whose kind is switched off
/// is not used at all; on v2 the kinds for CPU and memory switch nothing off, as in cAdvisor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sources {
    pub(super) cpu: Option<CpuSource>,
    pub(super) memory: Option<MemorySource>,
    /// Memory even where its kind is off: OOM kills have a kind of their own.
    memory_always: Option<MemorySource>,
    pub(super) io: Option<Source>,
    pub(super) hugetlb: Option<Source>,
    pub(super) pids: Option<Source>,
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
    /// A v1 hierarchy to ask for tasks by state.
    pub(super) tasks: Option<usize>,
    /// The hierarchy by which perf events tell cgroups.
    pub(super) perf: Option<usize>,
}

impl Sources {
    pub(super) fn memory_unless_off(&self) -> Option<MemorySource> {
        self.memory_always
    }

    fn find(hierarchies: &Hierarchies, kinds: KindSet) -> Self {
        let place = |wanted: &dyn Fn(&crate::kernel::cgroup::Hierarchy) -> bool| hierarchies.iter().position(wanted);
        let unified = place(&|hierarchy| hierarchy.id == DEFAULT_HIERARCHY && hierarchy.version == Version::V2);
        let v1 = |controller: &str| place(&|hierarchy| hierarchy.version == Version::V1 && hierarchy.has(controller));
        let when = |kind: MetricKind, position: Option<usize>| position.filter(|_| kinds.has(kind));
        // A controller mounted as v1 cannot be on v2 at the same time.
        let source = |kind, controller| match (v1(controller), unified) {
            (Some(position), _) => when(kind, Some(position)).map(Source::V1),
            (None, unified) => when(kind, unified).map(Source::V2),
        };
        let memory = match (v1("memory"), unified) {
            (Some(position), _) => Some(MemorySource::V1(position)),
            (None, unified) => unified.map(MemorySource::V2),
        };
        let processes = v1("cpu").or(unified);
        let memory_place = memory.map(|(MemorySource::V1(position) | MemorySource::V2(position))| position);
        Self {
            cpu: match (v1("cpuacct"), unified) {
                (Some(cpuacct), _) => when(MetricKind::Cpu, Some(cpuacct)).map(|cpuacct| CpuSource::V1 {
                    cpuacct,
                    cpu: v1("cpu"),
                    unified,
                }),
                (None, unified) => unified.map(CpuSource::V2),
            },
            memory: memory.filter(|source| matches!(source, MemorySource::V2(_)) || kinds.has(MetricKind::Memory)),
            memory_always: memory,
            io: source(MetricKind::DiskIo, "blkio"),
            hugetlb: source(MetricKind::Hugetlb, "hugetlb"),
            pids: source(MetricKind::Process, "pids"),
            processes,
            likely_processes: [
                processes,
                memory_place.filter(|place| Some(*place) != processes),
                unified.filter(|place| Some(*place) != processes && Some(*place) != memory_place),
            ],
            cpuset_migrate: when(MetricKind::Cpuset, v1("cpuset")),
            cpuset_beside: unified.filter(|place| {
                hierarchies.mode != Mode::V2 && hierarchies.at(*place).is_some_and(|hierarchy| hierarchy.has("cpuset"))
            }),
            unified_only: unified.filter(|_| hierarchies.mode == Mode::V2),
            pressure: unified.filter(|_| hierarchies.mode == Mode::V2 || kinds.has(MetricKind::Pressure)),
            // On cgroup v2 the controller is always there.
            perf: v1("perf_event").or(unified),
            tasks: v1("cpu").or_else(|| v1("cpuacct")).or_else(|| v1("memory")),
        }
    }
}

impl ReaderContext {
    /// Finds out where the wanted statistics are on this machine.
    pub fn new(parts: ContextParts) -> Self {
        let ContextParts { roots, hierarchies, kinds, budget, network_files, errors, load, extras, machine, clock } =
            parts;
        let Extras { referenced_reset, resctrl, perf } = extras;
        let surroundings = Surroundings::look(&roots.proc);
        let mut limitations = limitations::of_cgroups(&hierarchies).into_iter().collect::<Vec<_>>();
        let processes = find_processes(&roots, &hierarchies, surroundings, &mut limitations);
        let host_network = find_host_network(&roots, surroundings, &processes, kinds, &mut limitations);
        let sources = Sources::find(&hierarchies, kinds);
        let page_sizes = match sources.hugetlb {
            Some(_) => page_sizes(&roots.sys).iter().map(|size| PageSize::new(size)).collect(),
            None => Vec::new(),
        };
        let network_budget = match network_files {
            NetworkFiles::Kept => Arc::clone(&budget),
            NetworkFiles::OpenedEachTime => Arc::new(FileBudget::new(0)),
        };
        Self {
            network_budget,
            devices: DeviceNames::new(roots.sys.clone()),
            layouts: StatLayouts::default(),
            page_sizes,
            sources,
            host_network,
            processes,
            limitations,
            roots,
            hierarchies,
            kinds,
            budget,
            errors,
            load,
            referenced_reset,
            resctrl,
            perf,
            machine,
            clock,
        }
    }

    /// Which file systems are listed as the machine's.
    pub fn listed_mounts(&self) -> ListedMounts {
        self.machine.listed_mounts
    }

    /// Where the host's file systems are.
    pub fn roots(&self) -> &HostRoots {
        &self.roots
    }

    /// Which kinds of statistics are read.
    pub fn kinds(&self) -> KindSet {
        self.kinds
    }

    /// The machine's memory; 0 when it is not known.
    pub fn machine_memory(&self) -> Bytes {
        self.machine.memory
    }

    /// The wall clock.
    pub fn now(&self) -> WallTime {
        (self.clock)()
    }

    /// The descriptors kept open.
    pub fn budget(&self) -> &FileBudget {
        &self.budget
    }

    /// What could not be read.
    pub fn errors(&self) -> &ReadErrors {
        &self.errors
    }

    /// What cannot be read for want of a right or a mount.
    pub fn limitations(&self) -> &[Limitation] {
        &self.limitations
    }

    /// The mounted hierarchies.
    pub fn hierarchies(&self) -> &Arc<Hierarchies> {
        &self.hierarchies
    }

    /// Names of block devices.
    pub fn devices(&self) -> &DeviceNames {
        &self.devices
    }
}

fn find_processes(
    roots: &HostRoots,
    hierarchies: &Hierarchies,
    surroundings: Surroundings,
    limitations: &mut Vec<Limitation>,
) -> ProcessSource {
    match surroundings.procfs {
        ProcfsView::Initial => ProcessSource::Listed(Hints::Taken),
        // What is in sight is the collector's own, and so are its processes.
        ProcfsView::Own if surroundings.place == Place::Machine || hierarchies.are_own() => {
            ProcessSource::Listed(Hints::Ignored)
        }
        ProcfsView::Own => {
            limitations.push(Limitation::ProcessesHidden);
            ProcessSource::Hidden
        }
        ProcfsView::Outer => match ProcessIndex::start(&roots.proc, hierarchies) {
            Ok(index) => ProcessSource::Indexed(index),
            Err(error) => {
                limitations.push(Limitation::NoThread(error));
                ProcessSource::Hidden
            }
        },
    }
}

fn find_host_network(
    roots: &HostRoots,
    surroundings: Surroundings,
    processes: &ProcessSource,
    kinds: KindSet,
    limitations: &mut Vec<Limitation>,
) -> Option<NamespaceId> {
    let is_wanted =
        NETWORK_KINDS.into_iter().any(|kind| kinds.has(kind)) && !matches!(processes, ProcessSource::Hidden);
    // In a container with its own procfs the first process is the container's, not the host's.
    if !is_wanted || (surroundings.procfs == ProcfsView::Own && surroundings.place == Place::OwnContainer) {
        return None;
    }
    match host_network_namespace(&roots.proc, &mut ReadBuffer::new()) {
        Ok(namespace) => Some(namespace),
        Err(error) => {
            limitations.push(Limitation::NetworkNamespaces(error));
            None
        }
    }
}
