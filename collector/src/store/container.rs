//! One container: its recent samples and what is made of them, its limits, who it is, what its files take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::application::Application;
use super::budget::HistoryBudget;
use super::from_runtime::{self, FromRuntime};
use super::history::{History, Limits, Pushed, Selection, Stretch};
use super::lock;
use super::peaks::{self, Peaks};
use super::summary::{Recorder, Summary};
use super::timeline::Timeline;
use crate::bounds::Bound::HistoryMemory;
use crate::sample::application::Round;
use crate::sample::block_latency::BlockLatency;
use crate::sample::container::Sample;
use crate::sample::event::Name;
use crate::sample::exit::Exit;
use crate::sample::filesystem::Storage;
use crate::sample::identity::{Identity, Who};
use crate::sample::network_cgroup::NetworkCgroup;
use crate::sample::run_queue::RunQueue;
use crate::sample::runtime_usage::RuntimeUsage;
use crate::sample::spec::Spec;
use crate::units::WallTime;

/// One cgroup that exists, or existed until just now.
#[derive(Debug)]
pub struct Container {
    pub(super) name: Name,
    /// Its number among all that began.
    pub(super) life: u64,
    pub(super) listed: Listed,
    pub(super) oom_kills: AtomicU64,
    pub(super) recent: Mutex<Recent>,
    pub(super) spec: Mutex<(Spec, Option<Instant>)>,
    pub(super) who: Mutex<Option<Who>>,
    pub(super) exit: Mutex<Option<Arc<Exit>>>,
    pub(super) storage: Mutex<Timeline<Storage>>,
    pub(super) run_queue: Mutex<Option<Arc<RunQueue>>>,
    pub(super) network_cgroup: Mutex<Option<NetworkCgroup>>,
    pub(super) directories: Mutex<Vec<(u32, u64)>>,
    pub(super) block_latency: Mutex<Option<Arc<BlockLatency>>>,
    pub(super) from_runtime: Mutex<FromRuntime>,
    pub(super) limits: Limits,
    pub(super) budget: Arc<HistoryBudget>,
}

impl Drop for Container {
    fn drop(&mut self) {
        self.budget.update(lock(&self.recent).charged, 0);
        self.budget.leave();
    }
}

/// A container's samples and what is made of them as they come.
#[derive(Debug, Default)]
pub(super) struct Recent {
    history: History,
    summary: Recorder,
    peaks: peaks::Recorder,
    /// Of the few containers whose labels ask for it.
    application: Option<Box<Application>>,
    /// When the newest sample came; the clock on the wall may be set meanwhile.
    pushed_at: Option<Instant>,
    /// Bytes of the samples as the budget knows them.
    charged: usize,
}

impl Recent {
    /// Makes what is made of the newest sample.
    fn added(&mut self, limits: Limits) {
        let Self { history, summary, peaks, application, pushed_at, .. } = self;
        *pushed_at = Some(Instant::now());
        if let Some(stored) = history.latest() {
            summary.add(stored);
            peaks.add(stored);
            if let Some(application) = application {
                application.attach(stored.at, limits);
            }
        }
    }

    /// Reports to the budget how much there is, and drops old samples where that is more than there may be.
    pub(super) fn settle(&mut self, budget: &HistoryBudget) {
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
        let before = recent.history.latest().map(|latest| latest.at);
        let Some(sample) = lock(&self.from_runtime).settle(sample, before, || self.runs()) else {
            return Pushed { regressions: 0, unchanged: false };
        };
        let pushed = recent.history.push(sample, self.limits);
        recent.added(self.limits);
        recent.settle(&self.budget);
        pushed
    }

    /// Adds the newest sample once more, as of this time. Not if it needs another look: whether it was added.
    pub fn repeat(&self, at: WallTime) -> bool {
        let oom_kills = self.oom_kills();
        let mut recent = lock(&self.recent);
        let is_same = recent.history.latest().is_some_and(|latest| latest.oom_kills == oom_kills);
        // What the runtime says may be new although the kernel sees nothing.
        let is_kernels = !lock(&self.from_runtime).is_the_runtimes(|| self.runs());
        if !is_same || !is_kernels || !recent.history.repeat(at, self.limits) {
            return false;
        }
        recent.added(self.limits);
        recent.settle(&self.budget);
        true
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

    pub(super) fn forget_samples(&self) {
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

    /// When the oldest sample that is kept was taken.
    pub fn oldest(&self) -> Option<WallTime> {
        lock(&self.recent).history.oldest(self.limits)
    }

    /// The newest sample and one at least so much older, or the oldest: see [`History::span`].
    pub fn span(&self, at_least: Duration) -> Option<[Arc<Sample>; 2]> {
        lock(&self.recent).history.span(at_least, self.limits)
    }

    /// What it used lately; `None` before the first sample.
    pub fn summary(&self) -> Option<Summary> {
        lock(&self.recent).summary.summary()
    }

    /// The greatest values of the minute before this time.
    pub fn peaks(&self, now: WallTime) -> Peaks {
        lock(&self.recent).peaks.peaks(now)
    }

    /// Takes a reading of its application's endpoints, of so many bytes; it is reported with the next sample. Older
    /// readings are kept as long as all together take no more than `keep` bytes.
    pub fn offer(&self, round: Round, bytes: usize, keep: usize) {
        lock(&self.recent).application.get_or_insert_default().offer(round, bytes, keep);
    }

    /// What its application reported lately; `None` when it was never read.
    pub fn application(&self) -> Option<Application> {
        lock(&self.recent).application.as_deref().cloned()
    }

    /// The newest of it that is kept.
    pub fn newest_of_application(&self) -> Option<Arc<Round>> {
        lock(&self.recent).application.as_deref()?.newest()
    }

    /// Bytes of the newest sample.
    pub(super) fn last_sample_memory(&self) -> usize {
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

    /// Who it is, as far as its path or its runtime reported; `None` for what is no container's own cgroup.
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
    #[cfg(test)]
    pub(crate) fn set_identity(&self, identity: Identity) {
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

    /// How long its tasks waited for a CPU, as last read; `None` where that is not counted.
    pub fn run_queue(&self) -> Option<Arc<RunQueue>> {
        lock(&self.run_queue).clone()
    }

    /// Keeps how long its tasks waited for a CPU.
    pub fn set_run_queue(&self, run_queue: RunQueue) {
        *lock(&self.run_queue) = Some(Arc::new(run_queue));
    }

    /// What passed its sockets, as last read; `None` where that is not counted, and as long as nothing did.
    pub fn network_cgroup(&self) -> Option<NetworkCgroup> {
        *lock(&self.network_cgroup)
    }

    /// Keeps what passed its sockets.
    pub fn set_network_cgroup(&self, network: NetworkCgroup) {
        *lock(&self.network_cgroup) = Some(network);
    }

    /// The kernfs id of its directory in a hierarchy, the last if it had several; `None` where it is not known to have one.
    pub fn directory(&self, hierarchy: u32) -> Option<u64> {
        lock(&self.directories).iter().find(|(of, _)| *of == hierarchy).map(|(_, id)| *id)
    }

    /// Keeps the ids of its directories by hierarchy: they may be gone before anybody looks. Of those that are not among
    /// them the last stay known.
    pub fn set_directories(&self, directories: impl IntoIterator<Item = (u32, u64)>) {
        let mut known = lock(&self.directories);
        for (hierarchy, id) in directories {
            known.retain(|(of, _)| *of != hierarchy);
            known.push((hierarchy, id));
        }
        known.shrink_to_fit();
    }

    /// How long its requests to block devices took, as last read; `None` where that is not counted or there were none.
    pub fn block_latency(&self) -> Option<Arc<BlockLatency>> {
        lock(&self.block_latency).clone()
    }

    /// Keeps how long its requests to block devices took.
    pub fn set_block_latency(&self, latency: BlockLatency) {
        *lock(&self.block_latency) = Some(Arc::new(latency));
    }

    /// Whether its runtime can be asked, and says that it runs.
    fn runs(&self) -> bool {
        self.identity().is_some_and(|identity| from_runtime::runs(&identity))
    }

    /// Whether its runtime should be asked what it uses: the kernel sees nothing of it.
    pub fn asks_runtime(&self) -> bool {
        let runs = self.runs();
        runs && lock(&self.from_runtime).is_the_runtimes(|| runs)
    }

    /// Takes what its runtime says that it uses.
    pub fn hear_of_usage(&self, usage: RuntimeUsage) {
        lock(&self.from_runtime).hear(usage);
    }

    /// Whether what is reported of it is its runtime's word.
    pub fn is_from_runtime(&self) -> bool {
        lock(&self.from_runtime).is_from_runtime()
    }

    /// How its first process ended; `None` as long as it runs, and where the kernel's programs do not report it.
    pub fn exit(&self) -> Option<Arc<Exit>> {
        lock(&self.exit).clone()
    }

    /// Keeps how its first process ended, or that another one has begun.
    pub fn set_exit(&self, exit: Option<Arc<Exit>>) {
        *lock(&self.exit) = exit;
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
