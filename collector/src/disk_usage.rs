//! What containers' files take, found out now and then and beside everything else.
//!
//! One thread keeps the timetable and publishes what was found; others look at files. Some of these are for small trees,
//! which are looked at often: they have a small share of one CPU between them, also where everything is busy, and leave
//! what turns out to be big to the rest, which have another small share, if nobody else wants it. Whoever asks for a
//! container gets what was last found out, with its time; nobody ever waits for a disk. A file system that hangs holds up
//! one thread, and when it holds up all of them sizes grow old and nothing else happens.

pub(crate) mod layer;
mod pace;
mod pods;
mod timetable;

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::kernel::error::ReadError;
use crate::kernel::file::ReadBuffer;
use crate::kernel::storage::idle::{give_way, give_way_to_others, own_cpu_time};
use crate::kernel::storage::overlay;
use crate::reader::container::listed_members;
use crate::reader::machine;
use crate::sample::event::Name;
use crate::sample::filesystem::{ContainerFiles, LayerPlace, Storage};
use crate::sample::identity::Runtime;
use crate::sample::images::{RuntimeLayer, RuntimeStorage};
use crate::sample::machine::Filesystems;
use crate::sampler::engine::Engine;
use crate::sampler::metrics::Metrics;
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::units::WallTime;
use layer::{Known, Survey};
use pace::{Budget, Pace, Reached};
use pods::{PodDone, PodJob, PodList, PodTimetable};
pub use pods::{PodLogs, PodPlaces, pod_logs};
use timetable::{Bulk, Timetable};

/// Threads that look at files, of each size.
const THREADS: usize = 2;
/// How often the machine's file systems are asked how full they are, at most; requests ask for themselves.
const FILESYSTEMS_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked which containers there are that no runtime has reported.
const LOOK_FOR_OTHERS: Duration = Duration::from_secs(10);
/// What a runtime reported counts for so many intervals.
const TOLD_INTERVALS: u32 = 5;

/// Notifies the sampler of disks. Cheap, never waits.
#[derive(Clone, Debug)]
pub struct StorageNews {
    messages: Sender<DiskUsageMessage>,
    complaint: Arc<OnceLock<String>>,
}

impl StorageNews {
    /// More is known of who a container is, perhaps also where its files are.
    pub fn identified(&self, name: &Name) {
        self.send(DiskUsageMessage::Identified(Name::clone(name)));
    }

    /// A runtime reported what it knows about disks.
    pub fn reported(&self, reported: RuntimeStorage) {
        self.send(DiskUsageMessage::Reported(reported));
    }

    /// Why sizes are missing, once one could not be found out for another reason than that it is gone.
    pub fn complaint(&self) -> Option<&str> {
        self.complaint.get().map(String::as_str)
    }

    /// Everything ends.
    pub fn stop(&self) {
        self.send(DiskUsageMessage::Stop);
    }

    fn send(&self, message: DiskUsageMessage) {
        // After the end nobody wants to know.
        let _ = self.messages.send(message);
    }
}

#[derive(Debug)]
enum DiskUsageMessage {
    Identified(Name),
    Reported(RuntimeStorage),
    Done(Box<Done>),
    Pods(PodList),
    Pod(Box<PodDone>),
    Stop,
}

/// Starts the threads; `every` is the time between two looks at a container's or a pod's files.
///
/// # Errors
/// The system has no thread to give.
pub fn start(
    engine: &Arc<Engine>,
    metrics: Metrics,
    every: Duration,
    places: &PodPlaces,
    supervisor: &Supervisor,
) -> std::io::Result<(StorageNews, Vec<JoinHandle<()>>)> {
    let (sender, receiver) = mpsc::channel();
    let jobs = Arc::new(Jobs::default());
    let budgets = [Budget::new(), Budget::new()];
    let mut threads = Vec::new();
    for (size, budget) in [Bulk::Small, Bulk::Big].into_iter().zip(&budgets) {
        for number in 0..THREADS {
            let worker = Worker {
                engine: Arc::clone(engine),
                places: places.clone(),
                jobs: Arc::clone(&jobs),
                size,
                done: sender.clone(),
            };
            let name = match size {
                Bulk::Small => format!("disk-small-{number}"),
                Bulk::Big => format!("disk-usage-{number}"),
            };
            let budget = budget.clone();
            threads.push(supervisor.thread(name, move || worker.run(budget))?);
        }
    }
    let complaint = Arc::new(OnceLock::new());
    let coordinator = Coordinator {
        engine: Arc::clone(engine),
        metrics,
        jobs,
        budgets,
        timetable: Timetable::new(every),
        pods: PodTimetable::new(every),
        listing: Listing::Idle,
        every,
        reported: BTreeMap::new(),
        filesystems_at: None,
        others_at: None,
        complaint: Arc::clone(&complaint),
    };
    threads.push(supervisor.thread("disk-times", move || coordinator.run(&receiver))?);
    Ok((StorageNews { messages: sender, complaint }, threads))
}

/// A thread that looks at files.
struct Worker {
    engine: Arc<Engine>,
    places: PodPlaces,
    jobs: Arc<Jobs>,
    size: Bulk,
    done: Sender<DiskUsageMessage>,
}

impl Worker {
    fn run(self, budget: Budget) {
        let mut pace = match self.size {
            Bulk::Small => {
                give_way_to_others();
                Pace::with_limit(budget, timetable::SMALL)
            }
            Bulk::Big => {
                give_way();
                Pace::new(budget)
            }
        };
        let roots = self.engine.context().roots();
        while let Some(job) = self.jobs.next(self.size) {
            pace.begin();
            let again = (self.size == Bulk::Small).then(|| job.clone());
            let result = match job {
                DiskUsageJob::Container(job) => DiskUsageMessage::Done(Box::new(look(&self.engine, job, &mut pace))),
                DiskUsageJob::Pods => DiskUsageMessage::Pods(pods::list(roots, &self.places)),
                DiskUsageJob::Pod(job) => {
                    DiskUsageMessage::Pod(Box::new(pods::look(roots, &self.places, job, &mut pace)))
                }
            };
            match again.filter(|_| pace.reached() == Reached::Limit) {
                // It may be a new one as well as one that grew.
                Some(job) => self.jobs.push(job, DiskUsageTurn::First, Bulk::Big),
                None if self.done.send(result).is_err() => return,
                None => {}
            }
            // What a small tree took counts too.
            if pace.settle(Duration::ZERO).is_break() {
                return;
            }
        }
    }
}

/// What to look at.
#[derive(Clone, Debug)]
enum DiskUsageJob {
    Container(ContainerJob),
    /// Which pods there are.
    Pods,
    Pod(PodJob),
}

/// A container to look at.
#[derive(Clone, Debug)]
struct ContainerJob {
    name: Name,
    files: ContainerFiles,
    reported: Option<RuntimeLayer>,
    filesystems: Arc<Filesystems>,
    inodes: Option<u64>,
}

#[derive(Debug)]
struct Done {
    name: Name,
    storage: Storage,
    errors: Vec<ReadError>,
    cpu: Duration,
}

/// Jobs waiting for a thread.
#[derive(Debug, Default)]
struct Jobs {
    queue: Mutex<JobQueue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct JobQueue {
    small: Waiting,
    big: Waiting,
    stopping: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Containers that have not been looked at yet go first.
    first: VecDeque<DiskUsageJob>,
    again: VecDeque<DiskUsageJob>,
}

impl JobQueue {
    fn of(&mut self, size: Bulk) -> &mut Waiting {
        match size {
            Bulk::Small => &mut self.small,
            Bulk::Big => &mut self.big,
        }
    }
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, JobQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: DiskUsageJob, turn: DiskUsageTurn, size: Bulk) {
        let mut queue = self.lock();
        let waiting = queue.of(size);
        match turn {
            DiskUsageTurn::First => waiting.first.push_back(job),
            DiskUsageTurn::Again => waiting.again.push_back(job),
        }
        drop(queue);
        // One of those that wait is for the other size.
        self.wake.notify_all();
    }

    fn stop(&self) {
        self.lock().stopping = true;
        self.wake.notify_all();
    }

    /// Waits for a job of this size; `None` when there will be none.
    fn next(&self, size: Bulk) -> Option<DiskUsageJob> {
        let mut queue = self.lock();
        loop {
            if queue.stopping {
                return None;
            }
            let waiting = queue.of(size);
            if let Some(job) = waiting.first.pop_front().or_else(|| waiting.again.pop_front()) {
                return Some(job);
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Whether somebody looks which pods there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    Idle,
    UnderWay,
}

/// Whether a container was looked at before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskUsageTurn {
    First,
    Again,
}

/// Looks at one container's files, on a thread that may take its time.
fn look(engine: &Engine, job: ContainerJob, pace: &mut Pace) -> Done {
    let ContainerJob { name, files, reported, filesystems, inodes } = job;
    let began = own_cpu_time();
    let context = engine.context();
    let place = files.layer.clone().or_else(|| {
        // Whatever its runtime says or does not say: the process knows what its root directory is.
        let pids = listed_members(context, &name, &mut ReadBuffer::new());
        let upper = overlay::upper_directory(context.roots(), pids.into_iter().min()?)?;
        Some(LayerPlace::Directory(upper))
    });
    let mut survey = Survey { roots: context.roots(), pace, errors: Vec::new() };
    let known = Known { files: &files, reported: reported.as_ref(), filesystems: &filesystems.list, inodes };
    let storage = survey.storage(known, place);
    let errors = survey.errors;
    Done { name, storage, errors, cpu: own_cpu_time().saturating_sub(began) }
}

/// Keeps the timetable and publishes.
#[derive(Debug)]
struct Coordinator {
    engine: Arc<Engine>,
    metrics: Metrics,
    jobs: Arc<Jobs>,
    budgets: [Budget; 2],
    timetable: Timetable,
    pods: PodTimetable,
    listing: Listing,
    every: Duration,
    /// What runtimes reported about layers.
    reported: BTreeMap<Runtime, BTreeMap<String, RuntimeLayer>>,
    filesystems_at: Option<Instant>,
    others_at: Option<Instant>,
    complaint: Arc<OnceLock<String>>,
}

impl Coordinator {
    fn run(mut self, messages: &Receiver<DiskUsageMessage>) {
        loop {
            let now = Instant::now();
            self.keep_time(now);
            let times = [self.filesystems_at, self.others_at, self.timetable.next(), self.pods.next()];
            let next = times.into_iter().flatten().min();
            let wait = next.map_or(self.every, |next| next.saturating_duration_since(Instant::now()));
            match messages.recv_timeout(wait) {
                Ok(DiskUsageMessage::Identified(name)) => self.identified(&name),
                Ok(DiskUsageMessage::Reported(reported)) => self.reported(reported),
                Ok(DiskUsageMessage::Done(done)) => self.done(*done),
                Ok(DiskUsageMessage::Pods(list)) => self.listed(list),
                Ok(DiskUsageMessage::Pod(done)) => self.pod_done(*done),
                Ok(DiskUsageMessage::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.budgets.iter().for_each(Budget::stop);
                    self.jobs.stop();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn store(&self) -> &Store {
        self.engine.store()
    }

    /// Does what is due.
    fn keep_time(&mut self, now: Instant) {
        if self.filesystems_at.is_none_or(|at| at <= now) {
            self.read_filesystems();
            self.filesystems_at = Some(Instant::now() + FILESYSTEMS_EVERY);
        }
        if self.others_at.is_none_or(|at| at <= now) {
            for runtime in [Runtime::Docker, Runtime::Podman, Runtime::Containerd, Runtime::CriO] {
                for (name, _) in self.engine.store().of_runtime(runtime) {
                    self.timetable.begin(&name, now);
                }
            }
            if self.listing == Listing::Idle {
                self.listing = Listing::UnderWay;
                self.jobs.push(DiskUsageJob::Pods, DiskUsageTurn::Again, Bulk::Small);
            }
            self.others_at = Some(now + LOOK_FOR_OTHERS);
        }
        while let Some((job, turn, size)) = self.pods.take_due(now) {
            self.jobs.push(DiskUsageJob::Pod(job), turn, size);
        }
        while let Some((name, turn, size)) = self.timetable.take_due(now) {
            self.dispatch(name, turn, size);
        }
    }

    fn read_filesystems(&self) {
        let now = WallTime::from(SystemTime::now());
        let (context, stores) = (self.engine.context(), self.store().image_stores());
        let filesystems = machine::filesystems(context.roots(), context.listed_mounts(), stores, now);
        self.store().set_filesystems(Arc::new(filesystems));
    }

    fn dispatch(&mut self, name: Name, turn: DiskUsageTurn, size: Bulk) {
        let known = self.engine.store().get(&name);
        let (Some(identity), Some(filesystems)) =
            (known.as_ref().and_then(|container| container.identity()), self.store().filesystems())
        else {
            self.timetable.end(&name);
            return;
        };
        let reported = identity.runtime.runtime().and_then(|runtime| self.reported.get(&runtime));
        let reported = reported.and_then(|layers| layers.get(&identity.id));
        // One from the future was measured before the clock was set back: nobody knows when.
        let now = WallTime::from(SystemTime::now());
        let oldest = now.back(self.every.saturating_mul(TOLD_INTERVALS));
        let reported = reported.filter(|reported| (oldest..=now).contains(&reported.measured.at)).cloned();
        let inodes = self.timetable.inodes(&name);
        let job = ContainerJob { name, files: identity.files.clone(), reported, filesystems, inodes };
        self.jobs.push(DiskUsageJob::Container(job), turn, size);
    }

    fn identified(&mut self, name: &Name) {
        let now = Instant::now();
        self.timetable.begin(name, now);
        let container = self.store().get(name);
        if let Some(identity) = container.and_then(|container| container.identity()) {
            self.timetable.moved(name, &identity.files, now);
        }
    }

    fn reported(&mut self, reported: RuntimeStorage) {
        let RuntimeStorage { runtime, stores, layers } = reported;
        let known = self.store().image_stores();
        if known.iter().filter(|store| store.runtime == runtime).ne(&stores) {
            self.store().set_image_stores(runtime, stores);
            self.filesystems_at = None;
        }
        let now = Instant::now();
        for (name, identity) in self.engine.store().of_runtime(runtime) {
            if layers.contains_key(&identity.id) {
                self.timetable.hurry(&name, now);
            }
        }
        self.reported.insert(runtime, layers);
    }

    fn done(&mut self, done: Done) {
        let Done { name, storage, errors, cpu } = done;
        self.metrics.disk_usage(storage.layer.map(|layer| layer.by), errors.len(), cpu);
        let now = Instant::now();
        self.timetable.done(&name, now, cpu, storage.layer.and_then(|layer| layer.usage.inodes));
        let Some(container) = self.store().get(&name) else {
            self.timetable.end(&name);
            return;
        };
        self.complain(&errors);
        if storage.at().is_some() {
            container.set_storage(WallTime::from(SystemTime::now()), storage);
        }
    }

    fn listed(&mut self, list: PodList) {
        self.listing = Listing::Idle;
        self.complain(&list.errors);
        let uids = self.pods.listed(list, Instant::now());
        self.store().pods().keep(&uids);
    }

    fn pod_done(&mut self, done: PodDone) {
        let PodDone { uid, files, errors, cpu } = done;
        self.metrics.disk_usage(None, errors.len(), cpu);
        self.complain(&errors);
        if self.pods.done(&uid, Instant::now(), cpu) {
            self.store().pods().set(&uid, files);
        }
    }

    fn complain(&self, errors: &[ReadError]) {
        if let Some(error) = errors.first() {
            let reason = format!(
                "not known of all containers: {error}; it takes the right to read the \
                 runtimes' directories (root, or CAP_DAC_READ_SEARCH)"
            );
            if self.complaint.set(reason.clone()).is_ok() {
                tracing::warn!(%reason, "disk usage is incomplete");
            } else {
                tracing::debug!(%error, "the disk usage of a container is not known");
            }
        }
    }
}
