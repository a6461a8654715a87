//! `/containers/json` and `/containers/{id}/json`. A container that is here runs: those that do not have no cgroup.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;

use super::errors::Error;
use super::filters::Filters;
use super::human;
use super::lookup::find;
use super::request::QueryOptions;
use crate::api::Count;
use crate::api::backend::docker::RuntimeContainer;
use crate::api::backend::{LimitsAge, Node, ProcessesOf};
use crate::api::http::responses;
use crate::api::query::StatsQuery;
use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::sample::identity::Identity;
use crate::sample::process::ProcessList;
use crate::sample::spec::{MemoryLimit, Spec};
use crate::units::{Limit, WallTime};

/// cAdvisor's label for how often a runtime started a container again; no label of the container's.
const RESTARTS: &str = "restartcount";
/// How many nanoseconds of CPU time are one CPU for a microsecond.
const NANOS_PER_CPU: u64 = 1_000_000_000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary<'a> {
    id: &'a str,
    names: [String; 1],
    image: &'a str,
    #[serde(rename = "ImageID")]
    image_id: &'a str,
    command: &'a str,
    created: u64,
    ports: [u8; 0],
    labels: BTreeMap<&'a str, &'a str>,
    state: &'a str,
    status: String,
    host_config: Empty,
    network_settings: Networks,
    mounts: [u8; 0],
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Networks {
    networks: Empty,
}

/// `/containers/json`.
pub(super) async fn list<S: Node>(source: &S, options: &QueryOptions) -> Result<Response, Error> {
    let filters = Filters::parse(options, &["id", "name", "label", "status", "ancestor", "health"])?;
    let limit = match options.get("limit").filter(|limit| !limit.is_empty()) {
        None => None,
        Some(text) => {
            let invalid = |_| Error::Value { name: "limit", value: text.to_owned() };
            // As with the engine, 0 and less are no limit.
            usize::try_from(text.parse::<i64>().map_err(invalid)?).ok().filter(|limit| *limit > 0)
        }
    };
    let share = source.budget().reserve(responses::OPEN + source.listed() * size_of::<RuntimeContainer>()).await?;
    let mut containers = source.runtime_containers();
    containers.retain(|container| admitted(container, &filters));
    // The newest first.
    let made = |container: &RuntimeContainer| container.identity.as_ref().and_then(|identity| identity.created);
    containers.sort_by_key(|container| std::cmp::Reverse(made(container)));
    containers.truncate(limit.unwrap_or(usize::MAX));
    let now = source.now();
    let append = move |out: &mut Vec<u8>, container: RuntimeContainer| json::append(out, &summary(&container, now));
    Ok(responses::pieces(share, responses::array(containers, append)).await?)
}

fn admitted(container: &RuntimeContainer, filters: &Filters) -> bool {
    let identity = container.identity.as_deref();
    let image = identity.and_then(|identity| identity.image.as_deref()).unwrap_or_default();
    let health = identity.and_then(|identity| identity.health.as_deref()).unwrap_or("none");
    filters.admit("id", |id| container.id.starts_with(id))
        && filters.admit("name", |name| container.name().contains(name.trim_start_matches('/')))
        && filters.admit("status", |status| status == "running")
        && filters.admit("ancestor", |ancestor| {
            image == ancestor || image.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with([':', '@']))
        })
        && filters.admit("health", |wanted| wanted == health)
        && filters.admit_labels(identity.map_or(&BTreeMap::new(), |identity| &identity.labels))
}

fn labels(identity: Option<&Identity>) -> BTreeMap<&str, &str> {
    let labels = identity.into_iter().flat_map(|identity| &identity.labels);
    labels.filter(|(key, _)| *key != RESTARTS).map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn seconds(time: Option<WallTime>) -> u64 {
    time.unwrap_or_default().0 / 1_000_000_000
}

fn summary(container: &RuntimeContainer, now: WallTime) -> Summary<'_> {
    let identity = container.identity.as_deref();
    let health = identity.and_then(|identity| identity.health.as_deref()).filter(|health| *health != "none");
    let up = identity.and_then(|identity| identity.started).map(|started| human::duration(now.since(started)));
    let up = up.map_or_else(|| "Up".to_owned(), |up| format!("Up {up}"));
    Summary {
        id: &container.id,
        names: [format!("/{}", container.name())],
        image: identity.and_then(|identity| identity.image.as_deref()).unwrap_or_default(),
        image_id: "",
        command: "",
        created: seconds(identity.and_then(|identity| identity.created)),
        ports: [],
        labels: labels(identity),
        state: "running",
        status: match health {
            Some("starting") => format!("{up} (health: starting)"),
            Some(health) => format!("{up} ({health})"),
            None => up,
        },
        host_config: Empty {},
        network_settings: Networks { networks: Empty {} },
        mounts: [],
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected<'a> {
    id: &'a str,
    created: GoTime,
    state: DockerState<'a>,
    image: &'a str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_count: Option<u64>,
    platform: &'a str,
    host_config: HostConfig<'a>,
    config: Config<'a>,
    network_settings: Networks,
}

#[expect(clippy::struct_excessive_bools, reason = "the wire's shape")]
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerState<'a> {
    status: &'a str,
    running: bool,
    paused: bool,
    restarting: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    dead: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    exit_code: i32,
    error: &'a str,
    started_at: GoTime,
    finished_at: GoTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Health<'a> {
    status: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config<'a> {
    image: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
}

/// Limits as the kernel has them; what is not limited is 0 for the engine, and left out here when it is not known.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_shares: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_quota: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nano_cpus: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpuset_cpus: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids_limit: Option<i64>,
}

impl<'a> HostConfig<'a> {
    fn new(spec: &'a Spec, machine_memory: u64) -> Self {
        let memory = spec.memory.as_ref().and_then(|memory| memory.limit).map(|limit| match limit {
            // More than there is is the kernel's word for none.
            MemoryLimit::Bytes(bytes) if machine_memory == 0 || bytes.0 <= machine_memory => bytes.0,
            MemoryLimit::Bytes(_) | MemoryLimit::Max => 0,
        });
        let cpu = spec.cpu.as_ref();
        let period = cpu.and_then(|cpu| cpu.period).map(|period| period.0).filter(|period| *period > 0);
        let quota = cpu.map(|cpu| cpu.quota.map_or(0, |quota| quota.0));
        let nano_cpus = quota.zip(period).map(|(quota, period)| {
            u64::try_from(u128::from(quota) * u128::from(NANOS_PER_CPU) / u128::from(period)).unwrap_or(u64::MAX)
        });
        Self {
            memory,
            cpu_shares: cpu.and_then(|cpu| cpu.shares),
            cpu_period: period,
            cpu_quota: quota,
            nano_cpus,
            cpuset_cpus: cpu.and_then(|cpu| cpu.mask.as_deref()),
            pids_limit: spec.processes.map(|limit| match limit {
                Limit::Max => -1,
                Limit::Value(value) => i64::try_from(value).unwrap_or(i64::MAX),
            }),
        }
    }
}

/// `/containers/{id}/json`.
pub(super) async fn inspect<S: Node>(source: Arc<S>, wanted: &str) -> Result<Response, Error> {
    let container = find(&*source, wanted)?;
    let query = StatsQuery { count: Count::Newest(0), ..StatsQuery::default() };
    let view = source.container(&container.cgroup, &query, LimitsAge::Current).await;
    let view = view.map_err(|_| Error::NoSuchContainer(wanted.to_owned()))?;
    let processes = source.processes(ProcessesOf::Container(container.cgroup.clone())).await;
    let identity = container.identity.as_deref();
    let health = identity.and_then(|identity| identity.health.as_deref());
    let restarts = identity.and_then(|identity| identity.labels.get(RESTARTS));
    Ok(responses::json(json::to_bytes(&Inspected {
        id: &container.id,
        created: GoTime(view.created()),
        state: DockerState {
            status: "running",
            running: true,
            paused: false,
            restarting: false,
            oom_killed: false,
            dead: false,
            pid: processes.ok().as_ref().and_then(first_process),
            exit_code: 0,
            error: "",
            started_at: GoTime(identity.and_then(|identity| identity.started)),
            finished_at: GoTime(None),
            health: health.map(|status| Health { status }),
        },
        image: "",
        name: format!("/{}", container.name()),
        restart_count: restarts.and_then(|count| count.parse().ok()),
        platform: "linux",
        host_config: HostConfig::new(&view.spec, source.machine_memory().0),
        config: Config {
            image: identity.and_then(|identity| identity.image.as_deref()).unwrap_or_default(),
            labels: labels(identity),
        },
        network_settings: Networks { networks: Empty {} },
    })))
}

/// The process that the runtime started first: of those whose parent is not in the container the oldest.
fn first_process(list: &ProcessList) -> Option<u32> {
    let inside = |pid: u32| list.processes.binary_search_by_key(&pid, |process| process.pid).is_ok();
    let entered = list.processes.iter().filter(|process| !inside(process.parent));
    entered.min_by_key(|process| (process.started, process.pid)).map(|process| process.pid)
}
