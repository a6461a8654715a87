//! How answers leave: JSON, whole or in pieces, event streams, errors with cAdvisor's texts and status codes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER as RETRY_AFTER_HEADER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::LengthLimitError;
use tokio::task::{JoinError, spawn_blocking};

use crate::api::backend::feed::NoHistory;
use crate::api::backend::{
    EventSource, MetricsUnavailable, NoSuchAlias, Status, StreamItem, Subscription, TooManyStreams, Unavailable,
};
use crate::api::budget::{Busy, RETRY_AFTER, Share};
use crate::api::cadvisor::events;
use crate::api::cadvisor::v2::error::Error as V2Error;
use crate::api::query::DecodeError;
use crate::api::query::events::{EventQuery, QueryError};
use crate::api::query::export::BadExport;
use crate::api::query::feed::BadQuery;
use crate::api::wire::json::{Quoted, lossy};
use crate::sample::event::{Event, Name};

/// A piece of an answer ends at about this many bytes, so that a storm does not gather without bound.
const PIECE: usize = 64 << 10;
/// What an answer takes that is sent in such pieces: the one that is rendered, and what the connection took ahead of its
/// client.
pub(crate) const OPEN: usize = 4 * PIECE;
/// What an event takes that an answer has still to report, in the lists that it is gathered in.
const EVENT: usize = 2 * size_of::<Arc<Event>>();
/// Of more the share does not grow further.
const MOST_EVENTS: usize = 1 << 20;

/// What goes wrong below `/api/`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("Supported API versions: {0}")]
    Versions(String),
    #[error("Supported request types: \"{0}\"")]
    RequestTypes(String),
    #[error("unsupported API version {}", Quoted(.0))]
    UnknownVersion(Vec<u8>),
    #[error("unknown request type {}", Quoted(.0))]
    UnknownRequestType(Vec<u8>),
    #[error("failed to get container {} with error: {reason}", Quoted(name))]
    Container { name: Name, reason: Unavailable },
    #[error("failed to get subcontainers for container {} with error: no containers found", Quoted(.0))]
    NoContainers(Name),
    #[error("unknown request for Docker container [{}]", lossy(.0).replace('/', " "))]
    UnknownDockerRequest(Vec<u8>),
    #[error("failed to get Docker container {} with error: {reason}", Quoted(name))]
    Docker { name: Vec<u8>, reason: NoSuchAlias },
    #[error("unable to decode the json value: {0}")]
    Body(#[from] DecodeError),
    #[error("unable to decode the json value: {0}")]
    UnreadableBody(#[source] axum::Error),
    #[error(transparent)]
    EventQuery(#[from] QueryError),
    #[error(transparent)]
    Feed(#[from] BadQuery),
    #[error(transparent)]
    Export(#[from] BadExport),
    #[error(transparent)]
    NoHistory(#[from] NoHistory),
    #[error(transparent)]
    TooManyStreams(#[from] TooManyStreams),
    #[error(transparent)]
    V2(#[from] V2Error),
    #[error(transparent)]
    Metrics(#[from] MetricsUnavailable),
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("the answer could not be rendered: {0}")]
    Interrupted(#[from] JoinError),
}

impl ApiError {
    /// Whether the same request may be answered a little later: a bound of the collector's is reached, and nothing is
    /// wrong with the request.
    pub(crate) const fn is_busy(&self) -> bool {
        match self {
            Self::Busy(_) | Self::TooManyStreams(_) | Self::NoHistory(NoHistory::Slow | NoHistory::Exporting) => true,
            Self::Metrics(reason) => !matches!(reason, MetricsUnavailable::Encoding(_)),
            _ => false,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match &self {
            _ if self.is_busy() => busy(self),
            Self::Versions(_) | Self::RequestTypes(_) | Self::Feed(_) | Self::Export(_) => {
                error(StatusCode::BAD_REQUEST, self)
            }
            Self::NoHistory(_) => error(StatusCode::NOT_FOUND, self),
            Self::UnreadableBody(reason) => error(body_status(reason), self),
            _ => error(StatusCode::INTERNAL_SERVER_ERROR, self),
        }
    }
}

/// Says that a bound is reached, and when to ask again.
pub(crate) fn busy(text: impl std::fmt::Display) -> Response {
    try_later(error(StatusCode::SERVICE_UNAVAILABLE, text))
}

/// The response with the time after which the client may ask again.
pub(crate) fn try_later(mut response: Response) -> Response {
    response.headers_mut().insert(RETRY_AFTER_HEADER, HeaderValue::from_static(RETRY_AFTER));
    response
}

/// What is answered where a request's body could not be read: it is longer than one may be, all bodies together are
/// too much for the moment, or it did not come.
pub(crate) fn body_status(error: &axum::Error) -> StatusCode {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let status = causes.find_map(|cause| {
        if cause.is::<LengthLimitError>() {
            return Some(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let busy = cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ResourceBusy);
        busy.then_some(StatusCode::SERVICE_UNAVAILABLE)
    });
    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// An error as Go's `http.Error` sends it; what is over soon says when to come again.
pub(crate) fn error(status: StatusCode, text: impl std::fmt::Display) -> Response {
    let mut response = (status, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], format!("{text}\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER_HEADER, HeaderValue::from_static(RETRY_AFTER));
    }
    response
}

/// A redirect with the body that Go writes.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    let headers = [(LOCATION, location), (CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, headers, format!("<a href=\"{location}\">{reason}</a>.\n\n")).into_response()
}

/// A rendered JSON value.
pub(crate) fn json(body: impl Into<Body>) -> Response {
    let headers: [(HeaderName, HeaderValue); 1] = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (headers, body.into()).into_response()
}

/// Whether there is more to come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    Follows,
    Ended,
}

/// JSON that is appended element by element and sent piece by piece. What fits in a piece is sent whole, with its length.
/// The share is reserved before the elements are gathered.
pub(crate) async fn pieces(
    share: Share,
    append: impl FnMut(&mut Vec<u8>) -> More + Send + 'static,
) -> Result<Response, ApiError> {
    Ok(json(body(share, append).await?))
}

/// The same as a body of any type.
pub(crate) async fn body(
    share: Share,
    append: impl FnMut(&mut Vec<u8>) -> More + Send + 'static,
) -> Result<Body, ApiError> {
    let (first, rest) = started(share, append).await?;
    Ok(match rest {
        None => first.into(),
        Some(rest) => Body::from_stream(stream::iter([Ok(first)]).chain(rest)),
    })
}

/// The first piece, and the others if there are any.
pub(crate) async fn started<F: FnMut(&mut Vec<u8>) -> More + Send + 'static>(
    share: Share,
    append: F,
) -> Result<(Bytes, Option<impl Stream<Item = Result<Bytes, JoinError>> + Send + use<F>>), ApiError> {
    let (first, append) = piece(append).await?;
    let Some(append) = append else { return Ok((first, None)) };
    let rest = stream::unfold((Some(append), share), |(append, share)| async move {
        match piece(append?).await {
            Ok((piece, append)) => Some((Ok(piece), (append, share))),
            Err(error) => Some((Err(error), (None, share))),
        }
    });
    Ok((first, Some(rest)))
}

/// The next piece, rendered off the executor, and what renders the one after it.
async fn piece<F: FnMut(&mut Vec<u8>) -> More + Send + 'static>(
    mut append: F,
) -> Result<(Bytes, Option<F>), JoinError> {
    spawn_blocking(move || {
        let mut out = Vec::with_capacity(PIECE / 16);
        loop {
            if append(&mut out) == More::Ended {
                return (out.into(), None);
            }
            if out.len() >= PIECE {
                return (out.into(), Some(append));
            }
        }
    })
    .await
}

/// Past events as one array. Each may carry a whole sample.
pub(crate) async fn past_events<S: EventSource + Status>(
    source: Arc<S>,
    query: EventQuery,
) -> Result<Response, ApiError> {
    let (events, share) = history(&source, query).await?;
    pieces(share, array(events, |out, event| events::append(out, &event))).await
}

/// The events that a query selects, with a share for them. They are as many as the client says, and are kept by the
/// answer also where the log no longer has them.
pub(crate) async fn history<S: EventSource + Status>(
    source: &Arc<S>,
    query: EventQuery,
) -> Result<(Vec<Arc<Event>>, Share), ApiError> {
    let bytes = |events: usize| OPEN + events.saturating_mul(EVENT);
    let at_most = query.max_events.limit().saturating_mul(query.kinds.len()).min(MOST_EVENTS);
    let mut share = source.budget().reserve(bytes(at_most)).await?;
    let of = Arc::clone(source);
    let events = spawn_blocking(move || of.history(&query)).await?;
    share.shrink(bytes(events.len()));
    Ok((events, share))
}

/// Appends an array, an element at each call. An element that was appended is dropped.
pub(crate) fn array<T: Send + 'static>(
    elements: Vec<T>,
    append: impl Fn(&mut Vec<u8>, T) + Send + 'static,
) -> impl FnMut(&mut Vec<u8>) -> More + Send + 'static {
    listed([b'[', b']'], elements, append)
}

/// The same as an object: what is appended begins with the key.
pub(crate) fn object<T: Send + 'static>(
    elements: Vec<T>,
    append: impl Fn(&mut Vec<u8>, T) + Send + 'static,
) -> impl FnMut(&mut Vec<u8>) -> More + Send + 'static {
    listed([b'{', b'}'], elements, append)
}

fn listed<T: Send + 'static>(
    [open, close]: [u8; 2],
    elements: Vec<T>,
    append: impl Fn(&mut Vec<u8>, T) + Send + 'static,
) -> impl FnMut(&mut Vec<u8>) -> More + Send + 'static {
    let mut before = open;
    let mut left = elements.into_iter();
    move |out| {
        if let Some(element) = left.next() {
            out.push(before);
            before = b',';
            append(out, element);
        } else {
            // An empty one is not opened yet.
            out.extend((before == open).then_some(open));
        }
        if left.len() > 0 {
            return More::Follows;
        }
        out.push(close);
        More::Ended
    }
}

/// What is appended between a head, which is rendered with the first piece, and a tail.
pub(crate) fn enclosed(
    head: impl FnOnce(&mut Vec<u8>) + Send + 'static,
    mut append: impl FnMut(&mut Vec<u8>) -> More + Send + 'static,
    tail: &'static [u8],
) -> impl FnMut(&mut Vec<u8>) -> More + Send + 'static {
    let mut head = Some(head);
    move |out| {
        if let Some(head) = head.take() {
            head(out);
        }
        let more = append(out);
        if more == More::Ended {
            out.extend_from_slice(tail);
        }
        more
    }
}

/// All pieces in one.
pub(crate) fn whole(mut append: impl FnMut(&mut Vec<u8>) -> More) -> Vec<u8> {
    let mut out = Vec::new();
    while append(&mut out) == More::Follows {}
    out
}

/// Events as they happen, a line each. The headers are sent at once and, as in cAdvisor, name no content type.
pub(crate) fn event_stream(subscription: impl Subscription) -> Response {
    let lines = stream::unfold(Some(subscription), |subscription| async move {
        let mut subscription = subscription?;
        let mut lines = Vec::new();
        let mut item = Some(subscription.next().await?);
        while let Some(next) = item {
            match next {
                StreamItem::Event(event) => events::append_line(&mut lines, &event),
                StreamItem::Lagged { missed } => {
                    events::append_missed(&mut lines, missed);
                    return Some((Ok::<_, Infallible>(Bytes::from(lines)), None));
                }
            }
            item = if lines.len() < PIECE { subscription.try_next() } else { None };
        }
        Some((Ok(lines.into()), Some(subscription)))
    });
    Response::new(Body::from_stream(lines))
}
