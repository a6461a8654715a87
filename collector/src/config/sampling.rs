//! What is read of a container, and how often.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgAction;

use super::{ConfigError, list, value_error};
use crate::application::{Reach, Rules};
use crate::go_flags::{go_bool, go_duration};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sampler::engine::Pace;

/// A kind that cAdvisor had until 0.47, and that many lists of kinds to leave out still name.
const ACCELERATOR: &str = "accelerator";

const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct SamplingArgs {
    /// Time between two samples of a container
    #[arg(long = "housekeeping_interval", default_value = "1s", value_parser = go_duration)]
    pub(super) housekeeping_interval: Duration,
    /// Longest time between two samples of a container that does not change
    #[arg(long = "max_housekeeping_interval", default_value = "1m0s", value_parser = go_duration)]
    pub(super) max_housekeeping_interval: Duration,
    /// Sample containers that do not change less often
    #[arg(long = "allow_dynamic_housekeeping", default_value = "true", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) allow_dynamic_housekeeping: bool,
    /// Time between two scans that verify what the kernel's events reported
    #[arg(long = "global_housekeeping_interval", default_value = "1m0s", value_parser = go_duration)]
    pub(super) global_housekeeping_interval: Duration,
    /// Time between two readings of the machine's description
    #[arg(long = "update_machine_info_interval", default_value = "5m0s", value_parser = go_duration)]
    pub(super) update_machine_info_interval: Duration,
    /// Most metrics that the application of one container may have
    #[arg(long = "application_metrics_count_limit", default_value_t = 100)]
    application_metrics_count_limit: usize,
    /// Let containers' files name any URL to read application metrics from, not only what is at their own address
    #[arg(long = "application_metrics_allow_urls", default_value = "false", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    application_metrics_allow_urls: bool,
    /// Time between two measurements of a container's disk usage
    #[arg(long = "disk_usage_interval", default_value = "1m0s", value_parser = go_duration)]
    pub(super) disk_usage_interval: Duration,
    /// Metric kinds not to read, separated by commas; replaces the default list
    #[arg(long = "disable_metrics")]
    pub(super) disable_metrics: Option<String>,
    /// If not empty, exactly these metric kinds are read
    #[arg(long = "enable_metrics", default_value = "")]
    pub(super) enable_metrics: String,
    /// CPUs to use at most; 0 for all
    #[arg(long = "max_procs", default_value_t = 0, allow_negative_numbers = true)]
    max_procs: i64,
    /// Read the load average of each cgroup (cgroup v1)
    #[arg(long = "enable_load_reader", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) enable_load_reader: bool,
    /// Files that may hold the machine id, separated by commas
    #[arg(long = "machine_id_file", default_value = "/etc/machine-id,/var/lib/dbus/machine-id")]
    pub(super) machine_id_file: String,
    /// Files that may hold the boot id, separated by commas
    #[arg(long = "boot_id_file", default_value = "/proc/sys/kernel/random/boot_id")]
    pub(super) boot_id_file: String,
}

/// Whether load averages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadReading {
    /// No.
    Off,
    /// From the kernel's cgroupstats, cgroup v1 only.
    On,
}

impl SamplingArgs {
    /// What the applications of containers may ask for.
    pub(super) fn application_rules(&self) -> Rules {
        let reach = if self.application_metrics_allow_urls { Reach::AnyUrl } else { Reach::OwnAddress };
        Rules { limit: self.application_metrics_count_limit, reach }
    }

    /// The base interval.
    pub(super) fn interval(&self) -> Result<Duration, ConfigError> {
        let interval = self.housekeeping_interval;
        if interval < SHORTEST_INTERVAL {
            return Err(value_error("housekeeping_interval", &format_args!("{interval:?}"), &"use at least 10ms"));
        }
        Ok(interval)
    }

    /// The time between two verifying scans.
    pub(super) fn verify_every(&self) -> Result<Duration, ConfigError> {
        if self.global_housekeeping_interval < Duration::from_secs(1) {
            let value = format!("{:?}", self.global_housekeeping_interval);
            return Err(value_error("global_housekeeping_interval", &value, &"use at least 1s"));
        }
        Ok(self.global_housekeeping_interval)
    }

    /// Whether the interval grows for containers that do not change.
    pub(super) fn pace(&self) -> Pace {
        if self.allow_dynamic_housekeeping && self.max_housekeeping_interval > self.housekeeping_interval {
            Pace::Dynamic { max: self.max_housekeeping_interval }
        } else {
            Pace::Fixed
        }
    }

    /// Whether load averages are read.
    pub(super) fn load_reader(&self) -> LoadReading {
        if self.enable_load_reader { LoadReading::On } else { LoadReading::Off }
    }

    /// What is read.
    pub(super) fn kinds(&self) -> Result<KindSet, ConfigError> {
        let parse = |flag: &'static str, text: &str| -> Result<Vec<MetricKind>, ConfigError> {
            let names = list(text).filter(|name| *name != ACCELERATOR);
            names.map(|name| name.parse().map_err(|error| value_error(flag, &text, &error))).collect()
        };
        let enabled = parse("enable_metrics", &self.enable_metrics)?;
        if !enabled.is_empty() {
            return Ok(KindSet::none().union(enabled));
        }
        match self.disable_metrics.as_deref() {
            None => Ok(KindSet::default()),
            // Two cost too much for that: one walks through all memory, one has the kernel run a program at every change
            // of task.
            Some(disable) => Ok(all_unnamed().without(parse("disable_metrics", disable)?)),
        }
    }

    /// What is exposed at the kubelet's path. By default processes as well, as the kubelet does: they are counted for
    /// whoever asks there, and not with each sample.
    pub(super) fn kubelet_kinds(&self, kinds: KindSet) -> KindSet {
        let is_default = self.disable_metrics.is_none() && list(&self.enable_metrics).next().is_none();
        if is_default { kinds.union([MetricKind::Process]) } else { kinds }
    }

    /// CPUs that may be used at once; `None` for all.
    pub(super) fn max_procs(&self) -> Option<usize> {
        usize::try_from(self.max_procs).ok().filter(|count| *count > 0)
    }

    /// A line about what is asked for and does not happen.
    pub(super) fn notes(&self) -> Option<String> {
        let asked_for = list(&self.enable_metrics).any(|kind| kind == ACCELERATOR);
        asked_for.then(|| "--enable_metrics: accelerator has no effect: graphics cards are not looked at".to_owned())
    }

    /// Candidates for the machine id and for the boot id.
    pub(super) fn id_files(&self) -> [Vec<PathBuf>; 2] {
        [&self.machine_id_file, &self.boot_id_file].map(|files| list(files).map(PathBuf::from).collect())
    }
}

/// Everything that is read without being named.
pub(super) fn all_unnamed() -> KindSet {
    KindSet::all().without([
        MetricKind::BlockLatency,
        MetricKind::NetworkCgroup,
        MetricKind::ReferencedMemory,
        MetricKind::RunQueue,
    ])
}
