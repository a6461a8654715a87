//! Where and how requests are answered.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, value_error};
use crate::api::budget;
use crate::go_flags::go_duration;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(super) struct ServerArgs {
    /// Address to listen on; empty for all
    #[arg(long = "listen_ip", default_value = "")]
    listen_ip: String,
    /// Port to listen on; 0 for any free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Unix socket at which Docker's API is served, for `DOCKER_HOST`; empty for none
    #[arg(long = "docker_socket", default_value = "")]
    docker_socket: String,
    /// Path prefix of every endpoint, such as /cadvisor
    #[arg(long = "url_base_prefix", default_value = "")]
    url_base_prefix: String,
    /// Path of the metrics
    #[arg(long = "prometheus_endpoint", default_value = "/metrics")]
    prometheus_endpoint: String,
    /// Bytes of memory for all responses in progress together
    #[arg(long = "answer_buffer_bytes", default_value_t = budget::DEFAULT)]
    answer_buffer_bytes: usize,
    /// How long open requests may take to finish after SIGTERM
    #[arg(long = "shutdown_grace_period", default_value = "5s", value_parser = go_duration)]
    pub(super) shutdown_grace_period: Duration,
}

impl ServerArgs {
    /// Where to listen.
    pub(super) fn listen(&self) -> Result<SocketAddr, ConfigError> {
        let ip = match self.listen_ip.as_str() {
            "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ip => ip.parse().map_err(|_| value_error("listen_ip", &ip, &"not an IP address; try 127.0.0.1"))?,
        };
        Ok(SocketAddr::new(ip, self.port))
    }

    /// Memory that answers under way may take.
    pub(super) fn answer_buffer_bytes(&self) -> Result<usize, ConfigError> {
        if self.answer_buffer_bytes < budget::LEAST {
            let problem = format!("use at least {}; the default is {}", budget::LEAST, budget::DEFAULT);
            return Err(value_error("answer_buffer_bytes", &self.answer_buffer_bytes, &problem));
        }
        Ok(self.answer_buffer_bytes)
    }

    /// Where Docker's API is served beside the port.
    pub(super) fn docker_socket(&self) -> Option<PathBuf> {
        let path = self.docker_socket.strip_prefix("unix://").unwrap_or(&self.docker_socket);
        (!path.is_empty()).then(|| PathBuf::from(path))
    }

    /// The path below which everything is answered, without a slash at its end; empty for the top.
    pub(super) fn base_path(&self) -> Result<String, ConfigError> {
        let given = self.url_base_prefix.trim_matches('/');
        if given.is_empty() {
            return Ok(String::new());
        }
        check_path("url_base_prefix", given)?;
        Ok(format!("/{given}"))
    }

    /// The path of the metrics, below the former.
    pub(super) fn metrics_path(&self) -> Result<String, ConfigError> {
        let path = &self.prometheus_endpoint;
        if !path.starts_with('/') {
            return Err(value_error("prometheus_endpoint", path, &"a path begins with a slash"));
        }
        check_path("prometheus_endpoint", path)?;
        Ok(path.clone())
    }
}

/// It becomes part of a page and of headers, and is compared with what clients send: only what needs no quoting.
fn check_path(flag: &'static str, path: &str) -> Result<(), ConfigError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/-._~".contains(letter);
    if path.chars().all(plain) && !path.split('/').any(|part| matches!(part, "." | "..")) {
        Ok(())
    } else {
        Err(value_error(flag, &path, &"only letters, digits, slashes and -._~"))
    }
}
