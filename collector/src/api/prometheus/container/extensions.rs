//! Families that cAdvisor does not have. What the kernel does not have is absent here, in each profile.

use std::collections::BTreeSet;

use crate::api::prometheus::family::{Context, Family, Group, Moment, Row};
use crate::api::prometheus::options::Labelled;
use crate::api::prometheus::snapshot::Life;
use crate::api::prometheus::value::{Text, Value};
use crate::api::prometheus::writer::Writer;
use crate::sample::container::{MemoryLimit, Misc, Zswap};
use crate::sample::exit::SignalName;
use crate::sample::kinds::MetricKind::{Disk, Memory, Peak};
use crate::sample::pods::VolumeKind;
use crate::sample::runtime_usage::SOURCE;
use crate::store::peaks::Peaks;

pub(in crate::api::prometheus) const FAMILIES: &[Family] = &[
    Family::gauge("container_info", "Always 1: who the container is, with all of its labels.", |row, ctx, out| {
        // Where others do not have the labels, cgroups that no runtime made have it too, so that nothing is lost by a join.
        let asked = ctx.labelled == Labelled::Info || row.identity.is_some();
        if asked && row.life == Life::Running && row.sample.is_some() {
            out.value(1_u64);
        }
    })
    .group(Group::Core)
    .at(Moment::None)
    .with_all_labels(),
    Family::gauge(
        "container_last_exit_code",
        "The exit code of a container that ended lately, 128 and the number of the signal that ended it.",
        |row, _, out| {
            if let Some(exit) = row.exit {
                let signal = exit.deadly_signal().map(|number| SignalName(number).to_string()).unwrap_or_default();
                let labels = [("reason", Text::Is(exit.reason().name())), ("signal", Text::Is(&signal))];
                out.with(&labels, Value::Signed(exit.code().into()));
            }
        },
    )
    .at(Moment::None)
    .labels(&["reason", "signal"])
    .kept(),
    Family::gauge(
        "container_stats_source",
        "Always 1, of containers of which the kernel sees nothing: who says what they use.",
        |row, _, out| {
            if row.is_from_runtime && row.life == Life::Running && row.sample.is_some() {
                out.with(&[("source", Text::Is(SOURCE))], 1_u64);
            }
        },
    )
    .group(Group::Core)
    .at(Moment::None)
    .labels(&["source"]),
    Family::single(
        "container_restarts_total",
        "How often the container of this name was started again, whatever its id, counted by the runtime or since the \
         collector began.",
        |snapshot, out| {
            for (title, count) in &snapshot.restarts {
                let labels = [
                    ("container", Text::Is(&title.container)),
                    ("name", Text::Is(&title.name)),
                    ("namespace", Text::Is(&title.namespace)),
                    ("pod", Text::Is(&title.pod)),
                ];
                out.with(&labels, *count);
            }
        },
    )
    .counted()
    .group(Group::Limits)
    .not_recommended()
    .labels(&["container", "name", "namespace", "pod"]),
    Family::gauge(
        "container_storage_usage_bytes",
        "What the container takes of the node's disk: its writable layer, its log files.",
        |row, _, out| {
            let Some(storage) = row.storage.filter(|_| row.life == Life::Running) else { return };
            for (part, measured) in [("layer", storage.layer), ("logs", storage.logs)] {
                if let Some(measured) = measured {
                    out.with(&[("part", Text::Is(part))], measured.usage.bytes);
                }
            }
        },
    )
    .of(Disk, Group::Filesystems)
    .at(Moment::None)
    .labels(&["part"]),
    Family::single(
        "pod_volume_usage_bytes",
        "What a volume takes of the node's disk that counts as its pod's: emptyDir, configMap.",
        |snapshot, out| {
            // Of two pods of one name, an older one that is just ending, one is reported.
            let mut reported = BTreeSet::new();
            for files in snapshot.pods.values() {
                let Some(pod) = &files.name else { continue };
                for volume in files.volumes.iter().filter(|volume| volume.kind == VolumeKind::LocalEphemeral) {
                    let key = (&pod.namespace, &pod.name, &volume.name);
                    if let Some(used) = volume.used.filter(|_| reported.insert(key)) {
                        let labels = [
                            ("namespace", Text::Is(&pod.namespace)),
                            ("pod", Text::Is(&pod.name)),
                            ("volume", Text::Is(&volume.name)),
                        ];
                        out.with(&labels, used.bytes);
                    }
                }
            }
        },
    )
    .by_kind(Disk)
    .group(Group::Filesystems)
    .not_recommended()
    .labels(&["namespace", "pod", "volume"]),
    Family::gauge(
        "container_peak_memory_usage_bytes",
        "The most memory in use within the last 60 seconds, whoever asks how often.",
        |row, _, out| peak(row, out, |peaks| peaks.memory),
    )
    .of(Peak, Group::MoreMemory)
    .at(Moment::None),
    Family::gauge(
        "container_peak_memory_working_set_bytes",
        "The largest working set within the last 60 seconds.",
        |row, _, out| peak(row, out, |peaks| peaks.working_set),
    )
    .of(Peak, Group::MoreMemory)
    .at(Moment::None),
    Family::gauge(
        "container_peak_cpu_cores",
        "The most CPU used between two samples within the last 60 seconds, in cores.",
        |row, _, out| peak(row, out, |peaks| peaks.cpu.map(Value::Millis)),
    )
    .of(Peak, Group::Tasks)
    .at(Moment::None),
    Family::gauge(
        "container_peak_threads",
        "The most tasks of the subtree within the last 60 seconds.",
        |row, _, out| {
            peak(row, out, |peaks| peaks.threads);
        },
    )
    .of(Peak, Group::Processes)
    .at(Moment::None),
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

fn peak<T: Into<Value>>(row: &Row<'_>, out: &mut Writer<'_>, get: impl FnOnce(&Peaks) -> Option<T>) {
    if let Some(value) = get(&row.peaks) {
        out.value(value);
    }
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
