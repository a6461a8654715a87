//! Starts the exporters that were asked for.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinSet;
use tracing::info;

use super::DaemonError;
use super::answers::Answers;
use crate::push::observe::{Extent, Observed, Observer};
use crate::push::{ExporterMetrics, Options, Queue, Transport, deliver, otlp, produce, remote_write, stdout};
use crate::units::WallTime;
use crate::views::docker::Engine as _;
use crate::views::source::{Host as _, Status as _};
use crate::views::storage_line;

/// Starts them; they end by themselves when the answers close, after a last attempt to send what they have.
pub(super) fn start(options: &Options, answers: &Arc<Answers>) -> Result<JoinSet<()>, DaemonError> {
    let metrics = answers.push_metrics();
    let mut tasks = JoinSet::new();
    if let Some(options) = &options.otlp {
        let exporter = otlp::Exporter::new(options)?;
        let receiver = options.receiver.clone();
        info!(url = %receiver.url, every = ?receiver.interval, "OTLP metrics are pushed");
        let (answers, metrics) = (Arc::clone(answers), metrics.exporter("otlp"));
        let queue = Arc::new(Queue::new(receiver.queue_size));
        tasks.spawn(send(Arc::clone(&queue), exporter, metrics.clone()));
        tasks.spawn(async move {
            let mut observer = Observer::new(Arc::clone(answers.engine().store()), Extent::Newest);
            let make = || {
                let machine = answers.machine();
                let memory = machine.memory.map(|memory| memory.0);
                let host = otlp::Host { name: answers.host_name(), id: machine.machine_id.clone(), memory };
                otlp::requests(&observer.observe(), &host)
            };
            produce(receiver.interval, answers.closed(), &queue, &metrics, make).await;
        });
    }
    if let Some(receiver) = options.remote_write.clone() {
        info!(url = %receiver.url, every = ?receiver.interval, "metrics are pushed by remote write");
        let exporter = remote_write::Exporter::new(&receiver);
        let (answers, metrics) = (Arc::clone(answers), metrics.exporter("remote_write"));
        let queue = Arc::new(Queue::new(receiver.queue_size));
        tasks.spawn(send(Arc::clone(&queue), exporter, metrics.clone()));
        tasks.spawn(async move {
            let target = [("job", "collector".to_owned()), ("instance", answers.host_name())];
            let mut writer = remote_write::Writer::new(target.map(|(key, value)| (key.to_owned(), value)).into());
            let make = || writer.requests(&answers.metrics(), WallTime::from(SystemTime::now()));
            produce(receiver.interval, answers.closed(), &queue, &metrics, make).await;
        });
    }
    if let Some(every) = options.stdout {
        let (answers, metrics) = (Arc::clone(answers), metrics.exporter("stdout"));
        tasks.spawn(async move {
            let observer = Observer::new(Arc::clone(answers.engine().store()), Extent::Every);
            let machine: Arc<str> = answers.host_name().into();
            let render = move |out: &mut Vec<u8>, observed: &Observed| {
                for sample in &observed.samples {
                    storage_line::append(out, &machine, &observed.name, observed.identity.as_deref(), sample);
                }
            };
            stdout::run(every, answers.closed(), observer, &metrics, render).await;
        });
    }
    Ok(tasks)
}

async fn send(queue: Arc<Queue>, exporter: impl Transport, metrics: ExporterMetrics) {
    deliver(&queue, &exporter, &metrics).await;
}
