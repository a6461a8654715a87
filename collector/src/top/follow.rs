//! Asks for what is shown, again and again, on a task of its own, so that the screen waits for no answer.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::sync::{mpsc, watch};

use super::figures::timestamp;
use super::source::{AnswerSource, SourceError};
use super::wire::{ApiEvent, Process, Tick, TopEvent, Trend, Trends};

/// Time between two answers.
pub(super) const TICK: Duration = Duration::from_secs(2);
/// Events of the past, of each kind.
const PAST: usize = 200;
/// How much of what happened before a moment of the past is asked for.
const BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// An answer about a moment of the past that is further from it is about another.
const NEAR: SignedDuration = SignedDuration::from_mins(2);
/// The letters of a container's name that a path cannot have as they are.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'\\');

/// What the screen wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WantedAnswers {
    /// Whether nothing is asked for at the moment.
    pub(super) paused: bool,
    /// A container of which more is asked for: its row and its cgroup.
    pub(super) detail: Option<(u64, String)>,
    /// A moment of the past.
    pub(super) at: Option<Timestamp>,
}

/// What is new.
#[derive(Debug)]
pub(super) enum FeedNews {
    /// What changed, and what happened. For which moment of the past it was asked.
    Tick(Box<Tick>, Vec<TopEvent>, Option<Timestamp>),
    Detail(ContainerDetail),
    /// Why there is no answer.
    Trouble(String),
}

/// More about one container.
#[derive(Clone, Debug)]
pub(super) struct ContainerDetail {
    /// Its row.
    pub(super) id: u64,
    pub(super) trend: Trend,
    /// Its processes, or why they are not known.
    pub(super) processes: Result<Vec<Process>, String>,
}

/// Who asks.
pub(super) struct FeedFollower {
    source: AnswerSource,
    cursor: String,
    /// When the newest event that is known happened.
    newest: Option<Timestamp>,
}

impl FeedFollower {
    pub(super) fn new(source: AnswerSource) -> Self {
        Self { source, cursor: String::new(), newest: None }
    }

    /// What changed since the last time, or how it was at a moment of the past.
    pub(super) async fn tick(&mut self, at: Option<Timestamp>) -> Result<(Tick, Vec<TopEvent>), SourceError> {
        let (feed, span) = if let Some(at) = at {
            let since = at.saturating_sub(BEFORE).unwrap_or(at);
            (format!("/api/feed?at={at}"), format!("&start_time={since}&end_time={at}"))
        } else {
            let since = self.newest.map(|newest| format!("&start_time={newest}")).unwrap_or_default();
            (format!("/api/feed?since={}", self.cursor), since)
        };
        let tick: Tick = self.source.get(&feed).await?;
        if let Some(at) = at
            && timestamp(tick.at).duration_since(at).abs() > NEAR
        {
            return Err(SourceError::NoHistory(self.source.name()));
        }
        let mut events = self.events("all_events", &span).await?;
        if events.len() >= PAST {
            // A storm of others may have pushed kills out.
            let kills = self.events("oom_events", &span).await?;
            events.extend(kills);
        }
        let events: Vec<_> = events.into_iter().filter_map(ApiEvent::read).collect();
        if at.is_none() {
            self.cursor.clone_from(&tick.cursor);
            self.newest = self.newest.max(events.iter().map(|event| event.at).max());
        }
        Ok((tick, events))
    }

    async fn events(&self, kinds: &str, span: &str) -> Result<Vec<ApiEvent>, SourceError> {
        let target = format!("/api/v1.3/events/?{kinds}=true&subcontainers=true&max_events={PAST}{span}");
        self.source.get(&target).await
    }

    async fn detail(&self, id: u64, name: &str, at: Option<Timestamp>) -> ContainerDetail {
        let at_moment = at.map(|at| format!("&at={at}")).unwrap_or_default();
        let trends: Result<Trends, _> = self.source.get(&format!("/api/feed?trends={id}{at_moment}")).await;
        let trend = trends.ok().and_then(|trends| trends.trends.into_iter().next()).unwrap_or_default();
        let processes = if at.is_some() {
            Err("processes are not kept".to_owned())
        } else {
            let target = format!("/api/v2.1/ps{}", utf8_percent_encode(name, UNSAFE));
            let list: Result<Option<Vec<Process>>, _> = self.source.get(&target).await;
            list.map(Option::unwrap_or_default).map_err(|error| error.to_string())
        };
        ContainerDetail { id, trend, processes }
    }

    /// Asks until nobody listens.
    pub(super) async fn run(mut self, mut wanted: watch::Receiver<WantedAnswers>, news: mpsc::Sender<FeedNews>) {
        loop {
            let WantedAnswers { paused, detail, at } = wanted.borrow_and_update().clone();
            if !paused {
                let answer = match self.tick(at).await {
                    Ok((tick, events)) => FeedNews::Tick(Box::new(tick), events, at),
                    Err(error) => FeedNews::Trouble(error.to_string()),
                };
                if news.send(answer).await.is_err() {
                    return;
                }
                if let Some((id, name)) = detail
                    && news.send(FeedNews::Detail(self.detail(id, &name, at).await)).await.is_err()
                {
                    return;
                }
            }
            let changed = if paused || at.is_some() {
                // Nothing will be different.
                wanted.changed().await
            } else {
                tokio::time::timeout(TICK, wanted.changed()).await.unwrap_or(Ok(()))
            };
            if changed.is_err() {
                return;
            }
        }
    }
}
