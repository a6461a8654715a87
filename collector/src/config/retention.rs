//! How much is kept, and how long.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, list, value_error};
use crate::archive;
use crate::go_flags::go_duration;
use crate::kernel::machine::memory_capacity;
use crate::kernel::{HostRoots, own_limit};
use crate::sample::event::EventKind;
use crate::store::event_log::{EventLimits, KindLimits};
use crate::store::history::Limits;
use crate::store::{MemoryBounds, StoreLimits};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Retention")]
pub(super) struct RetentionArgs {
    /// How long samples are kept
    #[arg(long = "storage_duration", default_value = "2m0s", value_parser = go_duration)]
    pub(super) storage_duration: Duration,
    /// How long events are kept, by kind: `default=24h,oom=48h`
    #[arg(long = "event_storage_age_limit", default_value = "default=24h")]
    event_storage_age_limit: String,
    /// How many events are kept, by kind, -1 for any number: `default=100000,oom=-1`
    #[arg(long = "event_storage_event_limit", default_value = "default=100000")]
    event_storage_event_limit: String,
    /// How many bytes the events of all kinds may take, however many they are
    #[arg(long = "event_storage_byte_limit", default_value_t = EventLimits::DEFAULT_BYTES, value_name = "BYTES")]
    event_storage_byte_limit: usize,
    /// How many bytes the containers that are listed may take, their samples included; 0 for 45% of the collector's own
    /// memory limit, or a quarter of the machine's memory where it has none
    #[arg(long = "container_memory_limit", default_value_t = 0, value_name = "BYTES")]
    container_memory_limit: usize,
    /// How long the counters of an ended container are still exposed; 0 for not at all
    #[arg(long = "ended_container_retention", default_value = "2m0s", value_parser = go_duration)]
    ended_container_retention: Duration,
    /// Directory for samples and events of the last day, so that one can look back; without it nothing is written to disk
    #[arg(long = "history_dir", value_name = "DIR")]
    history_dir: Option<PathBuf>,
    /// From one sample of a container to the next in `--history_dir`
    #[arg(long = "history_step", default_value = "10s", value_parser = go_duration)]
    history_step: Duration,
    /// How long samples and events are kept in `--history_dir`
    #[arg(long = "history_age", default_value = "24h0m0s", value_parser = go_duration)]
    history_age: Duration,
    /// How many bytes of disk `--history_dir` may take; beyond, the oldest hour is dropped
    #[arg(long = "history_bytes", default_value_t = 1 << 30, value_name = "BYTES")]
    history_bytes: u64,
}

/// With less not even the files that are begun fit.
const LEAST_HISTORY: u64 = 16 << 20;

impl RetentionArgs {
    /// What is kept on disk, if anything.
    pub(super) fn history(&self) -> Result<Option<archive::ArchiveOptions>, ConfigError> {
        let Some(directory) = self.history_dir.clone().filter(|directory| !directory.as_os_str().is_empty()) else {
            return Ok(None);
        };
        if self.history_step < Duration::from_secs(1) {
            let problem = "use at least 1s: what is between two samples in memory is seen there";
            return Err(value_error("history_step", &format_args!("{:?}", self.history_step), &problem));
        }
        if self.history_age < self.history_step {
            let problem = "use more than --history_step, such as 24h";
            return Err(value_error("history_age", &format_args!("{:?}", self.history_age), &problem));
        }
        if self.history_bytes < LEAST_HISTORY {
            let problem = format!("use at least {LEAST_HISTORY} bytes");
            return Err(value_error("history_bytes", &self.history_bytes, &problem));
        }
        Ok(Some(archive::ArchiveOptions {
            directory,
            step: self.history_step,
            age: self.history_age,
            bytes: self.history_bytes,
        }))
    }
}

impl RetentionArgs {
    /// The bounds of a store whose containers are sampled at this interval.
    pub(super) fn limits(&self, interval: Duration, roots: &HostRoots) -> Result<StoreLimits, ConfigError> {
        // On-demand samples come on top of the periodic ones, so twice what the interval makes.
        let periodic = self.storage_duration.as_nanos() / interval.as_nanos();
        let count = usize::try_from(periodic * 2).unwrap_or(usize::MAX).clamp(64, 100_000);
        Ok(StoreLimits {
            history: Limits { age: self.storage_duration, count },
            events: EventLimits {
                bytes: self.event_storage_byte_limit,
                ..event_limits(&self.event_storage_age_limit, &self.event_storage_event_limit)?
            },
            ended_retention: self.ended_container_retention,
            memory: MemoryBounds::of_total(self.container_memory(roots)?),
        })
    }
}

/// With less not even a small machine's cgroups fit.
const LEAST_CONTAINER_MEMORY: usize = 16 << 20;

impl RetentionArgs {
    fn container_memory(&self, roots: &HostRoots) -> Result<usize, ConfigError> {
        match self.container_memory_limit {
            0 => {
                let bytes = match own_limit::memory_limit(&roots.proc) {
                    Some(limit) => limit / 100 * 45,
                    None => memory_capacity(roots).map_or(1 << 30, |memory| memory.0 / 4),
                };
                Ok(usize::try_from(bytes).unwrap_or(usize::MAX).max(LEAST_CONTAINER_MEMORY))
            }
            bytes if bytes < LEAST_CONTAINER_MEMORY => Err(value_error(
                "container_memory_limit",
                &bytes,
                &format_args!(
                    "use at least {LEAST_CONTAINER_MEMORY} bytes, or 0 to have it derived from the memory limit"
                ),
            )),
            bytes => Ok(bytes),
        }
    }
}

fn event_limits(ages: &str, counts: &str) -> Result<EventLimits, ConfigError> {
    let ages = per_kind("event_storage_age_limit", ages, go_duration)?;
    let counts = per_kind("event_storage_event_limit", counts, |text| match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(count) => usize::try_from(count).map(Some).map_err(|_| format!("{text:?} is below -1")),
        Err(_) => Err(format!("{text:?} is not a whole number")),
    })?;
    let default = KindLimits {
        age: ages.get(&None).copied().unwrap_or(Duration::from_hours(24)),
        count: counts.get(&None).copied().unwrap_or(Some(100_000)),
    };
    let kinds = EventKind::ALL.into_iter().map(|kind| {
        let age = ages.get(&Some(kind)).copied().unwrap_or(default.age);
        (kind, KindLimits { age, count: counts.get(&Some(kind)).copied().unwrap_or(default.count) })
    });
    Ok(EventLimits { default, kinds: kinds.collect(), bytes: usize::MAX })
}

/// `default=A,oom=B`, with `None` for the default.
fn per_kind<T>(
    flag: &'static str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<HashMap<Option<EventKind>, T>, ConfigError> {
    let kind_names = || EventKind::ALL.map(EventKind::name).join(", ");
    list(text)
        .map(|part| {
            let (kind, value) = part
                .split_once('=')
                .ok_or_else(|| value_error(flag, &text, &format_args!("{part:?} is not of the form kind=limit")))?;
            let kind = match kind {
                "default" => None,
                name => Some(EventKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
                    value_error(flag, &text, &format_args!("unknown kind {name:?}; use default, {}", kind_names()))
                })?),
            };
            Ok((kind, parse(value).map_err(|problem| value_error(flag, &text, &problem))?))
        })
        .collect()
}
