//! How servers are connected to, and whose certificates are trusted: TCP, and TLS where an address begins with `https`.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Makes connections.
pub(crate) type Connector = HttpsConnector<HttpConnector>;

/// Whose certificates are trusted with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system trusts.
    #[default]
    System,
    /// Those that the certificates of this file have signed.
    File(PathBuf),
}

/// What a client shows of itself: files in PEM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientIdentity<'a> {
    /// Its certificate, and those between it and an authority's.
    pub(crate) certificate: &'a Path,
    /// The certificate's key.
    pub(crate) key: &'a Path,
}

/// What is spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// TLS cannot be set up with what it needs.
#[derive(Debug, thiserror::Error)]
#[error("{from}: {reason}")]
pub struct TlsError {
    /// Where it was looked for.
    from: String,
    /// What is wrong there.
    reason: String,
}

fn wrong(from: &dyn Display, reason: &dyn Display) -> TlsError {
    TlsError { from: from.to_string(), reason: reason.to_string() }
}

/// For addresses with this scheme. The system's certificates are read here, and only if they are needed: an image may
/// have none.
///
/// # Errors
/// Whom to trust is not known.
pub(crate) fn connector(scheme: &str, trust: &Trust, version: Version) -> Result<Connector, TlsError> {
    let config = if scheme == "https" {
        config(trust, None)?
    } else {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong(&"TLS", &error))?;
        builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    Ok(match version {
        Version::Http1 => connector.enable_http1().build(),
        Version::Http2 => connector.enable_http2().build(),
    })
}

/// What TLS needs to know of both sides.
///
/// # Errors
/// A file cannot be read or has nothing that can be used.
pub(crate) fn config(trust: &Trust, identity: Option<ClientIdentity<'_>>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong(&"TLS", &error))?;
    let builder = match trust {
        Trust::System => builder.with_native_roots().map_err(|error| {
            let from =
                "the system's CA certificates, or those in the file or folder that SSL_CERT_FILE or SSL_CERT_DIR names";
            wrong(&from, &error)
        })?,
        Trust::File(path) => {
            let mut roots = RootCertStore::empty();
            let (used, _) = roots.add_parsable_certificates(certificates(path)?);
            if used == 0 {
                return Err(wrong(&path.display(), &"it has no certificate (BEGIN CERTIFICATE)"));
            }
            builder.with_root_certificates(roots)
        }
    };
    let Some(ClientIdentity { certificate, key: path }) = identity else { return Ok(builder.with_no_client_auth()) };
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| wrong(&path.display(), &error))?;
    builder.with_client_auth_cert(certificates(certificate)?, key).map_err(|error| wrong(&path.display(), &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| wrong(&path.display(), &error))
}
