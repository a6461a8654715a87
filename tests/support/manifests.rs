//! The files of `deploy/`: read, and rendered as `kubectl kustomize` does.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::harness::Skip;
use super::pod::Pod;
use super::{Context as _, Result, bytes, ensure, kubernetes};

/// The forms of the `DaemonSet`, as folders of `deploy/kubernetes/overlays`.
pub(crate) const OVERLAYS: [&str; 4] =
    ["least-privilege", "least-privilege-seccomp", "privileged", "prometheus-operator"];

/// What our `kustomization.yaml` files make use of.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    api_version: String,
    kind: String,
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
    for Patch { path } in &kustomization.patches {
        let patch: Value = yaml(&folder.join(path))?;
        let target = objects.iter_mut().find(|object| identity(object) == identity(&patch));
        let target = target.with_context(|| format!("{} patches nothing", path.display()))?;
        kubernetes::merge(target, &patch).with_context(|| path.display().to_string())?;
    }
    Ok(objects)
}

/// What distinguishes objects.
pub(crate) fn identity(object: &Value) -> [&Value; 4] {
    let metadata = &object["metadata"];
    [&object["apiVersion"], &object["kind"], &metadata["namespace"], &metadata["name"]]
}
