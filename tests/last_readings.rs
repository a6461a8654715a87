//! Containers that end while busy loops fill every CPU and are removed at once: their last sample is what the kernel had as it
//! removed them, for every one of them, whether or not anybody came in time to read a file.

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs, Skip};
use crate::support::settings;
use crate::support::workload::{Plan, Work};
use crate::support::{Error, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("last_readings::every_hierarchy", every_hierarchy).needs(Needs::V1).on_every_kernel(),
    Case::new("last_readings::cgroup2", || beside_busy_loops(Set::V2)).needs(Needs::Cgroup2).on_every_kernel(),
];

/// So many lives instead of those that suffice.
const LIVES: &str = "COLLECTOR_LIVES";
/// Containers that live at the same time.
const AT_ONCE: usize = 4;
/// CPU time each uses, in milliseconds.
const BURN: u64 = 40;
/// Loops beside them.
const LOOPS: usize = 16;
/// Since when the kernel lets a program find where each CPU counts.
const SINCE: (u32, u32) = (5, 19);
const OUTCOMES: &str = "collector_last_readings_total";

/// A container that has ended, with what the kernel's own files had a moment before it was removed.
struct Ended {
    name: String,
    nanos: u64,
    memory_peak: Option<u64>,
}

fn every_hierarchy() -> Result<()> {
    if Layout::detect()?.is_pure_v2() {
        return Err(Skip::because("there is only one hierarchy, last_readings::cgroup2 has it"));
    }
    beside_busy_loops(Set::Every)
}

fn beside_busy_loops(set: Set<'_>) -> Result<()> {
    if settings::kernel()? < SINCE {
        return Err(Skip::because("before 5.19 the last CPU time is read from files"));
    }
    let lives = match env::var(LIVES) {
        Ok(lives) => lives.parse()?,
        Err(_) => settings::times(60, 12),
    };
    let collector = Collector::start(&["--housekeeping_interval=10s"])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(set)?;
    let loops = if settings::in_vm() { LOOPS / 4 } else { LOOPS };
    let _loops = (0..loops).map(|_| Plan::here(Work::Spin).start_ready()).collect::<Result<Vec<_>>>()?;
    let next = AtomicUsize::new(0);
    let ended = Mutex::new(Vec::new());
    std::thread::scope(|scope| -> Result<()> {
        let live_on = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= lives {
                    return Ok(());
                }
                let one = live(&cgroups, number)?;
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            }
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(live_on)).collect();
        for thread in threads {
            thread.join().map_err(|_| Error::msg("a thread of the test panicked"))??;
        }
        Ok(())
    })?;
    let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(ended.len() == lives, "only {} containers lived", ended.len());
    wait::eventually(wait::seconds(10), || check(&collector, &cgroups, &ended))?;
    let metrics = collector.metrics()?;
    let count = |outcome| metrics.value(OUTCOMES, &[("outcome", outcome)]).unwrap_or_default();
    let [completed, known, refused] = ["completed", "known", "refused"].map(count);
    println!("{lives} lives: completed {completed}, known {known}, refused {refused}");
    ensure!(completed + known >= lives as f64, "read were only {completed} and {known}, refused {refused}");
    Ok(())
}

fn live(cgroups: &Cgroups, number: usize) -> Result<Ended> {
    let cgroup = cgroups.make(format!("last-{number}"))?;
    let mut process = Plan::new(Work::Burn(BURN), &cgroup).start()?;
    let status = process.wait_blocking()?;
    ensure!(status.success(), "the burner ended with {status}");
    wait::pass(Duration::from_millis(5));
    let nanos = match cgroup.v1_file("cpuacct", "cpuacct.usage") {
        Ok(file) => bytes::read_number(file),
        Err(_) => Ok(bytes::read_key(cgroup.v2_file("cpu.stat")?, "usage_usec")? * 1000),
    }?;
    let memory_peak = memory_peak(&cgroup);
    cgroup.remove()?;
    Ok(Ended { name: cgroup.name(), nanos, memory_peak })
}

/// Where the kernel has a file for it.
fn memory_peak(cgroup: &Cgroup<'_>) -> Option<u64> {
    let legacy = cgroup.v1_file("memory", "memory.max_usage_in_bytes");
    let file = legacy.or_else(|_| cgroup.v2_file("memory.peak")).ok()?;
    bytes::read_number(file).ok()
}

/// Every last sample has what the kernel's files had.
fn check(collector: &Collector, cgroups: &Cgroups, ended: &[Ended]) -> Result<()> {
    let events = collector.events(&cgroups.name(), &["deletion_events"])?;
    let mut wrong = Vec::new();
    for Ended { name, nanos, memory_peak } in ended {
        ensure!(*nanos >= BURN * 1_000_000 * 9 / 10, "{name} used only {nanos} ns: the burner does not work");
        let Some(event) = events.iter().find(|event| event.container_name == *name) else {
            wrong.push(format!("{name} has no deletion event"));
            continue;
        };
        let last = event.event_data.deletion.as_ref().and_then(|deletion| deletion.final_stats.as_ref());
        match last.and_then(|last| last.cpu.as_ref()).map(|cpu| cpu.usage.total) {
            Some(total) if total.abs_diff(*nanos) * 50 <= *nanos => {}
            total => wrong.push(format!("{name}: the kernel's last word is {nanos} ns, the last sample's {total:?}")),
        }
        // Who was never read before has no memory.
        let peak = last.and_then(|last| last.memory.as_ref()).map_or(0, |memory| memory.max_usage);
        if peak != 0 && memory_peak.is_some_and(|memory_peak| memory_peak != peak) {
            wrong.push(format!("{name}: the peak of memory is {memory_peak:?}, in the last sample {peak}"));
        }
    }
    let all = ended.len();
    ensure!(wrong.is_empty(), "{} of {all} last samples are wrong: {}", wrong.len(), wrong.join(", "));
    Ok(())
}
