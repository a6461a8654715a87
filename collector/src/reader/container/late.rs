//! Files that appear late: on cgroup v2 a controller may be switched on, or off and on again, at any time, and no event
//! reports.
//!
//! Where all files that a family begins with are there nothing is looked for. Else, while the container is young, they
//! are looked for with each sample; later when `cgroup.controllers` has changed, which costs as much as one statistics
//! file. Files that no controller brings, such as those of pressure, are looked for every ten seconds, which with long
//! intervals is each sample.

use std::time::{Duration, Instant};

use super::ContainerReader;
use super::context::ReaderContext;
use crate::kernel::cgroup::{DEFAULT_HIERARCHY, Version};
use crate::kernel::file::{KeptFile, ReadBuffer};
use crate::sample::container::Sample;

/// For so long after its first sample absent files are looked for with each.
const YOUNG: Duration = Duration::from_secs(60);
/// How long absent files are not looked for at most.
const AT_LEAST_EVERY: Duration = Duration::from_secs(10);
/// How long it is not asked again which files there are to choose from.
const CHOSEN_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Late {
    first: Option<Instant>,
    looked: Option<Instant>,
    chosen: Option<Instant>,
    controllers: KeptFile,
    /// The content of the file above when it was last read.
    last: Option<Box<[u8]>>,
    found: Option<Found>,
    news: bool,
}

/// Which families a sample had, and in which hierarchies the container was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    families: [bool; 5],
    live: u64,
}

impl Late {
    pub(super) fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        each(&mut self.controllers);
    }

    /// Takes note of the families that a sample has. Whether they are others than those of the sample before.
    pub(super) fn found(&mut self, sample: &Sample, live: u64) -> bool {
        let has_bandwidth = sample.cpu.as_ref().is_some_and(|cpu| cpu.cfs.is_some());
        let has_threads = sample.processes.as_ref().is_some_and(|processes| processes.threads.is_some());
        let families =
            [sample.memory.is_some(), sample.hugetlb.is_some(), has_bandwidth, sample.io.is_some(), has_threads];
        let found = Some(Found { families, live });
        let is_new = self.found.is_some() && self.found != found;
        self.news |= is_new;
        self.found = found;
        is_new
    }

    /// Whether the container's controllers have changed since this was asked last: its limits are others then.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether `cgroup.controllers` is not what it was. The first time it is.
    fn controllers_changed(&mut self, ctx: &ReaderContext, name: &[u8], live: u64, buffer: &mut ReadBuffer) -> bool {
        let position = ctx.hierarchies.position(DEFAULT_HIERARCHY).filter(|position| live & super::bit(*position) != 0);
        let hierarchy = position.and_then(|position| ctx.hierarchies.at(position));
        let Some(hierarchy) = hierarchy.filter(|hierarchy| hierarchy.version == Version::V2) else { return false };
        let read = self.controllers.read(hierarchy.file(name, "cgroup.controllers"), &ctx.budget, buffer);
        let Ok(Some(text)) = read else { return false };
        if self.last.as_deref() == Some(text) {
            return false;
        }
        self.last = Some(text.into());
        true
    }
}

impl Late {
    /// Whether files are looked for with the next sample, whatever changed.
    pub(super) fn is_due(&self) -> bool {
        let is_over = |since: Option<Instant>, after| since.is_none_or(|since| since.elapsed() >= after);
        is_over(self.looked, AT_LEAST_EVERY) || is_over(self.chosen, CHOSEN_FOR)
    }
}

impl ContainerReader {
    /// Makes sure that this sample finds the files that were absent before and are there by now.
    pub(super) fn look_for_late_files(&mut self, ctx: &ReaderContext, buffer: &mut ReadBuffer) {
        let now = Instant::now();
        let first = *self.late.first.get_or_insert(now);
        let looked = *self.late.looked.get_or_insert(now);
        let chosen = *self.late.chosen.get_or_insert(now);
        let since = |time| now.saturating_duration_since(time);
        let lacks_leading = self.families.lacks_leading();
        let due = since(looked) >= AT_LEAST_EVERY
            || (lacks_leading
                && (since(first) < YOUNG || self.late.controllers_changed(ctx, &self.name, self.live, buffer)));
        if due {
            self.late.looked = Some(now);
            self.each_file(KeptFile::retry);
        }
        if since(chosen) >= CHOSEN_FOR {
            self.late.chosen = Some(now);
            self.refresh();
        }
    }

    /// Whether the container's controllers or hierarchies have changed since this was asked last.
    pub fn take_news_of_controllers(&mut self) -> bool {
        self.late.take_news()
    }
}
