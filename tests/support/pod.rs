//! A pod as a Docker container: the same user, capabilities, mounts, profiles and limits that a kubelet would ask for.
//!
//! A pod without the node's network gets none at all: the tests reach it from within its network namespace, as probes
//! reach a pod by its address. What this does not translate is an error, so that nothing in a manifest goes untried.

use std::path::Path;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, HTTPGetAction, PodSpec, Probe, SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Context as _, Result, bail, bytes, ensure, manifests};

/// Fields that are translated, or that mean nothing on a single machine.
const POD: [&str; 14] = [
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "enableServiceLinks",
    "hostNetwork",
    "hostPID",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "securityContext",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
];
const POD_SECURITY: [&str; 3] = ["runAsGroup", "runAsNonRoot", "runAsUser"];
const CONTAINER: [&str; 10] = [
    "args",
    "image",
    "imagePullPolicy",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resources",
    "securityContext",
    "volumeMounts",
];
const SECURITY: [&str; 9] = [
    "allowPrivilegeEscalation",
    "appArmorProfile",
    "capabilities",
    "privileged",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seccompProfile",
];

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

fn only(known: &[&str], what: &impl Serialize) -> Result<()> {
    let value = serde_json::to_value(what)?;
    let fields = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let unknown: Vec<&str> = fields.filter(|key| !known.contains(key)).collect();
    ensure!(unknown.is_empty(), "the tests do not know how to give a container {unknown:?}");
    Ok(())
}

/// What a kubelet would start for this pod, with an image that the engine has under another name.
pub(crate) fn translate(pod: &PodSpec) -> Result<Translated> {
    let [container] = pod.containers.as_slice() else { bail!("{} containers instead of one", pod.containers.len()) };
    only(&POD, pod)?;
    only(&CONTAINER, container)?;
    let security = container.security_context.clone().unwrap_or_default();
    only(&SECURITY, &security)?;
    let all = pod.security_context.clone().unwrap_or_default();
    only(&POD_SECURITY, &all)?;
    let user = security.run_as_user.or(all.run_as_user).context("the user is left to the image")?;
    let group = security.run_as_group.or(all.run_as_group).context("the group is left to the image")?;
    let never_root = security.run_as_non_root.or(all.run_as_non_root).unwrap_or(false);
    ensure!(!(never_root && user == 0), "user 0 where root is forbidden");
    let privileged = security.privileged.unwrap_or(false);
    let (capabilities, drop) = capabilities(&security);
    let limits = container.resources.clone().unwrap_or_default().limits.unwrap_or_default();
    let limit = |name: &str| limits.get(name).map(quantity).transpose();
    let memory = limit("memory")?.context("no memory limit")? / 1000;
    let volumes = pod.volumes.as_deref().unwrap_or_default();
    let mut host_config = json!({
        "Mounts": mounts(container, volumes)?,
        "NetworkMode": if pod.host_network.unwrap_or(false) { "host" } else { "none" },
        "PidMode": if pod.host_pid.unwrap_or(false) { "host" } else { "" },
        // As Kubernetes does on cgroup v2. It is the harder case: the collector's own paths begin at its own cgroup.
        "CgroupnsMode": "private",
        "ReadonlyRootfs": security.read_only_root_filesystem.unwrap_or(false),
        "Privileged": privileged,
        "SecurityOpt": security_options(&security)?,
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": limit("cpu")?.context("no CPU limit")? * 1_000_000,
    });
    if !privileged {
        host_config["CapDrop"] = drop.into();
        host_config["CapAdd"] = capabilities.clone().into();
    }
    Ok(Translated {
        config: json!({
            "Image": container.image,
            "Cmd": container.args,
            "User": format!("{user}:{group}"),
            "StopTimeout": pod.termination_grace_period_seconds,
            "HostConfig": host_config,
        }),
        capabilities: (!privileged).then(|| capabilities.iter().map(|name| format!("CAP_{name}")).collect()),
        directories: volumes
            .iter()
            .filter_map(|volume| volume.host_path.as_ref())
            .filter(|host| host.type_.as_deref() == Some("DirectoryOrCreate"))
            .map(|host| host.path.clone())
            .collect(),
        ready: probe(container, container.readiness_probe.as_ref())?,
        alive: probe(container, container.liveness_probe.as_ref())?,
    })
}

/// Capabilities to add and to drop.
fn capabilities(security: &SecurityContext) -> (Vec<String>, Vec<String>) {
    let capabilities = security.capabilities.clone().unwrap_or_default();
    (capabilities.add.unwrap_or_default(), capabilities.drop.unwrap_or_default())
}

fn security_options(security: &SecurityContext) -> Result<Vec<String>> {
    let mut options = Vec::new();
    if security.allow_privilege_escalation == Some(false) {
        options.push("no-new-privileges".to_owned());
    }
    if let Some(SeccompProfile { type_, localhost_profile }) = &security.seccomp_profile {
        match (type_.as_str(), localhost_profile) {
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
        Some(AppArmorProfile { type_, .. }) if type_ == "Unconfined" => options.push("apparmor=unconfined".to_owned()),
        Some(other) => bail!("{other:?} is no AppArmor profile"),
    }
    Ok(options)
}

fn mounts(container: &Container, volumes: &[Volume]) -> Result<Vec<Value>> {
    let mount = |mount: &VolumeMount| {
        only(&["mountPath", "mountPropagation", "name", "readOnly"], mount)?;
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        let volume = volume.with_context(|| format!("there is no volume {}", mount.name))?;
        let host = volume.host_path.as_ref().with_context(|| format!("{} is not of the host", mount.name))?;
        let path = Path::new(&host.path);
        let exists = match host.type_.as_deref() {
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
            "ReadOnly": mount.read_only.unwrap_or(false),
            "BindOptions": { "Propagation": propagation },
        }))
    };
    container.volume_mounts.iter().flatten().map(mount).collect()
}

fn probe(container: &Container, probe: Option<&Probe>) -> Result<(String, u16)> {
    let probe = probe.and_then(|probe| probe.http_get.as_ref()).context("no HTTP probe")?;
    let HTTPGetAction { path: Some(path), port, .. } = probe else { bail!("a probe without a path") };
    let named = |name: &String| {
        let port = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
        port.map(|port| port.container_port).with_context(|| format!("no port is called {name}"))
    };
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => named(name)?,
    };
    Ok((path.clone(), u16::try_from(number)?))
}

/// A quantity in thousandths.
fn quantity(Quantity(text): &Quantity) -> Result<u64> {
    let (digits, factor) = match text.find(|letter: char| !letter.is_ascii_digit()) {
        None => (text.as_str(), 1000),
        Some(at) => match text.split_at(at) {
            (digits, "m") => (digits, 1),
            (digits, "Mi") => (digits, 1000 << 20),
            _ => bail!("{text} is a quantity that the tests do not read"),
        },
    };
    Ok(digits.parse::<u64>().with_context(|| format!("{text} is no quantity"))? * factor)
}
