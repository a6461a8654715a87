//! What Docker and podman answer about a container, as far as it is looked at. Any key may be absent or `null`.

use std::collections::HashMap;

use serde::Deserialize;

/// `GET /containers/{id}/json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) name: Option<String>,
    pub(super) created: Option<String>,
    pub(super) restart_count: Option<i64>,
    pub(super) driver: Option<String>,
    pub(super) hostname_path: Option<String>,
    pub(super) resolv_conf_path: Option<String>,
    pub(super) log_path: Option<String>,
    pub(super) state: Option<State>,
    pub(super) config: Option<Config>,
    pub(super) host_config: Option<HostConfig>,
    pub(super) network_settings: Option<NetworkSettings>,
    pub(super) graph_driver: Option<GraphDriver>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    pub(super) pid: Option<i64>,
    pub(super) started_at: Option<String>,
    pub(super) health: Option<Health>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Health {
    pub(super) status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    pub(super) image: Option<String>,
    pub(super) labels: Option<HashMap<String, String>>,
    pub(super) env: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HostConfig {
    pub(super) network_mode: Option<String>,
    pub(super) cgroup_parent: Option<String>,
    pub(super) log_config: Option<LogConfig>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LogConfig {
    #[serde(rename = "Type")]
    pub(super) kind: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NetworkSettings {
    pub(super) networks: Option<HashMap<String, Endpoint>>,
}

/// A container in one network.
#[derive(Default, Deserialize)]
pub(super) struct Endpoint {
    #[serde(rename = "IPAddress")]
    pub(super) ip_address: Option<String>,
    #[serde(rename = "GlobalIPv6Address")]
    pub(super) global_ipv6_address: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GraphDriver {
    pub(super) name: Option<String>,
    pub(super) data: Option<HashMap<String, String>>,
}
