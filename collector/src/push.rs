//! Sends what is known to others, who do not ask: OpenTelemetry's protocol, Prometheus' remote write, lines on standard
//! output. All of it is off unless a flag names a receiver.
//!
//! Each exporter is a producer and a sender with a bounded `queue` between them. A receiver that is away costs nothing
//! but what no longer fits in the queue, oldest first, and that is counted.

mod connector;
mod delivery;
mod http_client;
mod metrics;
pub mod observe;
pub mod otlp;
mod queue;
pub mod remote_write;
pub mod stdout;

use std::future::Future;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use tokio::time::{MissedTickBehavior, interval};

pub use connector::InvalidReceiver;
pub use delivery::{Failure, Transport, deliver};
pub use metrics::{ExporterMetrics, Metrics};
pub use queue::{Queue, Request};

/// What is pushed where.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// OpenTelemetry's protocol.
    pub otlp: Option<OtlpOptions>,
    /// Prometheus' remote write.
    pub remote_write: Option<Receiver>,
    /// Lines on standard output, every so often.
    pub stdout: Option<Duration>,
}

/// Somebody who is sent something.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
pub struct OtlpOptions {
    /// Who.
    pub receiver: Receiver,
    /// How it is spoken.
    pub protocol: OtlpProtocol,
}

/// How OpenTelemetry's protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protocol buffers over HTTP/1.1.
    HttpProtobuf,
}

/// What makes requests.
pub trait Source: Send {
    /// The requests of one moment.
    fn requests(&mut self) -> impl Future<Output = Vec<Request>> + Send;
}

/// Fills a queue at each interval until the collector closes, once more then, and closes the queue.
pub async fn produce(
    every: Duration,
    closing: impl Future<Output = ()>,
    queue: &Queue,
    metrics: &ExporterMetrics,
    mut source: impl Source,
) {
    let mut ticks = interval(every);
    // A machine that was too busy for a moment has only the present to report.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closing = std::pin::pin!(closing);
    // The first tick is at once, and before the first sample.
    ticks.tick().await;
    loop {
        let over = tokio::select! {
            _ = ticks.tick() => false,
            () = &mut closing => true,
        };
        for request in source.requests().await {
            let dropped = queue.push(request);
            metrics.add_dropped(metrics::Reason::QueueFull, dropped);
        }
        metrics.set_waiting(queue.waiting());
        if over {
            queue.close();
            return;
        }
    }
}
