//! What containers used, as read while their cgroups are removed: a moment before the removal itself is reported.

use super::Tracker;
use crate::kernel::probes::events::last::LastEvent;
use crate::reader::container::Member;

impl Tracker {
    pub(super) fn removing(&self, event: &LastEvent) {
        let member = Member { hierarchy: event.hierarchy_id, id: event.id };
        let Some(name) = self.discovery.name(member) else { return };
        let Some(tracked) = self.engine.tracked(name) else { return };
        let was_in = |hierarchy| self.discovery.was_in(name, hierarchy);
        self.engine.removing(&tracked, event, self.clock.wall(event.boot_ns), &was_in);
    }
}
