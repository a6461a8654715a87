//! Passes what container runtimes report about their containers on to those who want to know.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::Config;
use crate::degradations::Degradations;
use crate::discovery::follower::News;
use crate::disk_usage::StorageNews;
use crate::kernel::machine_records::{MachineRecords, UserOfLxc};
use crate::kernel::process_cgroups::ProcessCgroups;
use crate::runtime::owners::RuntimeReport;
use crate::runtime::{CgroupsOf, Lookup, UsageQuestions, Usages, cgroup_names};
use crate::sample::event::Name;
use crate::sample::identity::{Manager, Runtime, Who};
use crate::sampler::engine::Engine;
use crate::store::Container;

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
    let usage = about_usage(config.interval, &engine);
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
    lookup.with_usage(usage).run(config.runtimes.clone(), cgroups_of, degradations, found, stored)
}

/// Runtimes are asked at the pace of samples what those containers use of which the kernel sees nothing.
fn about_usage(interval: Duration, engine: &Weak<Engine>) -> UsageQuestions {
    let (asking, heard) = (engine.clone(), engine.clone());
    let wanted = move |runtime| asking.upgrade().map_or_else(Vec::new, |engine| ids_asked_about(&engine, runtime));
    let used = move |mut usages: Usages| {
        let Some(engine) = heard.upgrade() else { return };
        for container in asked_about(&engine) {
            if let Some(usage) = container.who().and_then(|who| usages.remove(&*who.id)) {
                container.hear_of_usage(usage);
            }
        }
    };
    UsageQuestions::new(interval.max(Duration::from_secs(1)), wanted, used)
}

/// The containers of which the kernel sees nothing.
fn asked_about(engine: &Engine) -> impl Iterator<Item = Arc<Container>> {
    engine.store().with_prefix(b"/").into_iter().filter(|container| container.asks_runtime())
}

/// The ids of those of this runtime.
fn ids_asked_about(engine: &Engine, runtime: Runtime) -> Vec<Arc<str>> {
    let is_of = |who: &Who| who.identity.as_ref().is_some_and(|identity| identity.runtime == runtime);
    asked_about(engine).filter_map(|container| container.who().filter(is_of)).map(|who| who.id).collect()
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
