//! Where one container's numbers are in kernel memory, and when they are compared with its files.

mod compare;
mod limits;
mod still;

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use compare::Compared;
use limits::Noted;
use still::{Still, has_counters_alone};

use super::context::ReaderContext;
use super::kernel_memory::{Counted, KernelMemory};
use super::reading::{Reading, bit};
use super::{ContainerReader, Presence, Scratch, Tracked};
use crate::kernel::probes::counters::{CounterFamily, FAMILIES, Targets};
use crate::sample::container::Sample;
use crate::units::WallTime;

/// Where a container's structures could not be found they are looked for again after so long.
const FIND_AGAIN: Duration = Duration::from_secs(10);

/// What a reader knows of its container in kernel memory.
#[derive(Debug, Default)]
pub(super) struct InMemory {
    targets: Targets,
    state: State,
    still: Still,
    noted: Noted,
    /// It is its turn to be compared, with the next sample that is made.
    is_turn: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not looked for yet.
    #[default]
    Unknown,
    /// Found, and like the files.
    Compared,
    /// The same but for memory, which is looked at again later.
    ButMemory(Instant),
    /// Not found; looked for again later.
    NotFound(Instant),
}

impl ContainerReader {
    /// Where its numbers are in kernel memory, once they were compared.
    pub fn targets(&self) -> Option<Targets> {
        matches!(self.in_memory.state, State::Compared | State::ButMemory(_)).then_some(self.in_memory.targets)
    }

    /// What kernel memory has of it now, if that is like the files.
    pub(super) fn counted_now(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Option<Counted> {
        let memory = ctx.kernel_memory()?;
        self.keep_true(ctx, scratch);
        self.add_up(ctx, scratch);
        let records = memory.read(&[self.targets()?], std::iter::once(&self.name), &mut scratch.buffer);
        Some(Counted::new(Arc::new(records), 0))
    }

    /// Has the kernel add up the pressure that is read next, if it is.
    pub fn add_up(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) {
        let reads_pressure = ctx.kernel_memory().is_some_and(KernelMemory::reads_pressure);
        if reads_pressure && self.in_memory.targets[CounterFamily::Cgroup as usize].is_some() {
            let mut reading = Reading::new(ctx, &self.name, self.live, &mut scratch.buffer);
            self.families.cpu.add_up_pressure(&mut reading);
        }
    }

    /// When what was read was taken, if a sample made of it would be the last one again: kernel memory has what it had,
    /// and nothing else is due to be looked at.
    pub fn repeats(&self, ctx: &ReaderContext, counted: &Counted) -> Option<WallTime> {
        let is_newer = self.last.is_none_or(|last| last < counted.taken());
        let repeats = is_newer
            && self.in_memory.state == State::Compared
            && self.is_settled()
            && !self.in_memory.is_turn
            && self.in_memory.still.is(counted)
            && self.families.network.is_quiet(ctx)
            && !self.late.is_due()
            && ctx.kernel_memory().is_some_and(|memory| memory.serves_all(counted));
        repeats.then(|| (ctx.clock)().back(counted.taken().elapsed()))
    }

    /// Whether it is known in which hierarchies it is, and that it is still there.
    fn is_settled(&self) -> bool {
        !self.opened_by_path && self.members.iter().all(|tracked| tracked.presence != Presence::Unseen)
    }

    /// The last sample was stored once more.
    pub fn repeated(&mut self, ctx: &ReaderContext, counted: &Counted) {
        self.last = Some(Instant::now());
        self.families.network.passed_over();
        if let Some(memory) = ctx.kernel_memory() {
            memory.took_all(counted);
        }
    }

    /// Takes note of what a sample was made of: so many of its numbers were read from files.
    pub(super) fn note_origin(&mut self, counted: Option<&Counted>, sample: &Sample, from_files: u32) {
        match counted.filter(|_| from_files == 0 && has_counters_alone(sample)) {
            Some(counted) => self.in_memory.still.keep(counted),
            None => self.in_memory.still.forget(),
        }
    }

    /// It is its turn to be compared.
    pub fn compare_soon(&mut self) {
        self.in_memory.is_turn = true;
    }

    /// Looks again at once where too little was known.
    #[cfg(test)]
    pub fn look_in_memory_again(&mut self) {
        self.in_memory.state = State::Unknown;
    }

    /// Closes files that a sample was read from although its numbers are in kernel memory: the next one needs none.
    pub(super) fn release_files(&mut self, ctx: &ReaderContext) {
        if let (Some(targets), Some(memory)) = (self.targets(), ctx.kernel_memory()) {
            self.families.release(&|family| targets[family as usize].is_some() && memory.serves(family));
        }
    }

    /// Forgets where its numbers are: they are looked for again.
    pub(super) fn forget_targets(&mut self) {
        self.in_memory = InMemory::default();
    }

    /// After a sample: finds the container in kernel memory if that was not done, and compares it when it is its turn.
    pub fn keep_true(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) {
        let Some(memory) = ctx.kernel_memory() else { return };
        if self.live == 0 || &*self.name == b"/" {
            return;
        }
        let is_due = match self.in_memory.state {
            State::Compared => std::mem::take(&mut self.in_memory.is_turn) || memory.is_turn(),
            State::Unknown => true,
            State::ButMemory(at) | State::NotFound(at) => at.elapsed() >= FIND_AGAIN,
        };
        if !is_due {
            return;
        }
        if self.in_memory.state != State::Compared {
            let found = self.find_targets(ctx, memory, scratch);
            self.in_memory = InMemory {
                targets: found.unwrap_or_default(),
                state: State::NotFound(Instant::now()),
                ..InMemory::default()
            };
            if found.is_none() {
                return;
            }
        }
        self.in_memory.state = match self.compare(ctx, memory, scratch) {
            Compared::All => State::Compared,
            Compared::ButMemory => State::ButMemory(Instant::now()),
            Compared::None => State::NotFound(Instant::now()),
        };
        self.release_files(ctx);
    }

    /// The kernel's structures of its cgroups, by their open directories.
    fn find_targets(&self, ctx: &ReaderContext, memory: &KernelMemory, scratch: &mut Scratch) -> Option<Targets> {
        let mut opened: Vec<(usize, OwnedFd)> = Vec::new();
        let mut wanted = Vec::new();
        for family in CounterFamily::ALL.into_iter().filter(|family| memory.serves(*family)) {
            let Some(position) = ctx.sources.counted(family).filter(|position| self.live & bit(*position) != 0) else {
                continue;
            };
            if !opened.iter().any(|(of, _)| *of == position) {
                let directory = ctx.hierarchies.at(position)?.file(&self.name, "");
                opened.push((position, directory.open_directory(&mut scratch.buffer).ok()?));
            }
            wanted.push((family, position));
        }
        let directory = |position: usize| opened.iter().find(|(of, _)| *of == position).map(|(_, directory)| directory);
        let directories: Vec<_> =
            wanted.iter().filter_map(|(family, position)| Some((*family, directory(*position)?.as_fd()))).collect();
        let found = memory.counters().find(&directories);
        let mut targets: Targets = [None; FAMILIES];
        let mut any = false;
        for ((family, position), found) in wanted.iter().zip(found) {
            let Some((target, id)) = found else { continue };
            let is_this = |tracked: &Tracked| tracked.presence == Presence::Live(*position) && tracked.member.id == id;
            if self.members.iter().any(is_this) {
                targets[*family as usize] = Some(target);
                any = true;
            }
        }
        any.then_some(targets)
    }
}
