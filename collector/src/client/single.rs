//! One GET on a connection of its own, which ends with its answer. Nothing of an answer is believed: not its length, not
//! that it ends. Who asks bounds the time.

use std::future::Future;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// Bounds of the head of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Its bytes; not less than 8 KiB, which is what is read at once.
    pub(crate) bytes: usize,
    /// Its header fields.
    pub(crate) fields: usize,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What kind it is.
    pub(crate) status: StatusCode,
    /// The header fields.
    pub(crate) headers: HeaderMap,
    /// What follows.
    pub(crate) body: Body,
}

/// The body of an answer, and the connection it comes from, which ends with it.
#[derive(Debug)]
pub(crate) struct Body {
    incoming: Incoming,
    _connection: JoinSet<()>,
}

/// Whom memory is asked for before a body takes it.
pub(crate) trait Memory: Send {
    /// Waits until there may be so many bytes of the body, with those that are there already.
    fn grow(&mut self, bytes: usize) -> impl Future<Output = ()> + Send;
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It has more bytes than there may be.
    #[error("it has more than {0} bytes")]
    Long(usize),
    /// It broke off.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Sends a request over a stream that is connected.
///
/// # Errors
/// What answers does not speak HTTP, breaks off, or has a head beyond its bounds.
pub(crate) async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
    head: Head,
) -> Result<Answer, hyper::Error> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(head.bytes).max_headers(head.fields);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        // What it ends with is the answer's business.
        let _ = connection.await;
    });
    let (head, incoming) = sender.send_request(request).await?.into_parts();
    Ok(Answer { status: head.status, headers: head.headers, body: Body { incoming, _connection: task } })
}

impl Body {
    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match self.incoming.frame().await?.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                // Trailers.
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// All of it, if it is not too long.
    pub(crate) async fn whole(&mut self, limit: usize, memory: &mut impl Memory) -> Result<Vec<u8>, BodyError> {
        if self.incoming.size_hint().lower() > limit as u64 {
            return Err(BodyError::Long(limit));
        }
        let mut bytes = Vec::new();
        while let Some(data) = self.next().await {
            let data = data?;
            if data.len() > limit - bytes.len() {
                return Err(BodyError::Long(limit));
            }
            memory.grow(bytes.len() + data.len()).await;
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}
