//! What the API asks for, from the store and the sampler.

mod host;

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::proto::MetricFamily;
use tokio::sync::watch;

use super::apart::Pools;
use super::current::Current;
use super::node_facts::NodeFacts;
use super::past::Past;
use super::rows::Table;
use crate::api::backend::{
    Containers, EndedOf, EventSource, Host as _, LimitsAge, MetricsUnavailable, NoSuchAlias, Readiness, Sharing,
    Status, StreamItem, Subscription, TooManyStreams, Unavailable, Validation,
};
use crate::api::budget::{Budget, Busy, Counts};
use crate::api::cadvisor::events;
use crate::api::prometheus::{Endpoint, Scrape};
use crate::api::query::{Portion, StatsQuery, events::EventQuery};
use crate::api::rendering::Rendering;
use crate::api::{ContainerView, FilesystemUse, IdentityView};
use crate::daemon::metrics::{self, Requests};
use crate::degradations::Degradations;
use crate::discovery::follower::Progress;
use crate::disk_usage::StorageNews;
use crate::kernel::cgroup::Mode;
use crate::kernel::probes::load::CounterReader;
use crate::own_metrics::OwnMetrics;
use crate::push::Metrics;
use crate::reader::container::Scratch;
use crate::sample::event::{Event, Name};
use crate::sample::identity::Runtime;
use crate::sample::kinds::MetricKind;
use crate::sample::machine::{Filesystem, Filesystems, Machine};
use crate::sample::{self, container::Sample};
use crate::sampler::engine::{Engine, OomSource, Tracked};
use crate::store::event_log::{Received, Subscription as LogSubscription};
use crate::store::{Container, history::Selection, summary::Summary};
use crate::units::Bytes;

/// Limits read this recently are shown as they are; older ones are read again for the request.
const CURRENT: Duration = Duration::from_millis(20);
const RECENT: Duration = Duration::from_secs(2);
/// How long a request waits for the samples it demands.
const DEMAND: Duration = Duration::from_secs(5);
/// The collector's version, as cAdvisor writes its own.
pub(crate) const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
/// Event streams open at once.
const MAX_STREAMS: usize = 256;

/// What the handlers share.
pub(crate) struct Backend {
    engine: Arc<Engine>,
    metrics: OwnMetrics,
    counters: Option<CounterReader>,
    progress: Arc<Progress>,
    machine: RwLock<Arc<Machine>>,
    /// As they were last; the lock is held while they are asked, so that they are asked once however many requests wait.
    filesystems: tokio::sync::Mutex<Arc<Filesystems>>,
    /// One question for the file system of a directory at a time.
    directories: tokio::sync::Mutex<()>,
    pools: Arc<Pools>,
    degradations: Degradations,
    storage: Option<StorageNews>,
    streams: Arc<()>,
    closing: watch::Sender<bool>,
    scrapes: Requests,
    budget: Budget,
    node: NodeFacts,
    feed: Arc<Table>,
    past: Option<Past>,
    configuration: Current<String>,
}

impl Backend {
    /// Puts the parts together.
    pub(crate) fn new(
        engine: Arc<Engine>,
        metrics: OwnMetrics,
        counters: Option<CounterReader>,
        progress: Arc<Progress>,
        degradations: Degradations,
        storage: Option<StorageNews>,
        scrapes: Requests,
    ) -> Self {
        Self {
            engine,
            metrics,
            counters,
            progress,
            machine: RwLock::default(),
            filesystems: tokio::sync::Mutex::default(),
            directories: tokio::sync::Mutex::default(),
            pools: Arc::default(),
            degradations,
            storage,
            streams: Arc::default(),
            closing: watch::Sender::new(false),
            scrapes,
            budget: Budget::default(),
            node: NodeFacts::default(),
            feed: Arc::default(),
            past: None,
            configuration: Current::default(),
        }
    }

    /// The exporters' counters.
    pub(crate) fn push_metrics(&self) -> &Metrics {
        self.metrics.push()
    }

    /// Ends the streams that would go on for ever.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
        self.engine.store().events().close();
    }

    /// Waits for [`Self::close`].
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.closing.subscribe();
        async move {
            // An error means that nobody is left to answer.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }

    /// With what is known of the node.
    pub(crate) fn of(self, node: NodeFacts) -> Self {
        Self { node, ..self }
    }

    /// With so many bytes for answers under way.
    pub(crate) fn within(self, bytes: usize) -> Self {
        Self { budget: Budget::new(bytes), ..self }
    }

    /// With these threads for what may hang.
    pub(crate) fn with_pools(self, pools: Arc<Pools>) -> Self {
        Self { pools, ..self }
    }

    /// With a history on disk.
    pub(crate) fn with_past(self, past: Option<Past>) -> Self {
        Self { past, ..self }
    }

    /// The configuration in force, as it is shown.
    pub(super) fn set_configuration(&self, toml: String) {
        self.configuration.set(toml);
    }

    /// The history on disk.
    pub(super) fn past(&self) -> Option<&Past> {
        self.past.as_ref()
    }

    /// The file system among these that a directory of the host is on; `None` also where that cannot be found out in time.
    pub(crate) async fn filesystem_of(&self, directory: &Path, all: &Arc<Filesystems>) -> Option<Filesystem> {
        let (engine, path, listed) = (Arc::clone(&self.engine), directory.to_path_buf(), Arc::clone(all));
        let find = move || crate::reader::machine::filesystem_of(engine.context().roots(), &path, &listed).cloned();
        let _one_at_a_time = self.directories.lock().await;
        let found = self.pools.requests.run(directory.as_os_str().as_bytes(), find).await;
        found.unwrap_or_else(|error| {
            tracing::debug!(directory = %directory.display(), %error, "the file system of the directory is not known");
            None
        })
    }

    /// The rows behind the page.
    pub(super) fn feed(&self) -> &Arc<Table> {
        &self.feed
    }

    /// What is known of the node.
    pub(crate) fn node_facts(&self) -> &NodeFacts {
        &self.node
    }

    /// A newer description of the machine. Block devices may have come or gone, so their names are looked up anew.
    pub(crate) fn set_machine(&self, machine: Machine) {
        self.engine.context().devices().forget();
        *self.machine.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(machine);
    }

    /// The sampler, and through it the store.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The collector's metrics about itself.
    pub(crate) fn own_metrics(&self) -> &OwnMetrics {
        &self.metrics
    }

    /// The same as families, brought up to date.
    pub(crate) fn own_families(&self) -> Vec<MetricFamily> {
        let Counts { refused, shared, cut_off, taken } = self.budget.counts();
        self.metrics.answers().update(&refused, shared, cut_off, taken);
        self.metrics.set_hanging(self.pools.hanging());
        if let Some(past) = &self.past {
            self.metrics.set_history(&past.archive().counts());
        }
        self.metrics.gather(&self.engine, self.counters.as_ref())
    }

    pub(crate) fn current_machine(&self) -> Arc<Machine> {
        Arc::clone(&self.machine.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn view(&self, container: &Container, query: &StatsQuery) -> ContainerView {
        let samples = match query.part {
            Some(Portion::Recent(stretch)) => container.stretch(stretch),
            Some(Portion::Past { .. }) => Vec::new(),
            None => container.samples(selection(query)),
        };
        let identity = container.identity();
        let disks_are_read = self.engine.context().kinds().has(MetricKind::Disk);
        let is_root = **container.name() == *b"/";
        ContainerView {
            name: Arc::clone(container.name()),
            spec: container.spec(),
            children: self.engine.store().children(container.name()),
            has_filesystem: is_root
                || disks_are_read && identity.as_ref().is_some_and(|identity| identity.runtime.runtime().is_some()),
            filesystems: if disks_are_read { self.filesystem_uses(container, &samples) } else { Vec::new() },
            samples,
            identity: identity.map(|identity| IdentityView::new(&identity, container.name())).unwrap_or_default(),
            application: container.application().unwrap_or_default(),
            run_queue: container.run_queue(),
            network_cgroup: container.network_cgroup(),
            block_latency: container.block_latency(),
            is_from_runtime: container.is_from_runtime(),
            exit: container.exit(),
        }
    }

    /// What was known of file systems at the time of each sample. With the container's newest sample goes the newest that
    /// is known: a sample of an idle container may be a minute old.
    fn filesystem_uses(&self, container: &Container, samples: &[Arc<Sample>]) -> Vec<FilesystemUse> {
        let store = self.engine.store();
        let newest = container.latest().map(|sample| sample.at);
        let is_root = **container.name() == *b"/";
        let at = |sample: &Arc<Sample>| {
            let is_newest = Some(sample.at) == newest;
            let machine = if is_newest { store.filesystems() } else { store.filesystems_at(sample.at) };
            if is_root {
                return machine.map_or(FilesystemUse::Unknown, FilesystemUse::Machine);
            }
            let storage = if is_newest { container.storage() } else { container.storage_at(sample.at) };
            storage.map_or(FilesystemUse::Unknown, |storage| FilesystemUse::Container { storage, machine })
        };
        samples.iter().map(at).collect()
    }

    /// A container whose limits should be read again first.
    fn with_stale_spec(&self, name: &[u8], limits: LimitsAge) -> Option<Arc<Tracked>> {
        let tracked = self.engine.tracked(name)?;
        let age = match limits {
            LimitsAge::Current => CURRENT,
            LimitsAge::Recent => RECENT,
        };
        tracked.container().spec_age().is_none_or(|read| read > age).then_some(tracked)
    }
}

pub(super) fn selection(query: &StatsQuery) -> Selection {
    Selection { start: query.start, end: query.end, count: Some(query.count.limit()) }
}

impl Containers for Backend {
    async fn container(
        &self,
        name: &[u8],
        query: &StatsQuery,
        limits: LimitsAge,
    ) -> Result<ContainerView, Unavailable> {
        let Some(container) = self.engine.store().get(name) else {
            return self.ended_container(name, query).await;
        };
        if let Some(part @ Portion::Past { .. }) = query.part {
            return Ok(self.past_view(self.view(&container, query), part).await);
        }
        if *name == *b"/" && self.engine.context().kinds().has(MetricKind::Disk) {
            // As full as they are now beside the newest sample.
            self.filesystems().await;
        }
        if let Some(tracked) = self.with_stale_spec(name, limits) {
            let engine = Arc::clone(&self.engine);
            // Files of cgroups alone, which the kernel answers from memory.
            let refresh = tokio::task::spawn_blocking(move || engine.refresh_spec(&tracked, &mut Scratch::default()));
            if let Err(error) = refresh.await {
                tracing::error!(%error, "limits could not be read");
            }
        }
        Ok(self.view(&container, query))
    }

    async fn parts(&self, name: &[u8], query: &StatsQuery) -> Vec<Portion> {
        self.parts_with_past(name, query).await
    }

    async fn ended(&self, who: EndedOf<'_>, query: &StatsQuery) -> Vec<Name> {
        self.ended_in(who, query).await
    }

    fn names_with_prefix(&self, prefix: &[u8]) -> Vec<Name> {
        let containers = self.engine.store().with_prefix(prefix);
        containers.iter().map(|container| Arc::clone(container.name())).collect()
    }

    fn of_runtime(&self, runtime: Runtime, alias: Option<&[u8]>) -> Result<Vec<Name>, NoSuchAlias> {
        let mut known = self.engine.store().of_runtime(runtime);
        if let Some(alias) = alias {
            let is = |fits: fn(&[u8], &[u8]) -> bool| {
                move |(_, identity): &(Name, Arc<sample::identity::Identity>)| {
                    identity.aliases().any(|other| fits(other.as_bytes(), alias))
                }
            };
            if let Some(exact) = known.iter().position(is(|other, alias| other == alias)) {
                known = vec![known.swap_remove(exact)];
            } else {
                known.retain(is(<[u8]>::starts_with));
            }
            match known.len() {
                0 => return Err(NoSuchAlias::Unknown(alias.to_vec(), runtime)),
                1 => {}
                _ => return Err(NoSuchAlias::NotUnique(alias.to_vec(), runtime)),
            }
        }
        Ok(known.into_iter().map(|(name, _)| name).collect())
    }

    fn machine_memory(&self) -> Bytes {
        self.current_machine().memory.unwrap_or_default()
    }

    fn is_known(&self, name: &[u8]) -> bool {
        self.engine.store().get(name).is_some()
    }

    async fn refresh(&self, names: &[Name], max_age: Duration) {
        let tracked: Vec<_> = names.iter().filter_map(|name| self.engine.tracked(name)).collect();
        let all_done = self.engine.demand(tracked, max_age);
        if tokio::time::timeout(DEMAND, all_done).await.is_err() {
            tracing::debug!("samples that a request waited for were not taken in time");
        }
    }

    fn summary(&self, name: &[u8]) -> Option<Summary> {
        self.engine.store().get(name)?.summary()
    }
}

impl EventSource for Backend {
    type Subscription = Stream;

    fn history(&self, query: &EventQuery) -> Vec<Arc<Event>> {
        let log = self.engine.store().events();
        let limit = query.max_events.limit();
        let logged = |kind| log.recent(kind, query.start, query.end, limit);
        match &self.past {
            // Who says since when wants what the log has forgotten, too.
            Some(past) if query.start.is_some() => past.events(query, logged),
            _ => events::select(query, |kind| logged(kind).into_iter().rev()),
        }
    }

    fn subscribe(&self, query: EventQuery) -> Result<Stream, TooManyStreams> {
        if Arc::strong_count(&self.streams) > MAX_STREAMS {
            self.budget.refuse(Busy::Streams(MAX_STREAMS));
            return Err(TooManyStreams(MAX_STREAMS));
        }
        let subscription = self.engine.store().events().subscribe(move |event| events::matches(&query, event));
        Ok(Stream { subscription, _open: Arc::clone(&self.streams) })
    }
}

/// One client's event stream.
#[derive(Debug)]
pub struct Stream {
    subscription: LogSubscription,
    _open: Arc<()>,
}

impl Subscription for Stream {
    async fn next(&mut self) -> Option<StreamItem> {
        match self.subscription.next().await {
            Received::Event(event) => Some(StreamItem::Event(event)),
            Received::CutOff { behind } => {
                tracing::warn!(behind, "an event stream's client is too slow and is disconnected");
                Some(StreamItem::Lagged { missed: behind })
            }
            Received::Ended => None,
        }
    }

    fn try_next(&mut self) -> Option<StreamItem> {
        self.subscription.try_next().map(StreamItem::Event)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let waiting = self.subscription.waiting();
        if waiting > 0 {
            tracing::info!(
                waiting,
                "an event stream's client was disconnected before it took the events waiting for it"
            );
        }
    }
}

impl Status for Backend {
    fn version(&self) -> &'static str {
        VERSION
    }

    fn health_report(&self) -> String {
        let mut report = String::from("ok\n\n");
        let context = self.engine.context();
        let Validation { hierarchies, kernel_events, shortcomings, containers, lost_events } = self.validation();
        let oom = match self.engine.oom_source() {
            OomSource::Events => "kernel events",
            OomSource::Counters => "counters",
        };
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(report, "{name}: {value}");
        };
        line("version", &self.version());
        line("kernel events", &kernel_events);
        line("OOM kills from", &oom);
        line("counters from", &context.counters_from());
        line("cgroup mode", &hierarchies);
        line("containers", &containers);
        line("kept descriptors", &format_args!("{} of {}", context.budget().kept(), context.budget().limit()));
        if let Some(lost) = lost_events {
            line("kernel events lost", &lost);
        }
        if let Some(complaint) = self.storage.as_ref().and_then(StorageNews::complaint) {
            line("disk usage", &complaint);
        }
        for reason in shortcomings {
            line("degraded", &reason);
        }
        report
    }

    fn validation(&self) -> Validation {
        Validation {
            hierarchies: match self.engine.context().hierarchies().mode {
                Mode::V1 => "v1",
                Mode::V2 => "v2",
                Mode::Hybrid => "v1 and v2 (hybrid)",
            },
            kernel_events: if self.counters.is_some() { "ebpf" } else { "scan" },
            shortcomings: self.degradations.reasons(),
            containers: self.engine.store().len(),
            lost_events: self.counters.as_ref().and_then(|counters| Some(counters.read().ok()?.lost_to_scan())),
        }
    }

    fn configuration(&self) -> Arc<String> {
        self.configuration.get()
    }

    fn readiness(&self) -> Readiness {
        if self.progress.is_ready() {
            Readiness::Ready
        } else {
            Readiness::NotReady("the first scan of the cgroup hierarchies is not done yet".to_owned())
        }
    }

    fn listed(&self) -> usize {
        self.engine.store().len()
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    async fn metrics(&self, scrape: Scrape, sharing: Sharing) -> Result<Arc<Rendering>, MetricsUnavailable> {
        if scrape.endpoint == Endpoint::Kubelet {
            // Read by the rendering.
            self.process_counts().await;
        }
        metrics::answer(&self.scrapes, &self.budget, scrape, sharing, self.engine.store().generation()).await
    }
}
