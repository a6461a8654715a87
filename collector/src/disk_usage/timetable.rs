//! When to look at which container's files. Pure: it is given the time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use super::DiskUsageTurn;
use crate::sample::event::Name;
use crate::sample::filesystem::ContainerFiles;

/// A tree is looked at so seldom that it takes no more than one in so many parts of a CPU by itself.
const SHARE: u32 = 200;
/// A tree that takes no more CPU time is small.
pub(super) const SMALL: Duration = Duration::from_millis(20);
/// Small ones are looked at as often as a kubelet's runtime looks.
const SMALL_EVERY: Duration = Duration::from_secs(10);
/// The longest wait for a tree, however big.
const LONGEST: Duration = Duration::from_secs(20 * 60);
/// Inodes that were counted serve for so many intervals where only the space can be had cheaply.
const INODES_FOR: u32 = 10;

/// When to look at which container.
#[derive(Debug)]
pub(super) struct Timetable {
    every: Duration,
    entries: HashMap<Name, TimetableEntry>,
    /// An entry that does not agree with the container's own time is passed over.
    due: BinaryHeap<Reverse<(Instant, Name)>>,
}

#[derive(Debug)]
struct TimetableEntry {
    stage: Stage,
    turn: DiskUsageTurn,
    files: Option<ContainerFiles>,
    /// Inodes and when they were counted.
    inodes: Option<(u64, Instant)>,
    size: Bulk,
}

/// How much there is to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bulk {
    /// Little, as last time, or not known.
    Small,
    /// Much.
    Big,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting(Instant),
    /// Being looked at. `again`: something changed since that began.
    Looking {
        again: bool,
    },
}

impl Timetable {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, entries: HashMap::new(), due: BinaryHeap::new() }
    }

    /// A container is there; it is looked at at once. Nothing happens if it is known.
    pub(super) fn begin(&mut self, name: &Name, now: Instant) {
        if !self.entries.contains_key(name) {
            let entry = TimetableEntry {
                stage: Stage::Waiting(now),
                turn: DiskUsageTurn::First,
                files: None,
                inodes: None,
                size: Bulk::Small,
            };
            self.entries.insert(Name::clone(name), entry);
            self.due.push(Reverse((now, Name::clone(name))));
        }
    }

    /// Its runtime reports where its files are; if that is new, they are looked at soon.
    pub(super) fn moved(&mut self, name: &Name, files: &ContainerFiles, now: Instant) {
        let Some(entry) = self.entries.get_mut(name).filter(|entry| entry.files.as_ref() != Some(files)) else {
            return;
        };
        entry.files = Some(files.clone());
        entry.turn = DiskUsageTurn::First;
        entry.inodes = None;
        self.hurry(name, now);
    }

    /// It is to be looked at soon.
    pub(super) fn hurry(&mut self, name: &Name, now: Instant) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        match &mut entry.stage {
            Stage::Looking { again } => *again = true,
            Stage::Waiting(at) if *at > now => {
                *at = now;
                self.due.push(Reverse((now, Name::clone(name))));
            }
            Stage::Waiting(_) => {}
        }
    }

    /// It was looked at, which took this much CPU time.
    pub(super) fn done(&mut self, name: &Name, now: Instant, cpu: Duration, inodes: Option<u64>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.size = if cpu <= SMALL { Bulk::Small } else { Bulk::Big };
        let every = if entry.size == Bulk::Small { self.every.min(SMALL_EVERY) } else { self.every };
        let wait = match entry.stage {
            Stage::Looking { again: true } => Duration::ZERO,
            _ => cpu.saturating_mul(SHARE).min(LONGEST).max(every),
        };
        entry.turn = if wait.is_zero() { entry.turn } else { DiskUsageTurn::Again };
        if entry.inodes.map(|(inodes, _)| inodes) != inodes {
            entry.inodes = inodes.map(|inodes| (inodes, now));
        }
        let at = now + wait;
        entry.stage = Stage::Waiting(at);
        self.due.push(Reverse((at, Name::clone(name))));
    }

    /// It is gone.
    pub(super) fn end(&mut self, name: &Name) {
        self.entries.remove(name);
    }

    /// Its inodes, if they were counted not too long ago.
    pub(super) fn inodes(&mut self, name: &Name) -> Option<u64> {
        let limit = self.every.saturating_mul(INODES_FOR);
        let entry = self.entries.get_mut(name)?;
        entry.inodes = entry.inodes.filter(|(_, at)| at.elapsed() < limit);
        entry.inodes.map(|(inodes, _)| inodes)
    }

    /// A container that is due, and from now on being looked at.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Name, DiskUsageTurn, Bulk)> {
        loop {
            let Reverse((at, _)) = self.due.peek()?;
            if *at > now {
                return None;
            }
            let Reverse((at, name)) = self.due.pop()?;
            if let Some(entry) = self.entries.get_mut(&name).filter(|entry| entry.stage == Stage::Waiting(at)) {
                entry.stage = Stage::Looking { again: false };
                return Some((name, entry.turn, entry.size));
            }
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn name(text: &str) -> Name {
        text.as_bytes().into()
    }

    fn files(log: &str) -> ContainerFiles {
        ContainerFiles { runtime_directory: Some(PathBuf::from(log)), ..ContainerFiles::default() }
    }

    #[test]
    fn a_new_container_at_once_and_then_every_ten_seconds() {
        let start = Instant::now();
        let mut table = Timetable::new(MINUTE);
        table.begin(&name("/a"), start);
        table.begin(&name("/a"), start + MINUTE);
        assert_eq!(table.take_due(start), Some((name("/a"), DiskUsageTurn::First, Bulk::Small)));
        assert_eq!(table.take_due(start), None, "it is being looked at");
        table.done(&name("/a"), start, Duration::from_millis(1), None);
        assert_eq!(table.next(), Some(start + SMALL_EVERY));
        assert_eq!(table.take_due(start + SMALL_EVERY), Some((name("/a"), DiskUsageTurn::Again, Bulk::Small)));
        table.end(&name("/a"));
        table.done(&name("/a"), start + MINUTE, Duration::ZERO, None);
        assert_eq!((table.take_due(start + MINUTE * 9), table.next()), (None, None));
    }

    #[test]
    fn big_trees_wait_longer_and_not_for_ever() {
        let start = Instant::now();
        let mut table = Timetable::new(MINUTE);
        table.begin(&name("/a"), start);
        for (cpu, wait) in [(20, 10_000), (21, 60_000), (1000, 200_000), (100_000, 1_200_000)] {
            assert!(table.take_due(start + LONGEST * 9).is_some());
            table.done(&name("/a"), start, Duration::from_millis(cpu), None);
            assert_eq!(table.next(), Some(start + Duration::from_millis(wait)), "{cpu} ms");
        }
        assert_eq!(table.take_due(start + LONGEST), Some((name("/a"), DiskUsageTurn::Again, Bulk::Big)));
        let often = Duration::from_secs(1);
        let mut table = Timetable::new(often);
        table.begin(&name("/a"), start);
        assert!(table.take_due(start).is_some());
        table.done(&name("/a"), start, Duration::ZERO, None);
        assert_eq!(table.next(), Some(start + often), "whoever wants it more often");
    }

    #[test]
    fn news_are_looked_at_soon_and_once() {
        let start = Instant::now();
        let mut table = Timetable::new(MINUTE);
        let a = name("/a");
        table.begin(&a, start);
        table.take_due(start).unwrap();
        table.moved(&a, &files("/x"), start);
        table.done(&a, start, Duration::ZERO, Some(3));
        assert_eq!(table.inodes(&a), Some(3));
        let found = table.take_due(start);
        assert_eq!(
            found,
            Some((name("/a"), DiskUsageTurn::First, Bulk::Small)),
            "where they are became known meanwhile"
        );
        table.done(&a, start, Duration::ZERO, Some(3));
        table.moved(&a, &files("/x"), start);
        assert_eq!(table.take_due(start), None, "nothing new");
        table.hurry(&a, start);
        table.hurry(&a, start);
        assert_eq!(table.take_due(start), Some((a, DiskUsageTurn::Again, Bulk::Small)));
        assert_eq!(table.take_due(start + SMALL_EVERY / 2), None);
    }
}
