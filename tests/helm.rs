//! The Helm chart, rendered by Helm itself: with each choice its objects fit the schemas, and it asks for what the other
//! forms ask for. A cluster that installs it is not tried; Helm's test pod is only looked at.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::harness::Case;
use crate::support::helm::{Helm, NAMESPACE, RELEASE};
use crate::support::kubernetes::check;
use crate::support::manifests;
use crate::support::pod::{self, Translated};
use crate::support::{Context as _, Result, bytes, ensure};

pub(crate) const CASES: &[Case] = &[
    // Seconds, and the library's download once.
    Case::new("helm::objects_fit_their_schemas", objects_fit_their_schemas).within(240),
    Case::new("helm::asks_for_what_the_overlays_do", asks_for_what_the_overlays_do).within(240),
    Case::new("helm::takes_cadvisors_values", takes_cadvisors_values).within(240),
    Case::new("helm::brings_dashboards_and_rules", brings_dashboards_and_rules).within(240),
    // Two seconds.
    Case::new("helm::history_has_a_volume", history_has_a_volume).within(240),
    Case::new("helm::mistakes_are_found", mistakes_are_found).within(240),
];

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind).with_context(|| format!("no {kind}"))
}

fn translated(objects: &[Value]) -> Result<Translated> {
    pod::translate(&manifests::pod_of(objects)?)
}

fn objects_fit_their_schemas() -> Result<()> {
    let helm = Helm::find()?;
    let chart: Value = manifests::yaml(&manifests::path("helm/collector/Chart.yaml")?)?;
    ensure!(chart["version"] == env!("CARGO_PKG_VERSION") && chart["appVersion"] == chart["version"], "{chart}");
    let everything = json!({
        "metrics": { "enabled": true, "kind": "PodMonitor", "labels": { "release": "prometheus" } },
        "rules": { "enabled": true },
        "dashboards": { "enabled": true, "annotations": { "folder": "collector" } },
        "image": { "pullSecrets": ["secret"] },
        "affinity": { "nodeAffinity": {} },
        "podLabels": { "team": "blue" },
        "podAnnotations": { "note": "x" },
        "daemonsetAnnotations": { "note": "y" },
        "containerLabels": { "all": false, "only": ["team"] },
        "seccomp": { "localhostProfile": "collector.json" },
        "serviceAccount": { "create": false, "name": "other" },
    });
    let choices = ["auto", "containerd", "crio", "docker", "podman", "none"].map(|name| json!({ "runtime": name }));
    let others =
        [everything, json!({ "metrics": { "enabled": true } }), json!({ "networkPolicy": { "enabled": false } })];
    for values in choices.iter().chain(&others) {
        let objects = helm.render(values).with_context(|| values.to_string())?;
        for object in &objects {
            check(object).with_context(|| format!("{values}: {}", object["kind"]))?;
            ensure!(object["metadata"]["namespace"] == NAMESPACE, "{}", object["metadata"]);
        }
        let set = of_kind(&objects, "DaemonSet")?;
        let labels = &set["spec"]["selector"]["matchLabels"];
        ensure!(labels["app.kubernetes.io/instance"] == RELEASE, "{labels}");
        for (kind, place) in [
            ("Service", "/spec/selector"),
            ("NetworkPolicy", "/spec/podSelector/matchLabels"),
            ("PodMonitor", "/spec/selector/matchLabels"),
            ("ServiceMonitor", "/spec/selector/matchLabels"),
        ] {
            let selects = objects.iter().find(|object| object["kind"] == kind).and_then(|object| object.pointer(place));
            ensure!(selects.is_none_or(|selects| selects == labels), "{kind} is for others: {selects:?}");
        }
        translated(&objects).with_context(|| values.to_string())?;
    }
    Ok(())
}

/// The sources and targets of mounts.
fn mounts(translated: &Translated) -> BTreeSet<String> {
    let mounts = translated.config["HostConfig"]["Mounts"].as_array().into_iter().flatten();
    mounts.map(|mount| format!("{} at {} {}", mount["Source"], mount["Target"], mount["ReadOnly"])).collect()
}

/// By default the least privileges, and with a switch all: as in the overlays that are started by other tests.
fn asks_for_what_the_overlays_do() -> Result<()> {
    let helm = Helm::find()?;
    let privileged = json!({ "podSecurityContext": { "create": true, "privileged": true } });
    let profile = json!({ "seccomp": { "localhostProfile": "collector.json" } });
    for (values, overlay) in
        [(json!({}), "least-privilege"), (profile, "least-privilege-seccomp"), (privileged, "privileged")]
    {
        let ours = translated(&helm.render(&values)?)?;
        let theirs = pod::translate(&manifests::pod(overlay)?)?;
        ensure!(mounts(&ours) == mounts(&theirs), "{overlay}: {:?}, {:?}", mounts(&ours), mounts(&theirs));
        for (place, name) in [
            ("/User", "user"),
            ("/Image", "image"),
            ("/StopTimeout", "time to stop"),
            ("/HostConfig/CapAdd", "capabilities"),
            ("/HostConfig/CapDrop", "dropped capabilities"),
            ("/HostConfig/SecurityOpt", "profiles"),
            ("/HostConfig/Privileged", "privileges"),
            ("/HostConfig/ReadonlyRootfs", "root"),
            ("/HostConfig/Memory", "memory"),
            ("/HostConfig/NanoCpus", "CPU time"),
            ("/HostConfig/NetworkMode", "network"),
        ] {
            let (ours, theirs) = (ours.config.pointer(place), theirs.config.pointer(place));
            ensure!(ours == theirs, "{overlay}: {name} is {ours:?}, not {theirs:?}");
        }
    }
    Ok(())
}

/// A values file of the cAdvisor chart, as far as it has names: only the image is another.
fn takes_cadvisors_values() -> Result<()> {
    let values = json!({
        "image": { "pullPolicy": "IfNotPresent" },
        "container": {
            "port": 9101,
            "additionalArgs": ["--housekeeping_interval=10s", "--docker_only", "--disable_metrics=percpu,tcp,udp"],
            "hostPaths": [
                { "name": "rootfs", "path": "/", "mount": "/rootfs" },
                { "name": "varrun", "path": "/var/run" },
                { "name": "sys", "path": "/sys", "readOnly": false },
            ],
        },
        "resources": {},
        "serviceAccount": { "create": true, "name": null },
        "podSecurityPolicy": { "create": false, "privileged": false },
        "podSecurityContext": { "create": false, "privileged": false },
        "daemonsetAnnotations": {},
        "podAnnotations": {},
        "podLabels": {},
        "priorityClassName": {},
        "metrics": { "enabled": true, "interval": "30s", "scrapeTimeout": "30s", "relabelings": [], "metricsRelabelings": [] },
        "nodeSelector": {},
        "tolerations": [],
        "affinity": {},
    });
    let objects = Helm::find()?.render(&values)?;
    let container = &of_kind(&objects, "DaemonSet")?["spec"]["template"]["spec"]["containers"][0];
    ensure!(container["ports"][0]["containerPort"] == 9101, "{container:#}");
    let flags: BTreeSet<&str> = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(flags.contains("--docker_only") && flags.contains("--port=9101"), "{flags:?}");
    let mounts = container["volumeMounts"].as_array().context("no mounts")?;
    let mount = |name: &str| mounts.iter().find(|mount| mount["name"] == name).context("no such mount");
    ensure!(mount("rootfs")?["mountPath"] == "/rootfs" && mount("varrun")?["mountPath"] == "/var/run");
    ensure!(mount("sys")?["readOnly"] == false && mount("rootfs")?["readOnly"] == true);
    let monitor = of_kind(&objects, "ServiceMonitor")?;
    ensure!(monitor["spec"]["endpoints"][0]["path"] == "/metrics/cadvisor", "{monitor:#}");
    objects.iter().try_for_each(check)
}

fn brings_dashboards_and_rules() -> Result<()> {
    let values = json!({
        "dashboards": { "enabled": true },
        "rules": { "enabled": true },
        "metrics": { "enabled": true, "job": "kubelet" },
    });
    let objects = Helm::find()?.render(&values)?;
    let maps: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "ConfigMap").collect();
    for entry in std::fs::read_dir(manifests::path("dashboards")?)? {
        let path = entry?.path();
        let name = format!("collector-{}", path.file_name().and_then(|name| name.to_str()).context("a name")?);
        let map = maps.iter().find(|map| map["data"][&name].is_string()).with_context(|| format!("no {name}"))?;
        let theirs: Value = serde_json::from_str(map["data"][&name].as_str().unwrap_or_default())?;
        ensure!(theirs == serde_json::from_str::<Value>(&bytes::read(&path)?)?, "{name} is changed");
        ensure!(map["metadata"]["labels"]["grafana_dashboard"] == "1", "{name} is not found by its label");
    }
    let groups = of_kind(&objects, "PrometheusRule")?["spec"]["groups"].to_string();
    for file in ["alerts/rules.yaml", "alerts/alerts.yaml"] {
        let text = bytes::read(manifests::path(file)?)?.replace("cadvisor|collector", "kubelet|collector");
        let expected: Value = manifests::documents(&text)?.remove(0);
        for group in expected["groups"].as_array().context("no groups")? {
            ensure!(groups.contains(&group["rules"].to_string()), "{file}: {} differs", group["name"]);
        }
    }
    Ok(())
}

/// A day on disk, on a volume of the pod's or in a folder of the node.
fn history_has_a_volume() -> Result<()> {
    let helm = Helm::find()?;
    for (values, wanted, kept) in [
        (json!({ "history": { "enabled": true } }), "--history_bytes=1073741824", json!({ "emptyDir": {} })),
        (
            json!({ "history": { "enabled": true, "path": "/srv/history", "age": "72h", "bytes": 5_000_000_000_u64 } }),
            "--history_bytes=5000000000",
            json!({ "hostPath": { "path": "/srv/history", "type": "Directory" } }),
        ),
    ] {
        let objects = helm.render(&values)?;
        objects.iter().try_for_each(check).with_context(|| values.to_string())?;
        let (flags, volume) = manifests::history(&objects)?;
        ensure!(flags.contains(&wanted), "{values}: {flags:?}");
        let mut volume = volume.clone();
        volume.as_object_mut().context("no object")?.remove("name");
        ensure!(volume == kept, "{values}: {volume}");
    }
    ensure!(manifests::history(&helm.render(&json!({}))?).is_err(), "it is there without being asked for");
    Ok(())
}

fn mistakes_are_found() -> Result<()> {
    let helm = Helm::find()?;
    for (values, named) in [
        (json!({ "runtime": "rkt" }), "runtime"),
        (json!({ "container": { "port": "8080" } }), "port"),
        (json!({ "tolerationz": [] }), "tolerationz"),
        (json!({ "metrics": { "kind": "Probe" } }), "kind"),
    ] {
        let refused = helm.render(&values).map(drop).err().with_context(|| format!("{values} is let pass"))?;
        ensure!(format!("{refused:#}").contains(named), "{values}: the error does not name {named}: {refused:#}");
    }
    Ok(())
}
