//! Every sample as a line of JSON on standard output: cAdvisor's storage driver `stdout`.

use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::metrics::{ExporterMetrics, Reason};
use super::observe::{Observed, Observer};

/// Writes what is new at each interval until the collector closes, and once more then. `render` appends the lines of one
/// container. While the reader of the pipe does not read, nothing is observed; what the store still has is written
/// then.
pub async fn run(
    every: Duration,
    closing: impl Future<Output = ()>,
    mut observer: Observer,
    metrics: &ExporterMetrics,
    render: impl Fn(&mut Vec<u8>, &Observed) + Send + Sync + Clone + 'static,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closing = std::pin::pin!(closing);
    ticks.tick().await;
    loop {
        let over = tokio::select! {
            _ = ticks.tick() => false,
            () = &mut closing => true,
        };
        let render = render.clone();
        let written = tokio::task::spawn_blocking(move || {
            let observed = observer.observe();
            let written = write(&mut io::stdout().lock(), &observed, render);
            (observer, written)
        });
        let Ok((back, (points, written))) = written.await else {
            tracing::error!("standard output is no longer written to");
            return;
        };
        observer = back;
        match written {
            Ok(()) => metrics.add_sent(points),
            Err(error) => {
                tracing::warn!(%error, points, "samples could not be written to standard output");
                metrics.add_dropped(Reason::Rejected, points);
            }
        }
        if over {
            return;
        }
    }
}

/// Writes everything; how many samples that was.
fn write(
    out: &mut impl Write,
    observed: &[Observed],
    render: impl Fn(&mut Vec<u8>, &Observed),
) -> (u64, io::Result<()>) {
    let points = observed.iter().map(|observed| observed.samples.len() as u64).sum();
    let mut lines = Vec::new();
    let written = observed.iter().try_for_each(|container| {
        lines.clear();
        render(&mut lines, container);
        out.write_all(&lines)
    });
    (points, written.and_then(|()| out.flush()))
}
