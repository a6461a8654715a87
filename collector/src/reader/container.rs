//! Reads one container: its cgroup files, and what belongs to its processes, become a [`Sample`] or a [`Spec`].
//!
//! Which containers there are, when they are sampled and what becomes of the samples is decided elsewhere. The families
//! of values live in `families`; this module keeps track of the hierarchies a container is in.

mod context;
mod created;
mod devices;
mod families;
mod files;
mod first_process;
mod in_memory;
mod kept;
mod kernel_memory;
mod last;
mod late;
mod limitations;
mod load_reader;
mod network_owner;
mod pace;
mod perf_events;
mod places;
mod processes;
mod reading;
mod resctrl_reader;
mod rows;
mod statistics;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use crate::kernel::file::ReadBuffer;
use crate::sample::container::{Processes, Sample};
use crate::sample::spec::Spec;
use crate::sample::unread::Unread;
use crate::units::WallTime;

pub use context::{ContextParts, Extras, MachineFacts, NetworkFiles, ReaderContext, ResetEvery};
pub use devices::DeviceNames;
pub use families::OomCounter;
pub use files::{InsideError, Risk, read_inside};
pub use kernel_memory::{Counted, Distrust, KernelMemory, KernelMemoryCounts, OnDistrust};
pub use last::{LastReading, LastSample};
pub use limitations::Limitation;
pub use load_reader::LoadReader;
pub use network_owner::NetworkOf;
pub use perf_events::{CustomEvent, PerfConfig, PerfEvents, WantedEvents};
pub(crate) use processes::listed_members;
pub use resctrl_reader::ResctrlReader;

use families::Families;
use places::{Mounted, Sources};
use reading::{Reading, bit};

impl ReaderContext {
    /// Finds out where the wanted statistics are on this machine.
    pub fn new(parts: ContextParts) -> Self {
        let mounted = Mounted::new(&parts.hierarchies, parts.kinds);
        let (sources, places) = (Sources::find(&mounted), Families::places(&mounted));
        Self::build(parts, sources, places)
    }
}

/// What a sampling thread keeps between containers.
#[derive(Debug, Default)]
pub struct Scratch {
    buffer: ReadBuffer,
}

impl Scratch {
    /// Room to read files into.
    pub(crate) fn buffer(&mut self) -> &mut ReadBuffer {
        &mut self.buffer
    }
}

/// A cgroup that is part of a container: one per hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Hierarchy id; 0 is the default (v2) one.
    pub hierarchy: u32,
    /// kernfs id of the cgroup in it.
    pub id: u64,
}

/// A container gave no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// None of its cgroups is there (any more, or yet).
    #[error("none of the container's cgroups is there")]
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// Its directory was not seen yet: it may become visible a moment after the event that reported it.
    Unseen,
    /// The directory was seen and is the right one; the place of the hierarchy.
    Live(usize),
    /// Another cgroup has taken its place.
    Replaced,
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    member: Member,
    presence: Presence,
}

/// Reads one container, keeping its files open between samples. It remembers places in its context's hierarchies, so it
/// is used with one context only.
#[derive(Debug)]
pub struct ContainerReader {
    name: Arc<[u8]>,
    members: Vec<Tracked>,
    /// A bit for the place of each live member's hierarchy.
    live: u64,
    /// Some file of the last sample was opened by its path, which might by now belong to another cgroup.
    opened_by_path: bool,
    late: late::Late,
    families: Families,
    in_memory: in_memory::InMemory,
    /// When the last sample was read.
    last: Option<Instant>,
}

/// The processes of the cgroup of this name as they are now, for whoever asks although their kind is not sampled. Nothing
/// is kept open. `None` when there is no such cgroup.
pub fn processes_now(ctx: &ReaderContext, name: &[u8], scratch: &mut Scratch) -> Option<Processes> {
    let is_there = |position: &usize| {
        let directory = ctx.hierarchies.at(*position).map(|hierarchy| hierarchy.file(name, "").path());
        directory.is_some_and(|directory| directory.is_dir())
    };
    let live = (0..ctx.hierarchies.len()).filter(is_there).fold(0, |live, position| live | bit(position));
    let buffer = &mut scratch.buffer;
    Families::default().processes.now(&mut Reading::new(ctx, name, live, buffer))
}

impl ContainerReader {
    /// A reader for the container of this name with its cgroups.
    pub fn new(name: Arc<[u8]>, members: &[Member]) -> Self {
        let tracked = |member: &Member| Tracked { member: *member, presence: Presence::Unseen };
        Self {
            name,
            members: members.iter().map(tracked).collect(),
            live: 0,
            opened_by_path: false,
            late: late::Late::default(),
            families: Families::default(),
            in_memory: in_memory::InMemory::default(),
            last: None,
        }
    }

    /// The container's cgroups now: one joined, left, or was replaced by another of the same path.
    pub fn set_members(&mut self, members: &[Member]) {
        let presence = |member: &Member| {
            let known = self.members.iter().find(|tracked| tracked.member == *member);
            known.map_or(Presence::Unseen, |tracked| tracked.presence)
        };
        let tracked: Vec<_> =
            members.iter().map(|member| Tracked { member: *member, presence: presence(member) }).collect();
        if self.members.iter().any(|old| !members.contains(&old.member)) {
            // Descriptors of the cgroup that left may be among the kept ones; the others are opened again at the next
            // sample. What is read of its network belongs to no cgroup.
            self.close_cgroup_files();
        }
        self.forget_targets();
        self.members = tracked;
        self.update_live();
    }

    /// The first process of the container, from the event that reported it: its network namespace is looked at first.
    pub fn process_hint(&mut self, pid: u32) {
        self.families.network.hint(pid);
    }

    /// Whose its network is.
    pub fn set_network_owner(&mut self, owner: NetworkOf) {
        self.families.network.set_owner(owner);
    }

    /// The container became populated: looks for its network namespace anew.
    pub fn refresh_network(&mut self) {
        self.families.network.refresh();
    }

    /// The container's last process has ended: of its network what is open is read until it is left.
    pub fn keep_network(&mut self) {
        self.families.network.keep();
    }

    /// The closing samples are taken: what keeps its network namespace is let go.
    pub fn leave_network(&mut self) {
        self.families.network.leave();
    }

    /// Takes a sample. What cannot be read is left out of it; `oom_kills` is left at 0.
    pub fn sample(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Result<Sample, SampleError> {
        self.sample_with(ctx, scratch, None)
    }

    /// The same with what was read from kernel memory, unless another sample was taken since.
    pub fn sample_with(
        &mut self,
        ctx: &ReaderContext,
        scratch: &mut Scratch,
        counted: Option<Counted>,
    ) -> Result<Sample, SampleError> {
        let counted = counted.filter(|counted| self.last.is_none_or(|last| last < counted.taken()));
        self.last = Some(Instant::now());
        self.find_members(ctx, &mut scratch.buffer);
        if self.live == 0 {
            return Err(self.gone());
        }
        self.look_for_late_files(ctx, &mut scratch.buffer);
        let mut reading = Reading::new(ctx, &self.name, self.live, &mut scratch.buffer);
        reading.counted = counted;
        let mut sample = Sample::default();
        self.families.read(&mut reading, &mut sample);
        // What kernel memory had is a moment older, and rates are made of it.
        let age = reading.counted.as_ref().map(|counted| counted.taken().elapsed());
        sample.at = age.into_iter().fold((ctx.clock)(), WallTime::back);
        self.families.read_beside(&mut reading, &mut sample);
        let Reading { values, from_memory, keeps_files, gone, opened_by_path, unread, counted, .. } = reading;
        sample.unread = unread;
        if keeps_files {
            self.release_files(ctx);
        }
        if self.late.found(&sample, self.live) {
            // A controller that is new has a structure of its own.
            self.forget_targets();
        }
        self.opened_by_path = opened_by_path;
        let is_whole = gone == 0 && unread == Unread::default();
        self.note_origin(counted.as_ref().filter(|_| is_whole), &sample, values - from_memory);
        if gone != 0 {
            self.forget_targets();
            self.look_again(gone);
        }
        if values == 0 {
            // No statistics at all: the container ended meanwhile, or it is only in hierarchies without any.
            self.look_again(u64::MAX);
            self.find_members(ctx, &mut scratch.buffer);
            if self.live == 0 {
                return Err(self.gone());
            }
        }
        Ok(sample)
    }

    /// Descriptors of what ended are not kept, even if the reader is for a while.
    fn gone(&mut self) -> SampleError {
        self.close();
        SampleError::Gone
    }

    /// Reads limits and configuration. A container that ended has an empty one.
    pub fn spec(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Spec {
        self.find_members(ctx, &mut scratch.buffer);
        self.families.limits(&mut Reading::new(ctx, &self.name, self.live, &mut scratch.buffer))
    }

    /// When the container was made by cAdvisor's rule, for those that were there before the collector: the earliest
    /// modification time of its directories and of a file in each that is never written, not before `boot`. `None`
    /// when nothing is older than `now`.
    pub fn created_from_files(
        &mut self,
        ctx: &ReaderContext,
        scratch: &mut Scratch,
        now: WallTime,
    ) -> Option<WallTime> {
        self.find_members(ctx, &mut scratch.buffer);
        let mut reading = self.reading(ctx, &mut scratch.buffer);
        created::from_files(&mut reading, now)
    }

    fn reading<'a>(&'a self, ctx: &'a ReaderContext, buffer: &'a mut ReadBuffer) -> Reading<'a> {
        Reading::new(ctx, &self.name, self.live, buffer)
    }

    /// Looks for the directories of members that were not seen yet, and makes sure that a directory is still the right
    /// one where files are opened by path.
    fn find_members(&mut self, ctx: &ReaderContext, buffer: &mut ReadBuffer) {
        if self.opened_by_path {
            self.opened_by_path = false;
            self.check_one_live(ctx, buffer);
        }
        if self.members.iter().all(|tracked| tracked.presence != Presence::Unseen) {
            return;
        }
        for tracked in self.members.iter_mut().filter(|tracked| tracked.presence == Presence::Unseen) {
            let Some(position) = ctx.hierarchies.position(tracked.member.hierarchy) else { continue };
            let found = ctx.hierarchies.at(position).and_then(|hierarchy| hierarchy.id_of(&self.name, buffer));
            tracked.presence = match found {
                Some(id) if id == tracked.member.id => Presence::Live(position),
                Some(_) => Presence::Replaced,
                None => Presence::Unseen,
            };
        }
        self.update_live();
    }

    fn check_one_live(&mut self, ctx: &ReaderContext, buffer: &mut ReadBuffer) {
        let live = self.members.iter().find_map(|tracked| match tracked.presence {
            Presence::Live(position) => Some((position, tracked.member.id)),
            _ => None,
        });
        let Some((position, id)) = live else { return };
        if ctx.hierarchies.at(position).and_then(|hierarchy| hierarchy.id_of(&self.name, buffer)) != Some(id) {
            self.look_again(u64::MAX);
        }
    }

    /// Looks for the directories in these hierarchies again before the next reading. A file reports its end also when
    /// only its controller was switched off, so that alone does not report that the cgroup ended.
    fn look_again(&mut self, hierarchies: u64) {
        for tracked in &mut self.members {
            if matches!(tracked.presence, Presence::Live(position) if hierarchies & bit(position) != 0) {
                tracked.presence = Presence::Unseen;
            }
        }
        self.update_live();
    }

    fn update_live(&mut self) {
        self.live = self.members.iter().fold(0, |live, tracked| match tracked.presence {
            Presence::Live(position) => live | bit(position),
            _ => live,
        });
    }
}
