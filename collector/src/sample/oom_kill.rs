//! An OOM kill, and the name of the cgroups that it is about.

use std::sync::Arc;

use crate::units::Bytes;

/// A cgroup's name: its path below the hierarchy's root, with a leading `/`. Bytes, because the kernel allows any.
pub type Name = Arc<[u8]>;

/// Two counters before what is shared.
const SHARED: usize = 2 * size_of::<usize>();

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
