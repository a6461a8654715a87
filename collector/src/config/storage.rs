//! cAdvisor's storage drivers: its flags, and what is made of them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ArgAction;
use form_urlencoded::Serializer;
use http::HeaderValue;
use http::header::AUTHORIZATION;

use super::receivers::{SECRET, SHORTEST_INTERVAL, authority, interval, secret, url};
use super::{ConfigError, list, value_error};
use crate::go_flags::{go_bool, go_duration};
use crate::push::{Receiver, StatsdOptions};

/// Requests of a storage driver that wait at most; they are bounded in bytes too.
const QUEUE_SIZE: usize = 1000;

/// The storage drivers of cAdvisor that there are not, and how their databases are reached.
const ELSEWHERE: [(&str, &str); 4] = [
    ("bigquery", "send OTLP to an OpenTelemetry Collector with the exporter googlecloud (--otlp_endpoint)"),
    (
        "elasticsearch",
        "send OTLP to Elasticsearch itself (9.2 and later), or to an OpenTelemetry Collector with the exporter \
         elasticsearch (--otlp_endpoint)",
    ),
    ("kafka", "send OTLP to an OpenTelemetry Collector with the exporter kafka (--otlp_endpoint)"),
    ("redis", "send remote write to an adapter for Redis' time series (--remote_write_url)"),
];

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Push")]
pub(super) struct StorageArgs {
    /// `influxdb`, `statsd`, or `stdout` for each sample as a line of JSON; may be repeated
    #[arg(long = "storage_driver", action = ArgAction::Append)]
    storage_driver: Vec<String>,
    /// Time between two writes of a storage driver
    #[arg(long = "storage_driver_buffer_duration", default_value = "1m0s", value_parser = go_duration)]
    storage_driver_buffer_duration: Duration,
    /// The database of `influxdb`; of `statsd` what names begin with
    #[arg(long = "storage_driver_db", default_value = "cadvisor")]
    storage_driver_db: String,
    /// Host and port of the database
    #[arg(long = "storage_driver_host", default_value = "localhost:8086")]
    storage_driver_host: String,
    /// Retention policy of InfluxDB 1.x
    #[arg(long = "storage_driver_influxdb_retention_policy", default_value = "")]
    storage_driver_influxdb_retention_policy: String,
    /// Organization of InfluxDB 2.x and 3.x
    #[arg(long = "storage_driver_influxdb_org", default_value = "")]
    storage_driver_influxdb_org: String,
    /// Bucket of InfluxDB 2.x and 3.x; if it is named, their API is spoken
    #[arg(long = "storage_driver_influxdb_bucket", default_value = "")]
    storage_driver_influxdb_bucket: String,
    /// File with the token of InfluxDB 2.x and 3.x
    #[arg(long = "storage_driver_influxdb_token_file", default_value = "")]
    storage_driver_influxdb_token_file: String,
    /// Password of the database; everybody on the machine can read it on the command line, unlike in a file
    #[arg(long = "storage_driver_password", default_value = "root", hide_default_value = true)]
    storage_driver_password: String,
    /// File with the password of the database
    #[arg(long = "storage_driver_password_file", default_value = "")]
    storage_driver_password_file: String,
    /// Whether the database is spoken to by TLS
    #[arg(long = "storage_driver_secure", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    storage_driver_secure: bool,
    /// User of the database
    #[arg(long = "storage_driver_user", default_value = "root")]
    storage_driver_user: String,
}

/// The storage drivers that were asked for.
#[derive(Debug, Default)]
pub(super) struct Drivers {
    pub(super) influxdb: Option<Receiver>,
    pub(super) statsd: Option<StatsdOptions>,
    pub(super) stdout: Option<Duration>,
}

impl StorageArgs {
    pub(super) fn drivers(&self, kept: Duration, notes: &mut Vec<String>) -> Result<Drivers, ConfigError> {
        let mut drivers = Drivers::default();
        let wanted: Vec<&str> = self.storage_driver.iter().flat_map(|text| list(text)).collect();
        for driver in &wanted {
            if let Some((_, instead)) = ELSEWHERE.iter().find(|(name, _)| name == driver) {
                let problem = format!("no such database is spoken to; {instead}");
                return Err(value_error("storage_driver", driver, &problem));
            }
            if !["influxdb", "statsd", "stdout"].contains(driver) {
                return Err(value_error("storage_driver", driver, &"unknown; use influxdb, statsd or stdout"));
            }
        }
        if wanted.is_empty() {
            return Ok(drivers);
        }
        let every = self.every(kept, notes)?;
        let asked = |name| wanted.contains(&name);
        drivers.stdout = asked("stdout").then_some(every);
        if asked("statsd") {
            let address = self.storage_driver_host.clone();
            if authority("storage_driver_host", &address)?.port().is_none() {
                return Err(value_error("storage_driver_host", &address, &"a host and a port, such as statsd:8125"));
            }
            let namespace = self.storage_driver_db.clone();
            drivers.statsd = Some(StatsdOptions { address, namespace, interval: every, queue_size: QUEUE_SIZE });
        }
        if asked("influxdb") {
            drivers.influxdb = Some(self.influxdb(every)?);
        }
        Ok(drivers)
    }

    /// What is not kept until then could not be written.
    fn every(&self, kept: Duration, notes: &mut Vec<String>) -> Result<Duration, ConfigError> {
        let every = self.storage_driver_buffer_duration;
        interval("storage_driver_buffer_duration", every)?;
        let most = (kept / 2).max(SHORTEST_INTERVAL);
        if every > most {
            notes.push(format!(
                "--storage_driver_buffer_duration={every:?}: samples are kept for {kept:?}, so they are written every \
                 {most:?}"
            ));
        }
        Ok(every.min(most))
    }

    fn influxdb(&self, every: Duration) -> Result<Receiver, ConfigError> {
        let host = authority("storage_driver_host", &self.storage_driver_host)?;
        let scheme = if self.storage_driver_secure { "https" } else { "http" };
        let mut query = Serializer::new(String::new());
        let bucket = &self.storage_driver_influxdb_bucket;
        let (path, credentials) = if bucket.is_empty() {
            query.append_pair("db", &self.storage_driver_db);
            if !self.storage_driver_influxdb_retention_policy.is_empty() {
                query.append_pair("rp", &self.storage_driver_influxdb_retention_policy);
            }
            // The server would take what is behind it for the password.
            if self.storage_driver_user.contains(':') {
                return Err(value_error("storage_driver_user", &SECRET, &"a user's name has no colon"));
            }
            let password = match &*self.storage_driver_password_file {
                "" => self.storage_driver_password.clone(),
                file => secret("storage_driver_password_file", file)?,
            };
            ("write", format!("Basic {}", STANDARD.encode(format!("{}:{password}", self.storage_driver_user))))
        } else {
            if self.storage_driver_influxdb_token_file.is_empty() {
                let problem = "needs --storage_driver_influxdb_token_file";
                return Err(value_error("storage_driver_influxdb_bucket", bucket, &problem));
            }
            query.append_pair("org", &self.storage_driver_influxdb_org).append_pair("bucket", bucket);
            let token = secret("storage_driver_influxdb_token_file", &self.storage_driver_influxdb_token_file)?;
            ("api/v2/write", format!("Token {token}"))
        };
        query.append_pair("precision", "ns");
        let text = format!("{scheme}://{host}/{path}?{}", query.finish());
        let url = url("storage_driver_host", &text)?;
        let mut credentials = HeaderValue::from_str(&credentials).map_err(|_| {
            value_error("storage_driver_influxdb_token_file", &"...", &"what is in the file is no token")
        })?;
        credentials.set_sensitive(true);
        Ok(Receiver { url, headers: vec![(AUTHORIZATION, credentials)], interval: every, queue_size: QUEUE_SIZE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    #[test]
    fn drivers_may_be_several() {
        let flags = ["-storage_driver=stdout", "-storage_driver=influxdb,statsd", "-storage_driver_host=db:1"];
        let config = config(
            &[&flags[..], &["-storage_driver_secure", "-storage_driver_influxdb_retention_policy=a b"]].concat(),
        );
        let push = config.unwrap().push;
        assert_eq!(push.stdout, Some(Duration::from_secs(60)));
        let statsd = push.statsd.unwrap();
        assert_eq!((statsd.address.as_str(), statsd.namespace.as_str()), ("db:1", "cadvisor"));
        let influxdb = push.influxdb.unwrap();
        assert_eq!(influxdb.url.to_string(), "https://db:1/write?db=cadvisor&rp=a+b&precision=ns");
        assert_eq!(influxdb.headers[0].1.as_bytes(), b"Basic cm9vdDpyb290");
        assert!(!format!("{influxdb:?}").contains("cm9vd"), "a password is shown");
    }

    #[test]
    fn newer_databases_take_a_token() {
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "s3cret\n").unwrap();
        let file = format!("--storage_driver_influxdb_token_file={}", token.path().display());
        let flags =
            ["--storage_driver=influxdb", "--storage_driver_influxdb_bucket=b", "--storage_driver_influxdb_org=o"];
        let influxdb = config(&[&flags[..], &[&file]].concat()).unwrap().push.influxdb.unwrap();
        assert_eq!(influxdb.url.to_string(), "http://localhost:8086/api/v2/write?org=o&bucket=b&precision=ns");
        assert_eq!(influxdb.headers[0].1.as_bytes(), b"Token s3cret");
        let error = config(&flags).unwrap_err();
        assert_eq!(error, "--storage_driver_influxdb_bucket=b: needs --storage_driver_influxdb_token_file");
    }

    #[test]
    fn other_databases_are_refused_with_the_way_to_them() {
        for (driver, way) in [
            ("kafka", "exporter kafka (--otlp_endpoint)"),
            ("elasticsearch", "(--otlp_endpoint)"),
            ("bigquery", "(--otlp_endpoint)"),
            ("redis", "(--remote_write_url)"),
        ] {
            let error = config(&[&format!("-storage_driver=stdout,{driver}")]).unwrap_err();
            assert!(error.starts_with(&format!("--storage_driver={driver}: ")) && error.ends_with(way), "{error}");
        }
        assert!(config(&["-storage_driver=statsd", "-storage_driver_host=a"]).is_err());
        let missing = config(&["-storage_driver=influxdb", "-storage_driver_password_file=/nowhere"]).unwrap_err();
        assert!(missing.starts_with("--storage_driver_password_file=/nowhere: cannot be read: "), "{missing}");
    }
}
