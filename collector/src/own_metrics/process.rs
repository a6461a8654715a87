//! The `process_*` families that client libraries of Prometheus have, of the collector's own process. cAdvisor's
//! dashboards and alerts look at them for what the exporter itself takes.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

use crate::kernel::own_process::{Limit, OwnProcess};

/// One family without labels.
#[derive(Clone, Copy, Debug)]
struct ProcessFamily {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

impl ProcessFamily {
    const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::COUNTER }
    }

    const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::GAUGE }
    }

    fn with(self, value: f64) -> MetricFamily {
        let metric = if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::default();
            metric.set_counter(counter);
            metric
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            Metric::from_gauge(gauge)
        };
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(vec![metric]);
        family
    }
}

const CPU: ProcessFamily =
    ProcessFamily::counter("process_cpu_seconds_total", "CPU time of the collector, user and system.");
const OPEN: ProcessFamily = ProcessFamily::gauge("process_open_fds", "Open file descriptors.");
const MOST: ProcessFamily = ProcessFamily::gauge("process_max_fds", "Limit of open file descriptors.");
const VIRTUAL: ProcessFamily =
    ProcessFamily::gauge("process_virtual_memory_bytes", "Virtual memory of the collector, in bytes.");
const VIRTUAL_MOST: ProcessFamily = ProcessFamily::gauge(
    "process_virtual_memory_max_bytes",
    "Limit of virtual memory, in bytes; 2^64 if there is no limit.",
);
const RESIDENT: ProcessFamily =
    ProcessFamily::gauge("process_resident_memory_bytes", "Resident memory of the collector, in bytes.");
const START: ProcessFamily =
    ProcessFamily::gauge("process_start_time_seconds", "Start time of the collector, in seconds since the Unix epoch.");
const RECEIVED: ProcessFamily = ProcessFamily::counter(
    "process_network_receive_bytes_total",
    "IP bytes that came into the collector's network namespace, not only to the collector.",
);
const SENT: ProcessFamily = ProcessFamily::counter(
    "process_network_transmit_bytes_total",
    "IP bytes that left the collector's network namespace, not only from the collector.",
);

const ALL: [ProcessFamily; 9] = [CPU, OPEN, MOST, VIRTUAL, VIRTUAL_MOST, RESIDENT, START, RECEIVED, SENT];

/// Reads them when the registry is asked; what cannot be read is left out.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    described: Vec<Desc>,
}

impl ProcessMetrics {
    /// # Errors
    /// Never with the names above, which a test goes through.
    pub(super) fn new() -> prometheus::Result<Self> {
        let describe = |family: ProcessFamily| {
            Desc::new(family.name.to_owned(), family.help.to_owned(), Vec::new(), HashMap::new())
        };
        Ok(Self { described: ALL.into_iter().map(describe).collect::<Result<_, _>>()? })
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.described.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let own = OwnProcess::read();
        // Where there is no limit, the client library in Go reports this.
        let limit = |limit: Option<Limit>| {
            limit.map(|limit| match limit {
                Limit::At(most) => most as f64,
                Limit::None => u64::MAX as f64,
            })
        };
        let values = [
            (CPU, own.cpu.map(|time| time.as_secs_f64())),
            (OPEN, own.open_descriptors.map(|count| count as f64)),
            (MOST, limit(own.most_descriptors)),
            (VIRTUAL, own.address_space.map(|size| size.0 as f64)),
            (VIRTUAL_MOST, limit(own.most_address_space)),
            (RESIDENT, own.resident.map(|size| size.0 as f64)),
            (START, own.started.map(|since_epoch| since_epoch.as_secs_f64())),
            (RECEIVED, own.network.map(|network| network.received.0 as f64)),
            (SENT, own.network.map(|network| network.sent.0 as f64)),
        ];
        values.into_iter().filter_map(|(family, value)| Some(family.with(value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nine_are_reported() {
        let metrics = ProcessMetrics::new().unwrap();
        let families = metrics.collect();
        let names: Vec<_> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(names.len(), ALL.len(), "{names:?}");
        assert!(ALL.iter().all(|family| names.contains(&family.name)), "{names:?}");
        let gauge = |name: &str| {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            family.get_metric()[0].get_gauge().get_value()
        };
        assert!(gauge(OPEN.name) >= 3.0 && gauge(OPEN.name) <= gauge(MOST.name));
        assert!(gauge(RESIDENT.name) > 100_000.0 && gauge(RESIDENT.name) <= gauge(VIRTUAL.name));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 3600.0..=now + 1.0).contains(&gauge(START.name)), "{} at {now}", gauge(START.name));
    }
}
