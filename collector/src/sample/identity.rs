//! Who a container is, as its runtime reports it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::filesystem::ContainerFiles;
use crate::units::WallTime;

/// The labels by which Kubernetes' runtimes report whose a container is.
pub mod kubernetes {
    /// The pod's name.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// The pod's namespace.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// The pod's uid.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// The container's name in its pod.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}

/// A container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// containerd, whoever drives it.
    Containerd,
    /// CRI-O.
    CriO,
}

impl Runtime {
    /// cAdvisor's name for it, which is the `namespace` of its containers.
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::CriO => "crio",
        }
    }
}

/// Who keeps a container: a runtime that can be asked, or somebody whose cgroups have names that people know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Manager {
    /// A container runtime.
    Runtime(Runtime),
    /// LXC.
    Lxc,
    /// Incus.
    Incus,
    /// LXD.
    Lxd,
    /// systemd-nspawn.
    Nspawn,
    /// Somebody who registered a machine with systemd-machined.
    Machined,
    /// libvirt.
    Libvirt,
    /// Slurm; a job is a container.
    Slurm,
    /// Nomad, by a driver of its own.
    Nomad,
}

impl Manager {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Runtime(Runtime::Docker),
        Self::Runtime(Runtime::Podman),
        Self::Runtime(Runtime::Containerd),
        Self::Runtime(Runtime::CriO),
        Self::Lxc,
        Self::Incus,
        Self::Lxd,
        Self::Nspawn,
        Self::Machined,
        Self::Libvirt,
        Self::Slurm,
        Self::Nomad,
    ];

    /// The `namespace` of its containers.
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Runtime(runtime) => runtime.namespace(),
            Self::Lxc => "lxc",
            Self::Incus => "incus",
            Self::Lxd => "lxd",
            Self::Nspawn => "systemd-nspawn",
            Self::Machined => "machined",
            Self::Libvirt => "libvirt",
            Self::Slurm => "slurm",
            Self::Nomad => "nomad",
        }
    }

    /// The runtime, if it is one.
    pub const fn runtime(self) -> Option<Runtime> {
        match self {
            Self::Runtime(runtime) => Some(runtime),
            _ => None,
        }
    }
}

impl From<Runtime> for Manager {
    fn from(runtime: Runtime) -> Self {
        Self::Runtime(runtime)
    }
}

impl PartialEq<Runtime> for Manager {
    fn eq(&self, other: &Runtime) -> bool {
        self.runtime() == Some(*other)
    }
}

/// Who a cgroup is that is a container's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The runtime's id.
    pub id: Arc<str>,
    /// What else is known; `None` where not even the runtime is.
    pub identity: Option<Arc<Identity>>,
}

/// What a runtime knows about one of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who keeps it.
    pub runtime: Manager,
    /// The runtime's id, 64 hexadecimal digits; without a runtime what the cgroup is called after.
    pub id: String,
    /// The name a person gave it, without a leading `/`.
    pub name: Option<String>,
    /// Labels; `restartcount` among them when the runtime started the container again.
    pub labels: BTreeMap<String, String>,
    /// Those environment variables that were asked for; Docker's and podman's with names in lower case.
    pub environment: BTreeMap<String, String>,
    /// The image as it was asked for when the container was made.
    pub image: Option<String>,
    /// When it was made, as opposed to started.
    pub created: Option<WallTime>,
    /// When it was last started; `None` before.
    pub started: Option<WallTime>,
    /// The pod of Kubernetes it is in, as the cgroup's path shows.
    pub pod: Option<PodOfPath>,
    /// The id of its first process in the runtime's pid namespace, while it has one.
    pub process: Option<u32>,
    /// Whose network it uses.
    pub network: NetworkOwner,
    /// Where its applications are reached.
    pub address: Address,
    /// The runtime's health check: `starting`, `healthy`, `unhealthy`, `none`; `None` without one.
    pub health: Option<String>,
    /// Where its files are.
    pub files: ContainerFiles,
}

/// Whose network a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkOwner {
    /// Its own, or the host's.
    #[default]
    Itself,
    /// It is a pod's sandbox: its network is that of all containers of the pod.
    Pod,
    /// Another container's (`--network container:NAME`), or its pod's.
    AnotherContainer,
}

/// Where a container's applications are reached from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// At an address of its own.
    Own(IpAddr),
    /// At the host's: it uses the host's network.
    Host,
    /// Nobody reported.
    #[default]
    Unknown,
}

/// A pod of Kubernetes, as far as a cgroup's path shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodOfPath {
    /// The pod's uid; of a static pod the hash that stands for it.
    pub uid: String,
    /// Its class of service.
    pub qos: QosClass,
}

/// What Kubernetes promises a pod, by its requests and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has limits and requests no less.
    Guaranteed,
    /// Something is requested.
    Burstable,
    /// Nothing is.
    BestEffort,
}

/// How the samples of a container get their network counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkSource {
    /// From its own processes.
    #[default]
    Processes,
    /// From its own processes or, where it has none, those of any container of its pod.
    Pod,
    /// Not at all: they are another container's, where they are reported.
    Nowhere,
}

/// Bytes that a label or a variable takes: its text and its place in the map.
pub const fn pair(key: &str, value: &str) -> usize {
    key.len() + value.len() + 2 * size_of::<String>()
}

impl Identity {
    /// What the path of a container's cgroup reports: whose it is, and its id.
    pub fn from_path(runtime: impl Into<Manager>, id: String) -> Self {
        Self {
            runtime: runtime.into(),
            id,
            name: None,
            labels: BTreeMap::new(),
            environment: BTreeMap::new(),
            image: None,
            created: None,
            started: None,
            pod: None,
            process: None,
            network: NetworkOwner::Itself,
            address: Address::Unknown,
            health: None,
            files: ContainerFiles { driver: None, layer: None, runtime_directory: None, log: None },
        }
    }

    /// How its samples get their network counters. Containers that share a network report it once, except Docker's: theirs
    /// are reported for each, as cAdvisor's v1 does.
    pub fn network_source(&self) -> NetworkSource {
        match (self.network, self.runtime) {
            (NetworkOwner::Itself, _) | (NetworkOwner::AnotherContainer, Manager::Runtime(Runtime::Docker)) => {
                NetworkSource::Processes
            }
            (NetworkOwner::Pod, _) => NetworkSource::Pod,
            (NetworkOwner::AnotherContainer, _) => NetworkSource::Nowhere,
        }
    }

    /// Bytes that it takes.
    pub fn memory(&self) -> usize {
        let pairs = self.labels.iter().chain(&self.environment);
        let texts = [&self.name, &self.image, &self.health].into_iter().flatten().map(String::len);
        size_of::<Self>()
            + self.id.len()
            + pairs.map(|(key, value)| pair(key, value)).sum::<usize>()
            + texts.sum::<usize>()
    }

    /// The names it answers to beside its cgroup's.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        let id = Some(self.id.as_str()).filter(|id| self.name.as_deref() != Some(id));
        self.name.as_deref().into_iter().chain(id)
    }
}
