//! Containers that ended lately: their last samples and OOM kills are reported for a while.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Container;
use crate::bounds::Bound;
use crate::steady::Steady;

/// Ended containers that are kept for their OOM kills, whatever the retention: one is a few hundred bytes.
pub(super) const MAX_ENDED: usize = 10_000;
/// Of these the newest keep their last sample, about two kilobytes.
pub(super) const MAX_ENDED_SAMPLES: usize = 4_096;
/// What one takes beside its name, its sample and what is known of who it was.
const FLAT: usize = 768;

/// One that ended.
#[derive(Debug)]
struct Ended {
    container: Arc<Container>,
    at: Steady,
    parent: Arc<[u8]>,
    charge: usize,
    /// What of the charge is the last sample's.
    sample: usize,
}

/// Those that ended, the last one last.
#[derive(Debug, Default)]
pub(super) struct EndedContainers {
    list: VecDeque<Ended>,
    bytes: usize,
    limit: usize,
    /// What the directories' former children take, by directory: who ends containers without end pushes out their own.
    by_parent: BTreeMap<Arc<[u8]>, usize>,
}

/// The directory a cgroup is in. Of those far down the one some levels below the root stands for all below it.
fn parent(name: &[u8]) -> &[u8] {
    const LEVELS: usize = 6;
    let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let ends: Vec<usize> = slashes.take(LEVELS).collect();
    ends.last().map_or(b"", |end| &name[..*end])
}

impl EndedContainers {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// One more, and the times before `oldest` are over.
    pub(super) fn push(&mut self, container: Arc<Container>, at: Steady, oldest: Steady) {
        let sample = container.last_sample_memory();
        let identity = container.identity().map_or(0, |identity| identity.memory());
        let parent = parent(&container.name);
        let parent = self.by_parent.get_key_value(parent).map_or_else(|| parent.into(), |(kept, _)| Arc::clone(kept));
        let exit = container.exit().map_or(0, |exit| exit.memory());
        let charge = FLAT + container.name.len() + parent.len() + identity + sample + exit;
        self.bytes += charge;
        *self.by_parent.entry(Arc::clone(&parent)).or_default() += charge;
        self.list.push_back(Ended { container, at, parent, charge, sample });
        if let Some(older) = self.list.len().checked_sub(MAX_ENDED_SAMPLES + 1) {
            self.forget_sample(older);
        }
        while self.list.front().is_some_and(|first| first.at < oldest) || self.list.len() > MAX_ENDED {
            if let Some(ended) = self.list.pop_front() {
                self.give_back(&ended.parent, ended.charge);
            }
        }
        if self.bytes > self.limit {
            self.make_room();
        }
    }

    /// Drops the oldest of the directory that takes the most, so many at once that it is not done for each.
    fn make_room(&mut self) {
        let enough = self.limit - self.limit / 16;
        while self.bytes > enough {
            let heaviest = self.by_parent.iter().max_by_key(|(_, bytes)| **bytes);
            let Some(heaviest) = heaviest.map(|(parent, _)| Arc::clone(parent)) else { return };
            let mut kept = VecDeque::with_capacity(self.list.len());
            for ended in std::mem::take(&mut self.list) {
                if self.bytes > enough && Arc::ptr_eq(&ended.parent, &heaviest) {
                    Bound::EndedMemory.exceeded();
                    self.give_back(&ended.parent, ended.charge);
                } else {
                    kept.push_back(ended);
                }
            }
            self.list = kept;
        }
    }

    fn forget_sample(&mut self, position: usize) {
        let Some(ended) = self.list.get_mut(position) else { return };
        ended.container.forget_samples();
        let sample = std::mem::take(&mut ended.sample);
        ended.charge -= sample;
        let parent = Arc::clone(&ended.parent);
        self.give_back(&parent, sample);
    }

    fn give_back(&mut self, parent: &[u8], charge: usize) {
        self.bytes -= charge;
        if let Some(bytes) = self.by_parent.get_mut(parent) {
            *bytes -= charge;
            if *bytes == 0 {
                self.by_parent.remove(parent);
            }
        }
    }

    /// Those that ended at this time or later, the last one last.
    pub(super) fn since(&self, oldest: Steady) -> impl Iterator<Item = &Arc<Container>> {
        self.list.iter().filter(move |ended| ended.at >= oldest).map(|ended| &ended.container)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
