//! Reads now and then what the program about the scheduler counted, and gives each container its part.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tracing::{info, warn};

use super::kind_reader;
use crate::config::Config;
use crate::degradations::Degradations;
use crate::kernel::probes::run_queue::{AllWaits, CgroupWaits, FIRST_WAIT_EXPONENT, LeftOut, RunQueues, WAIT_BUCKETS};
use crate::sample::doubling::BUCKETS;
use crate::sample::event::Name;
use crate::sample::kinds::MetricKind;
use crate::sample::run_queue::{FIRST_EXPONENT, NAMED, RunQueue};
use crate::sampler::engine::Engine;
use crate::store::Container;
use crate::supervisor::Supervisor;
use crate::units::Nanos;

// The program's buckets are those of the samples.
const _: () = assert!(BUCKETS == WAIT_BUCKETS && FIRST_EXPONENT == FIRST_WAIT_EXPONENT);

/// Loads the program where the kind is switched on, and starts the thread that reads it. Without it the collector goes on.
pub(super) fn start(
    config: &Config,
    engine: &Arc<Engine>,
    degradations: &Degradations,
    supervisor: &Supervisor,
) -> io::Result<()> {
    if !config.kinds.has(MetricKind::RunQueue) {
        return Ok(());
    }
    let mut queues = match RunQueues::load(&config.roots) {
        Ok(queues) => queues,
        Err(without) => {
            degradations.set(&without.kind.facility(), &without);
            return Ok(());
        }
    };
    info!(map_bytes = queues.map_bytes(), "run queue: the program is attached to sched_switch");
    let mut reported = false;
    kind_reader::start("run-queue", engine, supervisor, move |engine| {
        read(&mut queues, engine)?;
        let left_out = queues.left_out();
        if !reported && left_out != LeftOut::default() {
            reported = true;
            warn!(?left_out, "run queue: there are more cgroups than are counted");
        }
        Ok(())
    })
}

fn read(queues: &mut RunQueues, engine: &Engine) -> io::Result<()> {
    let hierarchy = kind_reader::hierarchy(engine.context().hierarchies(), "cpu");
    let mut containers = kind_reader::containers_by_id(engine, hierarchy);
    // The root's row has no id.
    containers.extend(engine.store().get(b"/").map(|root| (0, root)));
    let waits = queues.read(|id| containers.contains_key(&id))?;
    for (container, run_queue) in shares(waits, &containers) {
        container.set_run_queue(run_queue);
    }
    Ok(())
}

fn shares(waits: AllWaits, containers: &HashMap<u64, Arc<Container>>) -> Vec<(&Arc<Container>, RunQueue)> {
    let name = |id: u64| containers.get(&id).map(|container| Arc::clone(container.name()));
    let share = |(id, waits): (u64, CgroupWaits)| Some((containers.get(&id)?, run_queue(waits, name)));
    waits.into_iter().filter_map(share).collect()
}

fn run_queue(waits: CgroupWaits, name: impl Fn(u64) -> Option<Name>) -> RunQueue {
    let CgroupWaits { waited, throttled, own, buckets, mut others } = waits;
    others.sort_unstable_by_key(|(id, time)| (std::cmp::Reverse(*time), *id));
    let named = others.into_iter().filter_map(|(id, time)| Some((name(id)?, Nanos(time))));
    let mut behind: Vec<_> = named.take(NAMED).collect();
    behind.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    RunQueue { waited: Nanos(waited), throttled: Nanos(throttled), own: Nanos(own), buckets, behind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_waited_for_longest_are_named() {
        let others = (1..=9).map(|id| (id, id * 100)).collect();
        let waits = CgroupWaits { waited: 5_000, own: 7, others, ..CgroupWaits::default() };
        // One of them is not listed.
        let name = |id: u64| (id != 8).then(|| Name::from(format!("/{id}").into_bytes()));
        let found = run_queue(waits, name);
        let times: Vec<_> = found.behind.iter().map(|(_, time)| time.0).collect();
        assert_eq!(times, [400, 500, 600, 700, 900]);
        assert_eq!((found.waited, found.own), (Nanos(5_000), Nanos(7)));
    }
}
