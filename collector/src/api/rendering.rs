//! An answer that is rendered once for all who asked for it at that moment.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// How much goes to a connection at once. It takes some of these ahead of its client, and no more.
const FRAME: usize = 64 << 10;

/// A rendered answer in pieces.
#[derive(Debug)]
pub struct Rendering {
    /// None any more once its readers are cut off.
    pieces: Mutex<Option<Vec<Bytes>>>,
    length: u64,
}

/// The answer was taken away from clients that were slow to read it. It ends the connection: half an answer must not look
/// like a whole one.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the client was too slow, and memory for other answers ran short")]
pub struct CutOff;

impl Rendering {
    /// Of these pieces.
    pub fn new(pieces: Vec<Bytes>) -> Self {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces: Mutex::new(Some(pieces)), length }
    }

    /// Takes it away from those who still read it, and gives back its memory.
    pub fn cut_off(&self) {
        // Freed after the lock.
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(pieces);
    }

    /// The whole in one.
    ///
    /// # Errors
    /// When it was taken away.
    pub fn concat(&self) -> Result<Vec<u8>, CutOff> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|pieces| pieces.concat()).ok_or(CutOff)
    }

    /// A piece; none behind the last.
    fn piece(&self, at: usize) -> Result<Option<Bytes>, CutOff> {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.as_ref().map(|pieces| pieces.get(at).cloned()).ok_or(CutOff)
    }
}

/// One client's way through a rendering.
pub(super) struct Reading {
    rendering: Arc<Rendering>,
    next: usize,
    piece: Bytes,
    left: u64,
}

impl Reading {
    /// From its beginning.
    pub(super) fn new(rendering: Arc<Rendering>) -> Self {
        let left = rendering.length;
        Self { rendering, next: 0, piece: Bytes::new(), left }
    }
}

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        while self.piece.is_empty() {
            match self.rendering.piece(self.next) {
                Ok(Some(piece)) => {
                    self.next += 1;
                    self.piece = piece;
                }
                Ok(None) => return Poll::Ready(None),
                Err(cut_off) => return Poll::Ready(Some(Err(cut_off))),
            }
        }
        let frame = self.piece.len().min(FRAME);
        let frame = self.piece.split_to(frame);
        self.left -= frame.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};

    use super::*;

    #[tokio::test]
    async fn readers_share_one_text_and_may_be_cut_off() {
        let pieces: Vec<Bytes> = (0..3_u8).map(|number| vec![number; FRAME + 1].into()).collect();
        let whole = pieces.concat();
        let rendering = Arc::new(Rendering::new(pieces));
        let fast = Reading::new(Arc::clone(&rendering));
        assert_eq!(fast.size_hint().exact(), Some(whole.len() as u64));
        assert_eq!(to_bytes(Body::new(fast), usize::MAX).await.unwrap(), whole);
        let mut slow = Body::new(Reading::new(Arc::clone(&rendering)));
        let mut next = async || std::future::poll_fn(|context| Pin::new(&mut slow).poll_frame(context)).await;
        assert!(next().await.unwrap().is_ok());
        rendering.cut_off();
        assert!(next().await.unwrap().is_ok(), "what it has begun is its own");
        assert!(next().await.unwrap().is_err(), "half an answer does not look like a whole one");
        assert_eq!(rendering.concat(), Err(CutOff));
    }
}
