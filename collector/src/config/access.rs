//! Who may ask, and how connections are encrypted.

use clap::ArgAction;

use super::hosts::AllowedHosts;
use super::{ConfigError, value_error};
use crate::auth::{FlagFile, Passwords, Scheme, Settings};
use crate::go_flags::go_bool;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Authentication and TLS")]
pub(super) struct AccessArgs {
    /// File of users and password hashes (htpasswd) for the web page
    #[arg(long = "http_auth_file", default_value = "")]
    http_auth_file: String,
    /// Realm of that authentication, which browsers show
    #[arg(long = "http_auth_realm", default_value = "localhost")]
    http_auth_realm: String,
    /// The same for Digest authentication (htdigest); ignored beside a file of htpasswd
    #[arg(long = "http_digest_file", default_value = "")]
    http_digest_file: String,
    /// Realm of Digest authentication, as in its file
    #[arg(long = "http_digest_realm", default_value = "localhost")]
    http_digest_realm: String,
    /// Require the password for the API and the metrics too; never for /healthz and /readyz
    #[arg(long = "auth_api", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    auth_api: bool,
    /// File of bearer tokens, one a line, required everywhere but at /healthz and /readyz
    #[arg(long = "bearer_token_file", default_value = "")]
    bearer_token_file: String,
    /// Host names that requests may use, *.NAME for all below one, * for any; by default those of loopback and of the
    /// machine on a loopback listener, and any on others
    #[arg(long = "allowed_hosts", default_value = "")]
    allowed_hosts: String,
    /// Certificate, and those of its issuers, in PEM: encrypts every connection
    #[arg(long = "tls_cert_file", default_value = "")]
    tls_cert_file: String,
    /// The certificate's private key in PEM
    #[arg(long = "tls_private_key_file", default_value = "")]
    tls_private_key_file: String,
}

/// Who may ask, and how connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What is asked of clients.
    pub settings: Settings,
    /// Where it is asked.
    pub protected: Protected,
    /// How connections are encrypted, if at all.
    pub tls: Option<TlsFiles>,
    /// Names by which requests may call this server.
    pub allowed_hosts: AllowedHosts,
}

/// What only those get who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// Nothing.
    Nothing,
    /// The web page, as with cAdvisor.
    Pages,
    /// Everything but the health checks and the page without its data: it asks its reader for a token itself.
    Data,
    /// Everything but the health checks.
    Everything,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain in PEM.
    pub certificate: FlagFile,
    /// The key in PEM.
    pub key: FlagFile,
}

impl AccessArgs {
    /// What they mean together.
    pub(super) fn access(&self) -> Result<Access, ConfigError> {
        // As cAdvisor has it, the password file goes before the digest file.
        let basic = FlagFile::given("http_auth_file", &self.http_auth_file)
            .map(|file| (Scheme::Basic, file, &self.http_auth_realm));
        let digest = FlagFile::given("http_digest_file", &self.http_digest_file)
            .map(|file| (Scheme::Digest, file, &self.http_digest_realm));
        let passwords = basic.or(digest).map(|(scheme, file, realm)| Passwords { scheme, file, realm: realm.clone() });
        let tokens = FlagFile::given("bearer_token_file", &self.bearer_token_file);
        let protected = match (&passwords, &tokens, self.auth_api) {
            (None, None, false) => Protected::Nothing,
            (None, None, true) => {
                let problem = "there is nothing to ask for; add --http_auth_file, --http_digest_file or \
                               --bearer_token_file";
                return Err(value_error("auth_api", &true, &problem));
            }
            (Some(_), None, false) => Protected::Pages,
            (None, Some(_), _) => Protected::Data,
            (Some(_), Some(_), _) | (Some(_), None, true) => Protected::Everything,
        };
        let files = (
            FlagFile::given("tls_cert_file", &self.tls_cert_file),
            FlagFile::given("tls_private_key_file", &self.tls_private_key_file),
        );
        let tls = match files {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (Some(_), None) => {
                return Err(value_error("tls_cert_file", &self.tls_cert_file, &"needs --tls_private_key_file"));
            }
            (None, Some(_)) => {
                let value = &self.tls_private_key_file;
                return Err(value_error("tls_private_key_file", value, &"needs --tls_cert_file"));
            }
        };
        let allowed_hosts = AllowedHosts::parse(&self.allowed_hosts)?;
        Ok(Access { settings: Settings { passwords, tokens }, protected, tls, allowed_hosts })
    }
}
