//! Requests that wait to be sent: a bounded number, and a bounded number of bytes. The oldest give way.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes that wait at most, whatever their number.
const MAX_BYTES: usize = 64 << 20;

/// A request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The encoded message.
    pub body: Bytes,
    /// How many values are in it.
    pub points: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    news: Notify,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    bytes: usize,
    points: u64,
    closed: bool,
}

impl Queue {
    /// For so many requests, at least one.
    pub fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), news: Notify::new(), limit: limit.max(1) }
    }

    /// Adds a request. Returns how many values of the oldest requests were dropped for it.
    pub fn push(&self, request: Request) -> u64 {
        let mut state = self.lock();
        state.bytes += request.body.len();
        state.points += request.points;
        state.requests.push_back(request);
        let mut dropped = 0;
        while state.requests.len() > self.limit || (state.bytes > MAX_BYTES && state.requests.len() > 1) {
            dropped += state.pop().map_or(0, |request| request.points);
        }
        drop(state);
        self.news.notify_one();
        dropped
    }

    /// Takes the oldest request, once there is one; `None` when the queue is closed and empty.
    pub async fn take(&self) -> Option<Request> {
        loop {
            let news = self.news.notified();
            {
                let mut state = self.lock();
                if let Some(request) = state.pop() {
                    return Some(request);
                }
                if state.closed {
                    return None;
                }
            }
            news.await;
        }
    }

    /// Nothing will be added.
    pub fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    /// Whether nothing will be added.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits until nothing will be added. Not to be awaited beside [`Self::take`].
    pub async fn closed(&self) {
        loop {
            let news = self.news.notified();
            if self.is_closed() {
                return;
            }
            news.await;
        }
    }

    /// How many values wait.
    pub fn waiting(&self) -> u64 {
        self.lock().points
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.bytes -= request.body.len();
        self.points -= request.points;
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(points: u64, bytes: usize) -> Request {
        Request { body: vec![0; bytes].into(), points }
    }

    #[tokio::test]
    async fn the_oldest_give_way() {
        let queue = Queue::new(2);
        assert_eq!([1, 2, 3, 4].map(|points| queue.push(request(points, 1))), [0, 0, 1, 2]);
        assert_eq!(queue.waiting(), 7);
        assert_eq!(queue.take().await.map(|request| request.points), Some(3));
        queue.close();
        assert_eq!(queue.take().await.map(|request| request.points), Some(4));
        assert_eq!(queue.take().await, None);
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let queue = Queue::new(100);
        assert_eq!(queue.push(request(1, MAX_BYTES)), 0);
        assert_eq!(queue.push(request(2, MAX_BYTES + 1)), 1);
        assert_eq!(queue.waiting(), 2, "a request that is too long alone is still sent");
    }

    #[tokio::test(start_paused = true)]
    async fn a_taker_waits_for_news() {
        let queue = Queue::new(1);
        let (taken, ()) = tokio::join!(queue.take(), async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            queue.push(request(5, 1));
        });
        assert_eq!(taken.map(|request| request.points), Some(5));
    }
}
