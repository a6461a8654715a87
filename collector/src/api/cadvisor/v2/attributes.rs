//! `Attributes`: the versions on the machine, and some of what its own resource reports.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::api::cadvisor::machine;
use crate::api::cadvisor::machine::{
    DiskInfo, FsInfo, HugePagesInfo, MachineInfo, NetInfo, NodeInfo, container_os_version, kernel_version,
};
use crate::api::wire::json;
use crate::sample::machine::Machine;

/// The versions on the machine, and some of what the machine is.
#[derive(JsonSchema, Serialize)]
struct Attributes<'a> {
    kernel_version: &'a str,
    container_os_version: &'a str,
    // Empty since cAdvisor no longer asks Docker.
    docker_version: &'static str,
    docker_api_version: &'static str,
    cadvisor_version: &'a str,
    num_cores: u32,
    cpu_frequency_khz: u64,
    memory_capacity: u64,
    machine_id: &'a str,
    system_uuid: &'a str,
    hugepages: Option<Vec<HugePagesInfo>>,
    filesystems: Option<Vec<FsInfo<'a>>>,
    disk_map: Option<BTreeMap<String, DiskInfo<'a>>>,
    network_devices: Option<Vec<NetInfo<'a>>>,
    topology: Option<Vec<NodeInfo<'a>>>,
    cloud_provider: &'static str,
    instance_type: &'a str,
}

/// The schema of one.
pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Attributes<'_>>()
}

/// Renders the attributes of a machine with this version of the collector.
pub(super) fn render(machine: &Machine, version: &str) -> bytes::Bytes {
    let MachineInfo {
        num_cores,
        cpu_frequency_khz,
        memory_capacity,
        machine_id,
        system_uuid,
        hugepages,
        filesystems,
        disk_map,
        network_devices,
        topology,
        cloud_provider,
        instance_type,
        ..
    } = machine::render(machine);
    json::to_bytes(&Attributes {
        kernel_version: kernel_version(machine),
        container_os_version: container_os_version(machine),
        docker_version: "",
        docker_api_version: "",
        cadvisor_version: version,
        num_cores,
        cpu_frequency_khz,
        memory_capacity,
        machine_id,
        system_uuid,
        hugepages,
        filesystems,
        disk_map,
        network_devices,
        topology,
        cloud_provider,
        instance_type,
    })
}
