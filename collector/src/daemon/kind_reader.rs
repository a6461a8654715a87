//! Reads now and then what the programs of a single kind counted, and gives each container its part: what such kinds have in
//! common.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::kernel::cgroup::{DEFAULT_HIERARCHY, Hierarchies, Hierarchy};
use crate::sampler::engine::Engine;
use crate::store::Container;
use crate::supervisor::Supervisor;

/// How often maps are read: what is exposed is at most so old.
const EVERY: Duration = Duration::from_secs(2);

/// Starts a thread that reads as long as there is an engine.
pub(super) fn start(
    thread: &'static str,
    engine: &Arc<Engine>,
    supervisor: &Supervisor,
    mut read: impl FnMut(&Engine) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let engine = Arc::downgrade(engine);
    let work = move || {
        loop {
            // The first time is late enough for what was under way before the programs were there.
            std::thread::sleep(EVERY);
            let Some(engine) = engine.upgrade() else { return };
            if let Err(error) = read(&engine) {
                warn!(%error, thread, "a map of the kind's programs could not be read");
            }
        }
    };
    supervisor.thread(thread, work).map(drop)
}

/// Where the controller's cgroups are: on cgroup v2 it is the default hierarchy, whether a cgroup has the controller or not.
pub(super) fn hierarchy<'a>(hierarchies: &'a Hierarchies, controller: &str) -> Option<&'a Hierarchy> {
    hierarchies.with_controller(controller).or_else(|| hierarchies.get(DEFAULT_HIERARCHY))
}

/// All containers by the kernfs ids of their directories there.
pub(super) fn containers_by_id(engine: &Engine, hierarchy: Option<&Hierarchy>) -> HashMap<u64, Arc<Container>> {
    let with_id = |container: Arc<Container>| Some((container.directory(hierarchy?.id)?, container));
    engine.store().with_prefix(b"/").into_iter().filter_map(with_id).collect()
}
