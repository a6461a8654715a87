//! The command line of `collector statistics`.

use std::ffi::OsString;

use clap::{Parser, ValueEnum};

use super::{Args, Config, ConfigError, parse, value_error};

/// Tells for every statistic of a cgroup which file it is read from on this machine, or why it is not available.
#[derive(Debug, Parser)]
#[command(name = "collector statistics", version)]
struct StatisticsArgs {
    /// The cgroup, as the API names it
    #[arg(long, default_value = "/")]
    cgroup: OsString,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    daemon: Args,
}

/// How to print something for a person or a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table
    Text,
    /// One JSON object
    Json,
}

/// What `collector statistics` was asked for.
#[derive(Clone, Debug)]
pub struct StatisticsRequest {
    /// The cgroup's name.
    pub cgroup: Vec<u8>,
    /// How to print it.
    pub format: Format,
    /// What the daemon would do with the same flags.
    pub config: Config,
}

impl StatisticsRequest {
    /// Reads the command line, the subcommand's name first.
    ///
    /// # Errors
    /// As [`Config::from_command_line`].
    pub fn from_command_line(args: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        Self::from_args(parse(args)?)
    }

    fn from_args(args: StatisticsArgs) -> Result<Self, ConfigError> {
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
    use crate::sample::kinds::KindSet;

    fn request(flags: &[&str]) -> Result<StatisticsRequest, String> {
        let args = std::iter::once("statistics").chain(flags.iter().copied()).map(OsString::from);
        StatisticsRequest::from_command_line(args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_daemons_flags_count_too() {
        let asked = request(&["--cgroup=/a/b/", "-format=json", "-disable_metrics="]).unwrap();
        assert_eq!((asked.cgroup.as_slice(), asked.format), (&b"/a/b"[..], Format::Json));
        assert_eq!(asked.config.kinds, KindSet::all());
        let asked = request(&[]).unwrap();
        assert_eq!((asked.cgroup.as_slice(), asked.format), (&b"/"[..], Format::Text));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(request(&["--cgroup=a"]).unwrap_err(), "error: --cgroup=a: a cgroup's name begins with a slash");
        assert!(request(&["--formt=json"]).unwrap_err().starts_with("error: unexpected argument '--formt' found"));
    }
}
