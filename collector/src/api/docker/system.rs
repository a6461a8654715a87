//! `/version` and `/info`: what clients look at before they look at containers.

use axum::response::Response;
use serde::Serialize;

use super::version::{NEWEST, OLDEST};
use crate::api::backend::Node;
use crate::api::backend::docker::CgroupVersion;
use crate::api::http::responses;
use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::sample::machine::Machine;

/// The architecture in Go's words.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version<'a> {
    platform: Platform,
    components: [Component<'a>; 1],
    version: &'a str,
    api_version: String,
    #[serde(rename = "MinAPIVersion")]
    min_api_version: String,
    git_commit: &'a str,
    go_version: &'a str,
    os: &'a str,
    arch: &'a str,
    kernel_version: &'a str,
    build_time: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Platform {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Component<'a> {
    name: &'a str,
    version: &'a str,
    details: Details<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Details<'a> {
    api_version: String,
    #[serde(rename = "MinAPIVersion")]
    min_api_version: String,
    os: &'a str,
    arch: &'a str,
    kernel_version: &'a str,
}

/// `/version`.
pub(super) fn version<S: Node>(source: &S) -> Response {
    let machine = source.machine();
    let version = source.version().trim_start_matches('v');
    let (os, arch, kernel_version) = ("linux", go_architecture(), machine.kernel_release.as_str());
    let (api_version, min_api_version) = (NEWEST.text(), OLDEST.text());
    let details = Details { api_version, min_api_version, os, arch, kernel_version };
    responses::json(json::to_bytes(&Version {
        platform: Platform { name: "collector" },
        components: [Component { name: "Engine", version, details }],
        version,
        api_version: NEWEST.text(),
        min_api_version: OLDEST.text(),
        git_commit: "",
        go_version: "",
        os,
        arch,
        kernel_version,
        build_time: "",
    }))
}

/// What clients read of `/info`. Counts of what only an engine knows are left out: a client reads them as 0.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Info<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    containers: usize,
    containers_running: usize,
    containers_paused: usize,
    containers_stopped: usize,
    name: String,
    server_version: &'a str,
    kernel_version: &'a str,
    operating_system: &'a str,
    #[serde(rename = "OSType")]
    os_type: &'a str,
    architecture: &'a str,
    #[serde(rename = "NCPU")]
    cpus: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_total: Option<u64>,
    cgroup_driver: &'a str,
    cgroup_version: &'a str,
    system_time: GoTime,
}

/// `/info`.
pub(super) fn info<S: Node>(source: &S) -> Response {
    let machine = source.machine();
    let containers = source.runtime_containers();
    let Machine { kernel_release, os, machine_id, cpus, memory, .. } = &*machine;
    let systemd = containers.iter().any(|container| container.cgroup.ends_with(b".scope"));
    responses::json(json::to_bytes(&Info {
        id: machine_id.as_deref().unwrap_or_default(),
        containers: containers.len(),
        containers_running: containers.len(),
        containers_paused: 0,
        containers_stopped: 0,
        name: source.host_name(),
        server_version: source.version().trim_start_matches('v'),
        kernel_version: kernel_release,
        operating_system: os.as_ref().and_then(|os| os.pretty_name.as_deref()).unwrap_or_default(),
        os_type: "linux",
        architecture: std::env::consts::ARCH,
        cpus: cpus.online,
        mem_total: memory.map(|memory| memory.0),
        cgroup_driver: if systemd { "systemd" } else { "cgroupfs" },
        cgroup_version: match source.cgroup_version() {
            CgroupVersion::V1 => "1",
            CgroupVersion::V2 => "2",
        },
        system_time: GoTime(Some(source.now())),
    }))
}
