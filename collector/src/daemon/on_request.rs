//! What is read from the host because a request asks for it, and kept for those that ask soon after.
//!
//! A read that hangs holds up one thread, however many requests come meanwhile, and each request for a while only: it is
//! then answered with what was read last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

/// The last reading, and whether there is another under way.
#[derive(Debug)]
pub(super) struct OnRequest<T> {
    last: watch::Sender<Option<RequestedReading<T>>>,
    is_under_way: AtomicBool,
}

#[derive(Debug)]
struct RequestedReading<T> {
    began: Instant,
    value: Arc<T>,
}

impl<T> Clone for RequestedReading<T> {
    fn clone(&self) -> Self {
        Self { began: self.began, value: Arc::clone(&self.value) }
    }
}

impl<T> Default for OnRequest<T> {
    fn default() -> Self {
        Self { last: watch::Sender::new(None), is_under_way: AtomicBool::new(false) }
    }
}

/// Lets the next one read, whatever became of this reading.
struct UnderWay<T>(Arc<OnRequest<T>>);

impl<T> Drop for UnderWay<T> {
    fn drop(&mut self) {
        self.0.is_under_way.store(false, Ordering::Release);
        // Whoever waits for a reading that failed waits no longer.
        self.0.last.send_modify(|_| {});
    }
}

impl<T: Send + Sync + 'static> OnRequest<T> {
    /// A reading that began no longer ago than `max_age`: a new one if there is none. After `patience` the last one,
    /// however old it is.
    pub(super) async fn get(
        self: &Arc<Self>,
        max_age: Duration,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Arc<T>> {
        let wanted = Instant::now().checked_sub(max_age);
        let is_fresh = |last: &Option<RequestedReading<T>>| {
            last.as_ref().is_some_and(|last| wanted.is_none_or(|wanted| last.began >= wanted))
        };
        let mut updates = self.last.subscribe();
        let mut read = Some(read);
        let done = async {
            while !is_fresh(&updates.borrow_and_update()) {
                if let Some(read) = read.take_if(|_| !self.is_under_way.swap(true, Ordering::AcqRel)) {
                    self.start(read);
                } else if read.is_none() && !self.is_under_way.load(Ordering::Acquire) {
                    // It failed.
                    break;
                }
                // One that is under way may have begun too long ago; then another begins when it ends.
                if updates.changed().await.is_err() {
                    break;
                }
            }
        };
        if timeout(patience, done).await.is_err() {
            tracing::debug!("what a request asked for was not read in time");
        }
        self.last()
    }

    fn start(self: &Arc<Self>, read: impl FnOnce() -> T + Send + 'static) {
        let under_way = UnderWay(Arc::clone(self));
        tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let value = Arc::new(read());
            under_way.0.last.send_replace(Some(RequestedReading { began, value }));
        });
    }

    /// The last reading, however old it is.
    pub(super) fn last(&self) -> Option<Arc<T>> {
        self.last.borrow().as_ref().map(|last| Arc::clone(&last.value))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn read_once_for_all_who_ask_at_one_time() {
        let shared = Arc::new(OnRequest::default());
        let reads = Arc::new(AtomicUsize::new(0));
        let ask = |max_age| {
            let (shared, reads) = (Arc::clone(&shared), Arc::clone(&reads));
            async move {
                let read = move || {
                    std::thread::sleep(Duration::from_millis(50));
                    reads.fetch_add(1, Ordering::Relaxed) + 1
                };
                shared.get(max_age, LONG, read).await.map(|value| *value)
            }
        };
        let (one, other) = tokio::join!(ask(LONG), ask(LONG));
        assert_eq!((one, other, ask(LONG).await), (Some(1), Some(1), Some(1)));
        assert_eq!(ask(Duration::ZERO).await, Some(2));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_hangs_holds_up_one_thread_and_nobody_for_long() {
        let shared = Arc::new(OnRequest::default());
        assert_eq!(shared.get(LONG, LONG, || 1).await.as_deref(), Some(&1));
        let (release, held) = mpsc::channel::<()>();
        let hang = move || {
            let _ = held.recv();
            2
        };
        let short = Duration::from_millis(20);
        assert_eq!(shared.get(Duration::ZERO, short, hang).await.as_deref(), Some(&1), "the last one");
        assert_eq!(shared.get(Duration::ZERO, short, || 3).await.as_deref(), Some(&1), "no other thread");
        drop(release);
        // The one that hung may be there by now.
        assert!(matches!(shared.get(LONG, LONG, || 4).await.as_deref(), Some(1 | 2)), "young enough");
        let deadline = Instant::now() + LONG;
        while shared.get(Duration::ZERO, LONG, || 5).await.as_deref() != Some(&5) {
            assert!(Instant::now() < deadline);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_began_too_long_ago_is_not_enough() {
        let shared = Arc::new(OnRequest::default());
        let (release, held) = mpsc::channel::<()>();
        let slow = move || {
            let _ = held.recv();
            1
        };
        let asks = Arc::clone(&shared);
        let first = tokio::spawn(async move { asks.get(LONG, LONG, slow).await.as_deref().copied() });
        while !shared.is_under_way.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let asks = Arc::clone(&shared);
        let second = tokio::spawn(async move { asks.get(Duration::ZERO, LONG, || 2).await.as_deref().copied() });
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(release);
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (Some(1), Some(2)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_fails_is_tried_again() {
        let shared = Arc::new(OnRequest::default());
        let failed = shared.get(LONG, LONG, || if shared_fails() { panic!("on purpose") } else { 0 }).await;
        assert_eq!(failed, None);
        assert_eq!(shared.get(LONG, LONG, || 1).await.as_deref(), Some(&1));
    }

    fn shared_fails() -> bool {
        true
    }
}
