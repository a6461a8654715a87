//! The files of `deploy/`: read, and rendered as `kubectl kustomize` does.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::DeepMerge as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::harness::Skip;
use super::{Context as _, Result, bytes, ensure};

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

/// The `DaemonSet` of an overlay.
pub(crate) fn daemon_set(name: &str) -> Result<DaemonSet> {
    let objects = overlay(name)?;
    let object = objects.into_iter().find(|object| object["kind"] == "DaemonSet");
    strict(&object.with_context(|| format!("{name} has no DaemonSet"))?)
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
        // Lists are merged by their keys or replaced, as the schema says.
        let mut merged: DaemonSet = strict(target)?;
        merged.merge_from(strict_patch(&patch)?);
        *target = serde_json::to_value(merged)?;
    }
    Ok(objects)
}

/// What distinguishes objects.
pub(crate) fn identity(object: &Value) -> [&Value; 4] {
    let metadata = &object["metadata"];
    [&object["apiVersion"], &object["kind"], &metadata["namespace"], &metadata["name"]]
}

/// An object as its schema has it; a field that the schema does not know is an error.
pub(crate) fn strict<T: Serialize + DeserializeOwned>(object: &Value) -> Result<T> {
    let (typed, back) = there_and_back::<T>(object)?;
    let lost = lost("", object, &back);
    ensure!(lost.is_empty(), "the schema of {} does not know {lost:?}", object["kind"]);
    ensure!(*object == back, "{} lacks what its schema asks for; with that it is {back:#}", object["kind"]);
    Ok(typed)
}

/// The same for a patch, in which required fields may be missing.
fn strict_patch<T: Serialize + DeserializeOwned>(object: &Value) -> Result<T> {
    let (typed, back) = there_and_back::<T>(object)?;
    let lost = lost("", object, &back);
    ensure!(lost.is_empty(), "the schema of {} does not know {lost:?}", object["kind"]);
    Ok(typed)
}

fn there_and_back<T: Serialize + DeserializeOwned>(object: &Value) -> Result<(T, Value)> {
    let kind = &object["kind"];
    let typed = serde_json::from_value(object.clone()).with_context(|| format!("not a {kind}"))?;
    let back = serde_json::to_value(&typed)?;
    Ok((typed, back))
}

/// The places of one value that are not in another.
fn lost(place: &str, before: &Value, after: &Value) -> Vec<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let fields = before.iter().map(|(key, value)| (format!("{place}.{key}"), value, after.get(key)));
            fields.flat_map(|(place, value, after)| lost(&place, value, after.unwrap_or(&Value::Null))).collect()
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            let items = before.iter().zip(after).enumerate();
            items.flat_map(|(at, (before, after))| lost(&format!("{place}[{at}]"), before, after)).collect()
        }
        _ if before == after => Vec::new(),
        _ => vec![format!("{place}: {before}")],
    }
}
