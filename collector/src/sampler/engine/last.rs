//! Last samples, completed with what the kernel's programs read while a container's cgroups were removed.

use super::origin::Origin;
use super::{Engine, Tracked, lock};
use crate::kernel::probes::events::last::LastEvent;
use crate::reader::container::LastSample;
use crate::sample::container::Sample;
use crate::sampler::metrics::LastOutcome;
use crate::store::Listed;
use crate::units::WallTime;

impl Engine {
    /// A cgroup of the container's is being removed, and this was read of it. `was_in` reports whether the container is in a
    /// hierarchy, or was.
    pub fn removing(&self, tracked: &Tracked, event: &LastEvent, at: WallTime, was_in: &dyn Fn(u32) -> bool) {
        if tracked.container.listed() == Listed::Yes {
            self.context.note_last(&mut lock(&tracked.last), event, at, was_in);
        }
    }

    /// Completes the last sample. No closing sample is under way any more; one at the interval that is finds its counters
    /// behind and leaves them as they are.
    pub(super) fn complete(&self, tracked: &Tracked) {
        let reading = std::mem::take(&mut *lock(&tracked.last));
        let made = match tracked.origin {
            Origin::Made(at) => Some(at),
            Origin::Found => None,
        };
        let before = tracked.container.latest();
        let outcome = match self.context.last_sample(before.as_deref(), &reading, made) {
            LastSample::NotRead => return,
            LastSample::Known => LastOutcome::Known,
            LastSample::Refused => LastOutcome::Refused,
            // Nothing ran in it and nobody read it: it leaves no series, however many of its kind are made and removed.
            LastSample::Completed(sample) if before.is_none() && has_used_nothing(&sample) => return,
            LastSample::Completed(sample) => {
                tracked.container.push(*sample);
                LastOutcome::Completed
            }
        };
        self.metrics.last_read(outcome);
    }
}

fn has_used_nothing(sample: &Sample) -> bool {
    sample.cpu.as_ref().is_none_or(|cpu| cpu.total.0 == 0)
}
