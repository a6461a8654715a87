//! Where the processor's monitoring groups are.

use std::time::Duration;

use crate::kernel::resctrl::Resctrl;

/// Reads groups (kind `resctrl`). Shared by all sampling threads.
#[derive(Debug)]
pub struct ResctrlReader {
    pub(super) resctrl: Resctrl,
    /// How often the tasks that came since are put into a container's group; never if zero. Children of a task in the
    /// group are in it from the start.
    pub(super) update_every: Duration,
}

impl ResctrlReader {
    /// A reader, where the file system is mounted. Removes what an earlier collector left: there is only one at a time.
    pub fn new(sys: &std::path::Path, update_every: Duration) -> Option<Self> {
        let resctrl = Resctrl::find(sys)?;
        resctrl.remove_leftovers();
        Some(Self { resctrl, update_every })
    }
}
