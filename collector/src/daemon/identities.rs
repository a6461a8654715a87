//! Passes what container runtimes report about their containers on to those who want to know.

use std::sync::Arc;

use crate::config::Config;
use crate::degradations::Degradations;
use crate::discovery::follower::News;
use crate::disk_usage::StorageNews;
use crate::kernel::process_cgroups::ProcessCgroups;
use crate::runtime::owners::RuntimeReport;
use crate::runtime::{CgroupsOf, Lookup};
use crate::sampler::engine::Engine;

/// Asks the container runtimes who their containers are; ends when nobody listens any more.
pub(super) fn look_up(
    config: &Config,
    lookup: Lookup,
    engine: &Arc<Engine>,
    news: News,
    storage: Option<StorageNews>,
    degradations: Degradations,
) -> impl Future<Output = ()> + Send + use<> {
    let look = ProcessCgroups::find(&config.roots.proc, engine.context().hierarchies());
    let cgroups_of = CgroupsOf::new(look.map(|look| move |pid| look.of(pid)));
    let engine = Arc::downgrade(engine);
    let files = storage.clone();
    let stored = move |reported| {
        if let Some(storage) = &storage {
            storage.reported(reported);
        }
    };
    let found = move |reported: RuntimeReport| {
        let Some(engine) = engine.upgrade() else { return };
        let changed = engine.reported(&reported.identity.id.clone(), reported);
        if let Some(files) = &files {
            for name in &changed {
                files.identified(name);
            }
        }
        // It may make a difference to what is listed.
        if !changed.is_empty() {
            news.identified(changed);
        }
    };
    lookup.run(config.runtimes.clone(), cgroups_of, degradations, found, stored)
}
