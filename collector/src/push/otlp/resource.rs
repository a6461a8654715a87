//! Who the values are about: attributes of resources.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::values::{attribute, text};
use crate::sample::identity::Identity;
use crate::sample::identity::kubernetes::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID};
use crate::units::WallTime;

/// The machine, the same in every resource.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its machine id.
    pub id: Option<String>,
    /// Its memory in bytes: a limit beyond it is none.
    pub memory: Option<u64>,
    /// Since when the collector's programs count.
    pub began: WallTime,
    /// Since when the exporter observes it.
    pub since: WallTime,
}

/// Who the values are about. `cgroup.path` is ours, and on every resource: only it distinguishes bare cgroups. The cgroup
/// of a pod itself is whose a container of it says.
pub(super) fn resource(cgroup: &[u8], identity: Option<&Identity>, pod: Option<&Identity>, host: &Host) -> Resource {
    let mut attributes = vec![
        text("host.name", &host.name),
        text("os.type", "linux"),
        text("cgroup.path", &String::from_utf8_lossy(cgroup)),
    ];
    attributes.extend(host.id.as_deref().map(|id| text("host.id", id)));
    if let Some(identity) = identity {
        runtime_attributes(identity, &mut attributes);
    }
    if let Some(of_pod) = identity.or(pod) {
        pod_attributes(of_pod, &mut attributes);
    }
    Resource { attributes, ..Resource::default() }
}

fn runtime_attributes(identity: &Identity, attributes: &mut Vec<KeyValue>) {
    attributes.extend([text("container.id", &identity.id), text("container.runtime", identity.runtime.namespace())]);
    attributes.extend(identity.name.as_deref().map(|name| text("container.name", name)));
    if let Some(image) = identity.image.as_deref() {
        let (name, tag) = image_name(image);
        attributes.push(text("container.image.name", name));
        attributes.extend(tag.map(|tag| {
            let value = AnyValue { value: Some(any_value::Value::StringValue(tag.to_owned())) };
            attribute("container.image.tags", any_value::Value::ArrayValue(ArrayValue { values: vec![value] }))
        }));
    }
    attributes.extend(identity.labels.get(CONTAINER_NAME).map(|name| text("k8s.container.name", name)));
}

/// What the kubelet writes on each container; the uid is in the path as well.
fn pod_attributes(identity: &Identity, attributes: &mut Vec<KeyValue>) {
    let label = |label: &str| identity.labels.get(label).map(String::as_str);
    let uid = label(POD_UID).or_else(|| identity.pod.as_ref().map(|pod| pod.uid.as_str()));
    let keys = [("k8s.namespace.name", label(POD_NAMESPACE)), ("k8s.pod.name", label(POD_NAME)), ("k8s.pod.uid", uid)];
    attributes.extend(keys.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
}

/// An image's name and its tag: `registry:5000/name:tag@digest`.
fn image_name(image: &str) -> (&str, Option<&str>) {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        // The colon of a registry's port comes before a slash.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        assert_eq!(image_name("nginx"), ("nginx", None));
        assert_eq!(image_name("nginx:1"), ("nginx", Some("1")));
        assert_eq!(image_name("reg:5000/a/b"), ("reg:5000/a/b", None));
        assert_eq!(image_name("a@sha256:12"), ("a", None));
    }
}
