//! The collector inside of another program: what a node agent asks the cAdvisor in it, as a trait.
//!
//! [`crate::embedded::daemon::Collector`] is the implementation: the collector without its server. An agent that is written
//! against [`NodeStatistics`] can be tested against another. The functions of cAdvisor's `Manager` that the kubelet calls
//! are these:
//!
//! | cAdvisor | here |
//! | --- | --- |
//! | `Start` | `Collector::start` |
//! | `MachineInfo`, `VersionInfo` | [`machine_info`](NodeStatistics::machine_info), [`version_info`](NodeStatistics::version_info) |
//! | `RootFsInfo`, `GetDirFsInfo` | [`root_fs_info`](NodeStatistics::root_fs_info), [`dir_fs_info`](NodeStatistics::dir_fs_info) |
//! | `ImagesFsInfo`, `ContainerFsInfo` | [`images_fs_info`](NodeStatistics::images_fs_info), [`container_fs_info`](NodeStatistics::container_fs_info) |
//! | `ContainerInfo`, `DockerContainer` | [`container_info`](NodeStatistics::container_info), [`docker_container`](NodeStatistics::docker_container) |
//! | `SubcontainerInfo` | [`subcontainer_info`](NodeStatistics::subcontainer_info) |
//! | `ContainerInfoV2`, `GetRequestedContainersInfo` | [`container_info_v2`](NodeStatistics::container_info_v2) |
//! | `WatchEvents` | [`watch_events`](NodeStatistics::watch_events) |
//!
//! Answers are plain data, with units and with `None` for what is not known. `api::cadvisor::v1::render` and its
//! neighbours make cAdvisor's JSON of them.

pub mod daemon;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::ContainerView;
use crate::api::backend::{NoSuchAlias, Subscription, TooManyStreams, Unavailable};
use crate::api::cadvisor::events::EventQuery;
use crate::api::cadvisor::v1::StatsQuery;
use crate::api::cadvisor::v2::{RequestOptions, SelectionError};
use crate::sample::event::Name;
use crate::sample::identity::Runtime;
use crate::sample::machine::{Filesystem, Machine};
use crate::units::WallTime;

/// What a node agent asks about its node. Every call can be made from async code: none blocks the executor. All of them
/// are answered from memory, but for what says otherwise.
pub trait NodeStatistics: Send + Sync {
    /// Receives events.
    type Events: Subscription;

    /// The machine, as of a few minutes ago at most.
    fn machine_info(&self) -> Arc<Machine>;

    /// Versions of the kernel, the operating system and the collector.
    fn version_info(&self) -> VersionInfo;

    /// The file system of the kubelet's root directory (`--kubelet_root`), or of `/` where there is no such directory.
    /// As of a second ago at most.
    fn root_fs_info(&self) -> impl Future<Output = Result<FsInfo, NoFilesystem>> + Send;

    /// The file system that a runtime keeps its images on.
    fn images_fs_info(&self, runtime: Runtime) -> impl Future<Output = Result<FsInfo, NoFilesystem>> + Send;

    /// The file system that a runtime keeps its containers' layers on; that of the images where it has no other.
    fn container_fs_info(&self, runtime: Runtime) -> impl Future<Output = Result<FsInfo, NoFilesystem>> + Send;

    /// The file system that a directory of the host is on.
    fn dir_fs_info(&self, directory: &Path) -> impl Future<Output = Result<FsInfo, NoFilesystem>> + Send;

    /// A container by its cgroup's name, with the samples that the query selects. Its limits are as of now.
    fn container_info(
        &self,
        name: &[u8],
        query: &StatsQuery,
    ) -> impl Future<Output = Result<ContainerView, Unavailable>> + Send;

    /// It and everything below it in the tree of cgroups. What cannot be read of one container leaves out that one.
    ///
    /// # Errors
    /// When there is no container of this name.
    fn subcontainer_info(
        &self,
        name: &[u8],
        query: &StatsQuery,
    ) -> impl Future<Output = Result<BTreeMap<Name, ContainerView>, Unavailable>> + Send;

    /// A container of Docker's by its name or id, or the beginning of either.
    fn docker_container(
        &self,
        name: &str,
        query: &StatsQuery,
    ) -> impl Future<Output = Result<ContainerView, NotOne>> + Send;

    /// The containers that a request of cAdvisor's v2 selects. A sample that is older than the options allow is taken
    /// anew, for which the call waits a few seconds at most.
    fn container_info_v2(
        &self,
        name: &[u8],
        options: &RequestOptions,
    ) -> impl Future<Output = Result<Containers, SelectionError>> + Send;

    /// Events from now on that the query selects.
    ///
    /// # Errors
    /// When too many are watching already.
    fn watch_events(&self, query: EventQuery) -> Result<Self::Events, TooManyStreams>;
}

/// Versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// The running kernel's release: `uname -r`.
    pub kernel: String,
    /// `PRETTY_NAME` of the `os-release` that the process sees; in a container that of its image.
    pub os: Option<String>,
    /// The collector's own.
    pub collector: &'static str,
}

/// A file system and when it reported how full it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsInfo {
    /// When.
    pub at: WallTime,
    /// The file system.
    pub filesystem: Filesystem,
}

/// No file system fits.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoFilesystem {
    /// The runtime is not there, or has not reported where it keeps them.
    #[error("it is not known where {} keeps its {what}", runtime.namespace())]
    OfRuntime {
        /// Which.
        runtime: Runtime,
        /// Images or layers.
        what: &'static str,
    },
    /// The directory is not there, or is on a file system that is not listed.
    #[error("the file system of {} is not known", .0.display())]
    OfDirectory(PathBuf),
}

/// Not one container.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotOne {
    /// The name is nobody's, or of several.
    #[error(transparent)]
    Name(#[from] NoSuchAlias),
    /// Nothing is known of it.
    #[error(transparent)]
    Container(#[from] Unavailable),
}

/// Containers that were asked for together: those that could be read, and why the others could not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Containers {
    /// By name.
    pub found: BTreeMap<Name, ContainerView>,
    /// Such as one that ended meanwhile, or has no sample yet.
    pub failed: Vec<(Name, Unavailable)>,
}
