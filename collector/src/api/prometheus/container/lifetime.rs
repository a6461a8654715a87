//! What a container is allowed, when it began, how it is, and its OOM kills.

use crate::api::prometheus::family::{Context, Family, Group, Moment, Row};
use crate::api::prometheus::options::Profile;
use crate::api::prometheus::snapshot::Life;
use crate::api::prometheus::value::Value;
use crate::api::prometheus::writer::Writer;
use crate::sample::identity::Runtime;
use crate::sample::kinds::MetricKind::OomEvent;
use crate::sample::spec::{CpuSpec, MemoryLimit, MemorySpec};
use crate::sample::unread::Part;
use crate::units::{Bytes, Micros, WallTime};

pub(super) const FAMILIES: &[Family] = &[
    Family::gauge(
        "container_last_seen",
        "When the container was last there: the time of this answer, or of its last sample once it has ended.",
        |row, ctx, out| {
            if let Some(sample) = row.sample {
                out.value(seconds(match row.life {
                    Life::Running => ctx.at,
                    Life::Ended => sample.at,
                }));
            }
        },
    )
    .group(Group::Limits)
    .at(Moment::Scrape)
    // So that `time() - container_last_seen` grows, which is how alerts see that a container is gone.
    .kept(),
    Family::gauge(
        "container_health_state",
        "What the runtime's health check says: 1 healthy, 0 anything else, -1 without one.",
        |row, _, out| {
            if row.sample.is_some() {
                let health = row.identity.and_then(|identity| identity.health.as_deref());
                out.value(Value::Signed(match health {
                    None | Some("") => -1,
                    Some("healthy") => 1,
                    Some(_) => 0,
                }));
            }
        },
    )
    .group(Group::Limits),
    Family::gauge("container_creation_time_seconds", "When the container was made.", |row, _, out| {
        report_time(row, out, row.created());
    })
    .group(Group::Limits)
    .at(Moment::None),
    Family::gauge("container_start_time_seconds", "When the container was last started.", |row, _, out| {
        report_time(row, out, started(row));
    })
    .group(Group::Core)
    .at(Moment::None)
    .recommended(),
    Family::counter(
        "container_oom_events_total",
        "OOM kills of the container's processes, also for a while after its end.",
        |row, _, out| {
            // A container that was killed before its first sample is reported nowhere else.
            if row.oom_kills > 0 || row.sample.is_some() {
                out.value_with_exemplar(row.oom_kills, row.kill);
            }
        },
    )
    .of(OomEvent, Group::Core)
    .of_all_lives()
    // It is of now, whenever the sample was taken.
    .at(Moment::None)
    .recommended(),
    Family::gauge("container_spec_cpu_period", "Period of the CPU quota, in microseconds.", |row, ctx, out| {
        cpu(row, ctx, out, |spec| spec.period.map(|Micros(micros)| micros));
    })
    .group(Group::Limits)
    .at(Moment::None)
    .recommended(),
    Family::gauge("container_spec_cpu_quota", "CPU time allowed in each period, in microseconds.", |row, _, out| {
        let quota = listed(row).then_some(()).and_then(|()| row.spec.cpu.as_ref()?.quota);
        if let Some(Micros(quota)) = quota.filter(|quota| *quota != Micros(0)) {
            out.value(quota);
        }
    })
    .group(Group::Limits)
    .at(Moment::None)
    .recommended(),
    Family::gauge("container_spec_cpu_shares", "Share of the CPU among others that want it.", |row, ctx, out| {
        cpu(row, ctx, out, |spec| spec.shares);
    })
    .group(Group::Limits)
    .at(Moment::None)
    .recommended(),
    Family::gauge("container_spec_memory_limit_bytes", "Memory limit; 0 for none.", |row, ctx, out| {
        memory(row, ctx, out, Part::MemoryLimit, |spec| match (spec.limit, ctx.machine_memory) {
            // A limit of 0 is none that a container could live with.
            (Some(MemoryLimit::Bytes(Bytes(0))), Some(machine)) => Some(MemoryLimit::Bytes(machine)),
            (limit, _) => limit,
        });
    })
    .group(Group::Core)
    .at(Moment::None)
    .recommended(),
    Family::gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory that is not taken away; on cgroup v1 the soft limit.",
        |row, ctx, out| memory(row, ctx, out, Part::MemoryReservation, |spec| spec.reservation),
    )
    .group(Group::Limits)
    .at(Moment::None),
    Family::gauge(
        "container_spec_memory_swap_limit_bytes",
        "Swap limit; on cgroup v1 of memory and swap together; 0 for none.",
        |row, ctx, out| memory(row, ctx, out, Part::SwapLimit, |spec| spec.swap_limit),
    )
    .group(Group::Limits)
    .at(Moment::None)
    .recommended(),
];

/// As cAdvisor has it, a container is reported from its first sample on.
fn listed(row: &Row<'_>) -> bool {
    row.life == Life::Running && row.sample.is_some()
}

fn seconds(at: WallTime) -> u64 {
    at.0 / 1_000_000_000
}

fn report_time(row: &Row<'_>, out: &mut Writer<'_>, time: Option<WallTime>) {
    if let Some(time) = time.filter(|_| listed(row)) {
        out.value(seconds(time));
    }
}

/// The runtime's word; containerd has none, and there the cgroup is made for each start.
fn started(row: &Row<'_>) -> Option<WallTime> {
    let identity = row.identity;
    let by_cgroup = identity.filter(|identity| identity.runtime == Runtime::Containerd).and(row.spec.created);
    identity.and_then(|identity| identity.started).or(by_cgroup).or(row.created())
}

fn cpu(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>, get: impl FnOnce(&CpuSpec) -> Option<u64>) {
    let Some(spec) = row.spec.cpu.as_ref().filter(|_| listed(row)) else { return };
    if let Some(value) = ctx.or_zero(row.spec.unread, &[Part::CpuLimits], get(spec)) {
        out.value(value);
    }
}

/// More than this is no limit: v1 has a number for it, v2 a word.
const UNLIMITED: u64 = 1 << 62;

fn memory(
    row: &Row<'_>,
    ctx: &Context<'_>,
    out: &mut Writer<'_>,
    part: Part,
    get: impl FnOnce(&MemorySpec) -> Option<MemoryLimit>,
) {
    let Some(spec) = row.spec.memory.as_ref().filter(|_| listed(row)) else { return };
    match (get(spec), ctx.profile) {
        (None, _) if row.spec.unread.has(part) => {}
        (Some(MemoryLimit::Bytes(Bytes(bytes))), _) if bytes <= UNLIMITED => out.value(bytes),
        (Some(_), _) | (None, Profile::Compatible) => out.value(0_u64),
        (None, Profile::Recommended) => {}
    }
}
