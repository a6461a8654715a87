//! Reads the configuration again while the collector runs. Some flags can change then; the others stay as they were.

use std::path::PathBuf;

use super::in_force::Given;
use super::invocation::Invocation;
use super::{Config, ConfigError};

/// Flags that can change while the collector runs: what is listed, how it is exposed, and who may ask.
const LIVE: [&str; 18] = [
    "auth_api",
    "bearer_token_file",
    "disable_metrics",
    "docker_only",
    "enable_metrics",
    "http_auth_file",
    "http_auth_realm",
    "http_digest_file",
    "http_digest_realm",
    "max_series",
    "metrics_created_lines",
    "metrics_label_set",
    "metrics_labels",
    "metrics_profile",
    "metrics_timestamps",
    "raw_cgroup_prefix_whitelist",
    "store_container_labels",
    "whitelisted_container_labels",
];
/// The same of all that begin so: the user's rules, and the exporters.
const LIVE_GROUPS: [&str; 5] = ["include_", "exclude_", "otlp_", "remote_write_", "storage_driver"];

fn is_live(flag: &str) -> bool {
    LIVE.contains(&flag) || LIVE_GROUPS.iter().any(|group| flag.starts_with(group))
}

/// What was read.
#[derive(Clone, Debug)]
pub struct ReadAgain {
    /// What is to be in force: what can change as it was read, the rest as it was.
    pub config: Config,
    /// The flags that differ, and can.
    pub changed: Vec<String>,
    /// The flags that differ, and need a restart.
    pub need_restart: Vec<String>,
}

impl Config {
    /// Reads the command line's file, and the files with secrets, again.
    ///
    /// # Errors
    /// When what is in them cannot be used.
    pub fn read_again(&self) -> Result<ReadAgain, ConfigError> {
        let Given { line, file, flags: running } = &self.given;
        // Valid on its own, as at a start.
        let newer = of(line.clone())?.given.flags;
        let flags = running.with(&newer, is_live);
        // And together with what stays.
        let config = of(flags.line())?;
        Ok(ReadAgain {
            changed: running.differing(&flags),
            need_restart: flags.differing(&newer),
            config: Self { given: Given { line: line.clone(), file: file.clone(), flags }, ..config },
        })
    }

    /// The files that are read with the configuration.
    pub fn files(&self) -> Vec<PathBuf> {
        let Given { file, flags, .. } = &self.given;
        file.iter().cloned().chain(flags.secret_files()).collect()
    }

    /// The flags in force as a configuration file, without secrets.
    pub fn to_toml(&self) -> String {
        self.given.flags.toml()
    }
}

fn of(line: Vec<std::ffi::OsString>) -> Result<Config, ConfigError> {
    match Invocation::from_command_line(line)? {
        Invocation::Run(config) => Ok(*config),
        other => Err(ConfigError::Usage { message: format!("not the daemon's command line: {other:?}"), exit_code: 2 }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::tests::config;

    fn from_file(file: &Path, flags: &[&str]) -> Config {
        let named = format!("--config={}", file.display());
        config(&[&[&*named], flags].concat()).unwrap()
    }

    #[test]
    fn what_can_change_does_and_the_rest_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "port = 9\nexclude_path = [\"/a\"]\nmax_series = 5000\n").unwrap();
        let running = from_file(file.path(), &["-docker_only"]);
        let same = running.read_again().unwrap();
        assert!(same.changed.is_empty() && same.need_restart.is_empty(), "{same:?}");

        let text = "port = 10\nexclude_path = [\"/a\", \"/b\"]\nremote_write_url = \"http://x/\"\ndocker_only = false\n\
                    listen_ip = \"127.0.0.1\"\n";
        fs::write(file.path(), text).unwrap();
        let read = running.read_again().unwrap();
        assert_eq!(read.changed, ["exclude_path", "max_series", "remote_write_url"]);
        assert_eq!(read.need_restart, ["listen_ip", "port"]);
        assert_eq!((read.config.listen.port(), read.config.metrics.max_series), (9, None));
        assert_eq!(read.config.push.remote_write.as_ref().unwrap().receiver.url.host(), Some("x"));
        // The command line goes before the file, also the second time.
        assert_eq!(read.config.filter.raw, crate::discovery::filter::RawCgroups::Skip);
        assert_ne!(read.config.filter, running.filter);
        let again = read.config.read_again().unwrap();
        assert!(again.changed.is_empty() && again.need_restart == read.need_restart, "{again:?}");

        fs::write(file.path(), "max_series = 1\n").unwrap();
        let error = running.read_again().unwrap_err().to_string();
        assert!(error.starts_with("--max_series=1: use at least"), "{error}");
    }

    #[test]
    fn what_can_change_is_a_flag() {
        let all = config(&[]).unwrap().to_toml();
        for flag in LIVE.iter().filter(|flag| **flag != "disable_metrics") {
            assert!(all.contains(&format!("\n# {flag} = ")), "there is no {flag} in {all}");
        }
    }

    #[test]
    fn it_is_shown_as_a_file_that_makes_the_same_without_its_secrets() {
        let token = tempfile::NamedTempFile::new().unwrap();
        fs::write(token.path(), "s3cret\n").unwrap();
        let headers = format!("--otlp_headers=x=1s3cret,y=@{},s3cret", token.path().display());
        let running = config(&[
            "-port=9",
            "-docker_only",
            "--include_path=/a \"b\"",
            "--include_path=/c",
            "--remote_write_headers=Authorization=Basic s3cret=",
            "--remote_write_url=http://host/path?token=s3cret",
            "-storage_driver=influxdb",
            "-storage_driver_password=s3cret",
            "-bq_secret=s3cret",
            headers.split(",s3cret").next().unwrap(),
        ])
        .unwrap();
        assert_eq!(running.files(), [token.path()]);
        let text = running.to_toml();
        assert!(!text.contains("s3cret"), "{text}");
        for line in [
            "port = 9",
            "docker_only = true",
            "include_path = [\"/c\"]",
            "remote_write_headers = \"Authorization=...\"",
            "remote_write_url = \"http://host/path?...\"",
            "storage_driver_password = \"...\"",
            "# housekeeping_interval = \"1s\"",
            "# exclude_path = []",
        ] {
            let line = line.replace("[\"/c\"]", "['/a \"b\"', \"/c\"]");
            assert!(text.lines().any(|other| other == line), "no line {line} in {text}");
        }
        // Every comment is a default that can be written so.
        let lines: Vec<_> = text.lines().skip(1).map(|line| line.trim_start_matches("# ")).collect();
        let text = (lines.join("\n") + "\n").replace("bq_secret = \"...\"\n", "");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let written = from_file(file.path(), &[]);
        assert_eq!(
            (written.listen, written.filter, written.interval),
            (running.listen, running.filter, running.interval)
        );
    }
}
