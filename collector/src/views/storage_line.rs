//! A sample as a line of JSON with the keys of cAdvisor's storage drivers (redis, kafka).

use std::collections::BTreeMap;

use serde::Serialize;

use super::cadvisor_v1::ContainerStats;
use super::json::{self, Lossy};
use crate::sample::container::Sample;
use crate::sample::event::Name;
use crate::sample::identity::Identity;

#[derive(Serialize)]
struct Line<'a> {
    /// Microseconds since 1970.
    timestamp: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    machine_name: &'a str,
    #[serde(rename = "container_Name")]
    name: Lossy<'a>,
    #[serde(rename = "container_Id", skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    container_labels: BTreeMap<&'a str, &'a str>,
    container_stats: ContainerStats<'a>,
}

/// Appends the line. The name is the one a person gave the container, or else its cgroup's.
pub fn append(out: &mut Vec<u8>, machine: &str, cgroup: &Name, identity: Option<&Identity>, sample: &Sample) {
    let given = identity.and_then(|identity| identity.name.as_deref());
    let labels = identity.into_iter().flat_map(|identity| &identity.labels);
    let line = Line {
        timestamp: sample.at.0 / 1_000,
        machine_name: machine,
        name: Lossy(given.map_or(&**cgroup, str::as_bytes)),
        id: identity.map_or("", |identity| &identity.id),
        container_labels: labels.map(|(key, value)| (key.as_str(), value.as_str())).collect(),
        container_stats: ContainerStats::from(sample),
    };
    json::append(out, &line);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::identity::Runtime;
    use crate::units::WallTime;

    #[test]
    fn one_line_a_sample() {
        let sample = Sample { at: WallTime(1_704_164_645_120_000_000), ..Sample::default() };
        let mut out = Vec::new();
        append(&mut out, "node", &b"/a\n".as_slice().into(), None, &sample);
        let identity =
            Identity { name: Some("web".to_owned()), ..Identity::from_path(Runtime::Docker, "abc".to_owned()) };
        append(&mut out, "node", &b"/docker/abc".as_slice().into(), Some(&identity), &sample);
        let text = String::from_utf8(out).unwrap();
        let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(
            first.starts_with(r#"{"timestamp":1704164645120000,"machine_name":"node","container_Name":"/a\n","container_stats":{"timestamp":"2024-01-02T03:04:05.12Z""#),
            "{first}"
        );
        assert!(second.contains(r#""container_Name":"web","container_Id":"abc","container_stats":"#), "{second}");
    }
}
