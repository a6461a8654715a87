//! Whether clients take what they have asked for.
//!
//! An answer leaves in small pieces, and each is counted until the connection has got rid of it: a connection whose
//! client reads nothing is noticed by what piles up, and so is one stream of HTTP/2 that is held up by its window alone,
//! which no write of the connection would show. Time runs only while something waits, and what is taken buys time back:
//! one byte now and then is not enough, and a stream of events that has nothing to say costs nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::own_metrics::ConnectionMetrics;

/// How long a client may leave something that waits for it.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes a second that a client has to take beyond that, on the average over the answer.
const SLOWEST: f64 = 16_384.0;
/// An answer is handed over in pieces of this size.
pub(super) const PIECE: usize = 16 << 10;
/// How often is looked whether a client is too slow.
const LOOK_EVERY: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// The pace of the connection, or of the stream in HTTP/2, that is being served.
    static PACE: Arc<Pace>;
}

/// What buys time back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// What is written to the connection.
    Writes,
    /// Pieces of answers that have left, for a stream of HTTP/2.
    Pieces,
}

/// How a client gets on with what waits for it.
#[derive(Debug)]
pub(super) struct Pace {
    progress: Progress,
    state: Mutex<PaceState>,
    drained: Notify,
    unsent: IntGauge,
}

#[derive(Debug, Default)]
struct PaceState {
    /// Bytes of pieces that were handed over and have not left.
    unsent: usize,
    /// Whether the last write found the connection full.
    is_blocked: bool,
    /// Until when the time is counted, while something waits.
    waiting_since: Option<Instant>,
    /// How long something has waited, less what was taken.
    debt: Duration,
}

impl PaceState {
    /// Counts the time until now, and whether it runs on.
    fn settle(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since {
            self.debt += now.saturating_duration_since(since);
        }
        if self.unsent > 0 || self.is_blocked {
            self.waiting_since = Some(now);
        } else {
            self.waiting_since = None;
            self.debt = Duration::ZERO;
        }
    }

    fn repay(&mut self, bytes: usize) {
        self.debt = self.debt.saturating_sub(Duration::from_secs_f64(bytes as f64 / SLOWEST));
    }
}

impl Pace {
    pub(super) fn new(progress: Progress, metrics: &ConnectionMetrics) -> Self {
        let unsent = metrics.unsent.clone();
        Self { progress, state: Mutex::default(), drained: Notify::new(), unsent }
    }

    /// That of the connection or the stream that is being served; `None` outside of one.
    pub(super) fn current() -> Option<Arc<Self>> {
        PACE.try_with(Arc::clone).ok()
    }

    fn state(&self) -> MutexGuard<'_, PaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece of an answer that counts until it is dropped.
    pub(super) fn hand_over(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let mut state = self.state();
        state.settle(Instant::now());
        state.unsent += bytes.len();
        state.waiting_since.get_or_insert_with(Instant::now);
        drop(state);
        self.unsent.add(bytes.len() as i64);
        Bytes::from_owner(Piece { bytes, pace: Arc::clone(self) })
    }

    fn left(&self, bytes: usize) {
        let mut state = self.state();
        state.unsent = state.unsent.saturating_sub(bytes);
        state.settle(Instant::now());
        if self.progress == Progress::Pieces {
            state.repay(bytes);
        }
        let is_drained = state.unsent == 0;
        drop(state);
        self.unsent.sub(bytes as i64);
        if is_drained {
            self.drained.notify_one();
        }
    }

    fn wrote(&self, written: Option<usize>) {
        let mut state = self.state();
        if written.is_none() && state.is_blocked {
            return;
        }
        state.is_blocked = written.is_none();
        state.settle(Instant::now());
        if self.progress == Progress::Writes {
            state.repay(written.unwrap_or(0));
        }
    }

    /// Whether something waits for the client.
    pub(super) fn is_waiting(&self) -> bool {
        self.state().waiting_since.is_some()
    }

    /// Whether the client takes too little of what waits for it.
    pub(super) fn is_too_slow(&self) -> bool {
        let mut state = self.state();
        state.settle(Instant::now());
        state.debt > GRACE
    }

    pub(super) async fn too_slow(&self) {
        while !self.is_too_slow() {
            sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn drained(&self) {
        while self.state().unsent > 0 {
            self.drained.notified().await;
        }
    }

    /// Serves a connection whose answers go by this pace.
    pub(super) async fn over<F: Future>(self: Arc<Self>, served: F) -> F::Output {
        PACE.scope(self, served).await
    }
}

struct Piece {
    bytes: Bytes,
    pace: Arc<Pace>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.pace.left(self.bytes.len());
    }
}

/// A stream of bytes that says how it gets on with writing.
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace }
    }

    fn note(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(written)) => self.pace.wrote(Some(*written)),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pace.wrote(None),
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.note(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the debt is after something has waited for so many seconds, and of it so many bytes a second were taken.
    fn debt(seconds: u64, bytes: usize) -> Duration {
        let began = Instant::now();
        let mut state = PaceState { unsent: 1 << 30, ..PaceState::default() };
        state.settle(began);
        for second in 1..=seconds {
            state.unsent -= bytes;
            state.settle(began + Duration::from_secs(second));
            state.repay(bytes);
        }
        state.debt
    }

    #[test]
    fn a_drip_is_not_progress_and_a_slow_line_is() {
        assert!(debt(11, 0) > GRACE);
        assert!(debt(11, 1) > GRACE, "a byte a second");
        assert!(debt(60, 8 << 10) > GRACE, "half of what has to be");
        assert!(debt(3600, 20 << 10) < GRACE, "a slow line");
    }

    #[test]
    fn what_has_nothing_to_send_may_be_quiet() {
        let began = Instant::now();
        let mut state = PaceState { unsent: 10, ..PaceState::default() };
        state.settle(began);
        state.unsent = 0;
        state.settle(began + Duration::from_secs(9));
        assert_eq!((state.debt, state.waiting_since), (Duration::ZERO, None));
        state.settle(began + Duration::from_secs(3600));
        assert_eq!(state.debt, Duration::ZERO);
    }
}
