//! The flags about what the processor counts, and about memory that was touched lately.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use super::{ConfigError, value_error};
use crate::auth::unreadable;
use crate::go_flags::go_duration;
use crate::reader::container::{CustomEvent, PerfConfig, WantedEvents};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Hardware counters")]
pub(super) struct HardwareArgs {
    /// Clear the marks of touched pages after so many samples of a container; 0 to write nothing (kind
    /// `referenced_memory`)
    #[arg(long = "referenced_reset_interval", default_value_t = 0)]
    pub(super) referenced_reset_interval: u32,
    /// How often tasks are put into a container's monitoring group; 0 for only once (kind `resctrl`)
    #[arg(long = "resctrl_interval", default_value = "0s", value_parser = go_duration)]
    resctrl_interval: Duration,
    /// File with the perf events to count, as JSON; empty for none (kind `perf_event`)
    #[arg(long = "perf_events_config", default_value = "")]
    perf_events_config: String,
}

/// What the flags say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HardwareConfig {
    /// How often touched pages' marks are cleared, in samples of a container; `None` for never.
    pub referenced_reset: Option<NonZeroU32>,
    /// How often tasks are put into a container's monitoring group; zero for only once.
    pub resctrl_interval: Duration,
    /// Events to count; `None` without a file.
    pub perf_events: Option<PerfConfig>,
}

impl HardwareConfig {
    pub(super) fn from_args(args: HardwareArgs) -> Result<Self, ConfigError> {
        let HardwareArgs { referenced_reset_interval, resctrl_interval, perf_events_config } = args;
        let perf_events = if perf_events_config.is_empty() {
            None
        } else {
            let wrong = |problem: String| value_error("perf_events_config", &perf_events_config, &problem);
            let text = std::fs::read(&perf_events_config).map_err(|error| wrong(unreadable(&error)))?;
            Some(perf_config(&text).map_err(wrong)?)
        };
        let referenced_reset = NonZeroU32::new(referenced_reset_interval);
        Ok(Self { referenced_reset, resctrl_interval, perf_events })
    }
}

/// cAdvisor's format: `{"core": {"events": ["a", ["b", "c"]], "custom_events": [...]}, "uncore": {...}}`.
fn perf_config(text: &[u8]) -> Result<PerfConfig, String> {
    let json: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(PerfConfig { core: wanted(&json["core"], "core")?, uncore: wanted(&json["uncore"], "uncore")? })
}

fn wanted(json: &Value, part: &str) -> Result<WantedEvents, String> {
    let list = |key: &str| match &json[key] {
        Value::Null => Ok(&[][..]),
        Value::Array(list) => Ok(list.as_slice()),
        other => Err(format!("{part}.{key} is no list: {other}")),
    };
    let name = |event: &Value| match event {
        Value::String(name) => Ok(name.clone()),
        other => Err(format!("{part}.events has {other} for a name")),
    };
    let group = |event: &Value| match event {
        Value::Array(group) => group.iter().map(name).collect(),
        single => name(single).map(|name| vec![name]),
    };
    let groups = list("events")?.iter().map(group).collect::<Result<_, _>>()?;
    let custom = list("custom_events")?.iter().map(|event| custom(event, part)).collect::<Result<_, _>>()?;
    Ok(WantedEvents { groups, custom })
}

/// `{"type": 4, "config": ["0x5300c0"], "name": "INSTRUCTIONS_RETIRED"}`.
fn custom(json: &Value, part: &str) -> Result<CustomEvent, String> {
    let wrong = |what: &str| format!("{part}.custom_events: {what} in {json}");
    let name = json["name"].as_str().ok_or_else(|| wrong("no name"))?.to_owned();
    let kind = match &json["type"] {
        Value::Null => None,
        kind => Some(kind.as_u64().and_then(|kind| u32::try_from(kind).ok()).ok_or_else(|| wrong("no type"))?),
    };
    let words = json["config"].as_array().ok_or_else(|| wrong("no list \"config\""))?;
    let mut config = [0; 3];
    if words.is_empty() || words.len() > config.len() {
        return Err(wrong("not one to three numbers"));
    }
    for (slot, word) in config.iter_mut().zip(words) {
        *slot = match word {
            Value::String(text) => number(text),
            other => other.as_u64(),
        }
        .ok_or_else(|| wrong("not a number"))?;
    }
    Ok(CustomEvent { name, kind, config })
}

/// As in Go: `0x1f`, `037`, `31`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cadvisors_format() {
        let text = br#"{
            "core": {
                "events": ["cycles", ["INSTRUCTIONS_RETIRED", "task-clock"]],
                "custom_events": [{"type": 4, "config": ["0x5300c0"], "name": "INSTRUCTIONS_RETIRED"}]
            },
            "uncore": {
                "events": ["uncore_imc/cas_count_read"],
                "custom_events": [{"config": ["0x1", "010", 7], "name": "uncore_imc/x"}]
            }
        }"#;
        let found = perf_config(text).unwrap();
        assert_eq!(found.core.groups, [vec!["cycles"], vec!["INSTRUCTIONS_RETIRED", "task-clock"]]);
        let retired = CustomEvent { name: "INSTRUCTIONS_RETIRED".into(), kind: Some(4), config: [0x0053_00c0, 0, 0] };
        assert_eq!(found.core.custom, [retired]);
        assert_eq!(found.uncore.groups, [["uncore_imc/cas_count_read"]]);
        assert_eq!(found.uncore.custom[0].config, [1, 8, 7]);
        assert_eq!(perf_config(b"{}"), Ok(PerfConfig::default()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, problem) in [
            ("[", "EOF"),
            (r#"{"core":{"events":"x"}}"#, "core.events is no list"),
            (r#"{"core":{"events":[1]}}"#, "has 1 for a name"),
            (r#"{"uncore":{"custom_events":[{}]}}"#, "uncore.custom_events: no name"),
            (r#"{"core":{"custom_events":[{"name":"a","config":[]}]}}"#, "one to three"),
            (r#"{"core":{"custom_events":[{"name":"a","config":["y"]}]}}"#, "not a number"),
            (r#"{"core":{"custom_events":[{"name":"a","type":-1,"config":["1"]}]}}"#, "no type"),
        ] {
            let error = perf_config(text.as_bytes()).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
