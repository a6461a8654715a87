//! What a cgroup used in all, decoded.

use collector_ebpf::plan::COUNTED_CPUS;
use collector_ebpf::{LAST_HEADER, LAST_MEMORY_PEAK, LAST_TIME, LastRecord};
use std::mem::offset_of;

use super::{DecodeError, field, whole};
use crate::kernel::probes::counters::cpu_time::{RawTimes, ShownTimes};

/// A cgroup is being removed, and this is what it used. A number is `None` where the cgroup has no such controller, or where
/// it cannot be read on this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastEvent {
    /// When it was read, in nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// As in [`super::CgroupEvent`].
    pub hierarchy_id: u32,
    /// As in [`super::CgroupEvent`].
    pub id: u64,
    /// The most memory that it ever used, in pages: `mem_cgroup.memory.watermark`.
    pub memory_peak_pages: Option<u64>,
    /// CPU time: on v1 of the controller cpuacct, on v2 of the cgroup itself.
    pub time: Option<LastTime>,
}

/// CPU time of a cgroup that is being removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastTime {
    /// As it is counted.
    pub raw: RawTimes,
    /// As the kernel last showed it.
    pub shown: ShownTimes,
    /// v1: that of each CPU, in nanoseconds. Empty on v2.
    pub each: Box<[u64]>,
}

pub(super) fn decode(record: &[u8]) -> Result<LastEvent, DecodeError> {
    let header = whole(record, LAST_HEADER)?;
    let word = |at| field(header, at).map(u32::from_ne_bytes);
    let long = |at| field(header, at).map(u64::from_ne_bytes);
    let cpus = (word(offset_of!(LastRecord, cpus))? as usize).min(COUNTED_CPUS);
    let each = &whole(record, LAST_HEADER + cpus * size_of::<u64>())?[LAST_HEADER..];
    let each = each.as_chunks::<{ size_of::<u64>() }>().0.iter().map(|time| u64::from_ne_bytes(*time));
    let fields = word(offset_of!(LastRecord, fields))?;
    let has = |bit| fields & bit != 0;
    let time = LastTime {
        raw: RawTimes {
            user: long(offset_of!(LastRecord, user))?,
            system: long(offset_of!(LastRecord, system))?,
            total: long(offset_of!(LastRecord, total))?,
        },
        shown: ShownTimes {
            user: long(offset_of!(LastRecord, shown_user))?,
            system: long(offset_of!(LastRecord, shown_system))?,
        },
        each: each.collect(),
    };
    let memory_peak_pages = long(offset_of!(LastRecord, memory_peak_pages))?;
    Ok(LastEvent {
        boot_ns: long(offset_of!(LastRecord, boot_ns))?,
        hierarchy_id: word(offset_of!(LastRecord, hierarchy_id))?,
        id: long(offset_of!(LastRecord, id))?,
        memory_peak_pages: has(LAST_MEMORY_PEAK).then_some(memory_peak_pages),
        time: has(LAST_TIME).then_some(time),
    })
}

#[cfg(test)]
mod tests {
    use collector_ebpf::RecordKind;

    use super::*;
    use crate::kernel::probes::events::{KernelEvent, decode};

    fn record(fields: u32, each: &[u64]) -> Vec<u8> {
        let cpus = each.len() as u32;
        let words = [RecordKind::Last as u32, 3].map(u32::to_ne_bytes).concat();
        let longs = [5_000, 1 << 40].map(u64::to_ne_bytes).concat();
        let more = [fields, cpus].map(u32::to_ne_bytes).concat();
        let numbers: Vec<u8> = [77_u64, 30, 10, 50, 29, 9].iter().chain(each).flat_map(|n| n.to_ne_bytes()).collect();
        [words, longs, more, numbers].concat()
    }

    #[test]
    fn what_was_read_is_there_and_nothing_else() {
        let last = |bytes: &[u8]| match decode(bytes) {
            Ok(KernelEvent::Last(event)) => *event,
            other => panic!("{other:?}"),
        };
        let both = last(&record(LAST_TIME | LAST_MEMORY_PEAK, &[20, 30]));
        assert_eq!((both.boot_ns, both.hierarchy_id, both.id), (5_000, 3, 1 << 40));
        assert_eq!(both.memory_peak_pages, Some(77));
        let time = LastTime {
            raw: RawTimes { user: 30, system: 10, total: 50 },
            shown: ShownTimes { user: 29, system: 9 },
            each: [20, 30].into(),
        };
        assert_eq!(both.time, Some(time));
        let peak = last(&record(LAST_MEMORY_PEAK, &[]));
        assert_eq!((peak.memory_peak_pages, peak.time), (Some(77), None));
        let unified = last(&record(LAST_TIME, &[]));
        assert_eq!((unified.memory_peak_pages, unified.time.map(|time| time.each.len())), (None, Some(0)));
    }

    #[test]
    fn a_short_record_is_none() {
        let bytes = record(LAST_TIME, &[20, 30]);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
