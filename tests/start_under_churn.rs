//! A start while cgroups come and go 50 times a second: none is missed, none is reported twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs};
use crate::support::time::Time;
use crate::support::{Error, Result, bail, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("start_under_churn::v2", || start_under_churn(Set::V2)).needs(Needs::Cgroup2),
    Case::new("start_under_churn::every_hierarchy", || start_under_churn(Set::Every)),
];

const STARTS: usize = 5;
/// How long cgroups come and go before the start, and after it.
const MOMENT: Duration = Duration::from_millis(300);
/// Creations a second.
const RATE: u64 = 50;

/// A cgroup's life as the test made it, in nanoseconds since 1970.
struct Life {
    name: String,
    born: i128,
    removed: bool,
}

/// Makes cgroups at [`RATE`] and removes every other one a few creations later, until asked to stop.
fn churn(cgroups: &Cgroups, stop: &AtomicBool) -> Result<Vec<Life>> {
    let mut lives: Vec<Life> = Vec::new();
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let number = lives.len();
        wait::pass((Duration::from_nanos(1_000_000_000 / RATE) * number as u32).saturating_sub(start.elapsed()));
        let cgroup = cgroups.make(format!("churn-{number}"))?;
        lives.push(Life { name: cgroup.name(), born: Time::now_nanos(), removed: false });
        if let Some(old) = number.checked_sub(3).filter(|old| old % 2 == 0) {
            cgroups.at(format!("churn-{old}")).remove()?;
            lives[old].removed = true;
        }
    }
    Ok(lives)
}

fn start_under_churn(set: Set<'_>) -> Result<()> {
    for number in 0..STARTS {
        let cgroups = Cgroups::new(set)?;
        let stop = AtomicBool::new(false);
        let (collector, ready, lives) = std::thread::scope(|scope| -> Result<_> {
            let churner = scope.spawn(|| churn(&cgroups, &stop));
            wait::pass(MOMENT);
            let collector = Collector::start(&[]);
            let ready = Time::now_nanos();
            wait::pass(MOMENT);
            stop.store(true, Ordering::Relaxed);
            let lives = churner.join().map_err(|_| Error::msg("a thread of the test panicked"))??;
            Ok((collector?, ready, lives))
        })?;
        collector.require_ebpf()?;
        wait::eventually(wait::seconds(3), || check(&collector, &cgroups, ready, &lives))
            .map_err(|error| error.context(format!("start {number}")))?;
    }
    Ok(())
}

fn check(collector: &Collector, cgroups: &Cgroups, ready: i128, lives: &[Life]) -> Result<()> {
    let mut expected: Vec<String> = lives.iter().filter(|life| !life.removed).map(|life| life.name.clone()).collect();
    expected.push(cgroups.name());
    expected.sort();
    let listed = collector.names_below(&cgroups.name())?;
    let missing: Vec<_> = expected.iter().filter(|name| !listed.contains(name)).collect();
    ensure!(missing.is_empty(), "missed: {missing:?}");
    ensure!(listed == expected, "{} entries are listed for {} cgroups: {listed:?}", listed.len(), expected.len());
    let count = |kind: &str| -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for event in collector.events(&cgroups.name(), &[kind])? {
            *counts.entry(event.container_name).or_default() += 1;
        }
        Ok(counts)
    };
    let (creations, deletions) = (count("creation_events")?, count("deletion_events")?);
    for life in lives {
        let created = creations.get(&life.name).copied().unwrap_or(0);
        let deleted = deletions.get(&life.name).copied().unwrap_or(0);
        let right = match (life.removed, life.born >= ready) {
            (false, _) => (created, deleted) == (1, 0),
            (true, true) => (created, deleted) == (1, 1),
            // Made before the collector was ready and gone by now: it may have been missed, never reported twice.
            (true, false) => created <= 1 && deleted == created,
        };
        if !right {
            bail!("{}: {created} creations and {deleted} deletions; removed: {}", life.name, life.removed);
        }
    }
    Ok(())
}
