//! cAdvisor's `Event`, with what this collector knows beyond it.
//!
//! Keys of cAdvisor come first and keep their meaning. Of our additions, those that are not known are left out.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::exit::WireExit;
use crate::api::cadvisor::v1::ContainerStats;
use crate::api::wire::json;
use crate::api::wire::json::Lossy;
use crate::api::wire::time::GoTime;
use crate::sample::event::{Constraint, Event, EventData, EventKind, OomKill, OomParty};

/// cAdvisor's exit code for "not known", which is all it ever says.
const UNKNOWN_EXIT_CODE: i32 = -1;

/// Appends one event.
pub fn append(out: &mut Vec<u8>, event: &Event) {
    json::append(out, &WireEvent::from(event));
}

/// Appends one line of a stream.
pub fn append_line(out: &mut Vec<u8>, event: &Event) {
    append(out, event);
    out.push(b'\n');
}

/// Appends the last line of a stream whose client did not keep up.
pub fn append_missed(out: &mut Vec<u8>, missed: u64) {
    let error = format!(
        "this client is {missed} events behind and the stream ends here; read faster, connect again, and ask \
         without stream=true and with start_time for what was missed"
    );
    json::append(out, &Missed { error });
    out.push(b'\n');
}

/// The schema of an event.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<WireEvent<'_>>()
}

/// The schema of a line of a stream.
pub(crate) fn line_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [schema(generator), generator.subschema_for::<Missed>()] })
}

/// The last line of a stream whose client did not keep up.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "StreamEnd")]
struct Missed {
    error: String,
}

/// Something that happened to a container.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "Event")]
struct WireEvent<'a> {
    container_name: Lossy<'a>,
    timestamp: GoTime,
    event_type: &'static str,
    event_data: WireData<'a>,
}

/// What there is to say of an event, by its type.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "EventData")]
struct WireData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    oom: Option<WireOom<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_deletion: Option<ContainerDeletion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion: Option<Deletion<'a>>,
    /// Ours: of `containerExit` and, where it is known, of `containerDeletion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<WireExit<'a>>,
}

/// How a container ended: the code of its first process, 128 and the number of the signal that ended it, -1 where that
/// is not known.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "ContainerDeletionEventData")]
struct ContainerDeletion {
    exit_code: i32,
}

/// Ours.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "FinalStats")]
struct Deletion<'a> {
    final_stats: ContainerStats<'a>,
}

/// cAdvisor's three keys, 0 or empty when unknown, then ours.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "OomKillEventData")]
struct WireOom<'a> {
    pid: u32,
    process_name: Lossy<'a>,
    constraint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    victim_container_name: Option<Lossy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_process_name: Option<Lossy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_container_name: Option<Lossy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_container_name: Option<Lossy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_score_adj: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_vm_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anon_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shmem_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_tables_bytes: Option<u64>,
}

impl<'a> From<&'a Event> for WireEvent<'a> {
    fn from(event: &'a Event) -> Self {
        let mut event_data = WireData::default();
        if event.kind == EventKind::ContainerDeletion {
            let known = match &event.data {
                EventData::Deletion { exit: Some(exit), .. } => Some(exit.code()),
                _ => None,
            };
            event_data.container_deletion = Some(ContainerDeletion { exit_code: known.unwrap_or(UNKNOWN_EXIT_CODE) });
        }
        match &event.data {
            EventData::None => {}
            EventData::Oom(kill) => event_data.oom = wire_oom(kill),
            EventData::Deletion { final_sample, exit } => {
                let stats = final_sample.as_deref().map(ContainerStats::from);
                event_data.deletion = stats.map(|final_stats| Deletion { final_stats });
                event_data.exit = exit.as_deref().map(|exit| WireExit::new(exit, &event.container));
            }
            EventData::Exit(exit) => event_data.exit = Some(WireExit::new(exit, &event.container)),
        }
        Self {
            container_name: Lossy(&event.container),
            timestamp: GoTime(Some(event.at)),
            event_type: event.kind.name(),
            event_data,
        }
    }
}

/// Nothing when nothing is known.
fn wire_oom(kill: &OomKill) -> Option<WireOom<'_>> {
    if *kill == OomKill::default() {
        return None;
    }
    let OomKill { victim, trigger, limit_owner, constraint, uid, oom_score_adj, sizes, page_tables } = kill;
    let OomParty { pid, comm, container } = victim;
    let constraint: Constraint = *constraint;
    Some(WireOom {
        pid: pid.unwrap_or(0),
        process_name: Lossy(comm.as_deref().unwrap_or_default()),
        constraint: constraint.name(),
        victim_container_name: container.as_deref().map(Lossy),
        trigger_pid: trigger.pid,
        trigger_process_name: trigger.comm.as_deref().map(Lossy),
        trigger_container_name: trigger.container.as_deref().map(Lossy),
        limit_container_name: limit_owner.as_deref().map(Lossy),
        uid: *uid,
        oom_score_adj: *oom_score_adj,
        total_vm_bytes: sizes.map(|sizes| sizes.total_vm.0),
        anon_rss_bytes: sizes.map(|sizes| sizes.anon_rss.0),
        file_rss_bytes: sizes.map(|sizes| sizes.file_rss.0),
        shmem_rss_bytes: sizes.map(|sizes| sizes.shmem_rss.0),
        page_tables_bytes: page_tables.map(|bytes| bytes.0),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::sample::container::{Cpu, Sample};
    use crate::sample::event::OomSizes;
    use crate::units::{Bytes, Nanos, WallTime};

    fn check(kind: EventKind, container: &[u8], data: EventData, expected: &Expect) {
        let event = Event { container: container.into(), at: WallTime(1_704_164_645_120_000_000), kind, data };
        let mut line = Vec::new();
        append_line(&mut line, &event);
        let line = String::from_utf8(line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
        expected.assert_eq(&line);
    }

    #[test]
    fn cadvisors_line_for_what_cadvisor_knows() {
        let kill = OomKill {
            victim: OomParty { pid: Some(1), comm: Some(Box::from(*b"a")), container: None },
            constraint: Constraint::Memcg,
            ..OomKill::default()
        };
        check(
            EventKind::OomKill,
            b"/docker/abc",
            EventData::Oom(Arc::new(kill)),
            &expect![[r#"
            {"container_name":"/docker/abc","timestamp":"2024-01-02T03:04:05.12Z","event_type":"oomKill","event_data":{"oom":{"pid":1,"process_name":"a","constraint":"CONSTRAINT_MEMCG"}}}
        "#]],
        );
    }

    #[test]
    fn an_oom_kill_of_which_everything_is_known() {
        let kill = OomKill {
            victim: OomParty {
                pid: Some(7),
                comm: Some(Box::from(*b"a\xff")),
                container: Some(Arc::from(*b"/p/idle")),
            },
            trigger: OomParty { pid: Some(9), comm: Some(Box::from(*b"hog")), container: Some(Arc::from(*b"/p/busy")) },
            limit_owner: Some(Arc::from(*b"/p")),
            constraint: Constraint::Memcg,
            uid: Some(0),
            oom_score_adj: Some(-999),
            sizes: Some(OomSizes { total_vm: Bytes(4), anon_rss: Bytes(3), file_rss: Bytes(2), shmem_rss: Bytes(0) }),
            page_tables: Some(Bytes(4096)),
        };
        check(
            EventKind::Oom,
            b"/p/idle",
            EventData::Oom(Arc::new(kill)),
            &expect![[r#"
            {"container_name":"/p/idle","timestamp":"2024-01-02T03:04:05.12Z","event_type":"oom","event_data":{"oom":{"pid":7,"process_name":"a\ufffd","constraint":"CONSTRAINT_MEMCG","victim_container_name":"/p/idle","trigger_pid":9,"trigger_process_name":"hog","trigger_container_name":"/p/busy","limit_container_name":"/p","uid":0,"oom_score_adj":-999,"total_vm_bytes":4,"anon_rss_bytes":3,"file_rss_bytes":2,"shmem_rss_bytes":0,"page_tables_bytes":4096}}}
        "#]],
        );
        check(
            EventKind::Oom,
            b"/p",
            EventData::Oom(Arc::default()),
            &expect![[r#"
            {"container_name":"/p","timestamp":"2024-01-02T03:04:05.12Z","event_type":"oom","event_data":{}}
        "#]],
        );
    }

    #[test]
    fn creation_and_deletion() {
        check(
            EventKind::ContainerCreation,
            b"/a \"b\"\n<\xff",
            EventData::None,
            &expect![[r#"
            {"container_name":"/a \"b\"\n\u003c\ufffd","timestamp":"2024-01-02T03:04:05.12Z","event_type":"containerCreation","event_data":{}}
        "#]],
        );
        let deletion = |final_sample| EventData::Deletion { final_sample, exit: None };
        check(
            EventKind::ContainerDeletion,
            b"/a",
            deletion(None),
            &expect![[r#"
            {"container_name":"/a","timestamp":"2024-01-02T03:04:05.12Z","event_type":"containerDeletion","event_data":{"container_deletion":{"exit_code":-1}}}
        "#]],
        );
        let sample = Sample {
            at: WallTime(1_704_164_645_000_000_000),
            cpu: Some(Cpu { total: Nanos(40_000_000), ..Cpu::default() }),
            ..Sample::default()
        };
        check(
            EventKind::ContainerDeletion,
            b"/a",
            deletion(Some(Arc::new(sample))),
            &expect![[r#"
            {"container_name":"/a","timestamp":"2024-01-02T03:04:05.12Z","event_type":"containerDeletion","event_data":{"container_deletion":{"exit_code":-1},"deletion":{"final_stats":{"timestamp":"2024-01-02T03:04:05Z","cpu":{"usage":{"total":40000000,"user":0,"system":0},"cfs":{"periods":0,"throttled_periods":0,"throttled_time":0,"bursts_periods":0,"burst_time":0},"schedstat":{"run_time":0,"runqueue_time":0,"run_periods":0},"load_average":0,"load_d_average":0},"task_stats":{"nr_sleeping":0,"nr_running":0,"nr_stopped":0,"nr_uninterruptible":0,"nr_io_wait":0},"resctrl":{},"cpuset":{"memory_migrate":0},"health":{"status":""}}}}}
        "#]],
        );
    }

    #[test]
    fn the_note_to_a_slow_client() {
        let mut line = Vec::new();
        append_missed(&mut line, 12);
        expect![[r#"
            {"error":"this client is 12 events behind and the stream ends here; read faster, connect again, and ask without stream=true and with start_time for what was missed"}
        "#]].assert_eq(&String::from_utf8(line).unwrap());
    }
}
