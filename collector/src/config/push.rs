//! Where samples go besides the API.

use super::{ConfigError, list, value_error};

/// The drivers of cAdvisor that need a database.
const OTHERS: [&str; 6] = ["bigquery", "elasticsearch", "influxdb", "kafka", "redis", "statsd"];

#[derive(Debug, clap::Args)]
pub(super) struct PushArgs {
    /// `stdout`: write each sample to standard output, a line each
    #[arg(long = "storage_driver", default_value = "")]
    storage_driver: String,
}

/// Where samples go besides the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleOutput {
    /// Nowhere.
    None,
    /// To standard output, as lines of JSON.
    Stdout,
}

impl PushArgs {
    /// Where samples go, and a word about each driver that is not here.
    pub(super) fn output(&self) -> Result<(SampleOutput, Vec<String>), ConfigError> {
        let mut output = SampleOutput::None;
        let mut notes = Vec::new();
        for driver in list(&self.storage_driver) {
            if driver == "stdout" {
                output = SampleOutput::Stdout;
            } else if OTHERS.contains(&driver) {
                notes.push(format!(
                    "--storage_driver={driver} has no effect: samples are not pushed to a database; scrape /metrics, or \
                     write them with --storage_driver=stdout"
                ));
            } else {
                let problem = format!("unknown; use stdout (accepted without effect: {})", OTHERS.join(", "));
                return Err(value_error("storage_driver", &self.storage_driver, &problem));
            }
        }
        Ok((output, notes))
    }
}
