//! What a kubelet's API asks for beyond what the other APIs do. The daemon implements it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::sample::container::Sample;
use crate::sample::event::Name;
use crate::sample::filesystem::Storage;
use crate::sample::identity::Identity;
use crate::sample::machine::{Filesystem, Filesystems, Machine, Tasks};
use crate::sample::pods::PodFiles;
use crate::sample::spec::Spec;
use crate::units::WallTime;

/// The node as a kubelet reports it.
pub trait Kubelet: Send + Sync + 'static {
    /// Pods and containers with their newest samples. It may wait for samples that are too old; it must not block the
    /// executor.
    fn node(&self, depth: Depth) -> impl Future<Output = Snapshot> + Send;

    /// Waits for samples of these containers that are no older than a kubelet's would be.
    fn freshen(&self, names: &[Name]) -> impl Future<Output = ()> + Send;
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    #[default]
    Full,
    /// CPU, memory and swap.
    CpuAndMemory,
}

/// A node at one moment, taken from memory.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The name of the node.
    pub node: String,
    /// When the machine was started.
    pub booted: Option<WallTime>,
    /// Cgroups that are pods, containers, the root or of the system, by name.
    pub entries: Vec<Arc<NodeCgroup>>,
    /// Cgroups of the system.
    pub system: Vec<(SystemContainer, Name)>,
    /// Pods' files, by uid.
    pub files: BTreeMap<String, Arc<PodFiles>>,
    /// The machine.
    pub machine: Arc<Machine>,
    /// Its file systems.
    pub filesystems: Option<Arc<Filesystems>>,
    /// That of the kubelet's root directory.
    pub node_filesystem: Option<Filesystem>,
    /// How many tasks there are; absent where they were not asked for.
    pub tasks: Option<Tasks>,
    /// What a limit of swap counts.
    pub swap_limit: SwapLimit,
}

/// What the limit of a cgroup's swap counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwapLimit {
    /// Swap alone: cgroup v2.
    #[default]
    Alone,
    /// Memory and swap together: cgroup v1.
    WithMemory,
}

/// A part of the system that the kubelet reports by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SystemContainer {
    /// The kubelet.
    Kubelet,
    /// What else the system runs.
    Misc,
    /// All pods.
    Pods,
    /// The container runtime.
    Runtime,
}

impl SystemContainer {
    /// The kubelet's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::Misc => "misc",
            Self::Pods => "pods",
            Self::Runtime => "runtime",
        }
    }
}

/// A cgroup.
#[derive(Clone, Debug, Default)]
pub struct NodeCgroup {
    /// Its name.
    pub name: Name,
    /// What its path says it is.
    pub role: Role,
    /// Who it is, as far as its runtime reported.
    pub identity: Option<Arc<Identity>>,
    /// Its limits, as last read.
    pub spec: Spec,
    /// The newest sample.
    pub newest: Option<Arc<Sample>>,
    /// The one to compare it with for a rate: the newest that is ten seconds older, or the oldest where all are younger.
    pub before: Option<Arc<Sample>>,
    /// What its files take.
    pub storage: Option<Arc<Storage>>,
    /// Its processes, where they were counted for the request.
    pub processes: Option<u64>,
}

impl NodeCgroup {
    /// When it was made: the runtime's word goes before the cgroup's.
    pub(crate) fn created(&self) -> Option<WallTime> {
        self.identity.as_ref().and_then(|identity| identity.created).or(self.spec.created)
    }

    /// A label of its runtime's, if it is there and not empty.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        let value = self.identity.as_ref()?.labels.get(key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

/// What a cgroup's path says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing about pods.
    #[default]
    Other,
    /// It is a pod's own, with this uid.
    Pod(String),
    /// It is a container's in a pod.
    Container {
        /// The pod's uid.
        pod: String,
        /// The pod's cgroup.
        pod_cgroup: Name,
    },
}
