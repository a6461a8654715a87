//! Where nothing changed in kernel memory the sample is the one before, a moment later, and none needs to be made.

use crate::kernel::probes::counters::{CounterFamily, FAMILIES};
use crate::reader::container::kernel_memory::Counted;
use crate::sample::container::Sample;

/// What the last sample was made of, if that was kernel memory alone.
#[derive(Debug, Default)]
pub(super) struct Still {
    words: Vec<u64>,
    /// Of each family so many of them, one after the other; `None` where nothing is known.
    lengths: Option<[u16; FAMILIES]>,
}

impl Still {
    /// Whether exactly this was read for the last sample.
    pub(super) fn is(&self, counted: &Counted) -> bool {
        let Some(lengths) = &self.lengths else { return false };
        let mut rest = self.words.as_slice();
        CounterFamily::ALL.into_iter().zip(lengths).all(|(family, length)| {
            let (before, after) = rest.split_at(usize::from(*length));
            rest = after;
            counted.of(family) == before
        })
    }

    /// Keeps what a sample was made of.
    pub(super) fn keep(&mut self, counted: &Counted) {
        self.words.clear();
        let mut lengths = [0; FAMILIES];
        for (family, length) in CounterFamily::ALL.into_iter().zip(&mut lengths) {
            let words = counted.of(family);
            *length = words.len() as u16;
            self.words.extend_from_slice(words);
        }
        self.lengths = Some(lengths);
    }

    /// The last sample has something from elsewhere.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Whether a sample has nothing that is read from elsewhere than files of cgroups and kernel memory.
pub(super) fn has_counters_alone(sample: &Sample) -> bool {
    let Sample {
        at: _,
        cpu,
        memory: _,
        io: _,
        processes: None,
        hugetlb: None,
        network: None,
        cpuset_memory_migrate: None,
        misc: None,
        tasks: None,
        referenced: None,
        resctrl: None,
        perf: None,
        perf_uncore: None,
        oom_kills: _,
        unread: _,
    } = sample
    else {
        return false;
    };
    cpu.as_ref().is_none_or(|cpu| cpu.schedstat.is_none() && cpu.load.is_none())
}
