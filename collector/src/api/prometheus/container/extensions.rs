//! Families that cAdvisor does not have. What the kernel does not have is absent here, in each profile.

use crate::api::prometheus::family::{Context, Family, Group, Moment, Row};
use crate::api::prometheus::writer::{Text, Value, Writer};
use crate::sample::container::{MemoryLimit, Misc, Zswap};
use crate::sample::kinds::MetricKind::Memory;

pub(in crate::api::prometheus) const FAMILIES: &[Family] = &[
    Family::gauge("container_memory_zswap_bytes", "Memory that pages compressed by zswap take.", |row, _, out| {
        zswap(row, out, |zswap| zswap.usage);
    })
    .of(Memory, Group::MoreMemory),
    Family::gauge(
        "container_memory_zswapped_bytes",
        "Memory that was compressed by zswap, before it was.",
        |row, _, out| {
            zswap(row, out, |zswap| zswap.stored);
        },
    )
    .of(Memory, Group::MoreMemory),
    Family::counter(
        "container_memory_zswap_pages_total",
        "Pages that were compressed, came back, or moved on to the swap device.",
        zswap_pages,
    )
    .of(Memory, Group::MoreMemory)
    .labels(&["operation"]),
    Family::gauge("container_spec_memory_zswap_limit_bytes", "Limit of zswap, where there is one.", |row, _, out| {
        let limit = row.spec.memory.as_ref().and_then(|memory| memory.zswap_limit);
        // Like other limits, from its first sample on.
        if let (Some(MemoryLimit::Bytes(limit)), Some(_)) = (limit, row.sample) {
            out.value(limit);
        }
    })
    .of(Memory, Group::Limits)
    .at(Moment::None),
    Family::gauge("container_misc_usage", "Units in use of a resource of the controller misc.", |row, _, out| {
        misc(row, out, |misc| Some(misc.current));
    })
    .group(Group::MemoryDetails)
    .labels(&["resource"]),
    Family::gauge(
        "container_misc_limit",
        "Limit of a resource of the controller misc, where there is one.",
        |row, _, out| {
            misc(row, out, |misc| misc.max.filter(|max| *max != u64::MAX));
        },
    )
    .group(Group::MemoryDetails)
    .labels(&["resource"]),
    Family::gauge(
        "container_misc_peak",
        "Most units ever in use of a resource of the controller misc.",
        |row, _, out| {
            misc(row, out, |misc| misc.peak);
        },
    )
    .group(Group::MemoryDetails)
    .labels(&["resource"]),
    Family::counter(
        "container_misc_limit_hits_total",
        "Times that the limit of a resource of the controller misc was about to be exceeded.",
        |row, _, out| misc(row, out, |misc| misc.limit_hits),
    )
    .group(Group::MemoryDetails)
    .labels(&["resource"]),
];

fn of<'a>(row: &Row<'a>) -> Option<&'a Zswap> {
    row.sample?.memory.as_ref()?.zswap.as_ref()
}

fn zswap<T: Into<Value>>(row: &Row<'_>, out: &mut Writer<'_>, get: impl FnOnce(&Zswap) -> Option<T>) {
    if let Some(value) = of(row).and_then(get) {
        out.value(value);
    }
}

fn zswap_pages(row: &Row<'_>, _: &Context<'_>, out: &mut Writer<'_>) {
    let Some(zswap) = of(row) else { return };
    for (operation, pages) in
        [("in", zswap.pages_in), ("out", zswap.pages_out), ("written_back", zswap.pages_written_back)]
    {
        if let Some(pages) = pages {
            out.with(&[("operation", Text::Is(operation))], pages);
        }
    }
}

fn misc(row: &Row<'_>, out: &mut Writer<'_>, get: impl Fn(&Misc) -> Option<u64>) {
    for misc in row.sample.and_then(|sample| sample.misc.as_deref()).unwrap_or_default() {
        if let Some(value) = get(misc) {
            out.with(&[("resource", Text::Is(&misc.resource))], value);
        }
    }
}
