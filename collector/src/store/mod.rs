//! What is known about every container: its recent samples, its limits, its OOM kills, and the log of events.
//!
//! A cheap handle over plain memory: no clocks (`now` is an argument), no I/O, no kernel types.

pub mod application;
mod budget;
mod ended;
pub mod event_log;
pub mod history;
pub mod pods;
pub mod summary;
pub mod timeline;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::bounds::Bound::HistoryMemory;
use crate::sample::application::Round;
use crate::sample::container::Sample;
use crate::sample::event::Name;
use crate::sample::filesystem::{ImageStore, Storage};
use crate::sample::identity::{Identity, Runtime, Who};
use crate::sample::machine::Filesystems;
use crate::sample::spec::Spec;
use crate::steady::Clock;
use crate::units::WallTime;
use application::Application;
use budget::HistoryBudget;
use ended::EndedContainers;
use event_log::{EventLimits, EventLog};
use history::{History, Limits, Pushed, Selection, Stretch};
use pods::Pods;
use summary::{Recorder, Summary};
use timeline::Timeline;

/// The store's bounds.
#[derive(Clone, Debug)]
pub struct StoreLimits {
    /// Of each container's samples.
    pub history: Limits,
    /// Of the event log.
    pub events: EventLimits,
    /// How long the counters of an ended container are still told.
    pub ended_retention: Duration,
    /// Bytes.
    pub memory: MemoryBounds,
}

/// Bytes that may be taken by what has to do with containers, whoever makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBounds {
    /// By the cgroups that are listed, without their samples.
    pub containers: usize,
    /// By the samples of all of them.
    pub histories: usize,
    /// By what is kept of ended containers.
    pub ended: usize,
}

impl MemoryBounds {
    /// What is kept of ended containers, unless there is less memory for containers at all.
    const ENDED: usize = 16 << 20;

    /// Divides the memory there is for containers.
    pub fn of_total(total: usize) -> Self {
        Self { containers: total / 2, histories: total / 2, ended: Self::ENDED.min(total / 4) }
    }

    /// No bounds.
    pub const NONE: Self = Self { containers: usize::MAX, histories: usize::MAX, ended: usize::MAX };
}

/// One cgroup that exists, or existed until just now.
#[derive(Debug)]
pub struct Container {
    name: Name,
    listed: Listed,
    oom_kills: AtomicU64,
    recent: Mutex<Recent>,
    spec: Mutex<(Spec, Option<Instant>)>,
    who: Mutex<Option<Who>>,
    storage: Mutex<Timeline<Storage>>,
    limits: Limits,
    budget: Arc<HistoryBudget>,
}

impl Drop for Container {
    fn drop(&mut self) {
        self.budget.update(lock(&self.recent).charged, 0);
        self.budget.leave();
    }
}

/// A container's samples and what is made of them as they come.
#[derive(Debug, Default)]
struct Recent {
    history: History,
    summary: Recorder,
    /// Of the few containers whose labels ask for it.
    application: Option<Box<Application>>,
    /// When the newest sample came; the clock on the wall may be set meanwhile.
    pushed_at: Option<Instant>,
    /// Bytes of the samples as the budget knows them.
    charged: usize,
}

impl Recent {
    /// Tells the budget how much there is, and drops old samples where that is more than there may be.
    fn settle(&mut self, budget: &HistoryBudget) {
        let now = self.history.memory();
        let share = budget.update(self.charged, now);
        self.charged = now;
        if let Some(share) = share {
            let dropped = self.history.shrink_to(share);
            if dropped > 0 {
                HistoryMemory.exceeded_by(dropped);
                let now = self.history.memory();
                budget.update(self.charged, now);
                self.charged = now;
            }
        }
    }
}

/// Whether a cgroup is a container in the eyes of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Sampled and listed.
    Yes,
    /// Known to exist, but filtered out: it appears as a child of its parent only.
    OnlyAsChild,
    /// The user does not want to see it: it appears nowhere, and none of its files is opened.
    Excluded,
}

impl Container {
    /// Path below the hierarchy's root, with a leading `/`.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether the API lists it.
    pub fn listed(&self) -> Listed {
        self.listed
    }

    /// Adds a sample, completed with the OOM kills so far.
    pub fn push(&self, mut sample: Sample) -> Pushed {
        sample.oom_kills = self.oom_kills();
        let mut recent = lock(&self.recent);
        let Recent { history, summary, application, pushed_at, .. } = &mut *recent;
        let pushed = history.push(sample, self.limits);
        *pushed_at = Some(Instant::now());
        if let Some(stored) = history.latest() {
            summary.add(stored);
            if let Some(application) = application {
                application.attach(stored.at, self.limits);
            }
        }
        recent.settle(&self.budget);
        pushed
    }

    /// The newest sample.
    pub fn latest(&self) -> Option<Arc<Sample>> {
        lock(&self.recent).history.latest().cloned()
    }

    /// How long ago the newest sample came; `None` before the first.
    pub fn latest_age(&self) -> Option<Duration> {
        lock(&self.recent).pushed_at.map(|at| at.elapsed())
    }

    /// The newest sample for the closing account: with the OOM kills of the end, which come after the last reading.
    pub fn closing_sample(&self) -> Option<Arc<Sample>> {
        let latest = self.latest()?;
        let oom_kills = self.oom_kills();
        if latest.oom_kills == oom_kills {
            return Some(latest);
        }
        Some(Arc::new(Sample { oom_kills, ..Sample::clone(&latest) }))
    }

    /// Keeps of the samples only the newest: the container ended.
    pub fn keep_latest_only(&self) {
        let mut recent = lock(&self.recent);
        recent.history.keep_latest_only();
        recent.summary = Recorder::default();
        recent.settle(&self.budget);
        // Its application's values end with it: nobody shows those of an ended container.
        recent.application = None;
    }

    fn forget_samples(&self) {
        let mut recent = lock(&self.recent);
        *recent = Recent { charged: recent.charged, ..Recent::default() };
        recent.settle(&self.budget);
    }

    /// Samples, oldest first.
    pub fn samples(&self, selection: Selection) -> Vec<Arc<Sample>> {
        lock(&self.recent).history.select(selection, self.limits)
    }

    /// The same in stretches, for [`Self::stretch`].
    pub fn stretches(&self, selection: Selection) -> Vec<Stretch> {
        lock(&self.recent).history.stretches(selection, self.limits)
    }

    /// The samples of a stretch that are still kept, oldest first.
    pub fn stretch(&self, stretch: Stretch) -> Vec<Arc<Sample>> {
        lock(&self.recent).history.stretch(stretch)
    }

    /// The newest sample and one at least so much older, or the oldest: see [`History::span`].
    pub fn span(&self, at_least: Duration) -> Option<[Arc<Sample>; 2]> {
        lock(&self.recent).history.span(at_least, self.limits)
    }

    /// What it used lately; `None` before the first sample.
    pub fn summary(&self) -> Option<Summary> {
        lock(&self.recent).summary.summary()
    }

    /// Takes a reading of its application's endpoints, of so many bytes; it is told with the next sample. Older readings
    /// are kept as long as all together take no more than `keep` bytes.
    pub fn offer(&self, round: Round, bytes: usize, keep: usize) {
        lock(&self.recent).application.get_or_insert_default().offer(round, bytes, keep);
    }

    /// What its application told lately; `None` when it was never read.
    pub fn application(&self) -> Option<Application> {
        lock(&self.recent).application.as_deref().cloned()
    }

    /// The newest of it that is kept.
    pub fn newest_of_application(&self) -> Option<Arc<Round>> {
        lock(&self.recent).application.as_deref()?.newest()
    }

    /// Bytes of the newest sample.
    fn last_sample_memory(&self) -> usize {
        lock(&self.recent).history.latest_memory()
    }

    /// Bytes the history and the summary hold.
    pub fn history_memory(&self) -> usize {
        let recent = lock(&self.recent);
        recent.history.memory() + recent.summary.memory()
    }

    /// The limits as last read.
    pub fn spec(&self) -> Spec {
        lock(&self.spec).0.clone()
    }

    /// How long ago the limits were last read; `None` if never. The clock on the wall may be set meanwhile.
    pub fn spec_age(&self) -> Option<Duration> {
        lock(&self.spec).1.map(|at| at.elapsed())
    }

    /// Keeps limits just read.
    pub fn set_spec(&self, spec: Spec) {
        *lock(&self.spec) = (spec, Some(Instant::now()));
    }

    /// Who it is, as far as its path or its runtime told; `None` for what is no container's own cgroup.
    pub fn who(&self) -> Option<Who> {
        lock(&self.who).clone()
    }

    /// What is known of it beyond its id.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        lock(&self.who).as_ref()?.identity.clone()
    }

    /// Keeps who it is.
    pub fn set_who(&self, who: Option<Who>) {
        *lock(&self.who) = who;
    }

    /// Keeps who it is, of whom all this is known.
    pub fn set_identity(&self, identity: Identity) {
        self.set_who(Some(Who { id: identity.id.as_str().into(), identity: Some(Arc::new(identity)) }));
    }

    /// What its files take, as last measured; `None` before the first time and for what is no runtime's container.
    pub fn storage(&self) -> Option<Arc<Storage>> {
        lock(&self.storage).latest().cloned()
    }

    /// What was known at this time of what its files take.
    pub fn storage_at(&self, time: WallTime) -> Option<Arc<Storage>> {
        lock(&self.storage).at(time).cloned()
    }

    /// Keeps what its files take from now on.
    pub fn set_storage(&self, now: WallTime, storage: Storage) {
        lock(&self.storage).push(now, Arc::new(storage), self.limits.age);
    }

    /// OOM kills of processes of this very cgroup.
    pub fn oom_kills(&self) -> u64 {
        self.oom_kills.load(Ordering::Relaxed)
    }

    /// Counts kills.
    pub fn add_oom_kills(&self, kills: u64) {
        self.oom_kills.fetch_add(kills, Ordering::Relaxed);
    }
}

/// OOM kills by container, those of recently ended containers included.
pub type OomCounts = BTreeMap<Name, u64>;

/// The handle.
#[derive(Debug)]
pub struct Store {
    limits: StoreLimits,
    containers: RwLock<BTreeMap<Name, Arc<Container>>>,
    ended: Mutex<EndedContainers>,
    clock: Mutex<Clock>,
    budget: Arc<HistoryBudget>,
    events: EventLog,
    filesystems: Mutex<Timeline<Filesystems>>,
    image_stores: Mutex<BTreeMap<Runtime, Vec<ImageStore>>>,
    pods: Pods,
}

impl Store {
    /// An empty store.
    pub fn new(limits: StoreLimits) -> Self {
        let events = EventLog::new(limits.events.clone());
        let memory = limits.memory;
        Self {
            limits,
            containers: RwLock::default(),
            ended: Mutex::new(EndedContainers::new(memory.ended)),
            clock: Mutex::default(),
            budget: Arc::new(HistoryBudget::new(memory.histories)),
            events,
            filesystems: Mutex::default(),
            image_stores: Mutex::default(),
            pods: Pods::default(),
        }
    }

    /// The event log.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// What pods keep on the node.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// The machine's file systems, as last read.
    pub fn filesystems(&self) -> Option<Arc<Filesystems>> {
        lock(&self.filesystems).latest().cloned()
    }

    /// The machine's file systems, as they were known at this time.
    pub fn filesystems_at(&self, time: WallTime) -> Option<Arc<Filesystems>> {
        lock(&self.filesystems).at(time).cloned()
    }

    /// Keeps the machine's file systems.
    pub fn set_filesystems(&self, filesystems: Arc<Filesystems>) {
        let now = filesystems.at;
        lock(&self.filesystems).push(now, filesystems, self.limits.history.age);
    }

    /// Where the runtimes keep their images, as far as they told.
    pub fn image_stores(&self) -> Vec<ImageStore> {
        lock(&self.image_stores).values().flatten().cloned().collect()
    }

    /// Keeps where a runtime keeps its images.
    pub fn set_image_stores(&self, runtime: Runtime, stores: Vec<ImageStore>) {
        lock(&self.image_stores).insert(runtime, stores);
    }

    /// Begins a container; one of the same name is replaced.
    pub fn begin(&self, name: &Name, listed: Listed) -> Arc<Container> {
        let container = Arc::new(Container {
            name: Arc::clone(name),
            listed,
            oom_kills: AtomicU64::new(0),
            recent: Mutex::default(),
            spec: Mutex::default(),
            who: Mutex::default(),
            storage: Mutex::default(),
            limits: self.limits.history,
            budget: Arc::clone(&self.budget),
        });
        self.budget.join();
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        containers.insert(Arc::clone(name), Arc::clone(&container));
        container
    }

    /// Ends a container: it is no longer listed, its last sample and its OOM kills are told for the retention time.
    pub fn end(&self, container: &Arc<Container>, now: WallTime) {
        // A container made anew under the same name stays.
        self.forget(container);
        if self.limits.ended_retention.is_zero()
            || (container.listed == Listed::OnlyAsChild && container.oom_kills() == 0)
        {
            return;
        }
        let now = lock(&self.clock).steady(now);
        lock(&self.ended).push(Arc::clone(container), now, now.back(self.limits.ended_retention));
    }

    /// A container is not listed any more, although it may be there: nothing of it is kept.
    pub fn forget(&self, container: &Arc<Container>) {
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        if containers.get(&container.name).is_some_and(|current| Arc::ptr_eq(current, container)) {
            containers.remove(&container.name);
        }
    }

    /// The bytes that containers may take.
    pub fn bounds(&self) -> MemoryBounds {
        self.limits.memory
    }

    /// The listed containers that ended within the retention time, the last one last.
    pub fn ended(&self, now: WallTime) -> Vec<Arc<Container>> {
        let oldest = lock(&self.clock).steady(now).back(self.limits.ended_retention);
        let ended = lock(&self.ended);
        ended.since(oldest).filter(|container| container.listed == Listed::Yes).cloned().collect()
    }

    /// A listed container.
    pub fn get(&self, name: &[u8]) -> Option<Arc<Container>> {
        let containers = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        containers.get(name).filter(|container| container.listed == Listed::Yes).cloned()
    }

    /// The listed containers whose names begin with these bytes, by name.
    pub fn with_prefix(&self, prefix: &[u8]) -> Vec<Arc<Container>> {
        let containers = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        containers
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .filter(|(_, container)| container.listed == Listed::Yes)
            .map(|(_, container)| Arc::clone(container))
            .collect()
    }

    /// The listed containers of a runtime, by name.
    pub fn of_runtime(&self, runtime: Runtime) -> Vec<(Name, Arc<Identity>)> {
        let containers = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        let listed = containers.values().filter(|container| container.listed == Listed::Yes);
        let known = listed.filter_map(|container| Some((Arc::clone(&container.name), container.identity()?)));
        known.filter(|(_, identity)| identity.runtime == runtime).collect()
    }

    /// The names directly below this one, sorted; those that are known only as children too.
    pub fn children(&self, name: &[u8]) -> Vec<Name> {
        let mut prefix = name.to_vec();
        if prefix != b"/" {
            prefix.push(b'/');
        }
        let containers = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        containers
            .range::<[u8], _>((Bound::Excluded(prefix.as_slice()), Bound::Unbounded))
            .take_while(|(child, _)| child.starts_with(&prefix))
            .filter(|(child, _)| !child[prefix.len()..].contains(&b'/'))
            .filter(|(_, container)| container.listed != Listed::Excluded)
            .map(|(child, _)| Arc::clone(child))
            .collect()
    }

    /// The listed containers that have a label beginning so, by name.
    pub fn labelled(&self, prefix: &str) -> Vec<(Arc<Container>, Arc<Identity>)> {
        let containers = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        let listed = containers.values().filter(|container| container.listed == Listed::Yes);
        let known = listed.filter_map(|container| Some((Arc::clone(container), container.identity()?)));
        let has_label = |labels: &BTreeMap<String, String>| {
            labels
                .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
                .next()
                .is_some_and(|(label, _)| label.starts_with(prefix))
        };
        known.filter(|(_, identity)| has_label(&identity.labels)).collect()
    }

    /// Number of listed containers.
    pub fn len(&self) -> usize {
        let containers = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        containers.values().filter(|container| container.listed == Listed::Yes).count()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OOM kills per container that had any. A name that ended and was made anew counts both lives, so that the count
    /// does not go backwards within the retention time.
    pub fn oom_counts(&self, now: WallTime) -> OomCounts {
        let mut counts = OomCounts::new();
        for (name, container) in self.containers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let kills = container.oom_kills();
            if kills > 0 {
                counts.insert(Arc::clone(name), kills);
            }
        }
        let oldest = lock(&self.clock).steady(now).back(self.limits.ended_retention);
        for container in lock(&self.ended).since(oldest) {
            let kills = container.oom_kills();
            if kills > 0 {
                *counts.entry(Arc::clone(&container.name)).or_default() += kills;
            }
        }
        counts
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
