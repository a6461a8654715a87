//! How answers leave: JSON, lists in pieces, event streams, errors with cAdvisor's texts and status codes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::LengthLimitError;
use tokio::task::{JoinError, spawn_blocking};

use super::ContainerView;
use super::cadvisor_v1::{self, DecodeError, StatsQuery};
use super::cadvisor_v2;
use super::events::{self, QueryError};
use super::json::{Quoted, lossy};
use super::source::{
    Containers, Limits, MetricsUnavailable, NoSuchAlias, StreamItem, Subscription, TooManyStreams, Unavailable,
};
use crate::sample::event::{Event, Name};
use crate::units;

/// A piece of a list ends at this many samples or containers, whichever comes first: about half a megabyte of text.
const SAMPLES_PER_PIECE: usize = 256;
const CONTAINERS_PER_PIECE: usize = 64;

/// A piece of an event stream ends at about this many bytes, so that a storm does not gather without bound.
const STREAM_PIECE_BYTES: usize = 64 * 1024;

/// What goes wrong below `/api/`.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
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
    TooManyStreams(#[from] TooManyStreams),
    #[error(transparent)]
    V2(#[from] cadvisor_v2::Error),
    #[error(transparent)]
    Metrics(#[from] MetricsUnavailable),
    #[error("the answer could not be rendered: {0}")]
    Interrupted(#[from] JoinError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Versions(_) | Self::RequestTypes(_) => StatusCode::BAD_REQUEST,
            Self::UnreadableBody(error) => body_status(error),
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        error(status, self)
    }
}

/// What is answered where a request's body could not be read: it is longer than one may be, all bodies together are
/// too much for the moment, or it did not come.
pub(super) fn body_status(error: &axum::Error) -> StatusCode {
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
pub(super) fn error(status: StatusCode, text: impl std::fmt::Display) -> Response {
    let mut response = (status, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], format!("{text}\n")).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A redirect with the body that Go writes.
pub(super) fn redirect(status: StatusCode, location: &str) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    let headers = [(LOCATION, location), (CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, headers, format!("<a href=\"{location}\">{reason}</a>.\n\n")).into_response()
}

/// A rendered JSON value.
pub(super) fn json(body: impl Into<Body>) -> Response {
    let headers: [(HeaderName, HeaderValue); 1] = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (headers, body.into()).into_response()
}

/// One container, rendered off the executor.
pub(super) async fn container(view: ContainerView, source: &impl Containers) -> Result<Response, ApiError> {
    let memory = source.machine_memory();
    Ok(json(spawn_blocking(move || cadvisor_v1::render(&view, memory)).await?))
}

/// Appends one container to a list, with its name before it where the list is a map; the machine's memory stands in for a memory limit of 0.
pub(super) type Append = fn(&mut Vec<u8>, &ContainerView, units::Bytes);

/// How a list of containers is written.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) open: u8,
    pub(super) close: u8,
    pub(super) append: Append,
}

impl Form {
    /// One after the other.
    pub(super) const fn array(append: Append) -> Self {
        Self { open: b'[', close: b']', append }
    }

    /// By full name; what is appended begins with it.
    pub(super) const fn map(append: Append) -> Self {
        Self { open: b'{', close: b'}', append }
    }
}

/// Containers as one JSON value, rendered off the executor and sent piece by piece. A list that fits in one piece is sent
/// whole, with its length.
pub(super) async fn containers<S: Containers>(
    source: Arc<S>,
    names: Vec<Name>,
    query: StatsQuery,
    limits: Limits,
    form: Form,
) -> Result<Response, ApiError> {
    let mut list = List { source, names: names.into(), query, limits, form, sent: None };
    let first = list.piece().await?;
    if list.names.is_empty() {
        return Ok(json(first));
    }
    let rest = stream::unfold((Some(first), list), |(first, mut list)| async move {
        match first {
            Some(first) => Some((Ok(first), (None, list))),
            None if list.names.is_empty() => None,
            None => Some((list.piece().await, (None, list))),
        }
    });
    Ok(json(Body::from_stream(rest)))
}

/// A list that is being sent.
struct List<S> {
    source: Arc<S>,
    /// What is still to be sent.
    names: VecDeque<Name>,
    query: StatsQuery,
    limits: Limits,
    form: Form,
    /// How many elements are sent; `None` before the first piece.
    sent: Option<usize>,
}

impl<S: Containers> List<S> {
    /// The next piece; the last one closes the list.
    async fn piece(&mut self) -> Result<Bytes, JoinError> {
        let mut views = Vec::new();
        let mut samples = 0;
        while views.len() < CONTAINERS_PER_PIECE
            && samples < SAMPLES_PER_PIECE
            && let Some(name) = self.names.pop_front()
        {
            // A container that ended meanwhile, or has no sample yet, is left out as in cAdvisor.
            if let Ok(view) = self.source.container(&name, &self.query, self.limits).await {
                samples += view.samples.len();
                views.push(view);
            }
        }
        let memory = self.source.machine_memory();
        let (form, sent, closing) = (self.form, self.sent, self.names.is_empty());
        self.sent = Some(sent.unwrap_or(0) + views.len());
        let render = move || {
            let mut out = Vec::new();
            if sent.is_none() {
                out.push(form.open);
            }
            for (at, view) in views.iter().enumerate() {
                if sent.unwrap_or(0) + at > 0 {
                    out.push(b',');
                }
                (form.append)(&mut out, view, memory);
            }
            if closing {
                out.push(form.close);
            }
            out.into()
        };
        spawn_blocking(render).await
    }
}

/// Past events as one array. Each may carry a whole sample: they are rendered and sent piece by piece, because a log of
/// some thousands in one piece is memory that the allocator keeps for each thread that ever held one. What fits in a
/// piece is sent whole, with its length.
pub(super) fn past_events(events: Vec<Arc<Event>>) -> Response {
    let mut left = events.into_iter();
    let first = events_piece(b'[', &mut left);
    if left.len() == 0 {
        return json(first);
    }
    let rest = stream::unfold((Some(first), left), |(first, mut left)| async move {
        let piece = match first {
            Some(first) => first,
            None if left.len() == 0 => return None,
            None => events_piece(b',', &mut left),
        };
        Some((Ok::<_, Infallible>(piece), (None, left)))
    });
    json(Body::from_stream(rest))
}

/// The next piece after this byte; the last one closes the array.
fn events_piece(start: u8, left: &mut std::vec::IntoIter<Arc<Event>>) -> Bytes {
    let mut piece = vec![start];
    while let Some(event) = left.next() {
        events::append(&mut piece, &event);
        if left.len() == 0 || piece.len() >= STREAM_PIECE_BYTES {
            break;
        }
        piece.push(b',');
    }
    if left.len() == 0 {
        piece.push(b']');
    }
    piece.into()
}

/// Events as they happen, a line each. The headers are sent at once and, as in cAdvisor, name no content type.
pub(super) fn event_stream(subscription: impl Subscription) -> Response {
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
            item = if lines.len() < STREAM_PIECE_BYTES { subscription.try_next() } else { None };
        }
        Some((Ok(lines.into()), Some(subscription)))
    });
    Response::new(Body::from_stream(lines))
}
