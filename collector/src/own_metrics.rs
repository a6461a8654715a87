//! The collector's metrics about itself, in one registry. The containers' own metric families are rendered by their
//! view and follow these in the same answer.

mod answers;
mod connections;
mod history;
mod process;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

pub use answers::AnswerMetrics;

pub use connections::ConnectionMetrics;

use crate::archive::HistoryCounts;
use crate::bounds::Bound;
use crate::degradations::Degradations;
use crate::kernel::probes::RecordKind;
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::load::CounterReader;
use crate::push::Metrics as PushMetrics;
use crate::sampler::engine::Engine;
use crate::sampler::metrics::Metrics as SamplerMetrics;
use crate::units::WallTime;

/// The registry and the metrics that are brought up to date when they are asked for.
#[derive(Debug)]
pub struct OwnMetrics {
    registry: Registry,
    sampler: SamplerMetrics,
    received: IntCounterVec,
    lost: IntCounterVec,
    read_errors: IntCounterVec,
    bounds: IntCounterVec,
    containers: IntGauge,
    history_bytes: IntGauge,
    map_bytes: IntGauge,
    event_map_bytes: AtomicU64,
    descriptors: IntGauge,
    memory_records: IntCounterVec,
    memory_compared: IntCounterVec,
    degraded: GaugeVec,
    degradations: Degradations,
    configuration: GaugeVec,
    push: PushMetrics,
    connections: ConnectionMetrics,
    application: IntCounterVec,
    left_out: IntCounter,
    hanging: GaugeVec,
    rendering: Histogram,
    answers: AnswerMetrics,
    history: OnceLock<Option<history::HistoryMetrics>>,
    /// Of two scrapes at once, each must add its own difference only.
    updating: Mutex<()>,
}

/// What became of a configuration that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationOutcome {
    /// It is in force.
    Applied,
    /// It cannot be used: the one before is in force.
    Rejected,
}

impl OwnMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics have one name, which a test rules out.
    pub fn new(degradations: Degradations) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let by = |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let metrics = Self {
            sampler: SamplerMetrics::register(&registry)?,
            received: by("collector_events_received_total", "Events the kernel programs sent, by kind.", "kind")?,
            lost: by(
                "collector_events_lost_total",
                "Events lost in the kernel because the buffer was full, by kind.",
                "kind",
            )?,
            read_errors: by("collector_read_errors_total", "Kernel files that could not be read, by name.", "file")?,
            bounds: by(
                "collector_bound_exceeded_total",
                "Times that something was larger than its bound, by bound (docs/limits.md).",
                "bound",
            )?,
            containers: IntGauge::new("collector_containers", "Containers listed now.")?,
            history_bytes: IntGauge::new("collector_history_bytes", "Memory of the samples that are kept, in bytes.")?,
            map_bytes: IntGauge::new("collector_map_bytes", "Kernel memory of the eBPF programs' maps, in bytes.")?,
            event_map_bytes: AtomicU64::new(0),
            descriptors: IntGauge::new("collector_open_descriptors", "Descriptors of statistics files kept open.")?,
            memory_records: by(
                "collector_kernel_memory_records_total",
                "Times that counters of a container were read from kernel memory instead of files, by family.",
                "family",
            )?,
            memory_compared: by(
                "collector_kernel_memory_compared_total",
                "Times that counters in kernel memory were compared with the files, by family.",
                "family",
            )?,
            degradations,
            degraded: GaugeVec::new(
                Opts::new("collector_degraded", "1 for each facility the collector has to do without."),
                &["facility"],
            )?,
            configuration: GaugeVec::new(
                Opts::new(
                    "collector_config_read_timestamp_seconds",
                    "When the configuration was read last, since 1970, by what became of it.",
                ),
                &["outcome"],
            )?,
            push: PushMetrics::register(&registry)?,
            connections: ConnectionMetrics::register(&registry)?,
            application: by(
                "collector_application_polls_total",
                "Attempts to read application metrics, by result.",
                "result",
            )?,
            left_out: IntCounter::new(
                "collector_application_left_out_values_total",
                "Values of applications left out because a name or a label is too long.",
            )?,
            hanging: GaugeVec::new(
                Opts::new(
                    "collector_hanging_threads",
                    "Threads that wait for a read that does not return, by what is read.",
                ),
                &["reads"],
            )?,
            rendering: Histogram::with_opts(
                HistogramOpts::new("collector_metrics_render_seconds", "Time that rendering /metrics took.")
                    .buckets(vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]),
            )?,
            answers: AnswerMetrics::register(&registry)?,
            history: OnceLock::new(),
            updating: Mutex::new(()),
            registry,
        };
        for kind in RecordKind::ALL {
            metrics.received.with_label_values(&[kind.name()]);
            metrics.lost.with_label_values(&[kind.name()]);
        }
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.received.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.read_errors.clone()))?;
        registry.register(Box::new(metrics.bounds.clone()))?;
        registry.register(Box::new(metrics.configuration.clone()))?;
        registry.register(Box::new(metrics.containers.clone()))?;
        registry.register(Box::new(metrics.history_bytes.clone()))?;
        registry.register(Box::new(metrics.map_bytes.clone()))?;
        registry.register(Box::new(metrics.memory_records.clone()))?;
        registry.register(Box::new(metrics.memory_compared.clone()))?;
        registry.register(Box::new(metrics.descriptors.clone()))?;
        registry.register(Box::new(metrics.degraded.clone()))?;
        registry.register(Box::new(metrics.application.clone()))?;
        registry.register(Box::new(metrics.left_out.clone()))?;
        registry.register(Box::new(metrics.hanging.clone()))?;
        registry.register(Box::new(metrics.rendering.clone()))?;
        registry.register(Box::new(process::ProcessMetrics::new()?))?;
        Ok(metrics)
    }

    /// The sampler's part.
    pub fn sampler(&self) -> SamplerMetrics {
        self.sampler.clone()
    }

    /// The exporters' part.
    pub fn push(&self) -> &PushMetrics {
        &self.push
    }

    /// The part about answers.
    pub fn answers(&self) -> &AnswerMetrics {
        &self.answers
    }

    /// The server's part.
    pub fn connections(&self) -> &ConnectionMetrics {
        &self.connections
    }

    /// The counter of attempts to read applications.
    pub fn application(&self) -> IntCounterVec {
        self.application.clone()
    }

    /// The counter of their values that were left out.
    pub fn left_out_values(&self) -> IntCounter {
        self.left_out.clone()
    }

    /// How many threads hang, by what they read.
    pub fn set_hanging(&self, hanging: impl Iterator<Item = (&'static str, usize)>) {
        for (reads, count) in hanging {
            self.hanging.with_label_values(&[reads]).set(count as f64);
        }
    }

    /// The size of the maps for kernel events, which does not change while they exist.
    pub fn set_map_bytes(&self, bytes: u64) {
        self.event_map_bytes.store(bytes, Ordering::Relaxed);
        self.map_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The configuration was read now, and is in force or not.
    pub fn configuration_read(&self, outcome: ConfigurationOutcome, at: WallTime) {
        let outcome = match outcome {
            ConfigurationOutcome::Applied => "applied",
            ConfigurationOutcome::Rejected => "rejected",
        };
        self.configuration.with_label_values(&[outcome]).set(at.0 as f64 / 1e9);
    }

    /// Rendering the metrics of all containers took so long.
    pub fn rendered(&self, took: Duration) {
        self.rendering.observe(took.as_secs_f64());
    }

    /// What became of the history on disk.
    pub fn set_history(&self, counts: &HistoryCounts) {
        let _one_at_a_time = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        // No other metric has these names, which a test shows.
        let history = self.history.get_or_init(|| history::HistoryMetrics::register(&self.registry).ok());
        if let Some(history) = history {
            history.update(counts);
        }
    }

    /// Everything, by name.
    pub fn gather(&self, engine: &Arc<Engine>, counters: Option<&CounterReader>) -> Vec<MetricFamily> {
        self.update(engine, counters);
        self.registry.gather()
    }

    fn update(&self, engine: &Arc<Engine>, counters: Option<&CounterReader>) {
        let _one_at_a_time = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let catch_up = |vector: &IntCounterVec, label: &str, value: u64| {
            let counter = vector.with_label_values(&[label]);
            counter.inc_by(value.saturating_sub(counter.get()));
        };
        if let Some(counts) = counters.and_then(|counters| counters.read().ok()) {
            for kind in RecordKind::ALL {
                catch_up(&self.received, kind.name(), counts.produced(kind).saturating_sub(counts.lost(kind)));
                catch_up(&self.lost, kind.name(), counts.lost(kind));
            }
        }
        self.degraded.reset();
        for facility in self.degradations.facilities() {
            self.degraded.with_label_values(&[facility]).set(1.0);
        }
        for (file, count) in engine.context().errors().counts() {
            catch_up(&self.read_errors, file, count);
        }
        if let Some(memory) = engine.context().kernel_memory() {
            let maps = self.event_map_bytes.load(Ordering::Relaxed).saturating_add(memory.counters().map_bytes());
            self.map_bytes.set(i64::try_from(maps).unwrap_or(i64::MAX));
            for family in CounterFamily::ALL.into_iter().filter(|family| memory.counters().has(*family)) {
                let counts = memory.counts(family);
                catch_up(&self.memory_records, family.name(), counts.records);
                catch_up(&self.memory_compared, family.name(), counts.compared);
            }
        }
        for bound in Bound::ALL {
            catch_up(&self.bounds, bound.name(), bound.count());
        }
        let containers = engine.store().with_prefix(b"/");
        self.containers.set(containers.len() as i64);
        self.history_bytes.set(containers.iter().map(|container| container.history_memory()).sum::<usize>() as i64);
        self.descriptors.set(engine.context().budget().kept() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_used_once() {
        let metrics = OwnMetrics::new(Degradations::default()).unwrap();
        metrics.set_history(&HistoryCounts { bytes: 5, lost_events: 2, ..HistoryCounts::default() });
        metrics.set_history(&HistoryCounts { bytes: 4, lost_events: 3, ..HistoryCounts::default() });
        let families = metrics.registry.gather();
        let lost = families.iter().find(|family| family.name() == "collector_history_lost_total").unwrap();
        let counts: Vec<_> = lost.get_metric().iter().map(|metric| metric.get_counter().get_value()).collect();
        assert_eq!(counts, [3.0, 0.0]);
    }
}
