//! The collector without its server, for another program.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::ContainerView;
use crate::api::backend::{
    Containers as _, EventSource as _, Host as _, Kubelet as _, LimitsAge, Readiness, Status as _, TooManyStreams,
    Unavailable,
};
use crate::api::cadvisor::events::EventQuery;
use crate::api::cadvisor::v1::StatsQuery;
use crate::api::cadvisor::v2::{RequestOptions, SelectionError, select};
use crate::api::kubelet::{Depth, Snapshot, at_or_below};
use crate::config::Config;
use crate::daemon::backend::{Backend, Stream, VERSION};
use crate::daemon::in_process::InProcess;
use crate::daemon::{DaemonError, Parts};
use crate::degradations::Degradations;
use crate::embedded::{Containers, FsInfo, NoFilesystem, NodeStatistics, NotOne, VersionInfo};
use crate::kernel::cgroup::Hierarchies;
use crate::kernel::descriptors::DescriptorPlan;
use crate::sample::event::Name;
use crate::sample::identity::Runtime;
use crate::sample::machine::{FilesystemRole, Filesystems, Machine};

/// A running collector. It ends when dropped, which may take a second.
pub struct Collector {
    answers: Arc<Backend>,
    http: InProcess,
    parts: Option<Parts>,
}

impl Collector {
    /// Starts it: its threads, its eBPF programs where they are allowed, and its questions to container runtimes. Nothing
    /// listens on a port. To be called within a tokio runtime with several threads; takes some tenths of a second.
    ///
    /// # Errors
    /// When there are no cgroups, or the system refuses what it needs.
    pub fn start(config: &Config) -> Result<Self, DaemonError> {
        let hierarchies = Arc::new(Hierarchies::detect(&config.roots)?);
        let start = || Parts::start(config, hierarchies, DescriptorPlan::of_process(), Degradations::default());
        let parts = tokio::task::block_in_place(start)?;
        Ok(Self { http: InProcess::new(&parts.answers), answers: Arc::clone(&parts.answers), parts: Some(parts) })
    }

    /// Whether every container is listed.
    pub fn is_ready(&self) -> bool {
        self.answers.readiness() == Readiness::Ready
    }

    /// A thread that ended although nobody asked it to: what is served no longer changes.
    pub fn ended_thread(&self) -> Option<String> {
        self.parts.as_ref().and_then(Parts::ended_thread)
    }

    /// What the HTTP API answers to a GET request of this path with its query: the status and the body. Nothing is
    /// listened on for it.
    pub async fn get(&self, target: &str) -> (u16, Bytes) {
        self.http.get(target).await
    }

    /// The node with its pods, of which `api::kubelet` makes the kubelet's summary.
    pub async fn node(&self, depth: Depth) -> Snapshot {
        self.answers.node(depth).await
    }

    async fn of_directory(&self, directory: &Path) -> Result<FsInfo, NoFilesystem> {
        let all = self.answers.filesystems().await;
        let found = self.answers.filesystem_of(directory, &all).await;
        let found = found.map(|filesystem| FsInfo { at: all.at, filesystem });
        found.ok_or_else(|| NoFilesystem::OfDirectory(directory.to_path_buf()))
    }

    async fn in_role(&self, role: FilesystemRole) -> Option<FsInfo> {
        let all = self.answers.filesystems().await;
        with_role(&all, role)
    }
}

fn with_role(all: &Filesystems, role: FilesystemRole) -> Option<FsInfo> {
    let filesystem = all.list.iter().find(|filesystem| filesystem.roles.contains(&role))?.clone();
    Some(FsInfo { at: all.at, filesystem })
}

impl NodeStatistics for Collector {
    type Events = Stream;

    fn machine_info(&self) -> Arc<Machine> {
        self.answers.machine()
    }

    fn version_info(&self) -> VersionInfo {
        let machine = self.answers.machine();
        let os = machine.os.as_ref().and_then(|os| os.pretty_name.clone());
        VersionInfo { kernel: machine.kernel_release.clone(), os, collector: VERSION }
    }

    async fn root_fs_info(&self) -> Result<FsInfo, NoFilesystem> {
        match self.of_directory(self.answers.node_facts().kubelet_root()).await {
            Ok(found) => Ok(found),
            Err(error) => self.in_role(FilesystemRole::Root).await.ok_or(error),
        }
    }

    async fn images_fs_info(&self, runtime: Runtime) -> Result<FsInfo, NoFilesystem> {
        let found = self.in_role(FilesystemRole::Images(runtime)).await;
        found.ok_or(NoFilesystem::OfRuntime { runtime, what: "images" })
    }

    async fn container_fs_info(&self, runtime: Runtime) -> Result<FsInfo, NoFilesystem> {
        match self.in_role(FilesystemRole::Containers(runtime)).await {
            Some(found) => Ok(found),
            None => self.images_fs_info(runtime).await,
        }
    }

    async fn dir_fs_info(&self, directory: &Path) -> Result<FsInfo, NoFilesystem> {
        self.of_directory(directory).await
    }

    async fn container_info(&self, name: &[u8], query: &StatsQuery) -> Result<ContainerView, Unavailable> {
        self.answers.container(name, query, LimitsAge::Current).await
    }

    async fn subcontainer_info(
        &self,
        name: &[u8],
        query: &StatsQuery,
    ) -> Result<BTreeMap<Name, ContainerView>, Unavailable> {
        if !self.answers.is_known(name) {
            return Err(Unavailable::Unknown(name.into()));
        }
        let names = at_or_below(name, self.answers.names_with_prefix(name));
        Ok(self.reported(names, query, LimitsAge::Recent).await.found)
    }

    async fn docker_container(&self, name: &str, query: &StatsQuery) -> Result<ContainerView, NotOne> {
        let names = self.answers.of_runtime(Runtime::Docker, Some(name.as_bytes()))?;
        let [name] = names.as_slice() else { return Err(Unavailable::Unknown(name.as_bytes().into()).into()) };
        Ok(self.answers.container(name, query, LimitsAge::Current).await?)
    }

    async fn container_info_v2(&self, name: &[u8], options: &RequestOptions) -> Result<Containers, SelectionError> {
        let selection = select(&*self.answers, &name.into(), options)?;
        if let Some(max_age) = options.max_age {
            self.answers.refresh(&selection.names, max_age).await;
        }
        Ok(self.reported(selection.names, &options.samples(), selection.limits).await)
    }

    fn watch_events(&self, query: EventQuery) -> Result<Stream, TooManyStreams> {
        self.answers.subscribe(query)
    }
}

impl Collector {
    async fn reported(&self, names: Vec<Name>, query: &StatsQuery, limits: LimitsAge) -> Containers {
        let mut containers = Containers::default();
        for name in names {
            match self.answers.container(&name, query, limits).await {
                Ok(view) => {
                    containers.found.insert(name, view);
                }
                Err(reason) => containers.failed.push((name, reason)),
            }
        }
        containers
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            self.answers.close();
            parts.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::api::Count;
    use crate::api::cadvisor::events::Delivery;
    use crate::api::cadvisor::v2::{NameKind, SelectionExtent};
    use crate::config::invocation::Invocation;

    fn config() -> Config {
        let none = ["docker", "podman", "containerd", "crio"].map(|runtime| format!("--{runtime}="));
        let flags = ["collector", "--kernel_events=scan", "--housekeeping_interval=100ms"].map(str::to_owned);
        let line = flags.into_iter().chain(none).map(Into::into);
        match Invocation::from_command_line(line).unwrap() {
            Invocation::Run(config) => *config,
            command => panic!("flags alone are {command:?}"),
        }
    }

    /// What an agent does, whoever implements the trait.
    async fn agent(node: &impl NodeStatistics) {
        assert!(node.machine_info().cpus.online > 0);
        assert!(!node.version_info().kernel.is_empty());
        let root = StatsQuery { count: Count::Newest(2), ..StatsQuery::default() };
        let deadline = Instant::now() + Duration::from_secs(60);
        let view = loop {
            match node.container_info(b"/", &root).await {
                Ok(view) if view.samples.len() == 2 => break view,
                other => assert!(Instant::now() < deadline, "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(view.samples[0].at < view.samples[1].at);
        let below = node.subcontainer_info(b"/", &root).await.unwrap();
        assert!(below.contains_key(&b"/"[..]));
        let unknown = node.subcontainer_info(b"/none-of-this-name", &root).await;
        assert!(matches!(unknown, Err(Unavailable::Unknown(_))), "{unknown:?}");
        let options = RequestOptions {
            name_kind: NameKind::Full,
            count: Count::Newest(1),
            extent: SelectionExtent::Itself,
            max_age: Some(Duration::ZERO),
            start: None,
            end: None,
        };
        let before = view.samples[1].at;
        let fresh = node.container_info_v2(b"/", &options).await.unwrap();
        assert!(fresh.failed.is_empty() && fresh.found[&b"/"[..]].samples[0].at > before);
        assert!(node.container_info_v2(b"/none-of-this-name", &options).await.is_err());
        assert!(node.docker_container("none-of-this-name", &root).await.is_err());
        assert!(
            node.images_fs_info(Runtime::CriO).await.is_err() && node.container_fs_info(Runtime::CriO).await.is_err()
        );
        let missing = node.dir_fs_info(Path::new("/none-of-this-name")).await;
        assert_eq!(missing, Err(NoFilesystem::OfDirectory("/none-of-this-name".into())));
        if let Ok(root) = node.dir_fs_info(Path::new("/")).await {
            assert!(root.filesystem.capacity >= root.filesystem.available);
            assert!(node.root_fs_info().await.is_ok());
        }
        let query = EventQuery::parse((*b"/").into(), "stream=true&creation_events=true&subcontainers=true").unwrap();
        assert_eq!(query.delivery, Delivery::Stream);
        assert!(node.watch_events(query).is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_agent_with_the_collector_inside() {
        let collector = match Collector::start(&config()) {
            Ok(collector) => collector,
            Err(DaemonError::Cgroups(error)) => {
                println!("SKIPPED: {error}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !collector.is_ready() {
            assert!(Instant::now() < deadline, "not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        agent(&collector).await;
        assert_eq!(collector.ended_thread(), None);
        let node = collector.node(Depth::Full).await;
        assert!(crate::api::kubelet::render(&node, Depth::Full).is_ok());
    }
}
