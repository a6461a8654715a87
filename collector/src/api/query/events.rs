//! Query strings, and the selection of events for them.

use std::sync::Arc;

use serde_json::json;

use crate::api::http::openapi::parts::parameter;
use crate::api::wire::time;
use crate::api::{Count, NegativeCount};
use crate::sample::event::{Event, EventKind, Name};
use crate::units::WallTime;

/// How many events a request gets that does not say.
const DEFAULT_EVENTS: usize = 10;

/// Which events a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// The kinds; none selects nothing.
    pub kinds: Vec<EventKind>,
    /// The container.
    pub name: Name,
    /// Whether events of the container's descendants count too.
    pub subcontainers: Subcontainers,
    /// How many; of no meaning for a stream.
    pub max_events: Count,
    /// Not before this; `None` is unbounded.
    pub start: Option<WallTime>,
    /// Not after this; `None` is unbounded.
    pub end: Option<WallTime>,
    /// Past events, or those to come.
    pub delivery: Delivery,
}

/// Whether descendants are meant too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subcontainers {
    /// Only the container itself.
    Excluded,
    /// The container and everything below it.
    Included,
}

/// How events are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// What happened so far, as one array.
    History,
    /// What happens from now on, one line per event.
    Stream,
}

/// A query that cannot be answered.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum QueryError {
    /// A stream of the past.
    #[error("for a call to watch, request.StartTime and request.EndTime must be uninitialized")]
    BoundedStream,
    /// `max_events` is below -1.
    #[error("max_events: {0}")]
    Count(#[from] NegativeCount),
}

impl EventQuery {
    /// Reads a query string as cAdvisor does: what cannot be parsed is as good as absent, unknown keys are ignored, and
    /// the first of several values counts.
    ///
    /// # Errors
    /// When a stream has time bounds, or the count is below -1.
    pub fn parse(name: Name, query: &str) -> Result<Self, QueryError> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let value = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| &**value);
        let flag = |key: &str| value(key).is_some_and(is_true);
        let time = |key: &str| value(key).and_then(|text| time::parse(text).ok()).flatten();

        let kinds =
            EventKind::ALL.into_iter().filter(|kind| flag("all_events") || flag(kind_parameter(*kind))).collect();
        let subcontainers = if flag("subcontainers") { Subcontainers::Included } else { Subcontainers::Excluded };
        let delivery = if flag("stream") { Delivery::Stream } else { Delivery::History };
        let (start, end) = (time("start_time"), time("end_time"));
        let max_events = match (delivery, value("max_events").and_then(|count| count.parse::<i64>().ok())) {
            (Delivery::Stream, _) if start.is_some() || end.is_some() => return Err(QueryError::BoundedStream),
            (Delivery::Stream, _) => Count::All,
            (Delivery::History, Some(count)) => count.try_into()?,
            (Delivery::History, None) => Count::Newest(DEFAULT_EVENTS),
        };
        Ok(Self { kinds, name, subcontainers, max_events, start, end, delivery })
    }

    /// The parameters, for the API's description.
    pub(crate) fn parameters() -> Vec<serde_json::Value> {
        let flag =
            |name: &str, meaning: &str| parameter(name, &json!({ "type": "boolean", "default": false }), meaning);
        let time =
            |name: &str, meaning: &str| parameter(name, &json!({ "type": "string", "format": "date-time" }), meaning);
        let count = json!({ "type": "integer", "format": "int64", "minimum": -1, "default": DEFAULT_EVENTS });
        let kinds =
            EventKind::ALL.map(|kind| flag(kind_parameter(kind), &format!("Events of the type {}.", kind.name())));
        let others = [
            flag("all_events", "Events of every type."),
            flag("subcontainers", "Those of everything below the container, too."),
            flag("stream", "Events as they happen, a line each, from now on and without an end."),
            parameter("max_events", &count, "At most so many of each type; -1 for all."),
            time("start_time", "Not before this."),
            time("end_time", "Not after this."),
        ];
        kinds.into_iter().chain(others).collect()
    }

    fn covers(&self, at: WallTime) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at <= end)
    }

    fn names(&self, container: &[u8]) -> bool {
        match self.subcontainers {
            Subcontainers::Excluded => container == &*self.name,
            Subcontainers::Included => below(&self.name, container),
        }
    }
}

/// Whether a container is the ancestor or lies below it, at a path boundary.
pub fn below(ancestor: &[u8], container: &[u8]) -> bool {
    ancestor == b"/" || container.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The query parameter that asks for a kind.
const fn kind_parameter(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Oom => "oom_events",
        EventKind::OomKill => "oom_kill_events",
        EventKind::ContainerCreation => "creation_events",
        EventKind::ContainerDeletion => "deletion_events",
        EventKind::ContainerExit => "exit_events",
    }
}

/// Go's spellings of true; everything else is false or cannot be parsed, which is the default: false.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "TRUE" | "true" | "True")
}

/// Whether an event is of a wanted kind, container and time.
pub fn matches(query: &EventQuery, event: &Event) -> bool {
    query.kinds.contains(&event.kind) && query.covers(event.at) && query.names(&event.container)
}

/// Whether a past event is one that the query may select: of its kinds and in its time, whatever its container, which
/// [`select`] looks at after the count.
pub(crate) fn matches_past(query: &EventQuery, event: &Event) -> bool {
    query.kinds.contains(&event.kind) && query.covers(event.at)
}

/// The events a query selects, oldest first, from a log that has a list per kind.
///
/// As in cAdvisor the count is applied to each kind before the container is looked at, so that on a busy node a query
/// for one container may give fewer events than there are; ask with `-1` for all of them.
pub fn select<Events>(query: &EventQuery, newest_first: impl Fn(EventKind) -> Events) -> Vec<Arc<Event>>
where
    Events: IntoIterator<Item = Arc<Event>>,
{
    let limit = query.max_events.limit();
    let mut selected: Vec<Arc<Event>> = Vec::new();
    for kind in &query.kinds {
        let in_range = newest_first(*kind).into_iter().filter(|event| query.covers(event.at)).take(limit);
        selected.extend(in_range.filter(|event| query.names(&event.container)));
    }
    // Every kind came newest first; the stable sort keeps events of one moment in the order they were logged.
    selected.reverse();
    selected.sort_by_key(|event| event.at);
    selected.drain(..selected.len().saturating_sub(limit));
    selected
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::event::EventData;

    fn parse(query: &str) -> EventQuery {
        EventQuery::parse(Arc::from(*b"/a"), query).unwrap()
    }

    #[test]
    fn defaults() {
        let query = parse("");
        assert_eq!(query.kinds, []);
        assert_eq!((query.max_events, query.start, query.end), (Count::Newest(10), None, None));
        assert_eq!((query.subcontainers, query.delivery), (Subcontainers::Excluded, Delivery::History));
    }

    #[test]
    fn parameters() {
        use EventKind::{ContainerCreation, ContainerDeletion, Oom, OomKill};
        let kinds = [
            ("oom_events=true", vec![Oom]),
            ("oom_kill_events=1&creation_events=T", vec![OomKill, ContainerCreation]),
            ("deletion_events=True&all_events=false", vec![ContainerDeletion]),
            ("all_events=t&oom_events=false", EventKind::ALL.to_vec()),
            ("all_events=yes&oom_events=tRUE", vec![]),
            ("all_events=false&all_events=true", vec![]),
            ("all_events", vec![]),
        ];
        for (query, expected) in kinds {
            assert_eq!(parse(query).kinds, expected, "{query}");
        }
        let counts =
            [("-1", Count::All), ("0", Count::Newest(0)), ("%2B7", Count::Newest(7)), ("x", Count::Newest(10))];
        for (count, expected) in counts {
            assert_eq!(parse(&format!("max_events={count}&max_events=3")).max_events, expected);
        }
        let query = parse("start_time=1970-01-01T00:00:01Z&end_time=1970-01-01T01:00:02%2B01:00&subcontainers=true");
        assert_eq!((query.start, query.end), (Some(WallTime(1_000_000_000)), Some(WallTime(2_000_000_000))));
        assert_eq!(query.subcontainers, Subcontainers::Included);
        assert_eq!(parse("start_time=5").start, None);
    }

    #[test]
    fn queries_that_are_refused() {
        let parse = |query| EventQuery::parse(Arc::from(*b"/"), query).map_err(|error| error.to_string());
        assert_eq!(
            parse("max_events=-2"),
            Err("max_events: only -1 (all) and larger values are allowed, not -2".to_owned())
        );
        let text = "for a call to watch, request.StartTime and request.EndTime must be uninitialized";
        assert_eq!(parse("stream=true&end_time=2024-01-01T00:00:00Z"), Err(text.to_owned()));
        assert!(parse("stream=true&max_events=-2&start_time=5&end_time=0001-01-01T00:00:00Z").is_ok());
    }

    #[test]
    fn names_match_at_path_boundaries() {
        for (ancestor, container, expected) in [
            ("/", "/", true),
            ("/", "/a", true),
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a", "/ab", false),
            ("/a/b", "/a", false),
        ] {
            assert_eq!(below(ancestor.as_bytes(), container.as_bytes()), expected, "{ancestor} {container}");
        }
    }

    fn event(kind: EventKind, container: &str, at: u64) -> Arc<Event> {
        Arc::new(Event { container: container.as_bytes().into(), at: WallTime(at), kind, data: EventData::None })
    }

    #[test]
    fn the_count_is_applied_per_kind_before_the_name_and_again_at_the_end() {
        let creations: Vec<_> = (1..=6).rev().map(|at| event(EventKind::ContainerCreation, "/a", at * 10)).collect();
        let deletions =
            [("/b", 65), ("/a", 45), ("/a", 25)].map(|(name, at)| event(EventKind::ContainerDeletion, name, at));
        let log = |kind| match kind {
            EventKind::ContainerCreation => creations.clone(),
            EventKind::ContainerDeletion => deletions.to_vec(),
            _ => Vec::new(),
        };
        let times = |query: &EventQuery| select(query, log).iter().map(|event| event.at.0).collect::<Vec<_>>();

        let mut query = parse("all_events=true&max_events=2");
        assert_eq!(times(&query), [50, 60], "of the two newest deletions one is /b's; the last two remain");
        query.max_events = Count::All;
        assert_eq!(times(&query), [10, 20, 25, 30, 40, 45, 50, 60]);
        query.max_events = Count::Newest(0);
        assert_eq!(times(&query), [0; 0]);
        query = parse("deletion_events=true&max_events=1");
        assert_eq!(times(&query), [0; 0], "the newest deletion is /b's");
        query = parse("all_events=true");
        (query.start, query.end) = (Some(WallTime(20)), Some(WallTime(45)));
        assert_eq!(times(&query), [20, 25, 30, 40, 45]);
        query.kinds = vec![EventKind::ContainerDeletion];
        assert!(matches(&query, &deletions[1]));
        assert!(!matches(&query, &deletions[0]), "another container");
        assert!(!matches(&query, &creations[2]), "another kind");
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in "[a-z_=&%0-9;+-]{0,60}|.{0,40}") {
            let _ = EventQuery::parse(Arc::from(*b"/"), &query);
        }
    }
}
