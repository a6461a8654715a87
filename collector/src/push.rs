//! Sends what is known to others, who do not ask: OpenTelemetry's protocol, Prometheus' remote write, `InfluxDB`'s lines,
//! statsd, lines on standard output. All of it is off unless a flag names a receiver.
//!
//! Each exporter is an encoder of its protocol; a producer, a bounded `queue` and a sender are the same for all. A receiver that is away costs nothing
//! but what no longer fits in the queue, oldest first, and that is counted.

mod delivery;
mod http_client;
pub mod influx;
mod metrics;
pub mod observe;
pub mod otlp;
mod queue;
pub mod remote_write;
mod statistics;
pub mod statsd;
pub mod stdout;

use std::future::Future;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Uri};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

pub use delivery::{Failure, Transport, deliver};
pub use http_client::InvalidReceiver;
pub use metrics::{ExporterMetrics, Metrics};
pub use queue::{Queue, Request};

/// What is pushed where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// OpenTelemetry's protocol.
    pub otlp: Option<OtlpOptions>,
    /// Prometheus' remote write.
    pub remote_write: Option<RemoteWriteOptions>,
    /// `InfluxDB`; the URL says which of its APIs is spoken.
    pub influxdb: Option<Receiver>,
    /// statsd.
    pub statsd: Option<StatsdOptions>,
    /// Lines on standard output, every so often.
    pub stdout: Option<Duration>,
}

/// Somebody who is sent something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Where.
    pub url: Uri,
    /// Headers of each request, such as credentials.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Time between two requests.
    pub interval: Duration,
    /// Requests that wait at most; those of one push may be several.
    pub queue_size: usize,
}

/// A receiver of OpenTelemetry's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpOptions {
    /// Who.
    pub receiver: Receiver,
    /// How it is spoken.
    pub protocol: OtlpProtocol,
    /// How requests are compressed.
    pub compression: Compression,
    /// What counters say.
    pub temporality: Temporality,
    /// Whether statistics with many values are pushed too.
    pub details: Details,
    /// Whether events are pushed as logs.
    pub events: Events,
}

/// What counters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporality {
    /// How much it was since they began.
    Cumulative,
    /// How much it was since the last push.
    Delta,
}

/// Which statistics are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details {
    /// Those with few values for each container.
    Few,
    /// All of them.
    All,
}

/// Whether events are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// They are.
    Pushed,
    /// They are not.
    Kept,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// By gzip.
    Gzip,
    /// Not at all.
    None,
}

/// How OpenTelemetry's protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protocol buffers over HTTP/1.1.
    HttpProtobuf,
}

/// A receiver of statsd's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsdOptions {
    /// Host and port.
    pub address: String,
    /// What names begin with.
    pub namespace: String,
    /// Time between two pushes.
    pub interval: Duration,
    /// Requests that wait at most.
    pub queue_size: usize,
}

/// A receiver of Prometheus' remote write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteWriteOptions {
    /// Who.
    pub receiver: Receiver,
    /// What it speaks.
    pub version: RemoteWriteVersion,
}

/// Which version of remote write is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteWriteVersion {
    /// 2.0, or 1.0 with who does not speak that.
    Negotiated,
    /// 1.0.
    One,
    /// 2.0.
    Two,
}

/// What makes requests.
pub trait Source: Send {
    /// The requests of one moment.
    fn requests(&mut self) -> impl Future<Output = Vec<Request>> + Send;

    /// How much was missed since the last time this was asked, and is in no request.
    fn take_missed(&mut self) -> u64 {
        0
    }
}

/// When a machine pushes: at every so often of the clock on the wall, and the machines of a fleet each at another part of
/// it, however many are started together. Where in the interval follows from who it is alone, so that a restart does not
/// move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    every: Duration,
    offset: Duration,
}

impl Phase {
    /// The phase of the machine with this identity, such as its machine id.
    pub fn new(every: Duration, identity: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, identity.as_bytes());
        let (first, _) = digest.as_ref().split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self { every, offset: every.mul_f64(u64::from_le_bytes(*first) as f64 / u64::MAX as f64) }
    }

    /// How long it is until the next push, at this time since 1970.
    pub fn wait(self, now: Duration) -> Duration {
        let every = self.every.as_nanos().max(1);
        let since = (now.as_nanos() + every - self.offset.as_nanos() % every) % every;
        Duration::from_nanos(u64::try_from(every - since).unwrap_or(u64::MAX))
    }
}

/// Fills a queue at each interval until the collector closes, once more then, and closes the queue.
pub async fn produce(
    phase: Phase,
    closing: impl Future<Output = ()>,
    queue: &Queue,
    metrics: &ExporterMetrics,
    mut source: impl Source,
) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut ticks = interval_at(Instant::now() + phase.wait(now), phase.every);
    // A machine that was too busy for a moment has only the present to report.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut closing = std::pin::pin!(closing);
    loop {
        let over = tokio::select! {
            _ = ticks.tick() => false,
            () = &mut closing => true,
        };
        for request in source.requests().await {
            let dropped = queue.push(request);
            metrics.add_dropped(metrics::Reason::QueueFull, dropped);
        }
        metrics.add_dropped(metrics::Reason::Missed, source.take_missed());
        metrics.set_waiting(queue.waiting());
        if over {
            queue.close();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(15);

    #[test]
    fn a_fleet_is_spread_over_the_interval() {
        // However the machines were started, their pushes are where their ids put them: never more than 5 % of the
        // interval from where they were if they were spread evenly.
        let mut waits: Vec<f64> = (0..1000)
            .map(|node| Phase::new(EVERY, &format!("{node:032x}")).wait(Duration::from_secs(1_700_000_000)))
            .map(|wait| wait.as_secs_f64() / EVERY.as_secs_f64())
            .collect();
        waits.sort_by(f64::total_cmp);
        let off = waits.iter().enumerate().map(|(node, wait)| (wait - node as f64 / 1000.0).abs()).fold(0.0, f64::max);
        assert!(off < 0.05, "{off}");
    }

    #[test]
    fn a_restart_does_not_move_a_machine() {
        let phase = Phase::new(EVERY, "machine");
        let start = Duration::from_secs(1_700_000_000);
        let first = start + phase.wait(start);
        for later in [1_u64, 999, 14_999, 15_000, 1_000_001] {
            let now = first + Duration::from_millis(later);
            let wait = phase.wait(now);
            assert!(wait > Duration::ZERO && wait <= EVERY, "{wait:?}");
            assert_eq!(((now + wait).as_nanos() - first.as_nanos()) % EVERY.as_nanos(), 0, "{later}");
        }
        assert_ne!(phase, Phase::new(EVERY, "another"));
    }
}
