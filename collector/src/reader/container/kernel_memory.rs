//! Numbers read straight from kernel memory, and how they are kept true.
//!
//! A container's numbers are first read from its files. Then the kernel's structures of its cgroups are found, and what is
//! read there is compared with the files: once for every container before a number of it is taken from memory, and
//! afterwards for one container after the other. A difference that stays when both are read again, and again, is no race:
//! the family goes back to its files for good.

mod compare;
mod counted;
mod sources;

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::context::ReaderContext;
use super::places::{CpuSource, Place};
use super::reading::bit;
use super::{ContainerReader, Presence, Scratch};
use crate::kernel::cgroup::Version;
use crate::kernel::cgroup::memory_stat::StatLayout;
use crate::kernel::file::{FileBudget, KeptFile, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::probes::counters::plan::MemoryLayout;
use crate::kernel::probes::counters::records::Records;
use crate::kernel::probes::counters::stat::{Comparison, StatMap};
use crate::kernel::probes::counters::{CounterFamily, Counters, FAMILIES, Targets};
pub(super) use counted::{CountedCpuTime, CountedMemory};

/// How often the lines of `memory.stat` are compared at the root before containers are.
const ROOT_COMPARISONS: u32 = 16;
/// Where a container's structures could not be found they are looked for again after so long.
const FIND_AGAIN: Duration = Duration::from_secs(10);

/// A family went back to its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// Which.
    pub family: CounterFamily,
    /// What differs.
    pub difference: String,
}

/// Who is given it.
pub type OnDistrust = Box<dyn Fn(&Distrust) + Send + Sync>;

/// What was counted of it since it is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelMemoryCounts {
    /// Records that became part of a sample.
    pub records: u64,
    /// Records that were compared with files.
    pub compared: u64,
}

/// Counters in kernel memory, shared by all readers.
pub struct KernelMemory {
    counters: Counters,
    distrusted: [AtomicBool; FAMILIES],
    learner: Mutex<Option<StatMap>>,
    /// What is known of `memory.stat`, once it is enough.
    stat: RwLock<Option<Arc<StatMap>>>,
    page: u64,
    on_distrust: OnDistrust,
    /// The root's `memory.stat`: reading it makes the kernel add up what the CPUs counted.
    root_stat: Mutex<KeptFile>,
    kept: Arc<FileBudget>,
    /// Containers that are sampled, about.
    population: AtomicUsize,
    /// Samples from memory since a container was compared.
    since_compared: AtomicUsize,
    records: [AtomicU64; FAMILIES],
    compared: [AtomicU64; FAMILIES],
}

impl std::fmt::Debug for KernelMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelMemory").field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// What was read of one container.
#[derive(Clone, Debug)]
pub struct Counted {
    records: Arc<Records>,
    index: usize,
}

impl Counted {
    /// The cgroup at this index.
    pub fn new(records: Arc<Records>, index: usize) -> Self {
        Self { records, index }
    }

    /// When it was read: not before this.
    pub fn taken(&self) -> Instant {
        self.records.taken
    }
}

/// What a reader knows of its container in kernel memory.
#[derive(Debug, Default)]
pub(super) struct InMemory {
    targets: Targets,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not looked for yet.
    #[default]
    Unknown,
    /// Found, and like the files.
    Compared,
    /// Not found; looked for again later.
    NotFound(Instant),
}

impl KernelMemory {
    /// Nothing is known yet but what was loaded.
    pub fn new(counters: Counters, on_distrust: OnDistrust) -> Self {
        Self {
            counters,
            distrusted: Default::default(),
            learner: Mutex::default(),
            stat: RwLock::default(),
            page: rustix::param::page_size() as u64,
            on_distrust,
            root_stat: Mutex::default(),
            kept: Arc::new(FileBudget::new(1)),
            population: AtomicUsize::new(0),
            since_compared: AtomicUsize::new(0),
            records: Default::default(),
            compared: Default::default(),
        }
    }

    /// The programs.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the family's numbers are taken from memory.
    pub fn serves(&self, family: CounterFamily) -> bool {
        self.counters.has(family) && !self.distrusted[family as usize].load(Ordering::Relaxed)
    }

    /// What was counted of a family.
    pub fn counts(&self, family: CounterFamily) -> KernelMemoryCounts {
        KernelMemoryCounts {
            records: self.records[family as usize].load(Ordering::Relaxed),
            compared: self.compared[family as usize].load(Ordering::Relaxed),
        }
    }

    /// About so many containers are sampled: one of them is compared each time that all were.
    pub fn set_population(&self, containers: usize) {
        self.population.store(containers, Ordering::Relaxed);
    }

    /// Reads what these containers have. Before, the kernel is made to add up what belongs to `memory.stat`.
    pub fn read(&self, ctx: &ReaderContext, wanted: &[Targets], buffer: &mut ReadBuffer) -> Records {
        if self.serves(CounterFamily::Memory) {
            self.add_up(ctx, buffer);
        }
        self.counters.read(wanted)
    }

    fn add_up(&self, ctx: &ReaderContext, buffer: &mut ReadBuffer) {
        let Some(hierarchy) = memory_place(ctx).and_then(|place| ctx.hierarchies.at(place)) else { return };
        let at = hierarchy.file(b"/", "memory.stat");
        let mut file = self.root_stat.lock().unwrap_or_else(PoisonError::into_inner);
        // Without it the numbers are as old as the kernel lets them be; nothing else depends on it.
        let _ = file.read(at, &self.kept, buffer);
    }

    fn words<'r>(&self, counted: &'r Counted, family: CounterFamily) -> Option<&'r [u64]> {
        let words = counted.records.get(counted.index, family)?;
        self.serves(family).then_some(words)
    }

    fn took(&self, family: CounterFamily) {
        self.records[family as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn distrust(&self, family: CounterFamily, difference: String) {
        if !self.distrusted[family as usize].swap(true, Ordering::Relaxed) {
            (self.on_distrust)(&Distrust { family, difference });
        }
    }

    fn memory_layout(&self) -> Option<&MemoryLayout> {
        self.counters.plans.memory.as_ref()
    }

    /// Learns from a file and the records around it which line is which number.
    fn learn(&self, layout: &Arc<StatLayout>, compared: Comparison<'_>) -> Result<(), String> {
        let Some(memory) = self.memory_layout() else { return Ok(()) };
        let mut learner = self.learner.lock().unwrap_or_else(PoisonError::into_inner);
        let map = learner.get_or_insert_with(|| StatMap::new(Arc::clone(layout), memory, self.page));
        if !Arc::ptr_eq(map.layout(), layout) && map.layout().keys() != layout.keys() {
            // The root's file may have other lines; the containers' count.
            *map = StatMap::new(Arc::clone(layout), memory, self.page);
        }
        let learnt = map.learn(memory, compared);
        learnt.map_err(|line| format!("no number of the kernel's is memory.stat {}", line.0))?;
        let known = map.is_settled().then(|| Arc::new(map.clone()));
        if known.is_some() {
            *self.stat.write().unwrap_or_else(PoisonError::into_inner) = known;
        }
        Ok(())
    }

    fn stat(&self) -> Option<Arc<StatMap>> {
        self.stat.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is a container's turn to be compared: one is each time that as many samples were taken as there are
    /// containers, and one more, so that it is another one each time.
    fn is_turn(&self) -> bool {
        let every = self.population.load(Ordering::Relaxed) + 1;
        let turn = self.since_compared.fetch_add(1, Ordering::Relaxed) >= every;
        if turn {
            self.since_compared.store(0, Ordering::Relaxed);
        }
        turn
    }

    /// Compares the root's `memory.stat` some times: it has most lines, and none that are not 0 are alike.
    pub fn learn_from_root(&self, ctx: &ReaderContext, scratch: &mut Scratch) {
        let Some(place) = memory_place(ctx).filter(|_| self.serves(CounterFamily::Memory)) else { return };
        let Some(hierarchy) = ctx.hierarchies.at(place) else { return };
        let buffer = &mut scratch.buffer;
        let Ok(directory) = hierarchy.file(b"/", "").open_directory(buffer) else { return };
        let found = self.counters.find(&[(CounterFamily::Memory, directory.as_fd())]);
        let Some(Some((target, _))) = found.first() else { return };
        let mut targets: Targets = [None; FAMILIES];
        targets[CounterFamily::Memory as usize] = Some(*target);
        let mut layout = None;
        for _ in 0..ROOT_COMPARISONS {
            let before = self.read(ctx, &[targets], buffer);
            let Ok(text) = hierarchy.file(b"/", "memory.stat").read(buffer) else { return };
            let mut odd = OddLines::default();
            let values = ctx.layouts.parse(text, &mut layout, &mut odd);
            let after = self.counters.read(&[targets]);
            let records = before.get(0, CounterFamily::Memory).zip(after.get(0, CounterFamily::Memory));
            let (Some((before, after)), Some(layout), 0) = (records, &layout, odd.count()) else { return };
            // A race here costs nothing: containers are compared too.
            let _ = self.learn(layout, Comparison { file: &values, before, after });
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The hierarchy in which memory is counted.
fn memory_place(ctx: &ReaderContext) -> Option<usize> {
    of_v1(ctx.sources.memory)
}

/// Families that are read from kernel memory have the layout of v1 so far.
fn of_v1(place: Option<Place>) -> Option<usize> {
    match place? {
        Place::V1(position) => Some(position),
        Place::V2(_) | Place::Kernel(_) => None,
    }
}

/// The hierarchy in which a family's cgroup is.
fn hierarchy_of(ctx: &ReaderContext, family: CounterFamily) -> Option<usize> {
    match (family, ctx.sources.cpu) {
        (CounterFamily::Memory, _) => memory_place(ctx),
        (CounterFamily::CpuTime, Some(CpuSource::V1 { cpuacct, .. })) => Some(cpuacct),
        (CounterFamily::Bandwidth, Some(CpuSource::V1 { cpu, .. })) => cpu,
        (CounterFamily::Blkio, _) => of_v1(ctx.sources.io),
        (CounterFamily::Pids, _) => of_v1(ctx.sources.pids),
        _ => None,
    }
}

impl ReaderContext {
    /// Counters in kernel memory, where they are in use by now.
    pub fn kernel_memory(&self) -> Option<&KernelMemory> {
        self.kernel_memory.get()?.as_ref().ok()
    }

    /// Where counters are read, in words.
    pub fn counters_from(&self) -> String {
        match self.kernel_memory.get() {
            Some(Ok(memory)) => {
                let served: Vec<_> = CounterFamily::ALL.into_iter().filter(|family| memory.serves(*family)).collect();
                let names: Vec<_> = served.iter().map(|family| family.name()).collect();
                format!("kernel memory ({}), else files", names.join(", "))
            }
            Some(Err(reason)) => format!("files ({reason})"),
            None => "files (kernel memory is not looked at yet)".to_owned(),
        }
    }

    /// Files alone are read, for this reason.
    pub fn set_no_kernel_memory(&self, reason: impl Into<String>) {
        let _ = self.kernel_memory.set(Err(reason.into()));
    }

    /// From now on numbers are taken from there, each container's when it was compared.
    pub fn set_kernel_memory(&self, memory: KernelMemory) {
        // Set once, by the one who loads it.
        let _ = self.kernel_memory.set(Ok(memory));
    }

    /// Which families there could be, by the kinds that are wanted and the hierarchies that are mounted.
    pub fn counter_families(&self) -> Vec<CounterFamily> {
        CounterFamily::ALL.into_iter().filter(|family| hierarchy_of(self, *family).is_some()).collect()
    }

    /// The version of the hierarchy with the memory controller.
    pub fn memory_version(&self) -> Version {
        match self.sources.memory {
            Some(Place::V1(_)) => Version::V1,
            _ => Version::V2,
        }
    }
}

impl ContainerReader {
    /// Where its numbers are in kernel memory, once they were compared.
    pub fn targets(&self) -> Option<Targets> {
        (self.in_memory.state == State::Compared).then_some(self.in_memory.targets)
    }

    /// What kernel memory has of it now, if that is like the files.
    pub(super) fn counted_now(&mut self, ctx: &ReaderContext, scratch: &mut Scratch) -> Option<Counted> {
        let memory = ctx.kernel_memory()?;
        self.keep_true(ctx, scratch);
        let records = memory.read(ctx, &[self.targets()?], &mut scratch.buffer);
        Some(Counted::new(Arc::new(records), 0))
    }

    /// Looks again at once where too little was known.
    #[cfg(test)]
    pub fn look_in_memory_again(&mut self) {
        self.in_memory.state = State::Unknown;
    }

    /// Closes files that a sample was read from although its numbers are in kernel memory: the next one needs none.
    pub(super) fn release_files(&mut self) {
        if self.in_memory.state == State::Compared {
            self.families.release();
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
            State::Compared => memory.is_turn(),
            State::Unknown => true,
            State::NotFound(at) => at.elapsed() >= FIND_AGAIN,
        };
        if !is_due {
            return;
        }
        if self.in_memory.state != State::Compared {
            let found = self.find_targets(ctx, memory, scratch);
            self.in_memory = InMemory { targets: found.unwrap_or_default(), state: State::NotFound(Instant::now()) };
            if found.is_none() {
                return;
            }
        }
        let is_alike = self.compare(ctx, memory, scratch);
        self.in_memory.state = if is_alike { State::Compared } else { State::NotFound(Instant::now()) };
        self.release_files();
    }

    /// The kernel's structures of its cgroups, by their open directories.
    fn find_targets(&self, ctx: &ReaderContext, memory: &KernelMemory, scratch: &mut Scratch) -> Option<Targets> {
        let mut opened: Vec<(usize, OwnedFd)> = Vec::new();
        let mut wanted = Vec::new();
        for family in CounterFamily::ALL.into_iter().filter(|family| memory.serves(*family)) {
            let Some(position) = hierarchy_of(ctx, family).filter(|position| self.live & bit(*position) != 0) else {
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
        let found = memory.counters.find(&directories);
        let mut targets: Targets = [None; FAMILIES];
        let mut any = false;
        for ((family, position), found) in wanted.iter().zip(found) {
            let Some((target, id)) = found else { continue };
            let is_this =
                |tracked: &super::Tracked| tracked.presence == Presence::Live(*position) && tracked.member.id == id;
            if self.members.iter().any(is_this) {
                targets[*family as usize] = Some(target);
                any = true;
            }
        }
        any.then_some(targets)
    }
}
