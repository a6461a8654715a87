//! What the kernel says about the machine, as a sample.

pub(crate) mod mounted;
mod topology;

use std::collections::BTreeSet;
use std::path::Path;

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::machine::cloud::{self, Provider};
use crate::kernel::machine::container_mounts::ListedMounts;
use crate::kernel::machine::cpuinfo::CpuInfo;
use crate::kernel::machine::identity::{self, IdentityFiles};
use crate::kernel::machine::memory::MemInfo;
use crate::kernel::machine::topology::Cpu;
use crate::kernel::machine::{
    Survey, disks, diskstats, filesystems, memory, network_devices, tasks, topology as kernel_topology,
};
use crate::sample::images::{Holds, ImageStore};
use crate::sample::machine::{
    Cloud, CloudProvider, CpuCounts, Disk, DiskCounters, Filesystem, FilesystemRole, Filesystems, HugePages, Machine,
    MemoryModules, NetworkDevice, Node, OsRelease, PersistentMemory, Tasks,
};
use crate::units::{Bytes, WallTime};

/// Reads the machine: what can be read, and the errors of what could not.
///
/// Takes a few milliseconds, at most two seconds when a file system hangs. What the kernel does not have is absent and
/// no error.
pub fn read(roots: &HostRoots, ids: &IdentityFiles, listed: ListedMounts, now: WallTime) -> (Machine, Vec<ReadError>) {
    let mut survey = Survey::default();
    let machine = read_with(&mut survey, roots, ids, listed, now);
    (machine, survey.into_errors())
}

fn read_with(
    survey: &mut Survey,
    roots: &HostRoots,
    ids: &IdentityFiles,
    listed: ListedMounts,
    now: WallTime,
) -> Machine {
    let cpu_info = survey.text(&roots.proc.join("cpuinfo")).map(|text| CpuInfo::parse(&text)).unwrap_or_default();
    let mem_info = survey.lines(&roots.proc.join("meminfo"), MemInfo::parse).unwrap_or_default();
    let cpus = kernel_topology::cpus(survey, roots).unwrap_or_default();
    let nodes = topology::nodes(survey, roots, &cpus);
    Machine {
        at: now,
        kernel_release: identity::kernel_release(),
        // Of the collector's own files, not of the host's: that is what cAdvisor's `container_os_version` means.
        os: identity::os_release(survey, Path::new("/")).map(|os| OsRelease { pretty_name: os.pretty_name }),
        cpus: cpu_counts(&cpu_info, &cpus, &nodes),
        cpu_frequency_khz: kernel_topology::max_frequency_khz(survey, roots).or(cpu_info.frequency_khz),
        cpu_vendor: cpu_info.vendor_id,
        memory: mem_info.mem_total_kb.map(kib),
        swap: mem_info.swap_total_kb.map(kib),
        memory_modules: memory::dimms(survey, roots).map(|by_type| {
            let modules = |dimms: memory::Dimms| MemoryModules {
                capacity: Bytes(dimms.size_mb.saturating_mul(1024 * 1024)),
                count: dimms.count,
            };
            by_type.into_iter().map(|(kind, dimms)| (kind, modules(dimms))).collect()
        }),
        huge_pages: memory::huge_pages(survey, roots).map(huge_pages),
        machine_id: identity::first_of(survey, roots, &ids.machine_id),
        system_uuid: identity::system_uuid(survey, roots),
        boot_id: identity::first_of(survey, roots, &ids.boot_id),
        persistent_memory: memory::persistent_regions(survey, roots)
            .map(|app_direct| PersistentMemory { app_direct: Bytes(app_direct) }),
        cloud: cloud(survey, roots),
        filesystems: filesystems_with(survey, roots, listed, &[]),
        disks: disks::disks(survey, roots).map(|disks| disks.into_iter().map(disk).collect()),
        network_devices: network_devices::network_devices(survey, roots)
            .map(|devices| devices.into_iter().map(network_device).collect()),
        nodes,
    }
}

/// The CPUs of the nodes' cores, and the different ids in `/proc/cpuinfo`, of cores those with their sockets; or where it
/// has none the different pairs of id and socket in sysfs.
fn cpu_counts(info: &CpuInfo, cpus: &[Cpu], nodes: &[Node]) -> CpuCounts {
    let in_cores = nodes.iter().flat_map(|node| &node.cores).map(|core| core.threads.len()).sum::<usize>();
    let online = if in_cores == 0 { cpus.len() } else { in_cores };
    let has_books = cpus.iter().any(|cpu| cpu.book_id.is_some());
    let has_drawers = cpus.iter().any(|cpu| cpu.drawer_id.is_some());
    CpuCounts {
        online: online as u32,
        cores: listed(info.cores).or_else(|| distinct(cpus, |cpu| cpu.core_id.unwrap_or(0))),
        sockets: listed(info.physical_ids).or_else(|| distinct(cpus, |_| 0)),
        books: listed(info.book_ids).or_else(|| distinct(cpus, |cpu| cpu.book_id.clone()).filter(|_| has_books)),
        drawers: listed(info.drawer_ids)
            .or_else(|| distinct(cpus, |cpu| cpu.drawer_id.clone()).filter(|_| has_drawers)),
    }
}

fn listed(count: u32) -> Option<u32> {
    (count > 0).then_some(count)
}

/// How many different pairs of this id and socket there are; a CPU without a socket counts as in socket 0.
fn distinct<T: Ord>(cpus: &[Cpu], id: impl Fn(&Cpu) -> T) -> Option<u32> {
    let pairs = cpus.iter().map(|cpu| (id(cpu), cpu.physical_package_id.unwrap_or(0))).collect::<BTreeSet<_>>();
    listed(pairs.len() as u32)
}

fn kib(kib: u64) -> Bytes {
    Bytes(kib.saturating_mul(1024))
}

fn huge_pages(pools: Vec<memory::HugePages>) -> Vec<HugePages> {
    pools.into_iter().map(|pool| HugePages { page_size: kib(pool.page_size_kb), pages: pool.nr_hugepages }).collect()
}

/// The file systems, how full they are, and which of them the runtimes keep their images on. Takes at most two seconds,
/// when one hangs.
pub fn filesystems(
    roots: &HostRoots,
    listed: ListedMounts,
    image_stores: Vec<ImageStore>,
    now: WallTime,
) -> Filesystems {
    Filesystems { at: now, list: filesystems_with(&mut Survey::default(), roots, listed, &image_stores), image_stores }
}

fn filesystems_with(
    survey: &mut Survey,
    roots: &HostRoots,
    listed: ListedMounts,
    image_stores: &[ImageStore],
) -> Vec<Filesystem> {
    let uuids = filesystems::Uuids::read(survey, roots);
    let stats = diskstats::read(survey, roots);
    let found = filesystems::filesystems(survey, roots, listed);
    // An overlay on the root directory is listed twice; clients look for it under the second name.
    let root = found.iter().rposition(|filesystem| filesystem.partition.mount_point == Path::new("/"));
    let listed = found.into_iter().enumerate().map(|(at, filesystem)| {
        let filesystems::Filesystem { partition, size } = filesystem;
        let uuid = uuids.of(&partition.device).map(str::to_owned);
        Filesystem {
            major: partition.major,
            minor: partition.minor,
            capacity: size.capacity,
            inodes: size.inodes,
            mount_point: partition.mount_point.to_string_lossy().into_owned(),
            usage: Bytes(size.capacity.0.saturating_sub(size.free.0)),
            available: size.available,
            inodes_free: size.inodes_free,
            roles: (Some(at) == root).then_some(FilesystemRole::Root).into_iter().collect(),
            uuid,
            disk: stats.of(&partition.device, (partition.major, partition.minor)).map(disk_counters),
            fs_type: partition.fs_type,
            device: partition.device,
        }
    });
    let mut listed: Vec<_> = listed.collect();
    for store in image_stores {
        let role = match store.holds {
            Holds::Images => FilesystemRole::Images(store.runtime),
            Holds::Containers => FilesystemRole::Containers(store.runtime),
        };
        let held = mounted::filesystem_of(roots, &store.directory, &listed).map(|found| found.device.clone());
        let holder = held.and_then(|device| listed.iter_mut().find(|filesystem| filesystem.device == device));
        if let Some(holder) = holder.filter(|holder| !holder.roles.contains(&role)) {
            holder.roles.push(role);
        }
    }
    listed
}

/// How many tasks there are and may be.
pub fn tasks(roots: &HostRoots, now: WallTime) -> Tasks {
    let tasks::Tasks { max, current } = tasks::read(&mut Survey::default(), roots);
    Tasks { at: now, max, current }
}

/// The listed file system that a directory of the host is on.
pub fn filesystem_of<'a>(roots: &HostRoots, directory: &Path, listed: &'a Filesystems) -> Option<&'a Filesystem> {
    mounted::filesystem_of(roots, directory, &listed.list)
}

fn disk_counters(stats: diskstats::DiskStats) -> DiskCounters {
    let diskstats::DiskStats {
        reads,
        reads_merged,
        sectors_read,
        read_ms,
        writes,
        writes_merged,
        sectors_written,
        write_ms,
        in_progress,
        io_ms,
        weighted_io_ms,
    } = stats;
    DiskCounters {
        reads,
        reads_merged,
        sectors_read,
        read_ms,
        writes,
        writes_merged,
        sectors_written,
        write_ms,
        in_progress,
        io_ms,
        weighted_io_ms,
    }
}

fn cloud(survey: &mut Survey, roots: &HostRoots) -> Option<Cloud> {
    let cloud::Cloud { provider, instance_type, instance_id } = cloud::cloud(survey, roots)?;
    let provider = match provider {
        Provider::Aws => CloudProvider::Aws,
        Provider::Azure => CloudProvider::Azure,
        Provider::Gce => CloudProvider::Gce,
    };
    Some(Cloud { provider, instance_type, instance_id })
}

fn disk(disk: disks::Disk) -> Disk {
    let disks::Disk { name, major, minor, size_sectors, scheduler } = disk;
    Disk { name, major, minor, size: Bytes(size_sectors.saturating_mul(512)), scheduler }
}

fn network_device(device: network_devices::NetworkDevice) -> NetworkDevice {
    let network_devices::NetworkDevice { name, address, mtu, speed_mbit } = device;
    NetworkDevice { name, mac_address: address, speed_mbit, mtu }
}

#[cfg(test)]
mod tests;
