//! What the objects of single kinds have in common: each is loaded where its kind is switched on, and is found not to be
//! possible for one reason.

use aya::{Ebpf, EbpfError};
use rustix::io::Errno;

use super::btf::Btf;
use super::load::{broken, errno_of, object_failed, raise_memlock};
use super::support::{KernelFacts, TypesError, Unavailable, no_types};
use crate::kernel::HostRoots;

/// A kind of statistics that has an eBPF object of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindObject {
    /// How long block devices take.
    BlockLatency,
    /// What passes the sockets of cgroups.
    NetworkCgroup,
    /// Who waits for a CPU, and for whom.
    RunQueue,
}

impl KindObject {
    /// As `--enable_metrics` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockLatency => "blocklatency",
            Self::NetworkCgroup => "network_cgroup",
            Self::RunQueue => "runqueue",
        }
    }

    /// The part, as a degradation's name.
    pub const fn facility(self) -> &'static str {
        match self {
            Self::BlockLatency => "block latency",
            Self::NetworkCgroup => "network by cgroup",
            Self::RunQueue => "run queue",
        }
    }

    /// What the collector cannot do without it.
    pub const fn lost(self) -> &'static str {
        match self {
            Self::BlockLatency => "how long containers' requests wait for block devices, and how long these take",
            Self::NetworkCgroup => "bytes and packets of each container in a network that it shares",
            Self::RunQueue => "how long containers wait for a CPU, and for whom",
        }
    }

    const fn missing(self) -> &'static str {
        match self {
            Self::BlockLatency => "requests to block devices are not timed",
            Self::NetworkCgroup => "packets of cgroups are not counted",
            Self::RunQueue => "waits for a CPU are not counted",
        }
    }

    /// The kind goes without its object because of this.
    pub(super) fn without(self, obstacle: Obstacle) -> WithoutKind {
        let Obstacle { why, fix } = obstacle;
        WithoutKind { kind: self, why, fix }
    }
}

/// Why a kind goes without its object. Its text is one line that says why, what is lost, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kind {}: {}: {why}; lost: {}; to fix: {fix}", kind.name(), kind.missing(), kind.lost())]
pub struct WithoutKind {
    /// Which.
    pub kind: KindObject,
    /// What failed and for what likely reason.
    pub why: String,
    /// What the operator can do.
    pub fix: &'static str,
}

/// What stands in the way of an object, whichever kind's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) why: String,
    pub(super) fix: &'static str,
}

impl From<Unavailable> for Obstacle {
    fn from(unavailable: Unavailable) -> Self {
        Self { why: unavailable.why(), fix: unavailable.fix() }
    }
}

/// Finds something in the kernel's types.
pub(super) fn in_types<T>(
    roots: &HostRoots,
    find: impl FnOnce(&Btf<'_>) -> Result<T, Obstacle>,
) -> Result<T, Obstacle> {
    let path = roots.sys.join("kernel/btf/vmlinux");
    let types = std::fs::read(&path)
        .map_err(|error| no_types(&path, &TypesError::Unreadable(errno_of(&error).unwrap_or(Errno::IO))))?;
    let btf = Btf::parse(&types).map_err(|error| no_types(&path, &TypesError::Malformed(error)))?;
    find(&btf)
}

/// Loads an object; once more with a higher limit of locked memory, where that was too low.
pub(super) fn load(facts: &KernelFacts, object: impl Fn() -> Result<Ebpf, EbpfError>) -> Result<Ebpf, Unavailable> {
    match object() {
        Err(error) if errno_of(&error) == Some(Errno::PERM) && raise_memlock() => object(),
        outcome => outcome,
    }
    .map_err(|error| match error {
        error @ EbpfError::MapError(_) => object_failed(&error, facts),
        error if errno_of(&error).is_some() => object_failed(&error, facts),
        error => broken(&error),
    })
}
