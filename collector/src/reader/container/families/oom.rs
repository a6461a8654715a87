//! The kernel's counters of OOM kills.

use super::{Family, Mounted, Place, Reading, Rows};
use crate::kernel::file::KeptFile;
use crate::reader::container::rows::keys::key;
use crate::reader::container::{ContainerReader, ReaderContext, Scratch};
use crate::sample::container::Sample;
use crate::sample::kinds::MetricKind;

/// What the kernel counts of OOM kills in one cgroup, without its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomCounter {
    /// `oom_kill`: processes killed, of each group that was killed as one the first one twice.
    pub kills: u64,
    /// `oom_group_kill`: how often all of the cgroup was killed as one, because of its own `memory.oom.group`; since 5.17.
    pub group_kills: u64,
}

/// The file they are counted in.
#[derive(Debug, Default)]
pub(in crate::reader::container) struct OomFiles {
    kills: KeptFile,
}

impl Family for OomFiles {
    /// Where memory is, also where its kind is off: OOM kills have a kind of their own.
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        mounted.controller("memory")
    }

    fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        each(&mut self.kills);
    }

    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, _: &Sample) {
        // A sample has those that events reported, where there are events.
        let v1 = [key("memory.oom_control", "oom_kill").since("4.13")];
        let v2 = [key("memory.events.local", "oom_kill").since("5.2")];
        let section = rows.section(place, MetricKind::Memory, "memory", Some("memory"));
        let kills = rows.oom_kills;
        rows.add("oom_kills", kills.as_ref(), &section, v1, v2);
    }
}

impl OomFiles {
    fn counter(&mut self, reading: &mut Reading<'_>) -> Option<OomCounter> {
        let place = reading.ctx.sources.memory_always;
        let file = &mut self.kills;
        match place? {
            Place::V1(position) => {
                let parse = crate::kernel::cgroup::v1::memory::oom_kills;
                let kills = reading.kept_lines(position, "memory.oom_control", file, parse).flatten();
                kills.map(|kills| OomCounter { kills, group_kills: 0 })
            }
            Place::V2(position) => {
                let parse = crate::kernel::cgroup::v2::memory::MemoryEvents::parse;
                let events = reading.kept_lines(position, "memory.events.local", file, parse);
                let counted = events.and_then(|events| Some((events.oom_kill?, events.oom_group_kill)));
                counted.map(|(kills, group_kills)| OomCounter { kills, group_kills: group_kills.unwrap_or(0) })
            }
            Place::Kernel(_) => None,
        }
    }
}

impl ContainerReader {
    /// OOM kills of this very cgroup's processes as the kernel counts them, for the mode without eBPF, where it is read
    /// with each sample: v1 `memory.oom_control` `oom_kill` (since 4.13), v2 `memory.events.local` (since 5.2).
    pub fn oom_kill_counter(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Option<OomCounter> {
        let mut kept = std::mem::take(&mut self.families.oom);
        let kills = self.read_oom_kills(ctx, scratch, &mut kept);
        self.families.oom = kept;
        kills
    }

    /// The same, read once.
    pub fn oom_kills_now(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Option<OomCounter> {
        self.read_oom_kills(ctx, scratch, &mut OomFiles::default())
    }

    /// Whether the kernel kills all processes of this cgroup, or of one above it, together: v2 `memory.oom.group` (4.19).
    pub fn is_killed_as_group(&self, ctx: &ReaderContext, scratch: &mut Scratch) -> bool {
        let Some(Place::V2(position)) = ctx.sources.memory_always else { return false };
        let Some(hierarchy) = ctx.hierarchies.at(position) else { return false };
        let mut up = std::iter::successors(Some(&*self.name), |name: &&[u8]| {
            let name: &[u8] = name;
            name.iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0).map(|at| &name[..at])
        });
        up.any(|name| matches!(hierarchy.file(name, "memory.oom.group").read(&mut scratch.buffer), Ok([b'1', ..])))
    }

    fn read_oom_kills(
        &mut self,
        ctx: &ReaderContext,
        scratch: &mut Scratch,
        files: &mut OomFiles,
    ) -> Option<OomCounter> {
        self.find_members(ctx, &mut scratch.buffer);
        let mut reading = self.reading(ctx, &mut scratch.buffer);
        let kills = files.counter(&mut reading);
        let gone = reading.gone;
        self.look_again(gone);
        kills
    }
}
