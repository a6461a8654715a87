//! When limits are read, and when a container was made.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::tracked::{Reading, SetLimits};
use super::{Engine, Origin, Tracked, lock};
use crate::reader::container::{Counted, Scratch};
use crate::sample::event::{Event, EventData, EventKind, Name};
use crate::sampler::metrics::Purpose;
use crate::units::WallTime;

/// The times of a cgroup's files are those of its making when they are this close to what an event reported.
const FILES_AGREE: Duration = Duration::from_secs(1);
/// Limits older than this are read along with a sample: what is served from memory should not be older for long. Their
/// files are not kept open, so it costs as much as several samples; where kernel memory shows that they are what they were,
/// the files are left alone.
const LIMITS_AGE: Duration = Duration::from_secs(20);
/// A container that was seen being made is read once more after this: its runtime has set them by then, and one that is
/// killed at its limit soon after is to be shown with it.
const SET_AFTER: Duration = Duration::from_millis(500);
/// Up to so much more, different for each container: those found together would otherwise be read together for ever.
const LIMITS_SPREAD: u64 = 20;

fn longest_age(tracked: &Tracked) -> Duration {
    let mixed = |sum: u64, byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
    let name = tracked.container.name().iter().fold(0, mixed);
    LIMITS_AGE + Duration::from_secs(name % (LIMITS_SPREAD + 1))
}

impl Engine {
    /// Reads the container's limits into the store. Reads files, and waits for a sample being taken: not for the
    /// async threads.
    pub fn refresh_spec(&self, tracked: &Tracked, scratch: &mut Scratch) {
        let mut reading = lock(&tracked.reader);
        tracked.deliver_news(&mut reading);
        self.read_limits(tracked, &mut reading, scratch);
    }

    /// Reads the limits along with a sample when they are not known yet, or have not been looked at for long.
    pub(super) fn read_limits_if_due(
        &self,
        tracked: &Tracked,
        reading: &mut Reading,
        (purpose, counted): (Purpose, Option<&Counted>),
        scratch: &mut Scratch,
    ) {
        let due = match purpose {
            Purpose::First => tracked.container.spec_age().is_none(),
            Purpose::Tick => {
                Self::is_due_for_limits(tracked, reading) || counted.is_some() && reading.reader.has_limits_to_note()
            }
            Purpose::Final | Purpose::OnDemand => false,
        };
        if !due {
            return;
        }
        if tracked.container.spec_age().is_some_and(|age| age >= SET_AFTER) {
            reading.limits = SetLimits::Known;
        }
        let Some(counted) = counted else { return self.read_limits(tracked, reading, scratch) };
        let before = tracked.container.spec();
        if let Some(spec) = reading.reader.limits_again(&self.context, counted, before.clone(), scratch) {
            tracked.container.set_spec(spec);
        } else {
            self.read_limits(tracked, reading, scratch);
            reading.reader.note_limits(&self.context, counted, &before, &tracked.container.spec());
        }
    }

    /// Whether the limits are not known, may have been set since, or have not been looked at for long.
    pub(super) fn is_due_for_limits(tracked: &Tracked, reading: &Reading) -> bool {
        let may_be_set = |age| reading.limits == SetLimits::MayFollow && age >= SET_AFTER;
        tracked.container.spec_age().is_none_or(|age| age >= longest_age(tracked) || may_be_set(age))
    }

    /// Reads the limits after a sample that found other controllers than the one before: with them limits come and go.
    pub(super) fn read_limits_of_new_controllers(
        &self,
        tracked: &Tracked,
        reading: &mut Reading,
        scratch: &mut Scratch,
    ) {
        if reading.reader.take_news_of_controllers() {
            self.read_limits(tracked, reading, scratch);
        }
    }

    fn read_limits(&self, tracked: &Tracked, reading: &mut Reading, scratch: &mut Scratch) {
        let mut spec = reading.reader.spec(&self.context, scratch);
        let now = WallTime::from(SystemTime::now());
        spec.created = self.created(tracked, reading, scratch, now);
        self.announce(tracked, spec.created.unwrap_or(now));
        tracked.container.set_spec(spec);
    }

    /// When the container was made. By its files even where an event reported it: a collector that is started later has
    /// only these, and the time must not change with a restart.
    fn created(
        &self,
        tracked: &Tracked,
        reading: &mut Reading,
        scratch: &mut Scratch,
        now: WallTime,
    ) -> Option<WallTime> {
        let made = match tracked.origin {
            Origin::Made(at) => Some(at),
            Origin::Found => None,
        };
        // Looked at late, or the clock was set meanwhile: then files do not show it.
        let is_apart =
            |files: WallTime, at: WallTime| files.since(at).0.max(at.since(files).0) >= FILES_AGREE.as_nanos() as u64;
        let from_files = |files: WallTime| made.filter(|at| is_apart(files, *at)).unwrap_or(files);
        if reading.created.is_none() {
            reading.created = reading.reader.created_from_files(&self.context, scratch, now).map(from_files);
        }
        reading.created.or(made)
    }

    /// Says that a container was made, if nobody did, which was then or until now.
    pub(super) fn announce(&self, tracked: &Tracked, at: WallTime) {
        if !tracked.is_announced.swap(true, Ordering::Relaxed) {
            self.publish_creation(tracked.container.name(), at);
        }
    }

    /// Says that a container was made then.
    pub fn publish_creation(&self, name: &Name, at: WallTime) {
        let (container, kind, data) = (Arc::clone(name), EventKind::ContainerCreation, EventData::None);
        self.store.events().publish(Event { container, at, kind, data });
    }
}
