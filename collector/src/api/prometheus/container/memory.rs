//! Memory, memory pressure, NUMA and huge pages.

use crate::api::prometheus::family::{Context, Family, Group, Row};
use crate::api::prometheus::options::Profile;
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::Writer;
use crate::sample::container::{Hugetlb, NumaPages, Pressure};
use crate::sample::kinds::MetricKind::{
    Cpuset, Hugetlb as HugetlbKind, Memory, MemoryNuma, Pressure as PressureKind, ReferencedMemory,
};
use crate::sample::memory_stat::ReportedStat;
use crate::sample::unread::Part;
use crate::units::Micros;

pub(super) const FAMILIES: &[Family] = &[
    Family::gauge("container_memory_usage_bytes", "Memory in use, page cache included.", |row, _, out| {
        Context::memory_in(row, out, Part::MemoryUsage, |memory| memory.usage);
    })
    .of(Memory, Group::Core)
    .recommended(),
    Family::gauge(
        "container_memory_working_set_bytes",
        "Memory in use without file pages that were not used lately.",
        |row, _, out| Context::memory_in(row, out, Part::WorkingSet, |memory| memory.working_set),
    )
    .of(Memory, Group::Core)
    .recommended(),
    Family::gauge("container_memory_rss", "Anonymous memory, in bytes.", |row, _, out| {
        Context::memory_in(row, out, Part::Rss, |memory| memory.rss);
    })
    .of(Memory, Group::Core)
    .recommended(),
    Family::gauge("container_memory_cache", "Page cache, in bytes.", |row, _, out| {
        Context::memory_in(row, out, Part::Cache, |memory| memory.cache);
    })
    .of(Memory, Group::MoreMemory)
    .recommended(),
    Family::gauge("container_memory_swap", "Swap space in use, in bytes.", |row, ctx, out| {
        ctx.memory(row, out, &[Part::Swap, Part::MemoryStat], |memory| memory.swap);
    })
    .of(Memory, Group::MoreMemory)
    .recommended(),
    Family::gauge("container_memory_mapped_file", "Mapped files, in bytes.", |row, _, out| {
        Context::memory_in(row, out, Part::MappedFile, |memory| memory.mapped_file);
    })
    .of(Memory, Group::MoreMemory),
    Family::gauge("container_memory_max_usage_bytes", "Most memory ever in use.", |row, ctx, out| {
        ctx.memory(row, out, &[Part::MemoryPeak], |memory| memory.max_usage);
    })
    .of(Memory, Group::MoreMemory)
    .recommended(),
    Family::gauge("container_memory_kernel_usage", "Memory that the kernel uses, in bytes.", |row, ctx, out| {
        ctx.memory(row, out, &[Part::KernelMemory, Part::MemoryStat], |memory| memory.kernel);
    })
    .of(Memory, Group::MoreMemory),
    Family::gauge(
        "container_memory_total_active_file_bytes",
        "File pages that were used lately, of the subtree.",
        |row, ctx, out| ctx.memory(row, out, &[Part::MemoryStat], |memory| memory.active_file),
    )
    .of(Memory, Group::MoreMemory),
    Family::gauge(
        "container_memory_total_inactive_file_bytes",
        "File pages that were not used lately, of the subtree.",
        |row, ctx, out| ctx.memory(row, out, &[Part::MemoryStat], |memory| memory.inactive_file),
    )
    .of(Memory, Group::MoreMemory),
    Family::gauge("container_memory_file_dirty_bytes", "File pages to be written back.", |row, ctx, out| {
        stat(row, ctx, out, |stat| stat.file_dirty);
    })
    .of(Memory, Group::MoreMemory),
    Family::gauge("container_memory_file_writeback_bytes", "File pages being written back.", |row, ctx, out| {
        stat(row, ctx, out, |stat| stat.file_writeback);
    })
    .of(Memory, Group::MoreMemory),
    Family::counter("container_memory_failcnt", "Times that a memory limit was hit.", |row, ctx, out| {
        ctx.memory(row, out, &[Part::Failcnt], |memory| memory.failcnt);
    })
    .of(Memory, Group::MoreMemory)
    .recommended(),
    Family::counter("container_memory_failures_total", "Page faults.", failures)
        .of(Memory, Group::MoreMemory)
        .labels(&["failure_type", "scope"])
        .recommended(),
    Family::counter(
        "container_memory_events_high_total",
        "Times that the container was throttled above memory.high.",
        |row, ctx, out| ctx.memory(row, out, &[Part::MemoryEvents], |memory| memory.events?.high),
    )
    .of(Memory, Group::MoreMemory)
    .recommended(),
    Family::counter(
        "container_memory_events_max_total",
        "Times that the container was about to exceed memory.max.",
        |row, ctx, out| ctx.memory(row, out, &[Part::MemoryEvents], |memory| memory.events?.max),
    )
    .of(Memory, Group::MoreMemory)
    .recommended(),
    Family::counter("container_memory_pgscan_total", "Pages looked at for reclaim.", |row, ctx, out| {
        stat(row, ctx, out, |stat| stat.pgscan);
    })
    .of(Memory, Group::MoreMemory),
    Family::counter("container_memory_pgsteal_total", "Pages reclaimed.", |row, ctx, out| {
        stat(row, ctx, out, |stat| stat.pgsteal);
    })
    .of(Memory, Group::MoreMemory),
    Family::counter(
        "container_memory_workingset_refault_anon_total",
        "Anonymous pages that came back soon after they were evicted.",
        |row, ctx, out| stat(row, ctx, out, |stat| stat.workingset_refault_anon),
    )
    .of(Memory, Group::MoreMemory),
    Family::counter(
        "container_memory_workingset_refault_file_total",
        "File pages that came back soon after they were evicted.",
        |row, ctx, out| stat(row, ctx, out, |stat| stat.workingset_refault_file),
    )
    .of(Memory, Group::MoreMemory),
    Family::gauge(
        "container_memory_migrate",
        "Whether memory moves along when the cpuset changes: 1 or 0.",
        |row, ctx, out| {
            if let Some(sample) = row.sample {
                ctx.value(sample, &[Part::Migrate], sample.cpuset_memory_migrate, out);
            }
        },
    )
    .of(Cpuset, Group::MemoryDetails),
    Family::gauge("container_referenced_bytes", "Memory that the processes touched lately.", |row, ctx, out| {
        if let Some(sample) = row.sample {
            ctx.value(sample, &[Part::Referenced], sample.referenced, out);
        }
    })
    .of(ReferencedMemory, Group::MemoryDetails),
    Family::gauge("container_memory_numa_pages", "Pages by NUMA node.", numa)
        .of(MemoryNuma, Group::MemoryDetails)
        .labels(&["node", "scope", "type"]),
    Family::gauge("container_hugetlb_usage_bytes", "Huge pages in use, by size.", |row, ctx, out| {
        hugetlb(row, ctx, out, |size| size.usage);
    })
    .of(HugetlbKind, Group::MemoryDetails)
    .labels(&["pagesize"]),
    Family::gauge("container_hugetlb_max_usage_bytes", "Most huge pages ever in use, by size.", |row, ctx, out| {
        hugetlb(row, ctx, out, |size| size.max_usage);
    })
    .of(HugetlbKind, Group::MemoryDetails)
    .labels(&["pagesize"]),
    Family::counter(
        "container_hugetlb_failcnt",
        "Times that a limit of huge pages was hit, by size.",
        |row, ctx, out| {
            hugetlb(row, ctx, out, |size| size.failcnt);
        },
    )
    .of(HugetlbKind, Group::MemoryDetails)
    .labels(&["pagesize"]),
    Family::counter(
        "container_pressure_memory_waiting_seconds_total",
        "Time in which at least one task waited for memory.",
        |row, ctx, out| pressure(row, ctx, out, |pressure| Some(pressure.some?.total)),
    )
    .of(PressureKind, Group::Pressure)
    .recommended(),
    Family::counter(
        "container_pressure_memory_stalled_seconds_total",
        "Time in which all tasks waited for memory.",
        |row, ctx, out| pressure(row, ctx, out, |pressure| Some(pressure.full?.total)),
    )
    .of(PressureKind, Group::Pressure)
    .recommended(),
];

fn stat(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>, get: impl FnOnce(&ReportedStat) -> Option<u64>) {
    ctx.memory(row, out, &[Part::MemoryStat], |_| get(&row.stat));
}

/// By type and scope; in the recommended profile those that needed I/O, of the subtree.
fn failures(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>) {
    let Some(sample) = row.sample else { return };
    let Some(memory) = &sample.memory else { return };
    let (own, hierarchical) = (memory.own_faults, memory.hierarchical_faults);
    let mut report = |kind, scope, part, count: u64| {
        if !sample.unread.has(part) {
            out.with(&[("failure_type", Text::Is(kind)), ("scope", Text::Is(scope))], count);
        }
    };
    if ctx.profile == Profile::Compatible {
        report("pgfault", "container", Part::OwnFaults, own.pgfault);
        report("pgfault", "hierarchy", Part::AllFaults, hierarchical.pgfault);
        report("pgmajfault", "container", Part::OwnMajorFaults, own.pgmajfault);
    }
    report("pgmajfault", "hierarchy", Part::AllMajorFaults, hierarchical.pgmajfault);
}

fn numa(row: &Row<'_>, _: &Context<'_>, out: &mut Writer<'_>) {
    let Some(numa) = row.sample.and_then(|sample| sample.memory.as_ref()).and_then(|memory| memory.numa.as_ref())
    else {
        return;
    };
    for (scope, NumaPages { file, anon, unevictable }) in [("container", &numa.own), ("hierarchy", &numa.hierarchical)]
    {
        for (kind, nodes) in [("file", file), ("anon", anon), ("unevictable", unevictable)] {
            for (node, pages) in nodes {
                let node = Text::Number((*node).into());
                out.with(&[("node", node), ("scope", Text::Is(scope)), ("type", Text::Is(kind))], *pages);
            }
        }
    }
}

fn hugetlb<T: Into<Value> + Default>(
    row: &Row<'_>,
    ctx: &Context<'_>,
    out: &mut Writer<'_>,
    get: impl Fn(&Hugetlb) -> Option<T>,
) {
    let Some(sample) = row.sample else { return };
    for size in sample.hugetlb.iter().flatten() {
        if let Some(value) = ctx.or_zero(sample.unread, &[Part::Hugetlb], get(size)) {
            out.with(&[("pagesize", Text::Is(&size.page_size))], value);
        }
    }
}

fn pressure(row: &Row<'_>, ctx: &Context<'_>, out: &mut Writer<'_>, get: impl FnOnce(&Pressure) -> Option<Micros>) {
    ctx.memory(row, out, &[Part::MemoryPressure], |memory| memory.pressure.as_ref().and_then(get));
}
