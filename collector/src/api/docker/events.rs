//! `/events`: containers that start and end, and out-of-memory kills in them, as the kernel reports them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::sleep;

use super::errors::Error;
use super::filters::Filters;
use super::request::QueryOptions;
use crate::api::Count;
use crate::api::backend::docker::ContainerEngine;
use crate::api::backend::{Containers, Node, StreamItem, Subscription as _};
use crate::api::http::responses;
use crate::api::http::responses::More;
use crate::api::query::events::{Delivery, EventQuery, Subcontainers};
use crate::api::wire::{json, time};
use crate::sample::event::{Event, EventData, EventKind};
use crate::sample::identity::Identity;
use crate::units::WallTime;

/// The filters that are understood; of the others no container has what they ask for.
const FILTERS: [&str; 6] = ["type", "event", "container", "image", "label", "scope"];
/// How long an event waits for its container: a container is listed right after it is reported.
const LISTED_TRIES: u32 = 50;
const LISTED_PAUSE: Duration = Duration::from_millis(2);
/// Longest wait for a time that is asked for; the connection does not live longer.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// `/events`.
pub(super) async fn answer<S: Node>(source: Arc<S>, options: &QueryOptions) -> Result<Response, Error> {
    let filters = Filters::parse(options, &FILTERS)?;
    let (since, until) = (moment(options, "since")?, moment(options, "until")?);
    let query = EventQuery {
        kinds: vec![EventKind::ContainerCreation, EventKind::ContainerDeletion, EventKind::Oom],
        name: b"/".as_slice().into(),
        subcontainers: Subcontainers::Included,
        max_events: Count::All,
        start: since,
        end: until,
        delivery: Delivery::Stream,
    };
    let now = source.now();
    // Subscribed before the past is looked at, so that nothing falls between.
    let subscription = source.subscribe(EventQuery { start: None, end: None, ..query.clone() })?;
    let (past, share) = if since.is_some() || until.is_some() {
        responses::history(&source, query).await?
    } else {
        (Vec::new(), source.budget().reserve(responses::OPEN).await?)
    };
    let reported = past.last().map(|event| event.at);
    let filters = Arc::new(filters);
    let mut past = past.into_iter();
    let (of, wanted) = (Arc::clone(&source), Arc::clone(&filters));
    let append_past = move |out: &mut Vec<u8>| {
        let Some(event) = past.next() else { return More::Ended };
        append(out, &*of, &event, &wanted);
        More::Follows
    };
    let (first, rest) = responses::started(share, append_past).await?;
    let over = until.map(|until| Duration::from_nanos(until.since(now).0));
    let end = Box::pin(async move {
        match over {
            Some(wait) => sleep(wait.min(LONGEST)).await,
            None => std::future::pending().await,
        }
    });
    let coming =
        stream::unfold((subscription, source, filters), move |(mut subscription, source, filters)| async move {
            let mut lines = Vec::new();
            while lines.is_empty() {
                match subscription.next().await? {
                    StreamItem::Event(event) if reported.is_none_or(|reported| event.at > reported) => {
                        if event.kind == EventKind::ContainerCreation {
                            listed(&*source, &event.container).await;
                        }
                        append(&mut lines, &*source, &event, &filters);
                    }
                    StreamItem::Event(_) => {}
                    // The client reads too slowly. The format has no word for it.
                    StreamItem::Lagged { .. } => return None,
                }
            }
            Some((Bytes::from(lines), (subscription, source, filters)))
        });
    let first = stream::iter((!first.is_empty()).then_some(Ok(first)));
    let rest = stream::iter(rest).flatten();
    let body = first.chain(rest).chain(coming.take_until(end).map(Ok));
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Waits until a container that was just reported is listed, if it ever is: clients request what an event names at once,
/// and give up when it is not there. Other cgroups are not reported, and thousands of them may come and go.
async fn listed<S: Containers + ContainerEngine>(source: &S, name: &[u8]) {
    if source.container_id(name).is_none() {
        return;
    }
    for _ in 0..LISTED_TRIES {
        if source.is_known(name) {
            return;
        }
        sleep(LISTED_PAUSE).await;
    }
}

/// Seconds since 1970 with a fraction, or RFC 3339.
fn moment(options: &QueryOptions, name: &'static str) -> Result<Option<WallTime>, Error> {
    let Some(text) = options.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    unix_time(text)
        .map(Some)
        .or_else(|| time::parse(text).ok())
        .ok_or_else(|| Error::Value { name, value: text.to_owned() })
}

fn unix_time(text: &str) -> Option<WallTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit()) && fraction.len() <= 9;
    let nanos = digits.then(|| format!("{fraction:0<9}"))?.parse::<u64>().ok()?;
    Some(WallTime(whole.parse::<u64>().ok()?.saturating_mul(1_000_000_000).saturating_add(nanos)))
}

#[derive(Serialize)]
struct Message<'a> {
    status: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    from: &'a str,
    #[serde(rename = "Type")]
    kind: &'a str,
    #[serde(rename = "Action")]
    action: &'a str,
    #[serde(rename = "Actor")]
    actor: Actor<'a>,
    scope: &'a str,
    time: u64,
    #[serde(rename = "timeNano")]
    time_nano: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Actor<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    attributes: BTreeMap<&'a str, &'a str>,
}

/// Appends the line of an event, if it is about a container and the filters admit it.
fn append<S: ContainerEngine>(out: &mut Vec<u8>, source: &S, event: &Event, filters: &Filters) {
    let Some(id) = source.container_id(&event.container) else { return };
    // A cgroup comes with the start of its container, not when that is made.
    let action = match event.kind {
        EventKind::ContainerCreation => "start",
        EventKind::ContainerDeletion => "die",
        EventKind::Oom => "oom",
        EventKind::OomKill | EventKind::ContainerExit => return,
    };
    let identity = source.identity(&event.container);
    let none = BTreeMap::new();
    let identity = identity.as_deref();
    let text = |pick: fn(&Identity) -> Option<&String>| identity.and_then(pick).map_or("", String::as_str);
    let (name, image) = (text(|identity| identity.name.as_ref()), text(|identity| identity.image.as_ref()));
    let admitted = filters.admit("type", |kind| kind == "container")
        && filters.admit("event", |wanted| wanted == action)
        && filters.admit("container", |wanted| wanted == name || id.starts_with(wanted))
        && filters.admit("image", |wanted| wanted == image)
        && filters.admit("scope", |scope| scope == "local")
        && filters.admit_labels(identity.map_or(&none, |identity| &identity.labels));
    if !admitted {
        return;
    }
    let labels = identity.into_iter().flat_map(|identity| &identity.labels);
    let mut attributes: BTreeMap<_, _> = labels.map(|(key, value)| (key.as_str(), value.as_str())).collect();
    attributes.extend([("name", name), ("image", image)].into_iter().filter(|(_, value)| !value.is_empty()));
    let exit = match &event.data {
        EventData::Deletion { exit: Some(exit), .. } => Some((exit.code().to_string(), exit.lasted)),
        _ => None,
    };
    let lasted = exit.as_ref().map(|(_, lasted)| (lasted.0 / 1_000_000_000).to_string());
    if let Some((code, _)) = &exit {
        attributes.insert("exitCode", code);
    }
    if let Some(lasted) = &lasted {
        attributes.insert("execDuration", lasted);
    }
    let message = Message {
        status: action,
        id: &id,
        from: image,
        kind: "container",
        action,
        actor: Actor { id: &id, attributes },
        scope: "local",
        time: event.at.0 / 1_000_000_000,
        time_nano: event.at.0,
    };
    json::append(out, &message);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let read = |text: &str| unix_time(text).map(|time| time.0);
        assert_eq!(read("12"), Some(12_000_000_000));
        assert_eq!(read("12.5"), Some(12_500_000_000));
        assert_eq!(read("12.000000001"), Some(12_000_000_001));
        for text in ["", "x", "12.x", "1.0000000001", "-1", "2024-01-01T00:00:00Z"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
