//! Cores and caches sorted into nodes, as cAdvisor does it.

use std::collections::BTreeMap;

use super::{huge_pages, kib};
use crate::kernel::HostRoots;
use crate::kernel::machine::Survey;
use crate::kernel::machine::topology::{self as kernel, Cpu};
use crate::sample::machine::{Cache, Core, Node};

/// Caches above this level belong to more than one core.
const LAST_CORE_LEVEL: u32 = 2;

/// The NUMA nodes with the cores of the CPUs that are switched on; without NUMA one node per socket.
pub(super) fn nodes(survey: &mut Survey, roots: &HostRoots, cpus: &[Cpu]) -> Vec<Node> {
    let numa_nodes = kernel::numa_nodes(survey, roots);
    if numa_nodes.is_empty() {
        let mut sockets = BTreeMap::<i32, Vec<&Cpu>>::new();
        for cpu in cpus {
            if let Some(socket) = cpu.physical_package_id {
                sockets.entry(socket).or_default().push(cpu);
            }
        }
        let sockets = sockets.into_iter().map(|(id, cpus)| Node { id, cores: cores(cpus), ..Node::default() });
        return sockets.map(|node| with_caches(survey, roots, node)).collect();
    }
    let nodes = numa_nodes.into_iter().map(|node| {
        let own = cpus.iter().filter(|cpu| node.cpus.binary_search(&cpu.id).is_ok());
        let node = Node {
            id: i32::try_from(node.id).unwrap_or(i32::MAX),
            memory: node.mem_total_kb.map(kib),
            huge_pages: node.huge_pages.map(huge_pages),
            cores: cores(own),
            caches: Vec::new(),
            distances: node.distances,
        };
        with_caches(survey, roots, node)
    });
    nodes.collect()
}

/// CPUs with the same core id and socket (and book and drawer) are one core. A CPU of which either is unknown is in
/// none.
fn cores<'a>(cpus: impl IntoIterator<Item = &'a Cpu>) -> Vec<Core> {
    let mut cores = Vec::<Core>::new();
    for cpu in cpus {
        let (Some(id), Some(socket)) = (cpu.core_id, cpu.physical_package_id) else { continue };
        let same = |core: &&mut Core| {
            core.id == id && core.socket == socket && core.book == cpu.book_id && core.drawer == cpu.drawer_id
        };
        match cores.iter_mut().find(same) {
            Some(core) => core.threads.push(cpu.id),
            None => cores.push(Core {
                id,
                socket,
                book: cpu.book_id.clone(),
                drawer: cpu.drawer_id.clone(),
                threads: vec![cpu.id],
                ..Core::default()
            }),
        }
    }
    cores
}

/// A cache above level 2 is the node's when all its CPUs share it, else the core's uncore cache; one of level 1 or 2 is
/// the core's when exactly its threads share it, and else not listed.
fn with_caches(survey: &mut Survey, roots: &HostRoots, mut node: Node) -> Node {
    let core_count = node.cores.len();
    for core in &mut node.cores {
        let threads = core.threads.len();
        for cache in core.threads.first().map(|cpu| kernel::caches(survey, roots, *cpu)).unwrap_or_default() {
            let shared_by = cache.shared_by as usize;
            let is_the_cores_own = cache.level <= LAST_CORE_LEVEL;
            let cache = Cache { id: cache.id, size: kib(cache.size_kb), kind: cache.kind, level: cache.level };
            let list = match is_the_cores_own {
                true if shared_by == threads => &mut core.caches,
                true => continue,
                false if shared_by == core_count * threads => &mut node.caches,
                false => &mut core.uncore_caches,
            };
            // Every core reports the node's caches.
            if is_the_cores_own || !list.contains(&cache) {
                list.push(cache);
            }
        }
    }
    node
}
