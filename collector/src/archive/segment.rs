//! One file of the history: a redb database with the samples and events of about an hour.
//!
//! A file is ended and another begun, so that old ones are dropped whole and a file that cannot be read any more costs
//! its hour alone. Each step is a row, committed before the next step: that is all a crash can cost. Rows become blocks
//! of one container each, and many blocks go into one value, because the database rounds large values up to powers of
//! two. Every row and block is a zstd frame with a checksum of its own.

mod reader;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;

pub(super) use self::reader::SegmentReader;
use super::reading::ApplicationReading;
use super::records::{ArchivedSubject, describe_event};
use super::run::Shape;
use super::storage::FilesRecord;
use crate::sample::event::{Event, Name};

/// What this collector writes. A file with another number is left alone.
const FORMAT: u64 = 1;
/// What a frame may become; more is damage.
const MOST_BYTES: usize = 64 << 20;
/// What the database keeps of a file in memory.
const CACHE: usize = 1 << 20;

/// Last millisecond, samples, bundle, offset, bytes.
type PlaceValue = (u64, u32, u64, u32, u32);
/// Steps and their rows.
type Rows = Vec<(u64, Vec<u8>)>;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Shapes of samples by number.
const SHAPES: TableDefinition<u32, &[u8]> = TableDefinition::new("shapes");
/// Who containers are, as lists of changes.
const SUBJECTS: TableDefinition<u64, &[u8]> = TableDefinition::new("subjects");
/// Steps that are not in blocks yet.
const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
/// Where the blocks are: container and first millisecond; last millisecond, samples, bundle, offset, bytes.
const BLOCKS: TableDefinition<(u32, u64), PlaceValue> = TableDefinition::new("blocks");
/// Blocks one behind the other.
const BUNDLES: TableDefinition<u64, &[u8]> = TableDefinition::new("bundles");
/// Lists of events by the millisecond at which they were written.
const EVENTS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("events");

/// Lists of what containers' files take, in the order they were written.
const FILES: TableDefinition<u64, &[u8]> = TableDefinition::new("files");
/// Lists of what containers' applications reported, by the millisecond at which they were written.
const READINGS: TableDefinition<u64, &[u8]> = TableDefinition::new("readings");

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    /// The database cannot.
    #[error("{0}")]
    Database(String),
    /// It holds what another version wrote.
    #[error("its format is {0}, and this collector reads {FORMAT}")]
    Format(u64),
    /// It could not be created or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl SegmentError {
    fn from_redb(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::Io(error),
            redb::Error::PreviousIo => Self::Io(io::Error::other("an error of the disk before")),
            redb::Error::DatabaseAlreadyOpen => Self::Database("another process has it open".to_owned()),
            other => Self::Database(other.to_string()),
        }
    }
}

/// Any of the database's many error types.
fn redb(error: impl Into<redb::Error>) -> SegmentError {
    SegmentError::from_redb(error.into())
}

/// What is written with one step, all of it or nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// The step's samples.
    pub(super) row: Option<(u64, Vec<u8>)>,
    /// New shapes.
    pub(super) shapes: Vec<(u32, String)>,
    /// What is new of who containers are.
    pub(super) subjects: Vec<SubjectChange>,
    /// What is new of what their files take.
    pub(super) files: Vec<FilesRecord>,
    /// What their applications reported, with the millisecond at which it is written.
    pub(super) readings: (u64, Vec<ApplicationReading>),
    /// Blocks, in the lists in which they are kept together.
    pub(super) bundles: Vec<Vec<Block>>,
    /// Rows of steps before this one are in blocks now.
    pub(super) rows_end: u64,
    /// What happened, with the millisecond at which it is written.
    pub(super) events: (u64, Vec<Arc<Event>>),
}

/// A block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) life: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) len: u32,
    pub(super) step: u64,
    pub(super) frame: Vec<u8>,
}

/// Something new of one life of a container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SubjectChange {
    pub(super) life: u32,
    /// In milliseconds.
    pub(super) at: u64,
    /// Who it is from now on; `None` when it ended.
    pub(super) subject: Option<Arc<ArchivedSubject>>,
}

/// What is known of one life of a container.
#[derive(Clone, Debug, Default)]
pub(super) struct ArchivedLife {
    /// Who it was, from which millisecond on.
    pub(super) subjects: Vec<(u64, Arc<ArchivedSubject>)>,
    /// When it ended.
    pub(super) ended: Option<u64>,
}

impl ArchivedLife {
    pub(super) fn name(&self) -> Option<&Name> {
        self.subjects.first().map(|(_, subject)| &subject.name)
    }

    /// Who it was at this millisecond, or at first.
    pub(super) fn subject(&self, at: u64) -> Option<&Arc<ArchivedSubject>> {
        let later = self.subjects.partition_point(|(from, _)| *from <= at);
        self.subjects.get(later.saturating_sub(1)).map(|(_, subject)| subject)
    }
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BlockPlace {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) len: u32,
    bundle: u64,
    offset: u32,
    bytes: u32,
}

enum SegmentBase {
    Written(Database),
    Read(ReadOnlyDatabase),
}

/// An open file.
pub(super) struct Segment {
    path: PathBuf,
    base: SegmentBase,
    index: RwLock<Index>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Index {
    lives: BTreeMap<u32, ArchivedLife>,
    shapes: HashMap<u32, Arc<Shape>>,
}

impl Index {
    fn take(&mut self, change: &SubjectChange) {
        let life = self.lives.entry(change.life).or_default();
        match &change.subject {
            Some(subject) => life.subjects.push((change.at, Arc::clone(subject))),
            None => life.ended = Some(change.at),
        }
    }
}

/// A frame with a checksum, and before it the bytes it becomes.
pub(super) fn frame(raw: &[u8], level: i32) -> Vec<u8> {
    let packed = zstd::bulk::Compressor::new(level).and_then(|mut compressor| {
        compressor.include_checksum(true)?;
        compressor.compress(raw)
    });
    // Compressing fails for want of memory alone, where nothing else works either.
    let packed = packed.unwrap_or_default();
    let mut out = Vec::with_capacity(4 + packed.len());
    out.extend_from_slice(&u32::try_from(raw.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&packed);
    out
}

/// What was framed; `None` when it is damaged.
pub(super) fn unframe(bytes: &[u8]) -> Option<Vec<u8>> {
    let (len, packed) = bytes.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let raw = zstd::bulk::decompress(packed, len.min(MOST_BYTES)).ok()?;
    (raw.len() == len).then_some(raw)
}

fn unframed_json(bytes: &[u8]) -> Option<Vec<Value>> {
    serde_json::from_slice(&unframe(bytes)?).ok()
}

impl Segment {
    /// Opens a file to write to it; one that is not there is made.
    pub(super) fn create(path: &Path) -> Result<Self, SegmentError> {
        let base = Database::builder().set_cache_size(CACHE).create(path).map_err(redb)?;
        let mut write = base.begin_write().map_err(redb)?;
        write.set_durability(Durability::Immediate).map_err(redb)?;
        write.set_quick_repair(true);
        {
            let mut meta = write.open_table(META).map_err(redb)?;
            let format = meta.get("format").map_err(redb)?.map(|format| format.value());
            if let Some(format) = format.filter(|format| *format != FORMAT) {
                return Err(SegmentError::Format(format));
            }
            meta.insert("format", FORMAT).map_err(redb)?;
            // Readers find every table.
            write.open_table(SHAPES).map_err(redb)?;
            write.open_table(SUBJECTS).map_err(redb)?;
            write.open_table(ROWS).map_err(redb)?;
            write.open_table(BLOCKS).map_err(redb)?;
            write.open_table(BUNDLES).map_err(redb)?;
            write.open_table(EVENTS).map_err(redb)?;
            write.open_table(FILES).map_err(redb)?;
            write.open_table(READINGS).map_err(redb)?;
        }
        write.commit().map_err(redb)?;
        Self::load(path, SegmentBase::Written(base)).map(|(segment, _)| segment)
    }

    /// Opens a file to read it; with it how many of its records of containers are damaged.
    pub(super) fn open(path: &Path) -> Result<(Self, usize), SegmentError> {
        let base = Database::builder().set_cache_size(CACHE).open_read_only(path).map_err(redb)?;
        let read = base.begin_read().map_err(redb)?;
        let format = read.open_table(META).map_err(redb)?.get("format").map_err(redb)?.map(|format| format.value());
        match format {
            Some(FORMAT) => Self::load(path, SegmentBase::Read(base)),
            other => Err(SegmentError::Format(other.unwrap_or_default())),
        }
    }

    fn load(path: &Path, base: SegmentBase) -> Result<(Self, usize), SegmentError> {
        let segment = Self { path: path.to_path_buf(), base, index: RwLock::default() };
        let read = segment.begin_read()?;
        let (mut index, mut damaged) = (Index::default(), 0);
        for row in read.open_table(SHAPES).map_err(redb)?.iter().map_err(redb)? {
            let (number, text) = row.map_err(redb)?;
            match unframe(text.value()).and_then(|text| Shape::restore(&text)) {
                Some(shape) => {
                    index.shapes.insert(number.value(), Arc::new(shape));
                }
                None => damaged += 1,
            }
        }
        for row in read.open_table(SUBJECTS).map_err(redb)?.iter().map_err(redb)? {
            let (_, list) = row.map_err(redb)?;
            let Some(list) = unframed_json(list.value()) else {
                damaged += 1;
                continue;
            };
            for change in list.iter().filter_map(restore_change) {
                index.take(&change);
            }
        }
        *segment.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        Ok((segment, damaged))
    }

    fn begin_read(&self) -> Result<ReadTransaction, SegmentError> {
        match &self.base {
            SegmentBase::Written(base) => base.begin_read().map_err(redb),
            SegmentBase::Read(base) => base.begin_read().map_err(redb),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a step; when it fails, nothing of it is there.
    pub(super) fn write(&self, batch: &Batch) -> Result<(), SegmentError> {
        let SegmentBase::Written(base) = &self.base else {
            return Err(SegmentError::Database("it is open to be read only".to_owned()));
        };
        let mut write = base.begin_write().map_err(redb)?;
        write.set_durability(Durability::Immediate).map_err(redb)?;
        // So that opening the file after a crash reads none of it but the last commit.
        write.set_quick_repair(true);
        {
            let mut shapes = write.open_table(SHAPES).map_err(redb)?;
            for (number, text) in &batch.shapes {
                shapes.insert(number, frame(text.as_bytes(), 9).as_slice()).map_err(redb)?;
            }
            if !batch.subjects.is_empty() {
                let list = Value::Array(batch.subjects.iter().map(describe_change).collect()).to_string();
                let mut subjects = write.open_table(SUBJECTS).map_err(redb)?;
                let next = subjects.last().map_err(redb)?.map_or(0, |(last, _)| last.value() + 1);
                subjects.insert(next, frame(list.as_bytes(), 9).as_slice()).map_err(redb)?;
            }
            if !batch.files.is_empty() {
                let list = Value::Array(batch.files.iter().map(FilesRecord::describe).collect()).to_string();
                let mut files = write.open_table(FILES).map_err(redb)?;
                let next = files.last().map_err(redb)?.map_or(0, |(last, _)| last.value() + 1);
                files.insert(next, frame(list.as_bytes(), 6).as_slice()).map_err(redb)?;
            }
            let (at, readings) = &batch.readings;
            if !readings.is_empty() {
                let list = Value::Array(readings.iter().map(ApplicationReading::describe).collect()).to_string();
                let mut table = write.open_table(READINGS).map_err(redb)?;
                table.insert(at, frame(list.as_bytes(), 6).as_slice()).map_err(redb)?;
            }
            let mut rows = write.open_table(ROWS).map_err(redb)?;
            if let Some((step, row)) = &batch.row {
                rows.insert(step, row.as_slice()).map_err(redb)?;
            }
            while rows.first().map_err(redb)?.is_some_and(|(first, _)| first.value() < batch.rows_end) {
                rows.pop_first().map_err(redb)?;
            }
            let mut bundles = write.open_table(BUNDLES).map_err(redb)?;
            let mut places = write.open_table(BLOCKS).map_err(redb)?;
            for blocks in &batch.bundles {
                let bundle = bundles.last().map_err(redb)?.map_or(0, |(last, _)| last.value() + 1);
                let mut bytes = Vec::new();
                for Block { life, first, last, len, frame, .. } in blocks {
                    let place = (*last, *len, bundle, bytes.len() as u32, frame.len() as u32);
                    places.insert((*life, *first), place).map_err(redb)?;
                    bytes.extend_from_slice(frame);
                }
                bundles.insert(bundle, bytes.as_slice()).map_err(redb)?;
            }
            let (at, events) = &batch.events;
            if !events.is_empty() {
                let list = Value::Array(events.iter().map(|event| describe_event(event)).collect()).to_string();
                let mut table = write.open_table(EVENTS).map_err(redb)?;
                let next = table.last().map_err(redb)?.map_or(0, |(last, _)| last.value().1 + 1);
                table.insert((*at, next), frame(list.as_bytes(), 6).as_slice()).map_err(redb)?;
            }
        }
        write.commit().map_err(redb)?;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (number, text) in &batch.shapes {
            if let Some(shape) = Shape::restore(text.as_bytes()) {
                index.shapes.insert(*number, Arc::new(shape));
            }
        }
        batch.subjects.iter().for_each(|change| index.take(change));
        Ok(())
    }

    /// Gives back what is not in use.
    pub(super) fn compact(&mut self) -> Result<(), SegmentError> {
        if let SegmentBase::Written(base) = &mut self.base {
            base.compact().map_err(redb)?;
        }
        Ok(())
    }

    /// The rows that are in no block, oldest first; with them how many are damaged.
    pub(super) fn rows(&self) -> Result<(Rows, usize), SegmentError> {
        let (mut rows, mut damaged) = (Vec::new(), 0);
        for row in self.begin_read()?.open_table(ROWS).map_err(redb)?.iter().map_err(redb)? {
            let (step, bytes) = row.map_err(redb)?;
            match unframe(bytes.value()) {
                Some(row) => rows.push((step.value(), row)),
                None => damaged += 1,
            }
        }
        Ok((rows, damaged))
    }

    /// Every life that is known here.
    pub(super) fn lives(&self) -> Vec<(u32, ArchivedLife)> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.lives.iter().map(|(number, life)| (*number, life.clone())).collect()
    }

    /// One shape; `None` for one that is damaged.
    pub(super) fn shape(&self, number: u32) -> Option<Arc<Shape>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).shapes.get(&number).cloned()
    }

    /// The number of the next shape, and of the next life.
    pub(super) fn next_numbers(&self) -> (u32, u32) {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let shape = index.shapes.keys().max().map_or(0, |last| last + 1);
        (shape, index.lives.keys().next_back().map_or(0, |last| last + 1))
    }
}

fn describe_change(change: &SubjectChange) -> Value {
    let mut value =
        change.subject.as_deref().map_or_else(|| serde_json::json!({ "ended": true }), ArchivedSubject::describe);
    value["life"] = change.life.into();
    value["at"] = change.at.into();
    value
}

fn restore_change(value: &Value) -> Option<SubjectChange> {
    let life = value.get("life")?.as_u64()?.try_into().ok()?;
    let subject = if value.get("ended").is_some() { None } else { Some(Arc::new(ArchivedSubject::restore(value)?)) };
    Some(SubjectChange { life, at: value.get("at")?.as_u64()?, subject })
}
