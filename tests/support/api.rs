//! The parts of the JSON API that the tests look at.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::time::Time;

/// A container with its samples.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Container {
    /// Absolute cgroup name.
    pub(crate) name: String,
    /// Direct children.
    #[serde(default)]
    pub(crate) subcontainers: Vec<Reference>,
    /// Limits.
    pub(crate) spec: Spec,
    /// Samples, oldest first.
    #[serde(default)]
    pub(crate) stats: Vec<Stats>,
}

/// A container's name.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reference {
    /// Absolute cgroup name.
    pub(crate) name: String,
}

/// What a container may use.
#[derive(Clone, Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the shape of the JSON")]
pub(crate) struct Spec {
    pub(crate) creation_time: Time,
    pub(crate) has_cpu: bool,
    pub(crate) cpu: CpuSpec,
    pub(crate) has_memory: bool,
    pub(crate) memory: MemorySpec,
    pub(crate) has_processes: bool,
    pub(crate) processes: ProcessSpec,
    pub(crate) has_network: bool,
    pub(crate) has_diskio: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CpuSpec {
    pub(crate) limit: u64,
    pub(crate) mask: Option<String>,
    pub(crate) quota: Option<u64>,
    pub(crate) period: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MemorySpec {
    pub(crate) limit: Option<u64>,
    pub(crate) reservation: Option<u64>,
    pub(crate) swap_limit: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ProcessSpec {
    pub(crate) limit: Option<u64>,
}

/// One sample.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stats {
    pub(crate) timestamp: Time,
    pub(crate) cpu: Option<Cpu>,
    pub(crate) diskio: Option<DiskIo>,
    pub(crate) memory: Option<Memory>,
    #[serde(default)]
    pub(crate) hugetlb: BTreeMap<String, Hugetlb>,
    pub(crate) network: Option<Network>,
    pub(crate) processes: Option<Processes>,
    pub(crate) task_stats: TaskStats,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct TaskStats {
    pub(crate) nr_sleeping: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) usage: CpuUsage,
    pub(crate) cfs: Cfs,
    pub(crate) schedstat: Schedstat,
    pub(crate) psi: Option<Pressure>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CpuUsage {
    pub(crate) total: u64,
    #[serde(default)]
    pub(crate) per_cpu_usage: Vec<u64>,
    pub(crate) user: u64,
    pub(crate) system: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Cfs {
    pub(crate) periods: u64,
    pub(crate) throttled_periods: u64,
    pub(crate) throttled_time: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Schedstat {
    pub(crate) run_time: u64,
    pub(crate) run_periods: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Pressure {
    pub(crate) some: PressureRow,
    pub(crate) full: PressureRow,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PressureRow {
    pub(crate) total: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Memory {
    pub(crate) usage: u64,
    pub(crate) max_usage: u64,
    pub(crate) cache: u64,
    pub(crate) rss: u64,
    pub(crate) swap: u64,
    pub(crate) mapped_file: u64,
    pub(crate) working_set: u64,
    pub(crate) failcnt: u64,
    pub(crate) container_data: MemoryData,
    pub(crate) hierarchical_data: MemoryData,
    pub(crate) events: Option<MemoryEvents>,
    pub(crate) psi: Option<Pressure>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MemoryData {
    pub(crate) pgfault: u64,
    pub(crate) pgmajfault: u64,
    #[serde(default)]
    pub(crate) numa_stats: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct MemoryEvents {
    pub(crate) max: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct DiskIo {
    #[serde(default)]
    pub(crate) io_service_bytes: Vec<PerDisk>,
    #[serde(default)]
    pub(crate) io_serviced: Vec<PerDisk>,
    pub(crate) psi: Option<Pressure>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PerDisk {
    pub(crate) device: String,
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) stats: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Hugetlb {
    #[serde(default)]
    pub(crate) usage: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Network {
    #[serde(flatten)]
    pub(crate) first: Interface,
    #[serde(default)]
    pub(crate) interfaces: Vec<Interface>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) rx_bytes: u64,
    pub(crate) rx_packets: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) tx_packets: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Processes {
    pub(crate) process_count: Option<u64>,
    pub(crate) fd_count: Option<u64>,
    pub(crate) socket_count: Option<u64>,
    #[serde(default)]
    pub(crate) threads_current: u64,
    #[serde(default)]
    pub(crate) threads_max: u64,
}

/// An entry of the event log.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) container_name: String,
    pub(crate) timestamp: Time,
    pub(crate) event_type: String,
    #[serde(default)]
    pub(crate) event_data: EventData,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct EventData {
    pub(crate) oom: Option<Oom>,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) container_deletion: Option<ContainerDeletion>,
    pub(crate) exit: Option<Exit>,
}

/// cAdvisor's word about an end.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ContainerDeletion {
    pub(crate) exit_code: i32,
}

/// How a container ended.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Exit {
    pub(crate) reason: String,
    pub(crate) text: String,
    pub(crate) exit_code: i32,
    pub(crate) signal: Option<String>,
    pub(crate) core_dumped: bool,
    pub(crate) pid: u32,
    pub(crate) process_name: String,
    pub(crate) first_process: bool,
    pub(crate) lasted_seconds: f64,
    pub(crate) sent: Option<SentSignal>,
}

/// A signal, and who sent it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SentSignal {
    pub(crate) signal: String,
    pub(crate) seconds_before: f64,
    pub(crate) sender: String,
    pub(crate) pid: Option<u32>,
    pub(crate) container_name: Option<String>,
    pub(crate) runtime: Option<String>,
    pub(crate) limit_container_name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Deletion {
    pub(crate) final_stats: Option<Stats>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Oom {
    pub(crate) pid: u32,
    pub(crate) process_name: String,
    pub(crate) constraint: String,
    pub(crate) victim_container_name: Option<String>,
    pub(crate) trigger_pid: Option<u32>,
    pub(crate) trigger_process_name: Option<String>,
    pub(crate) trigger_container_name: Option<String>,
    pub(crate) limit_container_name: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) total_vm_bytes: Option<u64>,
    pub(crate) anon_rss_bytes: Option<u64>,
}

/// The machine.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Machine {
    pub(crate) timestamp: Time,
    pub(crate) num_cores: u64,
    pub(crate) num_physical_cores: u64,
    pub(crate) num_sockets: u64,
    pub(crate) cpu_frequency_khz: u64,
    pub(crate) memory_capacity: u64,
    pub(crate) swap_capacity: u64,
    pub(crate) boot_id: String,
    pub(crate) filesystems: Option<Vec<Filesystem>>,
    pub(crate) disk_map: Option<BTreeMap<String, Disk>>,
    pub(crate) network_devices: Option<Vec<NetworkDevice>>,
    pub(crate) topology: Option<Vec<Node>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Filesystem {
    pub(crate) device: String,
    pub(crate) capacity: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Disk {
    pub(crate) name: String,
    pub(crate) size: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NetworkDevice {
    pub(crate) name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) memory: u64,
    pub(crate) cores: Option<Vec<Core>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Core {
    pub(crate) thread_ids: Option<Vec<u64>>,
}
