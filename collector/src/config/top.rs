//! What `collector top` is asked for.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::peer::PeerArgs;
use super::{Args, Config, ConfigError, ReportFormat, moment, value_error};
use crate::client::{Origin, Peer};
use crate::units::WallTime;

/// The flags of `collector top`, the daemon's among them.
#[derive(Debug, clap::Args)]
pub(super) struct TopArgs {
    /// Where a collector answers, with what comes before every path; by default on this machine, at --port, and where
    /// none answers there cgroups are read without one
    #[arg(long, value_name = "URL")]
    url: Option<Origin>,
    #[command(flatten)]
    peer: PeerArgs,
    /// What is first
    #[arg(long, value_enum, default_value_t = SortBy::Cpu)]
    sort: SortBy,
    /// Only what has all of these words in its name, pod, namespace, image, labels or id
    #[arg(long, value_name = "WORDS", default_value = "")]
    filter: String,
    /// Print what there is once, and exit
    #[arg(long)]
    once: bool,
    /// How it is printed with --once
    #[arg(long, value_enum, default_value_t = ReportFormat::Text, requires = "once")]
    format: ReportFormat,
    /// Show this moment of the past, of a collector with `--history_dir`: 03:00, 'yesterday 03:00', 2026-11-29T03:00:00Z, -90m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    #[command(flatten)]
    daemon: Args,
}

/// What is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SortBy {
    /// CPU time
    Cpu,
    /// Working set
    Memory,
    /// Received and sent
    Network,
    /// Read and written
    Disk,
    /// Throttled periods
    Throttled,
    /// Pressure
    Pressure,
    /// The alphabet
    Name,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopMode {
    /// On a terminal, until the user has seen enough.
    Screen,
    /// Printed once.
    Once(ReportFormat),
}

/// Whether somebody said where the collector answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// It has to be this one.
    Given,
    /// It is looked for, and done without.
    Supposed,
}

/// What `collector top` was asked for.
#[derive(Clone, Debug)]
pub struct TopRequest {
    /// Who is asked.
    pub peer: Peer,
    /// Whether that was said.
    pub whence: Where,
    /// A moment of the past.
    pub at: Option<WallTime>,
    /// How it is shown.
    pub mode: TopMode,
    /// What is first.
    pub sort: SortBy,
    /// What is looked for.
    pub filter: String,
    /// For when no collector answers.
    pub config: Config,
}

impl TopRequest {
    pub(super) fn from_args(args: TopArgs) -> Result<Self, ConfigError> {
        let TopArgs { url, peer, sort, filter, once, format, at, daemon } = args;
        let config = Config::from_args(daemon)?;
        let supposed = || format!("http://127.0.0.1:{}{}", config.listen.port(), config.base_path).parse();
        let (origin, whence) = match url {
            Some(url) => (url, Where::Given),
            None => (supposed().map_err(|error| value_error("port", &config.listen.port(), &error))?, Where::Supposed),
        };
        let past = |text: String| {
            let found = moment::past(&text, Timestamp::now(), &TimeZone::system());
            found.map_err(|problem| value_error("at", &text, &problem))
        };
        Ok(Self {
            peer: peer.peer(origin)?,
            whence,
            at: at.map(past).transpose()?,
            mode: if once { TopMode::Once(format) } else { TopMode::Screen },
            sort,
            filter,
            config,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::invocation::Invocation;

    fn request(flags: &[&str]) -> Result<TopRequest, String> {
        let args = ["collector", "top"].into_iter().chain(flags.iter().copied()).map(OsString::from);
        match Invocation::from_command_line(args) {
            Ok(Invocation::Top(request)) => Ok(*request),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_collector_of_this_machine_is_where_the_daemons_flags_say() {
        let asked = request(&["--port=9", "-url_base_prefix=/x"]).unwrap();
        assert_eq!((asked.peer.origin.to_string().as_str(), asked.whence), ("http://127.0.0.1:9/x", Where::Supposed));
        assert_eq!((asked.mode, asked.sort), (TopMode::Screen, SortBy::Cpu));
        let asked = request(&["--url=https://node/x", "--once", "--format=json", "--sort=network"]).unwrap();
        assert_eq!((asked.peer.origin.to_string().as_str(), asked.whence), ("https://node:443/x", Where::Given));
        assert_eq!((asked.mode, asked.sort), (TopMode::Once(ReportFormat::Json), SortBy::Network));
    }

    #[test]
    fn proofs_are_read_from_files_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name).display().to_string()
        };
        let (token, pair) = (put("token", "secret\n"), put("pair", "ann:secret"));
        for flag in [format!("--token_file={token}"), format!("--password_file={pair}")] {
            let asked = request(&[&flag]).unwrap();
            assert_eq!(asked.peer.headers.len(), 1);
            assert!(!format!("{:?}", asked.peer).contains("secret"));
        }
        for (flag, file) in [("token_file", put("empty", "\n")), ("password_file", token)] {
            let error = request(&[&format!("--{flag}={file}")]).unwrap_err();
            assert!(error.starts_with(&format!("--{flag}={file}: its first line")), "{error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for flags in [&["--format=json"][..], &["--url=node:8080"], &["--at=noon"], &["--sort=x"]] {
            let error = request(flags).unwrap_err();
            assert!(error.lines().count() == 1 && !error.contains("error: "), "{error}");
        }
        assert!(request(&["--at=03:00"]).unwrap().at.is_some());
        assert!(request(&["--at", "-90m"]).unwrap().at.is_some());
    }
}
