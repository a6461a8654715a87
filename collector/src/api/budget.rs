//! How much memory answers under way may take, all of them together.
//!
//! Whoever renders an answer that may be large holds a share of the budget until the client has taken what was rendered.
//! An answer is rendered and sent in pieces, so that its share is small however long it gets. What has no share waits for
//! one, and after a while is refused: a busy collector answers some requests later, and none with its life.
//!
//! Scrapes have a part of their own, which lists and slow readers of them cannot use up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;

/// What is counted in: a permit of a semaphore is so many bytes.
const UNIT: usize = 1 << 10;
/// Requests that may wait for a share.
const WAITING: usize = 256;
/// How long one waits.
const WAIT: Duration = Duration::from_secs(5);
/// After how many seconds a refused client may ask again.
pub const RETRY_AFTER: &str = "1";

/// Bytes by default: what 1,000 cgroups need fits beside it into the 256 MiB of the shipped manifests.
pub const DEFAULT: usize = 64 << 20;
/// Least that can be asked for.
pub const LEAST: usize = 4 << 20;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Busy {
    /// Too many others wait.
    #[error("the collector is busy: {WAITING} requests wait for memory (--answer_buffer_bytes); try again later")]
    Queue,
    /// The others took too long.
    #[error(
        "the collector is busy: no memory for this answer within {WAIT:?} (--answer_buffer_bytes); try again later"
    )]
    Timeout,
    /// The answer alone takes more than there is.
    #[error(
        "the answer takes more than the {0} bytes that are there for it: ask for less, leave out labels or series \
         (--whitelisted_container_labels, --max_series), or raise --answer_buffer_bytes"
    )]
    Size(usize),
    /// Too many answers without an end are open.
    #[error("{0} streams are open already, and more are not allowed")]
    Streams(usize),
}

impl Busy {
    /// What the metric that counts refusals calls it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Timeout => "timeout",
            Self::Size(_) => "size",
            Self::Streams(_) => "streams",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Queue => 0,
            Self::Timeout => 1,
            Self::Size(_) => 2,
            Self::Streams(_) => 3,
        }
    }
}

/// What became of answers, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Refusals by reason.
    pub refused: [(&'static str, u64); 4],
    /// Scrapes that were answered with what was rendered for another.
    pub shared: u64,
    /// Renderings whose slow readers were cut off to make room for a new one.
    pub cut_off: u64,
    /// Bytes that are taken now.
    pub taken: u64,
}

/// The budget.
#[derive(Debug)]
pub struct Budget {
    lists: Pool,
    scrapes: Pool,
    waiting: AtomicUsize,
    refused: [AtomicU64; 4],
    shared: AtomicU64,
    cut_off: AtomicU64,
}

#[derive(Debug)]
struct Pool {
    free: Arc<Semaphore>,
    bytes: usize,
}

impl Pool {
    fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes / UNIT)), bytes }
    }

    fn taken(&self) -> usize {
        self.bytes - (self.free.available_permits() * UNIT).min(self.bytes)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

impl Budget {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        let scrapes = bytes / 8 * 5;
        Self {
            lists: Pool::new(bytes - scrapes),
            scrapes: Pool::new(scrapes),
            waiting: AtomicUsize::new(0),
            refused: Default::default(),
            shared: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
        }
    }

    /// A share for an answer that is no scrape. What is more than half of what there is gets the half: it cannot be known
    /// before, and others have to be answered too.
    ///
    /// # Errors
    /// When too many wait already, or nothing became free in time.
    pub async fn reserve(&self, bytes: usize) -> Result<Share, Busy> {
        let permit = self.acquire(bytes.min(self.lists.bytes / 2)).await?;
        Ok(Share { permit })
    }

    /// Makes a share larger if it has to be, so that it covers so many bytes.
    ///
    /// # Errors
    /// When that is more than there is, or nothing became free in time.
    pub async fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), Busy> {
        if bytes > self.lists.bytes {
            return Err(self.refuse(Busy::Size(self.lists.bytes)));
        }
        let missing = bytes.saturating_sub(share.permit.num_permits() * UNIT);
        if missing > 0 {
            share.permit.merge(self.acquire(missing).await?);
        }
        Ok(())
    }

    async fn acquire(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Busy> {
        let units = units(bytes);
        match Arc::clone(&self.lists.free).try_acquire_many_owned(units) {
            Ok(permit) => return Ok(permit),
            Err(TryAcquireError::NoPermits) => {}
            Err(TryAcquireError::Closed) => return Err(Busy::Queue),
        }
        let _place = Place::take(&self.waiting).ok_or(Busy::Queue).map_err(|busy| self.refuse(busy))?;
        match timeout(WAIT, Arc::clone(&self.lists.free).acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(permit),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(self.refuse(Busy::Timeout)),
        }
    }

    /// A share for what an answer does not need, such as its compression: only while half of everything is free, so that
    /// nobody waits for it, however many streams are open.
    pub fn spare(&self, bytes: usize) -> Option<Share> {
        if self.lists.taken() + bytes > self.lists.bytes / 2 {
            return None;
        }
        let permit = Arc::clone(&self.lists.free).try_acquire_many_owned(units(bytes)).ok()?;
        Some(Share { permit })
    }

    /// A share for a piece of a scrape's answer, if there is one.
    pub fn of_scrapes(&self, bytes: usize) -> Option<Share> {
        let permit = Arc::clone(&self.scrapes.free).try_acquire_many_owned(units(bytes)).ok()?;
        Some(Share { permit })
    }

    /// All that scrapes may take.
    pub const fn scrape_bytes(&self) -> usize {
        self.scrapes.bytes
    }

    /// Counts a refusal.
    pub fn refuse(&self, busy: Busy) -> Busy {
        self.refused[busy.index()].fetch_add(1, Ordering::Relaxed);
        busy
    }

    /// Counts a scrape that got what was rendered for another.
    pub fn count_shared(&self) {
        self.shared.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a rendering whose readers were cut off.
    pub fn count_cut_off(&self) {
        self.cut_off.fetch_add(1, Ordering::Relaxed);
    }

    /// For the collector's own metrics.
    pub fn counts(&self) -> Counts {
        let reasons = [Busy::Queue, Busy::Timeout, Busy::Size(0), Busy::Streams(0)];
        Counts {
            refused: reasons.map(|busy| (busy.reason(), self.refused[busy.index()].load(Ordering::Relaxed))),
            shared: self.shared.load(Ordering::Relaxed),
            cut_off: self.cut_off.load(Ordering::Relaxed),
            taken: (self.lists.taken() + self.scrapes.taken()) as u64,
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// A place among those that wait, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        // Of one too many the drop takes it back.
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub struct Share {
    permit: OwnedSemaphorePermit,
}

impl Share {
    /// Gives back what is more than so many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.permit.num_permits().saturating_sub(units(bytes) as usize);
        drop(self.permit.split(surplus));
    }

    /// The text with its share, which is given back when nobody has any of the text any more.
    pub fn hold(self, text: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { text, _share: self })
    }
}

struct Held {
    text: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_has_no_share_waits_and_is_refused_after_a_while() {
        let budget = Budget::new(8 << 20);
        let half = budget.lists.bytes / 2;
        let first = budget.reserve(usize::MAX).await.unwrap();
        assert_eq!(budget.counts().taken, half as u64, "one alone does not get everything");
        let _second = budget.reserve(half).await.unwrap();
        assert_eq!(budget.reserve(UNIT).await.unwrap_err(), Busy::Timeout);
        let (third, ()) = tokio::join!(budget.reserve(half), async {
            tokio::time::sleep(WAIT / 2).await;
            drop(first);
        });
        let mut third = third.unwrap();
        assert_eq!(budget.grow(&mut third, half).await, Ok(()));
        assert_eq!(budget.grow(&mut third, half * 2 + 1).await, Err(Busy::Size(half * 2)));
        assert_eq!(budget.grow(&mut third, half + 1).await, Err(Busy::Timeout));
        assert!(budget.of_scrapes(half).is_some(), "scrapes have a part of their own");
        let counts = budget.counts();
        assert_eq!(counts.refused, [("queue", 0), ("timeout", 2), ("size", 1), ("streams", 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let budget = Arc::new(Budget::new(LEAST));
        let _all = [budget.reserve(usize::MAX).await.unwrap(), budget.reserve(usize::MAX).await.unwrap()];
        let waiting: Vec<_> = (0..=WAITING)
            .map(|_| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move { budget.reserve(1).await.map(drop) })
            })
            .collect();
        let mut refused = Vec::new();
        for task in waiting {
            refused.push(task.await.unwrap().unwrap_err());
        }
        assert_eq!(refused.iter().filter(|busy| **busy == Busy::Queue).count(), 1);
        assert_eq!(budget.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_share_is_given_back_with_the_last_of_its_text() {
        let budget = Budget::new(8 << 20);
        let text = budget.of_scrapes(3000).unwrap().hold(vec![b'x'; 3000]);
        let part = text.slice(2000..);
        drop(text);
        assert_eq!(budget.counts().taken, 3 * UNIT as u64);
        assert_eq!(part.len(), 1000);
        drop(part);
        assert_eq!(budget.counts().taken, 0);
        let mut share = budget.of_scrapes(10 * UNIT).unwrap();
        share.shrink(20 * UNIT);
        assert_eq!(budget.counts().taken, 10 * UNIT as u64);
        share.shrink(2 * UNIT);
        assert_eq!(budget.counts().taken, 2 * UNIT as u64);
        drop(share);
        assert!(budget.of_scrapes(budget.scrape_bytes() + UNIT).is_none());
    }
}
