//! The certificate and key that connections are encrypted with, and whose certificates clients may show; read again when
//! the files change.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme, version,
};

use super::watched::Watched;
use super::{FileError, FlagFile};

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates<'a> {
    /// No certificate.
    NotAsked,
    /// One that a certificate in this file has signed, or none: who shows none may still have another proof. One that is
    /// signed by somebody else, or whose time is over, ends the connection.
    SignedBy(&'a FlagFile),
}

/// Encrypts connections: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// When the files hold no certificate and its key, or no certificates that sign others.
pub fn acceptor(
    certificate: &FlagFile,
    key: &FlagFile,
    clients: ClientCertificates<'_>,
) -> Result<TlsAcceptor, FileError> {
    let resolver = Resolver(Watched::open(&[certificate, key], parse)?);
    let versions = [&version::TLS13, &version::TLS12];
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&versions);
    let builder = builder.map_err(|source| FileError::Tls { path: key.clone(), source })?;
    let builder = match clients {
        ClientCertificates::NotAsked => builder.with_no_client_auth(),
        ClientCertificates::SignedBy(file) => {
            builder.with_client_cert_verifier(Arc::new(Authorities(Watched::open(&[file], authorities)?)))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Judges clients' certificates by the file as it is now.
#[derive(Debug)]
struct Authorities(Watched<Arc<dyn ClientCertVerifier>>);

impl Authorities {
    fn current(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.0.current())
    }
}

impl ClientCertVerifier for Authorities {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // They may change while somebody holds them; without, clients show what they have.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.current().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}

fn authorities(paths: &[FlagFile], contents: &[Vec<u8>]) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
    let (path, content) = (&paths[0], &contents[0]);
    let wrong = |problem| FileError::Pem { path: path.clone(), problem };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(content) {
        let certificate = certificate.map_err(|_| wrong("a certificate that is not in PEM"))?;
        roots.add(certificate).map_err(|_| wrong("a certificate that cannot be one of an authority"))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    verifier.map_err(|_| wrong("no certificate in PEM; give a file with one"))
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

fn parse(paths: &[FlagFile], contents: &[Vec<u8>]) -> Result<Arc<CertifiedKey>, FileError> {
    let (certificate_path, key_path) = (&paths[0], &paths[1]);
    let pem = |path: &FlagFile, problem| FileError::Pem { path: path.clone(), problem };
    let [certificate, key] = contents else { return Err(pem(certificate_path, "no key beside it")) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| pem(certificate_path, "no certificate in PEM; give a file with one"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| pem(key_path, "no unencrypted private key in PEM"))?;
    // Also checks whether the two belong together.
    let certified = CertifiedKey::from_der(chain, key, &provider());
    certified.map(Arc::new).map_err(|source| FileError::Tls { path: key_path.clone(), source })
}
