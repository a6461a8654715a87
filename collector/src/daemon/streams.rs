//! The streams of a connection in HTTP/2.

use std::future::Future;
use std::sync::Arc;

use super::connections::{Reason, Slot};
use super::pace::{Pace, Progress};
use crate::own_metrics::ConnectionMetrics;

/// Runs the streams of a connection in HTTP/2, each at its own pace.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) slot: Slot,
    pub(super) metrics: ConnectionMetrics,
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let Self { slot, metrics } = self.clone();
        tokio::spawn(async move {
            let pace = Arc::new(Pace::new(Progress::Pieces, &metrics));
            tokio::select! {
                _ = Arc::clone(&pace).over(stream) => {}
                // Resets the stream, and with it goes the answer.
                () = pace.too_slow() => return metrics.cut_off.inc(),
            }
            // The last piece is the connection's now, and the stream's window may hold it for ever.
            tokio::select! {
                () = pace.drained() => {}
                () = pace.too_slow() => slot.end(Reason::SlowReader),
            }
        });
    }
}
