//! Which file is written to: the newest one is continued, opened anew after an error of the disk, and followed by others.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::{Active, Writer};
use crate::archive::segment::{Batch, Segment, SegmentError};
use crate::archive::tail::{Chain, Tail, WhichBlocks};
use crate::archive::{ArchiveOptions, EXTENSION, File, FileState, guarded, lock, lock_write};
use crate::units::WallTime;

/// What a disk has to take before the file is opened anew.
const PROBE: usize = 64 << 10;

impl Writer {
    /// Opens the newest file and brings it in order. One that is damaged is left as it is, and another is begun.
    ///
    /// # Errors
    /// The disk does not take it. It is still read, if it can be, with what has not become blocks.
    pub(super) fn continue_last(&mut self) -> Result<(), SegmentError> {
        let Some(file) = self.archive.files().pop() else { return Ok(()) };
        // One that is read has to be let go of before it is written to.
        if matches!(*lock(&file.state), FileState::Open(_)) {
            self.probe()?;
        }
        let mut state = lock(&file.state);
        match std::mem::replace(&mut *state, FileState::Closed) {
            FileState::Closed => {}
            unusable @ FileState::Unusable(_) => {
                *state = unusable;
                return Ok(());
            }
            FileState::Open(segment) => {
                if let Err(segment) = Arc::try_unwrap(segment) {
                    *state = FileState::Open(segment);
                    // With the next step.
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is being read").into());
                }
            }
        }
        match guarded(|| Segment::create(&file.path)).map(Arc::new) {
            Ok(segment) => {
                *state = FileState::Open(Arc::clone(&segment));
                drop(state);
                let active = self.activate(file, segment);
                let recovered = self.recover(&active);
                self.active = Some(active);
                recovered
            }
            Err(error @ SegmentError::Io(_)) => {
                drop(state);
                if lock(&self.archive.tail).is_empty() {
                    self.archive.read_rows();
                }
                Err(error)
            }
            Err(error) => {
                *state = FileState::Unusable(Instant::now());
                drop(state);
                self.archive.unusable(&file.path, &error);
                Ok(())
            }
        }
    }

    fn activate(&mut self, file: Arc<File>, segment: Arc<Segment>) -> Active {
        (self.next_shape, self.next_life) = segment.next_numbers();
        self.shapes.clear();
        // Each file has numbers of its own.
        self.lives.clear();
        *lock(&self.archive.tail) = Tail::default();
        self.unsaved.shapes.clear();
        self.unsaved.subjects.clear();
        self.unsaved.files.clear();
        self.unsaved.readings.1.clear();
        self.step = 0;
        self.chain = Chain::Holds;
        self.failed = false;
        Active { file, segment }
    }

    /// What a crash left as rows becomes blocks.
    fn recover(&mut self, active: &Active) -> Result<(), SegmentError> {
        let (rows, damaged) = active.segment.rows()?;
        self.archive.damaged(active.segment.path(), damaged, "rows of steps");
        let mut tail = lock(&self.archive.tail);
        for (step, row) in &rows {
            tail.replay(*step, row);
            self.step = self.step.max(step + 1);
        }
        tail.finish_all();
        drop(tail);
        self.write_blocks(&active.segment)
    }

    /// Writes all blocks, and what they need that could not be written before.
    fn write_blocks(&mut self, segment: &Segment) -> Result<(), SegmentError> {
        let bundles = lock(&self.archive.tail).bundles(WhichBlocks::All);
        let blocks = bundles.iter().map(Vec::len).sum();
        let rows_end = lock(&self.archive.tail).oldest_step(blocks).unwrap_or(u64::MAX);
        let (shapes, subjects) = (self.unsaved.shapes.clone(), self.unsaved.subjects.clone());
        segment.write(&Batch { shapes, subjects, bundles, rows_end, ..Batch::default() })?;
        self.unsaved.shapes.clear();
        self.unsaved.subjects.clear();
        lock(&self.archive.tail).written(blocks);
        Ok(())
    }

    /// Whether the disk takes anything.
    fn probe(&self) -> io::Result<()> {
        let probe = self.archive.options.directory.join("probe");
        let probed = std::fs::write(&probe, vec![0; PROBE]);
        // One that cannot be removed is written over the next time.
        let _ = std::fs::remove_file(&probe);
        probed
    }

    /// Opens the file anew after an error of the disk, if the disk takes anything.
    pub(super) fn reopen(&mut self) -> Result<(), SegmentError> {
        self.probe()?;
        let Some(Active { file, segment }) = self.active.take() else {
            // It could not be opened the last time.
            self.failed = false;
            return Ok(());
        };
        let mut state = lock(&file.state);
        *state = FileState::Closed;
        match Arc::try_unwrap(segment) {
            Ok(segment) => {
                drop(segment);
                let segment = Arc::new(guarded(|| Segment::create(&file.path))?);
                *state = FileState::Open(Arc::clone(&segment));
                drop(state);
                self.active = Some(Active { file, segment });
                self.failed = false;
            }
            // Somebody reads it: with the next step.
            Err(segment) => {
                *state = FileState::Open(Arc::clone(&segment));
                drop(state);
                self.active = Some(Active { file, segment });
            }
        }
        Ok(())
    }

    /// Ends the file that is written to and begins one at this time.
    pub(in crate::archive) fn roll(&mut self, time: WallTime) -> Result<(), SegmentError> {
        if let Some(segment) = self.active.as_ref().map(|active| Arc::clone(&active.segment)) {
            lock(&self.archive.tail).finish_all();
            self.write_blocks(&segment)?;
        }
        let ArchiveOptions { directory, .. } = &self.archive.options;
        let path = directory.join(format!("{}.{EXTENSION}", time.millis()));
        let segment = Arc::new(guarded(|| Segment::create(&path))?);
        let file = File::new(time.millis(), path, FileState::Open(Arc::clone(&segment)));
        if let Some(Active { file, segment }) = self.active.take() {
            *lock(&file.state) = FileState::Closed;
            // Whoever reads it at this moment keeps it as it is.
            if let Some(mut segment) = Arc::into_inner(segment)
                && let Err(error) = guarded(|| segment.compact())
            {
                tracing::warn!(%error, path = %segment.path().display(), "what is free in the file stays with it");
            }
        }
        let active = self.activate(Arc::clone(&file), segment);
        let mut files = lock_write(&self.archive.files);
        files.retain(|known| known.path != file.path);
        files.push(file);
        files.sort_by_key(|file| file.from);
        drop(files);
        self.active = Some(active);
        tracing::debug!(path = %self.archive.options.directory.display(), "a new file of the history");
        Ok(())
    }
}
