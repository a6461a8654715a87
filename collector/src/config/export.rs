//! What `collector export` is asked for.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::peer::PeerArgs;
use super::{ConfigError, moment, value_error};
use crate::api::export::ExportFormat;
use crate::api::query::export::ExportQuery;
use crate::client::Origin;
use crate::export::{ExportRequest, HistorySource};
use crate::units::WallTime;

/// The flags of `collector export`.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The directory that the collector was given with the same flag
    #[arg(long = "history_dir", value_name = "DIR", conflicts_with = "url")]
    history_dir: Option<PathBuf>,
    /// Where a running collector answers
    #[arg(long, value_name = "URL", required_unless_present = "history_dir")]
    url: Option<Origin>,
    #[command(flatten)]
    peer: PeerArgs,
    /// Where to begin: 03:00, 'yesterday 03:00', an RFC 3339 time, seconds since 1970, or how long ago, such as -6h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Where to end, in the same forms; without it now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// How it is written: openmetrics, csv or json
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    format: String,
    /// Only this container: its name, id or cgroup path
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
}

impl ExportArgs {
    pub(super) fn into_request(self) -> Result<ExportRequest, ConfigError> {
        let Self { history_dir, url, peer, from, to, format, container } = self;
        let (now, zone) = (Timestamp::now(), TimeZone::system());
        let moment = |flag, text: Option<String>, without| match text {
            None => Ok(without),
            Some(text) => moment::past(&text, now, &zone).map_err(|problem| value_error(flag, &text, &problem)),
        };
        let query = ExportQuery {
            from: moment("from", from, WallTime(0))?,
            to: moment("to", to, WallTime(u64::MAX))?,
            format: ExportFormat::of(&format)
                .ok_or_else(|| value_error("format", &format, &"use openmetrics, csv or json"))?,
            container,
        };
        let source = match (history_dir, url) {
            (Some(directory), _) => HistorySource::Directory(directory),
            (None, Some(url)) => HistorySource::Server(peer.peer(url)?),
            // clap wants one of them.
            (None, None) => return Err(value_error("url", &"", &"give --url or --history_dir")),
        };
        Ok(ExportRequest { source, query })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::SystemTime;

    use super::*;
    use crate::config::invocation::Invocation;

    fn request(flags: &[&str]) -> Result<ExportRequest, String> {
        let args = ["collector", "export"].into_iter().chain(flags.iter().copied()).map(OsString::from);
        match Invocation::from_command_line(args) {
            Ok(Invocation::Export(request)) => Ok(*request),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_span_of_a_directory_or_a_server() {
        let asked = request(&["--history_dir=/h", "--from=2023-11-14T22:13:20Z", "--to=1700000060", "--format=csv"]);
        let asked = asked.unwrap();
        assert_eq!(asked.source, HistorySource::Directory("/h".into()));
        assert_eq!(asked.query.to.since(asked.query.from).0, 60_000_000_000);
        let asked = request(&["--url=http://node:8080", "--from=-6h", "--container=web"]).unwrap();
        let now = WallTime::from(SystemTime::now());
        assert_eq!(now.since(asked.query.from).0 / 3_600_000_000_000, 6);
        assert_eq!((asked.query.container.as_deref(), asked.query.format), (Some("web"), ExportFormat::Json));
    }

    #[test]
    fn mistakes_are_named() {
        for flags in [
            &[][..],
            &["--history_dir=/h", "--url=http://a"],
            &["--history_dir=/h", "--from=soon"],
            &["--history_dir=/h", "--from=-x"],
            &["--history_dir=/h", "--format=xml"],
        ] {
            assert!(!request(flags).unwrap_err().contains("error: "), "{flags:?}");
        }
    }
}
