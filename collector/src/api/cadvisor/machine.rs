//! cAdvisor's `MachineInfo`, the same in v1 and v2, and the version facts beside it.
//!
//! Where cAdvisor's shape wants a value and the kernel has none, this is the place that puts 0, `""`, `null` or `[]`,
//! whichever cAdvisor does.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::api::cadvisor::v1::filesystem::kind;
use crate::api::wire::time::GoTime;

use crate::sample::machine::{Cache, Core, Disk, Filesystem, HugePages, Machine, MemoryModules, NetworkDevice, Node};
use crate::units::Bytes;

/// What cAdvisor says for a cloud provider and an instance type that it does not know.
const UNKNOWN: &str = "Unknown";

/// The machine on the wire. Fields in cAdvisor's order.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct MachineInfo<'a> {
    timestamp: GoTime,
    vendor_id: &'a str,
    pub(crate) num_cores: u32,
    num_physical_cores: u32,
    num_sockets: u32,
    #[serde(skip_serializing_if = "is_zero")]
    num_books: u32,
    #[serde(skip_serializing_if = "is_zero")]
    num_drawers: u32,
    pub(crate) cpu_frequency_khz: u64,
    pub(crate) memory_capacity: u64,
    swap_capacity: u64,
    memory_by_type: BTreeMap<&'a str, MemoryByType>,
    nvm: Nvm,
    pub(crate) hugepages: Option<Vec<HugePagesInfo>>,
    pub(crate) machine_id: &'a str,
    pub(crate) system_uuid: &'a str,
    boot_id: &'a str,
    pub(crate) filesystems: Option<Vec<FsInfo<'a>>>,
    pub(crate) disk_map: Option<BTreeMap<String, DiskInfo<'a>>>,
    pub(crate) network_devices: Option<Vec<NetInfo<'a>>>,
    pub(crate) topology: Option<Vec<NodeInfo<'a>>>,
    pub(crate) cloud_provider: &'static str,
    pub(crate) instance_type: &'a str,
    instance_id: &'a str,
}

/// Memory modules of one type, in bytes.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
#[schemars(rename = "MemoryInfo")]
struct MemoryByType {
    capacity: u64,
    dimm_count: u64,
}

/// Persistent memory: cAdvisor no longer reads it, its keys remain. The kernel reports one of them.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize)]
#[schemars(rename = "NVMInfo")]
struct Nvm {
    memory_mode_capacity: u64,
    #[serde(rename = "app direct_mode_capacity")]
    app_direct_mode_capacity: u64,
    avg_power_budget: u64,
}

/// `page_size` in KiB.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub(crate) struct HugePagesInfo {
    page_size: u64,
    num_pages: u64,
}

/// A file system of the machine, in bytes.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub(crate) struct FsInfo<'a> {
    device: &'a str,
    capacity: u64,
    /// `vfs` for everything that `statfs` measures, whatever its type.
    r#type: &'static str,
    inodes: u64,
    has_inodes: bool,
}

/// A block device, in bytes.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub(crate) struct DiskInfo<'a> {
    name: &'a str,
    major: u32,
    minor: u32,
    size: u64,
    scheduler: &'a str,
}

/// A network device; the speed in megabits per second.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub(crate) struct NetInfo<'a> {
    name: &'a str,
    mac_address: &'a str,
    speed: i64,
    mtu: i64,
}

/// A NUMA node; memory in bytes.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Node")]
pub(crate) struct NodeInfo<'a> {
    node_id: i32,
    memory: u64,
    hugepages: Option<Vec<HugePagesInfo>>,
    cores: Option<Vec<CoreInfo<'a>>>,
    caches: Option<Vec<CacheInfo<'a>>>,
    distances: Option<&'a [u64]>,
}

/// A core with its threads.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Core")]
struct CoreInfo<'a> {
    core_id: i32,
    thread_ids: &'a [u32],
    caches: Option<Vec<CacheInfo<'a>>>,
    uncore_caches: Option<Vec<CacheInfo<'a>>>,
    socket_id: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    book_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    drawer_id: &'a str,
}

/// A cache of a CPU, in bytes.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
#[schemars(rename = "Cache")]
struct CacheInfo<'a> {
    id: u32,
    size: u64,
    r#type: &'a str,
    level: u32,
}

/// The schema of a `MachineInfo`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<MachineInfo<'_>>()
}

/// The machine as cAdvisor's clients expect it.
pub fn render(machine: &Machine) -> MachineInfo<'_> {
    MachineInfo {
        timestamp: GoTime(Some(machine.at)),
        vendor_id: text(machine.cpu_vendor.as_ref()),
        num_cores: machine.cpus.online,
        num_physical_cores: machine.cpus.cores.unwrap_or_default(),
        num_sockets: machine.cpus.sockets.unwrap_or_default(),
        num_books: machine.cpus.books.unwrap_or_default(),
        num_drawers: machine.cpus.drawers.unwrap_or_default(),
        cpu_frequency_khz: machine.cpu_frequency_khz.unwrap_or_default(),
        memory_capacity: bytes(machine.memory),
        swap_capacity: bytes(machine.swap),
        memory_by_type: machine.memory_modules.iter().flatten().map(memory_by_type).collect(),
        nvm: Nvm {
            app_direct_mode_capacity: machine.persistent_memory.unwrap_or_default().app_direct.0,
            ..Nvm::default()
        },
        hugepages: machine.huge_pages.as_deref().and_then(huge_pages),
        machine_id: text(machine.machine_id.as_ref()),
        system_uuid: text(machine.system_uuid.as_ref()),
        boot_id: text(machine.boot_id.as_ref()),
        filesystems: null_if_empty(&machine.filesystems, filesystem),
        disk_map: machine.disks.as_ref().map(|disks| disks.iter().map(disk).collect()),
        network_devices: machine.network_devices.as_ref().map(|devices| devices.iter().map(network_device).collect()),
        topology: null_if_empty(&machine.nodes, node),
        cloud_provider: machine.cloud.as_ref().map_or(UNKNOWN, |cloud| cloud.provider.name()),
        instance_type: machine.cloud.as_ref().and_then(|cloud| cloud.instance_type.as_deref()).unwrap_or(UNKNOWN),
        instance_id: text(machine.cloud.as_ref().and_then(|cloud| cloud.instance_id.as_ref())),
    }
}

/// `kernel_version`: the running kernel's release.
pub fn kernel_version(machine: &Machine) -> &str {
    &machine.kernel_release
}

/// `container_os_version`: the name of the operating system around the collector; `Linux` when it has no name,
/// `Unknown` when its `os-release` file cannot be read.
pub fn container_os_version(machine: &Machine) -> &str {
    machine.os.as_ref().map_or(UNKNOWN, |os| os.pretty_name.as_deref().unwrap_or("Linux"))
}

fn memory_by_type<'a>((kind, modules): (&'a String, &MemoryModules)) -> (&'a str, MemoryByType) {
    (kind, MemoryByType { capacity: modules.capacity.0, dimm_count: modules.count })
}

fn huge_pages(pools: &[HugePages]) -> Option<Vec<HugePagesInfo>> {
    null_if_empty(pools, |pool| HugePagesInfo { page_size: pool.page_size.0 / 1024, num_pages: pool.pages })
}

fn filesystem(filesystem: &Filesystem) -> FsInfo<'_> {
    FsInfo {
        device: &filesystem.device,
        capacity: filesystem.capacity.0,
        r#type: kind(&filesystem.fs_type),
        inodes: filesystem.inodes,
        has_inodes: true,
    }
}

fn disk(disk: &Disk) -> (String, DiskInfo<'_>) {
    let Disk { name, major, minor, size, scheduler } = disk;
    let scheduler = scheduler.as_deref().unwrap_or("none");
    (format!("{major}:{minor}"), DiskInfo { name, major: *major, minor: *minor, size: size.0, scheduler })
}

fn network_device(device: &NetworkDevice) -> NetInfo<'_> {
    let NetworkDevice { name, mac_address, speed_mbit, mtu } = device;
    NetInfo { name, mac_address, speed: speed_mbit.unwrap_or_default(), mtu: *mtu }
}

fn node(node: &Node) -> NodeInfo<'_> {
    NodeInfo {
        node_id: node.id,
        memory: bytes(node.memory),
        hugepages: node.huge_pages.as_deref().and_then(huge_pages),
        cores: null_if_empty(&node.cores, core),
        caches: caches(&node.caches),
        distances: node.distances.as_deref(),
    }
}

fn core(core: &Core) -> CoreInfo<'_> {
    CoreInfo {
        core_id: core.id,
        thread_ids: &core.threads,
        caches: caches(&core.caches),
        uncore_caches: caches(&core.uncore_caches),
        socket_id: core.socket,
        book_id: text(core.book.as_ref()),
        drawer_id: text(core.drawer.as_ref()),
    }
}

/// A cache without an id is left out, as cAdvisor does it: schedulers distinguish caches by it, and 0 is another one's.
fn caches(caches: &[Cache]) -> Option<Vec<CacheInfo<'_>>> {
    let known = caches.iter().filter_map(|cache| {
        Some(CacheInfo { id: cache.id?, size: cache.size.0, r#type: &cache.kind, level: cache.level })
    });
    let known = known.collect::<Vec<_>>();
    (!known.is_empty()).then_some(known)
}

/// An empty list of Go's that was never made is `null`.
fn null_if_empty<'a, T, W>(items: &'a [T], wire: impl Fn(&'a T) -> W) -> Option<Vec<W>> {
    (!items.is_empty()).then(|| items.iter().map(wire).collect())
}

fn text(value: Option<&String>) -> &str {
    value.map_or("", String::as_str)
}

fn bytes(value: Option<Bytes>) -> u64 {
    value.unwrap_or_default().0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests;
