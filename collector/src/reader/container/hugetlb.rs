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

    /// Whether a size has no file of what is in use.
    pub(super) fn lacks_leading(&self) -> bool {
        self.sizes.iter().any(|SizeFiles { usage, .. }| usage.iter().all(KeptFile::is_absent))
    }
}

impl SizeFiles {
    fn v1(&mut self, reading: &mut Reading<'_>, position: usize, size: &PageSize) -> Option<Hugetlb> {
        let (mut names, mut usage) = (&size.v1[1], None);
        for (of, kept) in size.v1.iter().zip(&mut self.usage) {
            (names, usage) = (of, reading.kept_as(position, &of[0], COUNTED_AS, kept, unsigned));
            // The reservations' files count where they are there, whether or not they can be read.
            if usage.is_some() || !kept.is_absent() {
                break;
            }
        }
        let max_usage = reading.kept_as(position, &names[1], COUNTED_AS, &mut self.max_usage, unsigned);
        let failcnt = reading.kept_as(position, &names[2], COUNTED_AS, &mut self.failures, unsigned);
        let page_size = Arc::clone(&size.name);
        let is_known = usage.is_some() || max_usage.is_some() || failcnt.is_some();
        is_known.then(|| Hugetlb { page_size, usage: usage.map(Bytes), max_usage: max_usage.map(Bytes), failcnt })
    }

    fn v2(&mut self, reading: &mut Reading<'_>, position: usize, size: &PageSize) -> Option<Hugetlb> {
        let mut usage = None;
        for (name, kept) in size.v2_usage.iter().zip(&mut self.usage) {
            usage = reading.kept_as(position, name, COUNTED_AS, kept, unsigned);
            if usage.is_some() || !kept.is_absent() {
                break;
            }
        }
        let failures = &mut self.failures;
        let failcnt = reading.kept_lines_as(position, &size.v2_events, COUNTED_AS, failures, events_max).flatten();
        let page_size = Arc::clone(&size.name);
        let is_known = usage.is_some() || failcnt.is_some();
        is_known.then(|| Hugetlb { page_size, usage: usage.map(Bytes), max_usage: None, failcnt })
    }
}
