//! What a kubelet serves about its node: the summary of pods, `/metrics/resource`, and the resources of older kubelets.
//!
//! The summary is a pure function of a [`Snapshot`]. What the kubelet cannot do without and does not know it fills with
//! zeros or leaves to chance; here such a value is absent.

mod figures;
mod legacy;
mod pod_list;
mod pods;
mod port;
mod resource_metrics;
mod routes;
mod summary;
#[cfg(test)]
pub(super) mod tests;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{Schema, SchemaGenerator};

use crate::sample::container::Sample;
use crate::sample::event::Name;
use crate::sample::filesystem::Storage;
use crate::sample::identity::Identity;
use crate::sample::machine::{Filesystem, Filesystems, Machine, Tasks};
use crate::sample::pods::PodFiles;
use crate::sample::spec::Spec;
use crate::units::WallTime;

pub(super) use legacy::ContainerRequest;
pub use legacy::at_or_below;
pub use port::router;
pub use resource_metrics::render as render_resource_metrics;
pub(super) use routes::{Page, answer, summary_parameters};
pub use summary::{Incomplete, render};

/// The schema of the summary, for the document of the API.
pub(super) fn schema(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<wire::Summary>()
}

/// What a snapshot of a node with so many containers and its text take, about.
pub(super) const fn snapshot_bytes(listed: usize) -> usize {
    (256 << 10) + listed * (6 << 10)
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
    pub entries: Vec<Entry>,
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
pub struct Entry {
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

impl Entry {
    /// When it was made: the runtime's word goes before the cgroup's.
    fn created(&self) -> Option<WallTime> {
        self.identity.as_ref().and_then(|identity| identity.created).or(self.spec.created)
    }

    /// A label of its runtime's, if it is there and not empty.
    fn label(&self, key: &str) -> Option<&str> {
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
