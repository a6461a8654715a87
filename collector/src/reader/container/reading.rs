//! One pass over a container's files: what is read, what ended meanwhile, what could not be read.

use super::context::ReaderContext;
use super::kernel_memory::{Counted, CountedCpuTime, CountedMemory, KernelMemory};
use crate::kernel::cgroup::Hierarchy;
use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, KeptFile, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::probes::counters::cpu_time::{RawTimes, ShownTimes};
use crate::kernel::probes::counters::plan::Stalled;
use crate::kernel::text_formats::FormatError;
use crate::sample::container::{Cfs, Pressure};
use crate::sample::unread::{Part, Unread};

/// One pass over a container's files.
pub(super) struct Reading<'a> {
    pub(super) ctx: &'a ReaderContext,
    pub(super) name: &'a [u8],
    pub(super) live: u64,
    pub(super) buffer: &'a mut ReadBuffer,
    /// Files that gave a value, and families that kernel memory gave one for.
    pub(super) values: u32,
    /// Those of kernel memory among them.
    pub(super) from_memory: u32,
    /// A file was read that is kept open now.
    pub(super) keeps_files: bool,
    /// Hierarchies in which a file reported its end.
    pub(super) gone: u64,
    pub(super) opened_by_path: bool,
    /// What the kernel has and could not be read.
    pub(super) unread: Unread,
    /// What was read from kernel memory: no files are needed for that.
    pub(super) counted: Option<Counted>,
}

impl<'a> Reading<'a> {
    /// Nothing is read yet of this cgroup, which is in the hierarchies with these bits.
    pub(super) fn new(ctx: &'a ReaderContext, name: &'a [u8], live: u64, buffer: &'a mut ReadBuffer) -> Self {
        Self {
            ctx,
            name,
            live,
            buffer,
            values: 0,
            from_memory: 0,
            keeps_files: false,
            gone: 0,
            opened_by_path: false,
            unread: Unread::default(),
            counted: None,
        }
    }

    /// The hierarchy at this place, if the container is in it.
    pub(super) fn hierarchy(&self, position: usize) -> Option<&'a Hierarchy> {
        if self.live & bit(position) == 0 { None } else { self.ctx.hierarchies.at(position) }
    }

    pub(super) fn is_root(&self) -> bool {
        self.name == b"/"
    }

    /// Reads and parses a file that is kept open.
    #[inline]
    pub(super) fn kept<T>(
        &mut self,
        position: usize,
        file: &'static str,
        kept: &mut KeptFile,
        parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
    ) -> Option<T> {
        self.kept_as(position, file, file, kept, parse)
    }

    /// As [`Reading::kept`], for a file whose name differs from the one its failures are counted under.
    #[inline]
    pub(super) fn kept_as<T>(
        &mut self,
        position: usize,
        file: &str,
        counted_as: &'static str,
        kept: &mut KeptFile,
        parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
    ) -> Option<T> {
        let hierarchy = self.hierarchy(position)?;
        let at = hierarchy.file(self.name, file);
        let parsed = match kept.read(at, &self.ctx.budget, self.buffer) {
            Ok(Some(text)) => parse(text).map_err(|reason| ReadError::Malformed { path: at.path(), reason }),
            Ok(None) => return None,
            Err(error) => Err(error),
        };
        self.opened_by_path |= !kept.is_kept();
        self.keeps_files |= kept.is_kept();
        self.outcome(position, counted_as, parsed)
    }

    /// As [`Reading::kept`], for a file of which each line that is not understood costs its own key.
    #[inline]
    pub(super) fn kept_lines<T>(
        &mut self,
        position: usize,
        file: &'static str,
        kept: &mut KeptFile,
        parse: impl FnOnce(&[u8], &mut OddLines) -> T,
    ) -> Option<T> {
        self.kept_lines_as(position, file, file, kept, parse)
    }

    /// As [`Reading::kept_lines`], for a file whose name differs from the one its odd lines are counted under.
    #[inline]
    pub(super) fn kept_lines_as<T>(
        &mut self,
        position: usize,
        file: &str,
        counted_as: &'static str,
        kept: &mut KeptFile,
        parse: impl FnOnce(&[u8], &mut OddLines) -> T,
    ) -> Option<T> {
        let mut odd = OddLines::default();
        let value = self.kept_as(position, file, counted_as, kept, |text| Ok(parse(text, &mut odd)));
        if odd.count() > 0
            && let Some(hierarchy) = self.hierarchy(position)
        {
            self.note(hierarchy.file(self.name, file), counted_as, odd);
        }
        value
    }

    /// Counts lines that were not understood.
    #[cold]
    pub(super) fn note(&mut self, at: FileAt<'_>, counted_as: &'static str, odd: OddLines) {
        if let Some(error) = ReadError::of_odd_lines(&at.path(), odd) {
            self.lost(counted_as);
            self.ctx.errors.count(counted_as, &error);
        }
    }

    /// What this file has is not known of this sample.
    pub(super) fn lost(&mut self, file: &str) {
        if let Some(part) = Part::of_file(file) {
            self.unread.add(part);
        }
    }

    /// Reads and parses a file once: opened, read to its end, closed.
    pub(super) fn once<T>(
        &mut self,
        position: usize,
        file: &'static str,
        parse: impl FnOnce(&[u8]) -> Result<T, FormatError>,
    ) -> Option<T> {
        let at = self.hierarchy(position)?.file(self.name, file);
        let parsed = at
            .read(self.buffer)
            .and_then(|text| parse(text).map_err(|reason| ReadError::Malformed { path: at.path(), reason }));
        self.outcome(position, file, parsed)
    }

    pub(super) fn outcome<T>(
        &mut self,
        position: usize,
        counted_as: &'static str,
        result: Result<T, ReadError>,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.values += 1;
                Some(value)
            }
            Err(ReadError::Gone(_)) => {
                self.gone |= bit(position);
                self.lost(counted_as);
                None
            }
            Err(ReadError::Missing(_) | ReadError::Unsupported(_)) => None,
            Err(error) => {
                self.lost(counted_as);
                self.ctx.errors.count(counted_as, &error);
                None
            }
        }
    }

    /// A value from kernel memory, if there is one.
    #[inline]
    fn counted<T>(&mut self, take: impl FnOnce(&KernelMemory, &Counted) -> Option<T>) -> Option<T> {
        let value = take(self.ctx.kernel_memory()?, self.counted.as_ref()?)?;
        self.values += 1;
        self.from_memory += 1;
        Some(value)
    }

    /// Memory.
    pub(super) fn counted_memory(&mut self) -> Option<CountedMemory> {
        self.counted(KernelMemory::counted_memory)
    }

    /// CPU time of v1.
    pub(super) fn counted_cpu_time(&mut self) -> Option<CountedCpuTime> {
        self.counted(KernelMemory::counted_cpu_time)
    }

    /// CPU time of v2.
    pub(super) fn counted_unified_time(&mut self) -> Option<(RawTimes, ShownTimes)> {
        self.counted(KernelMemory::counted_unified_time)
    }

    /// Pressure.
    pub(super) fn counted_pressure(&mut self, stalled: Stalled) -> Option<Pressure> {
        self.counted(|memory, counted| memory.counted_pressure(counted, stalled))
    }

    /// Bandwidth control, its times in nanoseconds.
    pub(super) fn counted_bandwidth(&mut self) -> Option<Cfs> {
        self.counted(KernelMemory::counted_bandwidth)
    }

    /// Tasks.
    pub(super) fn counted_pids(&mut self) -> Option<u64> {
        self.counted(KernelMemory::counted_pids)
    }

    /// Whether the cgroup never used a block device: its files of v1 have no line then.
    pub(super) fn used_no_device(&mut self) -> bool {
        self.counted(|memory, counted| memory.used_no_device(counted).then_some(())).is_some()
    }

    /// Places of the hierarchies the container is in.
    pub(super) fn live_positions(&self) -> impl Iterator<Item = usize> + use<> {
        let live = self.live;
        (0..64).filter(move |position| live & bit(*position) != 0)
    }
}

/// The bit of a hierarchy's place; none for places beyond what is followed (the kernel has 16 controllers).
pub(super) const fn bit(position: usize) -> u64 {
    if position < 64 { 1 << position } else { 0 }
}
