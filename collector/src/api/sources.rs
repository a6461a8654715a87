//! `collector statistics`: every number of a cgroup beside the file it came from, as a table or as JSON.

use std::fmt::Write as _;

use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

use crate::api::wire::json;
use crate::api::wire::time::GoTime;
use crate::sample::statistic::{Source, SourceFile, Statistic, Statistics, Value};

/// Lists longer than this are shortened in the table.
const SHOWN: usize = 4;

/// As a table for people, one line each.
pub fn text(statistics: &Statistics) -> String {
    let Statistics { cgroup, layout, list } = statistics;
    let mut text = format!("cgroup {}, layout {layout}\n\n", json::lossy(cgroup));
    let widest = list.iter().map(|statistic| statistic.name.len()).max().unwrap_or_default();
    for Statistic { name, source, value, kernel_memory } in list {
        let value = value.as_ref().map_or_else(|| "-".to_owned(), value_text);
        // Writing to memory does not fail.
        let _ = match source {
            Ok(source) => match kernel_memory {
                Some(field) => writeln!(text, "{name:widest$}  {value}  (kernel memory: {field}; {})", source.text),
                None => writeln!(text, "{name:widest$}  {value}  ({})", source.text),
            },
            Err(absence) => writeln!(text, "{name:widest$}  not available: {absence}"),
        };
    }
    text
}

fn value_text(value: &Value) -> String {
    let joined = |mut parts: Vec<String>| {
        let more = parts.len().saturating_sub(SHOWN);
        parts.truncate(SHOWN);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("[{}{rest}]", parts.join(", "))
    };
    match value {
        Value::Count(count) => count.to_string(),
        Value::Bytes(bytes) => format!("{bytes} bytes"),
        Value::Nanoseconds(time) => format!("{time} ns"),
        Value::Microseconds(time) => format!("{time} µs"),
        Value::Hundredths(share) => format!("{}.{:02} %", share / 100, share % 100),
        Value::Time(time) => serde_json::to_string(&GoTime(Some(*time))).unwrap_or_default().replace('"', ""),
        Value::Unlimited => "unlimited".to_owned(),
        Value::Text(text) => text.clone(),
        Value::List(list) => joined(list.iter().map(value_text).collect()),
        Value::Named(named) => {
            joined(named.iter().map(|(name, value)| format!("{name} {}", value_text(value))).collect())
        }
    }
}

/// As one JSON object. A statistic has `source` and `files`, or `source` is null and `reason` says why.
pub fn json(statistics: &Statistics) -> bytes::Bytes {
    json::to_bytes(&WireStatistics {
        cgroup: json::Lossy(&statistics.cgroup),
        layout: statistics.layout,
        statistics: statistics.list.iter().map(WireStatistic::from).collect(),
    })
}

#[derive(Serialize)]
struct WireStatistics<'a> {
    cgroup: json::Lossy<'a>,
    layout: &'static str,
    statistics: Vec<WireStatistic<'a>>,
}

#[derive(Serialize)]
struct WireStatistic<'a> {
    name: &'static str,
    source: Option<&'a str>,
    files: Vec<WireFile<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_memory: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    value: Option<WireValue<'a>>,
}

#[derive(Serialize)]
struct WireFile<'a> {
    path: json::Lossy<'a>,
    key: Option<&'static str>,
}

impl<'a> From<&'a Statistic> for WireStatistic<'a> {
    fn from(Statistic { name, source, value, kernel_memory }: &'a Statistic) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        let file = |SourceFile { path, key }: &'a SourceFile| WireFile {
            path: json::Lossy(path.as_os_str().as_bytes()),
            key: *key,
        };
        let found = source.as_ref().ok();
        Self {
            name,
            source: found.map(|Source { text, .. }| text.as_str()),
            files: found.into_iter().flat_map(|source| &source.files).map(file).collect(),
            kernel_memory: *kernel_memory,
            reason: source.as_ref().err().map(ToString::to_string),
            value: value.as_ref().map(WireValue),
        }
    }
}

/// Numbers without their unit; it follows from the statistic. Shares are in percent.
struct WireValue<'a>(&'a Value);

impl Serialize for WireValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Count(number) | Value::Bytes(number) | Value::Nanoseconds(number) | Value::Microseconds(number) => {
                serializer.serialize_u64(*number)
            }
            Value::Hundredths(share) => serializer.serialize_f64(*share as f64 / 100.0),
            Value::Time(time) => GoTime(Some(*time)).serialize(serializer),
            Value::Unlimited => serializer.serialize_str("unlimited"),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(list) => {
                let mut sequence = serializer.serialize_seq(Some(list.len()))?;
                list.iter().try_for_each(|value| sequence.serialize_element(&WireValue(value)))?;
                sequence.end()
            }
            Value::Named(named) => {
                let mut map = serializer.serialize_map(Some(named.len()))?;
                named.iter().try_for_each(|(name, value)| map.serialize_entry(name, &WireValue(value)))?;
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::sample::kinds::MetricKind;
    use crate::sample::statistic::Absence;

    fn example() -> Statistics {
        let source = |text: &str, path: &str, key| Source {
            text: text.to_owned(),
            files: vec![SourceFile { path: path.into(), key }],
        };
        let named = |pairs: &[(&str, Value)]| {
            Value::Named(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
        };
        Statistics {
            cgroup: b"/a".to_vec(),
            layout: "v2",
            list: vec![
                Statistic {
                    name: "memory.rss",
                    source: Ok(source("memory.stat: anon", "/c/a/memory.stat", Some("anon"))),
                    value: Some(Value::Bytes(4096)),
                    kernel_memory: Some("memcg_vmstats"),
                },
                Statistic {
                    name: "cpu.pressure.some",
                    source: Ok(source("cpu.pressure: some", "/c/a/cpu.pressure", Some("some"))),
                    value: Some(named(&[("total", Value::Microseconds(7)), ("avg10", Value::Hundredths(105))])),
                    kernel_memory: None,
                },
                Statistic {
                    name: "spec.cpu.quota",
                    source: Ok(source("cpu.max: quota", "/c/a/cpu.max", None)),
                    value: Some(Value::Unlimited),
                    kernel_memory: None,
                },
                Statistic {
                    name: "cpu.usage.per_cpu",
                    source: Ok(source("x", "/c/x", None)),
                    value: Some(Value::List([1, 2, 3, 4, 5, 6].map(Value::Nanoseconds).to_vec())),
                    kernel_memory: None,
                },
                Statistic {
                    name: "cpu.schedstat.run_time",
                    source: Err(Absence::KindOff(MetricKind::Sched)),
                    value: None,
                    kernel_memory: None,
                },
            ],
        }
    }

    #[test]
    fn a_table() {
        expect![[r"
            cgroup /a, layout v2

            memory.rss              4096 bytes  (kernel memory: memcg_vmstats; memory.stat: anon)
            cpu.pressure.some       [total 7 µs, avg10 1.05 %]  (cpu.pressure: some)
            spec.cpu.quota          unlimited  (cpu.max: quota)
            cpu.usage.per_cpu       [1 ns, 2 ns, 3 ns, 4 ns and 2 more]  (x)
            cpu.schedstat.run_time  not available: the kind sched is switched off: see --enable_metrics and --disable_metrics
        "]]
        .assert_eq(&text(&example()));
    }

    #[test]
    fn one_object() {
        let text = String::from_utf8(json(&example()).to_vec()).unwrap().replace("},{\"name", "},\n{\"name");
        expect![[r#"
            {"cgroup":"/a","layout":"v2","statistics":[{"name":"memory.rss","source":"memory.stat: anon","files":[{"path":"/c/a/memory.stat","key":"anon"}],"kernel_memory":"memcg_vmstats","value":4096},
            {"name":"cpu.pressure.some","source":"cpu.pressure: some","files":[{"path":"/c/a/cpu.pressure","key":"some"}],"value":{"total":7,"avg10":1.05}},
            {"name":"spec.cpu.quota","source":"cpu.max: quota","files":[{"path":"/c/a/cpu.max","key":null}],"value":"unlimited"},
            {"name":"cpu.usage.per_cpu","source":"x","files":[{"path":"/c/x","key":null}],"value":[1,2,3,4,5,6]},
            {"name":"cpu.schedstat.run_time","source":null,"files":[],"reason":"the kind sched is switched off: see --enable_metrics and --disable_metrics","value":null}]}"#]]
        .assert_eq(&text);
    }
}
