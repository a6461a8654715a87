//! What the API asks of the history on disk. A disk may hang: only a few threads read it, and nobody waits for ever.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::rows;
use crate::api::backend::feed::{FeedFigures, FeedRow, FeedSubject, NoHistory, Point, Tick, Trend};
use crate::api::query::StatsQuery;
use crate::api::query::events::{self, EventQuery};
use crate::api::query::export::ExportQuery;
use crate::archive::{self, Archive, ArchiveOptions, PastContainer, WantedSamples};
use crate::degradations::Degradations;
use crate::export;
use crate::rates;
use crate::sample::container::Sample;
use crate::sample::event::{Event, EventData, EventKind, Name};
use crate::sample::exit::Exit;
use crate::sampler::engine::Engine;
use crate::supervisor::Supervisor;
use crate::units::WallTime;

/// Requests that read the disk at once.
const AT_ONCE: usize = 4;
/// How long a request waits for those before it.
const TURN: Duration = Duration::from_secs(10);
/// Memory that the events of one answer may take: those of a busy day.
const EVENT_BYTES: usize = 16 << 20;
/// Pieces of an export that wait for their client.
const PIECES: usize = 2;
/// The last sample of what ended may be so much younger than the event of its end.
const EXIT_BEFORE: Duration = Duration::from_secs(60);
/// How far back a trend goes.
const TREND: Duration = Duration::from_secs(120);

/// The thread that writes, and what it writes.
#[derive(Debug)]
pub(super) struct Recording {
    archive: Arc<Archive>,
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Recording {
    pub(super) fn start(
        options: ArchiveOptions,
        engine: &Engine,
        degradations: &Degradations,
        supervisor: &Supervisor,
    ) -> io::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let store = Arc::clone(engine.store());
        let started = archive::start(options, store, degradations.clone(), supervisor, Arc::clone(&stop));
        started.map(|(archive, thread)| Self { archive, thread, stop })
    }

    pub(super) fn past(&self) -> Past {
        Past {
            archive: Arc::clone(&self.archive),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            exports: Arc::new(Semaphore::new(1)),
        }
    }

    /// Lets the thread write a last step and end.
    pub(super) fn stop(self) -> JoinHandle<()> {
        self.stop.store(true, Ordering::Release);
        self.thread
    }
}

/// Asks the history.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    archive: Arc<Archive>,
    turns: Arc<Semaphore>,
    /// It may take as long as its client likes: one at a time.
    exports: Arc<Semaphore>,
}

impl Past {
    /// What is known without reading a file.
    pub(super) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The answer; `None` when the disk is too slow.
    pub(super) async fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&Archive) -> T + Send + 'static) -> Option<T> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            tracing::debug!("a request did not get its turn to read the history");
            return None;
        };
        let archive = Arc::clone(&self.archive);
        let asked = tokio::task::spawn_blocking(move || {
            let answer = ask(&archive);
            drop(turn);
            answer
        });
        asked.await.inspect_err(|error| tracing::error!(%error, "the history could not be read")).ok()
    }

    /// The same where blocking is allowed.
    fn ask_here<T>(&self, ask: impl FnOnce(&Archive) -> T) -> Option<T> {
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            if let Ok(_turn) = self.turns.try_acquire() {
                return Some(ask(&self.archive));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        tracing::debug!("a request did not get its turn to read the history");
        None
    }

    /// Writes out what the query asks for, as fast as the pieces are taken. Where there is a runtime.
    pub(super) fn export(&self, query: ExportQuery) -> Result<mpsc::Receiver<Bytes>, NoHistory> {
        let turn = Arc::clone(&self.exports).try_acquire_owned().map_err(|_| NoHistory::Exporting)?;
        let (sender, pieces) = mpsc::channel(PIECES);
        let archive = Arc::clone(&self.archive);
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        tokio::task::spawn_blocking(move || {
            let send = |piece: &mut Vec<u8>| sender.blocking_send(Bytes::from(std::mem::take(piece)));
            // Who went away ends it with the next piece.
            let _ = export::write(&archive, &query, &machine, send);
            drop(turn);
        });
        Ok(pieces)
    }

    /// The logged events that a query selects, with those on disk.
    pub(super) fn events(&self, query: &EventQuery, logged: impl Fn(EventKind) -> Vec<Arc<Event>>) -> Vec<Arc<Event>> {
        let (from, to) = (query.start.unwrap_or_default(), query.end.unwrap_or(WallTime(u64::MAX)));
        let mut kinds: HashMap<EventKind, Vec<Arc<Event>>> =
            query.kinds.iter().map(|kind| (*kind, logged(*kind))).collect();
        // What is in the log is on disk too, or will be: of each kind it has all since its first.
        let in_log = |event: &Event, logged: &[Arc<Event>]| {
            logged.first().is_some_and(|first| {
                let at_first = || logged.iter().take_while(|other| other.at == first.at);
                event.at > first.at || event.at == first.at && at_first().any(|other| **other == *event)
            })
        };
        let mut read: HashMap<EventKind, VecDeque<Arc<Event>>> = HashMap::new();
        let mut bytes = 0;
        self.ask_here(|archive| {
            archive.events(from, to, |event| {
                if !events::matches_past(query, &event)
                    || kinds.get(&event.kind).is_some_and(|logged| in_log(&event, logged))
                {
                    return;
                }
                bytes += event.memory();
                let list = read.entry(event.kind).or_default();
                list.push_back(Arc::new(event));
                while bytes > EVENT_BYTES || list.len() > query.max_events.limit() {
                    let Some(oldest) = list.pop_front() else { break };
                    bytes -= oldest.memory();
                }
            });
        });
        for (kind, list) in read {
            let logged = kinds.entry(kind).or_default();
            logged.extend(list);
            logged.sort_by_key(|event| event.at);
        }
        events::select(query, |kind| kinds.get(&kind).into_iter().flatten().rev().cloned().collect::<Vec<_>>())
    }
}

/// The samples that a query for a stretch of the past wants.
pub(super) fn wanted(query: &StatsQuery, before: Option<WallTime>) -> WantedSamples {
    let end = query.end.unwrap_or(WallTime(u64::MAX));
    // Times on disk are cut to the millisecond: a sample that is in memory must not come from there, too.
    let to = before.map_or(end, |before| end.min(WallTime(before.millis().saturating_sub(1) * 1_000_000)));
    WantedSamples { from: query.start.unwrap_or_default(), to, newest: query.count.limit() }
}

/// The number of a row of the past: the same for the same name, and small enough for every client.
fn row_id(name: &Name) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish() >> 12
}

/// How the first processes of what ended lately had ended, by name.
fn exits(archive: &Archive, moments: &[PastContainer], at: WallTime) -> HashMap<Name, Arc<Exit>> {
    let ended = moments.iter().filter_map(|moment| Some((&moment.subject.name, moment.ended?)));
    let ended: HashMap<_, _> = ended.collect();
    let Some(first) = ended.values().min() else { return HashMap::new() };
    let mut found = HashMap::new();
    archive.events(first.back(EXIT_BEFORE), at, |event| {
        if ended.contains_key(&event.container)
            && let EventData::Exit(exit) | EventData::Deletion { exit: Some(exit), .. } = event.data
        {
            found.insert(event.container, exit);
        }
    });
    found
}

/// All rows as they were at this time.
pub(super) fn rows_at(archive: &Archive, at: WallTime) -> Tick {
    let moments = archive.moment(at, 2);
    let exits = exits(archive, &moments, at);
    let row = |moment: &PastContainer| {
        let PastContainer { subject, samples, ended } = moment;
        let name = &subject.name;
        let exit = exits.get(name).map(|exit| exit.in_words(name).into());
        Arc::new(FeedRow {
            id: row_id(name),
            subject: Arc::new(rows::subject(name, subject.identity.clone(), &subject.spec, *ended, exit)),
            subject_changed: 1,
            figures: rows::figures(samples, *ended),
            figures_changed: 1,
        })
    };
    Tick { at, rows: moments.iter().map(row).collect(), ..Tick::default() }
}

/// The two minutes before this time of these rows.
pub(super) fn trends_at(archive: &Archive, ids: &[u64], at: WallTime) -> Vec<Trend> {
    let (from, to) = (at.back(TREND), at);
    let subjects = archive.subjects(from, to, |subject| ids.contains(&row_id(&subject.name)));
    let trend = |subject: &Arc<archive::ArchivedSubject>| {
        let samples = archive.samples(&subject.name, WantedSamples { from, to, newest: usize::MAX });
        trend(row_id(&subject.name), &samples)
    };
    subjects.iter().map(trend).collect()
}

/// What a container used in a span: many samples are one point, with their mean rates and their greatest gauges.
pub(super) fn series(archive: &Archive, name: &[u8], from: WallTime, to: WallTime) -> Vec<Point> {
    const POINTS: u64 = 720;
    let width = (to.since(from).0 / POINTS).max(1);
    let mut points: Vec<Point> = Vec::new();
    // The last sample of the point before, with which rates begin, and that of this one.
    let (mut begin, mut last): (Option<Arc<Sample>>, Option<Arc<Sample>>) = (None, None);
    let changes = archive.changes(name, from.back(TREND), to);
    let limits = |at: WallTime| {
        let later = changes.partition_point(|(from, _)| *from <= at);
        let (_, subject) = changes.get(later.saturating_sub(1))?;
        Some(rows::subject(&subject.name, None, &subject.spec, None, None))
    };
    // One sample before the span, so that its first point has rates.
    let wanted = WantedSamples { from: from.back(TREND), to, newest: usize::MAX };
    for piece in archive.pieces(name, wanted) {
        for sample in archive.samples(name, piece.wanted) {
            if sample.at < from {
                last = Some(sample);
                continue;
            }
            let place = sample.at.since(from).0 / width;
            let is_new = points.last().is_none_or(|point| point.at.since(from).0 / width != place);
            if is_new {
                begin = last.take();
                points.push(Point::default());
            }
            // A number that began anew, as in another life of the container, has no rate.
            let pair: Vec<_> = begin.iter().cloned().chain([Arc::clone(&sample)]).collect();
            let Some(point) = points.last_mut() else { continue };
            let before = std::mem::take(point);
            let figures = rows::figures(&pair, None);
            let memory = sample.memory.as_ref();
            let limits = if is_new { limits(sample.at).unwrap_or_default() } else { FeedSubject::default() };
            *point = Point {
                at: sample.at,
                figures: FeedFigures {
                    memory: figures.memory.max(before.figures.memory),
                    cpu_pressure: figures.cpu_pressure.max(before.figures.cpu_pressure),
                    memory_pressure: figures.memory_pressure.max(before.figures.memory_pressure),
                    io_pressure: figures.io_pressure.max(before.figures.io_pressure),
                    tasks: figures.tasks.max(before.figures.tasks),
                    ..figures
                },
                rss: memory.map(|memory| memory.rss.0 >> 10).max(before.rss),
                cache: memory.map(|memory| memory.cache.0 >> 10).max(before.cache),
                cpu_limit: limits.cpu_limit.or(before.cpu_limit),
                memory_limit: limits.memory_limit.or(before.memory_limit),
                task_limit: limits.task_limit.or(before.task_limit),
            };
            last = Some(sample);
        }
    }
    points
}

/// What happened from one sample to the next.
pub(super) fn trend(id: u64, samples: &[Arc<Sample>]) -> Trend {
    let mut trend = Trend { id, ..Trend::default() };
    for [before, after] in samples.array_windows() {
        trend.at.push(after.at);
        trend.cpu.push(rates::cpu_total(before, after).map(|nanocores| nanocores / 1_000_000));
        trend.memory.push(after.memory.as_ref().map(|memory| memory.working_set.0 >> 10));
    }
    trend
}
