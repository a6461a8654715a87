//! `/containers/{id}/stats`: one object, or one a second.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::errors::Error;
use super::lookup::find;
use super::request::QueryOptions;
use super::stats::{self, Frame, Subject};
use super::version::ApiVersion;
use crate::api::Count;
use crate::api::backend::{LimitsAge, Node, Unavailable};
use crate::api::budget::Busy;
use crate::api::http::responses;
use crate::api::query::StatsQuery;
use crate::sample::event::Name;

/// Between two objects, and between the two readings of one object.
const CADENCE: Duration = Duration::from_secs(1);
/// Streams open at once, one for each container that a client looks at: each has a sample taken every second.
const MAX_STREAMS: usize = 2048;
static STREAMS: Semaphore = Semaphore::const_new(MAX_STREAMS);
/// Since this version an object may be asked for without an earlier one to compare with.
const ONE_SHOT_SINCE: ApiVersion = ApiVersion { major: 1, minor: 41 };

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Objects until the container ends.
    Stream,
    /// One object that reports the CPU time of a second before too.
    Pair,
    /// One object at once.
    OneShot,
}

impl Mode {
    pub(super) fn of(options: &QueryOptions, version: ApiVersion) -> Self {
        let one_shot = version >= ONE_SHOT_SINCE && options.is_on("one-shot") == Some(true);
        match options.is_on("stream") {
            // Beside a stream, newer engines read over one-shot.
            None | Some(true) => Self::Stream,
            Some(false) if one_shot => Self::OneShot,
            Some(false) => Self::Pair,
        }
    }
}

/// Answers the request.
pub(super) async fn answer<S: Node>(source: Arc<S>, wanted: &str, mode: Mode) -> Result<Response, Error> {
    let mut watch = Watch::new(source, wanted)?;
    if mode == Mode::Stream {
        let refuse = |_| watch.source.budget().refuse(Busy::Streams(MAX_STREAMS));
        let permit = STREAMS.try_acquire().map_err(refuse)?;
        // Nothing is read before the head of the response is on its way.
        return Ok(streamed(watch, permit));
    }
    let gone = || Error::NoSuchContainer(wanted.to_owned());
    let first = watch.next().await.ok_or_else(gone)?;
    let (previous, now) = match mode {
        Mode::Pair => {
            let second = watch.next().await.ok_or_else(gone)?;
            (Some(first), second)
        }
        Mode::OneShot | Mode::Stream => (None, first),
    };
    let subject = watch.subject;
    let rendered = spawn_blocking(move || {
        let mut body = Vec::with_capacity(4096);
        stats::append(&mut body, &subject, previous.as_ref(), &now);
        body
    });
    Ok(responses::json(rendered.await?))
}

/// A container that is read once a second.
struct Watch<S> {
    source: Arc<S>,
    cgroup: Name,
    subject: Subject,
    ticks: Interval,
    last: Option<Frame>,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S: Node> Watch<S> {
    fn new(source: Arc<S>, wanted: &str) -> Result<Self, Error> {
        let found = find(&*source, wanted)?;
        let subject = Subject {
            name: found.name().to_owned(),
            id: found.id,
            version: source.cgroup_version(),
            machine_memory: source.machine_memory(),
        };
        let mut ticks = interval(CADENCE);
        // A second lies between two objects also when the machine has been too busy for one.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closing = Box::pin(source.closing());
        Ok(Self { source, cgroup: found.cgroup, subject, ticks, last: None, closing })
    }

    /// The next reading; `None` when the container is gone, or the collector shuts down.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            tokio::select! {
                _ = self.ticks.tick() => {}
                () = &mut self.closing => return None,
            }
            match read(&*self.source, &self.cgroup).await {
                // A sample that was reported already, because the kernel does not answer: rather nothing than a
                // container that seems to rest.
                Ok(Some(frame)) if self.last.as_ref().is_none_or(|last| last.sample.at < frame.sample.at) => {
                    self.last = Some(frame.clone());
                    return Some(frame);
                }
                Ok(_) | Err(Unavailable::NoSample) => {}
                Err(Unavailable::Unknown(_)) => return None,
            }
        }
    }
}

/// A new sample, and what stands beside it; `None` where there is no sample at all.
async fn read<S: Node>(source: &S, cgroup: &Name) -> Result<Option<Frame>, Unavailable> {
    source.refresh(std::slice::from_ref(cgroup), Duration::ZERO).await;
    let live = source.live(cgroup).await;
    let query = StatsQuery { count: Count::Newest(1), ..StatsQuery::default() };
    let view = source.container(cgroup, &query, LimitsAge::Recent).await?;
    let sample = view.samples.last().map(Arc::clone);
    Ok(sample.map(|sample| Frame { sample, live, spec: view.spec }))
}

fn streamed<S: Node>(watch: Watch<S>, permit: SemaphorePermit<'static>) -> Response {
    let lines = stream::unfold((watch, permit), |(mut watch, permit)| async move {
        let previous = watch.last.clone();
        let now = watch.next().await?;
        let mut line = Vec::with_capacity(4096);
        stats::append(&mut line, &watch.subject, previous.as_ref(), &now);
        Some((Ok::<_, Infallible>(Bytes::from(line)), (watch, permit)))
    });
    // As the engine's, the response names no content type.
    Response::new(Body::from_stream(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::docker::version::NEWEST;

    #[test]
    fn modes() {
        let mode = |query: &str, version| Mode::of(&QueryOptions::parse(query), version);
        assert_eq!(mode("", NEWEST), Mode::Stream);
        assert_eq!(mode("stream=1&one-shot=1", NEWEST), Mode::Stream);
        assert_eq!(mode("stream=0", NEWEST), Mode::Pair);
        assert_eq!(mode("stream=false&one-shot=true", NEWEST), Mode::OneShot);
        assert_eq!(mode("stream=false&one-shot=true", ApiVersion { major: 1, minor: 40 }), Mode::Pair);
    }
}
