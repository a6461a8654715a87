//! What happened to a container, as kept in the event log.

use std::sync::Arc;

use super::container::Sample;
use super::exit::Exit;
use crate::units::WallTime;

pub use super::oom_kill::{Constraint, Name, OomKill, OomParty, OomSizes};

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
