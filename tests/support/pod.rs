//! A pod as a Docker container: the same user, capabilities, mounts, profiles and limits that a kubelet would ask for.
//!
//! A pod without the node's network gets none at all: the tests reach it from within its network namespace, as probes
//! reach a pod by its address. What this does not translate is an error, so that nothing in a manifest goes untried.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context as _, Result, bail, bytes, ensure, manifests};

/// The fields of a pod that are translated, or that mean nothing on a single machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "named, so that nothing else is let pass")]
pub(crate) struct Pod {
    affinity: Option<Value>,
    pub(crate) automount_service_account_token: Option<bool>,
    pub(crate) containers: Vec<Container>,
    enable_service_links: Option<bool>,
    #[serde(default)]
    pub(crate) host_network: bool,
    #[serde(default, rename = "hostPID")]
    pub(crate) host_pid: bool,
    image_pull_secrets: Option<Value>,
    node_selector: Option<Value>,
    priority_class_name: Option<String>,
    #[serde(default)]
    pub(crate) security_context: PodSecurity,
    service_account_name: Option<String>,
    termination_grace_period_seconds: Option<u64>,
    tolerations: Option<Value>,
    #[serde(default)]
    volumes: Vec<Volume>,
}

/// Whom a pod runs as.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PodSecurity {
    run_as_group: Option<u32>,
    run_as_non_root: Option<bool>,
    pub(crate) run_as_user: Option<u32>,
}

/// A container of a pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "named, so that nothing else is let pass")]
pub(crate) struct Container {
    #[serde(default)]
    args: Option<Vec<String>>,
    pub(crate) image: String,
    image_pull_policy: Option<String>,
    liveness_probe: Option<Probe>,
    name: String,
    #[serde(default)]
    ports: Vec<Port>,
    readiness_probe: Option<Probe>,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    pub(crate) security_context: Security,
    #[serde(default)]
    pub(crate) volume_mounts: Vec<VolumeMount>,
}

/// What a container may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Security {
    pub(crate) allow_privilege_escalation: Option<bool>,
    app_armor_profile: Option<Profile>,
    #[serde(default)]
    pub(crate) capabilities: Capabilities,
    #[serde(default)]
    pub(crate) privileged: bool,
    #[serde(default)]
    pub(crate) read_only_root_filesystem: bool,
    pub(crate) run_as_group: Option<u32>,
    run_as_non_root: Option<bool>,
    pub(crate) run_as_user: Option<u32>,
    seccomp_profile: Option<Profile>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Capabilities {
    pub(crate) add: Vec<String>,
    pub(crate) drop: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    r#type: String,
    localhost_profile: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Resources {
    #[serde(default)]
    limits: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    http_get: Option<HttpGet>,
}

#[derive(Clone, Debug, Deserialize)]
struct HttpGet {
    path: Option<String>,
    port: Value,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    host_path: Option<HostPath>,
}

#[derive(Clone, Debug, Deserialize)]
struct HostPath {
    path: String,
    r#type: Option<String>,
}

/// Where a volume is in a container.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct VolumeMount {
    pub(crate) mount_path: String,
    mount_propagation: Option<String>,
    name: String,
    #[serde(default)]
    pub(crate) read_only: bool,
}

impl Pod {
    /// Reads a pod's `spec`; what the tests do not know how to give a container is an error.
    pub(crate) fn read(spec: &Value) -> Result<Self> {
        serde_json::from_value(spec.clone()).context("the tests do not know how to start this pod")
    }
}

/// A pod of one container, ready to be given to an engine.
#[derive(Debug)]
pub(crate) struct Translated {
    /// The body of `POST /containers/create`.
    pub(crate) config: Value,
    /// All the capabilities it has, where it does not have just all.
    pub(crate) capabilities: Option<Vec<String>>,
    /// Directories of the host that the kubelet makes where they are missing.
    pub(crate) directories: Vec<String>,
    /// Path and port of the probes.
    pub(crate) ready: (String, u16),
    pub(crate) alive: (String, u16),
}

impl Translated {
    /// A container as its engine is asked for it. Nobody probes it but the tests.
    pub(crate) fn of_docker(config: Value) -> Self {
        let added = config["HostConfig"]["CapAdd"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let capabilities = Some(added.map(|name| format!("CAP_{name}")).collect());
        let probe = |path: &str| (path.to_owned(), 8080);
        Self { config, capabilities, directories: Vec::new(), ready: probe("/readyz"), alive: probe("/healthz") }
    }
}

/// What a kubelet would start for this pod, with an image that the engine has under another name.
pub(crate) fn translate(pod: &Pod) -> Result<Translated> {
    let [container] = pod.containers.as_slice() else { bail!("{} containers instead of one", pod.containers.len()) };
    let (security, all) = (&container.security_context, &pod.security_context);
    let user = security.run_as_user.or(all.run_as_user).context("the user is left to the image")?;
    let group = security.run_as_group.or(all.run_as_group).context("the group is left to the image")?;
    let never_root = security.run_as_non_root.or(all.run_as_non_root).unwrap_or(false);
    ensure!(!(never_root && user == 0), "user 0 where root is forbidden");
    let privileged = security.privileged;
    let capabilities = &security.capabilities;
    let limit = |name: &str| container.resources.limits.get(name).map(|text| quantity(text)).transpose();
    let memory = limit("memory")?.context("no memory limit")? / 1000;
    let mut host_config = json!({
        "Mounts": mounts(container, &pod.volumes)?,
        "NetworkMode": if pod.host_network { "host" } else { "none" },
        "PidMode": if pod.host_pid { "host" } else { "" },
        // As Kubernetes does on cgroup v2. It is the harder case: the collector's own paths begin at its own cgroup.
        "CgroupnsMode": "private",
        "ReadonlyRootfs": security.read_only_root_filesystem,
        "Privileged": privileged,
        "SecurityOpt": security_options(security)?,
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": limit("cpu")?.context("no CPU limit")? * 1_000_000,
    });
    if !privileged {
        host_config["CapDrop"] = capabilities.drop.clone().into();
        host_config["CapAdd"] = capabilities.add.clone().into();
    }
    Ok(Translated {
        config: json!({
            "Image": container.image,
            "Cmd": container.args,
            "User": format!("{user}:{group}"),
            "StopTimeout": pod.termination_grace_period_seconds,
            "HostConfig": host_config,
        }),
        capabilities: (!privileged).then(|| capabilities.add.iter().map(|name| format!("CAP_{name}")).collect()),
        directories: pod
            .volumes
            .iter()
            .filter_map(|volume| volume.host_path.as_ref())
            .filter(|host| host.r#type.as_deref() == Some("DirectoryOrCreate"))
            .map(|host| host.path.clone())
            .collect(),
        ready: probe(container, container.readiness_probe.as_ref())?,
        alive: probe(container, container.liveness_probe.as_ref())?,
    })
}

fn security_options(security: &Security) -> Result<Vec<String>> {
    let mut options = Vec::new();
    if security.allow_privilege_escalation == Some(false) {
        options.push("no-new-privileges".to_owned());
    }
    if let Some(Profile { r#type, localhost_profile }) = &security.seccomp_profile {
        match (r#type.as_str(), localhost_profile) {
            ("RuntimeDefault", None) => {}
            ("Unconfined", None) => options.push("seccomp=unconfined".to_owned()),
            ("Localhost", Some(name)) => {
                options.push(format!("seccomp={}", bytes::read(manifests::path("seccomp")?.join(name))?));
            }
            other => bail!("{other:?} is no seccomp profile"),
        }
    }
    match &security.app_armor_profile {
        None => {}
        Some(Profile { r#type, .. }) if r#type == "Unconfined" => options.push("apparmor=unconfined".to_owned()),
        Some(other) => bail!("{other:?} is no AppArmor profile"),
    }
    Ok(options)
}

fn mounts(container: &Container, volumes: &[Volume]) -> Result<Vec<Value>> {
    let mount = |mount: &VolumeMount| {
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        let volume = volume.with_context(|| format!("there is no volume {}", mount.name))?;
        let host = volume.host_path.as_ref().with_context(|| format!("{} is not of the host", mount.name))?;
        let path = Path::new(&host.path);
        let exists = match host.r#type.as_deref() {
            Some("Directory") => path.is_dir(),
            Some("File") => path.is_file(),
            None => true,
            Some("DirectoryOrCreate") => path.is_dir() || !path.exists(),
            other => bail!("{}: {other:?} is no check", host.path),
        };
        ensure!(exists, "the host has no {} of the type that is asked for", host.path);
        let propagation = match mount.mount_propagation.as_deref() {
            None | Some("None") => "rprivate",
            Some("HostToContainer") => "rslave",
            Some(other) => bail!("{other} is no propagation"),
        };
        Ok(json!({
            "Type": "bind",
            "Source": host.path,
            "Target": mount.mount_path,
            "ReadOnly": mount.read_only,
            "BindOptions": { "Propagation": propagation },
        }))
    };
    container.volume_mounts.iter().map(mount).collect()
}

fn probe(container: &Container, probe: Option<&Probe>) -> Result<(String, u16)> {
    let HttpGet { path, port } = probe.and_then(|probe| probe.http_get.as_ref()).context("no HTTP probe")?;
    let path = path.clone().context("a probe without a path")?;
    if let Some(number) = port.as_u64() {
        return Ok((path, u16::try_from(number)?));
    }
    let named = container.ports.iter().find(|named| named.name.as_deref() == port.as_str());
    Ok((path, named.with_context(|| format!("no port is called {port}"))?.container_port))
}

/// A quantity in thousandths.
fn quantity(text: &str) -> Result<u64> {
    let (digits, factor) = match text.find(|letter: char| !letter.is_ascii_digit()) {
        None => (text, 1000),
        Some(at) => match text.split_at(at) {
            (digits, "m") => (digits, 1),
            (digits, "Mi") => (digits, 1000 << 20),
            _ => bail!("{text} is a quantity that the tests do not read"),
        },
    };
    Ok(digits.parse::<u64>().with_context(|| format!("{text} is no quantity"))? * factor)
}
