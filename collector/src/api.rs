//! What clients see: wire formats and HTTP.
//!
//! Every format is a pure function from plain data to bytes; the handlers in [`http::router`] are written against the small
//! traits of [`backend`], which the daemon implements. The only place with `Serialize` and HTTP handlers; it reads no
//! files and takes no clock.

mod accept;
pub mod backend;
pub mod budget;
pub mod cadvisor;
pub mod coding;
pub mod docker;
pub mod export;
pub mod feed;
#[cfg(test)]
mod golden_tests;
pub mod http;
pub mod kubelet;
mod lists;
pub mod prometheus;
pub mod query;
pub mod rendering;
pub mod sources;
mod web;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sample::block_latency::BlockLatency;
use crate::sample::container::{Network, Sample};
use crate::sample::event::Name;
use crate::sample::exit::Exit;
use crate::sample::filesystem::Storage;
use crate::sample::identity::{NetworkOwner, Runtime, kubernetes};
use crate::sample::machine::Filesystems;
use crate::sample::network_cgroup::NetworkCgroup;
use crate::sample::run_queue::RunQueue;
use crate::sample::spec::Spec;
use crate::store::application::Application;
use crate::units::WallTime;

/// One container as a request sees it: who it is, what it may do, and the samples that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerView {
    /// The cgroup's name.
    pub name: Name,
    /// Limits.
    pub spec: Spec,
    /// Full names of the direct children in the cgroup tree, sorted.
    pub children: Vec<Name>,
    /// The selected samples, oldest first.
    pub samples: Vec<Arc<Sample>>,
    /// What the container's runtime reports; empty for a bare cgroup.
    pub identity: IdentityView,
    /// Whether what its files take is something to be reported.
    pub has_filesystem: bool,
    /// What was known of file systems at the time of each of the samples; empty where they are not read.
    pub filesystems: Vec<FilesystemUse>,
    /// What its application reports about itself.
    pub application: Application,
    /// How long its tasks waited for a CPU.
    pub run_queue: Option<Arc<RunQueue>>,
    /// What passed its sockets.
    pub network_cgroup: Option<NetworkCgroup>,
    /// How long its requests to block devices took.
    pub block_latency: Option<Arc<BlockLatency>>,
    /// Whether its samples are its runtime's word: the kernel sees nothing of it.
    pub is_from_runtime: bool,
    /// How its first process ended; `None` while that is there, and where nobody reported it.
    pub exit: Option<Arc<Exit>>,
}

/// What was known of file systems when a sample was taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum FilesystemUse {
    /// Nothing.
    #[default]
    Unknown,
    /// The machine's: the root container's sample.
    Machine(Arc<Filesystems>),
    /// What a container's files take.
    Container {
        /// As last measured.
        storage: Arc<Storage>,
        /// The file systems, of which one has the container's layer.
        machine: Option<Arc<Filesystems>>,
    },
}

impl ContainerView {
    /// When the container was made: the runtime's word goes before the cgroup's.
    pub fn created(&self) -> Option<WallTime> {
        self.identity.created.or(self.spec.created)
    }

    /// What was known of file systems when this sample was taken.
    pub fn filesystem_use(&self, sample: usize) -> &FilesystemUse {
        self.filesystems.get(sample).unwrap_or(&FilesystemUse::Unknown)
    }

    /// Whether the network it uses counts as its own.
    pub fn has_network(&self) -> bool {
        self.spec.has_network && self.identity.network != NetworkOwner::AnotherContainer
    }

    /// What v1 shows of a sample's network: of a container that uses another's nothing with podman, zeros with
    /// containerd and CRI-O, and the other's counters with Docker. So does cAdvisor.
    pub fn network<'a>(&self, sample: &'a Sample) -> Option<&'a Network> {
        static ZEROS: Network =
            Network { interfaces: Vec::new(), tcp: None, tcp6: None, udp: None, udp6: None, tcp_advanced: None };
        let is_of = |runtime: Runtime| self.identity.namespace == runtime.namespace();
        match self.identity.network {
            NetworkOwner::AnotherContainer if is_of(Runtime::Podman) => None,
            NetworkOwner::AnotherContainer if is_of(Runtime::Containerd) || is_of(Runtime::CriO) => Some(&ZEROS),
            _ => sample.network.as_ref(),
        }
    }
}

/// What a container runtime knows about a cgroup. Everything is empty for a cgroup that no runtime made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityView {
    /// The runtime's id, usually 64 hexadecimal digits.
    pub id: String,
    /// Other names the container answers to.
    pub aliases: Vec<String>,
    /// The runtime: `docker`, `podman`, `containerd`, `crio`.
    pub namespace: String,
    /// The runtime's labels.
    pub labels: BTreeMap<String, String>,
    /// Whitelisted environment variables.
    pub envs: BTreeMap<String, String>,
    /// Image name.
    pub image: String,
    /// When the runtime made the container; `None` where only the cgroup shows it.
    pub created: Option<WallTime>,
    /// When the runtime last started it.
    pub started: Option<WallTime>,
    /// Whose network it uses.
    pub network: NetworkOwner,
    /// State of the runtime's health check; empty without one.
    pub health: String,
}

impl IdentityView {
    /// What the runtime knows about the container of this name.
    pub fn new(identity: &crate::sample::identity::Identity, name: &[u8]) -> Self {
        let mut aliases: Vec<_> = identity.aliases().map(str::to_owned).collect();
        // containerd's containers have no name but their cgroup's.
        if identity.runtime == Runtime::Containerd {
            aliases.push(crate::api::wire::json::lossy(name).into_owned());
        }
        let mut labels = identity.labels.clone();
        // As long as no runtime has reported anything the path does.
        if let Some(pod) = identity.pod.as_ref().filter(|_| labels.is_empty()) {
            labels.insert(kubernetes::POD_UID.to_owned(), pod.uid.clone());
        }
        Self {
            id: identity.id.clone(),
            aliases,
            namespace: identity.runtime.namespace().to_owned(),
            labels,
            envs: identity.environment.clone(),
            image: identity.image.clone().unwrap_or_default(),
            created: identity.created,
            started: identity.started,
            network: identity.network,
            health: identity.health.clone().unwrap_or_default(),
        }
    }
}

/// How many of the newest entries a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// All there are; `-1` in requests.
    All,
    /// At most this many.
    Newest(usize),
}

impl Count {
    /// The number as an upper bound.
    pub const fn limit(self) -> usize {
        match self {
            Self::All => usize::MAX,
            Self::Newest(count) => count,
        }
    }
}

impl TryFrom<i64> for Count {
    type Error = NegativeCount;

    fn try_from(count: i64) -> Result<Self, Self::Error> {
        match usize::try_from(count) {
            Ok(count) => Ok(Self::Newest(count)),
            Err(_) if count == -1 => Ok(Self::All),
            Err(_) => Err(NegativeCount(count)),
        }
    }
}

/// A count below -1, which crashes cAdvisor's handler.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("only -1 (all) and larger values are allowed, not {0}")]
pub struct NegativeCount(pub i64);
