//! Which collector a front end asks, and what proves that it may.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ConfigError, value_error};
use crate::client::{Header, Origin, Peer, Trust};

/// The flags for whoever asks a collector.
#[derive(Debug, clap::Args)]
pub(super) struct PeerArgs {
    /// File with a bearer token, which is sent with each request
    #[arg(long = "token_file", value_name = "FILE", conflicts_with = "password_file")]
    token_file: Option<PathBuf>,
    /// File with `name:password`, which is sent with each request
    #[arg(long = "password_file", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File with the certificates to trust with https; by default those of the system
    #[arg(long = "ca_file", value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl PeerArgs {
    /// The collector there.
    pub(super) fn peer(self, origin: Origin) -> Result<Peer, ConfigError> {
        let Self { token_file, password_file, ca_file } = self;
        let mut headers = Vec::new();
        if let Some(path) = token_file {
            headers.push(authorization("token_file", &path, "Bearer", str::to_owned)?);
        }
        if let Some(path) = password_file {
            headers.push(authorization("password_file", &path, "Basic", |pair| STANDARD.encode(pair))?);
        }
        Ok(Peer { origin, headers, trust: ca_file.map_or(Trust::System, Trust::File) })
    }
}

/// The header that a file's first line makes.
fn authorization(
    flag: &'static str,
    path: &Path,
    scheme: &str,
    proof: impl FnOnce(&str) -> String,
) -> Result<Header, ConfigError> {
    let wrong = |problem: &dyn Display| value_error(flag, &path.display(), problem);
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let line = text.lines().next().unwrap_or_default().trim();
    match scheme {
        _ if line.is_empty() => return Err(wrong(&"its first line is empty")),
        "Basic" if !line.contains(':') => return Err(wrong(&"its first line is not name:password")),
        _ => {}
    }
    Header::authorization(scheme, &proof(line)).map_err(|_| wrong(&"its first line cannot be sent"))
}
