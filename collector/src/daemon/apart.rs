//! Work that may hang, done apart from the threads that serve: who asks waits for a while, and no longer.

use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::kernel::apart::{Apart, NotBegun};

/// Threads for reading files of containers, those that hang included, and how many are waited for at once.
const FILES: usize = 24;
const FILES_AT_ONCE: usize = 8;
const FILES_PATIENCE: Duration = Duration::from_secs(2);
/// Threads for what requests ask for.
const REQUESTS: usize = 32;
const REQUESTS_AT_ONCE: usize = 16;
const REQUESTS_PATIENCE: Duration = Duration::from_secs(5);

/// Nothing came of it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It was not begun.
    #[error(transparent)]
    NotBegun(#[from] NotBegun),
    /// It takes too long.
    #[error("no answer within {0:?}; it is not tried again until it has come back")]
    Slow(Duration),
    /// It ended without a result.
    #[error("it ended early")]
    Ended,
}

/// The pools.
#[derive(Debug)]
pub(crate) struct Pools {
    /// For files that containers choose.
    pub(crate) files: Pool,
    /// For what requests ask for.
    pub(crate) requests: Pool,
}

impl Default for Pools {
    fn default() -> Self {
        Self {
            files: Pool::new("files", FILES, FILES_AT_ONCE, FILES_PATIENCE),
            requests: Pool::new("requests", REQUESTS, REQUESTS_AT_ONCE, REQUESTS_PATIENCE),
        }
    }
}

impl Pools {
    /// How many threads hang, by pool.
    pub(crate) fn hanging(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [("container_files", &self.files), ("requests", &self.requests)]
            .into_iter()
            .map(|(name, pool)| (name, pool.apart.hanging(pool.patience)))
    }
}

/// Threads of one kind.
#[derive(Debug)]
pub(crate) struct Pool {
    apart: Apart,
    waited_for: Semaphore,
    patience: Duration,
}

impl Pool {
    fn new(name: &'static str, most: usize, at_once: usize, patience: Duration) -> Self {
        Self { apart: Apart::new(name, most), waited_for: Semaphore::new(at_once), patience }
    }

    /// Whether so many threads are in use that it should be thought of what they do.
    pub(crate) fn is_half_full(&self) -> bool {
        self.apart.is_half_full()
    }

    /// Has something done on a thread of its own. What is under way under the same key is not begun again.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        key: &[u8],
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        // Never closed.
        let _waiting = self.waited_for.acquire().await;
        let (answer, answered) = oneshot::channel();
        // When nobody waits any more nobody wants it.
        self.apart.begin(key, work, move |done| drop(answer.send(done)))?;
        match tokio::time::timeout(self.patience, answered).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(Unanswered::Ended),
            Err(_) => Err(Unanswered::Slow(self.patience)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn who_hangs_is_left_alone_and_others_get_answers() {
        let pool = Pool::new("apart-test", 4, 2, Duration::from_millis(50));
        let (gate, opened) = mpsc::channel::<()>();
        let hang = move || {
            let _ = opened.recv();
        };
        assert_eq!(pool.run(b"a", hang).await, Err(Unanswered::Slow(Duration::from_millis(50))));
        assert_eq!(pool.run(b"a", || 1).await, Err(Unanswered::NotBegun(NotBegun::StillUnderWay)));
        let others = async { while pool.run(b"b", || 2).await != Ok(2) {} };
        assert!(tokio::time::timeout(Duration::from_secs(20), others).await.is_ok());
        // A panic takes its time to be reported.
        let patient = Pool::new("apart-test", 4, 2, Duration::from_secs(20));
        assert_eq!(patient.run(b"c", || -> u8 { panic!("on purpose") }).await, Err(Unanswered::Ended));
        assert!(!pool.is_half_full());
        drop(gate);
        let back = async {
            while pool.run(b"a", || 1).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), back).await.is_ok());
    }
}
