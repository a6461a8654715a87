//! Starts the exporters that are asked for, and others in their places when that changes.

use std::convert::Infallible;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinSet, block_in_place};
use tracing::info;

use super::{DaemonError, system};
use crate::api::backend::{Host as _, Sharing, Status as _};
use crate::api::cadvisor::stdout_line;
use crate::api::docker::ContainerEngine as _;
use crate::api::prometheus::{Format, Scrape};
use crate::daemon::backend::Backend;
use crate::push::observe::{Moment, Observed, Observer, SampleExtent};
use crate::push::{
    Compression, Events, InvalidReceiver, Options, OtlpOptions, Phase, Queue, Receiver, RemoteWriteOptions, Request,
    Source, StatsdOptions, Transport, deliver, influx, otlp, produce, remote_write, statsd, stdout,
};
use crate::supervisor::Supervisor;
use crate::units::WallTime;

/// One way to push, and what it is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Otlp,
    RemoteWrite,
    Influxdb,
    Statsd,
    Stdout,
}

impl Way {
    const ALL: [Self; 5] = [Self::Otlp, Self::RemoteWrite, Self::Influxdb, Self::Statsd, Self::Stdout];

    fn is_same(self, one: &Options, other: &Options) -> bool {
        match self {
            Self::Otlp => one.otlp == other.otlp,
            Self::RemoteWrite => one.remote_write == other.remote_write,
            Self::Influxdb => one.influxdb == other.influxdb,
            Self::Statsd => one.statsd == other.statsd,
            Self::Stdout => one.stdout == other.stdout,
        }
    }

    /// Starts it, if it is asked for.
    fn start(self, options: &Options, answers: &Arc<Backend>, tasks: &mut Tasks) -> Result<(), DaemonError> {
        let invalid = |flag| move |source| DaemonError::Receiver { flag, source };
        match (self, options) {
            (Self::Otlp, Options { otlp: Some(options), .. }) => {
                start_otlp(options, answers, tasks).map_err(invalid("otlp_endpoint"))
            }
            (Self::RemoteWrite, Options { remote_write: Some(options), .. }) => {
                start_remote_write(options, answers, tasks).map_err(invalid("remote_write_url"))
            }
            (Self::Influxdb, Options { influxdb: Some(receiver), .. }) => {
                start_influxdb(receiver, answers, tasks).map_err(invalid("storage_driver_host"))
            }
            (Self::Statsd, Options { statsd: Some(options), .. }) => {
                start_statsd(options, answers, tasks);
                Ok(())
            }
            (Self::Stdout, Options { stdout: Some(every), .. }) => {
                start_stdout(*every, answers, tasks).map_err(system("starting the thread that writes samples"))
            }
            _ => Ok(()),
        }
    }
}

/// Fails when one of these could not be started.
pub(super) fn check(options: &Options) -> Result<(), DaemonError> {
    let invalid = |flag| move |source| DaemonError::Receiver { flag, source };
    if let Some(options) = &options.otlp {
        otlp::Exporter::new(options, otlp::Signal::Metrics).map_err(invalid("otlp_endpoint"))?;
    }
    if let Some(options) = &options.remote_write {
        remote_write::Exporter::new(options).map_err(invalid("remote_write_url"))?;
    }
    if let Some(receiver) = &options.influxdb {
        influx::Exporter::new(receiver).map_err(invalid("storage_driver_host"))?;
    }
    Ok(())
}

/// The exporters that run. They end by themselves when the answers close, after a last attempt to send what they have.
pub(super) struct Exporters {
    answers: Arc<Backend>,
    supervisor: Supervisor,
    began: WallTime,
    options: Options,
    running: Vec<(Way, Tasks)>,
    /// Of those that were stopped: they may still send what they have.
    ending: JoinSet<()>,
}

impl Exporters {
    /// Starts those that are asked for.
    pub(super) fn start(
        options: Options,
        answers: &Arc<Backend>,
        supervisor: &Supervisor,
    ) -> Result<Self, DaemonError> {
        let (answers, supervisor) = (Arc::clone(answers), supervisor.clone());
        let (running, ending) = (Vec::new(), JoinSet::new());
        let began = WallTime::from(SystemTime::now());
        let mut exporters = Self { answers, supervisor, began, options: Options::default(), running, ending };
        exporters.apply(options)?;
        Ok(exporters)
    }

    /// Stops those that are asked for something else than before, after a last attempt to send what they have, and starts
    /// others in their places.
    pub(super) fn apply(&mut self, options: Options) -> Result<(), DaemonError> {
        for way in Way::ALL.into_iter().filter(|way| !way.is_same(&self.options, &options)) {
            if let Some(place) = self.running.iter().position(|(running, _)| *running == way) {
                let (_, tasks) = self.running.swap_remove(place);
                tasks.stop();
                self.ending.spawn(async move { _ = tasks.set.join_all().await });
            }
            let mut tasks = Tasks::new(&self.supervisor, self.began);
            way.start(&options, &self.answers, &mut tasks)?;
            if !tasks.set.is_empty() {
                self.running.push((way, tasks));
            }
        }
        self.options = options;
        // What ended since the last time.
        while self.ending.try_join_next().is_some() {}
        Ok(())
    }

    /// Waits until all have ended.
    pub(super) async fn join_all(mut self) {
        for (_, tasks) in self.running {
            self.ending.spawn(async move { _ = tasks.set.join_all().await });
        }
        self.ending.join_all().await;
    }
}

/// The tasks of one exporter.
struct Tasks {
    set: JoinSet<()>,
    /// When the first ones were started.
    began: WallTime,
    supervisor: Supervisor,
    stopped: watch::Sender<bool>,
}

impl Tasks {
    fn new(supervisor: &Supervisor, began: WallTime) -> Self {
        Self { set: JoinSet::new(), began, supervisor: supervisor.part(), stopped: watch::Sender::new(false) }
    }

    fn start(&mut self, name: &str, work: impl Future<Output = ()> + Send + 'static) {
        self.supervisor.task(&mut self.set, name, work);
    }

    /// They end soon.
    fn stop(&self) {
        self.supervisor.release();
        self.stopped.send_replace(true);
    }

    /// Waits until they are to end.
    fn closed(&self, answers: &Backend) -> impl Future<Output = ()> + Send + use<> {
        let (closed, mut stopped) = (answers.closed(), self.stopped.subscribe());
        async move {
            tokio::select! {
                () = closed => {}
                // An error is the end of who could stop them.
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        }
    }

    /// Starts an exporter: what makes requests, a queue, and who sends them.
    fn export(
        &mut self,
        name: &'static str,
        (destination, interval, queue_size): (&str, Duration, usize),
        answers: &Arc<Backend>,
        source: impl Source + 'static,
        transport: impl Transport + Send + Sync + 'static,
    ) {
        info!(to = destination, every = ?interval, exporter = name, "values are pushed");
        let metrics = answers.push_metrics().exporter(name);
        let queue = Arc::new(Queue::new(queue_size));
        // A machine without an id has at least a name.
        let identity = answers.machine().machine_id.clone().unwrap_or_else(|| answers.host_name());
        let phase = Phase::new(interval, &identity);
        let (waiting, counted) = (Arc::clone(&queue), metrics.clone());
        self.start(&format!("{name}-send"), async move { deliver(&waiting, &transport, &counted).await });
        let closed = self.closed(answers);
        self.start(name, async move { produce(phase, closed, &queue, &metrics, source).await });
    }
}

fn start_otlp(options: &OtlpOptions, answers: &Arc<Backend>, tasks: &mut Tasks) -> Result<(), InvalidReceiver> {
    let exporter = otlp::Exporter::new(options, otlp::Signal::Metrics)?;
    let observer = Observer::new(Arc::clone(answers.engine().store()), SampleExtent::Newest);
    let style = otlp::Style { temporality: options.temporality, details: options.details };
    let containers =
        Containers { machine: Reporter::new(answers, tasks.began), observer, style, compression: options.compression };
    tasks.export("otlp", to(&options.receiver), answers, containers, exporter);
    if options.events == Events::Pushed {
        let exporter = otlp::Exporter::new(options, otlp::Signal::Logs)?;
        let logs = otlp::EventLogs::new(Arc::clone(answers.engine().store()));
        let events =
            ContainerEvents { machine: Reporter::new(answers, tasks.began), logs, compression: options.compression };
        tasks.export("otlp_logs", to(&options.receiver), answers, events, exporter);
    }
    Ok(())
}

/// Where to, how often, and how many requests wait. Neither a query nor a header is shown.
fn to(receiver: &Receiver) -> (&str, Duration, usize) {
    (receiver.url.authority().map_or("", http::uri::Authority::as_str), receiver.interval, receiver.queue_size)
}

fn start_influxdb(receiver: &Receiver, answers: &Arc<Backend>, tasks: &mut Tasks) -> Result<(), InvalidReceiver> {
    let exporter = influx::Exporter::new(receiver)?;
    let observer = Observer::new(Arc::clone(answers.engine().store()), SampleExtent::Every);
    let points = InfluxPoints { machine: Reporter::new(answers, tasks.began), observer };
    tasks.export("influxdb", to(receiver), answers, points, exporter);
    Ok(())
}

/// What `InfluxDB` is sent.
struct InfluxPoints {
    machine: Reporter,
    observer: Observer,
}

impl Source for InfluxPoints {
    async fn requests(&mut self) -> Vec<Request> {
        let host = self.machine.host();
        let moment = moment(&self.machine.answers);
        block_in_place(|| influx::requests(&self.observer.observe(&moment), &host.name, host.memory))
    }

    fn take_missed(&mut self) -> u64 {
        self.observer.take_missed()
    }
}

fn start_statsd(options: &StatsdOptions, answers: &Arc<Backend>, tasks: &mut Tasks) {
    let StatsdOptions { address, namespace, interval, queue_size } = options;
    let observer = Observer::new(Arc::clone(answers.engine().store()), SampleExtent::Newest);
    let gauges = Gauges { answers: Arc::clone(answers), observer, namespace: namespace.clone() };
    tasks.export("statsd", (address, *interval, *queue_size), answers, gauges, statsd::Exporter::new(address));
}

/// What statsd is sent.
struct Gauges {
    answers: Arc<Backend>,
    observer: Observer,
    namespace: String,
}

impl Source for Gauges {
    async fn requests(&mut self) -> Vec<Request> {
        let moment = moment(&self.answers);
        block_in_place(|| statsd::requests(&self.observer.observe(&moment), &self.namespace))
    }

    fn take_missed(&mut self) -> u64 {
        self.observer.take_missed()
    }
}

/// Now, and what the store does not know of it.
fn moment(answers: &Backend) -> Moment {
    let engine = answers.engine();
    Moment { at: WallTime::from(SystemTime::now()), kinds: engine.context().kinds(), exits: engine.metrics().exits() }
}

/// What OTLP reports about the machine.
struct Reporter {
    answers: Arc<Backend>,
    /// When the exporters were started for the first time.
    began: WallTime,
    since: WallTime,
}

impl Reporter {
    fn new(answers: &Arc<Backend>, began: WallTime) -> Self {
        Self { answers: Arc::clone(answers), began, since: WallTime::from(SystemTime::now()) }
    }

    fn host(&self) -> otlp::Host {
        let machine = self.answers.machine();
        let memory = machine.memory.map(|memory| memory.0);
        let (name, id) = (self.answers.host_name(), machine.machine_id.clone());
        otlp::Host { name, id, memory, began: self.began, since: self.since }
    }
}

/// What OTLP sends of events.
struct ContainerEvents {
    machine: Reporter,
    logs: otlp::EventLogs,
    compression: Compression,
}

impl Source for ContainerEvents {
    async fn requests(&mut self) -> Vec<Request> {
        let host = self.machine.host();
        block_in_place(|| self.logs.requests(&host, self.compression))
    }

    fn take_missed(&mut self) -> u64 {
        self.logs.take_missed()
    }
}

/// What OTLP sends of samples.
struct Containers {
    machine: Reporter,
    observer: Observer,
    style: otlp::Style,
    compression: Compression,
}

impl Source for Containers {
    async fn requests(&mut self) -> Vec<Request> {
        let host = self.machine.host();
        let moment = moment(&self.machine.answers);
        // A thousand containers take a tenth of a second.
        block_in_place(|| otlp::requests(&self.observer.observe(&moment), &host, self.style, self.compression))
    }

    fn take_missed(&mut self) -> u64 {
        self.observer.take_missed()
    }
}

fn start_remote_write(
    options: &RemoteWriteOptions,
    answers: &Arc<Backend>,
    tasks: &mut Tasks,
) -> Result<(), InvalidReceiver> {
    let exporter = remote_write::Exporter::new(options)?;
    let target = [("job", "collector".to_owned()), ("instance", answers.host_name())];
    let writer = remote_write::Writer::new(target.map(|(key, value)| (key.to_owned(), value)).into());
    let source = Series { answers: Arc::clone(answers), writer };
    tasks.export("remote_write", to(&options.receiver), answers, source, exporter);
    Ok(())
}

/// What a scrape would get.
struct Series {
    answers: Arc<Backend>,
    writer: remote_write::Writer,
}

impl Source for Series {
    async fn requests(&mut self) -> Vec<Request> {
        let scrape = Scrape { format: Format::RemoteWrite, ..Scrape::default() };
        let rendered = self.answers.metrics(scrape, Sharing::SameMoment).await;
        let page = match rendered.and_then(|rendering| Ok(rendering.concat()?)) {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "nothing is pushed by remote write this time");
                return Vec::new();
            }
        };
        let now = WallTime::from(SystemTime::now());
        // A thousand containers take some milliseconds.
        block_in_place(|| self.writer.requests(page, now)).unwrap_or_else(|error| {
            tracing::error!(%error, "the series for remote write cannot be read");
            Vec::new()
        })
    }
}

fn start_stdout(every: Duration, answers: &Arc<Backend>, tasks: &mut Tasks) -> std::io::Result<()> {
    let metrics = answers.push_metrics().exporter("stdout");
    let observer = Observer::new(Arc::clone(answers.engine().store()), SampleExtent::Every);
    let (machine, looked) = (answers.host_name(), Arc::clone(answers));
    let render = move |out: &mut Vec<u8>, observed: &Observed| {
        for sample in &observed.samples {
            stdout_line::append(out, &machine, &observed.name, observed.identity.as_deref(), sample);
        }
    };
    let (open, closing) = mpsc::channel::<Infallible>();
    let (running, ended) = oneshot::channel::<Infallible>();
    tasks.supervisor.thread("output", move || {
        stdout::run(every, &closing, (observer, &|| moment(&looked)), &metrics, render);
        drop(running);
        // It may have ended early, for want of a reader.
        let _ = closing.recv();
    })?;
    let closed = tasks.closed(answers);
    tasks.start("output-end", async move {
        closed.await;
        drop(open);
        // Nothing is ever sent: an error is the end.
        let _ = ended.await;
    });
    Ok(())
}
