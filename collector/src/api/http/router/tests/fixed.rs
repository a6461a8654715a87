//! What the fixed node says beside its containers.

use super::*;
use crate::api::backend::feed;

impl Host for Fixed {
    fn machine(&self) -> Arc<Machine> {
        let cpus = CpuCounts { online: 2, ..CpuCounts::default() };
        Arc::new(Machine { cpus, kernel_release: "6.1".to_owned(), ..Machine::default() })
    }

    async fn filesystems(&self) -> Arc<Filesystems> {
        let root = Filesystem {
            device: "/dev/sda1".to_owned(),
            roles: vec![FilesystemRole::Root],
            uuid: Some("12-AB".to_owned()),
            ..Filesystem::default()
        };
        let other = Filesystem { device: "/run".to_owned(), ..Filesystem::default() };
        Arc::new(Filesystems { at: WallTime(0), list: vec![root, other], ..Filesystems::default() })
    }

    async fn processes(&self, of: ProcessesOf) -> Result<ProcessList, ProcessesUnavailable> {
        if of != ProcessesOf::Machine {
            return Err(ProcessesUnavailable("no procfs".to_owned()));
        }
        Ok(ProcessList::default())
    }
}

impl ContainerEngine for Fixed {
    fn runtime_containers(&self) -> Vec<RuntimeContainer> {
        let container = |digit: &str, name: &str| {
            let id = digit.repeat(64);
            let identity = Identity { name: Some(name.to_owned()), ..Identity::from_path(Runtime::Docker, id.clone()) };
            RuntimeContainer { cgroup: Name::from(*b"/a"), id, identity: Some(Arc::new(identity)) }
        };
        vec![container("a1", "web"), container("a2", "a1"), container("b", "db")]
    }

    fn container_id(&self, name: &[u8]) -> Option<String> {
        (name != b"/").then(|| "a1".repeat(32))
    }

    fn identity(&self, _: &[u8]) -> Option<Arc<Identity>> {
        self.runtime_containers().swap_remove(0).identity
    }

    async fn live(&self, _: &Name) -> Live {
        Live { machine: Some(MachineCpu { total: Some(Nanos(9_000_000_000)), online: 2 }), tasks: Some(3) }
    }

    fn cgroup_version(&self) -> CgroupVersion {
        CgroupVersion::V2
    }

    fn host_name(&self) -> String {
        "here".to_owned()
    }

    fn now(&self) -> WallTime {
        WallTime(1_000_000_000_000)
    }

    fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }
}

impl Exporting for Fixed {}

impl Feed for Fixed {
    async fn tick(&self, since: Option<feed::Cursor>) -> feed::Tick {
        let cursor = feed::Cursor { run: 1, version: 2 };
        feed::Tick { cursor, since: since.map(|since| since.version), gone: vec![4], ..feed::Tick::default() }
    }

    async fn trends(&self, rows: Vec<u64>) -> Vec<feed::Trend> {
        rows.into_iter().map(|id| feed::Trend { id, ..feed::Trend::default() }).collect()
    }
}

impl Kubelet for Fixed {
    async fn freshen(&self, _: &[Name]) {}

    async fn node(&self, _: kubelet::Depth) -> kubelet::Snapshot {
        let sample = Sample { at: WallTime(5_000_000_000), ..Sample::default() };
        let root = kubelet::NodeCgroup {
            name: Name::from(*b"/"),
            newest: Some(Arc::new(sample)).filter(|_| self.ready),
            ..kubelet::NodeCgroup::default()
        };
        kubelet::Snapshot {
            node: "n1".to_owned(),
            entries: vec![std::sync::Arc::new(root)],
            ..kubelet::Snapshot::default()
        }
    }
}

impl EventSource for Fixed {
    type Subscription = Items;

    fn history(&self, query: &EventQuery) -> Vec<Arc<Event>> {
        events::select(query, |kind| self.events.iter().rev().filter(move |event| event.kind == kind).cloned())
    }

    fn subscribe(&self, _: EventQuery) -> Result<Items, TooManyStreams> {
        if self.stream.is_empty() { Err(TooManyStreams(0)) } else { Ok(Items(self.stream.clone().into())) }
    }
}

impl Status for Fixed {
    fn version(&self) -> &'static str {
        concat!("v", env!("CARGO_PKG_VERSION"))
    }

    fn health_report(&self) -> String {
        "events: from the kernel\n".to_owned()
    }

    fn validation(&self) -> Validation {
        Validation {
            hierarchies: "v2",
            kernel_events: "scan",
            shortcomings: Vec::new(),
            containers: 3,
            lost_events: None,
        }
    }

    fn readiness(&self) -> Readiness {
        if self.ready { Readiness::Ready } else { Readiness::NotReady("the first scan is under way".to_owned()) }
    }

    fn listed(&self) -> usize {
        self.containers.len()
    }

    fn budget(&self) -> &Budget {
        &self.budget
    }

    async fn metrics(&self, scrape: Scrape, _: Sharing) -> Result<Arc<Rendering>, MetricsUnavailable> {
        Ok(Arc::new(Rendering::new(vec![format!("up 1\n# {scrape:?}\n").into()])))
    }
}
