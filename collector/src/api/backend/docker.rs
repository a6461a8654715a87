//! What Docker's API asks for beyond what the other APIs do. The daemon implements it.

use std::future::Future;
use std::sync::Arc;

use crate::sample::event::Name;
use crate::sample::identity::Identity;
use crate::sample::live::Live;
use crate::units::WallTime;

/// The containers as an engine has them.
pub trait ContainerEngine: Send + Sync + 'static {
    /// Every container of any runtime that runs now, by name.
    fn runtime_containers(&self) -> Vec<RuntimeContainer>;

    /// The id of the container whose cgroup this is, if the path is a container's.
    fn container_id(&self, name: &[u8]) -> Option<String>;

    /// What its runtime reported about the container of this name.
    fn identity(&self, name: &[u8]) -> Option<Arc<Identity>>;

    /// What is read now, beside the sample of the container. It may wait for files to be read; it must not block the
    /// executor.
    fn live(&self, name: &Name) -> impl Future<Output = Live> + Send;

    /// What the cgroup files are.
    fn cgroup_version(&self) -> CgroupVersion;

    /// The name the machine goes by.
    fn host_name(&self) -> String;

    /// The time.
    fn now(&self) -> WallTime;

    /// Waits until the collector shuts down.
    fn closing(&self) -> impl Future<Output = ()> + Send + 'static;
}

/// Which cgroup files have the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// Version 1, also with version 2 beside it.
    V1,
    /// Version 2 alone.
    V2,
}

/// A container that a runtime made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeContainer {
    /// Its cgroup.
    pub cgroup: Name,
    /// The runtime's id.
    pub id: String,
    /// What the runtime reported; `None` until it did.
    pub identity: Option<Arc<Identity>>,
}

impl RuntimeContainer {
    /// The name a person gave it, or else its id.
    pub(crate) fn name(&self) -> &str {
        self.identity.as_ref().and_then(|identity| identity.name.as_deref()).unwrap_or(&self.id)
    }
}
