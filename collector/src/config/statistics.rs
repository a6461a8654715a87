//! What `collector statistics` is asked for.

use std::ffi::OsString;

use super::invocation::ReportFormat;
use super::{Args, Config, ConfigError, value_error};

/// The flags of `collector statistics`, the daemon's among them.
#[derive(Debug, clap::Args)]
pub(super) struct StatisticsArgs {
    /// The cgroup, as the API names it
    #[arg(long, default_value = "/")]
    cgroup: OsString,
    /// How to print it
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
    #[command(flatten)]
    daemon: Args,
}

/// What `collector statistics` was asked for.
#[derive(Clone, Debug)]
pub struct StatisticsRequest {
    /// The cgroup's name.
    pub cgroup: Vec<u8>,
    /// How to print it.
    pub format: ReportFormat,
    /// What the daemon would do with the same flags.
    pub config: Config,
}

impl StatisticsRequest {
    pub(super) fn from_args(args: StatisticsArgs) -> Result<Self, ConfigError> {
        use std::os::unix::ffi::OsStringExt as _;
        let StatisticsArgs { cgroup, format, daemon } = args;
        let mut cgroup = cgroup.into_vec();
        if !cgroup.starts_with(b"/") {
            let given = String::from_utf8_lossy(&cgroup).into_owned();
            return Err(value_error("cgroup", &given, &"a cgroup's name begins with a slash"));
        }
        while cgroup.len() > 1 && cgroup.ends_with(b"/") {
            cgroup.pop();
        }
        Ok(Self { cgroup, format, config: Config::from_args(daemon)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::invocation::Invocation;
    use crate::sample::kinds::{KindSet, MetricKind};

    fn request(flags: &[&str]) -> Result<StatisticsRequest, String> {
        let args = ["collector", "statistics"].into_iter().chain(flags.iter().copied()).map(OsString::from);
        match Invocation::from_command_line(args) {
            Ok(Invocation::Statistics(request)) => Ok(*request),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_daemons_flags_count_too() {
        let asked = request(&["--cgroup=/a/b/", "-format=json", "-disable_metrics="]).unwrap();
        assert_eq!((asked.cgroup.as_slice(), asked.format), (&b"/a/b"[..], ReportFormat::Json));
        assert_eq!(asked.config.kinds, KindSet::all().without([MetricKind::ReferencedMemory]));
        let asked = request(&[]).unwrap();
        assert_eq!((asked.cgroup.as_slice(), asked.format), (&b"/"[..], ReportFormat::Text));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(request(&["--cgroup=a"]).unwrap_err(), "--cgroup=a: a cgroup's name begins with a slash");
        assert!(request(&["--formt=json"]).unwrap_err().starts_with("unexpected argument '--formt' found"));
    }
}
