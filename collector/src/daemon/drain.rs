//! What clients send and nobody has a use for.
//!
//! A connection that is closed with something unread is reset: what is still under way of the answer is lost, and some
//! systems throw away what has arrived, too. So what nobody wants is read and thrown away within bounds, like in Go's
//! server: before the answer, since many a client reads nothing before it has sent everything, and once more when the
//! connection ends.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::own_metrics::ConnectionMetrics;

/// Bytes of all requests' bodies together that are kept until they are answered.
const BODIES: usize = 8 << 20;
/// How long a client may take for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// So much of a body that nobody has a use for is read before the answer; as much as is read of one that has its use.
const DISCARDED: usize = 1 << 20;
/// For so long, which keeps nobody from an answer who promised a body and never sends it.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that has ended is closed once nothing came for so long, or once the client has closed it.
const QUIET: Duration = Duration::from_secs(1);
/// It is closed after so long whatever comes.
const LINGER: Duration = Duration::from_secs(10);
/// What is thrown away at once.
const WASTE_BYTES: usize = 16 << 10;

/// The bytes of bodies that are in memory. Clones share one count.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    used: Arc<AtomicUsize>,
    metrics: ConnectionMetrics,
}

impl Bodies {
    pub(super) fn new(metrics: &ConnectionMetrics) -> Self {
        Self { used: Arc::default(), metrics: metrics.clone() }
    }

    fn count_refused(&self, reason: &str) {
        self.metrics.refused.with_label_values(&[reason]).inc();
    }
}

/// What one body takes of them until its request is answered.
#[derive(Debug)]
struct Held {
    bodies: Bodies,
    bytes: AtomicUsize,
}

impl Held {
    /// Counts more of the body, if there is room for it.
    fn more(&self, bytes: usize) -> bool {
        let Bodies { used, metrics } = &self.bodies;
        let grown = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= BODIES)
        });
        if grown.is_ok() {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            metrics.body_bytes.add(bytes as i64);
        }
        grown.is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.bodies.used.fetch_sub(bytes, Ordering::Relaxed);
        self.bodies.metrics.body_bytes.sub(bytes as i64);
    }
}

/// What is left of a body when nobody reads on.
enum Rest {
    /// It can be read.
    Unread(Incoming),
    /// It never comes whole, or only if it is asked for.
    Lost,
}

/// A request's body. It ends with an error when it takes too long; what nobody has read of it is not lost.
pub(super) struct RequestBody {
    /// None after its end.
    body: Option<Incoming>,
    /// Counts from when the body is first asked for.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the client sends it only after `100 Continue`, which whoever reads it sends.
    awaits_invitation: bool,
    rest: Option<oneshot::Sender<Rest>>,
    held: Arc<Held>,
}

/// What a request's handler will leave of its body.
pub(super) struct Leftover {
    rest: oneshot::Receiver<Rest>,
    /// Until there is an answer, what was read of the body is needed.
    held: Arc<Held>,
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It takes the next request.
    Stay,
    /// It ends, since the request before did not.
    Close,
}

/// A request's body took too long.
#[derive(Debug, thiserror::Error)]
#[error("it did not arrive within {BODY_TIMEOUT:?}")]
struct TooSlow;

/// The bodies of all requests together are too much.
#[derive(Debug, thiserror::Error)]
#[error("too many requests with bodies at once; try again later")]
struct TooMuch;

impl TooMuch {
    /// As an error that the routes know for one that is over soon.
    fn error() -> Box<dyn std::error::Error + Send + Sync> {
        io::Error::new(io::ErrorKind::ResourceBusy, Self).into()
    }
}

impl RequestBody {
    /// The body of a request with these headers, and what will be left of it.
    pub(super) fn new(body: Incoming, headers: &HeaderMap, bodies: &Bodies) -> (Self, Leftover) {
        let (rest, leftover) = oneshot::channel();
        let held = Arc::new(Held { bodies: bodies.clone(), bytes: AtomicUsize::new(0) });
        let expected = headers.get(EXPECT);
        let awaits_invitation = expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let leftover = Leftover { rest: leftover, held: Arc::clone(&held) };
        (Self { body: Some(body), deadline: None, awaits_invitation, rest: Some(rest), held }, leftover)
    }

    fn leave(&mut self, rest: Rest) {
        if let Some(sender) = self.rest.take() {
            // Nobody may want to know.
            let _ = sender.send(rest);
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        match self.body.take() {
            Some(body) if body.is_end_stream() => {}
            Some(_) if self.awaits_invitation => self.leave(Rest::Lost),
            Some(body) => self.leave(Rest::Unread(body)),
            None => {}
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        this.awaits_invitation = false;
        let frame: Option<Result<_, Self::Error>> = match Pin::new(body).poll_frame(context) {
            Poll::Ready(frame) => frame.map(|frame| frame.map_err(Into::into)),
            Poll::Pending => {
                let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(BODY_TIMEOUT)));
                ready!(deadline.as_mut().poll(context));
                this.held.bodies.count_refused("body_time");
                Some(Err(TooSlow.into()))
            }
        };
        let length = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        let frame = if this.held.more(length) {
            frame
        } else {
            this.held.bodies.count_refused("bodies");
            Some(Err(TooMuch::error()))
        };
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                this.body = None;
                this.leave(Rest::Lost);
            }
            None => this.body = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Leftover {
    /// Reads it, now that there is an answer, and throws it away.
    pub(super) async fn discard(self) -> After {
        let Self { mut rest, held } = self;
        drop(held);
        match rest.try_recv() {
            Ok(Rest::Unread(body)) => timeout(DISCARD_TIMEOUT, discard(body)).await.unwrap_or(After::Close),
            Ok(Rest::Lost) => After::Close,
            // All of it was read, or it will be while the answer is sent.
            Err(_) => After::Stay,
        }
    }
}

async fn discard(mut body: Incoming) -> After {
    let mut left = DISCARDED;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return After::Close };
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(less) = left.checked_sub(length) else { return After::Close };
        left = less;
    }
    After::Stay
}

/// A stream whose end waits for the other side's end, or for its silence.
pub(super) struct Lingering<S> {
    stream: S,
    end: Option<End>,
}

struct End {
    quiet: Pin<Box<Sleep>>,
    latest: Instant,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, end: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    /// Signals the end to the client, and reads on until it has none either.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, end } = self.get_mut();
        let end = if let Some(end) = end {
            end
        } else {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            end.insert(End { quiet: Box::pin(sleep(QUIET)), latest: Instant::now() + LINGER })
        };
        let mut waste = [0; WASTE_BYTES];
        loop {
            if end.quiet.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut into = ReadBuf::new(&mut waste);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut into));
            // Nobody waits for more after an error either: the connection is gone.
            if read.is_err() || into.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            end.quiet.as_mut().reset(end.latest.min(Instant::now() + QUIET));
        }
    }
}
