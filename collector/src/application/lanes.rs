//! Who waits for whom when many applications are read at once.
//!
//! A container that answered quickly last time waits only for others that did; one that has not been read yet for others
//! of that kind; one that was slow, or whose expressions are, for other slow ones. In each lane only so many answers are
//! under way, and only so many of them may be large.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bounds::{LARGE_TURNS, SMALL_PAGE_BYTES, TURNS};

/// What is known of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing yet.
    #[default]
    New,
    /// Its last answer came quickly.
    Quick,
    /// It did not.
    Slow,
}

/// The lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    new: Lane,
    quick: Lane,
    slow: Lane,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self { new: Lane::new(), quick: Lane::new(), slow: Lane::new() }
    }

    pub(super) fn of(&self, known: Known) -> &Lane {
        match known {
            Known::New => &self.new,
            Known::Quick => &self.quick,
            Known::Slow => &self.slow,
        }
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct Lane {
    turns: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A place among those that are read; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Room for an answer; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Room {
    large: Option<OwnedSemaphorePermit>,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(TURNS)), large: Arc::new(Semaphore::new(LARGE_TURNS)) }
    }

    /// Waits for a turn, in the order of asking.
    pub(super) async fn turn(&self) -> Turn {
        // Never closed.
        Turn { _permit: Arc::clone(&self.turns).acquire_owned().await.ok() }
    }

    /// Waits until there is room for an answer of so many bytes. Who has a turn has room for a small one; room for a large
    /// one is as much as an answer may take, so that nobody who has some waits for more.
    pub(super) async fn grow(&self, room: &mut Room, bytes: usize) {
        if bytes > SMALL_PAGE_BYTES && room.large.is_none() {
            room.large = Arc::clone(&self.large).acquire_owned().await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn turns_and_bytes_run_out_in_their_own_lane_only() {
        let lanes = Lanes::new();
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push(lanes.of(Known::Slow).turn().await);
        }
        assert!(timeout(SHORT, lanes.of(Known::Slow).turn()).await.is_err());
        assert!(timeout(SHORT, lanes.of(Known::Quick).turn()).await.is_ok());
        turns.pop();
        assert!(timeout(SHORT, lanes.of(Known::Slow).turn()).await.is_ok());

        let lane = lanes.of(Known::New);
        let mut rooms = Vec::new();
        for _ in 0..LARGE_TURNS {
            let mut room = Room::default();
            lane.grow(&mut room, SMALL_PAGE_BYTES + 1).await;
            lane.grow(&mut room, 1 << 20).await;
            rooms.push(room);
        }
        let mut other = Room::default();
        assert!(timeout(SHORT, lane.grow(&mut other, SMALL_PAGE_BYTES)).await.is_ok());
        assert!(timeout(SHORT, lane.grow(&mut other, SMALL_PAGE_BYTES + 1)).await.is_err());
        rooms.pop();
        assert!(timeout(SHORT, lane.grow(&mut other, SMALL_PAGE_BYTES + 1)).await.is_ok());
    }
}
