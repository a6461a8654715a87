//! How containers are exposed at `/metrics`.

use clap::{ArgAction, ValueEnum};

use super::{ConfigError, list, value_error};
use crate::api::prometheus::{
    ContainerLabels, CreatedLines, ExpositionOptions, LabelSet, Labelled, Profile, Timestamps,
};
use crate::go_flags::go_bool;
use crate::sample::kinds::KindSet;

/// Fewer would not hold the metrics of the collector itself and of the machine.
const FEWEST_SERIES: usize = 1000;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Metrics")]
pub(super) struct MetricsArgs {
    /// Turn all labels of containers into labels of their metrics
    #[arg(long = "store_container_labels", default_value = "true", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    store_container_labels: bool,
    /// Labels of containers to turn into labels of their metrics if not all are, separated by commas
    #[arg(long = "whitelisted_container_labels", default_value = "")]
    whitelisted_container_labels: String,
    /// Labels of the containers' metrics at /metrics; those at /metrics/cadvisor are always the kubelet's
    #[arg(long = "metrics_label_set", value_enum, default_value_t = LabelSetArg::Cadvisor)]
    metrics_label_set: LabelSetArg,
    /// Which series have the image and the labels of their container; with info the others are joined with the info
    /// series by id
    #[arg(long = "metrics_labels", value_enum, default_value_t = LabelledArg::Everywhere)]
    metrics_labels: LabelledArg,
    /// Set of metrics to expose
    #[arg(long = "metrics_profile", value_enum, default_value_t = ProfileArg::Compatible)]
    metrics_profile: ProfileArg,
    /// Give each value the time at which it was read, as cAdvisor does
    #[arg(long = "metrics_timestamps", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    metrics_timestamps: bool,
    /// Say in OpenMetrics when each counter was 0, in a line of its own; protobuf always does
    #[arg(long = "metrics_created_lines", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    metrics_created_lines: bool,
    /// Most series in one response, at least 1000, or 0 for no limit; those left out are counted
    #[arg(long = "max_series", default_value_t = 0)]
    max_series: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LabelSetArg {
    /// The standalone cAdvisor's, the container's own labels among them
    Cadvisor,
    /// The kubelet's: container, id, image, name, namespace, pod
    Kubelet,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LabelledArg {
    /// All
    Everywhere,
    /// The info series alone
    Info,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileArg {
    /// All of cAdvisor's
    Compatible,
    /// At most 45 series of a container
    Recommended,
}

impl MetricsArgs {
    /// How metrics are exposed.
    pub(super) fn options(&self, kinds: KindSet, kubelet_kinds: KindSet) -> Result<ExpositionOptions, ConfigError> {
        if (1..FEWEST_SERIES).contains(&self.max_series) {
            let problem = format!("use at least {FEWEST_SERIES}, or 0 for any number");
            return Err(value_error("max_series", &self.max_series, &problem));
        }
        let labels = match (self.metrics_label_set, self.store_container_labels) {
            (LabelSetArg::Kubelet, _) => LabelSet::Kubelet,
            (LabelSetArg::Cadvisor, true) => LabelSet::Cadvisor(ContainerLabels::All),
            (LabelSetArg::Cadvisor, false) => {
                let only = list(&self.whitelisted_container_labels).map(str::to_owned).collect();
                LabelSet::Cadvisor(ContainerLabels::Only(only))
            }
        };
        Ok(ExpositionOptions {
            kinds,
            kubelet_kinds,
            labels,
            labelled: match self.metrics_labels {
                LabelledArg::Everywhere => Labelled::Everywhere,
                LabelledArg::Info => Labelled::Info,
            },
            profile: match self.metrics_profile {
                ProfileArg::Compatible => Profile::Compatible,
                ProfileArg::Recommended => Profile::Recommended,
            },
            timestamps: if self.metrics_timestamps { Timestamps::On } else { Timestamps::Off },
            created: if self.metrics_created_lines { CreatedLines::On } else { CreatedLines::Off },
            max_series: Some(self.max_series).filter(|limit| *limit > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::invocation::Invocation;
    use crate::sample::kinds::MetricKind;

    fn options(flags: &[&str]) -> Result<ExpositionOptions, String> {
        let args = std::iter::once("collector").chain(flags.iter().copied()).map(OsString::from);
        match Invocation::from_command_line(args).map_err(|error| error.to_string())? {
            Invocation::Run(config) => Ok(config.metrics),
            command => panic!("flags alone are {command:?}"),
        }
    }

    #[test]
    fn the_defaults_are_cadvisors_but_for_times() {
        let options = options(&[]).unwrap();
        assert_eq!(options.labels, LabelSet::Cadvisor(ContainerLabels::All));
        assert_eq!((options.profile, options.timestamps), (Profile::Compatible, Timestamps::Off));
        assert_eq!((options.max_series, options.kinds), (None, KindSet::default()));
        assert_eq!(options.kubelet_kinds, KindSet::default().union([MetricKind::Process]));
    }

    #[test]
    fn whoever_names_kinds_gets_them_at_the_kubelets_path_too() {
        for flags in [&["--disable_metrics=process,tcp"][..], &["--enable_metrics=cpu"]] {
            let options = options(flags).unwrap();
            assert_eq!(options.kubelet_kinds, options.kinds, "{flags:?}");
            assert!(!options.kinds.has(MetricKind::Process));
        }
    }

    #[test]
    fn labels_are_chosen_in_both_spellings() {
        let only = |flags: &[&str]| options(flags).unwrap().labels;
        let two = ContainerLabels::Only(vec!["a".to_owned(), "b.c".to_owned()]);
        let listed = "-whitelisted_container_labels=a, b.c,";
        assert_eq!(only(&["-store_container_labels=false", listed]), LabelSet::Cadvisor(two));
        assert_eq!(only(&["--store_container_labels", listed]), LabelSet::Cadvisor(ContainerLabels::All));
        assert_eq!(only(&["--metrics_label_set=kubelet"]), LabelSet::Kubelet);
    }

    #[test]
    fn few_series() {
        let options = |flags: &[&str]| options(flags).map(|options| (options.max_series, options.profile));
        let expected = (Some(5000), Profile::Recommended);
        assert_eq!(options(&["--max_series=5000", "--metrics_profile=recommended"]), Ok(expected));
        let error = options(&["--max_series=999"]).unwrap_err();
        assert_eq!(error, "--max_series=999: use at least 1000, or 0 for any number");
    }
}
