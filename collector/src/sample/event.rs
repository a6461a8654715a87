//! What happened to a container, as kept in the event log.

use std::sync::Arc;

use super::container::Sample;
use super::exit::Exit;
use crate::units::{Bytes, WallTime};

/// A cgroup's name: its path below the hierarchy's root, with a leading `/`. Bytes, because the kernel allows any.
pub type Name = Arc<[u8]>;

/// The kinds of the event log; cAdvisor's names where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A process was OOM-killed: named after the victim's cgroup.
    Oom,
    /// A process was OOM-killed: named after the cgroup whose limit was hit.
    OomKill,
    /// A container appeared.
    ContainerCreation,
    /// A container ended.
    ContainerDeletion,
    /// A container's first process ended. cAdvisor has no such kind.
    ContainerExit,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Oom, Self::OomKill, Self::ContainerCreation, Self::ContainerDeletion, Self::ContainerExit];

    /// cAdvisor's `event_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oom => "oom",
            Self::OomKill => "oomKill",
            Self::ContainerCreation => "containerCreation",
            Self::ContainerDeletion => "containerDeletion",
            Self::ContainerExit => "containerExit",
        }
    }
}

/// Two counters before what is shared.
const SHARED: usize = 2 * size_of::<usize>();

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The container it is about.
    pub container: Name,
    /// When it happened.
    pub at: WallTime,
    /// What happened.
    pub kind: EventKind,
    /// Details.
    pub data: EventData,
}

impl Event {
    /// Bytes that it takes: itself, its container's name, and its details.
    pub fn memory(&self) -> usize {
        // Its place in a list comes with it.
        let details = match &self.data {
            EventData::None => 0,
            EventData::Oom(kill) => kill.memory(),
            EventData::Deletion { final_sample, exit } => {
                let sample = final_sample.as_ref().map_or(0, |sample| SHARED + sample.memory());
                sample + exit.as_ref().map_or(0, |exit| exit.memory())
            }
            EventData::Exit(exit) => exit.memory(),
        };
        size_of::<Self>() + SHARED + size_of::<usize>() + self.container.len() + details
    }
}

/// Details of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum EventData {
    /// Nothing beyond the event itself.
    None,
    /// Of `oom` and `oomKill`.
    Oom(Arc<OomKill>),
    /// Of `containerDeletion`.
    Deletion {
        /// The last sample, taken when the last process ended; `None` when the container never ran or was lost.
        final_sample: Option<Arc<Sample>>,
        /// How its first process ended; `None` when the kernel's programs do not report that.
        exit: Option<Arc<Exit>>,
    },
    /// Of `containerExit`.
    Exit(Arc<Exit>),
}

/// An OOM kill. `None` means the kernel did not report (or the event was found by polling counters).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OomKill {
    /// The victim.
    pub victim: OomParty,
    /// The task whose allocation set the OOM killer off.
    pub trigger: OomParty,
    /// The cgroup whose limit was hit; `None` for a machine that ran out as a whole.
    pub limit_owner: Option<Name>,
    /// Why the OOM killer ran.
    pub constraint: Constraint,
    /// The victim's user.
    pub uid: Option<u32>,
    /// The victim's `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// The victim's memory.
    pub sizes: Option<OomSizes>,
    /// The victim's page tables.
    pub page_tables: Option<Bytes>,
}

impl OomKill {
    /// Bytes that it takes.
    pub fn memory(&self) -> usize {
        let parties = [&self.victim, &self.trigger].into_iter().filter_map(|party| party.container.as_ref());
        let names = parties.chain(&self.limit_owner).map(|name| name.len()).sum::<usize>();
        SHARED + size_of::<Self>() + 2 * size_of::<[u8; 16]>() + names
    }
}

/// A task that took part in an OOM kill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OomParty {
    /// Process id (thread group id) in the initial pid namespace.
    pub pid: Option<u32>,
    /// Command name.
    pub comm: Option<Box<[u8]>>,
    /// The container it ran in.
    pub container: Option<Name>,
}

/// Memory of an OOM victim at the moment it was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OomSizes {
    /// Address space.
    pub total_vm: Bytes,
    /// Resident anonymous memory.
    pub anon_rss: Bytes,
    /// Resident file pages.
    pub file_rss: Bytes,
    /// Resident shared memory.
    pub shmem_rss: Bytes,
}

/// Why the OOM killer ran, in the kernel's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Constraint {
    /// Not known; a kill of the machine's own shortage may be any of the other three.
    #[default]
    Unknown,
    /// A memory cgroup's limit was hit.
    Memcg,
}

impl Constraint {
    /// cAdvisor's text; empty when unknown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Memcg => "CONSTRAINT_MEMCG",
        }
    }
}
