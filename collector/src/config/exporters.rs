//! What is sent to whom.

use std::time::Duration;

use clap::ValueEnum;
use http::{HeaderName, HeaderValue, Uri};

use super::{ConfigError, list, value_error};
use crate::go_flags::go_duration;
use crate::push::{Options, OtlpOptions, OtlpProtocol, Receiver};

/// The storage drivers of cAdvisor that need a database.
const DATABASES: [&str; 6] = ["bigquery", "elasticsearch", "influxdb", "kafka", "redis", "statsd"];
/// Pushing more often than this is a load on everybody.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Push")]
pub(super) struct ExporterArgs {
    /// Receiver of OpenTelemetry's protocol, such as `http://collector:4317`, or https; empty for none
    #[arg(long = "otlp_endpoint", default_value = "")]
    otlp_endpoint: String,
    /// Transport of that protocol
    #[arg(long = "otlp_protocol", value_enum, default_value_t = Protocol::Grpc)]
    otlp_protocol: Protocol,
    /// Headers of its requests: `name=value`, separated by commas
    #[arg(long = "otlp_headers", default_value = "")]
    otlp_headers: String,
    /// Time between two pushes to it
    #[arg(long = "otlp_interval", default_value = "10s", value_parser = go_duration)]
    otlp_interval: Duration,
    /// Longest queue, in requests of up to 256 containers
    #[arg(long = "otlp_queue_size", default_value_t = 60)]
    otlp_queue_size: usize,
    /// Receiver of Prometheus' remote write, such as `http://prometheus:9090/api/v1/write`, or https; empty for none
    #[arg(long = "remote_write_url", default_value = "")]
    remote_write_url: String,
    /// Headers of its requests: `name=value`, separated by commas
    #[arg(long = "remote_write_headers", default_value = "")]
    remote_write_headers: String,
    /// Time between two pushes to it
    #[arg(long = "remote_write_interval", default_value = "15s", value_parser = go_duration)]
    remote_write_interval: Duration,
    /// Longest queue, in requests of up to 2000 series
    #[arg(long = "remote_write_queue_size", default_value_t = 500)]
    remote_write_queue_size: usize,
    /// `stdout`: write each sample to standard output, a line each
    #[arg(long = "storage_driver", default_value = "")]
    storage_driver: String,
    /// Time between two writes of the storage driver
    #[arg(long = "storage_driver_buffer_duration", default_value = "1m0s", value_parser = go_duration)]
    storage_driver_buffer_duration: Duration,
}

/// How OpenTelemetry's protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// gRPC
    Grpc,
    /// Protocol buffers over HTTP/1.1, at `/v1/metrics` unless the endpoint says otherwise
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

impl ExporterArgs {
    /// What is pushed where, and a word about each flag that does not do what it says; `kept` is how long samples are
    /// there to be pushed.
    pub(super) fn options(&self, kept: Duration) -> Result<(Options, Vec<String>), ConfigError> {
        let otlp = receiver(
            ["otlp_endpoint", "otlp_headers", "otlp_interval"],
            [&self.otlp_endpoint, &self.otlp_headers],
            self.otlp_interval,
            self.otlp_queue_size,
        )?;
        let protocol = match self.otlp_protocol {
            Protocol::Grpc => OtlpProtocol::Grpc,
            Protocol::HttpProtobuf => OtlpProtocol::HttpProtobuf,
        };
        let mut notes = Vec::new();
        let options = Options {
            otlp: otlp.map(|receiver| OtlpOptions { receiver, protocol }),
            remote_write: receiver(
                ["remote_write_url", "remote_write_headers", "remote_write_interval"],
                [&self.remote_write_url, &self.remote_write_headers],
                self.remote_write_interval,
                self.remote_write_queue_size,
            )?,
            stdout: self.stdout(kept, &mut notes)?,
        };
        Ok((options, notes))
    }

    fn stdout(&self, kept: Duration, notes: &mut Vec<String>) -> Result<Option<Duration>, ConfigError> {
        let mut every = None;
        for driver in list(&self.storage_driver) {
            if driver == "stdout" {
                every = Some(self.storage_driver_buffer_duration);
            } else if DATABASES.contains(&driver) {
                notes.push(format!(
                    "--storage_driver={driver} has no effect: no database is spoken to; use --otlp_endpoint, \
                     --remote_write_url or --storage_driver=stdout"
                ));
            } else {
                let problem = format!("unknown; use stdout (accepted without effect: {})", DATABASES.join(", "));
                return Err(value_error("storage_driver", &self.storage_driver, &problem));
            }
        }
        let Some(every) = every else { return Ok(None) };
        interval("storage_driver_buffer_duration", every)?;
        // What is not kept until then could not be written.
        let most = (kept / 2).max(SHORTEST_INTERVAL);
        if every > most {
            notes.push(format!(
                "--storage_driver_buffer_duration={every:?}: samples are kept for {kept:?}, so they are written every \
                 {most:?}"
            ));
        }
        Ok(Some(every.min(most)))
    }
}

fn interval(flag: &'static str, every: Duration) -> Result<(), ConfigError> {
    if every < SHORTEST_INTERVAL {
        return Err(value_error(flag, &format_args!("{every:?}"), &"use at least 100ms"));
    }
    Ok(())
}

fn receiver(
    flags: [&'static str; 3],
    [url, headers]: [&String; 2],
    every: Duration,
    queue_size: usize,
) -> Result<Option<Receiver>, ConfigError> {
    if url.is_empty() {
        return Ok(None);
    }
    interval(flags[2], every)?;
    // Not even in a complaint.
    if url.contains('@') {
        let problem = format!("a user in a URL is not sent; use --{}=Authorization=...", flags[1]);
        return Err(value_error(flags[0], &"...", &problem));
    }
    let parsed: Uri = url.parse().map_err(|error| value_error(flags[0], url, &error))?;
    if !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none() {
        return Err(value_error(flags[0], url, &"not an http:// or https:// URL"));
    }
    let headers = list(headers).map(|pair| header(pair).map_err(|problem| value_error(flags[1], &"...", &problem)));
    Ok(Some(Receiver { url: parsed, headers: headers.collect::<Result<_, _>>()?, interval: every, queue_size }))
}

/// `name=value`. Errors leave out the value, which may be a secret.
fn header(pair: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = pair.split_once('=').ok_or("a header is not of the form name=value")?;
    let parsed = name.trim().parse().map_err(|_| format!("{name:?} is no header's name"))?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| format!("{name:?} has no valid value"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::invocation::Invocation;

    fn config(flags: &[&str]) -> Result<Config, String> {
        let args = std::iter::once("collector").chain(flags.iter().copied()).map(Into::into);
        match Invocation::from_command_line(args).map_err(|error| error.to_string())? {
            Invocation::Run(config) => Ok(*config),
            command => panic!("flags alone are {command:?}"),
        }
    }

    fn options(flags: &[&str]) -> Result<Options, String> {
        config(flags).map(|config| config.push)
    }

    #[test]
    fn everything_is_off_by_default() {
        let options = options(&[]).unwrap();
        assert!(options.otlp.is_none() && options.remote_write.is_none() && options.stdout.is_none());
    }

    #[test]
    fn receivers() {
        let options = options(&[
            "--otlp_endpoint=http://node:4318",
            "-otlp_protocol=http/protobuf",
            "--otlp_headers=Authorization=Bearer a=b,x-scope=1",
            "--remote_write_url=http://[::1]:9090/api/v1/write",
            "--storage_driver=stdout",
            "--storage_driver_buffer_duration=5s",
        ])
        .unwrap();
        let otlp = options.otlp.unwrap();
        assert_eq!((otlp.protocol, otlp.receiver.queue_size), (OtlpProtocol::HttpProtobuf, 60));
        let headers: Vec<_> =
            otlp.receiver.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(headers, [("authorization", &b"Bearer a=b"[..]), ("x-scope", b"1")]);
        assert_eq!(options.remote_write.unwrap().url.path(), "/api/v1/write");
        assert_eq!(options.stdout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn mistakes_are_named() {
        for (flags, start) in [
            (&["--otlp_endpoint=node:4317"][..], "--otlp_endpoint=node:4317: not an http:// or"),
            (
                &["--remote_write_url=http://ann:secret@x/"],
                "--remote_write_url=...: a user in a URL is not sent; use --remote_write_headers=Authorization",
            ),
            (&["--remote_write_url=ftp://x/"], "--remote_write_url=ftp://x/: not an http:// or"),
            (&["--otlp_endpoint=http://a", "--otlp_headers=secret"], "--otlp_headers=...: a header is not of the form"),
            (&["--otlp_endpoint=http://a", "--otlp_interval=1ms"], "--otlp_interval=1ms: use at least 100ms"),
            (&["--storage_driver=stdout,x"], "--storage_driver=stdout,x: unknown; use stdout (accepted"),
            (
                &["--storage_driver=stdout", "--storage_driver_buffer_duration=0"],
                "--storage_driver_buffer_duration=0ns: use at least 100ms",
            ),
        ] {
            let error = options(flags).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn what_has_no_effect_is_reported() {
        let config = config(&["--storage_driver=stdout,influxdb", "--storage_duration=30s"]).unwrap();
        assert_eq!(config.push.stdout, Some(Duration::from_secs(15)));
        let reported = |start: &str| config.notes.iter().any(|note| note.starts_with(start));
        assert!(reported("--storage_driver=influxdb has no effect"), "{:?}", config.notes);
        assert!(reported("--storage_driver_buffer_duration=60s: samples are kept for 30s"), "{:?}", config.notes);
    }
}
