//! What all containers' readers share: where the host is, which statistics are wanted, and where each family of them
//! is found on this machine.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use super::devices::DeviceNames;
use super::kernel_memory::{AddedUp, KernelMemory, OnDistrust};
use super::limitations::{self, Limitation};
use super::load_reader::LoadReader;
use super::pace::Pace;
use super::perf_events::PerfEvents;
use super::places::{CpuSource, Place, Sources};
use super::resctrl_reader::ResctrlReader;
use crate::kernel::HostRoots;
use crate::kernel::cgroup::hugetlb::page_sizes;
use crate::kernel::cgroup::memory_stat::StatLayouts;
use crate::kernel::cgroup::{Hierarchies, Version};
use crate::kernel::file::{FileBudget, ReadBuffer};
use crate::kernel::machine::container_mounts::ListedMounts;
use crate::kernel::namespaces::{self, ProcfsView, Surroundings};
use crate::kernel::probes::counters::{CounterFamily, Counters};
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

/// How often the marks of touched pages are cleared, in samples of a container; `None` for never, and then nothing is
/// written.
pub type ResetEvery = Option<NonZeroU32>;

/// The kinds that are read from a network namespace.
pub(super) const NETWORK_KINDS: [MetricKind; 4] =
    [MetricKind::Network, MetricKind::Tcp, MetricKind::Udp, MetricKind::AdvTcp];

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
    /// Until the container's last process has ended, which the kernel's events report, or it is found to be elsewhere.
    Kept,
    /// Opened for each sample: nobody would report when to let go.
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
    /// Whether files of network namespaces are kept.
    pub(super) network_files: NetworkFiles,
    /// The same for files of network namespaces; without room where none are kept.
    pub(super) network_budget: Arc<FileBudget>,
    pub(super) errors: Arc<ReadErrors>,
    pub(super) load: Option<LoadReader>,
    pub(super) referenced_reset: ResetEvery,
    pub(super) resctrl: Option<ResctrlReader>,
    pub(super) perf: Option<PerfEvents>,
    pub(super) machine: MachineFacts,
    pub(super) clock: fn() -> WallTime,
    /// The host's network namespace; `None` where it may not be looked at, and then no container's can be distinguished.
    pub(super) host_network: Option<NamespaceId>,
    pub(super) devices: DeviceNames,
    pub(super) layouts: StatLayouts,
    pub(super) page_sizes: Vec<PageSize>,
    pub(super) sources: Sources,
    /// Where each family is read, in the order of the families.
    pub(super) places: Box<[Option<Place>]>,
    pub(super) processes: ProcessSource,
    /// Counters that are read without files once they are loaded, or why there are none.
    pub(super) kernel_memory: OnceLock<Result<KernelMemory, String>>,
    /// When descriptors are looked at again.
    pub(super) descriptor_pace: Arc<Pace>,
    /// The same of threads' own files.
    pub(super) thread_pace: Arc<Pace>,
    limitations: Vec<Limitation>,
}

/// Where a cgroup's processes are reported.
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

impl ReaderContext {
    /// Finds out what this machine has; the places are those of the families.
    pub(super) fn build(parts: ContextParts, sources: Sources, places: Box<[Option<Place>]>) -> Self {
        let ContextParts { roots, hierarchies, kinds, budget, network_files, errors, load, extras, machine, clock } =
            parts;
        let Extras { referenced_reset, resctrl, perf } = extras;
        let surroundings = Surroundings::look(&roots.proc);
        let mut limitations = limitations::of_cgroups(&hierarchies).into_iter().collect::<Vec<_>>();
        let processes = find_processes(&roots, &hierarchies, surroundings, &mut limitations);
        let host_network = find_host_network(&roots, surroundings, &processes, kinds, &mut limitations);
        let page_sizes = page_sizes(&roots.sys).iter().map(|size| PageSize::new(size)).collect();
        let network_budget = match network_files {
            NetworkFiles::Kept => Arc::clone(&budget),
            NetworkFiles::OpenedEachTime => Arc::new(FileBudget::new(0)),
        };
        Self {
            network_files,
            network_budget,
            devices: DeviceNames::new(roots.sys.clone()),
            layouts: StatLayouts::default(),
            page_sizes,
            sources,
            places,
            host_network,
            processes,
            kernel_memory: OnceLock::new(),
            descriptor_pace: Arc::default(),
            thread_pace: Arc::default(),
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

    /// Counters in kernel memory, where they are in use by now.
    pub fn kernel_memory(&self) -> Option<&KernelMemory> {
        self.kernel_memory.get()?.as_ref().ok()
    }

    /// Where counters are read, in words.
    pub fn counters_from(&self) -> String {
        match self.kernel_memory.get() {
            Some(Ok(memory)) => {
                let served: Vec<_> = CounterFamily::ALL.into_iter().filter(|family| memory.serves(*family)).collect();
                let names: Vec<_> = served.iter().map(|family| family.name()).collect();
                format!("kernel memory ({}), else files", names.join(", "))
            }
            Some(Err(reason)) => format!("files ({reason})"),
            None => "files (kernel memory is not looked at yet)".to_owned(),
        }
    }

    /// Files alone are read, for this reason.
    pub fn set_no_kernel_memory(&self, reason: impl Into<String>) {
        let _ = self.kernel_memory.set(Err(reason.into()));
    }

    /// From now on numbers are taken from there, each container's when it was compared.
    pub fn set_kernel_memory(&self, counters: Counters, on_distrust: OnDistrust) {
        let time = match self.sources.cpu {
            Some(CpuSource::V2(position)) => Some(position),
            _ => None,
        };
        let added_up = AddedUp { memory: self.sources.counted(CounterFamily::Memory), time };
        let memory = KernelMemory::new(counters, Arc::clone(&self.hierarchies), added_up, on_distrust);
        memory.learn_from_root(&self.layouts, &mut ReadBuffer::new());
        // Set once, by the one who loads it.
        let _ = self.kernel_memory.set(Ok(memory));
    }

    /// Which families there could be, by the kinds that are wanted and the hierarchies that are mounted.
    pub fn counter_families(&self) -> Vec<CounterFamily> {
        CounterFamily::ALL.into_iter().filter(|family| self.sources.counted(*family).is_some()).collect()
    }

    /// The version of the hierarchy with the memory controller.
    pub fn memory_version(&self) -> Version {
        match self.sources.memory {
            Some(Place::V1(_)) => Version::V1,
            _ => Version::V2,
        }
    }

    /// What a thread of its own does for as long as the context is used; `None` where there is nothing to do. Without it
    /// processes that come later are not found.
    pub fn process_lister(&self) -> Option<impl FnOnce() + Send + use<>> {
        match &self.processes {
            ProcessSource::Indexed(index) => Some(index.refresher()),
            ProcessSource::Listed(_) | ProcessSource::Hidden => None,
        }
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
        ProcfsView::Own if surroundings.place == namespaces::Place::Machine || hierarchies.are_own() => {
            ProcessSource::Listed(Hints::Ignored)
        }
        ProcfsView::Own => {
            limitations.push(Limitation::ProcessesHidden);
            ProcessSource::Hidden
        }
        ProcfsView::Outer => ProcessSource::Indexed(ProcessIndex::read(&roots.proc, hierarchies)),
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
    if !is_wanted || (surroundings.procfs == ProcfsView::Own && surroundings.place == namespaces::Place::OwnContainer) {
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
