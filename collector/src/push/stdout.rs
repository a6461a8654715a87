//! Every sample as a line of JSON on standard output: cAdvisor's storage driver `stdout`.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::metrics::{ExporterMetrics, Reason};
use super::observe::{Moment, Observed, Observer};

/// Writes what is new at each interval until nobody can send to `closing` any more, and once more then. `render` appends
/// the lines of one container. Runs on a thread of its own: while the reader of the pipe does not read, nobody else
/// waits, and nothing is observed; what the store still has is written then.
pub fn run(
    every: Duration,
    closing: &Receiver<Infallible>,
    (mut observer, moment): (Observer, &dyn Fn() -> Moment),
    metrics: &ExporterMetrics,
    render: impl Fn(&mut Vec<u8>, &Observed),
) {
    loop {
        let over = closing.recv_timeout(every) != Err(RecvTimeoutError::Timeout);
        let observed = observer.observe(&moment());
        metrics.add_dropped(Reason::Missed, observer.take_missed());
        let (points, written) = write(&mut io::stdout().lock(), &observed, &render);
        match written {
            Ok(()) => metrics.add_sent(points),
            Err(error) => {
                tracing::warn!(%error, points, "samples could not be written to standard output");
                metrics.add_dropped(Reason::Rejected, points);
                if error.kind() == ErrorKind::BrokenPipe {
                    tracing::error!("standard output was closed by its reader; --storage_driver=stdout stops");
                    return;
                }
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
    render: &impl Fn(&mut Vec<u8>, &Observed),
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
