//! What `collector statistics` is asked for.

use std::ffi::OsString;

use super::{Args, Config, ConfigError, ReportFormat, value_error};

/// The flags of `collector statistics`, the daemon's among them.
#[derive(Debug, clap::Args)]
pub(super) struct StatisticsArgs {
    /// The container: its name, pod/container, id, or cgroup path; without it the whole machine
    #[arg(conflicts_with = "cgroup")]
    container: Option<OsString>,
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
    /// The container, or its cgroup.
    pub container: OsString,
    /// How to print it.
    pub format: ReportFormat,
    /// What the daemon would do with the same flags.
    pub config: Config,
}

impl StatisticsRequest {
    pub(super) fn from_args(args: StatisticsArgs) -> Result<Self, ConfigError> {
        use std::os::unix::ffi::OsStrExt as _;
        let StatisticsArgs { container, cgroup, format, daemon } = args;
        if !cgroup.as_bytes().starts_with(b"/") {
            let problem = "a cgroup's path begins with a slash; a container's name goes without the flag";
            return Err(value_error("cgroup", &cgroup.to_string_lossy(), &problem));
        }
        Ok(Self { container: container.unwrap_or(cgroup), format, config: Config::from_args(daemon)? })
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
        assert_eq!((asked.container.as_os_str(), asked.format), ("/a/b/".as_ref(), ReportFormat::Json));
        let unnamed =
            [MetricKind::BlockLatency, MetricKind::NetworkCgroup, MetricKind::ReferencedMemory, MetricKind::RunQueue];
        assert_eq!(asked.config.kinds, KindSet::all().without(unnamed));
        let asked = request(&[]).unwrap();
        assert_eq!((asked.container.as_os_str(), asked.format), ("/".as_ref(), ReportFormat::Text));
        assert_eq!(request(&["web", "--port=1"]).unwrap().container, "web");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(request(&["--cgroup=a"]).unwrap_err().starts_with("--cgroup=a: a cgroup's path begins with a slash"));
        assert!(request(&["web", "--cgroup=/a"]).unwrap_err().contains("cannot be used with"));
        assert!(request(&["--formt=json"]).unwrap_err().starts_with("unexpected argument '--formt' found"));
    }
}
