//! Huge pages.

use std::sync::Arc;

use super::Reading;
use super::context::{PageSize, Source};
use crate::kernel::cgroup::v2::hugetlb::events_max;
use crate::kernel::file::KeptFile;
use crate::kernel::text_formats::unsigned;
use crate::sample::container::Hugetlb;
use crate::units::Bytes;

/// The name the failures of all these files are counted under: the files are as many as page sizes.
const COUNTED_AS: &str = "hugetlb";

#[derive(Debug, Default)]
pub(super) struct HugetlbFiles {
    sizes: Vec<SizeFiles>,
}

/// Files of one page size, of the reservations first, which count where the kernel has them.
#[derive(Debug, Default)]
struct SizeFiles {
    usage: [KeptFile; 2],
    max_usage: KeptFile,
    failures: KeptFile,
}

impl HugetlbFiles {
    pub(super) fn each(&mut self, each: &mut impl FnMut(&mut KeptFile)) {
        for SizeFiles { usage, max_usage, failures } in &mut self.sizes {
            usage.iter_mut().chain([max_usage, failures]).for_each(&mut *each);
        }
    }

    pub(super) fn sample(&mut self, reading: &mut Reading<'_>) -> Option<Vec<Hugetlb>> {
        let source = reading.ctx.sources.hugetlb?;
        let ctx = reading.ctx;
        self.sizes.resize_with(ctx.page_sizes.len(), SizeFiles::default);
        let read = |(size, files): (&PageSize, &mut SizeFiles)| match source {
            Source::V1(position) => files.v1(reading, position, size),
            Source::V2(position) => files.v2(reading, position, size),
        };
        let sizes: Vec<_> = ctx.page_sizes.iter().zip(&mut self.sizes).filter_map(read).collect();
        (!sizes.is_empty()).then_some(sizes)
    }
}

impl SizeFiles {
    fn v1(&mut self, reading: &mut Reading<'_>, position: usize, size: &PageSize) -> Option<Hugetlb> {
        let (names, usage) = size.v1.iter().zip(&mut self.usage).find_map(|(names, kept)| {
            Some((names, reading.kept_as(position, &names[0], COUNTED_AS, kept, unsigned)?))
        })?;
        Some(Hugetlb {
            page_size: Arc::clone(&size.name),
            usage: Bytes(usage),
            max_usage: reading.kept_as(position, &names[1], COUNTED_AS, &mut self.max_usage, unsigned).map(Bytes),
            failcnt: reading.kept_as(position, &names[2], COUNTED_AS, &mut self.failures, unsigned)?,
        })
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize, size: &PageSize) -> Option<Hugetlb> {
        let usage = size
            .v2_usage
            .iter()
            .zip(&mut self.usage)
            .find_map(|(name, kept)| reading.kept_as(position, name, COUNTED_AS, kept, unsigned))?;
        Some(Hugetlb {
            page_size: Arc::clone(&size.name),
            usage: Bytes(usage),
            max_usage: None,
            failcnt: reading.kept_as(position, &size.v2_events, COUNTED_AS, &mut self.failures, events_max)?,
        })
    }
}
