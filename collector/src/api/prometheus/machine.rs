//! The families that report the machine, and of no container.

use super::family::{Family, Group};
use super::snapshot::Snapshot;
use super::value::Text;
use super::writer::Writer;
use crate::api::cadvisor::machine::{container_os_version, kernel_version};
use crate::sample::kinds::MetricKind::CpuTopology;
use crate::sample::machine::{Cache, Core, Node};

/// All of them. Their labels are the machine's and, listed here, their own.
pub(super) const FAMILIES: &[Family] = &[
    Family::machine("machine_cpu_physical_cores", "Cores of a processor.", |snapshot, out| {
        report(out, snapshot.machine.cpus.cores);
    }),
    Family::machine("machine_cpu_cores", "CPUs that are switched on; a hardware thread is one.", |snapshot, out| {
        out.value(snapshot.machine.cpus.online);
    }),
    Family::machine("machine_cpu_sockets", "Processors.", |snapshot, out| report(out, snapshot.machine.cpus.sockets)),
    Family::machine("machine_cpu_books", "Books of processors (s390x).", |snapshot, out| {
        out.value(snapshot.machine.cpus.books.unwrap_or(0));
    }),
    Family::machine("machine_cpu_drawers", "Drawers of processors (s390x).", |snapshot, out| {
        out.value(snapshot.machine.cpus.drawers.unwrap_or(0));
    }),
    Family::machine("machine_memory_bytes", "Memory.", |snapshot, out| {
        report(out, snapshot.machine.memory.map(|bytes| bytes.0));
    }),
    Family::machine("machine_swap_bytes", "Swap space.", |snapshot, out| {
        report(out, snapshot.machine.swap.map(|bytes| bytes.0));
    }),
    Family::machine("machine_dimm_count", "Memory modules by type.", |snapshot, out| {
        for (kind, modules) in snapshot.machine.memory_modules.iter().flatten() {
            out.with(&[("type", Text::Is(kind))], modules.count);
        }
    })
    .labels(&["type"]),
    Family::machine("machine_dimm_capacity_bytes", "Memory by type of module.", |snapshot, out| {
        for (kind, modules) in snapshot.machine.memory_modules.iter().flatten() {
            out.with(&[("type", Text::Is(kind))], modules.capacity);
        }
    })
    .labels(&["type"]),
    // What only the firmware knows cAdvisor no longer reads and says 0; the names remain.
    Family::machine(
        "machine_nvm_capacity",
        "Persistent memory by mode, in bytes; that of the memory mode is always 0.",
        |snapshot, out| {
            let persistent = snapshot.machine.persistent_memory.unwrap_or_default();
            out.with(&[("mode", Text::Is("app_direct_mode"))], persistent.app_direct);
            out.with(&[("mode", Text::Is("memory_mode"))], 0_u64);
        },
    )
    .labels(&["mode"]),
    Family::machine("machine_nvm_avg_power_budget_watts", "Power budget of persistent memory; always 0.", |_, out| {
        out.value(0_u64);
    }),
    Family::machine("machine_cpu_cache_capacity_bytes", "Caches, by the core or the node they belong to.", caches)
        .of(CpuTopology, Group::Topology)
        .labels(&["core_id", "level", "node_id", "type"]),
    Family::machine("machine_thread_siblings_count", "Threads of the core that a thread is of.", |snapshot, out| {
        for (node, core) in cores(snapshot) {
            for thread in &core.threads {
                let own = [
                    ("core_id", Text::Id(core.id)),
                    ("node_id", Text::Id(node.id)),
                    ("thread_id", Text::Number((*thread).into())),
                ];
                out.with(&own, core.threads.len() as u64);
            }
        }
    })
    .of(CpuTopology, Group::Topology)
    .labels(&["core_id", "node_id", "thread_id"]),
    Family::machine("machine_node_memory_capacity_bytes", "Memory by NUMA node.", |snapshot, out| {
        for node in &snapshot.machine.nodes {
            out.with(&[("node_id", Text::Id(node.id))], node.memory.unwrap_or_default());
        }
    })
    .of(CpuTopology, Group::Topology)
    .labels(&["node_id"]),
    Family::machine("machine_node_hugepages_count", "Huge pages by NUMA node and size in KiB.", |snapshot, out| {
        for node in &snapshot.machine.nodes {
            for pool in node.huge_pages.iter().flatten() {
                let size = Text::Number(pool.page_size.0 / 1024);
                out.with(&[("node_id", Text::Id(node.id)), ("page_size", size)], pool.pages);
            }
        }
    })
    .of(CpuTopology, Group::Topology)
    .labels(&["node_id", "page_size"]),
    Family::machine("machine_node_distance", "Distance of NUMA nodes; 10 to itself.", |snapshot, out| {
        for node in &snapshot.machine.nodes {
            for (position, distance) in node.distances.iter().flatten().enumerate() {
                // The kernel lists the distances to the nodes that there are, in the order of their ids.
                let target = snapshot.machine.nodes.get(position);
                let target = target.map_or(Text::Number(position as u64), |target| Text::Id(target.id));
                out.with(&[("node_id", Text::Id(node.id)), ("target_node_id", target)], *distance);
            }
        }
    })
    .of(CpuTopology, Group::Topology)
    .labels(&["node_id", "target_node_id"]),
    Family::single("machine_scrape_error", "1 if the machine could not be described, else 0.", |_, out| {
        out.value(0_u64);
    }),
    Family::single("container_scrape_error", "1 if containers could not be listed, else 0.", |_, out| {
        out.value(0_u64);
    }),
    Family::single(
        "cadvisor_version_info",
        "Versions of the collector, in cAdvisor's place, of the kernel and of the operating system around the collector.",
        |snapshot, out| {
            let own = [
                ("cadvisorRevision", Text::Is("")),
                ("cadvisorVersion", Text::Is(snapshot.version)),
                ("dockerVersion", Text::Is("")),
                ("kernelVersion", Text::Is(kernel_version(&snapshot.machine))),
                ("osVersion", Text::Is(container_os_version(&snapshot.machine))),
            ];
            out.with(&own, 1_u64);
        },
    )
    .labels(&["cadvisorRevision", "cadvisorVersion", "dockerVersion", "kernelVersion", "osVersion"]),
];

fn report(out: &mut Writer<'_>, value: Option<impl Into<super::value::Value>>) {
    if let Some(value) = value {
        out.value(value);
    }
}

fn cores(snapshot: &Snapshot) -> impl Iterator<Item = (&Node, &Core)> {
    snapshot.machine.nodes.iter().flat_map(|node| node.cores.iter().map(move |core| (node, core)))
}

/// A cache, and of a core's the core: its socket where that has to be named, and its id.
type OfCore<'a> = (Option<(Option<i32>, i32)>, &'a Cache);

/// Core ids count from 0 in each socket, so in a node of two sockets two cores may be called the same: the later one then
/// has its socket before its id. A core may have several caches of one level and type: of these the first is reported.
fn caches(snapshot: &Snapshot, out: &mut Writer<'_>) {
    for node in &snapshot.machine.nodes {
        let of_cores = node.cores.iter().enumerate().flat_map(|(position, core)| {
            let is_known = node.cores[..position].iter().any(|other| other.id == core.id);
            let socket = is_known.then_some(core.socket);
            core.caches.iter().chain(&core.uncore_caches).map(move |cache| (Some((socket, core.id)), cache))
        });
        let all: Vec<OfCore<'_>> = of_cores.chain(node.caches.iter().map(|cache| (None, cache))).collect();
        for (position, (core, cache)) in all.iter().enumerate() {
            let same = |(other_core, other): &OfCore<'_>| {
                (other_core, other.level, &other.kind) == (core, cache.level, &cache.kind)
            };
            if all[..position].iter().any(same) {
                continue;
            }
            let own = [
                (
                    "core_id",
                    match core {
                        None => Text::Is(""),
                        Some((None, id)) => Text::Id(*id),
                        Some((Some(socket), id)) => Text::IdIn(*socket, *id),
                    },
                ),
                ("level", Text::Number(cache.level.into())),
                ("node_id", Text::Id(node.id)),
                ("type", Text::Is(&cache.kind)),
            ];
            out.with(&own, cache.size);
        }
    }
}
