//! Passes what container runtimes report about their containers on to those who want to know.

use std::sync::Arc;

use crate::config::Config;
use crate::degradations::Degradations;
use crate::discovery::follower::News;
use crate::disk_usage::StorageNews;
use crate::kernel::machine_records::{MachineRecords, UserOfLxc};
use crate::kernel::process_cgroups::ProcessCgroups;
use crate::runtime::owners::RuntimeReport;
use crate::runtime::{CgroupsOf, Lookup, cgroup_names};
use crate::sample::event::Name;
use crate::sample::identity::Manager;
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
    let recorder = engine.clone();
    let recorded = news.clone();
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
    let records = MachineRecords::new(&config.roots.rootfs);
    let lookup = lookup.with_records(move |name| {
        let Some(engine) = recorder.upgrade() else { return };
        let Some(manager) = manager_by_record(&records, name) else { return };
        let changed = engine.recorded(name, manager);
        if !changed.is_empty() {
            recorded.identified(changed);
        }
    });
    lookup.run(config.runtimes.clone(), cgroups_of, degradations, found, stored)
}

/// Who keeps a container whose path names it, where what lies on disk is more exact than the path.
fn manager_by_record(records: &MachineRecords, name: &Name) -> Option<Manager> {
    let identity = cgroup_names::named(name)?;
    match identity.runtime {
        Manager::Lxc => records.user_of_lxc(&identity.id).map(|user| match user {
            UserOfLxc::Incus => Manager::Incus,
            UserOfLxc::Lxd => Manager::Lxd,
        }),
        Manager::Machined => match records.service(&identity.id)?.as_str() {
            "systemd-nspawn" => Some(Manager::Nspawn),
            "libvirt-qemu" | "libvirt-lxc" => Some(Manager::Libvirt),
            _ => None,
        },
        _ => None,
    }
}
