//! A container that lived for 50 ms is accounted for: its last sample is in its deletion event.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Needs, Skip};
use crate::support::workload::{Plan, Work};
use crate::support::{Result, bytes, ensure, settings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("final_sample::v1", || short_lives(Set::V1(&["cpu", "cpuacct", "pids"])))
        .needs(Needs::V1)
        .on_every_kernel(),
    Case::new("final_sample::v1_accounting_alone", || short_lives(Set::V1(&["cpuacct"])))
        .needs(Needs::V1)
        .on_every_kernel(),
    Case::new("final_sample::cgroup2", || short_lives(Set::V2)).needs(Needs::Cgroup2).on_every_kernel(),
    Case::new("final_sample::every_hierarchy", every_hierarchy).needs(Needs::V1).on_every_kernel(),
];

/// Containers of one test.
fn containers() -> usize {
    settings::times(200, 60)
}

/// Containers that live at the same time.
const AT_ONCE: usize = 4;
/// CPU time each uses, in milliseconds.
const BURN: u64 = 40;

/// A container that has ended: its name and the kernel's own last word on its CPU time, in nanoseconds.
struct Ended {
    name: String,
    nanos: u64,
}

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
    ensure!(status.success(), "the burner ended with {status}");
    // What a fast runtime leaves between the end of the process and the removal. In a virtual machine more: several of
    // them share the processors, and one may stand still for longer than that.
    wait::pass(if settings::in_vm() { Duration::from_millis(250) } else { Duration::from_millis(5) });
    let nanos = cpu_nanos(&cgroup)?;
    for dir in cgroup.dirs() {
        remove(&dir)?;
    }
    Ok(Ended { name: cgroup.name(), nanos })
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
    let ended = ended.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ensure!(ended.len() == containers, "only {} containers lived", ended.len());
    wait::eventually(wait::seconds(5), || check(&collector, &cgroups, &ended))
}

fn check(collector: &Collector, cgroups: &Cgroups, ended: &[Ended]) -> Result<()> {
    let events = collector.events(&cgroups.name(), &["deletion_events"])?;
    let mut wrong = Vec::new();
    for Ended { name, nanos } in ended {
        ensure!(*nanos >= BURN * 1_000_000 * 9 / 10, "{name} used only {nanos} ns: the burner does not work");
        let Some(event) = events.iter().find(|event| event.container_name == *name) else {
            wrong.push(format!("{name} has no deletion event"));
            continue;
        };
        let stats = event.event_data.deletion.as_ref().and_then(|deletion| deletion.final_stats.as_ref());
        match stats.and_then(|stats| stats.cpu.as_ref()) {
            None => wrong.push(format!("{name} has no final sample of its CPU")),
            Some(cpu) if cpu.usage.total.abs_diff(*nanos) * 50 > *nanos => {
                wrong.push(format!(
                    "{name}: the kernel's last word is {nanos} ns, the final sample's {}",
                    cpu.usage.total
                ));
            }
            Some(_) => {}
        }
    }
    ensure!(wrong.is_empty(), "{} of {} final samples are wrong: {}", wrong.len(), ended.len(), wrong[0]);
    Ok(())
}
