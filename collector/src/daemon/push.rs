//! Starts the exporters that were asked for.

use std::convert::Infallible;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::task::{JoinSet, block_in_place};
use tracing::info;

use super::{DaemonError, system};
use crate::api::backend::{Host as _, Sharing, Status as _};
use crate::api::cadvisor::stdout_line;
use crate::api::coding::Encoding;
use crate::api::docker::ContainerEngine as _;
use crate::api::prometheus::{Format, Scrape};
use crate::daemon::backend::Backend;
use crate::push::observe::{Observed, Observer, SampleExtent};
use crate::push::{
    ExporterMetrics, InvalidReceiver, Options, OtlpOptions, Queue, Receiver, Request, Source, Transport, deliver, otlp,
    produce, remote_write, stdout,
};
use crate::supervisor::Supervisor;
use crate::units::WallTime;

/// Starts them; they end by themselves when the answers close, after a last attempt to send what they have.
pub(super) fn start(
    options: &Options,
    answers: &Arc<Backend>,
    supervisor: &Supervisor,
) -> Result<JoinSet<()>, DaemonError> {
    let invalid = |flag| move |source| DaemonError::Receiver { flag, source };
    let mut tasks = Tasks { set: JoinSet::new(), supervisor };
    if let Some(options) = &options.otlp {
        start_otlp(options, answers, &mut tasks).map_err(invalid("otlp_endpoint"))?;
    }
    if let Some(receiver) = &options.remote_write {
        start_remote_write(receiver, answers, &mut tasks).map_err(invalid("remote_write_url"))?;
    }
    if let Some(every) = options.stdout {
        start_stdout(every, answers, &mut tasks).map_err(system("starting the thread that writes samples"))?;
    }
    Ok(tasks.set)
}

/// The tasks that were started.
struct Tasks<'a> {
    set: JoinSet<()>,
    supervisor: &'a Supervisor,
}

impl Tasks<'_> {
    fn start(&mut self, name: &str, work: impl Future<Output = ()> + Send + 'static) {
        self.supervisor.task(&mut self.set, name, work);
    }
}

fn start_otlp(options: &OtlpOptions, answers: &Arc<Backend>, tasks: &mut Tasks<'_>) -> Result<(), InvalidReceiver> {
    let exporter = otlp::Exporter::new(options)?;
    let Receiver { url, interval, queue_size, .. } = options.receiver.clone();
    info!(%url, every = ?interval, "OTLP metrics are pushed");
    let (answers, metrics) = (Arc::clone(answers), answers.push_metrics().exporter("otlp"));
    let queue = Arc::new(Queue::new(queue_size));
    tasks.start("otlp-send", send(Arc::clone(&queue), exporter, metrics.clone()));
    let observer = Observer::new(Arc::clone(answers.engine().store()), SampleExtent::Newest);
    let closed = answers.closed();
    let source = Containers { answers, observer };
    tasks.start("otlp", async move { produce(interval, closed, &queue, &metrics, source).await });
    Ok(())
}

/// What OTLP sends.
struct Containers {
    answers: Arc<Backend>,
    observer: Observer,
}

impl Source for Containers {
    async fn requests(&mut self) -> Vec<Request> {
        let machine = self.answers.machine();
        let memory = machine.memory.map(|memory| memory.0);
        let host = otlp::Host { name: self.answers.host_name(), id: machine.machine_id.clone(), memory };
        // A thousand containers take some milliseconds.
        block_in_place(|| otlp::requests(&self.observer.observe(), &host))
    }
}

fn start_remote_write(
    receiver: &Receiver,
    answers: &Arc<Backend>,
    tasks: &mut Tasks<'_>,
) -> Result<(), InvalidReceiver> {
    let exporter = remote_write::Exporter::new(receiver)?;
    let Receiver { url, interval, queue_size, .. } = receiver.clone();
    info!(%url, every = ?interval, "metrics are pushed by remote write");
    let (answers, metrics) = (Arc::clone(answers), answers.push_metrics().exporter("remote_write"));
    let queue = Arc::new(Queue::new(queue_size));
    tasks.start("remote-write-send", send(Arc::clone(&queue), exporter, metrics.clone()));
    let target = [("job", "collector".to_owned()), ("instance", answers.host_name())];
    let writer = remote_write::Writer::new(target.map(|(key, value)| (key.to_owned(), value)).into());
    let closed = answers.closed();
    let source = Series { answers, writer };
    tasks.start("remote-write", async move { produce(interval, closed, &queue, &metrics, source).await });
    Ok(())
}

/// What a scrape would get.
struct Series {
    answers: Arc<Backend>,
    writer: remote_write::Writer,
}

impl Source for Series {
    async fn requests(&mut self) -> Vec<Request> {
        // Compressed, so that it need not be in memory whole.
        let scrape = Scrape { format: Format::RemoteWrite, encoding: Encoding::Zstd, ..Scrape::default() };
        let rendered = self.answers.metrics(scrape, Sharing::SameMoment).await;
        let page = match rendered.and_then(|rendering| Ok(rendering.concat()?)) {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "nothing is pushed by remote write this time");
                return Vec::new();
            }
        };
        let now = WallTime::from(SystemTime::now());
        // Of a thousand containers a tenth of a second.
        block_in_place(|| self.writer.requests(page, now)).unwrap_or_else(|error| {
            tracing::error!(%error, "the series for remote write cannot be read");
            Vec::new()
        })
    }
}

fn start_stdout(every: Duration, answers: &Arc<Backend>, tasks: &mut Tasks<'_>) -> std::io::Result<()> {
    let metrics = answers.push_metrics().exporter("stdout");
    let observer = Observer::new(Arc::clone(answers.engine().store()), SampleExtent::Every);
    let machine = answers.host_name();
    let render = move |out: &mut Vec<u8>, observed: &Observed| {
        for sample in &observed.samples {
            stdout_line::append(out, &machine, &observed.name, observed.identity.as_deref(), sample);
        }
    };
    let (open, closing) = mpsc::channel::<Infallible>();
    let (running, ended) = oneshot::channel::<Infallible>();
    tasks.supervisor.thread("output", move || {
        stdout::run(every, &closing, observer, &metrics, render);
        drop(running);
        // It may have ended early, for want of a reader.
        let _ = closing.recv();
    })?;
    let closed = answers.closed();
    tasks.start("output-end", async move {
        closed.await;
        drop(open);
        // Nothing is ever sent: an error is the end.
        let _ = ended.await;
    });
    Ok(())
}

async fn send(queue: Arc<Queue>, exporter: impl Transport, metrics: ExporterMetrics) {
    deliver(&queue, &exporter, &metrics).await;
}
