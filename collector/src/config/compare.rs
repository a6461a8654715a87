//! What `collector compare` is asked for.

use std::time::Duration;

use super::{ConfigError, ReportFormat, value_error};
use crate::client::{Header, Origin, Peer, Trust};
use crate::compare::{CompareOptions, Format, Verbosity};

/// The flags of `collector compare`.
#[derive(Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// Where cAdvisor answers, with what comes before every path
    #[arg(long, value_name = "URL")]
    with: Origin,
    /// Where the collector answers
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: Origin,
    /// A header for every request to cAdvisor, such as `Authorization: Basic ...`
    #[arg(long, value_name = "HEADER")]
    with_header: Vec<Header>,
    /// A header for every request to the collector
    #[arg(long, value_name = "HEADER")]
    url_header: Vec<Header>,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
    /// List also what only the collector has
    #[arg(long)]
    verbose: bool,
    /// Seconds that the whole comparison may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

impl CompareArgs {
    pub(super) fn into_options(self) -> Result<CompareOptions, ConfigError> {
        let Self { with, url, with_header, url_header, format, verbose, timeout } = self;
        if timeout == 0 {
            return Err(value_error("timeout", &"0", &"nothing can be compared in no time"));
        }
        Ok(CompareOptions {
            theirs: Peer { origin: with, headers: with_header, trust: Trust::System },
            ours: Peer { origin: url, headers: url_header, trust: Trust::System },
            format: match format {
                ReportFormat::Text => Format::Text,
                ReportFormat::Json => Format::Json,
            },
            verbosity: if verbose { Verbosity::Everything } else { Verbosity::Differences },
            timeout: Duration::from_secs(timeout),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::invocation::Invocation;

    fn options(flags: &[&str]) -> Result<CompareOptions, String> {
        let args = ["collector", "compare"].into_iter().chain(flags.iter().copied()).map(OsString::from);
        match Invocation::from_command_line(args) {
            Ok(Invocation::Compare(options)) => Ok(*options),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn two_addresses_are_compared() {
        let given = options(&["--with=http://127.0.0.1:9/cadvisor/", "-verbose", "--format=json"]).unwrap();
        assert_eq!(given.theirs.origin.to_string(), "http://127.0.0.1:9/cadvisor");
        assert_eq!(given.ours.origin.to_string(), "http://127.0.0.1:8080");
        assert_eq!((given.format, given.verbosity), (Format::Json, Verbosity::Everything));
    }

    #[test]
    fn mistakes_are_named() {
        let with = "--with=http://a";
        for flags in
            [&[][..], &["--with=localhost"], &["--with=ftp://a"], &[with, "--url-header=x"], &[with, "--timeout=0"]]
        {
            assert!(!options(flags).unwrap_err().contains("error: "), "{flags:?}");
        }
    }
}
