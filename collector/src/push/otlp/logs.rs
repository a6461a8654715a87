//! Events of containers as OTLP logs: one record each, with the container as its resource.

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use prost::Message as _;

use super::compressed;
use super::encode::{SCHEMA, scope};
use super::resource::{Host, resource};
use super::values::{attribute, text};
use crate::push::Compression;
use crate::push::queue::Request;
use crate::sample::event::{Event, EventData, EventKind, OomKill, OomParty};
use crate::sample::identity::Identity;
use crate::store::Store;
use crate::store::event_log::{Received, Subscription};
use crate::units::{Bytes, WallTime};

/// Records in one request.
const RECORDS_PER_REQUEST: usize = 1000;

/// The events since the last time.
#[derive(Debug)]
pub struct EventLogs {
    store: Arc<Store>,
    subscription: Subscription,
    missed: u64,
}

impl EventLogs {
    /// From now on.
    pub fn new(store: Arc<Store>) -> Self {
        let subscription = store.events().subscribe(|_| true);
        Self { store, subscription, missed: 0 }
    }

    /// How many events since the last time this was asked are in no request: more happened between two pushes than wait.
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// The requests that report what happened since the last time.
    pub fn requests(&mut self, host: &Host, compression: Compression) -> Vec<Request> {
        let mut events = Vec::new();
        while let Some(received) = self.subscription.try_receive() {
            match received {
                Received::Event(event) => events.push(event),
                Received::CutOff { .. } => {
                    let lost = self.store.events().renew(&mut self.subscription);
                    tracing::warn!(lost, "more events at once than wait for a push; some are not pushed");
                    self.missed += lost;
                }
                Received::Ended => break,
            }
        }
        let now = WallTime::from(SystemTime::now());
        let request = |events: &[Arc<Event>]| {
            let resource_logs = events.iter().map(|event| self.logs(event, host, now)).collect();
            let body = ExportLogsServiceRequest { resource_logs }.encode_to_vec().into();
            Request { body: compressed(body, compression), points: events.len() as u64 }
        };
        events.chunks(RECORDS_PER_REQUEST).map(request).collect()
    }

    fn logs(&self, event: &Event, host: &Host, now: WallTime) -> ResourceLogs {
        let ended = || self.store.ended(now).into_iter().rev().find(|container| container.name() == &event.container);
        let container = self.store.get(&event.container).or_else(ended);
        let identity: Option<Arc<Identity>> = container.and_then(|container| container.identity());
        let scope_logs =
            ScopeLogs { scope: Some(scope()), log_records: vec![record(event, now)], schema_url: SCHEMA.to_owned() };
        ResourceLogs {
            resource: Some(resource(&event.container, identity.as_deref(), None, host)),
            scope_logs: vec![scope_logs],
            schema_url: SCHEMA.to_owned(),
        }
    }
}

fn record(event: &Event, now: WallTime) -> LogRecord {
    let (name, severity, words) = match event.kind {
        EventKind::Oom => {
            ("container.oom", SeverityNumber::Error, "a process of the container was killed for want of memory")
        }
        EventKind::OomKill => {
            ("container.oom_kill", SeverityNumber::Error, "the cgroup's memory limit had a process killed")
        }
        EventKind::ContainerExit => ("container.exit", SeverityNumber::Info, "the container's process ended"),
        EventKind::ContainerCreation => ("container.creation", SeverityNumber::Info, "the container appeared"),
        EventKind::ContainerDeletion => ("container.deletion", SeverityNumber::Info, "the container ended"),
    };
    let mut attributes = vec![text("event.name", name)];
    let mut words = words.to_owned();
    match &event.data {
        EventData::Oom(kill) => oom(kill, &mut attributes),
        EventData::Exit(exit) | EventData::Deletion { exit: Some(exit), .. } => {
            words = format!("{words}: {}", exit.in_words(&event.container));
            attributes.extend([
                number("process.pid", exit.pid.into()),
                lossy("process.executable.name", &exit.command),
                attribute("process.exit.code", any_value::Value::IntValue(exit.code().into())),
                text("container.exit.reason", exit.reason().name()),
            ]);
        }
        EventData::None | EventData::Deletion { .. } => {}
    }
    let body = AnyValue { value: Some(any_value::Value::StringValue(words)) };
    LogRecord {
        time_unix_nano: event.at.0,
        observed_time_unix_nano: now.0,
        severity_number: severity.into(),
        severity_text: if severity == SeverityNumber::Error { "ERROR" } else { "INFO" }.to_owned(),
        body: Some(body),
        attributes,
        event_name: name.to_owned(),
        ..LogRecord::default()
    }
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn lossy(key: &str, value: &[u8]) -> KeyValue {
    text(key, &String::from_utf8_lossy(value))
}

fn oom(kill: &OomKill, attributes: &mut Vec<KeyValue>) {
    let OomKill { victim, trigger, limit_owner, constraint, uid, oom_score_adj, sizes, page_tables } = kill;
    let OomParty { pid, comm, container } = victim;
    attributes.extend(pid.map(|pid| number("process.pid", pid.into())));
    attributes.extend(comm.as_deref().map(|comm| lossy("process.executable.name", comm)));
    attributes.extend(container.as_deref().map(|path| lossy("process.linux.cgroup", path)));
    attributes.extend(uid.map(|uid| number("process.user.id", uid.into())));
    attributes.extend(limit_owner.as_deref().map(|path| lossy("oom.limit.cgroup.path", path)));
    attributes.extend((!constraint.name().is_empty()).then(|| text("oom.constraint", constraint.name())));
    attributes.extend(
        oom_score_adj.map(|adjustment| attribute("oom.score_adj", any_value::Value::IntValue(adjustment.into()))),
    );
    attributes.extend(trigger.pid.map(|pid| number("oom.trigger.process.pid", pid.into())));
    attributes.extend(trigger.comm.as_deref().map(|comm| lossy("oom.trigger.process.executable.name", comm)));
    attributes.extend(page_tables.map(|Bytes(bytes)| number("oom.process.memory.page_tables", bytes)));
    if let Some(sizes) = sizes {
        attributes.extend([
            number("process.memory.virtual", sizes.total_vm.0),
            number("oom.process.memory.anon", sizes.anon_rss.0),
            number("oom.process.memory.file", sizes.file_rss.0),
            number("oom.process.memory.shmem", sizes.shmem_rss.0),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::observe::tests::store;

    #[test]
    fn events_that_nobody_waited_for_are_counted() {
        let store = Arc::new(store());
        let mut logs = EventLogs::new(Arc::clone(&store));
        let appeared = |number: u64| Event {
            container: b"/a".as_slice().into(),
            at: WallTime(number),
            kind: EventKind::ContainerCreation,
            data: EventData::None,
        };
        let mut pushed = || -> (u64, u64) {
            let requests = logs.requests(&Host::default(), Compression::None);
            (requests.iter().map(|request| request.points).sum(), logs.take_missed())
        };
        (0..10_000).for_each(|number| store.events().publish(appeared(number)));
        let (points, missed) = pushed();
        assert!(points > 1000 && missed > 0, "{points} are pushed, {missed} missed");
        assert_eq!(points + missed, 10_000);
        store.events().publish(appeared(10_000));
        assert_eq!(pushed(), (1, 0));
    }

    #[test]
    fn an_oom_kill_says_who_and_why() {
        let victim =
            OomParty { pid: Some(7), comm: Some(b"java".as_slice().into()), container: Some(b"/a".as_slice().into()) };
        let kill = OomKill {
            victim,
            limit_owner: Some(b"/pod".as_slice().into()),
            oom_score_adj: Some(-5),
            ..OomKill::default()
        };
        let event = Event {
            container: b"/a".as_slice().into(),
            at: WallTime(5),
            kind: EventKind::Oom,
            data: EventData::Oom(Arc::new(kill)),
        };
        let record = record(&event, WallTime(9));
        assert_eq!(
            (record.time_unix_nano, record.observed_time_unix_nano, record.event_name.as_str()),
            (5, 9, "container.oom")
        );
        let has = |key: &str| {
            record
                .attributes
                .iter()
                .find(|attribute| attribute.key == key)
                .and_then(|found| found.value.clone())
                .and_then(|value| value.value)
        };
        assert_eq!(has("process.pid"), Some(any_value::Value::IntValue(7)));
        assert_eq!(has("oom.score_adj"), Some(any_value::Value::IntValue(-5)));
        assert_eq!(has("oom.limit.cgroup.path"), Some(any_value::Value::StringValue("/pod".to_owned())));
        assert_eq!(has("process.memory.virtual"), None);
    }
}
