//! Content codings: which one a client gets, and what makes it.
//!
//! Scrapes are encoded while they are rendered, once for all who share them. Everything else is encoded on its way to its
//! one client, frame by frame: what is waited for is flushed, so that an event is not held back by the coder.

mod coder;

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

pub use self::coder::{Coder, Encoding, content_encoding};
use super::budget::{Budget, Share};

/// What a coder takes while its answer is under way, about.
const CODER: usize = 512 << 10;
/// An answer whose length is known and that is shorter is sent as it is: it fits in one packet anyway.
const WORTHWHILE: u64 = 1 << 10;
/// A frame is passed on when it has so much; what is waited for is passed on at once.
const FRAME: usize = 16 << 10;

/// The answer in the coding that the client prefers, unless it has one, is small, or there is no memory for a coder: then
/// it is sent as it is.
pub(crate) fn encoded(accepted: &HeaderMap, budget: &Budget, mut response: Response) -> Response {
    if response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    let wanted: Vec<_> = accepted.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok()).collect();
    let encoding = Encoding::by(&wanted.join(","));
    let is_small = response.body().size_hint().upper().is_some_and(|length| length < WORTHWHILE);
    let Some(name) = content_encoding(encoding).filter(|_| !is_small) else { return response };
    let Some(share) = budget.spare(CODER) else { return response };
    let Ok(Some(coder)) = Coder::new(encoding) else { return response };
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    response.headers_mut().remove(CONTENT_LENGTH);
    response.map(|inner| Body::new(Encoded { inner, state: Some((coder, share)), waits: false }))
}

/// A body on its way through a coder.
struct Encoded {
    inner: Body,
    /// None any more behind the last frame.
    state: Option<(Coder, Share)>,
    /// Whether the coder may hold back something that was taken.
    waits: bool,
}

impl Encoded {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        loop {
            let Some((coder, _)) = &mut self.state else { return Poll::Ready(None) };
            let out = match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Pending if !self.waits => return Poll::Pending,
                Poll::Pending => {
                    self.waits = false;
                    coder.flush().map(std::mem::take)
                }
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are not sent by anything here.
                    let Ok(text) = frame.into_data() else { continue };
                    self.waits = true;
                    match coder.write(&text) {
                        Ok(out) if out.len() < FRAME => continue,
                        out => out.map(std::mem::take),
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.state = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => self.state.take().map_or(Ok(Vec::new()), |(coder, _)| coder.finish()),
            };
            match out {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Some(Ok(out.into()))),
                Err(error) => {
                    self.state = None;
                    return Poll::Ready(Some(Err(axum::Error::new(error))));
                }
            }
        }
    }
}

impl HttpBody for Encoded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.poll(context).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.state.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests;
