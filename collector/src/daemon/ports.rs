//! Ports for the kubelet's endpoints alone.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::connections::Pool;
use super::hosts::Hosts;
use super::server::{Door, Server, Shared};
use super::{DaemonError, system};
use crate::api::http::mount::Mount;
use crate::api::kubelet;
use crate::auth::tls;
use crate::auth::tls::ClientCertificates;
use crate::auth::{FileError, Guard, Settings};
use crate::config::{KubeletConfig, Protected, SecurePort, TlsFiles};
use crate::daemon::auth::Guarded;
use crate::daemon::backend::Backend;

/// A port that is taken, and who may ask there.
pub(super) struct Port {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    guard: Option<Guard>,
}

/// Encrypts connections with these files.
pub(super) fn acceptor(files: &TlsFiles, clients: ClientCertificates<'_>) -> Result<TlsAcceptor, FileError> {
    tls::acceptor(&files.certificate, &files.key, clients)
}

/// Encrypts connections of the kubelet's port, and trusts the certificates of clients that its flags say.
pub(super) fn secure_acceptor(port: &SecurePort) -> Result<TlsAcceptor, FileError> {
    acceptor(&port.tls, port.client_ca.as_ref().map_or(ClientCertificates::NotAsked, ClientCertificates::SignedBy))
}

/// Takes the ports that are asked for.
pub(super) async fn bind(config: &KubeletConfig) -> Result<Vec<Port>, DaemonError> {
    let mut ports = Vec::new();
    if let Some(address) = config.read_only {
        let listener = listen(address, "kubelet_read_only_port").await?;
        tracing::info!(
            address = %bound(&listener)?,
            "serving the kubelet's endpoints over HTTP, without authentication"
        );
        ports.push(Port { listener, tls: None, guard: None });
    }
    if let Some(port) = &config.secure {
        let guard = Guard::load(&Settings { passwords: None, tokens: port.tokens.clone() })?;
        let tls = secure_acceptor(port)?;
        let listener = listen(port.listen, "kubelet_port").await?;
        tracing::info!(address = %bound(&listener)?, "serving the kubelet's endpoints over HTTPS, with authentication");
        ports.push(Port { listener, tls: Some(tls), guard: Some(guard) });
    }
    Ok(ports)
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, DaemonError> {
    let failed = |source| DaemonError::ListenAsKubelet { address, flag, source };
    TcpListener::bind(address).await.map_err(failed)
}

fn bound(listener: &TcpListener) -> Result<SocketAddr, DaemonError> {
    listener.local_addr().map_err(system("asking for the listening address"))
}

impl Port {
    /// What serves it, and who is asked for what, where anybody is.
    pub(super) fn server(
        self,
        answers: &Arc<Backend>,
        shared: &Shared,
        hosts: Hosts,
    ) -> (Server<TcpListener>, Option<Guarded>) {
        let routes = kubelet::router(Arc::clone(answers));
        let mount = Mount::new("", "/metrics");
        let guarded =
            self.guard.map(|guard| Guarded::new(guard, Protected::Everything, mount.clone(), shared.metrics.clone()));
        let routes = match &guarded {
            Some(guarded) => guarded.clone().over(routes),
            None => routes,
        };
        let door = Door { pool: Pool::Kubelet, hosts, mount };
        (Server { listener: self.listener, tls: self.tls, routes, door, shared: shared.clone() }, guarded)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Result<SocketAddr, DaemonError> {
        bound(&self.listener)
    }
}
