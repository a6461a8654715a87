//! Loads the programs that are not needed at once, after the collector answers: until then files and scans serve.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tracing::info;

use crate::config::{Config, CountersFrom};
use crate::degradations::Degradations;
use crate::discovery::follower::Progress;
use crate::kernel::HostRoots;
use crate::kernel::machine::possible_cpus;
use crate::kernel::probes::Probes;
use crate::kernel::probes::counters::plan::Surroundings;
use crate::kernel::probes::counters::{Counters, CountersUnavailable};
use crate::reader::container::{Distrust, ReaderContext};
use crate::sampler::engine::Engine;

/// How often it is looked whether the collector answers.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Starts a thread that loads them and ends.
pub(super) fn start(
    config: &Config,
    (engine, progress): (&Arc<Engine>, &Arc<Progress>),
    probes: &Arc<Probes>,
    degradations: &Degradations,
) -> io::Result<()> {
    let (roots, counters, degradations) = (config.roots.clone(), config.counters, degradations.clone());
    let (engine, progress, probes) = (Arc::downgrade(engine), Arc::downgrade(progress), Arc::downgrade(probes));
    let work = move || {
        if !wait_until_ready(&progress) {
            return;
        }
        if let Some(Err(unavailable)) = probes.upgrade().map(|probes| probes.load_long_path()) {
            info!("cgroups with long paths are found by scans: {unavailable}");
        }
        if counters == CountersFrom::Auto
            && let Some(engine) = engine.upgrade()
        {
            load(&engine, &roots, &degradations);
        }
    };
    std::thread::Builder::new().name("kernel-memory".to_owned()).spawn(work).map(drop)
}

/// Whether the collector answers; it does not any more when it ended before.
fn wait_until_ready(progress: &Weak<Progress>) -> bool {
    loop {
        match progress.upgrade() {
            Some(progress) if progress.is_ready() => return true,
            Some(_) => std::thread::sleep(LOOK_EVERY),
            None => return false,
        }
    }
}

fn load(engine: &Engine, roots: &HostRoots, degradations: &Degradations) {
    let families = engine.context().counter_families();
    if families.is_empty() {
        engine.context().set_no_kernel_memory("no kind of counters is read that kernel memory has");
        info!("counters: from files, as no kind of them is read that kernel memory has");
        return;
    }
    match open(engine.context(), roots) {
        Ok(counters) => {
            let read = families.iter().filter(|family| counters.has(**family)).map(|family| family.name());
            let read: Vec<_> = read.collect();
            info!(families = read.join(","), "counters: from kernel memory where they are those of the files");
            for (family, why) in counters.refused() {
                info!(family = family.name(), %why, "counters of this family are read from files");
            }
            let degradations = degradations.clone();
            let on_distrust = move |distrust: &Distrust| report(&degradations, distrust);
            engine.context().set_kernel_memory(counters, Box::new(on_distrust));
        }
        Err(unavailable) => {
            // No number is missing for it.
            info!("{unavailable}");
            engine.context().set_no_kernel_memory(unavailable.why);
        }
    }
}

/// Loads the programs for what this machine has.
fn open(context: &ReaderContext, roots: &HostRoots) -> Result<Counters, CountersUnavailable> {
    // Without a number no family that needs it is read.
    let cpus = possible_cpus(roots).unwrap_or_default();
    let surroundings = Surroundings { memory: context.memory_version(), cpus };
    Counters::load(roots, surroundings, &context.counter_families())
}

/// The same for one that reads a container once.
pub(super) fn use_at_once(context: &ReaderContext, roots: &HostRoots) -> Result<(), CountersUnavailable> {
    context.set_kernel_memory(open(context, roots)?, Box::new(|_| ()));
    Ok(())
}

fn report(degradations: &Degradations, Distrust { family, difference }: &Distrust) {
    let facility = format!("kernel memory: {}", family.name());
    let reason = format!(
        "{facility} is not what the files have: {difference}; lost: some of the collector's own CPU time, because these counters are \
         read from files again; to fix: report this line and the kernel's version"
    );
    degradations.set(&facility, &reason);
}
