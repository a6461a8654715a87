//! What is sent to whom.

use std::time::Duration;

use clap::{ArgAction, ValueEnum};

use super::ConfigError;
use super::receivers::receiver;
use super::storage::{Drivers, StorageArgs};
use crate::go_flags::{go_bool, go_duration};
use crate::push::{
    Compression, Details, Events, Options, OtlpOptions, OtlpProtocol, RemoteWriteOptions, RemoteWriteVersion,
    Temporality,
};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Push")]
pub(super) struct ExporterArgs {
    /// Receiver of OpenTelemetry's protocol, such as `http://collector:4317`, or https; empty for none
    #[arg(long = "otlp_endpoint", default_value = "")]
    otlp_endpoint: String,
    /// Transport of that protocol
    #[arg(long = "otlp_protocol", value_enum, default_value_t = Protocol::Grpc)]
    otlp_protocol: Protocol,
    /// Compression of its requests
    #[arg(long = "otlp_compression", value_enum, default_value_t = Coding::Gzip)]
    otlp_compression: Coding,
    /// What counters say: `cumulative` since they began, `delta` since the last push
    #[arg(long = "otlp_temporality", value_enum, default_value_t = Counting::Cumulative)]
    otlp_temporality: Counting,
    /// Push statistics with many values for each container too: CPU time by CPU, memory.stat, NUMA nodes, TCP's counters
    #[arg(long = "otlp_details", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    otlp_details: bool,
    /// Push containers' events as logs
    #[arg(long = "otlp_events", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    otlp_events: bool,
    /// Headers of its requests: `name=value`, or `name=@FILE` for what is in a file, separated by commas
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
    /// Headers of its requests: `name=value`, or `name=@FILE` for what is in a file, separated by commas
    #[arg(long = "remote_write_headers", default_value = "")]
    remote_write_headers: String,
    /// Time between two pushes to it
    #[arg(long = "remote_write_interval", default_value = "15s", value_parser = go_duration)]
    remote_write_interval: Duration,
    /// Longest queue, in requests of up to 10000 series
    #[arg(long = "remote_write_queue_size", default_value_t = 100)]
    remote_write_queue_size: usize,
    /// Version of the protocol: `auto` is 2.0, or 1.0 where the receiver does not speak that
    #[arg(long = "remote_write_version", value_enum, default_value_t = OtlpVersion::Auto)]
    remote_write_version: OtlpVersion,
    #[command(flatten)]
    storage: StorageArgs,
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

/// What counters say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Counting {
    /// How much it was since they began
    Cumulative,
    /// How much it was since the last push
    Delta,
}

/// Compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Coding {
    /// Faster to send
    Gzip,
    /// For receivers that do not read it
    None,
}

/// Version of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OtlpVersion {
    /// 2.0, or 1.0 where the receiver does not speak that
    Auto,
    /// 1.0
    #[value(name = "1.0")]
    One,
    /// 2.0
    #[value(name = "2.0")]
    Two,
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
        let remote_write = receiver(
            ["remote_write_url", "remote_write_headers", "remote_write_interval"],
            [&self.remote_write_url, &self.remote_write_headers],
            self.remote_write_interval,
            self.remote_write_queue_size,
        )?;
        let version = match self.remote_write_version {
            OtlpVersion::Auto => RemoteWriteVersion::Negotiated,
            OtlpVersion::One => RemoteWriteVersion::One,
            OtlpVersion::Two => RemoteWriteVersion::Two,
        };
        let mut notes = Vec::new();
        let Drivers { influxdb, statsd, stdout } = self.storage.drivers(kept, &mut notes)?;
        let options = Options {
            otlp: otlp.map(|receiver| OtlpOptions {
                receiver,
                protocol,
                compression: match self.otlp_compression {
                    Coding::Gzip => Compression::Gzip,
                    Coding::None => Compression::None,
                },
                temporality: match self.otlp_temporality {
                    Counting::Cumulative => Temporality::Cumulative,
                    Counting::Delta => Temporality::Delta,
                },
                details: if self.otlp_details { Details::All } else { Details::Few },
                events: if self.otlp_events { Events::Pushed } else { Events::Kept },
            }),
            remote_write: remote_write.map(|receiver| RemoteWriteOptions { receiver, version }),
            influxdb,
            statsd,
            stdout,
        };
        Ok((options, notes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

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
        assert_eq!(options.remote_write.unwrap().receiver.url.path(), "/api/v1/write");
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
            (&["--storage_driver=stdout,x"], "--storage_driver=x: unknown; use influxdb, statsd or stdout"),
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
    fn what_is_not_kept_is_written_sooner() {
        let config = config(&["--storage_driver=stdout", "--storage_duration=30s"]).unwrap();
        assert_eq!(config.push.stdout, Some(Duration::from_secs(15)));
        let reported = |start: &str| config.notes.iter().any(|note| note.starts_with(start));
        assert!(reported("--storage_driver_buffer_duration=60s: samples are kept for 30s"), "{:?}", config.notes);
    }

    #[test]
    fn a_secret_may_be_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "Bearer a,b=c\n").unwrap();
        let headers = format!("--otlp_headers=x=1,Authorization=@{}", file.path().display());
        let otlp = options(&["--otlp_endpoint=http://a", &headers]).unwrap().otlp.unwrap();
        assert_eq!(otlp.receiver.headers[1].1.as_bytes(), b"Bearer a,b=c");
        let error = options(&["--otlp_endpoint=http://a", "--otlp_headers=a=@/nowhere"]).unwrap_err();
        assert!(error.starts_with("--otlp_headers=/nowhere: cannot be read: "), "{error}");
    }
}
