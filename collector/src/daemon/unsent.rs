//! The bodies of answers, in pieces that count until they have left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

use super::connections::Underway;
use super::pace::{PIECE, Pace};

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
        Self { body, rest: Bytes::new(), pace: Pace::current(), request: None }
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;
    use prometheus::Registry;

    use super::*;
    use crate::daemon::pace::Progress;
    use crate::own_metrics::ConnectionMetrics;

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
}
