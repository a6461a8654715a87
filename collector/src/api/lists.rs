//! Containers as one JSON value that is never whole in memory: rendered and sent piece by piece, the next piece when the
//! one before is taken.
//!
//! A container with a long history is itself sent in pieces, a stretch of its samples in each. Containers and samples may
//! end between two pieces; what is sent is a valid value all the same. When a piece cannot be rendered the connection is
//! aborted, so that half a value does not look like a whole one.

pub(crate) mod element;

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::task::spawn_blocking;

use self::element::Element;
use super::ContainerView;
use super::budget::Share;
use crate::api::backend::{Containers, LimitsAge, Status, Unavailable};
use crate::api::http::responses::{ApiError, json};
use crate::api::query::{Portion, StatsQuery};
use crate::sample::container::Sample;
use crate::sample::event::Name;
use crate::units;

/// A piece ends at about so many bytes of samples and of what runtimes report.
const PIECE: usize = 64 << 10;
/// What a sample takes while it is rendered, about: itself and its text.
pub(crate) const SAMPLE: usize = 2 << 10;
/// What a container takes beside its samples.
const CONTAINER: usize = 1 << 10;
/// Samples that are asked for at once; of more there are stretches.
const AT_ONCE: usize = 32;
/// What an open list takes: decoded samples and the text of one piece, and what the connection took ahead of its client.
const OPEN: usize = 6 * PIECE;

/// How a list of containers is written.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    open: &'static [u8],
    close: &'static [u8],
    element: Element,
}

impl Form {
    /// One after the other.
    pub(crate) const fn array(element: Element) -> Self {
        Self { open: b"[", close: b"]", element }
    }

    /// By full name; what is appended begins with it.
    pub(crate) const fn map(element: Element) -> Self {
        Self { open: b"{", close: b"}", element }
    }

    const fn alone(element: Element) -> Self {
        Self { open: b"", close: b"", element }
    }
}

/// Containers as one JSON value. What fits in one piece is sent whole, with its length.
pub(crate) async fn containers<S: Containers + Status>(
    source: Arc<S>,
    names: Vec<Name>,
    query: StatsQuery,
    limits: LimitsAge,
    form: Form,
) -> Result<Response, ApiError> {
    let mut list = List::new(source, names, query, limits, form).await?;
    let first = list.piece().await?;
    Ok(list.after(first))
}

/// One container, as it is now.
pub(crate) async fn container<S: Containers + Status>(
    source: Arc<S>,
    name: Name,
    query: StatsQuery,
    limits: LimitsAge,
    element: Element,
) -> Result<Result<Response, Unavailable>, ApiError> {
    let mut list = List::new(source, vec![name], query, limits, Form::alone(element)).await?;
    let first = list.piece().await?;
    match list.unavailable.take() {
        Some(reason) if list.sent == 0 => Ok(Err(reason)),
        _ => Ok(Ok(list.after(first))),
    }
}

/// A list that is being sent.
struct List<S> {
    source: Arc<S>,
    /// What is still to be sent.
    names: VecDeque<Name>,
    /// What is being sent, if it takes more than one stretch.
    current: Option<Current>,
    query: StatsQuery,
    limits: LimitsAge,
    form: Form,
    /// How many containers are begun.
    sent: usize,
    state: ListState,
    /// Why the last container that was left out was.
    unavailable: Option<Unavailable>,
    /// Until the last piece.
    share: Option<Share>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListState {
    New,
    Open,
    Closed,
}

/// A container whose samples are sent in stretches.
struct Current {
    name: Name,
    left: VecDeque<Portion>,
    /// The last sample that was sent.
    previous: Option<Arc<Sample>>,
}

/// What is rendered of a container.
enum ListPart {
    /// All of it.
    Whole(ContainerView),
    /// Its first samples and all that comes before them.
    Beginning(ContainerView),
    /// Samples after this one.
    Samples(ContainerView, Option<Arc<Sample>>),
    /// What comes after the last sample.
    Tail,
}

impl<S: Containers + Status> List<S> {
    async fn new(
        source: Arc<S>,
        names: Vec<Name>,
        query: StatsQuery,
        limits: LimitsAge,
        form: Form,
    ) -> Result<Self, ApiError> {
        let share = source.budget().reserve(OPEN + names.len() * size_of::<Name>()).await?;
        Ok(Self {
            source,
            names: names.into(),
            current: None,
            query,
            limits,
            form,
            sent: 0,
            state: ListState::New,
            unavailable: None,
            share: Some(share),
        })
    }

    /// The response that begins with this piece.
    fn after(self, first: Bytes) -> Response {
        if self.state == ListState::Closed {
            return json(first);
        }
        let rest = stream::unfold((Some(first), self), |(first, mut list)| async move {
            match first {
                Some(first) => Some((Ok(first), (None, list))),
                None if list.state == ListState::Closed => None,
                None => Some((list.piece().await, (None, list))),
            }
        });
        json(Body::from_stream(rest))
    }

    /// The next piece; the last one closes the list.
    async fn piece(&mut self) -> Result<Bytes, ApiError> {
        let mut parts = Vec::new();
        let mut weight = 0;
        while weight < PIECE && (self.current.is_some() || !self.names.is_empty()) {
            if let Some(part) = self.part().await {
                weight += part.weight();
                parts.push(part);
            }
        }
        // A container's labels may be more than was reckoned with.
        if let Some(share) = self.share.as_mut() {
            self.source.budget().grow(share, weight * 2).await?;
        }
        let mut out = Vec::with_capacity(weight + weight / 4);
        if self.state == ListState::New {
            out.extend_from_slice(self.form.open);
            self.state = ListState::Open;
        }
        let (form, memory, begun) = (self.form, self.source.machine_memory(), self.sent);
        self.sent += parts.iter().filter(|part| matches!(part, ListPart::Whole(_) | ListPart::Beginning(_))).count();
        let closing = self.current.is_none() && self.names.is_empty();
        let render = move || {
            append(&mut out, &parts, begun, form.element, memory);
            if closing {
                out.extend_from_slice(form.close);
            }
            Bytes::from(out)
        };
        let piece = spawn_blocking(render).await?;
        if let Some(share) = self.share.as_mut() {
            self.source.budget().grow(share, piece.len() * 2).await?;
        }
        if closing {
            self.state = ListState::Closed;
        }
        Ok(piece)
    }

    /// The next part, if there is anything to report about the container whose turn it is.
    async fn part(&mut self) -> Option<ListPart> {
        if self.current.is_some() {
            return self.continued().await;
        }
        let name = self.names.pop_front()?;
        let many = self.query.count.limit() > AT_ONCE || self.query.start.is_some();
        let parts = if many { self.source.parts(&name, &self.query).await } else { Vec::new() };
        if matches!(parts.as_slice(), [_, _, ..] | [Portion::Past { .. }]) {
            self.begun(name, parts.into()).await
        } else {
            self.view(&name, None).await.map(ListPart::Whole)
        }
    }

    async fn view(&mut self, name: &[u8], part: Option<Portion>) -> Option<ContainerView> {
        let query = StatsQuery { part, ..self.query };
        // A container that ended meanwhile, or has no sample yet, is left out as in cAdvisor.
        self.source.container(name, &query, self.limits).await.map_err(|reason| self.unavailable = Some(reason)).ok()
    }

    /// The beginning of a container that is sent in stretches: with the first one that still has samples.
    async fn begun(&mut self, name: Name, mut left: VecDeque<Portion>) -> Option<ListPart> {
        loop {
            let stretch = left.pop_front()?;
            let mut view = self.view(&name, Some(stretch)).await?;
            if left.is_empty() {
                return Some(ListPart::Whole(view));
            }
            if let Some(last) = view.samples.last() {
                let previous = Some(Arc::clone(last));
                self.current = Some(Current { name, left, previous });
                // It belongs to the newest sample.
                view.identity.health.clear();
                return Some(ListPart::Beginning(view));
            }
        }
    }

    async fn continued(&mut self) -> Option<ListPart> {
        let mut current = self.current.take()?;
        let Some(stretch) = current.left.pop_front() else { return Some(ListPart::Tail) };
        // One that ended meanwhile ends here.
        let Some(mut view) = self.view(&current.name, Some(stretch)).await else { return Some(ListPart::Tail) };
        let previous = current.previous.take();
        current.previous = view.samples.last().cloned().or_else(|| previous.clone());
        if !current.left.is_empty() {
            view.identity.health.clear();
        }
        self.current = Some(current);
        (!view.samples.is_empty()).then_some(ListPart::Samples(view, previous))
    }
}

impl ListPart {
    /// What it takes, about.
    fn weight(&self) -> usize {
        let (Self::Whole(view) | Self::Beginning(view) | Self::Samples(view, _)) = self else { return 0 };
        let samples = view.samples.len() * SAMPLE;
        if matches!(self, Self::Samples(..)) {
            return samples;
        }
        let identity = &view.identity;
        let texts = identity.labels.iter().chain(&identity.envs).map(|(key, value)| key.len() + value.len() + 6);
        let aliases = identity.aliases.iter().map(|alias| alias.len() + 3);
        let children = view.children.iter().map(|child| child.len() + 12);
        CONTAINER + samples + texts.chain(aliases).chain(children).sum::<usize>()
    }
}

fn append(out: &mut Vec<u8>, parts: &[ListPart], begun: usize, element: Element, memory: units::Bytes) {
    let mut begun = begun;
    for part in parts {
        match part {
            ListPart::Whole(view) | ListPart::Beginning(view) => {
                if begun > 0 {
                    out.push(b',');
                }
                begun += 1;
                (element.append)(out, view, memory);
                if matches!(part, ListPart::Beginning(_)) {
                    debug_assert!(out.ends_with(element.tail), "the samples are the last of a container");
                    out.truncate(out.len() - element.tail.len());
                }
            }
            ListPart::Samples(view, previous) => {
                out.push(b',');
                (element.samples)(out, view, previous.as_deref());
            }
            ListPart::Tail => out.extend_from_slice(element.tail),
        }
    }
}
