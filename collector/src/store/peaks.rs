//! The greatest values of the last minute, so that what happens between two scrapes is seen.
//!
//! The minute is one of twelve slots of five seconds, so it is between 55 and 60 seconds long. It moves by itself: nobody
//! who reads it resets anything, and any number of readers see the same.
//!
//! Memory in use is also what the kernel's watermark says, where that rose since the sample before: a peak between two
//! samples is seen whatever its length, if it is the highest of the container's life.

use crate::sample::container::Sample;
use crate::sample::unread::Part;
use crate::units::{Bytes, Nanos, WallTime};

const SLOTS: usize = 12;
const SLOT: u64 = 5_000_000_000;
/// A rate over less than this is noise.
const LEAST_SPAN: Nanos = Nanos(200_000_000);

/// The greatest values of the last minute; absent where none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peaks {
    /// Memory in use.
    pub memory: Option<Bytes>,
    /// Working set.
    pub working_set: Option<Bytes>,
    /// CPU in thousandths of a core, between two samples.
    pub cpu: Option<u64>,
    /// Processes and threads.
    pub threads: Option<u64>,
}

impl Peaks {
    fn raise(&mut self, other: Self) {
        self.memory = self.memory.max(other.memory);
        self.working_set = self.working_set.max(other.working_set);
        self.cpu = self.cpu.max(other.cpu);
        self.threads = self.threads.max(other.threads);
    }
}

/// Takes samples as they come.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    /// Each with the number of its time since 1970, in slots.
    slots: [(u64, Peaks); SLOTS],
    /// Where the next rate begins.
    cpu: Option<(WallTime, Nanos)>,
    /// The watermark of the sample before.
    watermark: Option<Bytes>,
}

impl Recorder {
    /// Takes a sample.
    pub(super) fn add(&mut self, sample: &Sample) {
        let memory = sample.memory.as_ref();
        let usage = memory.filter(|_| !sample.unread.has(Part::MemoryUsage)).map(|memory| memory.usage);
        let watermark = memory.and_then(|memory| memory.max_usage);
        let before = self.watermark;
        self.watermark = watermark.or(before);
        let risen = watermark.filter(|watermark| before.is_some_and(|before| *watermark > before));
        let number = sample.at.0 / SLOT;
        let peaks = Peaks {
            memory: usage.max(risen),
            working_set: usage.and(memory).map(|memory| memory.working_set),
            cpu: self.rate(sample),
            threads: sample.processes.as_ref().and_then(|processes| processes.threads),
        };
        let (slot_number, slot) = &mut self.slots[number as usize % SLOTS];
        // The clock on the wall may be set: whatever was there then is of another time.
        if *slot_number != number {
            (*slot_number, *slot) = (number, Peaks::default());
        }
        slot.raise(peaks);
    }

    fn rate(&mut self, sample: &Sample) -> Option<u64> {
        let total = sample.cpu.as_ref().filter(|_| !sample.unread.has(Part::CpuTotal))?.total;
        let Some((since, before)) = self.cpu else {
            self.cpu = Some((sample.at, total));
            return None;
        };
        let span = sample.at.since(since);
        if sample.at > since && span < LEAST_SPAN {
            return None;
        }
        self.cpu = Some((sample.at, total));
        let used = u128::from(total.0.checked_sub(before.0)?);
        Some((used * 1000 / u128::from(span.0.max(1))) as u64).filter(|_| sample.at > since)
    }

    /// The greatest values of the minute before this time.
    pub(super) fn peaks(&self, now: WallTime) -> Peaks {
        let number = now.0 / SLOT;
        let mut all = Peaks::default();
        for (slot_number, slot) in &self.slots {
            if number.checked_sub(*slot_number).is_some_and(|age| age < SLOTS as u64) {
                all.raise(*slot);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::container::{Cpu, Memory};

    fn sample(millis: u64, cpu_millis: u64, usage: u64, watermark: Option<u64>) -> Sample {
        let memory = Memory {
            usage: Bytes(usage),
            working_set: Bytes(usage / 2),
            max_usage: watermark.map(Bytes),
            ..Memory::default()
        };
        Sample {
            at: at(millis),
            cpu: Some(Cpu { total: Nanos(cpu_millis * 1_000_000), ..Cpu::default() }),
            memory: Some(memory),
            ..Sample::default()
        }
    }

    fn at(millis: u64) -> WallTime {
        WallTime((1_000_000_000 + millis) * 1_000_000)
    }

    #[test]
    fn a_minute_moves_by_itself() {
        let mut recorder = Recorder::default();
        recorder.add(&sample(0, 0, 100, None));
        recorder.add(&sample(1_000, 500, 900, None));
        recorder.add(&sample(2_000, 600, 200, None));
        let expected = Peaks { memory: Some(Bytes(900)), working_set: Some(Bytes(450)), cpu: Some(500), threads: None };
        assert_eq!(recorder.peaks(at(2_000)), expected);
        assert_eq!(recorder.peaks(at(54_000)), expected, "reading resets nothing");
        recorder.add(&sample(58_000, 700, 300, None));
        assert_eq!(recorder.peaks(at(59_000)).memory, Some(Bytes(900)));
        assert_eq!(recorder.peaks(at(61_000)).memory, Some(Bytes(300)));
        assert_eq!(recorder.peaks(at(200_000)), Peaks::default());
    }

    #[test]
    fn a_watermark_that_rises_is_of_now_and_an_old_one_is_not() {
        let mut recorder = Recorder::default();
        recorder.add(&sample(0, 0, 100, Some(5_000)));
        assert_eq!(recorder.peaks(at(0)).memory, Some(Bytes(100)), "of before the collector came");
        recorder.add(&sample(1_000, 0, 100, Some(5_000)));
        recorder.add(&sample(2_000, 0, 100, Some(7_000)));
        assert_eq!(recorder.peaks(at(2_000)).memory, Some(Bytes(7_000)));
    }

    #[test]
    fn samples_that_follow_at_once_make_no_rate() {
        let mut recorder = Recorder::default();
        recorder.add(&sample(0, 0, 1, None));
        recorder.add(&sample(10, 10, 1, None));
        assert_eq!(recorder.peaks(at(10)).cpu, None);
        recorder.add(&sample(1_000, 100, 1, None));
        assert_eq!(recorder.peaks(at(1_000)).cpu, Some(100));
        // The clock is set back.
        recorder.add(&sample(500, 200, 1, None));
        recorder.add(&sample(1_500, 300, 1, None));
        assert_eq!(recorder.peaks(at(1_500)).cpu, Some(100));
    }
}
