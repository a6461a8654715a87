//! Sends what waits in a queue, in its order, and again where it may help.

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::sleep;

use super::metrics::{ExporterMetrics, Reason};
use super::queue::{Queue, Request};

/// Wait after the first failure; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest wait of our own choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Longest wait a receiver may ask for.
const LONGEST_ASKED_FOR: Duration = Duration::from_secs(300);

/// How a request is sent.
pub trait Transport {
    /// Sends it once; returns how many of the values the receiver did not want.
    fn send(&self, request: &Request) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// A request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The same request may be accepted later.
    #[error("{reason}")]
    Temporary {
        /// What the other side, or the way to it, said.
        reason: String,
        /// When the receiver wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It will never be.
    #[error("{0}")]
    Permanent(String),
}

impl Failure {
    pub(super) fn temporary(reason: &impl ToString) -> Self {
        Self::Temporary { reason: reason.to_string(), retry_after: None }
    }
}

/// Sends until the queue is closed and empty. After it is closed nothing is tried again: the collector ends.
pub async fn deliver(queue: &Queue, transport: &impl Transport, metrics: &ExporterMetrics) {
    let exporter = metrics.name;
    let mut away = Away::No;
    while let Some(request) = queue.take().await {
        let mut pause = FIRST_PAUSE;
        loop {
            match transport.send(&request).await {
                Ok(unwanted) => {
                    let unwanted = unwanted.min(request.points);
                    metrics.add_sent(request.points - unwanted);
                    metrics.add_dropped(Reason::Rejected, unwanted);
                    if unwanted > 0 {
                        tracing::warn!(exporter, unwanted, "the receiver rejected some of the values");
                    }
                    if away == Away::Yes {
                        tracing::info!(exporter, "the receiver accepts again");
                        away = Away::No;
                    }
                    break;
                }
                Err(Failure::Permanent(reason)) => {
                    tracing::warn!(
                        exporter,
                        reason,
                        points = request.points,
                        "the receiver rejected a request; its values are dropped"
                    );
                    metrics.add_dropped(Reason::Rejected, request.points);
                    break;
                }
                Err(Failure::Temporary { reason, retry_after }) => {
                    metrics.add_failure();
                    if away == Away::No {
                        tracing::warn!(exporter, reason, "the receiver does not accept requests; values are queued");
                        away = Away::Yes;
                    }
                    if queue.is_closed() {
                        give_up(queue, request, metrics).await;
                        return;
                    }
                    // Those whom a receiver sends away at once do not all come back at once.
                    let asked = |asked: Duration| asked.min(LONGEST_ASKED_FOR) + jittered(pause) / 2;
                    let wait = retry_after.map_or_else(|| jittered(pause), asked);
                    // At the end there is one more attempt, at once.
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = queue.closed() => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        metrics.set_waiting(queue.waiting());
    }
}

/// Whether the last request failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Away {
    No,
    Yes,
}

async fn give_up(queue: &Queue, request: Request, metrics: &ExporterMetrics) {
    let mut lost = request.points;
    while let Some(request) = queue.take().await {
        lost += request.points;
    }
    metrics.add_dropped(Reason::Shutdown, lost);
    tracing::warn!(exporter = metrics.name, lost, "shut down before everything was sent");
}

/// Between half of the pause and all of it, so that the collectors of a cluster do not all ask at once.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    // Each RandomState has keys of its own.
    let random = RandomState::new().hash_one(0_u8);
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use bytes::Bytes;
    use prometheus::Registry;

    use super::*;
    use crate::push::Metrics;

    /// Gives the answers of a list, and then accepts.
    struct Scripted {
        answers: Mutex<VecDeque<Result<u64, Failure>>>,
        accepted: Mutex<Vec<Bytes>>,
    }

    impl Transport for Scripted {
        async fn send(&self, request: &Request) -> Result<u64, Failure> {
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(0));
            if answer.is_ok() {
                self.accepted.lock().unwrap().push(request.body.clone());
            }
            answer
        }
    }

    fn counted(registry: &Registry, family: &str) -> Vec<(String, f64)> {
        let families = registry.gather();
        let Some(family) = families.iter().find(|found| found.name() == family) else { return Vec::new() };
        let label = |metric: &prometheus::proto::Metric| metric.get_label().last().unwrap().value().to_owned();
        family.get_metric().iter().map(|metric| (label(metric), metric.get_counter().get_value())).collect()
    }

    async fn deliver_all(answers: Vec<Result<u64, Failure>>, requests: usize) -> (Registry, Vec<Bytes>) {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap().exporter("test");
        let queue = Queue::new(10);
        for number in 0..requests {
            queue.push(Request { body: vec![number as u8].into(), points: 10 });
        }
        let scripted = Scripted { answers: Mutex::new(answers.into()), accepted: Mutex::default() };
        let closing = async {
            sleep(Duration::from_secs(3600)).await;
            queue.close();
        };
        tokio::join!(deliver(&queue, &scripted, &metrics), closing);
        (registry, scripted.accepted.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_lost_while_the_receiver_is_away() {
        let away = (0..20).map(|_| Err(Failure::temporary(&"away"))).collect();
        let (registry, sent) = deliver_all(away, 3).await;
        assert_eq!(sent, [&[0_u8][..], &[1], &[2]]);
        assert_eq!(counted(&registry, "collector_push_sent_points_total"), [("test".to_owned(), 30.0)]);
        assert_eq!(counted(&registry, "collector_push_failures_total"), [("test".to_owned(), 20.0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_wanted_is_counted_and_not_tried_again() {
        let (registry, sent) = deliver_all(vec![Err(Failure::Permanent("no".to_owned())), Ok(4)], 2).await;
        assert_eq!(sent, [&[1_u8][..]]);
        let dropped = counted(&registry, "collector_push_dropped_points_total");
        let expected = [("missed", 0.0), ("queue_full", 0.0), ("rejected", 14.0), ("shutdown", 0.0)];
        assert_eq!(dropped, expected.map(|(reason, count)| (reason.to_owned(), count)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_not_held_up() {
        let forever = (0..100_000).map(|_| Err(Failure::temporary(&"away"))).collect();
        let (registry, sent) = deliver_all(forever, 2).await;
        assert!(sent.is_empty());
        assert!(counted(&registry, "collector_push_dropped_points_total").contains(&("shutdown".to_owned(), 20.0)));
    }

    #[test]
    fn pauses_vary() {
        let pauses: Vec<_> = (0..50).map(|_| jittered(Duration::from_secs(2))).collect();
        assert!(pauses.iter().all(|pause| (Duration::from_secs(1)..=Duration::from_secs(2)).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
