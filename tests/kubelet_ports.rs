//! The kubelet's own ports: who may ask there, and what is answered.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::kubelet::{Folder, start};
use crate::support::collector::{Rights, run_to_end};
use crate::support::harness::Case;
use crate::support::http::{self, Response};
use crate::support::{Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[Case::new("kubelet_ports::clients_and_paths", ports)];

/// A certificate and its key in PEM, signed by this issuer.
fn issued(issuer: &Issuer<'_, KeyPair>, name: &str) -> Result<[String; 2]> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, issuer)?;
    Ok([certificate.pem(), key.serialize_pem()])
}

fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}

/// Asks over TLS as a client that trusts this authority, with a certificate of its own or a token.
fn ask(
    address: SocketAddr,
    trusted: &str,
    own: Option<&[String; 2]>,
    token: Option<&str>,
    target: &str,
) -> Result<Response> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some([certificate, key]) => config.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?,
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(wait::seconds(20)))?;
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    http::request_with(StreamOwned::new(connection, stream), "GET", target, &headers, None)
}

/// An address that was free a moment ago; nothing else here takes ports by number.
pub(crate) fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn ports() -> Result<()> {
    let folder = Folder::new("ports")?;
    let (ca, issuer) = authority("collector-test")?;
    let (_, stranger) = authority("stranger")?;
    let [server, server_key] = issued(&issuer, "localhost")?;
    let (known, unknown) = (issued(&issuer, "client")?, issued(&stranger, "client")?);
    let flag = |name: &str, file: &Path| format!("--{name}={}", file.display());
    let ca_file = folder.put("ca", ca.as_bytes())?;
    let flags = [
        flag("kubelet_tls_cert_file", &folder.put("cert", server.as_bytes())?),
        flag("kubelet_tls_private_key_file", &folder.put("key", server_key.as_bytes())?),
        flag("kubelet_client_ca_file", &ca_file),
        flag("kubelet_token_file", &folder.put("tokens", b"right\n")?),
    ];
    let (open, secure) = (free()?, free()?);
    let ports = [format!("--kubelet_read_only_port={}", open.port()), format!("--kubelet_port={}", secure.port())];
    let flags: Vec<&str> = flags.iter().chain(&ports).map(String::as_str).collect();
    let mut collector = start(&folder, &flags)?;

    let paths = ["/stats/summary", "/metrics/resource", "/metrics/cadvisor", "/spec/", "/stats/container/"];
    wait::eventually(wait::seconds(20), || {
        for path in paths {
            let answer = http::request(TcpStream::connect(open)?, "GET", path, None)?;
            ensure!(answer.status == 200, "{path}: {answer:?}");
        }
        Ok(())
    })?;
    // The kubelet's and nothing else.
    let get = |path: &str| http::request(TcpStream::connect(open)?, "GET", path, None);
    for (path, status) in [
        ("/", 404),
        ("/api/v1.3/machine", 404),
        ("/containers/", 404),
        ("/configz", 404),
        ("/exec/default/web-0/app", 405),
        ("/runningpods/", 405),
        ("/logs/", 405),
        ("/healthz/ping", 200),
        ("/readyz", 200),
        ("/metrics/probes", 200),
        ("/metrics/slis", 200),
    ] {
        let answer = get(path)?;
        ensure!(answer.status == status, "{path}: {answer:?}");
    }
    let own = get("/metrics")?.text();
    ensure!(own.contains("\ncollector_") && own.contains("\nprocess_") && !own.contains("\ncontainer_"), "{own}");
    ensure!(get("/metrics/slis")?.text().is_empty(), "there are no metrics of the kubelet's objectives");
    let pods: Value = serde_json::from_str(&get("/pods")?.text())?;
    ensure!(pods["kind"] == "PodList" && pods["items"].is_array(), "{pods}");
    let posted = http::request(TcpStream::connect(open)?, "POST", "/pods", None)?;
    ensure!(posted.status == 405, "{posted:?}");
    for path in paths {
        for (own, token, status) in [
            (None, None, 401),
            (None, Some("wrong"), 401),
            (None, Some("right"), 200),
            (Some(&known), None, 200),
            (Some(&known), Some("wrong"), 200),
        ] {
            let answer = ask(secure, &ca, own, token, path)?;
            ensure!(answer.status == status, "{path} with {own:?} {token:?}: {}", answer.status);
        }
    }
    let refused = ask(secure, &ca, Some(&unknown), Some("right"), "/spec/");
    ensure!(refused.is_err(), "a stranger's certificate is taken: {refused:?}");
    ensure!(ask(secure, &ca, None, None, "/healthz")?.status == 200, "health needs credentials");
    // Another authority without a restart.
    let (other, other_issuer) = authority("another")?;
    folder.put("ca.new", other.as_bytes())?;
    fs::rename(folder.0.join("ca.new"), &ca_file)?;
    let newcomer = issued(&other_issuer, "client")?;
    wait::eventually(wait::seconds(10), || {
        let answer = ask(secure, &ca, Some(&newcomer), None, "/spec/")?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })?;
    ensure!(ask(secure, &ca, Some(&known), None, "/spec/").is_err(), "the old authority still counts");

    // The main port has the same and is as open as ever.
    ensure!(collector.get("/stats/summary")?.status == 200, "not on the main port");
    let (status, log) = run_to_end(&Rights::default(), &["--kubelet_port=1"])?;
    ensure!(!status.success() && log.iter().any(|line| line.starts_with("error: --kubelet_port=1:")), "{log:?}");
    collector.check_alive()
}
