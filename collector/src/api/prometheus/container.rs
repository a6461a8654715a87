//! The families that report containers, by what they are about.

mod block_devices;
mod block_latency;
mod cpu;
mod extensions;
mod filesystems;
mod hardware;
mod lifetime;
mod memory;
mod network;
mod network_cgroup;
mod processes;
mod run_queue;

use super::family::Family;

/// Those that cAdvisor does not have.
#[cfg(test)]
pub(super) fn beside_cadvisors() -> impl Iterator<Item = &'static Family> {
    extensions::FAMILIES
        .iter()
        .chain(run_queue::FAMILIES)
        .chain(network_cgroup::FAMILIES)
        .chain(block_latency::FAMILIES)
}

/// All of them, in no order.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    [
        block_devices::FAMILIES,
        block_latency::FAMILIES,
        cpu::FAMILIES,
        extensions::FAMILIES,
        filesystems::FAMILIES,
        hardware::FAMILIES,
        lifetime::FAMILIES,
        memory::FAMILIES,
        network::FAMILIES,
        network_cgroup::FAMILIES,
        processes::FAMILIES,
        run_queue::FAMILIES,
    ]
    .into_iter()
    .flatten()
}
