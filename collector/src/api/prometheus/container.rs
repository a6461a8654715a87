//! The families that report containers, by what they are about.

mod block_devices;
mod cpu;
mod extensions;
mod filesystems;
mod hardware;
mod lifetime;
mod memory;
mod network;
mod processes;

use super::family::Family;

#[cfg(test)]
pub(super) use extensions::FAMILIES as EXTENSIONS;

/// All of them, in no order.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    [
        block_devices::FAMILIES,
        cpu::FAMILIES,
        extensions::FAMILIES,
        filesystems::FAMILIES,
        hardware::FAMILIES,
        lifetime::FAMILIES,
        memory::FAMILIES,
        network::FAMILIES,
        processes::FAMILIES,
    ]
    .into_iter()
    .flatten()
}
