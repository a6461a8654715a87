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
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::connections::{Reason, Slot, Underway};
use crate::own_metrics::ConnectionMetrics;

/// How long a client may leave something that waits for it.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes a second that a client has to take beyond that, on the average over the answer.
const SLOWEST: f64 = 16_384.0;
/// An answer is handed over in pieces of this size.
const PIECE: usize = 16 << 10;
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
    state: Mutex<State>,
    drained: Notify,
    unsent: IntGauge,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of pieces that were handed over and have not left.
    unsent: usize,
    /// Whether the last write found the connection full.
    is_blocked: bool,
    /// Until when the time is counted, while something waits.
    waiting_since: Option<Instant>,
    /// How long something has waited, less what was taken.
    debt: Duration,
}

impl State {
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece of an answer that counts until it is dropped.
    fn hand_over(self: &Arc<Self>, bytes: Bytes) -> Bytes {
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

    async fn too_slow(&self) {
        while !self.is_too_slow() {
            sleep(LOOK_EVERY).await;
        }
    }

    async fn drained(&self) {
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

/// The body of an answer, in pieces that are counted.
pub(super) struct Unsent {
    body: Body,
    /// What is left of the piece that the answer came with.
    rest: Bytes,
    pace: Option<Arc<Pace>>,
    #[expect(dead_code, reason = "held for its drop")]
    request: Option<Underway>,
}

impl Unsent {
    /// The body of an answer to a request that is under way until it has left.
    pub(super) fn new(body: Body, request: Underway) -> Self {
        Self { request: Some(request), ..Self::unbound(body) }
    }

    /// The body of an answer to a request that never was under way.
    pub(super) fn unbound(body: Body) -> Self {
        Self { body, rest: Bytes::new(), pace: PACE.try_with(Arc::clone).ok(), request: None }
    }
}

impl hyper::body::Body for Unsent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => this.rest = bytes,
                Some(Ok(Err(frame))) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        // An empty piece is nothing to wait for.
        let piece = match &this.pace {
            Some(pace) if !piece.is_empty() => pace.hand_over(piece),
            Some(_) | None => piece,
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// Runs the streams of a connection in HTTP/2, each at its own pace.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) slot: Slot,
    pub(super) metrics: ConnectionMetrics,
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let Self { slot, metrics } = self.clone();
        tokio::spawn(async move {
            let pace = Arc::new(Pace::new(Progress::Pieces, &metrics));
            tokio::select! {
                _ = Arc::clone(&pace).over(stream) => {}
                // Resets the stream, and with it goes the answer.
                () = pace.too_slow() => return metrics.cut_off.inc(),
            }
            // The last piece is the connection's now, and the stream's window may hold it for ever.
            tokio::select! {
                () = pace.drained() => {}
                () = pace.too_slow() => slot.end(Reason::SlowReader),
            }
        });
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
    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;
    use prometheus::Registry;

    use super::*;

    /// What the debt is after something has waited for so many seconds, and of it so many bytes a second were taken.
    fn debt(seconds: u64, bytes: usize) -> Duration {
        let began = Instant::now();
        let mut state = State { unsent: 1 << 30, ..State::default() };
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

    #[tokio::test]
    async fn answers_leave_in_pieces_that_count_until_they_are_gone() {
        const LENGTH: usize = 100_000;
        let metrics = ConnectionMetrics::register(&Registry::new()).unwrap();
        let pace = Arc::new(Pace::new(Progress::Pieces, &metrics));
        let answer = async { Unsent::unbound(Body::from(vec![b'x'; LENGTH])) };
        let mut body = Arc::clone(&pace).over(answer).await;
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            assert_eq!((metrics.unsent.get(), pace.is_waiting()), (piece.len() as i64, true));
            length += piece.len();
            drop(piece);
            assert_eq!((metrics.unsent.get(), pace.is_waiting()), (0, false));
            assert_eq!(body.size_hint().exact(), Some((LENGTH - length) as u64));
        }
        assert!(length == LENGTH && body.is_end_stream());
    }

    #[test]
    fn what_has_nothing_to_send_may_be_quiet() {
        let began = Instant::now();
        let mut state = State { unsent: 10, ..State::default() };
        state.settle(began);
        state.unsent = 0;
        state.settle(began + Duration::from_secs(9));
        assert_eq!((state.debt, state.waiting_since), (Duration::ZERO, None));
        state.settle(began + Duration::from_secs(3600));
        assert_eq!(state.debt, Duration::ZERO);
    }
}
