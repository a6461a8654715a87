//! Builds the parts, starts them, waits for the end, and takes them down again. The only place that spawns tasks and
//! binds ports.

mod apart;
mod application;
mod attach;
mod auth;
pub(crate) mod backend;
mod block_latency;
mod connections;
mod current;
mod descriptors;
mod docker;
mod drain;
mod feed;
mod fresh;
mod hardware;
mod hashes;
mod hosts;
mod identities;
pub(crate) mod in_process;
mod kernel_memory;
mod kind_reader;
mod kubelet;
mod listeners;
mod machine;
mod metrics;
mod network_cgroups;
mod node_facts;
mod on_request;
mod pace;
mod past;
mod past_containers;
mod ports;
mod push;
mod reload;
mod rendering;
mod rows;
mod run_queues;
mod server;
mod socket;
pub mod statistics;
mod streams;
mod unsent;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::api::prometheus::ExpositionOptions;
use crate::auth::FileError;
use crate::config::{Config, CountersFrom, LoadReading};
use crate::degradations::Degradations;
use crate::discovery::find::FindError;
use crate::discovery::follower::{self, ChangeSource, Progress, Stop};
use crate::discovery::tracker::Tracker;
use crate::disk_usage::{self, StorageNews};
use crate::kernel::cgroup::{DetectError, Hierarchies};
use crate::kernel::descriptors::DescriptorPlan;
use crate::kernel::file::FileBudget;
use crate::kernel::machine::container_mounts::ListedMounts;
use crate::kernel::machine::{boot_time, identity::IdentityFiles, present_cpus};
use crate::kernel::probes::{Probes, Unavailable};
use crate::kernel::{HostRoots, capabilities};
use crate::own_metrics::OwnMetrics;
use crate::push::InvalidReceiver;
use crate::reader::container::{ContextParts, Extras, LoadReader, MachineFacts, NetworkFiles, ReaderContext};
use crate::sample::kinds::MetricKind;
use crate::sample::machine::Machine;
use crate::sampler::engine::{Engine, EngineConfig, OomSource};
use crate::shutdown::{Hangups, Signals};
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::units::WallTime;
use apart::Pools;
use application::Applications;
use backend::Backend;
use current::Current;
use listeners::{Listeners, Serving};
use machine::{keep_machine_current, read_machine};
use node_facts::NodeFacts;
use past::Recording;
use push::Exporters;
use reload::Reload;

/// Sampling threads at most; one alone keeps up with ten thousand containers, the others are there for reads that
/// hang.
const MAX_SAMPLING_THREADS: usize = 4;
/// How often the daemon looks whether descriptors run out.
const LOOK_AT_DESCRIPTORS: Duration = Duration::from_secs(5);
/// Without kernel events the cgroups are scanned no more often than this.
const SCAN_EVERY: Duration = Duration::from_secs(1);

/// Why the collector does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// There are no cgroups to read.
    #[error("{0}")]
    Cgroups(#[from] DetectError),
    /// A file of passwords, tokens or certificates cannot be used.
    #[error("{0}")]
    Access(#[from] FileError),
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}; choose another with --port or --listen_ip")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The socket for Docker's API cannot be had.
    #[error(
        "--docker_socket={}: {source}; give a path in a directory that the collector may write to, at which nobody \
         else listens",
        path.display()
    )]
    Socket {
        /// What was asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A port for the kubelet's endpoints cannot be had.
    #[error("cannot listen on {address}: {source}; choose another with --{flag}")]
    ListenAsKubelet {
        /// What was asked for.
        address: SocketAddr,
        /// With which flag.
        flag: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// `--kernel_events=ebpf`, and it cannot be had.
    #[error("--kernel_events=ebpf: {0}")]
    EventsRequired(Box<Unavailable>),
    /// The system has no thread, descriptor or signal to give.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread that has to run as long as the collector does is gone: what is served would no longer change.
    #[error("the thread {0} ended; see its error in the log above")]
    ThreadEnded(String),
    /// `collector statistics` for a container that is not there.
    #[error("{0}")]
    NoContainer(#[from] FindError),
    /// Its cgroup ended while it was read.
    #[error("the cgroup {0} ended while it was read")]
    NoCgroup(String),
    /// A receiver cannot be sent to.
    #[error("--{flag}: {source}")]
    Receiver {
        /// The flag that names it.
        flag: &'static str,
        /// Why.
        source: InvalidReceiver,
    },
    /// Two own metrics have one name.
    #[error("own metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> DaemonError {
    move |source| DaemonError::System { what, source }
}

/// Whether the daemon could use this configuration, its files included. Nothing is started.
///
/// # Errors
/// With what is wrong.
pub fn check(config: &Config) -> Result<(), DaemonError> {
    listeners::check(config)?;
    push::check(&config.push)
}

/// Runs until a signal ends it.
///
/// # Errors
/// When it cannot start.
pub fn run(config: Config) -> Result<(), DaemonError> {
    // Before there is a second thread.
    match capabilities::settle(config.rights()) {
        Ok(kept) => tracing::debug!(?kept, "capabilities"),
        Err(errno) => warn!(error = %errno, "capabilities stay as they were"),
    }
    for note in &config.notes {
        info!("{note}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.max_procs.unwrap_or(2).min(2))
        .max_blocking_threads(8)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(system("starting the async runtime"))?;
    crate::api::wire::time::use_local_zone();
    let grace = config.grace;
    let result = runtime.block_on(serve(config));
    // A request that hangs in a file read must not keep the process.
    runtime.shutdown_timeout(grace.min(Duration::from_secs(1)));
    result
}

async fn serve(config: Config) -> Result<(), DaemonError> {
    // The cheap things that can be wrong first: nothing is attached before they are known to be right.
    let hierarchies = Arc::new(Hierarchies::detect(&config.roots)?);
    let listeners = Listeners::bind(&config).await?;
    let mut signals = Signals::take_over().map_err(system("taking over SIGTERM"))?;
    let hangups = Hangups::take_over().map_err(system("taking over SIGHUP"))?;

    let plan = DescriptorPlan::of_process();
    let degradations = Degradations::default();
    let start = || Parts::start(&config, hierarchies, plan, degradations.clone());
    let parts = tokio::task::block_in_place(start)?;
    info!("listening on {}{}", listeners.address(), config.base_path);

    let supervisor = parts.supervisor.clone();
    let serving = listeners.serve(&config, plan, &parts.answers, &degradations, &supervisor)?;
    let Serving { servers, descriptors, guards } = serving;
    let exporters = Exporters::start(config.push.clone(), &parts.answers, &supervisor)?;
    let grace = config.grace;
    let reload = Reload::new(config, &parts, guards, exporters, degradations);
    let mut reloading = JoinSet::new();
    supervisor.task(&mut reloading, "reload", reload.run(hangups));

    let mut look = tokio::time::interval(LOOK_AT_DESCRIPTORS);
    let outcome = loop {
        tokio::select! {
            name = signals.next() => {
                info!(signal = name, ?grace, "shutting down");
                break Ok(());
            }
            name = supervisor.first_ended() => break Err(DaemonError::ThreadEnded(name)),
            _ = look.tick() => descriptors.look(parts.engine.context().errors().exhausted()),
        }
    };
    signals.exit_at_next();
    supervisor.release();
    // New connections are refused, event streams end after what they have queued.
    parts.answers.close();
    let ended = async { tokio::join!(servers.join_all(), reloading.join_all()) };
    if tokio::time::timeout(grace, ended).await.is_err() {
        warn!("requests were still open after --shutdown_grace_period; they are cut off");
    }
    tokio::task::block_in_place(|| parts.stop());
    info!("stopped");
    outcome
}

/// Everything that runs on threads of its own.
pub(crate) struct Parts {
    engine: Arc<Engine>,
    pub(crate) answers: Arc<Backend>,
    exposed: Arc<Current<ExpositionOptions>>,
    follower: (JoinHandle<()>, Stop),
    samplers: Vec<JoinHandle<()>>,
    history: Option<Recording>,
    storage: Option<StorageNews>,
    supervisor: Supervisor,
    /// Ended when it is dropped.
    _tasks: JoinSet<()>,
    /// Ends when it is dropped.
    _applications: Option<Applications>,
    // Detaches the programs when dropped.
    probes: Option<Arc<Probes>>,
}

impl Parts {
    pub(crate) fn start(
        config: &Config,
        hierarchies: Arc<Hierarchies>,
        plan: DescriptorPlan,
        degradations: Degradations,
    ) -> Result<Self, DaemonError> {
        let metrics = OwnMetrics::new(degradations.clone())?;
        // Attach first, then scan: what happens in between is reported by the events.
        let attached = attach::attach(config, &degradations)?;
        let oom = match &attached {
            Some((probes, _)) if probes.victim_form().is_some() => OomSource::Events,
            Some(_) | None => OomSource::Counters,
        };
        let store = Arc::new(Store::new(config.store.clone()));
        let ids = IdentityFiles { machine_id: config.machine_id_files.clone(), boot_id: config.boot_id_files.clone() };
        let machine = read_machine(&config.roots, &ids, config.listed_mounts);
        let network_files = if attached.is_some() { NetworkFiles::Kept } else { NetworkFiles::OpenedEachTime };
        let budget = FileBudget::new(plan.statistics);
        let extras = hardware::find(config);
        let context = reader_context(config, Arc::clone(&hierarchies), &machine, network_files, extras, budget);
        for limitation in context.limitations() {
            degradations.set(&limitation.facility(), limitation);
        }
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, MAX_SAMPLING_THREADS);
        let threads = config.max_procs.map_or(threads, |most| threads.min(most));
        let engine_config = EngineConfig { interval: config.interval, pace: config.pace, threads, oom };
        let engine = Arc::new(Engine::new(engine_config, context, store, metrics.sampler()));
        let supervisor = Supervisor::default();
        let mut tasks = JoinSet::new();
        let mut samplers = engine.start(&supervisor).map_err(system("starting the sampling threads"))?;
        if let Some(lister) = engine.context().process_lister() {
            supervisor.thread("processes", lister).map_err(system("starting the thread that lists processes"))?;
        }
        let storage = if config.kinds.has(MetricKind::Disk) {
            let (metrics, places) = (metrics.sampler(), &config.kubelet.places);
            let started = disk_usage::start(&engine, metrics, config.disk_usage_every, places, &supervisor);
            let (news, threads) = started.map_err(system("starting the threads that look at files"))?;
            samplers.extend(threads);
            Some(news)
        } else {
            None
        };

        let history =
            config.history.clone().map(|options| Recording::start(options, &engine, &degradations, &supervisor));
        let history = history.transpose().map_err(system("starting the thread that writes the history"))?;
        let progress = Arc::new(Progress::default());
        let (identities, lookup) = crate::runtime::channel();
        let tracker = Tracker::new(Arc::clone(&engine), config.filter.clone(), identities, degradations.clone());
        let (source, counters, probes) = match attached {
            Some((probes, reader)) => {
                if let Some(bytes) = probes.map_bytes() {
                    metrics.set_map_bytes(bytes);
                }
                let counters = probes.counter_reader();
                let source = ChangeSource::Events {
                    reader: Box::new(reader),
                    counters: counters.clone(),
                    verify_every: config.verify_every,
                };
                (source, Some(counters), Some(Arc::new(probes)))
            }
            None => (ChangeSource::Scans { every: SCAN_EVERY }, None, None),
        };
        let (followed, shown) = (Arc::clone(&engine), Arc::clone(&progress));
        let follower = follower::start(tracker, followed, hierarchies, source, shown, &supervisor)
            .map_err(system("starting the thread that follows the kernel"))?;
        match (config.counters, &probes) {
            (CountersFrom::Files, _) => engine.context().set_no_kernel_memory("--counters=files"),
            (CountersFrom::Auto, None) => engine.context().set_no_kernel_memory("kernel events do not come from eBPF"),
            (CountersFrom::Auto, Some(_)) => {}
        }
        let probes = probes
            .map(|probes| kernel_memory::start(config, (&engine, &progress), &probes, &degradations).map(|()| probes));
        let probes = probes.transpose().map_err(system("starting the thread that loads programs"))?;
        run_queues::start(config, &engine, &degradations, &supervisor)
            .and_then(|()| network_cgroups::start(config, &engine, &degradations, &supervisor))
            .and_then(|()| block_latency::start(config, &engine, &degradations, &supervisor))
            .map_err(system("starting a thread that reads what a kind's program counts"))?;
        let pools = Arc::<Pools>::default();
        let start =
            || application::start(&engine, config.application_metrics, &metrics, Arc::clone(&pools), &supervisor);
        let applications = config.kinds.has(MetricKind::App).then(start).transpose();
        let applications = applications.map_err(system("starting the thread that reads applications"))?;
        let news = follower.1.news();
        let lookup = identities::look_up(config, lookup, &engine, news, storage.clone(), degradations.clone());
        supervisor.task(&mut tasks, "runtimes", lookup);
        let (requests, jobs) = metrics::channel();
        let answers =
            Backend::new(Arc::clone(&engine), metrics, counters, progress, degradations, storage.clone(), requests);
        let answers = answers.of(NodeFacts::find(config)).within(config.answer_buffer_bytes).with_pools(pools);
        let answers = answers.with_past(history.as_ref().map(Recording::past));
        let answers = Arc::new(answers);
        answers.set_machine(machine);
        keep_machine_current(config, ids, &answers, &supervisor)
            .map_err(system("starting the thread that reads the machine"))?;
        answers.set_configuration(config.to_toml());
        let exposed = Arc::new(Current::new(config.metrics.clone()));
        rendering::start(jobs, Arc::downgrade(&answers), Arc::clone(&exposed), &supervisor)
            .map_err(system("starting the thread that renders metrics"))?;
        Ok(Self {
            engine,
            answers,
            exposed,
            follower,
            samplers,
            history,
            storage,
            supervisor,
            _tasks: tasks,
            _applications: applications,
            probes,
        })
    }

    /// A thread that ended although nobody asked it to.
    pub(crate) fn ended_thread(&self) -> Option<String> {
        self.supervisor.ended()
    }

    pub(crate) fn stop(self) {
        self.supervisor.release();
        let (follower, stop) = self.follower;
        stop.stop();
        self.engine.stop();
        if let Some(storage) = self.storage {
            storage.stop();
        }
        // It writes a last step.
        let history = self.history.map(Recording::stop);
        let threads = std::iter::once(follower).chain(self.samplers).chain(history);
        // A thread that hangs in a read of the kernel cannot be ended; the process ends without it.
        let deadline = std::time::Instant::now() + Duration::from_secs(1);
        for thread in threads {
            while !thread.is_finished() && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() && thread.join().is_err() {
                error!("a thread panicked; see its message above");
            }
        }
        drop(self.probes);
    }
}

/// Finds out where statistics are on this machine.
fn reader_context(
    config: &Config,
    hierarchies: Arc<Hierarchies>,
    machine: &Machine,
    network_files: NetworkFiles,
    extras: Extras,
    budget: FileBudget,
) -> ReaderContext {
    ReaderContext::new(ContextParts {
        roots: config.roots.clone(),
        hierarchies,
        kinds: config.kinds,
        budget: Arc::new(budget),
        network_files,
        errors: Arc::default(),
        load: load_reader(config),
        extras,
        machine: MachineFacts { listed_mounts: config.listed_mounts, ..facts(&config.roots, machine) },
        clock: now,
    })
}

/// What the readers of containers need to know of the machine.
fn facts(roots: &HostRoots, machine: &Machine) -> MachineFacts {
    let booted = boot_time(roots, now()).unwrap_or_else(|error| {
        warn!(%error, "the time the machine was started is not known; creation times may be too early");
        WallTime::default()
    });
    MachineFacts {
        cpus: machine.cpus.online as usize,
        present_cpus: present_cpus(roots).ok().and_then(|cpus| Some(*cpus.last()? as usize + 1)),
        memory: machine.memory.unwrap_or_default(),
        swap: machine.swap.unwrap_or_default(),
        booted,
        uses_bfq: machine.disks.iter().flatten().any(|disk| disk.scheduler.as_deref() == Some("bfq")),
        has_network: machine.network_devices.as_ref().is_some_and(|devices| !devices.is_empty()),
        listed_mounts: ListedMounts::default(),
    }
}

fn load_reader(config: &Config) -> Option<LoadReader> {
    if config.load_reader == LoadReading::Off {
        return None;
    }
    match LoadReader::open(config.interval) {
        Ok(reader) => Some(reader),
        Err(error) => {
            warn!(%error, "--enable_load_reader: load averages are not available");
            None
        }
    }
}

fn now() -> WallTime {
    WallTime::from(SystemTime::now())
}
