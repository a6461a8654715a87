//! A node of which everything is known, and one of which as little as possible is.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::full::{
    AT, application, files, filesystems, full_block_latency, full_machine, full_network_cgroup, full_run_queue,
    full_sample, full_spec, later,
};
use crate::api::backend::feed;
use crate::api::backend::{
    Containers, EventSource, Feed, Host, Kubelet, LimitsAge, MetricsUnavailable, NoSuchAlias, ProcessesOf,
    ProcessesUnavailable, Readiness, Sharing, Status, StreamItem, Subscription, TooManyStreams, Unavailable,
    Validation,
};
use crate::api::budget::Budget;
use crate::api::cadvisor::events;
use crate::api::docker::{CgroupVersion, ContainerEngine, RuntimeContainer};
use crate::api::prometheus::Scrape;
use crate::api::query::StatsQuery;
use crate::api::query::events::EventQuery;
use crate::api::rendering::Rendering;
use crate::api::{ContainerView, FilesystemUse, IdentityView, kubelet};
use crate::sample;
use crate::sample::container::Sample;
use crate::sample::event::{Constraint, Event, EventData, EventKind, Name, OomKill, OomParty, OomSizes};
use crate::sample::exit::RuntimeOrInit;
use crate::sample::exit::tests::{killed, process};
use crate::sample::identity::{NetworkOwner, PodOfPath, QosClass, Runtime};
use crate::sample::live::Live;
use crate::sample::machine::{Filesystems, Machine};
use crate::sample::process::{Process, ProcessList};
use crate::store::application::Application;
use crate::store::summary::{Percentiles, Summary, Usage};
use crate::units::{Bytes, Nanos, WallTime};

/// The container of which everything is known.
const FULL: &str = "/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What is known of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Everything,
    Little,
}

/// Serves the API.
pub(super) struct Fixture(pub(super) Known);

fn full() -> ContainerView {
    ContainerView {
        name: FULL.as_bytes().into(),
        spec: full_spec(),
        children: vec![Name::from(format!("{FULL}/init").into_bytes())],
        samples: vec![Arc::new(full_sample(0)), Arc::new(full_sample(1))],
        identity: IdentityView {
            id: FULL.trim_start_matches("/docker/").to_owned(),
            aliases: vec!["web".to_owned(), FULL.trim_start_matches("/docker/").to_owned()],
            namespace: "docker".to_owned(),
            labels: [("com.example".to_owned(), "<1>".to_owned()), ("restartcount".to_owned(), "2".to_owned())].into(),
            envs: [("path".to_owned(), "/bin".to_owned())].into(),
            image: "nginx:1".to_owned(),
            created: Some(AT),
            started: Some(later(0)),
            network: NetworkOwner::Itself,
            health: "healthy".to_owned(),
        },
        application: application(),
        has_filesystem: true,
        filesystems: vec![files(), files()],
        run_queue: Some(Arc::new(full_run_queue())),
        network_cgroup: Some(full_network_cgroup()),
        block_latency: Some(Arc::new(full_block_latency())),
        is_from_runtime: true,
        exit: Some(Arc::new(killed(process(b"sh", None, None)))),
    }
}

/// The same as the feed lists it.
fn listed() -> sample::identity::Identity {
    let ContainerView { identity, .. } = full();
    let from_path = sample::identity::Identity::from_path(Runtime::Docker, identity.id);
    sample::identity::Identity {
        name: Some("web".to_owned()),
        labels: identity.labels,
        image: Some(identity.image),
        created: identity.created,
        started: identity.started,
        health: Some(identity.health),
        pod: Some(PodOfPath { uid: "12-34".to_owned(), qos: QosClass::Burstable }),
        ..from_path
    }
}

fn root() -> ContainerView {
    let name = Name::from(*b"/");
    let children = vec![Name::from(*b"/docker"), Name::from(*b"/minimal")];
    let application = Application::default();
    let machine = Filesystems { at: AT, list: filesystems(), image_stores: Vec::new() };
    let filesystems = vec![FilesystemUse::Machine(Arc::new(machine)); 2];
    ContainerView { name, children, identity: IdentityView::default(), application, filesystems, exit: None, ..full() }
}

fn minimal() -> ContainerView {
    let sample = Sample { at: AT, ..Sample::default() };
    ContainerView { name: Name::from(*b"/minimal"), samples: vec![Arc::new(sample)], ..ContainerView::default() }
}

impl Fixture {
    fn all(&self) -> Vec<ContainerView> {
        match self.0 {
            Known::Everything => vec![root(), full(), minimal()],
            Known::Little => vec![ContainerView { name: Name::from(*b"/"), ..ContainerView::default() }],
        }
    }

    fn events() -> Vec<Arc<Event>> {
        let kill = OomKill {
            victim: OomParty { pid: Some(7), comm: Some(Box::from(*b"idle")), container: Some(FULL.as_bytes().into()) },
            trigger: OomParty {
                pid: Some(9),
                comm: Some(Box::from(*b"hog")),
                container: Some(Arc::from(*b"/docker/x")),
            },
            limit_owner: Some(Arc::from(*b"/docker")),
            constraint: Constraint::Memcg,
            uid: Some(1000),
            oom_score_adj: Some(-999),
            sizes: Some(OomSizes { total_vm: Bytes(4), anon_rss: Bytes(3), file_rss: Bytes(2), shmem_rss: Bytes(1) }),
            page_tables: Some(Bytes(4096)),
        };
        let event =
            |seconds, kind, data| Arc::new(Event { container: FULL.as_bytes().into(), at: later(seconds), kind, data });
        let kill = EventData::Oom(Arc::new(kill));
        let docker = RuntimeOrInit::of(b"runc", 9, Some(Runtime::Docker));
        let exit = Arc::new(killed(process(b"runc", Some(b"/"), docker)));
        let last = EventData::Deletion { final_sample: Some(Arc::new(full_sample(3))), exit: Some(Arc::clone(&exit)) };
        vec![
            event(0, EventKind::ContainerCreation, EventData::None),
            event(1, EventKind::Oom, kill.clone()),
            event(1, EventKind::OomKill, kill),
            event(2, EventKind::ContainerExit, EventData::Exit(exit)),
            event(3, EventKind::ContainerDeletion, last),
        ]
    }
}

impl Containers for Fixture {
    async fn container(&self, name: &[u8], query: &StatsQuery, _: LimitsAge) -> Result<ContainerView, Unavailable> {
        let found = self.all().into_iter().find(|view| *view.name == *name);
        let mut view = found.ok_or_else(|| Unavailable::Unknown(name.into()))?;
        let surplus = view.samples.len().saturating_sub(query.count.limit());
        view.samples.drain(..surplus);
        view.filesystems.drain(..surplus.min(view.filesystems.len()));
        Ok(view)
    }

    fn names_with_prefix(&self, prefix: &[u8]) -> Vec<Name> {
        self.all().into_iter().map(|view| view.name).filter(|name| name.starts_with(prefix)).collect()
    }

    fn of_runtime(&self, runtime: Runtime, alias: Option<&[u8]>) -> Result<Vec<Name>, NoSuchAlias> {
        match (alias, runtime) {
            (None | Some(b"web"), Runtime::Docker) => Ok(vec![FULL.as_bytes().into()]),
            (None, _) => Ok(Vec::new()),
            (Some(b""), _) => Err(NoSuchAlias::NotUnique(Vec::new(), runtime)),
            (Some(alias), _) => Err(NoSuchAlias::Unknown(alias.to_vec(), runtime)),
        }
    }

    fn is_known(&self, name: &[u8]) -> bool {
        self.all().iter().any(|view| *view.name == *name)
    }

    async fn refresh(&self, _: &[Name], _: Duration) {}

    fn summary(&self, name: &[u8]) -> Option<Summary> {
        let percentiles = Percentiles { mean: 10, std: 2, max: 19, fifty: 9, ninety: 17, ninety_five: 18, count: 61 };
        let usage = |percent_complete| Usage { percent_complete, cpu: Some(percentiles), memory: Some(percentiles) };
        (name == FULL.as_bytes()).then(|| Summary {
            at: AT,
            cpu: Some(250),
            memory: Some(Bytes(4096)),
            minute: Some(usage(100)),
            hour: Some(usage(50)),
            day: Some(usage(2)),
        })
    }

    fn machine_memory(&self) -> Bytes {
        Bytes(25_000_000_000)
    }
}

impl Host for Fixture {
    fn machine(&self) -> Arc<Machine> {
        Arc::new(match self.0 {
            Known::Everything => full_machine(),
            Known::Little => Machine::default(),
        })
    }

    async fn filesystems(&self) -> Arc<Filesystems> {
        Arc::new(match self.0 {
            Known::Everything => Filesystems { at: AT, list: filesystems(), image_stores: Vec::new() },
            Known::Little => Filesystems::default(),
        })
    }

    async fn processes(&self, of: ProcessesOf) -> Result<ProcessList, ProcessesUnavailable> {
        if self.0 == Known::Little {
            return Err(ProcessesUnavailable("/proc: cannot be listed".to_owned()));
        }
        let process = Process {
            user: "www-data".to_owned(),
            pid: 42,
            parent: 1,
            started: WallTime(AT.0 - 3_600_000_000_000),
            cpu_permille: 123,
            memory_permille: Some(5),
            resident: Bytes(4096),
            virtual_size: Bytes(8192),
            status: "Ssl".to_owned(),
            cpu_time: Nanos(62_000_000_000),
            cgroup: FULL.as_bytes().into(),
            command: b"nginx: master <1>".as_slice().into(),
            descriptors: Some(7),
            processor: 1,
        };
        let processes = if matches!(of, ProcessesOf::Container(name) if *name == *b"/minimal") {
            Vec::new()
        } else {
            vec![process]
        };
        Ok(ProcessList { at: AT, processes })
    }
}

/// The events that were, and that the client did not keep up.
pub(super) struct Stream(Vec<StreamItem>);

impl Subscription for Stream {
    async fn next(&mut self) -> Option<StreamItem> {
        self.0.pop()
    }

    fn try_next(&mut self) -> Option<StreamItem> {
        self.0.pop()
    }
}

/// Nothing of Docker's API, which has tests of its own.
impl ContainerEngine for Fixture {
    fn runtime_containers(&self) -> Vec<RuntimeContainer> {
        Vec::new()
    }

    fn container_id(&self, _: &[u8]) -> Option<String> {
        None
    }

    fn identity(&self, _: &[u8]) -> Option<Arc<crate::sample::identity::Identity>> {
        None
    }

    async fn live(&self, _: &Name) -> Live {
        Live::default()
    }

    fn cgroup_version(&self) -> CgroupVersion {
        CgroupVersion::V2
    }

    fn host_name(&self) -> String {
        "node".to_owned()
    }

    fn now(&self) -> WallTime {
        AT
    }

    fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }
}

impl crate::api::backend::Exporting for Fixture {}

impl Feed for Fixture {
    async fn tick(&self, since: Option<feed::Cursor>) -> feed::Tick {
        let row = |id, subject| {
            let figures =
                feed::FeedFigures { cpu: Some(20), memory: Some(3), oom_kills: id, ..feed::FeedFigures::default() };
            Arc::new(feed::FeedRow {
                id,
                subject: Arc::new(subject),
                subject_changed: id,
                figures,
                figures_changed: id,
            })
        };
        let little = feed::FeedSubject { name: (*b"/minimal").into(), ..feed::FeedSubject::default() };
        let subject = feed::FeedSubject {
            name: FULL.as_bytes().into(),
            identity: Some(Arc::new(listed())),
            created: Some(AT),
            cpu_limit: Some(1500),
            memory_limit: Some(Bytes(1 << 30)),
            task_limit: Some(100),
            exit: Some("OOM-killed at its limit".into()),
            ended: Some(later(1)),
        };
        feed::Tick {
            cursor: feed::Cursor { run: 10, version: 2 },
            since: since.map(|since| since.version),
            at: later(2),
            host: "node".to_owned(),
            cpus: 2,
            memory: Some(Bytes(1 << 34)),
            kernel: "6.1".to_owned(),
            filesystems: Some(Arc::new(Filesystems { at: AT, list: filesystems(), image_stores: Vec::new() })),
            rows: vec![row(1, little), row(2, subject)],
            gone: since.map(|_| vec![7]).unwrap_or_default(),
            history_from: Some(AT),
        }
    }

    async fn trends(&self, rows: Vec<u64>) -> Vec<feed::Trend> {
        rows.into_iter().map(|id| feed::Trend { id, cpu: vec![Some(1), None], ..feed::Trend::default() }).collect()
    }
}

impl Kubelet for Fixture {
    async fn freshen(&self, _: &[Name]) {}

    async fn node(&self, _: kubelet::Depth) -> kubelet::Snapshot {
        let node = kubelet::tests::fixture::node(kubelet::tests::fixture::Layout::V2);
        match self.0 {
            Known::Everything => node,
            Known::Little => {
                let root = kubelet::NodeCgroup {
                    name: (*b"/").into(),
                    newest: Some(Arc::new(Sample { at: AT, ..Sample::default() })),
                    ..kubelet::NodeCgroup::default()
                };
                kubelet::Snapshot { entries: vec![Arc::new(root)], ..kubelet::Snapshot::default() }
            }
        }
    }
}

impl EventSource for Fixture {
    type Subscription = Stream;

    fn history(&self, query: &EventQuery) -> Vec<Arc<Event>> {
        let log = Self::events();
        events::select(query, |kind| log.clone().into_iter().rev().filter(move |event| event.kind == kind))
    }

    fn subscribe(&self, _: EventQuery) -> Result<Stream, TooManyStreams> {
        let items = Self::events().into_iter().map(StreamItem::Event).chain([StreamItem::Lagged { missed: 12 }]);
        Ok(Stream(items.rev().collect()))
    }
}

impl Status for Fixture {
    fn version(&self) -> &'static str {
        "v1.2.3"
    }

    fn health_report(&self) -> String {
        "ok\n".to_owned()
    }

    fn validation(&self) -> Validation {
        Validation {
            hierarchies: "v2",
            kernel_events: "ebpf",
            shortcomings: Vec::new(),
            containers: 3,
            lost_events: Some(0),
        }
    }

    fn readiness(&self) -> Readiness {
        match self.0 {
            Known::Everything => Readiness::Ready,
            Known::Little => Readiness::NotReady("the first scan is under way".to_owned()),
        }
    }

    fn listed(&self) -> usize {
        3
    }

    fn budget(&self) -> &Budget {
        static BUDGET: LazyLock<Budget> = LazyLock::new(Budget::default);
        &BUDGET
    }

    async fn metrics(&self, _: Scrape, _: Sharing) -> Result<Arc<Rendering>, MetricsUnavailable> {
        Ok(Arc::new(Rendering::new(vec!["up 1\n".into()])))
    }
}
