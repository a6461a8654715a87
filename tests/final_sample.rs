//! A container that lived for 50 ms is accounted for: its last sample is in its deletion event.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs, Skip};
use crate::support::stalls::{Span, StallWatch, Stalls};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, settings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("final_sample::v1", || short_lives(Set::V1(&["cpu", "cpuacct", "pids"]))).needs(Needs::V1),
    Case::new("final_sample::v1_accounting_alone", || short_lives(Set::V1(&["cpuacct"]))).needs(Needs::V1),
    Case::new("final_sample::cgroup2", || short_lives(Set::V2)).needs(Needs::Cgroup2).on_every_unified_kernel(),
    Case::new("final_sample::every_hierarchy", every_hierarchy).needs(Needs::V1).on_every_kernel(),
];

/// Containers of one test.
fn containers() -> usize {
    settings::times(200, 30)
}

/// Containers that live at the same time.
const AT_ONCE: usize = 4;
/// CPU time each uses, in milliseconds.
const BURN: u64 = 40;

/// A container that has ended.
struct Ended {
    name: String,
    /// The kernel's own last word on its CPU time.
    nanos: u64,
    /// From before its process ended until it was removed.
    end: Span,
}

/// Of a hundred containers, how many may end while the machine stands still.
const STALLED: usize = 10;
/// And how many may be wrong without such a reason that could be seen: a thread may wait where nobody looks.
const UNEXPLAINED: usize = 1;

/// The kernel's own count of a cgroup's CPU time, in nanoseconds.
fn cpu_nanos(cgroup: &Cgroup<'_>) -> Result<u64> {
    match cgroup.v1_file("cpuacct", "cpuacct.usage") {
        Ok(file) => bytes::read_number(file),
        Err(_) => Ok(bytes::read_key(cgroup.v2_file("cpu.stat")?, "usage_usec")? * 1000),
    }
}

fn live(cgroups: &Cgroups, number: usize) -> Result<Ended> {
    let cgroup = cgroups.make(format!("short-{number}"))?;
    let mut process = Plan::new(Work::Burn(BURN), &cgroup).start()?;
    let status = process.wait_blocking()?;
    let from = Instant::now().checked_sub(Duration::from_millis(5)).context("no time before")?;
    ensure!(status.success(), "the burner ended with {status}");
    wait::pause_of_a_runtime();
    let nanos = cpu_nanos(&cgroup)?;
    let to = Instant::now();
    for dir in cgroup.dirs() {
        remove(&dir)?;
    }
    Ok(Ended { name: cgroup.name(), nanos, end: Span { from, to } })
}

fn remove(dir: &PathBuf) -> Result<()> {
    match std::fs::remove_dir(dir) {
        // The kernel may still be letting go of the process.
        Err(_) => wait::eventually(wait::seconds(1), || Ok(std::fs::remove_dir(dir)?)),
        Ok(()) => Ok(()),
    }
}

fn every_hierarchy() -> Result<()> {
    if Layout::detect()?.is_pure_v2() {
        return Err(Skip::because("there is only one hierarchy, final_sample::cgroup2 has it"));
    }
    short_lives(Set::Every)
}

fn short_lives(set: Set<'_>) -> Result<()> {
    let containers = containers();
    let collector = Collector::start(&["--housekeeping_interval=10s"])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(set)?;
    let next = AtomicUsize::new(0);
    let ended = Mutex::new(Vec::new());
    let watch = StallWatch::start()?;
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= containers {
                            return Ok(());
                        }
                        let one = live(&cgroups, number)?;
                        ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(one);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| crate::support::Error::msg("a thread of the test panicked"))??;
        }
        Ok(())
    })?;
    let stalls = watch.finish()?;
    let ended = ended.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ensure!(ended.len() == containers, "only {} containers lived", ended.len());
    wait::eventually(wait::seconds(5), || check(&collector, &cgroups, &ended, &stalls))
}

/// Every final sample is the kernel's last word, except where the machine stood still meanwhile.
fn check(collector: &Collector, cgroups: &Cgroups, ended: &[Ended], stalls: &Stalls) -> Result<()> {
    let events = collector.events(&cgroups.name(), &["deletion_events"])?;
    let mut wrong = Vec::new();
    let mut excused = 0;
    for Ended { name, nanos, end } in ended {
        ensure!(*nanos >= BURN * 1_000_000 * 9 / 10, "{name} used only {nanos} ns: the burner does not work");
        let Some(event) = events.iter().find(|event| event.container_name == *name) else {
            wrong.push(format!("{name} has no deletion event"));
            continue;
        };
        let stats = event.event_data.deletion.as_ref().and_then(|deletion| deletion.final_stats.as_ref());
        match stats.and_then(|stats| stats.cpu.as_ref()) {
            Some(cpu) if cpu.usage.total.abs_diff(*nanos) * 50 <= *nanos => {}
            _ if stalls.during(*end) => excused += 1,
            None => wrong.push(format!("{name} has no final sample of its CPU")),
            Some(cpu) => {
                let total = cpu.usage.total;
                wrong.push(format!("{name}: the kernel's last word is {nanos} ns, the final sample's {total}"));
            }
        }
    }
    let all = ended.len();
    let stalls = stalls.summary();
    let few = wrong.len() * 100 <= all * UNEXPLAINED;
    ensure!(few, "{} of {all} final samples are wrong: {} ({stalls})", wrong.len(), wrong.join(", "));
    ensure!(excused * 100 <= all * STALLED, "{excused} of {all} ended while the machine stood still: {stalls}");
    Ok(())
}
