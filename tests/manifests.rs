//! The files of `deploy/` against the schemas of those who read them, and against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::compose::Compose;
use crate::support::engine::program;
use crate::support::harness::{Case, Skip};
use crate::support::kubernetes::{self, check};
use crate::support::manifests::{self, OVERLAYS};
use crate::support::prometheus::promtool;
use crate::support::{Context as _, Result, bail, bytes, ensure, pod};

pub(crate) const CASES: &[Case] = &[
    Case::new("manifests::mistakes_are_found", mistakes_are_found),
    Case::new("manifests::objects_fit_their_schemas", objects_fit_their_schemas),
    Case::new("manifests::objects_fit_each_other", objects_fit_each_other),
    Case::new("manifests::little_is_asked_for", little_is_asked_for),
    // Less than a second.
    Case::new("manifests::history_has_a_volume", history_has_a_volume),
    Case::new("manifests::kubectl_renders_the_same", kubectl_renders_the_same),
    Case::new("manifests::compose_asks_for_the_same", compose_asks_for_the_same),
    Case::new("manifests::prometheus_reads_its_configuration", prometheus_reads_its_configuration),
];

/// The schemas are not so patient that they let everything pass.
fn mistakes_are_found() -> Result<()> {
    let objects = manifests::overlay("prometheus-operator")?;
    let object = |kind: &str| objects.iter().find(|object| object["kind"] == kind).cloned().context("no such object");
    let container = "/spec/template/spec/containers/0";
    for (kind, place, key, value) in [
        ("DaemonSet", "", "apiVersion", json!("apps/v2")),
        ("DaemonSet", "/spec/template/spec", "hostpid", json!(true)),
        ("DaemonSet", container, "securityContxt", json!({})),
        ("DaemonSet", container, "image", json!(1)),
        ("DaemonSet", &format!("{container}/securityContext"), "capabilities", json!({ "added": ["BPF"] })),
        ("DaemonSet", &format!("{container}/ports/0"), "containerPort", json!("8080")),
        ("Service", "/spec", "clusterIp", json!("None")),
        ("NetworkPolicy", "/spec", "ingress", json!([{ "ports": [{ "protcol": "TCP" }] }])),
        ("PodMonitor", "/spec", "podMetricsEndpoint", json!([])),
        ("ServiceAccount", "", "automountServiceAccountToken", json!("false")),
    ] {
        let mut object = object(kind)?;
        check(&object)?;
        object.pointer_mut(place).context("no such place")?[key] = value.clone();
        ensure!(check(&object).is_err(), "{kind}{place}/{key} = {value} is let pass");
    }
    for (kind, place, key) in [
        ("DaemonSet", "/spec", "selector"),
        ("DaemonSet", container, "name"),
        ("DaemonSet", &format!("{container}/volumeMounts/0"), "mountPath"),
        ("PodMonitor", "/spec", "selector"),
    ] {
        let mut object = object(kind)?;
        let fields = object.pointer_mut(place).and_then(Value::as_object_mut).context("no such place")?;
        fields.remove(key);
        ensure!(check(&object).is_err(), "{kind}{place} without {key} is let pass");
    }
    // What a later release added is none of an earlier one's.
    let mut object = object("DaemonSet")?;
    object.pointer_mut("/spec/template/spec").context("no pod")?["hostnameOverride"] = json!("x");
    ensure!(check(&object).is_err(), "1.33 has no hostnameOverride");
    object.pointer_mut("/spec/template/spec").context("no pod")?["hostnameOverride"] = Value::Null;
    ensure!(kubernetes::RELEASES.len() >= 3 && check(&object).is_err(), "a null is let pass");
    Ok(())
}

fn objects_fit_their_schemas() -> Result<()> {
    for overlay in OVERLAYS {
        let objects = manifests::overlay(overlay)?;
        ensure!(objects.len() >= 5, "{overlay} has only {} objects", objects.len());
        for object in &objects {
            check(object).with_context(|| format!("{overlay}: {}", object["kind"]))?;
        }
    }
    Ok(())
}

/// Labels, ports and names by which objects find each other.
fn objects_fit_each_other() -> Result<()> {
    for overlay in OVERLAYS {
        let objects = manifests::overlay(overlay)?;
        let at = |kind: &str, place: &str| {
            let object = objects.iter().find(|object| object["kind"] == kind);
            object.and_then(|object| object.pointer(place)).cloned().with_context(|| format!("no {kind}{place}"))
        };
        let labels = at("DaemonSet", "/spec/template/metadata/labels")?;
        let port = at("DaemonSet", "/spec/template/spec/containers/0/ports/0")?;
        ensure!(at("DaemonSet", "/spec/selector/matchLabels")? == labels, "the pods are not the DaemonSet's");
        ensure!(at("Service", "/spec/selector")? == labels, "the pods are not the Service's");
        ensure!(at("Service", "/spec/ports/0/targetPort")? == port["name"], "the Service has another port");
        ensure!(at("NetworkPolicy", "/spec/podSelector/matchLabels")? == labels, "the policy is for others");
        ensure!(at("NetworkPolicy", "/spec/ingress/0/ports/0/port")? == port["name"], "the policy has another port");
        let account = at("DaemonSet", "/spec/template/spec/serviceAccountName")?;
        ensure!(at("ServiceAccount", "/metadata/name")? == account, "{account} is not made");
        let namespace = at("Namespace", "/metadata/name")?;
        for object in objects.iter().filter(|object| object["kind"] != "Namespace") {
            ensure!(object["metadata"]["namespace"] == namespace, "{overlay}: {} is elsewhere", object["kind"]);
        }
        if overlay == "prometheus-operator" {
            ensure!(at("PodMonitor", "/spec/selector/matchLabels")? == labels, "the monitor is for others");
            for endpoint in ["0", "1"] {
                let monitors = at("PodMonitor", &format!("/spec/podMetricsEndpoints/{endpoint}/port"))?;
                ensure!(monitors == port["name"], "the monitor's port {monitors}");
            }
        }
        pod::translate(&manifests::pod(overlay)?).with_context(|| overlay.to_owned())?;
    }
    Ok(())
}

/// What the documentation promises of the forms.
fn little_is_asked_for() -> Result<()> {
    for overlay in OVERLAYS {
        let pod = manifests::pod(overlay)?;
        ensure!(!pod.host_pid && !pod.host_network, "{overlay}");
        ensure!(pod.automount_service_account_token == Some(false), "{overlay} mounts a token");
        let container = &pod.containers[0];
        for mount in &container.volume_mounts {
            ensure!(mount.read_only, "{overlay} may write to {}", mount.mount_path);
        }
        let security = &container.security_context;
        ensure!(security.read_only_root_filesystem, "{overlay} may write to its root");
        if overlay == "privileged" {
            continue;
        }
        let capabilities = &security.capabilities;
        ensure!(capabilities.drop == ["ALL"], "{overlay} drops {:?}", capabilities.drop);
        let added = &capabilities.add;
        ensure!(*added == ["BPF", "PERFMON", "SYS_NICE", "SYS_PTRACE"], "{overlay} adds {added:?}");
        ensure!(!security.privileged, "{overlay} is privileged");
        let user = pod.security_context.run_as_user;
        ensure!(user == Some(65534), "{overlay} runs as {user:?}");
    }
    Ok(())
}

/// The component that keeps a day on disk, in each overlay: one volume that may be written to, as large as the flag says
/// and a little more.
fn history_has_a_volume() -> Result<()> {
    for overlay in OVERLAYS {
        let objects = manifests::overlay_with(overlay, "history")?;
        objects.iter().try_for_each(check).with_context(|| overlay.to_owned())?;
        let (flags, volume) = manifests::history(&objects)?;
        let size =
            volume["emptyDir"]["sizeLimit"].as_str().and_then(|size| size.strip_suffix("Mi")?.parse::<u64>().ok());
        let bytes = flags.iter().find_map(|flag| flag.strip_prefix("--history_bytes=")?.parse::<u64>().ok());
        let (size, bytes) = (size.context("no size")? * bytes::MIB, bytes.context("no --history_bytes")?);
        ensure!(size > bytes + bytes / 10, "{overlay}: {bytes} bytes of history on a volume of {size}");
        ensure!(manifests::history(&manifests::overlay(overlay)?).is_err(), "{overlay} has it without being asked");
    }
    Ok(())
}

/// Our own rendering, which the other tests stand on, is that of the tool that users have.
fn kubectl_renders_the_same() -> Result<()> {
    let kubectl = program("kubectl")?;
    let version = Command::new(&kubectl).args(["version", "--client", "--output=json"]).output()?;
    let version: Value = serde_json::from_slice(&version.stdout).context("kubectl's version")?;
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
    let minor: u32 = minor.trim_end_matches(|letter: char| !letter.is_ascii_digit()).parse()?;
    if minor < 21 {
        return Err(Skip::because(format!("kubectl 1.{minor} has a kustomize that knows no patches: 1.21 is needed")));
    }
    for overlay in OVERLAYS {
        let folder = manifests::path(&format!("kubernetes/overlays/{overlay}"))?;
        let rendered = Command::new(&kubectl).arg("kustomize").arg(folder).output()?;
        ensure!(rendered.status.success(), "{overlay}: {}", String::from_utf8_lossy(&rendered.stderr));
        let sorted = |objects: Vec<Value>| -> BTreeMap<String, Value> {
            objects.into_iter().map(|object| (format!("{:?}", manifests::identity(&object)), object)).collect()
        };
        let theirs = sorted(manifests::documents(&String::from_utf8(rendered.stdout)?)?);
        let ours = sorted(manifests::overlay(overlay)?);
        for (name, theirs) in &theirs {
            let ours = ours.get(name).with_context(|| format!("{name} is not in our {overlay}"))?;
            let (theirs, ours) = (unordered(theirs), unordered(ours));
            ensure!(theirs == ours, "{overlay}: {name} is\n{ours:#}\nbut kubectl has\n{theirs:#}");
        }
        ensure!(theirs.len() == ours.len(), "{overlay}: kubectl has other objects");
    }
    Ok(())
}

/// Lists whose order a strategic merge leaves open, sorted.
fn unordered(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), unordered(value))).collect())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(unordered).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other.clone(),
    }
}

/// The compose file gives the collector what the `DaemonSet` with its own system call filter does, but for the runtime.
fn compose_asks_for_the_same() -> Result<()> {
    let (path, compose) = Compose::read()?;
    let service = compose.services.get("collector").context("no collector")?;
    let container = pod::translate(&manifests::pod("least-privilege-seccomp")?)?.config;
    let host = &container["HostConfig"];
    ensure!(service.image == format!("${{COLLECTOR_IMAGE:-{}}}", container["Image"].as_str().unwrap_or_default()));
    // Docker's socket is its group's, the others' are the root group's.
    ensure!(service.user.as_deref() == Some("65534:65534") && container["User"] == "65534:0", "{:?}", service.user);
    let flags: Vec<String> = serde_json::from_value::<Option<_>>(container["Cmd"].clone())?.unwrap_or_default();
    ensure!(service.command == flags, "command {:?}", service.command);
    ensure!(json!(service.cap_add) == host["CapAdd"] && json!(service.cap_drop) == host["CapDrop"], "capabilities");
    ensure!(json!(service.read_only) == host["ReadonlyRootfs"], "its root");
    ensure!(service.mem_limit.as_deref() == Some("256m") && host["Memory"] == 256 * bytes::MIB, "memory");
    ensure!(service.cpus == Some(1.0) && host["NanoCpus"] == 1_000_000_000, "CPU time");
    ensure!(service.stop_grace_period.as_deref() == Some("10s") && container["StopTimeout"] == 10, "time to stop");
    ensure!(service.ports == ["127.0.0.1:8080:8080"], "ports {:?}", service.ports);
    let is_of_kubernetes = |path: &str| ["/run/containerd", "/run/crio", "/var/log/pods"].contains(&path);
    let mounts = |mount: &Value| json!([mount["Source"], mount["Target"], mount["ReadOnly"]]);
    let theirs = host["Mounts"].as_array().into_iter().flatten();
    let theirs = theirs.filter(|mount| !mount["Source"].as_str().is_some_and(is_of_kubernetes)).map(mounts);
    ensure!(service.volumes.iter().all(|mount| mount.r#type == "bind"), "volumes");
    let ours = service.volumes.iter().filter(|mount| mount.source != "/var/run/docker.sock");
    let ours: Vec<Value> = ours.map(|mount| json!([mount.source, mount.target, mount.read_only])).collect();
    ensure!(ours == theirs.collect::<Vec<_>>(), "mounts {:?}", service.volumes);
    let [profile, apparmor] = service.security_opt.as_slice() else { bail!("{:?}", service.security_opt) };
    let profile = profile.strip_prefix("seccomp:").context("no seccomp profile")?;
    let profile = path.parent().context("no folder")?.join(profile);
    ensure!(host["SecurityOpt"] == json!([format!("seccomp={}", bytes::read(profile)?), apparmor.replace(':', "=")]));

    let prometheus = compose.services.get("prometheus").context("no Prometheus")?;
    for mount in &prometheus.volumes {
        match mount.r#type.as_str() {
            "bind" => ensure!(path.with_file_name(&mount.source).exists(), "no {}", mount.source),
            "volume" => ensure!(compose.volumes.contains_key(&mount.source), "no {}", mount.source),
            other => bail!("{other} is no volume"),
        }
    }
    let targets: BTreeSet<&str> = prometheus.volumes.iter().map(|mount| mount.target.as_str()).collect();
    ensure!(
        targets == ["/etc/prometheus/prometheus.yml", "/etc/prometheus/rules", "/prometheus"].into(),
        "{targets:?}"
    );
    Ok(())
}

fn prometheus_reads_its_configuration() -> Result<()> {
    let path = manifests::path("compose/prometheus.yml")?;
    let configuration: Value = manifests::yaml(&path)?;
    let target = &configuration["scrape_configs"][0]["static_configs"][0]["targets"][0];
    ensure!(target == "collector:8080", "Prometheus scrapes {target}");
    // Its rules are elsewhere in the container. Debian's Prometheus has no discovery in Kubernetes: `monitors` tries that
    // configuration without it.
    let checked = promtool()?.args(["check", "config", "--syntax-only"]).arg(path).output()?;
    ensure!(checked.status.success(), "promtool: {}", String::from_utf8_lossy(&checked.stderr));
    Ok(())
}
