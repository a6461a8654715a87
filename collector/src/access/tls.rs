//! The certificate and key that connections are encrypted with; read again when the files change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, version};

use super::FileError;
use super::watched::Watched;

/// Encrypts connections: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When the files hold no certificate and its key.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, FileError> {
    let resolver = Resolver(Watched::open(&[certificate, key], parse)?);
    let provider = Arc::new(ring::default_provider());
    let versions = [&version::TLS13, &version::TLS12];
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    let builder = builder.map_err(|source| FileError::Tls { path: key.to_owned(), source })?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Shows each client the certificate as it is now. Looking whether it changed is two system calls for a handshake.
struct Resolver(Watched<Arc<CertifiedKey>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current()))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.write_str("Resolver")
    }
}

fn parse(paths: &[PathBuf], contents: &[Vec<u8>]) -> Result<Arc<CertifiedKey>, FileError> {
    let [certificate_path, key_path] = paths else {
        return Err(FileError::Empty { path: PathBuf::new(), missing: "a certificate and a key" });
    };
    let pem = |path: &PathBuf, problem| FileError::Pem { path: path.clone(), problem };
    let [certificate, key] = contents else { return Err(pem(certificate_path, "no key beside it")) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| pem(certificate_path, "no certificate in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| pem(key_path, "no unencrypted private key in PEM"))?;
    // Also tells whether the two belong together.
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
    certified.map(Arc::new).map_err(|source| FileError::Tls { path: key_path.clone(), source })
}
