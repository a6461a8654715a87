//! The table of rows behind the page's feed: brought up to date when somebody asks, and no more than twice a second
//! however many ask.
//!
//! It is one for all clients and has a row for each container that is listed or ended lately, both of which are bounded;
//! of a row it keeps the counters that the next rates begin with.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use crate::api::backend::feed::{Cursor, FeedFigures, FeedRow, FeedSubject, Tick};
use crate::kernel::text_formats::unsigned;
use crate::reader::container::Scratch;
use crate::sample::container::{IoStat, Pressure, Sample};
use crate::sample::event::Name;
use crate::sample::identity::Identity;
use crate::sample::spec::{MemoryLimit, Spec};
use crate::sample::unread::Part;
use crate::sampler::engine::Engine;
use crate::store::Container;
use crate::units::{Limit, Nanos, WallTime};

/// A table this young is not brought up to date again.
const YOUNG: Duration = Duration::from_millis(500);
/// Rates over more than this say nothing of now: the samples of the history are taken instead.
const LONGEST: Nanos = Nanos(15_000_000_000);
/// How many rows are remembered as gone. Whoever was away for longer gets all rows.
const GONE: usize = 4096;
/// Containers whose tasks are counted with each update: all of them in turn, where the samples do not have it.
const TASKS_AT_ONCE: usize = 256;
/// Limits are read every 20 to 40 seconds. A runtime sets them after it has made the cgroup, so those of containers that
/// are younger than this are read more often, of so many with each update.
const YOUNG_CONTAINER: Nanos = Nanos(60_000_000_000);
const LIMITS_AGE: Duration = Duration::from_secs(1);
const LIMITS_AT_ONCE: usize = 64;
/// A memory limit from this on is none: v1 says 9223372036854771712.
const NO_LIMIT: u64 = 1 << 62;

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    run: u64,
    state: Mutex<TableState>,
    /// Whether somebody reads limits at the moment.
    reads_limits: AtomicBool,
}

impl Default for Table {
    fn default() -> Self {
        // Of two collectors one after the other on a port, the second must not take the first one's cursors for its own.
        Self { run: WallTime::from(SystemTime::now()).0, state: Mutex::default(), reads_limits: AtomicBool::new(false) }
    }
}

#[derive(Debug, Default)]
struct TableState {
    version: u64,
    updated: Option<Instant>,
    /// By where the container is in memory: nobody else is there as long as it is referred to.
    rows: HashMap<usize, KnownRow>,
    last_id: u64,
    /// Rows that are no more, with the version since which; the last one last.
    gone: VecDeque<(u64, u64)>,
    /// Clients that have seen less than this get all rows.
    forgotten: u64,
    /// Containers whose limits should be read again.
    limits_due: Vec<Name>,
}

/// A row and what the next one is made with.
#[derive(Debug)]
struct KnownRow {
    container: Weak<Container>,
    row: Arc<FeedRow>,
    counters: Option<RowCounters>,
    /// The version in which it was there last.
    seen: u64,
}

/// Whether a container is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowLife {
    Running,
    Ended,
}

/// The counters of a sample that rates are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RowCounters {
    at: WallTime,
    cpu: Option<u64>,
    periods: Option<u64>,
    throttled: Option<u64>,
    received: Option<u64>,
    sent: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
}

impl Table {
    /// The rows that changed since this cursor; all of them for who has none of this run, or an old one.
    pub(super) fn rows(&self, engine: &Engine, since: Option<Cursor>, now: WallTime) -> Tick {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.updated.is_none_or(|updated| updated.elapsed() >= YOUNG) {
            state.update(engine, now);
            state.updated = Some(Instant::now());
        }
        let is_known =
            |since: &Cursor| since.run == self.run && (state.forgotten..=state.version).contains(&since.version);
        let since = since.filter(is_known).map(|since| since.version);
        let seen = since.unwrap_or_default();
        let changed = |row: &FeedRow| row.subject_changed > seen || row.figures_changed > seen;
        let mut rows: Vec<_> =
            state.rows.values().map(|known| &known.row).filter(|row| changed(row)).map(Arc::clone).collect();
        rows.sort_unstable_by_key(|row| row.id);
        let gone = state.gone.iter().rev().take_while(|(version, _)| *version > seen).map(|(_, id)| *id);
        Tick {
            cursor: Cursor { run: self.run, version: state.version },
            since,
            rows,
            gone: if since.is_some() { gone.collect() } else { Vec::new() },
            ..Tick::default()
        }
    }

    /// Reads the limits that are due on a thread that nobody waits for: a sample that hangs holds it up.
    pub(super) fn read_limits(self: &Arc<Self>, engine: &Arc<Engine>) {
        let due = std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).limits_due);
        if due.is_empty() || self.reads_limits.swap(true, Ordering::AcqRel) {
            return;
        }
        let (reading, engine) = (ReadsLimits(Arc::clone(self)), Arc::clone(engine));
        tokio::task::spawn_blocking(move || {
            let mut scratch = Scratch::default();
            for tracked in due.iter().filter_map(|name| engine.tracked(name)) {
                engine.refresh_spec(&tracked, &mut scratch);
            }
            drop(reading);
        });
    }

    pub(super) fn containers(&self, ids: &[u64]) -> Vec<(u64, Arc<Container>)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = state.rows.values().filter(|known| ids.contains(&known.row.id));
        wanted.filter_map(|known| Some((known.row.id, known.container.upgrade()?))).collect()
    }
}

/// Lets the next one read, whatever became of this reading.
struct ReadsLimits(Arc<Table>);

impl Drop for ReadsLimits {
    fn drop(&mut self) {
        self.0.reads_limits.store(false, Ordering::Release);
    }
}

impl TableState {
    fn update(&mut self, engine: &Engine, now: WallTime) {
        self.version += 1;
        let turns = self.rows.len() / TASKS_AT_ONCE + 1;
        let turn = self.version % turns as u64;
        let mut scratch = Scratch::default();
        let store = engine.store();
        // One that ends meanwhile is in both lists, and has ended.
        let running = store.with_prefix(b"/").into_iter().map(|container| (container, RowLife::Running));
        for (container, life) in
            running.chain(store.ended(now).into_iter().map(|container| (container, RowLife::Ended)))
        {
            if life == RowLife::Running && self.limits_due.len() < LIMITS_AT_ONCE && limits_are_due(&container, now) {
                self.limits_due.push(Arc::clone(container.name()));
            }
            let tasks = |id: u64, scratch: &mut Scratch| {
                (life == RowLife::Running && id % turns as u64 == turn).then(|| tasks(engine, &container, scratch))
            };
            self.see(&container, life, now, |id| tasks(id, &mut scratch));
        }
        let version = self.version;
        let (gone, forgotten) = (&mut self.gone, &mut self.forgotten);
        self.rows.retain(|_, known| {
            if known.seen < version {
                gone.push_back((version, known.row.id));
            }
            known.seen == version
        });
        while gone.len() > GONE {
            *forgotten = gone.pop_front().map_or(*forgotten, |(version, _)| version);
        }
    }

    /// A container that is there; `tasks` counts its tasks if it is its turn.
    fn see(
        &mut self,
        container: &Arc<Container>,
        life: RowLife,
        now: WallTime,
        tasks: impl FnOnce(u64) -> Option<Option<u64>>,
    ) {
        let version = self.version;
        let key = Arc::as_ptr(container).addr();
        let known = self.rows.entry(key).or_insert_with(|| {
            self.last_id += 1;
            let row = FeedRow {
                id: self.last_id,
                subject: Arc::default(),
                subject_changed: 0,
                figures: FeedFigures::default(),
                figures_changed: 0,
            };
            KnownRow { container: Arc::downgrade(container), row: Arc::new(row), counters: None, seen: 0 }
        });
        known.seen = version;
        let latest = container.latest();
        let old = Arc::clone(&known.row);
        let ended = (life == RowLife::Ended).then(|| {
            let last = latest.as_ref().map(|sample| sample.at);
            old.subject.ended.or(last).unwrap_or(now)
        });
        let exit = container.exit().map(|exit| exit.in_words(container.name()).into());
        let subject = subject(container.name(), container.identity(), &container.spec(), ended, exit);
        let figures = FeedFigures {
            oom_kills: container.oom_kills(),
            tasks: match latest.as_ref().and_then(|sample| sample.processes?.threads) {
                _ if life == RowLife::Ended => None,
                Some(threads) => Some(threads),
                None => tasks(old.id).unwrap_or(old.figures.tasks),
            },
            ..known.figures(container, latest.as_deref(), life)
        };
        let is_new = old.subject_changed == 0;
        let (subject_changed, figures_changed) = (is_new || *old.subject != subject, is_new || old.figures != figures);
        if subject_changed || figures_changed {
            known.row = Arc::new(FeedRow {
                id: old.id,
                subject: if subject_changed { Arc::new(subject) } else { Arc::clone(&old.subject) },
                subject_changed: if subject_changed { version } else { old.subject_changed },
                figures,
                figures_changed: if figures_changed { version } else { old.figures_changed },
            });
        }
    }
}

impl KnownRow {
    /// What the newest sample says, and what changed since the one before.
    fn figures(&mut self, container: &Container, latest: Option<&Sample>, life: RowLife) -> FeedFigures {
        let Some(latest) = latest else { return FeedFigures::default() };
        let gauges = gauges(latest);
        if life == RowLife::Ended {
            return FeedFigures { peak: gauges.peak, ..FeedFigures::default() };
        }
        let after = RowCounters::of(latest);
        let before = match self.counters {
            // Nothing new.
            Some(before) if before.at == after.at => return self.row.figures,
            Some(before) if before.at < after.at && after.at.since(before.at) <= LONGEST => Some(before),
            _ => container.span(Duration::from_secs(1)).map(|[before, _]| RowCounters::of(&before)),
        };
        self.counters = Some(after);
        before.map_or(gauges, |before| with_rates(gauges, &before, &after))
    }
}

impl RowCounters {
    fn of(sample: &Sample) -> Self {
        let cfs = sample.cpu.as_ref().and_then(|cpu| cpu.cfs);
        let interfaces = sample.network.as_ref().map(|network| &network.interfaces).filter(|list| !list.is_empty());
        let moved = |direction: &str| {
            let devices = sample.io.as_ref()?.devices.iter().filter(|device| device.stat == IoStat::ServiceBytes);
            let operations = devices.flat_map(|device| &device.operations);
            Some(operations.filter(|(operation, _)| *operation == direction).map(|(_, bytes)| bytes).sum())
        };
        Self {
            at: sample.at,
            cpu: sample.cpu.as_ref().filter(|_| !sample.unread.has(Part::CpuTotal)).map(|cpu| cpu.total.0),
            periods: cfs.and_then(|cfs| cfs.periods),
            throttled: cfs.and_then(|cfs| cfs.throttled_periods),
            received: interfaces.map(|list| list.iter().map(|interface| interface.receive.bytes).sum()),
            sent: interfaces.map(|list| list.iter().map(|interface| interface.transmit.bytes).sum()),
            read: moved("Read"),
            written: moved("Write"),
        }
    }
}

/// What a container used by its last samples: that of the past, of which there is no table.
pub(super) fn figures(samples: &[Arc<Sample>], ended: Option<WallTime>) -> FeedFigures {
    let Some(latest) = samples.last() else { return FeedFigures::default() };
    let now = gauges(latest);
    let figures = match samples {
        _ if ended.is_some() => FeedFigures { peak: now.peak, ..FeedFigures::default() },
        [.., before, after] => with_rates(now, &RowCounters::of(before), &RowCounters::of(after)),
        _ => now,
    };
    let tasks = latest.processes.and_then(|processes| processes.threads).filter(|_| ended.is_none());
    FeedFigures { oom_kills: latest.oom_kills, tasks, ..figures }
}

fn gauges(sample: &Sample) -> FeedFigures {
    let memory = sample.memory.as_ref();
    let waiting = |pressure: Option<Pressure>| Some(pressure?.some?.avg10 / 10);
    FeedFigures {
        memory: memory.map(|memory| memory.working_set.0 >> 10),
        peak: memory.and_then(|memory| memory.max_usage).map(|bytes| bytes.0 >> 10),
        cpu_pressure: waiting(sample.cpu.as_ref().and_then(|cpu| cpu.pressure)),
        memory_pressure: waiting(memory.and_then(|memory| memory.pressure)),
        io_pressure: waiting(sample.io.as_ref().and_then(|io| io.pressure)),
        ..FeedFigures::default()
    }
}

/// A counter that fell was reset in between: there is no rate then.
fn with_rates(gauges: FeedFigures, before: &RowCounters, after: &RowCounters) -> FeedFigures {
    let nanos = after.at.since(before.at).0;
    let grown = |of: fn(&RowCounters) -> Option<u64>| of(after)?.checked_sub(of(before)?);
    let per_second = |grown: u64| (u128::from(grown) * 1_000_000_000 / u128::from(nanos.max(1))) as u64;
    let bytes = |of: fn(&RowCounters) -> Option<u64>| grown(of).map(|grown| three_digits(per_second(grown)));
    let periods = grown(|counters| counters.periods).filter(|periods| *periods > 0);
    FeedFigures {
        cpu: grown(|counters| counters.cpu).map(|used| per_second(used) / 1_000_000),
        throttled: grown(|counters| counters.throttled).zip(periods).map(|(throttled, of)| throttled * 100 / of),
        received: bytes(|counters| counters.received),
        sent: bytes(|counters| counters.sent),
        read: bytes(|counters| counters.read),
        written: bytes(|counters| counters.written),
        ..gauges
    }
}

/// Nobody sees more of it, and it compresses better.
fn three_digits(number: u64) -> u64 {
    let mut scale = 1;
    while number / scale >= 1000 {
        scale *= 10;
    }
    number / scale * scale
}

/// What is shown of who a container is.
pub(super) fn subject(
    name: &Name,
    identity: Option<Arc<Identity>>,
    spec: &Spec,
    ended: Option<WallTime>,
    exit: Option<Box<str>>,
) -> FeedSubject {
    let Spec { created, cpu, memory, processes, .. } = spec;
    let quota = cpu.as_ref().and_then(|cpu| Some(cpu.quota?.0 * 1000 / cpu.period?.0.max(1)));
    FeedSubject {
        name: Arc::clone(name),
        identity,
        exit,
        created: *created,
        cpu_limit: quota,
        memory_limit: match memory.as_ref().and_then(|memory| memory.limit) {
            Some(MemoryLimit::Bytes(limit)) if (1..NO_LIMIT).contains(&limit.0) => Some(limit),
            _ => None,
        },
        task_limit: match processes {
            Some(Limit::Value(limit)) => Some(*limit),
            Some(Limit::Max) | None => None,
        },
        ended,
    }
}

fn limits_are_due(container: &Container, now: WallTime) -> bool {
    let is_young = container.spec().created.is_some_and(|created| now.since(created) < YOUNG_CONTAINER);
    is_young && container.spec_age().is_none_or(|age| age >= LIMITS_AGE)
}

/// Its processes and threads now, if the kernel counts them.
fn tasks(engine: &Engine, container: &Container, scratch: &mut Scratch) -> Option<u64> {
    let hierarchy = engine.context().hierarchies().with_controller("pids")?;
    let text = hierarchy.file(container.name(), "pids.current").read(scratch.buffer()).ok()?;
    unsigned(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(second: u64, all: u64) -> RowCounters {
        let all = Some(all);
        RowCounters {
            at: WallTime(second * 1_000_000_000),
            cpu: all,
            periods: all,
            throttled: all.map(|all| all / 2),
            received: all,
            sent: None,
            read: all,
            written: all,
        }
    }

    #[test]
    fn rates_are_per_second_and_absent_where_a_counter_fell() {
        let gauges = FeedFigures { memory: Some(7), ..FeedFigures::default() };
        let rates = with_rates(gauges, &counters(1, 1_000_000), &counters(3, 1_003_000_000));
        let expected = FeedFigures {
            memory: Some(7),
            cpu: Some(501),
            throttled: Some(50),
            received: Some(501_000_000),
            read: Some(501_000_000),
            written: Some(501_000_000),
            ..FeedFigures::default()
        };
        assert_eq!(rates, expected);
        assert_eq!(with_rates(gauges, &counters(1, 10), &counters(3, 9)), gauges);
        let idle = with_rates(gauges, &counters(1, 10), &counters(3, 10));
        assert_eq!((idle.cpu, idle.throttled), (Some(0), None), "without periods nothing was throttled");
    }

    #[test]
    fn rates_have_three_digits() {
        let rounded = [0, 999, 1000, 1234, 98_765, 123_456_789].map(three_digits);
        assert_eq!(rounded, [0, 999, 1000, 1230, 98_700, 123_000_000]);
    }
}
