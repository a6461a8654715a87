//! The files of `deploy/`: read, and rendered as `kubectl kustomize` does.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::harness::Skip;
use super::pod::Pod;
use super::{Context as _, Result, bail, bytes, ensure, kubernetes};

/// The forms of the `DaemonSet`, as folders of `deploy/kubernetes/overlays`.
pub(crate) const OVERLAYS: [&str; 4] =
    ["least-privilege", "least-privilege-seccomp", "privileged", "prometheus-operator"];

/// What our `kustomization.yaml` files make use of.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<PathBuf>,
    #[serde(default)]
    patches: Vec<Patch>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    path: PathBuf,
}

/// A file or folder below `deploy/`; skips the test where the project's folder is not at hand.
pub(crate) fn path(below: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    if folder.is_dir() { Ok(folder.join(below)) } else { Err(Skip::because("the project's folder is not here")) }
}

/// The content of a YAML file that holds one document.
pub(crate) fn yaml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is not what is expected", path.display()))
}

/// The documents of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(text).context("not YAML")
}

/// All objects of an overlay.
pub(crate) fn overlay(name: &str) -> Result<Vec<Value>> {
    render(&path(&format!("kubernetes/overlays/{name}"))?)
}

/// All objects of an overlay whose `kustomization.yaml` also has a component.
pub(crate) fn overlay_with(name: &str, component: &str) -> Result<Vec<Value>> {
    let folder = path(&format!("kubernetes/components/{component}"))?;
    let Kustomization { api_version, kind, resources, patches } = yaml(&folder.join("kustomization.yaml"))?;
    ensure!(kind == "Component" && api_version == "kustomize.config.k8s.io/v1alpha1", "{component} is a {kind}");
    ensure!(resources.is_empty(), "{component} brings objects");
    let mut objects = overlay(name)?;
    apply(&folder, &patches, &mut objects)?;
    Ok(objects)
}

/// The pod of an overlay's `DaemonSet`.
pub(crate) fn pod(overlay_name: &str) -> Result<Pod> {
    pod_of(&overlay(overlay_name)?).with_context(|| overlay_name.to_owned())
}

/// The pod of the `DaemonSet` among these objects.
pub(crate) fn pod_of(objects: &[Value]) -> Result<Pod> {
    let object = objects.iter().find(|object| object["kind"] == "DaemonSet").context("no DaemonSet")?;
    kubernetes::check(object)?;
    Pod::read(&object["spec"]["template"]["spec"])
}

/// What `kubectl kustomize` would print for a folder.
fn render(folder: &Path) -> Result<Vec<Value>> {
    let kustomization: Kustomization = yaml(&folder.join("kustomization.yaml"))?;
    ensure!(kustomization.kind == "Kustomization", "{} is a {}", folder.display(), kustomization.kind);
    ensure!(kustomization.api_version == "kustomize.config.k8s.io/v1beta1", "{}", kustomization.api_version);
    let mut objects = Vec::new();
    for resource in &kustomization.resources {
        let path = folder.join(resource);
        if path.is_dir() {
            objects.extend(render(&path)?);
        } else {
            objects.extend(documents(&bytes::read(&path)?)?);
        }
    }
    apply(folder, &kustomization.patches, &mut objects)?;
    Ok(objects)
}

fn apply(folder: &Path, patches: &[Patch], objects: &mut [Value]) -> Result<()> {
    for Patch { path } in patches {
        let patch: Value = yaml(&folder.join(path))?;
        let target = objects.iter_mut().find(|object| identity(object) == identity(&patch));
        let target = target.with_context(|| format!("{} patches nothing", path.display()))?;
        kubernetes::merge(target, &patch).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The volume of a `DaemonSet` that the collector keeps its history on, with the flags: it is the only one that may be
/// written to, and the flag names a folder in it.
pub(crate) fn history(objects: &[Value]) -> Result<(Vec<&str>, &Value)> {
    let object = objects.iter().find(|object| object["kind"] == "DaemonSet").context("no DaemonSet")?;
    let pod = &object["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let flags: Vec<&str> = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let folder = flags.iter().find_map(|flag| flag.strip_prefix("--history_dir=")).context("no --history_dir")?;
    let mounts = container["volumeMounts"].as_array().context("no mounts")?;
    let writable: Vec<&Value> = mounts.iter().filter(|mount| mount["readOnly"] != true).collect();
    let [mount] = writable[..] else { bail!("{} mounts may be written to: {writable:?}", writable.len()) };
    let place = mount["mountPath"].as_str().context("no path")?;
    ensure!(folder.strip_prefix(place).is_some_and(|rest| rest.starts_with('/')), "{folder} is not below {place}");
    let mut volumes = pod["volumes"].as_array().into_iter().flatten();
    let volume = volumes.find(|volume| volume["name"] == mount["name"]).context("the volume is not there")?;
    Ok((flags, volume))
}

/// What distinguishes objects.
pub(crate) fn identity(object: &Value) -> [&Value; 4] {
    let metadata = &object["metadata"];
    [&object["apiVersion"], &object["kind"], &metadata["namespace"], &metadata["name"]]
}
