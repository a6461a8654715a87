//! What is known about every container: its recent samples, its limits, its OOM kills, and the log of events.
//!
//! A cheap handle over plain memory: no I/O, no kernel types, and of clocks only those that nobody sets.

pub mod application;
mod budget;
mod container;
pub(crate) mod deltas;
mod ended;
pub mod event_log;
mod from_runtime;
pub mod history;
pub mod peaks;
pub mod pods;
pub mod restarts;
pub mod summary;
pub mod timeline;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::sample::event::Name;
use crate::sample::identity::{Identity, Runtime};
use crate::sample::images::ImageStore;
use crate::sample::machine::Filesystems;
use crate::steady::Clock;
use crate::units::WallTime;
use budget::HistoryBudget;
use ended::EndedContainers;
use event_log::{EventLimits, EventLog};
use history::Limits;
use pods::Pods;
use restarts::{Restarts, Title};
use timeline::Timeline;

pub use container::{Container, Listed};

/// The store's bounds.
#[derive(Clone, Debug)]
pub struct StoreLimits {
    /// Of each container's samples.
    pub history: Limits,
    /// Of the event log.
    pub events: EventLimits,
    /// How long the counters of an ended container are still exposed.
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
    restarts: Mutex<Restarts>,
    generation: AtomicU64,
    lives: AtomicU64,
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
            generation: AtomicU64::new(0),
            lives: AtomicU64::new(0),
            budget: Arc::new(HistoryBudget::new(memory.histories)),
            events,
            filesystems: Mutex::default(),
            image_stores: Mutex::default(),
            pods: Pods::default(),
            restarts: Mutex::default(),
        }
    }

    /// Another number whenever a container came or went.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
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

    /// Where the runtimes keep their images, as far as they reported it.
    pub fn image_stores(&self) -> Vec<ImageStore> {
        lock(&self.image_stores).values().flatten().cloned().collect()
    }

    /// Keeps where a runtime keeps its images.
    pub fn set_image_stores(&self, runtime: Runtime, stores: Vec<ImageStore>) {
        lock(&self.image_stores).insert(runtime, stores);
    }

    /// Begins a container; one of the same name is replaced.
    pub fn begin(&self, name: &Name, listed: Listed) -> Arc<Container> {
        let life = self.lives.fetch_add(1, Ordering::Relaxed) + 1;
        let container = Arc::new(Container {
            name: Arc::clone(name),
            life,
            listed,
            oom_kills: AtomicU64::new(0),
            recent: Mutex::default(),
            spec: Mutex::default(),
            who: Mutex::default(),
            exit: Mutex::default(),
            storage: Mutex::default(),
            run_queue: Mutex::default(),
            network_cgroup: Mutex::default(),
            directories: Mutex::default(),
            block_latency: Mutex::default(),
            from_runtime: Mutex::default(),
            limits: self.limits.history,
            budget: Arc::clone(&self.budget),
        });
        self.budget.join();
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        containers.insert(Arc::clone(name), Arc::clone(&container));
        self.generation.fetch_add(1, Ordering::Release);
        container
    }

    /// Ends a container: it is no longer listed, its last sample and its OOM kills are served for the retention time.
    pub fn end(&self, container: &Arc<Container>, now: WallTime) {
        // A container made anew under the same name stays.
        self.forget(container);
        let now = lock(&self.clock).steady(now);
        if let Some(identity) = container.identity() {
            lock(&self.restarts).ended(&identity, container.life, now);
        }
        if self.limits.ended_retention.is_zero()
            || (container.listed == Listed::OnlyAsChild && container.oom_kills() == 0)
        {
            return;
        }
        lock(&self.ended).push(Arc::clone(container), now, now.back(self.limits.ended_retention));
    }

    /// It is known who a container is, or better known: restarts are counted by name.
    pub fn identified(&self, container: &Container) {
        if let Some(identity) = container.identity().filter(|_| container.listed == Listed::Yes) {
            lock(&self.restarts).seen(&identity, container.life);
        }
    }

    /// How often containers were started again, by what they have in common with those before them.
    pub fn restarts(&self, now: WallTime) -> Vec<(Title, u64)> {
        let oldest = lock(&self.clock).steady(now).back(self.limits.ended_retention);
        lock(&self.restarts).since(oldest)
    }

    /// A container is not listed any more, although it may be there: nothing of it is kept.
    pub fn forget(&self, container: &Arc<Container>) {
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        if containers.get(&container.name).is_some_and(|current| Arc::ptr_eq(current, container)) {
            containers.remove(&container.name);
            self.generation.fetch_add(1, Ordering::Release);
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

    /// All containers, listed or not, by name.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.containers.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
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
