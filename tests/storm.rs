//! Ten thousand cgroups made and removed as fast as one thread can: not one is missed.

use std::collections::BTreeSet;
use std::fs;

use crate::support::api::Event;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs};
use crate::support::{Context as _, Result, ensure, settings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("storm::cgroup2", || storm(Set::V2)).needs(Needs::Cgroup2).on_every_kernel(),
    Case::new("storm::v1", || storm(Set::V1(&["pids"]))).needs(Needs::V1).on_every_kernel(),
    Case::new("storm::stopped_collector_v2", || stopped(Set::V2)).needs(Needs::Cgroup2),
    Case::new("storm::stopped_collector_v1", || stopped(Set::V1(&["pids"]))).needs(Needs::V1),
];

/// Cgroups of one storm.
fn storm_size() -> usize {
    settings::times(10_000, 1_000)
}

fn name(number: usize) -> String {
    format!("storm-{number:05}")
}

/// Makes and removes cgroups in the first hierarchy of the set.
fn make_and_remove(cgroups: &Cgroups) -> Result<()> {
    for number in 0..storm_size() {
        let dir = cgroups.mounts()[0].dir(format!("{}/{}", cgroups.name(), name(number)).as_ref());
        fs::create_dir(&dir).with_context(|| format!("mkdir {}", dir.display()))?;
        fs::remove_dir(&dir).with_context(|| format!("rmdir {}", dir.display()))?;
    }
    Ok(())
}

/// Compares events with the storm's names: each exactly once.
fn check_names(events: &[Event], what: &str, top: &str) -> Result<()> {
    let storm = storm_size();
    let got: Vec<&str> = events.iter().filter_map(|event| event.container_name.strip_prefix(top)?.get(1..)).collect();
    let unique: BTreeSet<&str> = got.iter().copied().collect();
    let missing: Vec<String> = (0..storm_size()).map(name).filter(|name| !unique.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "{} of {storm} {what} are missing, such as {:?}", missing.len(), missing.first());
    ensure!(got.len() == storm, "{} {what} for {storm} cgroups", got.len());
    Ok(())
}

fn storm(set: Set<'_>) -> Result<()> {
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(set)?;
    make_and_remove(&cgroups)?;
    let below = |kind: &str| -> Result<Vec<Event>> {
        let top = cgroups.name();
        Ok(collector.events(&top, &[kind])?.into_iter().filter(|event| event.container_name != top).collect())
    };
    for (kind, what) in [("deletion_events", "deletions"), ("creation_events", "creations")] {
        wait::eventually(wait::seconds(15), || check_names(&below(kind)?, what, &cgroups.name()))?;
    }
    let lost = collector.metrics()?.sum("collector_events_lost_total");
    ensure!(lost == 0.0, "{lost} kernel events were lost");
    let left = collector.names_below(&cgroups.name())?;
    ensure!(left.len() <= 1, "still listed after the storm: {} cgroups, such as {:?}", left.len(), left.last());
    Ok(())
}

/// The ring buffer overflows while the collector is stopped; afterwards the list is right all the same.
fn stopped(set: Set<'_>) -> Result<()> {
    let collector = Collector::start(&["--ring_buffer_bytes=65536"])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(set)?;
    for number in 0..10 {
        cgroups.make(format!("removed-{number}"))?;
        cgroups.make(format!("kept-{number}"))?;
        cgroups.make(format!("again-{number}"))?;
    }
    wait::eventually(wait::seconds(5), || {
        let listed = collector.names_below(&cgroups.name())?;
        ensure!(listed.len() == 31, "{} of 31 cgroups are listed before the storm", listed.len());
        Ok(())
    })?;

    collector.stop()?;
    make_and_remove(&cgroups)?;
    for number in 0..10 {
        cgroups.at(format!("removed-{number}")).remove()?;
        cgroups.at(format!("again-{number}")).remove()?;
        cgroups.make(format!("again-{number}"))?;
        cgroups.make(format!("born-{number}"))?.delegate()?;
        cgroups.make(format!("born-{number}/child"))?;
    }
    make_and_remove(&cgroups)?;
    let mut expected = vec![cgroups.name()];
    for number in 0..10 {
        for name in ["kept-", "again-", "born-"] {
            expected.push(format!("{}/{name}{number}", cgroups.name()));
        }
        expected.push(format!("{}/born-{number}/child", cgroups.name()));
    }
    expected.sort();
    collector.go_on()?;
    wait::eventually(wait::seconds(1), || {
        let listed = collector.names_below(&cgroups.name())?;
        let missing: Vec<_> = expected.iter().filter(|name| !listed.contains(name)).collect();
        let wrong: Vec<_> = listed.iter().filter(|name| !expected.contains(name)).collect();
        ensure!(missing.is_empty() && wrong.is_empty(), "not listed: {missing:?}; listed but gone: {wrong:?}");
        ensure!(listed.len() == expected.len(), "{} entries for {} cgroups", listed.len(), expected.len());
        Ok(())
    })?;

    let metrics = collector.metrics()?;
    let lost = metrics.sum("collector_events_lost_total");
    ensure!(lost > 0.0, "no loss was counted, although 64 KiB cannot hold 20,000 cgroups");
    let reconciles = metrics.value("collector_reconciles_total", &[("reason", "lost")]).unwrap_or(0.0);
    ensure!(reconciles >= 1.0, "losses were counted but no reconcile");
    ensure!(metrics.sum("collector_divergences_total") > 0.0, "the reconcile counted no divergence");
    // A path removed and made again meanwhile is a new container.
    for number in 0..10 {
        let name = format!("{}/again-{number}", cgroups.name());
        let deletions = collector.events(&name, &["deletion_events"])?.len();
        let creations = collector.events(&name, &["creation_events"])?.len();
        ensure!((creations, deletions) == (2, 1), "{name}: {creations} creations and {deletions} deletions");
    }
    Ok(())
}
