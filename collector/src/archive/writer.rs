//! Writes a step every few seconds, ends files and begins new ones, and drops what is too old or too much.

mod files;
mod reason;

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;

use self::reason::reason;
use super::reading::{self, ApplicationReading};
use super::records::ArchivedSubject;
use super::run::{Shape, numbers};
use super::segment::{Batch, Segment, SegmentError, SubjectChange, frame};
use super::storage::{self, FilesRecord};
use super::tail::{Chain, Pushed, WhichBlocks};
use super::{Archive, ArchiveOptions, File, files_of, guarded, lock, lock_write};
use crate::degradations::Degradations;
use crate::sample::application::Round;
use crate::sample::container::Sample;
use crate::sample::event::Event;
use crate::sample::filesystem::Storage;
use crate::store::event_log::{Received, Subscription};
use crate::store::{Container, Store};
use crate::supervisor::Supervisor;
use crate::units::WallTime;

/// How often events are taken from the log: a storm fills a subscription's queue in a quarter of a second.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes of events that are written before their step is over.
const MANY_EVENTS: usize = 1 << 20;
/// Bytes of events that wait while nothing can be written.
const WAITING_EVENTS: usize = 8 << 20;
/// Bytes of samples that are not in blocks on disk.
const TAIL: usize = 48 << 20;
/// Different shapes in one file; more begin another.
const SHAPES: usize = 4096;
/// A file takes at most this part of what there may be, so that dropping one costs little.
const PART: u64 = 8;
/// The clock was set back when it is this much before the beginning of the newest file.
const SET_BACK: u64 = 60_000;

/// Writes the history; who has one calls [`Self::step`] and `take_events`.
#[derive(Debug)]
pub struct Writer {
    archive: Arc<Archive>,
    /// The file that is written to.
    active: Option<Active>,
    lives: HashMap<usize, WrittenLife>,
    /// Ended containers that are written. As long as they are referred to nobody else is at their place in memory.
    done: HashMap<usize, Weak<Container>>,
    shapes: HashMap<String, u32>,
    next_life: u32,
    next_shape: u32,
    step: u64,
    chain: Chain,
    /// The database takes nothing more after an error of the disk, until it is opened anew.
    failed: bool,
    /// What is to be written with the next step.
    unsaved: Batch,
    unsaved_bytes: usize,
}

#[derive(Debug)]
struct Active {
    file: Arc<File>,
    segment: Arc<Segment>,
}

/// A container that is written.
#[derive(Debug)]
struct WrittenLife {
    container: Arc<Container>,
    number: u32,
    subject: Option<Arc<ArchivedSubject>>,
    last: Option<(Arc<Sample>, u32)>,
    /// What its files took when that was written last.
    storage: Option<Arc<Storage>>,
    /// What its application reported when that was written last.
    round: Option<Arc<Round>>,
    seen: u64,
}

/// Starts the thread that writes the history of this store, and gives what it can be read with.
///
/// # Errors
/// The system has no thread to give. Whatever is wrong with the directory is reported as a degradation.
pub fn start(
    options: ArchiveOptions,
    store: Arc<Store>,
    degradations: Degradations,
    supervisor: &Supervisor,
    stop: Arc<AtomicBool>,
) -> io::Result<(Arc<Archive>, JoinHandle<()>)> {
    let archive = Arc::new(Archive::empty(options, degradations));
    let written = Arc::clone(&archive);
    let thread = supervisor.thread("history", move || {
        let mut writer = Writer::new(written);
        let mut subscription = store.events().subscribe(|_| true);
        let mut next = writer.next_step(now());
        while !stop.load(Ordering::Acquire) {
            writer.take_events(&mut subscription, &store);
            let time = now();
            // The clock may be set.
            if time.millis() >= next || next - time.millis() > 2 * writer.archive.options.step.as_millis() as u64 {
                writer.step(&store, time);
                next = writer.next_step(time);
            }
            std::thread::sleep(LOOK);
        }
        writer.take_events(&mut subscription, &store);
        writer.step(&store, now());
    })?;
    Ok((archive, thread))
}

fn now() -> WallTime {
    WallTime::from(SystemTime::now())
}

impl Writer {
    /// Looks at what the directory has; what the last collector left as rows becomes blocks.
    pub fn new(archive: Arc<Archive>) -> Self {
        let mut writer = Self {
            archive,
            active: None,
            lives: HashMap::new(),
            done: HashMap::new(),
            shapes: HashMap::new(),
            next_life: 0,
            next_shape: 0,
            step: 0,
            chain: Chain::Holds,
            failed: false,
            unsaved: Batch::default(),
            unsaved_bytes: 0,
        };
        let directory = writer.archive.options.directory.clone();
        // Names and labels of all containers are nobody else's business.
        let made = DirBuilder::new().mode(0o700).create(&directory).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        });
        match made.and_then(|()| files_of(&directory)) {
            Ok(files) => *lock_write(&writer.archive.files) = files,
            Err(error) => writer.cannot_write(&SegmentError::Io(error)),
        }
        if let Err(error) = writer.continue_last() {
            writer.cannot_write(&error);
        }
        writer.archive.measure();
        writer
    }

    /// The next moment that is a multiple of the step, in milliseconds.
    fn next_step(&self, time: WallTime) -> u64 {
        let step = (self.archive.options.step.as_millis() as u64).max(1);
        (time.millis() / step + 1) * step
    }

    fn is_over(&self, time: WallTime) -> bool {
        let Some(active) = &self.active else { return true };
        let (from, now) = (active.file.from, time.millis());
        now >= from + self.archive.options.span()
            || now + SET_BACK < from
            || self.shapes.len() > SHAPES
            || active.file.bytes() > self.archive.options.bytes / PART
    }

    /// Takes what the log has. What comes too fast is lost and counted.
    fn take_events(&mut self, subscription: &mut Subscription, store: &Store) {
        loop {
            match subscription.next().now_or_never() {
                Some(Received::Event(event)) => self.add_event(event),
                Some(Received::CutOff { .. }) => {
                    let lost = store.events().renew(subscription);
                    tracing::warn!(lost, "events came faster than the history takes them; some are not kept");
                    self.archive.counters.lost_events.fetch_add(lost, Ordering::Relaxed);
                }
                None | Some(Received::Ended) => break,
            }
        }
        if self.unsaved_bytes > MANY_EVENTS && self.active.is_some() {
            self.commit(None, now());
        }
    }

    /// Keeps an event with the next step.
    pub fn add_event(&mut self, event: Arc<Event>) {
        self.unsaved_bytes += event.memory();
        self.unsaved.events.1.push(event);
        while self.unsaved_bytes > WAITING_EVENTS {
            let dropped = self.unsaved.events.1.remove(0);
            self.unsaved_bytes -= dropped.memory();
            self.archive.counters.lost_events.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what all containers are like at this time.
    pub fn step(&mut self, store: &Store, time: WallTime) {
        if self.failed
            && let Err(error) = self.reopen()
        {
            self.cannot_write(&error);
        }
        if self.active.is_none()
            && let Err(error) = self.continue_last()
        {
            return self.cannot_write(&error);
        }
        if !self.failed
            && self.is_over(time)
            && let Err(error) = self.roll(time)
        {
            self.failed = self.active.is_some();
            self.cannot_write(&error);
        }
        if self.active.is_none() {
            return;
        }
        let row = self.collect(store, time);
        self.commit(Some(row), time);
        self.drop_what_is_too_much(time);
    }

    /// The samples that are new, as a row.
    fn collect(&mut self, store: &Store, time: WallTime) -> Vec<u8> {
        let mut row = Vec::new();
        self.step += 1;
        for container in store.with_prefix(b"/") {
            let sample = container.latest();
            self.see(&container, sample, time, &mut row);
        }
        for container in store.ended(time) {
            let key = Arc::as_ptr(&container).addr();
            if self.done.contains_key(&key) {
                continue;
            }
            self.see(&container, container.closing_sample(), time, &mut row);
            let last = container.latest().map_or(time, |sample| sample.at);
            self.end(key, last.max(WallTime(1)));
            self.done.insert(key, Arc::downgrade(&container));
        }
        reading::keep_what_fits(&mut self.unsaved.readings.1, reading::budget(&self.archive.options));
        self.unsaved.readings.0 = time.millis();
        self.done.retain(|_, container| container.strong_count() > 0);
        let gone: Vec<_> = self.lives.iter().filter(|(_, life)| life.seen < self.step).map(|(key, _)| *key).collect();
        for key in gone {
            self.end(key, time);
        }
        row
    }

    fn see(&mut self, container: &Arc<Container>, sample: Option<Arc<Sample>>, time: WallTime, row: &mut Vec<u8>) {
        let key = Arc::as_ptr(container).addr();
        let next = &mut self.next_life;
        let life = self.lives.entry(key).or_insert_with(|| {
            *next += 1;
            let container = Arc::clone(container);
            WrittenLife { container, number: *next - 1, subject: None, last: None, storage: None, round: None, seen: 0 }
        });
        life.seen = self.step;
        let subject = ArchivedSubject {
            name: Arc::clone(container.name()),
            identity: container.identity(),
            spec: container.spec(),
        };
        let Some(sample) = sample else { return };
        if life.subject.as_deref() != Some(&subject) {
            let subject = Arc::new(subject);
            life.subject = Some(Arc::clone(&subject));
            // The first holds for the first sample.
            let at = if life.last.is_none() { time.min(sample.at) } else { time };
            self.unsaved.subjects.push(SubjectChange { life: life.number, at: at.millis(), subject: Some(subject) });
        }
        if let Some(storage) = container.storage()
            && life.storage.as_ref().is_none_or(|known| !storage::is_same(known, &storage))
        {
            // The first holds for the first sample.
            let at = if life.storage.is_none() { time.min(sample.at) } else { time }.millis();
            life.storage = Some(Arc::clone(&storage));
            self.unsaved.files.push(FilesRecord { life: life.number, at, storage });
        }
        // An ended container's last sample with the kills of its end: a moment after the one without them.
        let again = life.last.as_ref().is_some_and(|(last, _)| last.at.millis() == sample.at.millis());
        let at = sample.at.millis() + u64::from(again);
        let shape = match &life.last {
            Some((last, _)) if again && last.oom_kills == sample.oom_kills => return,
            // Most containers of a machine do nothing most of the time.
            Some((last, shape))
                if self.chain == Chain::Holds
                    && last.is_same_at_another_time(&sample)
                    && lock(&self.archive.tail).repeat(life.number, at, row) =>
            {
                *shape
            }
            known => {
                let shape = match known {
                    Some((last, shape)) if last.same_shape(&sample) => *shape,
                    _ => {
                        let text = Shape::describe(&sample);
                        *self.shapes.entry(text).or_insert_with_key(|text| {
                            self.next_shape += 1;
                            self.unsaved.shapes.push((self.next_shape - 1, text.clone()));
                            self.next_shape - 1
                        })
                    }
                };
                let numbers = numbers(&sample);
                let pushed = Pushed { life: life.number, step: self.step, shape, at, numbers };
                lock(&self.archive.tail).push(pushed, self.chain, row);
                shape
            }
        };
        self.archive.counters.samples.fetch_add(1, Ordering::Relaxed);
        life.last = Some((sample, shape));
        if let Some(round) = container.newest_of_application()
            && life.round.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &round))
        {
            life.round = Some(Arc::clone(&round));
            self.unsaved.readings.1.push(ApplicationReading { life: life.number, at, round });
        }
    }

    fn end(&mut self, key: usize, time: WallTime) {
        let Some(life) = self.lives.remove(&key) else { return };
        lock(&self.archive.tail).finish(life.number);
        if life.subject.is_some() {
            self.unsaved.subjects.push(SubjectChange { life: life.number, at: time.millis(), subject: None });
        }
        drop(life.container);
    }

    fn commit(&mut self, row: Option<Vec<u8>>, time: WallTime) {
        let Some(active) = &self.active else { return };
        if self.failed {
            // Reported anew with the next step that can be written.
            self.unsaved.files.clear();
            self.unsaved.readings.1.clear();
            self.lives.values_mut().for_each(|life| life.storage = None);
            if row.is_some() {
                self.chain = Chain::Broken;
                self.archive.counters.failed_writes.fetch_add(1, Ordering::Relaxed);
            }
            let lost = lock(&self.archive.tail).shrink_to(TAIL);
            self.archive.counters.lost_samples.fetch_add(lost, Ordering::Relaxed);
            return;
        }
        let bundles = {
            let mut tail = lock(&self.archive.tail);
            if tail.memory() > TAIL {
                tail.finish_all();
            }
            tail.bundles(WhichBlocks::FullBundles)
        };
        let blocks = bundles.iter().map(Vec::len).sum();
        let is_step = row.is_some();
        let mut batch = std::mem::take(&mut self.unsaved);
        batch.row = row.filter(|row| !row.is_empty()).map(|row| (self.step, frame(&row, 3)));
        batch.bundles = bundles;
        batch.rows_end = lock(&self.archive.tail).oldest_step(blocks).unwrap_or(self.step + 1);
        batch.events.0 = time.millis();
        let events = batch.events.1.len() as u64;
        match guarded(|| active.segment.write(&batch)) {
            Ok(()) => {
                lock(&self.archive.tail).written(blocks);
                self.unsaved_bytes = 0;
                self.archive.counters.events.fetch_add(events, Ordering::Relaxed);
                if is_step {
                    self.chain = Chain::Holds;
                }
                self.archive.degradations.clear(&"history");
            }
            Err(error) => {
                self.unsaved =
                    Batch { shapes: batch.shapes, subjects: batch.subjects, events: batch.events, ..Batch::default() };
                // Reported anew with the next step that can be written.
                self.lives.values_mut().for_each(|life| life.storage = None);
                if is_step {
                    self.chain = Chain::Broken;
                }
                self.failed = true;
                let lost = lock(&self.archive.tail).shrink_to(TAIL);
                self.archive.counters.lost_samples.fetch_add(lost, Ordering::Relaxed);
                self.cannot_write(&error);
            }
        }
    }

    fn cannot_write(&self, error: &SegmentError) {
        self.archive.counters.failed_writes.fetch_add(1, Ordering::Relaxed);
        let directory = &self.archive.options.directory;
        self.archive.degradations.set(&"history", &reason(directory, error));
    }

    /// Drops the oldest files.
    fn drop_what_is_too_much(&mut self, time: WallTime) {
        let ArchiveOptions { age, bytes, .. } = self.archive.options;
        let oldest = time.back(age).millis();
        loop {
            let files = self.archive.files();
            let taken = self.archive.measure();
            let [first, second, ..] = files.as_slice() else { return };
            let is_active = self.active.as_ref().is_some_and(|active| Arc::ptr_eq(&active.file, first));
            // A file ends where the next one begins.
            if is_active || second.from > oldest && taken <= bytes {
                return;
            }
            if let Err(error) = std::fs::remove_file(&first.path)
                && error.kind() != io::ErrorKind::NotFound
            {
                let directory = &self.archive.options.directory;
                self.archive.degradations.set(&"history", &reason(directory, &SegmentError::Io(error)));
                return;
            }
            tracing::debug!(path = %first.path.display(), "dropped a file of the history");
            lock_write(&self.archive.files).retain(|file| !Arc::ptr_eq(file, first));
            lock(&self.archive.opened).retain(|file| !Arc::ptr_eq(file, first));
        }
    }
}
