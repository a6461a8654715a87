//! zswap, which is in `memory.stat`.

use std::sync::Arc;

use super::Stat;
use crate::kernel::cgroup::memory_stat::StatLayout;
use crate::sample::container::Zswap;
use crate::units::Bytes;

/// The lines of zswap in `memory.stat`.
const ZSWAP: [&str; 5] = ["zswap", "zswapped", "zswpin", "zswpout", "zswpwb"];

/// Where they are, looked for once for all files of one layout.
#[derive(Debug, Default)]
pub(in crate::reader::container::families) struct ZswapKeys {
    layout: Option<Arc<StatLayout>>,
    positions: [Option<usize>; ZSWAP.len()],
}

impl ZswapKeys {
    pub(super) fn pick(&mut self, stat: &Stat) -> Option<Zswap> {
        let layout = stat.layout.as_ref()?;
        if !self.layout.as_ref().is_some_and(|known| Arc::ptr_eq(known, layout)) {
            self.positions = ZSWAP.map(|key| layout.keys().iter().position(|known| **known == *key));
            self.layout = Some(Arc::clone(layout));
        }
        let [usage, stored, pages_in, pages_out, pages_written_back] =
            self.positions.map(|position| stat.values.get(position?).copied());
        let (usage, stored) = (usage.map(Bytes), stored.map(Bytes));
        let zswap = Zswap { usage, stored, pages_in, pages_out, pages_written_back };
        (zswap != Zswap::default()).then_some(zswap)
    }
}
