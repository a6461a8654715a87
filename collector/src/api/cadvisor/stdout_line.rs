//! Samples as lines of JSON for whoever collects a program's output; each has the shape of the messages that cAdvisor
//! sends to Kafka.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::cadvisor::v1::ContainerStats;
use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::sample::container::Sample;
use crate::sample::identity::Identity;

#[derive(Serialize)]
struct StdoutLine<'a> {
    timestamp: GoTime,
    #[serde(skip_serializing_if = "str::is_empty")]
    machine_name: &'a str,
    #[serde(rename = "container_Name", skip_serializing_if = "str::is_empty")]
    container_name: &'a str,
    #[serde(rename = "container_Id", skip_serializing_if = "str::is_empty")]
    container_id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    container_labels: &'a BTreeMap<String, String>,
    container_stats: ContainerStats<'a>,
}

/// Appends one sample and the end of its line. A container is called by its first alias, a bare cgroup by its path.
pub fn append(out: &mut Vec<u8>, machine: &str, path: &[u8], identity: Option<&Identity>, sample: &Sample) {
    let path = json::lossy(path);
    let no_labels = BTreeMap::new();
    let line = StdoutLine {
        timestamp: GoTime(Some(sample.at)),
        machine_name: machine,
        container_name: identity.and_then(|identity| identity.aliases().next()).unwrap_or(&path),
        container_id: identity.map(|identity| identity.id.as_str()).unwrap_or_default(),
        container_labels: identity.map_or(&no_labels, |identity| &identity.labels),
        container_stats: sample.into(),
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
    fn one_line_each() {
        let mut identity = Identity::from_path(Runtime::Docker, "0123".to_owned());
        identity.name = Some("web".to_owned());
        identity.labels = [("a".to_owned(), "b\nc".to_owned())].into();
        let sample = Sample { at: WallTime(1_700_000_000_000_000_000), ..Sample::default() };
        let mut out = Vec::new();
        append(&mut out, "node", b"/docker/0123", Some(&identity), &sample);
        append(&mut out, "node", b"/\xff", None, &sample);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["container_Name"], "web");
        assert_eq!(lines[0]["container_Id"], "0123");
        assert_eq!(lines[0]["container_labels"]["a"], "b\nc");
        assert_eq!(lines[0]["machine_name"], "node");
        assert_eq!(lines[0]["timestamp"], lines[0]["container_stats"]["timestamp"]);
        assert_eq!(lines[1]["container_Name"], "/\u{fffd}");
        assert!(lines[1].get("container_Id").is_none() && lines[1].get("container_labels").is_none());
    }
}
