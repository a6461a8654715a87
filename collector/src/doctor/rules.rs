//! From facts to findings. Pure: the same facts give the same report on any machine.

mod cgroups;
mod container;
mod controllers;
mod events;
mod processes;
mod rights;
mod runtimes;
mod system;

use crate::config::{CountersFrom, KernelEvents, LoadReading};
use crate::kernel::survey::Facts;
use crate::sample::kinds::KindSet;

use super::container::ContainerFacts;
use super::report::Report;
use super::runtimes::RuntimeFacts;

/// What the collector is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// Where changes are to be learnt from.
    pub kernel_events: KernelEvents,
    /// Where counters are to be read.
    pub counters: CountersFrom,
    /// Whether load averages are wanted.
    pub load_reader: LoadReading,
    /// Which kinds of statistics are wanted.
    pub kinds: KindSet,
}

/// Decides about every facility.
pub fn decide(facts: &Facts, runtimes: &RuntimeFacts, container: Option<&ContainerFacts>, wishes: &Wishes) -> Report {
    let mut findings = Vec::new();
    if let Some(container) = container {
        container::judge(container, &mut findings);
    }
    cgroups::mounts(facts, &mut findings);
    system::port(facts, &mut findings);
    events::judge(facts, wishes, &mut findings);
    cgroups::judge(facts, wishes, &mut findings);
    processes::judge(facts, wishes, &mut findings);
    runtimes::judge(runtimes, &mut findings);
    rights::judge(facts, wishes, &mut findings);
    system::judge(facts, &mut findings);
    Report::new(facts.release.clone(), findings, facts.probes.programs.clone())
}
