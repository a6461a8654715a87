//! Huge pages.

use std::sync::Arc;

use super::{Family, Mounted, Place, Reading, Rows};
use crate::kernel::cgroup::v2::hugetlb::events_max;
use crate::kernel::file::KeptFile;
use crate::kernel::text_formats::unsigned;
use crate::reader::container::context::PageSize;
use crate::reader::container::rows::Section;
use crate::reader::container::rows::keys::{Keys, key, whole};
use crate::sample::container::{Hugetlb, Sample};
use crate::sample::kinds::MetricKind;
use crate::sample::spec::Spec;
use crate::sample::statistic::{Absence, Value};
use crate::units::Bytes;

/// The name the failures of all these files are counted under: the files are as many as page sizes.
const COUNTED_AS: &str = "hugetlb";

#[derive(Debug, Default)]
pub(in crate::reader::container) struct HugetlbFiles {
    sizes: Vec<SizeFiles>,
}

/// Files of one page size, of the reservations first, which count where the kernel has them.
#[derive(Debug, Default)]
struct SizeFiles {
    usage: [KeptFile; 2],
    max_usage: KeptFile,
    failures: KeptFile,
}

impl Family for HugetlbFiles {
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        mounted.wanted(MetricKind::Hugetlb, "hugetlb")
    }

    fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        for SizeFiles { usage, max_usage, failures } in &mut self.sizes {
            usage.iter_mut().chain([max_usage, failures]).for_each(&mut *each);
        }
    }

    fn lacks_leading(&self) -> bool {
        // A size has no file of what is in use.
        self.sizes.iter().any(|SizeFiles { usage, .. }| usage.iter().all(KeptFile::is_absent))
    }

    fn read(&mut self, place: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        sample.hugetlb = place.and_then(|place| self.sizes(place, reading));
    }

    fn limits(&mut self, place: Option<Place>, reading: &mut Reading<'_>, spec: &mut Spec) {
        // cAdvisor says so of v1 only.
        spec.has_hugetlb = matches!(place, Some(Place::V1(position)) if reading.hierarchy(position).is_some());
    }

    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        let mut section = rows.section(place, MetricKind::Hugetlb, "hugetlb", Some("hugetlb"));
        if place.is_some() && rows.reading.ctx.page_sizes.is_empty() {
            section = Section::absent(Absence::NoHugePages);
        }
        explain(&section, rows, sample.hugetlb.as_deref());
    }
}

impl HugetlbFiles {
    fn sizes(&mut self, place: Place, reading: &mut Reading<'_>) -> Option<Vec<Hugetlb>> {
        let ctx = reading.ctx;
        self.sizes.resize_with(ctx.page_sizes.len(), SizeFiles::default);
        let read = |(size, files): (&PageSize, &mut SizeFiles)| match place {
            Place::V1(position) => files.v1(reading, position, size),
            Place::V2(position) => files.v2(reading, position, size),
            Place::Kernel(_) => None,
        };
        let sizes: Vec<_> = ctx.page_sizes.iter().zip(&mut self.sizes).filter_map(read).collect();
        (!sizes.is_empty()).then_some(sizes)
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

fn explain(section: &Section, rows: &mut Rows<'_>, sizes: Option<&[Hugetlb]>) {
    let mut values = [const { Vec::<(String, Value)>::new() }; 3];
    for Hugetlb { page_size, usage, max_usage, failcnt } in sizes.into_iter().flatten() {
        let size_values = [usage, max_usage].map(|bytes| bytes.as_ref().map(Value::from));
        let size_values = size_values.into_iter().chain([failcnt.as_ref().map(Value::from)]);
        for (values, value) in values.iter_mut().zip(size_values) {
            values.extend(value.map(|value| (page_size.to_string(), value)));
        }
    }
    let [usage, max_usage, failcnt] = values.map(|values| Some(Value::Named(values)).filter(|_| sizes.is_some()));
    // The reservations count where the kernel has them.
    let v1 = Keys::from([whole("hugetlb.<size>.rsvd.usage_in_bytes")]).or([whole("hugetlb.<size>.usage_in_bytes")]);
    let v2 = Keys::from([whole("hugetlb.<size>.rsvd.current")]).or([whole("hugetlb.<size>.current")]);
    rows.add_value("hugetlb.usage", usage, section, v1, v2);
    let v1 =
        Keys::from([whole("hugetlb.<size>.rsvd.max_usage_in_bytes")]).or([whole("hugetlb.<size>.max_usage_in_bytes")]);
    let has_max = max_usage.filter(|value| !matches!(value, Value::Named(sizes) if sizes.is_empty()));
    rows.add_value("hugetlb.max_usage", has_max, section, v1, Keys::NONE);
    let v1 = Keys::from([whole("hugetlb.<size>.rsvd.failcnt")]).or([whole("hugetlb.<size>.failcnt")]);
    rows.add_value("hugetlb.failcnt", failcnt, section, v1, [key("hugetlb.<size>.events", "max")]);
}
