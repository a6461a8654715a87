//! Numbers read straight from kernel memory, and how they are kept true.
//!
//! A container's numbers are first read from its files. Then the kernel's structures of its cgroups are found, and what is
//! read there is compared with the files: once for every container before a number of it is taken from memory, and
//! afterwards for one container after the other. A difference that stays when both are read again, and again, is no race:
//! the family goes back to its files for good.

mod counted;
mod sources;

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::kernel::cgroup::memory_stat::{StatLayout, StatLayouts};
use crate::kernel::cgroup::{Hierarchies, Hierarchy};
use crate::kernel::file::{FileBudget, KeptFile, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::probes::counters::plan::MemoryLayout;
use crate::kernel::probes::counters::records::Records;
use crate::kernel::probes::counters::stat::{Comparison, StatMap};
use crate::kernel::probes::counters::{CounterFamily, Counters, FAMILIES, Targets};
pub(super) use counted::{CountedCpuTime, CountedMemory};

/// How often the lines of `memory.stat` are compared at the root before containers are.
const ROOT_COMPARISONS: u32 = 16;
/// For so long `memory.stat` is as good as added up just now: gauges, and counters of which nobody makes rates of so short a
/// time.
const ADDED_UP_FOR: Duration = Duration::from_millis(5);
/// How often what was learnt about `memory.stat` may turn out to be wrong.
const LEARN_AGAIN: usize = 3;
/// Cgroups below the root of which `cpu.stat` stays open.
const TOP_FILES: usize = 64;
/// How long it does without being read.
const TOP_KEPT_FOR: Duration = Duration::from_secs(60);

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

/// The hierarchies whose counters the kernel adds up when a file is read, as places in the list of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddedUp {
    /// Memory's.
    pub memory: Option<usize>,
    /// That of CPU time, if it is one of cgroup v2.
    pub time: Option<usize>,
}

/// Counters in kernel memory, shared by all readers.
pub struct KernelMemory {
    counters: Counters,
    hierarchies: Arc<Hierarchies>,
    added_up: AddedUp,
    distrusted: [AtomicBool; FAMILIES],
    learner: Mutex<Option<StatMap>>,
    /// What is known of `memory.stat`, once it is enough.
    stat: RwLock<Option<Arc<StatMap>>>,
    /// How often that turned out to be wrong.
    unlearnt: AtomicUsize,
    page: u64,
    on_distrust: OnDistrust,
    /// The root's `memory.stat`: reading it makes the kernel add up what the CPUs counted.
    root_stat: Mutex<(KeptFile, Option<Instant>)>,
    kept: Arc<FileBudget>,
    /// v2: `cpu.stat` of the cgroups below the root, for the same reason.
    top_stats: Mutex<HashMap<Box<[u8]>, TopStat>>,
    /// What kernel memory has does not show when limits change.
    limits_differ: AtomicBool,
    /// v2: no cgroup has a file for its swap.
    pub(super) without_swap: AtomicBool,
    /// Containers that are sampled, about.
    population: AtomicUsize,
    /// Samples from memory since a container was compared.
    since_compared: AtomicUsize,
    records: [AtomicU64; FAMILIES],
    pub(super) compared: [AtomicU64; FAMILIES],
}

/// An open `cpu.stat`, and when it was read last.
type TopStat = (KeptFile, Instant);

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

    /// What was read of a family; nothing where none was.
    pub(super) fn of(&self, family: CounterFamily) -> &[u64] {
        self.records.get(self.index, family).unwrap_or_default()
    }
}

fn new_top() -> (KeptFile, Instant) {
    (KeptFile::default(), Instant::now())
}

impl KernelMemory {
    /// Nothing is known yet but what was loaded.
    pub fn new(counters: Counters, hierarchies: Arc<Hierarchies>, added_up: AddedUp, on_distrust: OnDistrust) -> Self {
        Self {
            counters,
            hierarchies,
            added_up,
            distrusted: Default::default(),
            learner: Mutex::default(),
            stat: RwLock::default(),
            unlearnt: AtomicUsize::new(0),
            page: rustix::param::page_size() as u64,
            on_distrust,
            root_stat: Mutex::default(),
            kept: Arc::new(FileBudget::new(1 + TOP_FILES)),
            top_stats: Mutex::default(),
            limits_differ: AtomicBool::new(false),
            without_swap: AtomicBool::new(false),
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
        self.counters.has(family) && self.is_believed(family)
    }

    /// Whether no number of the family was found to be other than that of the files.
    pub(super) fn is_believed(&self, family: CounterFamily) -> bool {
        !self.distrusted[family as usize].load(Ordering::Relaxed)
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
    pub fn read(
        &self,
        wanted: &[Targets],
        names: impl Iterator<Item = impl AsRef<[u8]>>,
        buffer: &mut ReadBuffer,
    ) -> Records {
        if self.serves(CounterFamily::Memory) {
            self.add_up(buffer);
        }
        if self.serves(CounterFamily::Cgroup)
            && let Some(hierarchy) = self.added_up.time.and_then(|place| self.hierarchies.at(place))
        {
            self.add_up_time(hierarchy, names, buffer);
        }
        self.counters.read(wanted)
    }

    /// Reading `cpu.stat` of a cgroup makes the kernel add up CPU time in and below it; that of the root does not.
    fn add_up_time(
        &self,
        hierarchy: &Hierarchy,
        names: impl Iterator<Item = impl AsRef<[u8]>>,
        buffer: &mut ReadBuffer,
    ) {
        let mut last: Option<Vec<u8>> = None;
        let mut done = HashSet::new();
        for name in names {
            let name = name.as_ref();
            let end = name.iter().skip(1).position(|byte| *byte == b'/').map_or(name.len(), |end| end + 1);
            let top = &name[..end];
            if last.as_deref() == Some(top) || !done.insert(top.to_vec()) {
                continue;
            }
            last = Some(top.to_vec());
            let at = hierarchy.file(top, "cpu.stat");
            let mut files = self.top_stats.lock().unwrap_or_else(PoisonError::into_inner);
            if files.len() >= TOP_FILES && !files.contains_key(top) {
                files.retain(|_, (_, used)| used.elapsed() < TOP_KEPT_FOR);
            }
            let has_room = files.len() < TOP_FILES;
            let mut not_kept = KeptFile::default();
            let file = match files.get_mut(top) {
                Some((file, used)) => {
                    *used = Instant::now();
                    file
                }
                None if has_room => &mut files.entry(top.into()).or_insert_with(new_top).0,
                None => &mut not_kept,
            };
            // One that ended may have a successor of its name, whose file has to be opened.
            if file.read(at, &self.kept, buffer).is_err() && file.read(at, &self.kept, buffer).is_err() {
                files.remove(top);
            }
        }
    }

    fn add_up(&self, buffer: &mut ReadBuffer) {
        let Some(hierarchy) = self.added_up.memory.and_then(|place| self.hierarchies.at(place)) else { return };
        let at = hierarchy.file(b"/", "memory.stat");
        let mut root_stat = self.root_stat.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, added_up) = &mut *root_stat;
        if added_up.is_some_and(|added_up| added_up.elapsed() < ADDED_UP_FOR) {
            return;
        }
        *added_up = Some(Instant::now());
        // Without it the numbers are as old as the kernel lets them be; nothing else depends on it.
        let _ = file.read(at, &self.kept, buffer);
    }

    pub(super) fn words<'r>(&self, counted: &'r Counted, family: CounterFamily) -> Option<&'r [u64]> {
        let words = counted.records.get(counted.index, family)?;
        self.serves(family).then_some(words)
    }

    /// What kernel memory has of the limits that a family's files have; nothing where it has not all of them.
    pub(super) fn limit_words(&self, counted: &Counted, family: CounterFamily) -> impl Iterator<Item = u64> {
        let is_believed = !self.limits_differ.load(Ordering::Relaxed);
        let words = self.words(counted, family).filter(|_| is_believed);
        let slots = self.counters.plans.limits(family);
        words.into_iter().flat_map(|words| slots.iter().map(|slot| slot.of(words).unwrap_or_default()))
    }

    /// Limits changed although what was there of them did not: their files are always read from now on.
    pub(super) fn distrust_limits(&self) {
        self.limits_differ.store(true, Ordering::Relaxed);
    }

    /// Whether pressure is taken from memory.
    pub(super) fn reads_pressure(&self) -> bool {
        self.counters.plans.pressure.is_some() && self.serves(CounterFamily::Cgroup)
    }

    /// Whether every family that was read is taken from memory.
    pub(super) fn serves_all(&self, counted: &Counted) -> bool {
        CounterFamily::ALL.into_iter().all(|family| counted.of(family).is_empty() || self.serves(family))
    }

    /// Everything that was read became part of a sample.
    pub(super) fn took_all(&self, counted: &Counted) {
        CounterFamily::ALL
            .into_iter()
            .filter(|family| !counted.of(*family).is_empty())
            .for_each(|family| self.took(family));
    }

    pub(super) fn took(&self, family: CounterFamily) {
        self.records[family as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn distrust(&self, family: CounterFamily, difference: String) {
        if !self.distrusted[family as usize].swap(true, Ordering::Relaxed) {
            (self.on_distrust)(&Distrust { family, difference });
        }
    }

    pub(super) fn memory_layout(&self) -> Option<&MemoryLayout> {
        self.counters.plans.memory.as_ref()
    }

    fn is_memory_of_v2(&self) -> bool {
        self.memory_layout().is_some_and(|layout| layout.swap.is_some())
    }

    /// Learns from a file and the records around it which line is which number.
    pub(super) fn learn(&self, layout: &Arc<StatLayout>, compared: Comparison<'_>) -> Result<(), String> {
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

    /// Forgets what was learnt about `memory.stat`, since a number that went up and down between two readings may have
    /// misled it. Not again and again: then it is something else.
    pub(super) fn learn_again(&self) -> bool {
        let may_again = self.unlearnt.fetch_add(1, Ordering::Relaxed) < LEARN_AGAIN;
        if may_again {
            *self.learner.lock().unwrap_or_else(PoisonError::into_inner) = None;
            *self.stat.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        may_again
    }

    pub(super) fn stat(&self) -> Option<Arc<StatMap>> {
        self.stat.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is a container's turn to be compared: one is each time that as many samples were taken as there are
    /// containers, and one more, so that it is another one each time.
    pub fn is_turn(&self) -> bool {
        let every = self.population.load(Ordering::Relaxed) + 1;
        let turn = self.since_compared.fetch_add(1, Ordering::Relaxed) >= every;
        if turn {
            self.since_compared.store(0, Ordering::Relaxed);
        }
        turn
    }

    /// Compares the root's `memory.stat` some times: it has most lines, and none that are not 0 are alike.
    pub fn learn_from_root(&self, layouts: &StatLayouts, buffer: &mut ReadBuffer) {
        let place = self.added_up.memory.filter(|_| self.serves(CounterFamily::Memory));
        let Some(hierarchy) = place.and_then(|place| self.hierarchies.at(place)) else { return };
        let Ok(directory) = hierarchy.file(b"/", "").open_directory(buffer) else { return };
        let found = self.counters.find(&[(CounterFamily::Memory, directory.as_fd())]);
        let Some(Some((target, _))) = found.first() else { return };
        let mut targets: Targets = [None; FAMILIES];
        targets[CounterFamily::Memory as usize] = Some(*target);
        let mut layout = None;
        for _ in 0..ROOT_COMPARISONS {
            let before = self.read(&[targets], std::iter::empty::<&[u8]>(), buffer);
            let Ok(text) = hierarchy.file(b"/", "memory.stat").read(buffer) else { return };
            let mut odd = OddLines::default();
            let values = layouts.parse(text, &mut layout, &mut odd);
            let after = self.counters.read(&[targets]);
            let records = before.get(0, CounterFamily::Memory).zip(after.get(0, CounterFamily::Memory));
            let (Some((before, after)), Some(layout), 0) = (records, &layout, odd.count()) else { return };
            // A race here costs nothing: containers are compared too.
            let _ = self.learn(layout, Comparison { file: &values, before, after });
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
