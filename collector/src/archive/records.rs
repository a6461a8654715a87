//! Who containers were and what happened to them, as JSON: it is little beside the samples, and a later collector with
//! other fields can read it.

mod exit;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::sample::container::Sample;
use crate::sample::event::{Constraint, Event, EventData, EventKind, Name, OomKill, OomParty, OomSizes};
use crate::sample::identity::{Identity, Manager, NetworkOwner, PodOfPath, QosClass, Runtime};
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec, Spec};
use crate::sample::unread::Unread;
use crate::units::{Bytes, Limit, Micros, WallTime};

/// Who a container was at some moment, and what it was allowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArchivedSubject {
    /// The cgroup's name.
    pub name: Name,
    /// What its runtime reported.
    pub identity: Option<Arc<Identity>>,
    /// Its limits.
    pub spec: Spec,
}

/// Whatever of it is null is left out.
pub(super) fn object(fields: Vec<(&str, Value)>) -> Value {
    let present = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(present.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn texts(pairs: &BTreeMap<String, String>) -> Value {
    if pairs.is_empty() { Value::Null } else { json!(pairs) }
}

/// A name is any bytes: as text where it is some.
fn name(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!({ "base64": STANDARD.encode(bytes) }), Value::from)
}

fn to_name(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Object(object) => STANDARD.decode(object.get("base64")?.as_str()?).ok(),
        _ => None,
    }
}

pub(super) fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

pub(super) fn number_of(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

fn time_of(value: &Value, key: &str) -> Option<WallTime> {
    number_of(value, key).map(WallTime)
}

fn pairs_of(value: &Value, key: &str) -> BTreeMap<String, String> {
    let Some(Value::Object(pairs)) = value.get(key) else { return BTreeMap::new() };
    pairs.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// One of a few words.
pub(super) fn word<T: Copy + PartialEq>(words: &[(T, &'static str)], of: T) -> Value {
    words.iter().find(|(value, _)| *value == of).map_or(Value::Null, |(_, word)| Value::from(*word))
}

pub(super) fn of_word<T: Copy>(words: &[(T, &'static str)], value: Option<&Value>) -> Option<T> {
    let text = value?.as_str()?;
    words.iter().find(|(_, word)| *word == text).map(|(value, _)| *value)
}

const QOS: [(QosClass, &str); 3] =
    [(QosClass::Guaranteed, "guaranteed"), (QosClass::Burstable, "burstable"), (QosClass::BestEffort, "besteffort")];
const NETWORKS: [(NetworkOwner, &str); 3] =
    [(NetworkOwner::Itself, "itself"), (NetworkOwner::Pod, "pod"), (NetworkOwner::AnotherContainer, "another")];

fn runtimes() -> [(Runtime, &'static str); 4] {
    [Runtime::Docker, Runtime::Podman, Runtime::Containerd, Runtime::CriO].map(|runtime| (runtime, runtime.namespace()))
}

fn managers() -> [(Manager, &'static str); Manager::ALL.len()] {
    Manager::ALL.map(|manager| (manager, manager.namespace()))
}

fn limit(limit: Option<MemoryLimit>) -> Value {
    match limit {
        None => Value::Null,
        Some(MemoryLimit::Max) => Value::from("max"),
        Some(MemoryLimit::Bytes(Bytes(bytes))) => Value::from(bytes),
    }
}

fn limit_of(value: &Value, key: &str) -> Option<MemoryLimit> {
    match value.get(key)? {
        Value::String(_) => Some(MemoryLimit::Max),
        number => number.as_u64().map(|bytes| MemoryLimit::Bytes(Bytes(bytes))),
    }
}

impl ArchivedSubject {
    /// As JSON.
    pub(super) fn describe(&self) -> Value {
        let Self { name: called, identity, spec } = self;
        object(vec![
            ("name", name(called)),
            ("identity", identity.as_deref().map_or(Value::Null, describe_identity)),
            ("spec", describe_spec(spec)),
        ])
    }

    /// From such JSON; `None` where not even the name is there.
    pub(super) fn restore(value: &Value) -> Option<Self> {
        Some(Self {
            name: to_name(value.get("name")?)?.into(),
            identity: value.get("identity").and_then(restore_identity).map(Arc::new),
            spec: value.get("spec").map(restore_spec).unwrap_or_default(),
        })
    }
}

fn describe_identity(identity: &Identity) -> Value {
    // Where its files, its process and its address were helps nobody later.
    let Identity {
        runtime,
        id,
        name,
        labels,
        environment,
        image,
        created,
        started,
        pod,
        network,
        health,
        process: _,
        address: _,
        files: _,
    } = identity;
    object(vec![
        ("runtime", word(&managers(), *runtime)),
        ("id", json!(id)),
        ("name", json!(name)),
        ("labels", texts(labels)),
        ("environment", texts(environment)),
        ("image", json!(image)),
        ("created", json!(created.map(|at| at.0))),
        ("started", json!(started.map(|at| at.0))),
        ("pod", json!(pod.as_ref().map(|pod| &pod.uid))),
        ("qos", pod.as_ref().map_or(Value::Null, |pod| word(&QOS, pod.qos))),
        ("network", word(&NETWORKS, *network)),
        ("health", json!(health)),
    ])
}

fn restore_identity(value: &Value) -> Option<Identity> {
    let runtime = of_word(&managers(), value.get("runtime"))?;
    let pod = text_of(value, "pod").zip(of_word(&QOS, value.get("qos")));
    Some(Identity {
        name: text_of(value, "name"),
        labels: pairs_of(value, "labels"),
        environment: pairs_of(value, "environment"),
        image: text_of(value, "image"),
        created: time_of(value, "created"),
        started: time_of(value, "started"),
        pod: pod.map(|(uid, qos)| PodOfPath { uid, qos }),
        network: of_word(&NETWORKS, value.get("network")).unwrap_or_default(),
        health: text_of(value, "health"),
        ..Identity::from_path(runtime, text_of(value, "id")?)
    })
}

fn describe_spec(spec: &Spec) -> Value {
    let Spec { created, cpu, memory, processes, has_hugetlb, has_network, has_diskio, unread } = spec;
    let cpu = cpu.as_ref().map_or(Value::Null, |CpuSpec { shares, quota, period, mask }| {
        object(vec![
            ("shares", json!(shares)),
            ("quota", json!(quota.map(|quota| quota.0))),
            ("period", json!(period.map(|period| period.0))),
            ("mask", json!(mask)),
        ])
    });
    let memory = memory.as_ref().map_or(Value::Null, |memory| {
        let MemorySpec { limit: most, reservation, swap_limit, zswap_limit } = memory;
        object(vec![
            ("limit", limit(*most)),
            ("reservation", limit(*reservation)),
            ("swap_limit", limit(*swap_limit)),
            ("zswap_limit", limit(*zswap_limit)),
        ])
    });
    let processes = match processes {
        None => Value::Null,
        Some(Limit::Max) => Value::from("max"),
        Some(Limit::Value(value)) => Value::from(*value),
    };
    object(vec![
        ("created", json!(created.map(|at| at.0))),
        ("cpu", cpu),
        ("memory", memory),
        ("processes", processes),
        ("has_hugetlb", json!(has_hugetlb)),
        ("has_network", json!(has_network)),
        ("has_diskio", json!(has_diskio)),
        ("unread", json!(unread.bits())),
    ])
}

fn restore_spec(value: &Value) -> Spec {
    let is = |key| value.get(key).and_then(Value::as_bool).unwrap_or_default();
    let cpu = |cpu: &Value| CpuSpec {
        shares: number_of(cpu, "shares"),
        quota: number_of(cpu, "quota").map(Micros),
        period: number_of(cpu, "period").map(Micros),
        mask: text_of(cpu, "mask"),
    };
    let memory = |memory: &Value| MemorySpec {
        limit: limit_of(memory, "limit"),
        reservation: limit_of(memory, "reservation"),
        swap_limit: limit_of(memory, "swap_limit"),
        zswap_limit: limit_of(memory, "zswap_limit"),
    };
    Spec {
        created: time_of(value, "created"),
        cpu: value.get("cpu").map(cpu),
        memory: value.get("memory").map(memory),
        processes: value.get("processes").and_then(|limit| match limit {
            Value::String(_) => Some(Limit::Max),
            number => number.as_u64().map(Limit::Value),
        }),
        has_hugetlb: is("has_hugetlb"),
        has_network: is("has_network"),
        has_diskio: is("has_diskio"),
        unread: Unread::from_bits(number_of(value, "unread").unwrap_or_default()),
    }
}

/// An event as JSON.
pub(super) fn describe_event(event: &Event) -> Value {
    let Event { container, at, kind, data } = event;
    let (mut oom, mut last, mut end) = (Value::Null, Value::Null, Value::Null);
    match data {
        EventData::None => {}
        EventData::Oom(kill) => oom = describe_kill(kill),
        EventData::Deletion { final_sample, exit } => {
            last = final_sample.as_ref().map_or(Value::Null, |sample| sample.describe());
            end = exit.as_deref().map_or(Value::Null, exit::describe);
        }
        EventData::Exit(exit) => end = exit::describe(exit),
    }
    object(vec![
        ("container", name(container)),
        ("at", json!(at.0)),
        ("kind", json!(kind.name())),
        ("oom", oom),
        ("final_sample", last),
        ("exit", end),
    ])
}

/// An event from such JSON; `None` for one that this collector does not know.
pub(super) fn restore_event(value: &Value) -> Option<Event> {
    let kind = value.get("kind")?.as_str()?;
    let kind = EventKind::ALL.into_iter().find(|known| known.name() == kind)?;
    let end = value.get("exit").and_then(exit::restore).map(Arc::new);
    let data = match (kind, value.get("oom")) {
        (_, Some(kill)) => EventData::Oom(Arc::new(restore_kill(kill))),
        (EventKind::ContainerDeletion, None) => EventData::Deletion {
            final_sample: value.get("final_sample").and_then(Sample::restore).map(Arc::new),
            exit: end,
        },
        (EventKind::ContainerExit, None) => EventData::Exit(end?),
        _ => EventData::None,
    };
    Some(Event { container: to_name(value.get("container")?)?.into(), at: time_of(value, "at")?, kind, data })
}

fn describe_kill(kill: &OomKill) -> Value {
    let OomKill { victim, trigger, limit_owner, constraint, uid, oom_score_adj, sizes, page_tables } = kill;
    let party = |OomParty { pid, comm, container }: &OomParty| {
        object(vec![
            ("pid", json!(pid)),
            ("comm", comm.as_deref().map_or(Value::Null, name)),
            ("container", container.as_deref().map_or(Value::Null, name)),
        ])
    };
    let sizes = sizes.map_or(Value::Null, |OomSizes { total_vm, anon_rss, file_rss, shmem_rss }| {
        json!({ "total_vm": total_vm.0, "anon_rss": anon_rss.0, "file_rss": file_rss.0, "shmem_rss": shmem_rss.0 })
    });
    object(vec![
        ("victim", party(victim)),
        ("trigger", party(trigger)),
        ("limit_owner", limit_owner.as_deref().map_or(Value::Null, name)),
        ("constraint", json!(constraint.name())),
        ("uid", json!(uid)),
        ("oom_score_adj", json!(oom_score_adj)),
        ("sizes", sizes),
        ("page_tables", json!(page_tables.map(|bytes| bytes.0))),
    ])
}

fn restore_kill(value: &Value) -> OomKill {
    let party = |key: &str| {
        let Some(party) = value.get(key) else { return OomParty::default() };
        OomParty {
            pid: number_of(party, "pid").and_then(|pid| pid.try_into().ok()),
            comm: party.get("comm").and_then(to_name).map(Into::into),
            container: party.get("container").and_then(to_name).map(Into::into),
        }
    };
    let bytes = |of: &Value, key: &str| number_of(of, key).map(Bytes);
    let sizes = |sizes: &Value| {
        Some(OomSizes {
            total_vm: bytes(sizes, "total_vm")?,
            anon_rss: bytes(sizes, "anon_rss")?,
            file_rss: bytes(sizes, "file_rss")?,
            shmem_rss: bytes(sizes, "shmem_rss")?,
        })
    };
    OomKill {
        victim: party("victim"),
        trigger: party("trigger"),
        limit_owner: value.get("limit_owner").and_then(to_name).map(Into::into),
        constraint: of_word(&[(Constraint::Memcg, Constraint::Memcg.name())], value.get("constraint"))
            .unwrap_or_default(),
        uid: number_of(value, "uid").and_then(|uid| uid.try_into().ok()),
        oom_score_adj: value.get("oom_score_adj").and_then(Value::as_i64).and_then(|adj| adj.try_into().ok()),
        sizes: value.get("sizes").and_then(sizes),
        page_tables: bytes(value, "page_tables"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::complete;

    #[test]
    fn subjects_come_back() {
        let identity = Identity {
            name: Some("web".to_owned()),
            labels: [("app".to_owned(), "shop".to_owned())].into(),
            image: Some("nginx:1".to_owned()),
            created: Some(WallTime(5)),
            pod: Some(PodOfPath { uid: "u".to_owned(), qos: QosClass::Burstable }),
            network: NetworkOwner::Pod,
            health: Some("healthy".to_owned()),
            ..Identity::from_path(Runtime::CriO, "abc".to_owned())
        };
        let limited = Spec {
            created: Some(WallTime(7)),
            cpu: Some(CpuSpec { quota: Some(Micros(50_000)), mask: Some("0-1".to_owned()), ..CpuSpec::default() }),
            memory: Some(MemorySpec {
                limit: Some(MemoryLimit::Bytes(Bytes(1 << 30))),
                swap_limit: Some(MemoryLimit::Max),
                ..MemorySpec::default()
            }),
            processes: Some(Limit::Max),
            has_network: true,
            ..Spec::default()
        };
        for subject in [
            ArchivedSubject { name: b"/a".as_slice().into(), identity: Some(Arc::new(identity)), spec: limited },
            ArchivedSubject { name: b"/\xff\n".as_slice().into(), ..ArchivedSubject::default() },
        ] {
            let text = subject.describe().to_string();
            assert_eq!(ArchivedSubject::restore(&serde_json::from_str(&text).unwrap()), Some(subject), "{text}");
        }
    }

    #[test]
    fn events_come_back() {
        let kill = OomKill {
            victim: OomParty { pid: Some(7), comm: Some((*b"dd\xff").into()), container: Some((*b"/a").into()) },
            limit_owner: Some((*b"/").into()),
            constraint: Constraint::Memcg,
            oom_score_adj: Some(-998),
            sizes: Some(OomSizes { anon_rss: Bytes(5), ..OomSizes::default() }),
            page_tables: Some(Bytes(9)),
            ..OomKill::default()
        };
        let sample = Sample { at: WallTime(3), ..complete(5) };
        let end = crate::sample::exit::tests::killed(crate::sample::exit::Sender::OomKiller);
        for (kind, data) in [
            (EventKind::ContainerCreation, EventData::None),
            (EventKind::OomKill, EventData::Oom(Arc::new(kill))),
            (
                EventKind::ContainerDeletion,
                EventData::Deletion { final_sample: Some(Arc::new(sample)), exit: Some(Arc::new(end.clone())) },
            ),
            (EventKind::ContainerDeletion, EventData::Deletion { final_sample: None, exit: None }),
            (EventKind::ContainerExit, EventData::Exit(Arc::new(end))),
        ] {
            let event = Event { container: (*b"/a").into(), at: WallTime(1_234_567_891), kind, data };
            let text = describe_event(&event).to_string();
            assert_eq!(restore_event(&serde_json::from_str(&text).unwrap()), Some(event), "{text}");
        }
    }
}
