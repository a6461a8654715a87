//! A file of the history, read.

use redb::ReadableTable as _;

use super::{
    BLOCKS, BUNDLES, BlockPlace, EVENTS, FILES, PlaceValue, READINGS, Segment, SegmentError, redb, unframe,
    unframed_json,
};
use crate::archive::reading::ApplicationReading;
use crate::archive::records::restore_event;
use crate::archive::storage::FilesRecord;
use crate::sample::event::Event;
use crate::units::WallTime;

/// Events are looked for this long after the asked time, because they are kept by the time at which they were written.
const EVENT_DELAY: u64 = 60_000;
/// The same for readings, whose samples are a minute old where a container idles.
const READING_DELAY: u64 = 120_000;

impl Segment {
    /// Something to read it with, as it is now.
    pub(in crate::archive) fn reader(&self) -> Result<SegmentReader<'_>, SegmentError> {
        let read = self.begin_read()?;
        Ok(SegmentReader {
            segment: self,
            blocks: read.open_table(BLOCKS).map_err(redb)?,
            bundles: read.open_table(BUNDLES).map_err(redb)?,
            events: read.open_table(EVENTS).map_err(redb)?,
            // Files of earlier collectors have no such tables.
            files: read.open_table(FILES).ok(),
            readings: read.open_table(READINGS).ok(),
        })
    }
}

/// A file as it was at one moment.
pub(in crate::archive) struct SegmentReader<'a> {
    segment: &'a Segment,
    blocks: redb::ReadOnlyTable<(u32, u64), PlaceValue>,
    bundles: redb::ReadOnlyTable<u64, &'static [u8]>,
    events: redb::ReadOnlyTable<(u64, u64), &'static [u8]>,
    files: Option<redb::ReadOnlyTable<u64, &'static [u8]>>,
    readings: Option<redb::ReadOnlyTable<u64, &'static [u8]>>,
}

impl SegmentReader<'_> {
    /// The file.
    pub(in crate::archive) fn segment(&self) -> &Segment {
        self.segment
    }

    /// The blocks of a life that have anything of these milliseconds, oldest first.
    pub(in crate::archive) fn places(&self, life: u32, from: u64, to: u64) -> Result<Vec<BlockPlace>, SegmentError> {
        let mut places = Vec::new();
        for row in self.blocks.range((life, 0)..=(life, to)).map_err(redb)?.rev() {
            let (key, value) = row.map_err(redb)?;
            let (last, len, bundle, offset, bytes) = value.value();
            let place = BlockPlace { first: key.value().1, last, len, bundle, offset, bytes };
            if place.last < from {
                break;
            }
            places.push(place);
        }
        places.reverse();
        Ok(places)
    }

    /// A block's bytes; `None` when they are damaged.
    pub(in crate::archive) fn block(&self, place: &BlockPlace) -> Result<Option<Vec<u8>>, SegmentError> {
        let Some(bundle) = self.bundles.get(place.bundle).map_err(redb)? else { return Ok(None) };
        let begin = place.offset as usize;
        Ok(bundle.value().get(begin..begin + place.bytes as usize).and_then(unframe))
    }

    /// What was written until this millisecond of what containers' files take, and how many lists are damaged.
    pub(in crate::archive) fn files(&self, to: u64, mut take: impl FnMut(FilesRecord)) -> Result<usize, SegmentError> {
        let Some(table) = &self.files else { return Ok(0) };
        let mut damaged = 0;
        for row in table.iter().map_err(redb)? {
            let Some(list) = unframed_json(row.map_err(redb)?.1.value()) else {
                damaged += 1;
                continue;
            };
            list.iter().filter_map(FilesRecord::restore).filter(|files| files.at <= to).for_each(&mut take);
        }
        Ok(damaged)
    }

    /// What applications reported with samples of these milliseconds, and how many lists are damaged.
    pub(in crate::archive) fn readings(
        &self,
        from: u64,
        to: u64,
        mut take: impl FnMut(ApplicationReading),
    ) -> Result<usize, SegmentError> {
        let Some(table) = &self.readings else { return Ok(0) };
        let mut damaged = 0;
        for row in table.range(from..=to.saturating_add(READING_DELAY)).map_err(redb)? {
            match unframed_json(row.map_err(redb)?.1.value()) {
                Some(list) => list.iter().filter_map(ApplicationReading::restore).for_each(&mut take),
                None => damaged += 1,
            }
        }
        Ok(damaged)
    }

    /// The events of these times in the order they were written, and how many lists are damaged.
    pub(in crate::archive) fn events(
        &self,
        from: WallTime,
        to: WallTime,
        mut take: impl FnMut(Event),
    ) -> Result<usize, SegmentError> {
        let mut damaged = 0;
        let end = to.millis().saturating_add(EVENT_DELAY);
        for row in self.events.range((from.millis(), 0)..=(end, u64::MAX)).map_err(redb)? {
            let (_, list) = row.map_err(redb)?;
            match unframed_json(list.value()) {
                Some(list) => {
                    let events = list.iter().filter_map(restore_event);
                    events.filter(|event| (from..=to).contains(&event.at)).for_each(&mut take);
                }
                None => damaged += 1,
            }
        }
        Ok(damaged)
    }
}
