//! What Docker's API asks for, answered from the store and the kernel.

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use crate::api::docker::{CgroupVersion, ContainerEngine, RuntimeContainer};
use crate::daemon::backend::Backend;
use crate::kernel::cgroup::Mode;
use crate::reader::container::Scratch;
use crate::reader::live;
use crate::runtime::cgroup_names;
use crate::sample::event::Name;
use crate::sample::identity::{Identity, Who};
use crate::sample::live::Live;
use crate::units::WallTime;

impl ContainerEngine for Backend {
    fn runtime_containers(&self) -> Vec<RuntimeContainer> {
        let containers = self.engine().store().with_prefix(b"/");
        let of_a_runtime = containers.iter().filter_map(|container| {
            let Who { id, identity } = container.who()?;
            // Docker's clients know runtimes only.
            let is_of_runtime = |identity: &Arc<Identity>| identity.runtime.runtime().is_some();
            if !identity.as_ref().is_none_or(is_of_runtime) {
                return None;
            }
            Some(RuntimeContainer { cgroup: Name::clone(container.name()), id: id.as_ref().to_owned(), identity })
        });
        of_a_runtime.collect()
    }

    fn container_id(&self, name: &[u8]) -> Option<String> {
        if let Some(who) = self.engine().store().get(name).and_then(|container| container.who()) {
            return Some(who.id.as_ref().to_owned());
        }
        // One that is not listed yet, or not any more.
        let found = cgroup_names::identify(name).filter(|_| !self.engine().is_anothers(name));
        found.map(|found| found.id.to_owned())
    }

    fn identity(&self, name: &[u8]) -> Option<Arc<Identity>> {
        self.engine().store().get(name)?.identity()
    }

    async fn live(&self, name: &Name) -> Live {
        let (engine, name) = (Arc::clone(self.engine()), Name::clone(name));
        let read = move || live::read(engine.context(), &name, &mut Scratch::default());
        // Files of cgroups and of procfs, which the kernel answers from memory.
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the machine's CPU time could not be read");
            Live::default()
        })
    }

    fn cgroup_version(&self) -> CgroupVersion {
        match self.engine().context().hierarchies().mode {
            Mode::V1 | Mode::Hybrid => CgroupVersion::V1,
            Mode::V2 => CgroupVersion::V2,
        }
    }

    fn host_name(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    fn now(&self) -> WallTime {
        WallTime::from(SystemTime::now())
    }

    fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        self.closed()
    }
}
