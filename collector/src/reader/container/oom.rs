//! The kernel's counters of OOM kills.

use super::context::MemorySource;
use super::{ContainerReader, ReaderContext, Scratch};
use crate::kernel::file::KeptFile;

/// What the kernel counts of OOM kills in one cgroup, without its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomCounter {
    /// `oom_kill`: processes killed, of each group that was killed as one the first one twice.
    pub kills: u64,
    /// `oom_group_kill`: how often all of the cgroup was killed as one, because of its own `memory.oom.group`; since 5.17.
    pub group_kills: u64,
}

impl ContainerReader {
    /// OOM kills of this very cgroup's processes as the kernel counts them, for the mode without eBPF, where it is read
    /// with each sample: v1 `memory.oom_control` `oom_kill` (since 4.13), v2 `memory.events.local` (since 5.2).
    pub fn oom_kill_counter(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Option<OomCounter> {
        let mut kept = std::mem::take(&mut self.oom_kills);
        let kills = self.read_oom_kills(ctx, scratch, &mut kept);
        self.oom_kills = kept;
        kills
    }

    /// The same, read once.
    pub fn oom_kills_now(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Option<OomCounter> {
        self.read_oom_kills(ctx, scratch, &mut KeptFile::default())
    }

    /// Whether the kernel kills all processes of this cgroup, or of one above it, together: v2 `memory.oom.group` (4.19).
    pub fn is_killed_as_group(&self, ctx: &ReaderContext, scratch: &mut Scratch) -> bool {
        let Some(MemorySource::V2(position)) = ctx.sources.memory_unless_off() else { return false };
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
        file: &mut KeptFile,
    ) -> Option<OomCounter> {
        self.find_members(ctx, &mut scratch.buffer);
        let mut reading = self.reading(ctx, &mut scratch.buffer);
        let kills = match ctx.sources.memory_unless_off() {
            Some(MemorySource::V1(position)) => {
                let parse = crate::kernel::cgroup::v1::memory::oom_kills;
                let kills = reading.kept_lines(position, "memory.oom_control", file, parse).flatten();
                kills.map(|kills| OomCounter { kills, group_kills: 0 })
            }
            Some(MemorySource::V2(position)) => {
                let parse = crate::kernel::cgroup::v2::memory::MemoryEvents::parse;
                let events = reading.kept_lines(position, "memory.events.local", file, parse);
                let counted = events.and_then(|events| Some((events.oom_kill?, events.oom_group_kill)));
                counted.map(|(kills, group_kills)| OomCounter { kills, group_kills: group_kills.unwrap_or(0) })
            }
            None => None,
        };
        let gone = reading.gone;
        self.look_again(gone);
        kills
    }
}
