//! What this machine and this process' rights offer, found out by trying: the material of `collector doctor`.
//!
//! Only facts. What they mean, what is lost and what helps is decided in `doctor`. Nothing is changed, nothing is left
//! behind, and nothing of a running collector is touched.

pub mod cgroups;
pub mod counters;
pub mod port;
pub mod processes;
pub mod system;

use std::net::SocketAddr;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::kernel::HostRoots;
use crate::kernel::cgroup::{DetectError, Version};
use crate::kernel::machine::identity::kernel_release;
use crate::kernel::probes::ProbeOptions;
use crate::kernel::probes::block_latency::BlockLatencies;
use crate::kernel::probes::counters::CountersUnavailable;
use crate::kernel::probes::examine::{Examination, examine};
use crate::kernel::probes::kind_object::WithoutKind;
use crate::kernel::probes::network_cgroup::NetworkCgroups;
use crate::kernel::probes::run_queue::RunQueues;
use crate::kernel::taskstats::{TaskstatsError, TaskstatsSocket};
use cgroups::{CgroupFacts, HierarchyFacts};
use counters::{CounterFacts, Versions};
use port::PortFacts;
use processes::ProcessFacts;
use system::{Clock, InotifyLimits, Pressure};

/// Everything that was found out.
#[derive(Debug)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// The eBPF programs, each tried.
    pub probes: Examination,
    /// Counters in kernel memory.
    pub counters: Result<CounterFacts, CountersUnavailable>,
    /// The program about waits for a CPU.
    pub run_queue: Result<(), WithoutKind>,
    /// The programs about packets of cgroups' sockets.
    pub network_cgroup: Result<(), WithoutKind>,
    /// The programs about the block layer.
    pub block_latency: Result<(), WithoutKind>,
    /// Capabilities in effect.
    pub capabilities: CapabilitySet,
    /// The cgroup hierarchies.
    pub cgroups: Result<CgroupFacts, DetectError>,
    /// Processes and namespaces.
    pub processes: ProcessFacts,
    /// Pressure stall information.
    pub pressure: Pressure,
    /// Limits of inotify.
    pub inotify: InotifyLimits,
    /// Descriptors this process may have at most (the hard `RLIMIT_NOFILE`); `None` for no limit.
    pub descriptor_limit: Option<u64>,
    /// Whether the kernel counts tasks by state.
    pub taskstats: Result<(), TaskstatsError>,
    /// The place to listen.
    pub port: PortFacts,
    /// Clocks.
    pub clock: Clock,
}

impl Facts {
    /// Tries everything out.
    pub fn gather(roots: &HostRoots, options: &ProbeOptions, listen: SocketAddr) -> Self {
        let cgroups = cgroups::gather(roots);
        let hierarchies = cgroups.as_ref().map_or(&[][..], |facts| &facts.hierarchies);
        let on_v1 = |controller: &str| {
            let has = |hierarchy: &HierarchyFacts| hierarchy.controllers.iter().any(|name| &**name == controller);
            hierarchies.iter().any(|hierarchy| hierarchy.version == Version::V1 && has(hierarchy))
        };
        let unified = hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2);
        let unified = unified.map(|hierarchy| hierarchy.mount.as_path());
        let version = |controller| if on_v1(controller) { Version::V1 } else { Version::V2 };
        let versions = Versions { memory: version("memory"), time: version("cpuacct"), devices: version("blkio") };
        Self {
            release: kernel_release(),
            probes: examine(roots, options),
            counters: counters::gather(roots, versions),
            run_queue: RunQueues::load(roots).map(drop),
            network_cgroup: NetworkCgroups::load(roots, unified).map(drop),
            block_latency: BlockLatencies::load(roots, version("blkio")).map(drop),
            capabilities: capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective),
            cgroups,
            processes: processes::gather(roots),
            pressure: system::pressure(roots),
            inotify: system::inotify_limits(roots),
            descriptor_limit: getrlimit(Resource::Nofile).maximum,
            taskstats: TaskstatsSocket::open().map(drop),
            port: port::look(listen),
            clock: system::clock(),
        }
    }
}
