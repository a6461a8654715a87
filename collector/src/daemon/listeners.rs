//! Everything that is listened on: taken before anything else is started, served once all is there.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connections::{ConnectionLimits, Connections, Pool};
use super::descriptors::Descriptors;
use super::hosts::Hosts;
use super::ports::{self, Port};
use super::server::{Door, Server, Shared};
use super::socket::Socket;
use super::{DaemonError, system};
use crate::api::http::mount::Mount;
use crate::api::http::router::router;
use crate::auth::tls::ClientCertificates;
use crate::auth::{FileError, Guard, Settings};
use crate::config::{Config, Protected};
use crate::daemon::auth::Guarded;
use crate::daemon::backend::Backend;
use crate::daemon::drain::Bodies;
use crate::degradations::Degradations;
use crate::kernel::descriptors::DescriptorPlan;
use crate::supervisor::Supervisor;

/// What is listened on.
pub(super) struct Listeners {
    guard: Guard,
    tls: Option<TlsAcceptor>,
    listener: TcpListener,
    address: SocketAddr,
    socket: Option<Socket>,
    kubelet: Vec<Port>,
}

/// What is served.
pub(super) struct Serving {
    pub(super) servers: JoinSet<()>,
    pub(super) descriptors: Arc<Descriptors>,
    pub(super) guards: Guards,
}

/// Who is asked for what.
pub(super) struct Guards {
    main: Guarded,
    kubelet: Option<Guarded>,
}

/// What is to be asked for.
pub(super) struct NewGuards {
    main: (Guard, Protected),
    kubelet: Option<Guard>,
}

impl NewGuards {
    /// Reads the files.
    pub(super) fn load(config: &Config) -> Result<Self, FileError> {
        let tokens = config.kubelet.secure.as_ref().map(|port| port.tokens.clone());
        let kubelet = tokens.map(|tokens| Guard::load(&Settings { passwords: None, tokens })).transpose()?;
        Ok(Self { main: (Guard::load(&config.access.settings)?, config.access.protected), kubelet })
    }
}

/// Reads the files of who may ask and of certificates, and takes no port.
pub(super) fn check(config: &Config) -> Result<(), FileError> {
    NewGuards::load(config)?;
    if let Some(files) = &config.access.tls {
        ports::acceptor(files, ClientCertificates::NotAsked)?;
    }
    config.kubelet.secure.as_ref().map(ports::secure_acceptor).transpose()?;
    Ok(())
}

impl Guards {
    /// From now on this is asked for.
    pub(super) fn set(&self, NewGuards { main: (guard, protected), kubelet }: NewGuards) {
        self.main.set(guard, protected);
        if let (Some(guarded), Some(guard)) = (&self.kubelet, kubelet) {
            guarded.set(guard, Protected::Everything);
        }
    }
}

impl Listeners {
    /// Takes the ports and the socket, and reads the files of who may ask there.
    pub(super) async fn bind(config: &Config) -> Result<Self, DaemonError> {
        let guard = Guard::load(&config.access.settings)?;
        let tls = config.access.tls.as_ref().map(|files| ports::acceptor(files, ClientCertificates::NotAsked));
        let tls = tls.transpose()?;
        let failed = |source| DaemonError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(system("asking for the listening address"))?;
        let socket = config
            .docker_socket
            .as_deref()
            .map(|path| Socket::bind(path).map_err(|source| DaemonError::Socket { path: path.to_owned(), source }));
        let socket = socket.transpose()?;
        Ok(Self { guard, tls, listener, address, socket, kubelet: ports::bind(&config.kubelet).await? })
    }

    /// The main port's address.
    pub(super) fn address(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Serves them, each until the answers are closed.
    pub(super) fn serve(
        self,
        config: &Config,
        plan: DescriptorPlan,
        answers: &Arc<Backend>,
        degradations: &Degradations,
        supervisor: &Supervisor,
    ) -> Result<Serving, DaemonError> {
        let metrics = answers.own_metrics().connections().clone();
        let limits = ConnectionLimits::of(plan.connections, self.kubelet.len());
        let descriptors = Arc::new(Descriptors::new(plan.limit, degradations.clone(), metrics.clone()));
        let shared = Shared {
            connections: Connections::new(limits, metrics.clone()),
            bodies: Bodies::new(&metrics),
            descriptors: Arc::clone(&descriptors),
            metrics,
        };
        let allowed = Arc::new(config.access.allowed_hosts.clone());
        let hosts = |address: SocketAddr| Hosts::at(address.ip(), &allowed, &config.kubelet.node_name);
        let mut servers = JoinSet::new();
        let mount = Mount::new(&config.base_path, &config.metrics_path);
        let guarded = Guarded::new(self.guard, config.access.protected, mount.clone(), shared.metrics.clone());
        let mut guards = Guards { main: guarded.clone(), kubelet: None };
        let routes = guarded.over(mount.clone().over(router(Arc::clone(answers))));
        let door = Door { pool: Pool::Main, hosts: hosts(self.address), mount: mount.clone() };
        let server = Server { listener: self.listener, tls: self.tls, routes, door, shared: shared.clone() };
        supervisor.task(&mut servers, "listener", server.run(answers.closed()));
        for port in self.kubelet {
            let hosts = hosts(port.address()?);
            let (server, guarded) = port.server(answers, &shared, hosts);
            guards.kubelet = guards.kubelet.or(guarded);
            supervisor.task(&mut servers, "kubelet-listener", server.run(answers.closed()));
        }
        if let Some(listener) = self.socket {
            let routes = crate::api::docker::router(Arc::clone(answers));
            let door = Door { pool: Pool::Main, hosts: Hosts::anything(), mount };
            let server = Server { listener, tls: None, routes, door, shared };
            supervisor.task(&mut servers, "docker-listener", server.run(answers.closed()));
        }
        Ok(Serving { servers, descriptors, guards })
    }
}
