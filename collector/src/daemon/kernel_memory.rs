//! Loads the programs that read counters from kernel memory, after the collector answers: until then files serve.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tracing::info;

use crate::config::Config;
use crate::degradations::Degradations;
use crate::discovery::follower::Progress;
use crate::kernel::HostRoots;
use crate::kernel::machine::possible_cpus;
use crate::kernel::probes::counters::plan::Surroundings;
use crate::kernel::probes::counters::{Counters, CountersUnavailable};
use crate::reader::container::{Distrust, KernelMemory, ReaderContext, Scratch};
use crate::sampler::engine::Engine;

/// What is missing, as a label.
const FACILITY: &str = "kernel memory";
/// How often it is looked whether the collector answers.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Starts a thread that loads them and ends.
pub(super) fn start(
    config: &Config,
    engine: &Arc<Engine>,
    progress: &Arc<Progress>,
    degradations: &Degradations,
) -> io::Result<()> {
    let (roots, degradations) = (config.roots.clone(), degradations.clone());
    let (engine, progress) = (Arc::downgrade(engine), Arc::downgrade(progress));
    let work = move || {
        if wait_until_ready(&progress)
            && let Some(engine) = Weak::upgrade(&engine)
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
        engine.context().set_no_kernel_memory("its controllers are on cgroup v2");
        info!("counters: from files, as their controllers are on cgroup v2");
        return;
    }
    match open(engine.context(), roots, degradations) {
        Ok(memory) => {
            let read: Vec<_> =
                families.iter().filter(|family| memory.serves(**family)).map(|family| family.name()).collect();
            info!(families = read.join(","), "counters: from kernel memory where they are those of the files");
            for (family, why) in memory.counters().refused() {
                info!(family = family.name(), %why, "counters of this family are read from files");
            }
            memory.learn_from_root(engine.context(), &mut Scratch::default());
            engine.context().set_kernel_memory(memory);
        }
        Err(unavailable) => {
            engine.context().set_no_kernel_memory(unavailable.why.as_str());
            degradations.set(&FACILITY, &unavailable);
        }
    }
}

/// Loads the programs for what this machine has.
pub(super) fn open(
    context: &ReaderContext,
    roots: &HostRoots,
    degradations: &Degradations,
) -> Result<KernelMemory, CountersUnavailable> {
    // Without a number no family that needs it is read.
    let cpus = possible_cpus(roots).unwrap_or_default();
    let surroundings = Surroundings { memory: context.memory_version(), cpus };
    let counters = Counters::load(roots, surroundings, &context.counter_families())?;
    let degradations = degradations.clone();
    Ok(KernelMemory::new(counters, Box::new(move |distrust| report(&degradations, distrust))))
}

/// The same for one that reads a container once.
pub(super) fn use_at_once(context: &ReaderContext, roots: &HostRoots) -> Result<(), CountersUnavailable> {
    let memory = open(context, roots, &Degradations::default())?;
    memory.learn_from_root(context, &mut Scratch::default());
    context.set_kernel_memory(memory);
    Ok(())
}

fn report(degradations: &Degradations, Distrust { family, difference }: &Distrust) {
    let facility = format!("{FACILITY}: {}", family.name());
    let reason = format!(
        "{facility} is not what the files have: {difference}; lost: CPU time of the collector's, as these counters are \
         read from files again; to fix: report this line and the kernel's version"
    );
    degradations.set(&facility, &reason);
}
