//! How much is logged.

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct LoggingArgs {
    /// Log verbosity: 4 and above adds debug lines, 8 and above trace lines
    #[arg(long = "v", default_value_t = 2, allow_negative_numbers = true, value_name = "NUMBER")]
    v: i64,
}

impl LoggingArgs {
    /// The filter where the environment names none.
    pub(super) fn filter(&self) -> &'static str {
        match self.v {
            ..=3 => "info",
            4..=7 => "collector=debug,info",
            8.. => "collector=trace,info",
        }
    }
}
