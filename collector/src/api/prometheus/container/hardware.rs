//! What the processor counted: perf events, use of caches and memory bandwidth.

use std::collections::BTreeMap;

use crate::api::prometheus::family::{Context, Family, Group, Row};
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::Writer;
use crate::sample::hardware::{PerfEvent, ResctrlDomain, UncorePerfEvent};
use crate::sample::kinds::MetricKind::{PerCpu, PerfEvent as PerfKind, Resctrl};
use crate::units::Bytes;

pub(super) const FAMILIES: &[Family] = &[
    Family::counter("container_perf_events_total", "Perf events, scaled up to all of the time.", |row, ctx, out| {
        perf(row, ctx, out, |event| Value::Count(event.count.scaled()), sum);
    })
    .of(PerfKind, Group::Hardware)
    .labels(&["cpu", "event"]),
    Family::gauge(
        "container_perf_events_scaling_ratio",
        "Share of the time that a perf event was on a counter.",
        |row, ctx, out| perf(row, ctx, out, |event| Value::Float(event.count.scaling_ratio()), least),
    )
    .of(PerfKind, Group::Hardware)
    .labels(&["cpu", "event"]),
    Family::counter(
        "container_perf_uncore_events_total",
        "Perf events of the processor outside its cores, scaled up to all of the time.",
        |row, _, out| uncore(row, out, |event| Value::Count(event.count.scaled())),
    )
    .of(PerfKind, Group::Hardware)
    .labels(&["event", "pmu", "socket"]),
    Family::gauge(
        "container_perf_uncore_events_scaling_ratio",
        "Share of the time that a perf event of the processor outside its cores was on a counter.",
        |row, _, out| uncore(row, out, |event| Value::Float(event.count.scaling_ratio())),
    )
    .of(PerfKind, Group::Hardware)
    .labels(&["event", "pmu", "socket"]),
    Family::gauge("container_llc_occupancy_bytes", "Last-level cache in use.", |row, _, out| {
        resctrl(row, out, |domain| domain.occupancy);
    })
    .of(Resctrl, Group::Hardware)
    .labels(&["node_id"]),
    Family::gauge("container_memory_bandwidth_bytes", "Bytes read from and written to memory.", |row, _, out| {
        resctrl(row, out, |domain| domain.total);
    })
    .of(Resctrl, Group::Hardware)
    .labels(&["node_id"]),
    Family::gauge(
        "container_memory_bandwidth_local_bytes",
        "Bytes read from and written to memory of the same node.",
        |row, _, out| resctrl(row, out, |domain| domain.local),
    )
    .of(Resctrl, Group::Hardware)
    .labels(&["node_id"]),
];

/// By CPU and event; with the kind `percpu` off by event, the CPUs' values taken together.
fn perf(
    row: &Row<'_>,
    ctx: &Context<'_>,
    out: &mut Writer<'_>,
    value: impl Fn(&PerfEvent) -> Value,
    together: fn(Value, Value) -> Value,
) {
    let Some(events) = row.sample.and_then(|sample| sample.perf.as_ref()) else { return };
    if ctx.kinds.has(PerCpu) {
        for (position, event) in events.iter().enumerate() {
            let same = |other: &PerfEvent| (other.cpu, &other.name) == (event.cpu, &event.name);
            if !events[..position].iter().any(same) {
                out.with(&[("cpu", Text::Number(event.cpu.into())), ("event", Text::Is(&event.name))], value(event));
            }
        }
        return;
    }
    let mut by_event: BTreeMap<&str, Value> = BTreeMap::new();
    for event in events {
        let value = value(event);
        by_event.entry(&event.name).and_modify(|so_far| *so_far = together(*so_far, value)).or_insert(value);
    }
    for (name, value) in by_event {
        out.with(&[("cpu", Text::Is("")), ("event", Text::Is(name))], value);
    }
}

fn sum(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Count(one), Value::Count(other)) => Value::Count(one.saturating_add(other)),
        (one, _) => one,
    }
}

fn least(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Float(one), Value::Float(other)) => Value::Float(one.min(other)),
        (one, _) => one,
    }
}

fn uncore(row: &Row<'_>, out: &mut Writer<'_>, value: impl Fn(&UncorePerfEvent) -> Value) {
    let events = row.sample.and_then(|sample| sample.perf_uncore.as_deref()).unwrap_or_default();
    for (position, event) in events.iter().enumerate() {
        let same = |other: &UncorePerfEvent| {
            (&other.name, &other.pmu, other.socket) == (&event.name, &event.pmu, event.socket)
        };
        if !events[..position].iter().any(same) {
            let labels = [
                ("event", Text::Is(&event.name)),
                ("pmu", Text::Is(&event.pmu)),
                ("socket", Text::Number(event.socket.into())),
            ];
            out.with(&labels, value(event));
        }
    }
}

/// By position in the list of caches, which is cAdvisor's `node_id`.
fn resctrl(row: &Row<'_>, out: &mut Writer<'_>, get: impl Fn(&ResctrlDomain) -> Option<Bytes>) {
    let domains = row.sample.and_then(|sample| sample.resctrl.as_ref()).map(|resctrl| &resctrl.domains);
    for (position, domain) in domains.into_iter().flatten().enumerate() {
        if let Some(bytes) = get(domain) {
            out.with(&[("node_id", Text::Number(position as u64))], bytes);
        }
    }
}
