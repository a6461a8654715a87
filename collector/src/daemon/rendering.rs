//! Renders `/metrics` on a thread of its own, from what the store has.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use super::backend::{Backend, VERSION};
use super::current::Current;
use super::metrics::{Jobs, Shared, finish, make_room, next};
use super::node_facts::ProcessCounts;
use crate::api::backend::{MetricsUnavailable, Status as _};
use crate::api::prometheus;
use crate::api::prometheus::{Encoder, Endpoint, Entry, ExpositionOptions, Format, Kill, Life, Scrape, Snapshot};
use crate::api::rendering::Rendering;
use crate::sample::event::{Event, EventData, EventKind, Name};
use crate::sampler::engine::Engine;
use crate::store::Container;
use crate::supervisor::Supervisor;
use crate::units::WallTime;

/// OOM kills looked through for exemplars.
const KILLS: usize = 1000;

/// Starts the thread, which ends with those it answers for.
pub(crate) fn start(
    jobs: Jobs,
    answers: Weak<Backend>,
    options: Arc<Current<ExpositionOptions>>,
    supervisor: &Supervisor,
) -> std::io::Result<()> {
    supervisor.thread("metrics", move || {
        let shared = jobs.0;
        while let Some((scrape, at)) = next(&shared) {
            let Some(answers) = answers.upgrade() else { return };
            let began = Instant::now();
            let answer = render(&shared, &answers, &options.get(), scrape).map(Arc::new);
            answers.own_metrics().rendered(began.elapsed());
            finish(&shared, scrape, at, &answer);
        }
    })?;
    Ok(())
}

fn render(
    shared: &Shared,
    answers: &Backend,
    options: &ExpositionOptions,
    scrape: Scrape,
) -> Result<Rendering, MetricsUnavailable> {
    let processes = match scrape.endpoint {
        Endpoint::Kubelet => answers.last_process_counts(),
        Endpoint::Collector | Endpoint::Itself => Arc::default(),
    };
    let snapshot = snapshot(answers, scrape, &processes);
    let mut pieces = Vec::new();
    let mut encoder = Encoder::new(scrape.encoding, |mut piece: Vec<u8>| {
        piece.shrink_to_fit();
        let share = loop {
            match answers.budget().of_scrapes(piece.len()) {
                Some(share) => break share,
                None => make_room(shared, answers.budget())?,
            }
        };
        pieces.push(share.hold(piece));
        Ok(())
    })?;
    let mut text = Vec::new();
    prometheus::render(&snapshot, options, scrape, &mut text, &mut |piece| encoder.take(piece));
    encoder.finish(text)?;
    Ok(Rendering::new(pieces))
}

fn snapshot(answers: &Backend, scrape: Scrape, processes: &ProcessCounts) -> Snapshot {
    let engine = answers.engine();
    let at = WallTime::from(SystemTime::now());
    Snapshot {
        at,
        containers: match scrape.endpoint {
            Endpoint::Collector => entries(engine, at, &BTreeMap::new()),
            Endpoint::Kubelet => entries(engine, at, processes),
            Endpoint::Itself => Vec::new(),
        },
        restarts: engine.store().restarts(at),
        pods: engine.store().pods().all(),
        machine: answers.current_machine(),
        filesystems: engine.store().filesystems(),
        version: VERSION,
        own: match scrape.endpoint {
            Endpoint::Collector | Endpoint::Itself => answers.own_families(),
            Endpoint::Kubelet => Vec::new(),
        },
        kills: match scrape.format {
            Format::OpenMetrics | Format::Protobuf => kills(engine),
            Format::Text | Format::RemoteWrite => BTreeMap::new(),
        },
    }
}

/// The containers that are there, and those that ended and whose name nobody has taken over.
fn entries(engine: &Engine, now: WallTime, processes: &ProcessCounts) -> Vec<Entry> {
    let store = engine.store();
    let oom_kills = store.oom_counts(now);
    let entry = |container: &Container, life| Entry {
        name: Arc::clone(container.name()),
        life,
        sample: container.latest(),
        processes: processes.get(container.name()).copied(),
        spec: container.spec(),
        identity: container.identity(),
        storage: container.storage(),
        exit: container.exit(),
        peaks: container.peaks(now),
        run_queue: container.run_queue(),
        network_cgroup: container.network_cgroup(),
        block_latency: container.block_latency(),
        is_from_runtime: container.is_from_runtime(),
        application: container.newest_of_application(),
        oom_kills: oom_kills.get(container.name()).copied().unwrap_or(0),
    };
    // One that ended after it was listed as running is in both lists, one made anew meanwhile too.
    let running = store.with_prefix(b"/");
    let ended = store.ended(now);
    let mut entries: Vec<Entry> = running.iter().map(|container| entry(container, Life::Running)).collect();
    if !ended.is_empty() {
        // Of several ends under one name the last counts.
        let ended = ended.iter().rev().map(|container| entry(container, Life::Ended));
        entries.extend(ended.filter(|entry| entry.sample.is_some() || entry.oom_kills > 0 || entry.exit.is_some()));
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        entries.dedup_by(|later, first| later.name == first.name);
    }
    entries
}

/// The newest kill of each victim's container.
fn kills(engine: &Engine) -> BTreeMap<Name, Kill> {
    let recent = engine.store().events().recent(EventKind::Oom, None, None, KILLS);
    let kill = |event: &Arc<Event>| {
        let EventData::Oom(kill) = &event.data else { return None };
        let pid = kill.victim.pid?;
        Some((Arc::clone(&event.container), Kill { at: event.at, pid, command: kill.victim.comm.clone() }))
    };
    recent.iter().filter_map(kill).collect()
}
