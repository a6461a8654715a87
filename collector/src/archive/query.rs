//! What the history is asked: a moment, the samples of a container, who there was, what happened. Files are read, so it is
//! asked where blocking is allowed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::records::ArchivedSubject;
use super::run::{Range, SampleColumns};
use super::segment::{ArchivedLife, BlockPlace, Segment, SegmentError, SegmentReader};
use super::storage::FilesRecord;
use super::{Archive, File, guarded, lock};
use crate::sample::application::Round;
use crate::sample::container::Sample;
use crate::sample::event::Event;
use crate::sample::filesystem::Storage;
use crate::units::WallTime;

/// Samples of containers may be this much older than the file that has them.
const SLACK: u64 = 120_000;
/// A container whose last sample is older than this, or than three steps, was not there: idle ones are read every minute.
const ABSENT: u64 = 75_000;
/// What ended is still shown for so long, and a container of a runtime longer: of bare cgroups there may be thousands.
const ENDED: u64 = 120_000;
const ENDED_CONTAINER: u64 = 600_000;

/// A container at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct PastContainer {
    /// Who it was.
    pub subject: Arc<ArchivedSubject>,
    /// Its last samples before the moment, oldest first; at most so many as were asked for.
    pub samples: Vec<Arc<Sample>>,
    /// When it ended, if it had just ended.
    pub ended: Option<WallTime>,
}

/// Which samples are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedSamples {
    /// Not before this.
    pub from: WallTime,
    /// Not after this.
    pub to: WallTime,
    /// Of these the newest.
    pub newest: usize,
}

/// Samples of one container that can be in memory together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplePiece {
    /// Which.
    pub wanted: WantedSamples,
    /// How many at most.
    pub len: usize,
}

impl WantedSamples {
    fn range(&self) -> Range {
        Range { from: self.from.0.div_ceil(1_000_000), to: self.to.millis(), newest: self.newest }
    }
}

impl Archive {
    /// The files that may have something of these milliseconds, oldest first.
    fn within(&self, from: u64, to: u64) -> Vec<Arc<File>> {
        let files = self.files();
        let ends = files.iter().skip(1).map(|next| next.from).chain([u64::MAX]);
        let overlaps = |(file, end): &(&Arc<File>, u64)| file.from <= to.saturating_add(SLACK) && *end >= from;
        files.iter().zip(ends).filter(overlaps).map(|(file, _)| Arc::clone(file)).collect()
    }

    /// Asks a file; `None`, reported, where it cannot answer.
    fn ask<T>(&self, file: &Arc<File>, ask: impl FnOnce(&SegmentReader<'_>) -> Result<T, SegmentError>) -> Option<T> {
        let segment = self.segment(file)?;
        match guarded(|| ask(&segment.reader()?)) {
            Ok(answer) => Some(answer),
            // While nothing can be written it may be that nothing can be read; that is reported by who writes.
            Err(SegmentError::Io(error)) => {
                tracing::debug!(%error, path = %file.path.display(), "the history could not be read");
                None
            }
            Err(error) => {
                if file.path.exists() {
                    self.unusable(&file.path, &error);
                }
                None
            }
        }
    }

    /// A life's samples, oldest first.
    fn of_life(&self, reader: &SegmentReader<'_>, life: u32, range: Range) -> Result<Vec<Arc<Sample>>, SegmentError> {
        // First what is not on disk yet: it may be there the next moment, and then it is found twice.
        let mut later = self.of_tail(reader.segment(), life, range);
        let mut earlier: Vec<Vec<Arc<Sample>>> = Vec::new();
        let mut missing = range.newest.saturating_sub(later.len());
        let before = later.first().map_or(u64::MAX, |sample| sample.at.millis());
        for place in reader.places(life, range.from, range.to)?.iter().rev() {
            if missing == 0 {
                break;
            }
            let to = range.to.min(before.saturating_sub(1));
            let samples = self.of_block(reader, place, Range { to, newest: missing, ..range })?;
            missing = missing.saturating_sub(samples.len());
            earlier.push(samples);
        }
        let mut samples: Vec<_> = earlier.into_iter().rev().flatten().collect();
        samples.append(&mut later);
        Ok(samples)
    }

    fn of_tail(&self, segment: &Segment, life: u32, range: Range) -> Vec<Arc<Sample>> {
        if !self.is_last(segment) {
            return Vec::new();
        }
        lock(&self.tail).samples(life, range, |shape| segment.shape(shape))
    }

    /// Whether the tail is this file's.
    fn is_last(&self, segment: &Segment) -> bool {
        self.files().last().is_some_and(|file| file.path == segment.path())
    }

    fn of_block(
        &self,
        reader: &SegmentReader<'_>,
        place: &BlockPlace,
        range: Range,
    ) -> Result<Vec<Arc<Sample>>, SegmentError> {
        let columns = reader.block(place)?.and_then(|raw| SampleColumns::decode(&raw));
        let found = columns.and_then(|columns| Some((reader.segment().shape(columns.shape)?, columns)));
        let Some((shape, columns)) = found else {
            self.damaged(reader.segment().path(), 1, "blocks of samples");
            return Ok(Vec::new());
        };
        Ok(columns.samples(range, &shape))
    }

    /// The containers that there were at this time, by name, each with its last samples.
    pub fn moment(&self, at: WallTime, samples: usize) -> Vec<PastContainer> {
        let to = at.millis();
        let absent = ABSENT.max(3 * self.options.step.as_millis() as u64);
        let mut found: BTreeMap<_, PastContainer> = BTreeMap::new();
        for file in self.within(to.saturating_sub(ENDED_CONTAINER), to) {
            self.ask(&file, |reader| {
                for (number, life) in reader.segment().lives() {
                    let ended = life.ended.filter(|ended| *ended <= to);
                    let (Some(name), Some(subject)) = (life.name(), life.subject(to)) else { continue };
                    let shown = if subject.identity.is_some() { ENDED_CONTAINER } else { ENDED };
                    if ended.is_some_and(|ended| ended + shown < to) {
                        continue;
                    }
                    let from = ended.unwrap_or(to).saturating_sub(2 * ENDED);
                    let range = Range { from, to, newest: samples };
                    let samples = self.of_life(reader, number, range)?;
                    let Some(last) = samples.last().map(|sample| sample.at) else { continue };
                    if ended.is_none() && last.millis() + absent < to {
                        continue;
                    }
                    let ended = ended.map(|ended| WallTime(ended * 1_000_000));
                    let known = found.get(name).and_then(|moment| moment.samples.last());
                    if known.is_none_or(|known| known.at < last) {
                        found.insert(Arc::clone(name), PastContainer { subject: Arc::clone(subject), samples, ended });
                    }
                }
                Ok(())
            });
        }
        found.into_values().collect()
    }

    /// The samples of the container of this name, oldest first.
    pub fn samples(&self, name: &[u8], wanted: WantedSamples) -> Vec<Arc<Sample>> {
        let range = wanted.range();
        let mut parts = Vec::new();
        let mut missing = range.newest;
        for file in self.within(range.from, range.to).iter().rev() {
            if missing == 0 {
                break;
            }
            let found = self.ask(file, |reader| {
                let mut samples = Vec::new();
                for (number, _) in lives_of(reader, name) {
                    samples.extend(self.of_life(reader, number, Range { newest: missing, ..range })?);
                }
                samples.sort_by_key(|sample: &Arc<Sample>| sample.at);
                samples.dedup_by_key(|sample| sample.at);
                samples.drain(..samples.len().saturating_sub(missing));
                Ok(samples)
            });
            let samples = found.unwrap_or_default();
            missing = missing.saturating_sub(samples.len());
            parts.push(samples);
        }
        parts.into_iter().rev().flatten().collect()
    }

    /// The same in pieces, oldest first.
    pub fn pieces(&self, name: &[u8], wanted: WantedSamples) -> Vec<SamplePiece> {
        let range = wanted.range();
        let mut spans = Vec::new();
        for file in self.within(range.from, range.to) {
            self.ask(&file, |reader| {
                for (number, _) in lives_of(reader, name) {
                    let places = reader.places(number, range.from, range.to)?;
                    spans.extend(places.iter().map(|place| (place.first, place.last, place.len as usize)));
                    if self.is_last(reader.segment()) {
                        spans.extend(lock(&self.tail).spans(number, range.from, range.to));
                    }
                }
                Ok(())
            });
        }
        spans.sort_unstable();
        let mut pieces: Vec<SamplePiece> = Vec::new();
        let (mut missing, mut end) = (range.newest, range.to);
        for (first, last, len) in spans.into_iter().rev() {
            let (from, to) = (first.max(range.from), last.min(end));
            if missing == 0 || from > to {
                continue;
            }
            let len = len.min(missing);
            let time = |millis: u64| WallTime(millis.saturating_mul(1_000_000));
            pieces.push(SamplePiece { wanted: WantedSamples { from: time(from), to: time(to), newest: len }, len });
            // A block that is cut off by the end has fewer; then there are a few more than asked for to choose from.
            if last <= range.to && first >= range.from {
                missing -= len;
            }
            end = from.saturating_sub(1);
        }
        pieces.reverse();
        pieces
    }

    /// Who there was between these times, each under the name it had last; by name.
    pub fn subjects(
        &self,
        from: WallTime,
        to: WallTime,
        mut is_wanted: impl FnMut(&ArchivedSubject) -> bool,
    ) -> Vec<Arc<ArchivedSubject>> {
        let (first, last) = (from.millis(), to.millis());
        let mut found = BTreeMap::new();
        for file in self.within(first, last) {
            self.ask(&file, |reader| {
                for (_, life) in reader.segment().lives() {
                    let began = life.subjects.first().is_some_and(|(at, _)| *at <= last);
                    let there = began && life.ended.is_none_or(|ended| ended >= first);
                    if let Some(subject) = life.subject(last).filter(|subject| there && is_wanted(subject)) {
                        found.insert(Arc::clone(&subject.name), Arc::clone(subject));
                    }
                }
                Ok(())
            });
        }
        found.into_values().collect()
    }

    /// What happened between these times, in the order it was written: each event is shown, and the newest come last.
    pub fn events(&self, from: WallTime, to: WallTime, mut take: impl FnMut(Event)) {
        for file in self.within(from.millis(), to.millis()) {
            let damaged = self.ask(&file, |reader| reader.events(from, to, &mut take));
            self.damaged(&file.path, damaged.unwrap_or_default(), "lists of events");
        }
    }

    /// Shows every container's samples between these times, file by file and block by block. It ends when `show` says
    /// so.
    pub fn walk<E>(
        &self,
        from: WallTime,
        to: WallTime,
        mut show: impl FnMut(&ArchivedSubject, &[Arc<Sample>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let range = WantedSamples { from, to, newest: usize::MAX }.range();
        for file in self.within(range.from, range.to) {
            let done = self.ask(&file, |reader| {
                for (number, life) in reader.segment().lives() {
                    let mut show = |samples: &[Arc<Sample>]| {
                        let Some(last) = samples.last() else { return Ok(()) };
                        life.subject(last.at.millis()).map_or(Ok(()), |subject| show(subject, samples))
                    };
                    for place in reader.places(number, range.from, range.to)? {
                        if let Err(end) = show(&self.of_block(reader, &place, range)?) {
                            return Ok(Err(end));
                        }
                    }
                    if let Err(end) = show(&self.of_tail(reader.segment(), number, range)) {
                        return Ok(Err(end));
                    }
                }
                Ok(Ok(()))
            });
            done.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// What was known, at the time of each of these samples of the container of this name, of what its files take.
    pub fn storage(&self, name: &[u8], samples: &[Arc<Sample>]) -> Vec<Option<Arc<Storage>>> {
        let time = |sample: Option<&Arc<Sample>>| sample.map_or(0, |sample| sample.at.millis());
        let (from, to) = (time(samples.first()), time(samples.last()));
        let mut known: Vec<FilesRecord> = Vec::new();
        for file in self.within(from, to) {
            let damaged = self.ask(&file, |reader| {
                let lives: Vec<_> = lives_of(reader, name).into_iter().map(|(life, _)| life).collect();
                reader.files(to, |files| {
                    if lives.contains(&files.life) {
                        known.push(files);
                    }
                })
            });
            self.damaged(&file.path, damaged.unwrap_or_default(), "lists of what files take");
        }
        known.sort_by_key(|files| files.at);
        let at = |sample: &Arc<Sample>| {
            let later = known.partition_point(|files| files.at <= sample.at.millis());
            known.get(later.checked_sub(1)?).map(|files| Arc::clone(&files.storage))
        };
        samples.iter().map(at).collect()
    }

    /// What the application of the container of this name reported with these samples, oldest first.
    pub fn readings(&self, name: &[u8], samples: &[Arc<Sample>]) -> Vec<(WallTime, Arc<Round>)> {
        let times: BTreeMap<u64, WallTime> = samples.iter().map(|sample| (sample.at.millis(), sample.at)).collect();
        let (Some((from, _)), Some((to, _))) = (times.first_key_value(), times.last_key_value()) else {
            return Vec::new();
        };
        let mut found = BTreeMap::new();
        for file in self.within(*from, *to) {
            let damaged = self.ask(&file, |reader| {
                let lives: Vec<_> = lives_of(reader, name).into_iter().map(|(life, _)| life).collect();
                reader.readings(*from, *to, |reading| {
                    if let Some(at) = times.get(&reading.at).filter(|_| lives.contains(&reading.life)) {
                        found.insert(*at, reading.round);
                    }
                })
            });
            self.damaged(&file.path, damaged.unwrap_or_default(), "lists of what applications report");
        }
        found.into_iter().collect()
    }

    /// Who the container of this name was and what it was allowed between these times: each change with its millisecond.
    pub fn changes(&self, name: &[u8], from: WallTime, to: WallTime) -> Vec<(WallTime, Arc<ArchivedSubject>)> {
        let mut found = Vec::new();
        for file in self.within(from.millis(), to.millis()) {
            self.ask(&file, |reader| {
                let lives = lives_of(reader, name);
                let subjects = lives.into_iter().flat_map(|(_, life)| life.subjects);
                found.extend(subjects.map(|(at, subject)| (WallTime(at.saturating_mul(1_000_000)), subject)));
                Ok(())
            });
        }
        found.sort_by_key(|(at, _)| *at);
        found
    }

    /// Bytes on disk, as last measured.
    pub fn bytes(&self) -> u64 {
        self.counters.bytes.load(Ordering::Relaxed)
    }
}

fn lives_of(reader: &SegmentReader<'_>, name: &[u8]) -> Vec<(u32, ArchivedLife)> {
    let mut lives = reader.segment().lives();
    lives.retain(|(_, life)| life.name().is_some_and(|known| **known == *name));
    lives
}
