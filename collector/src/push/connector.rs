//! How receivers are reached: TCP, and TLS where their URL begins with `https`.

use std::io;
use std::sync::Arc;

use http::Uri;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Makes connections.
pub(super) type Connector = HttpsConnector<HttpConnector>;

/// A receiver's address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReceiver {
    /// Not a URL of HTTP.
    #[error("{0}")]
    Url(#[from] http::uri::InvalidUri),
    /// Whom to trust is not known.
    #[error(
        "{0}; the system's CA certificates are used, or those in the file or folder that SSL_CERT_FILE or SSL_CERT_DIR names"
    )]
    Trust(#[source] io::Error),
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

/// What is spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// For this URL. The system's certificates are read here, and only if they are needed: an image may have none.
pub(super) fn connector(url: &Uri, version: Version) -> Result<Connector, InvalidReceiver> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let builder = if url.scheme_str() == Some("https") {
        builder.with_native_roots().map_err(InvalidReceiver::Trust)?
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    let connector = HttpsConnectorBuilder::new().with_tls_config(builder.with_no_client_auth()).https_or_http();
    Ok(match version {
        Version::Http1 => connector.enable_http1().build(),
        Version::Http2 => connector.enable_http2().build(),
    })
}
