//! A runtime, whichever API it speaks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::containerd::ContainerdClient;
use super::cri::CriClient;
use super::docker::DockerClient;
use super::endpoint::Endpoint;
use super::error::RuntimeError;
use super::owners::Life;
use crate::sample::identity::{Identity, Runtime};
use crate::sample::images::RuntimeStorage;

/// Runtimes that may be there, and what to ask them for.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// Where each would listen, in the order in which they are asked.
    pub listeners: Vec<Listener>,
    /// How Docker is spoken to over TCP; `None` in the clear.
    pub docker_tls: Option<DockerTls>,
    /// containerd's namespaces to look in.
    pub containerd_namespaces: Vec<String>,
    /// Beginnings of the names of environment variables to report.
    pub environment: Arc<[String]>,
    /// How often they are asked what their containers take on disk; `None` for never.
    pub storage_every: Option<Duration>,
}

/// Where a runtime would listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Which.
    pub runtime: Runtime,
    /// Where.
    pub endpoint: Endpoint,
    /// Who says so.
    pub named: Named,
}

/// Who says where a runtime listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A flag: the runtime is expected to be there.
    ByFlag,
    /// Nobody: it may be there.
    ByDefault,
}

/// What a runtime knows about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Who it is.
    pub(super) identity: Identity,
    /// The cgroups that the runtime would make for it.
    pub(super) expected: Vec<String>,
    /// Whether it has processes.
    pub(super) life: Life,
}

/// The files of a client of Docker over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerTls {
    /// What the client shows, in PEM.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who issued what Docker shows.
    pub ca: PathBuf,
}

/// A runtime that has answered.
#[derive(Clone, Debug)]
pub(super) struct Client {
    runtime: Runtime,
    api: Api,
}

#[derive(Clone, Debug)]
enum Api {
    Docker(DockerClient),
    Containerd(ContainerdClient),
    Cri(CriClient),
}

impl Client {
    /// Connects to a runtime, if it is there.
    pub(super) async fn connect(
        runtime: Runtime,
        endpoint: &Endpoint,
        runtimes: &Runtimes,
    ) -> Result<Self, RuntimeError> {
        let environment = &runtimes.environment;
        let api = match runtime {
            Runtime::Docker | Runtime::Podman => {
                let tls = runtimes.docker_tls.as_ref().filter(|_| runtime == Runtime::Docker);
                Api::Docker(DockerClient::connect(endpoint, runtime, tls, environment).await?)
            }
            Runtime::Containerd => {
                let namespaces = &runtimes.containerd_namespaces;
                Api::Containerd(ContainerdClient::connect(endpoint, namespaces, environment).await?)
            }
            Runtime::CriO => Api::Cri(CriClient::connect(endpoint).await?),
        };
        Ok(Self { runtime, api })
    }

    /// Which runtime it is.
    pub(super) fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// What it knows about a container.
    pub(super) async fn inspect(&self, id: &str) -> Result<Answer, RuntimeError> {
        match &self.api {
            Api::Docker(client) => client.inspect(id).await,
            Api::Containerd(client) => client.inspect(id).await,
            Api::Cri(client) => client.inspect(id).await,
        }
    }

    /// Asks for nothing, to find out whether it still answers.
    pub(super) async fn ping(&self) -> Result<(), RuntimeError> {
        match &self.api {
            Api::Docker(client) => client.ping().await,
            Api::Containerd(client) => client.ping().await,
            Api::Cri(client) => client.ping().await,
        }
    }

    /// How often it is asked for nothing: one that reports changes is known to be there by that.
    pub(super) fn pulse(&self) -> Duration {
        match &self.api {
            Api::Docker(_) => Duration::from_secs(5),
            Api::Containerd(_) | Api::Cri(_) => Duration::from_secs(2),
        }
    }

    /// What it reports about disks.
    pub(super) async fn storage(&self) -> RuntimeStorage {
        match &self.api {
            Api::Docker(client) => client.storage().await,
            Api::Containerd(client) => client.storage().await,
            Api::Cri(client) => client.storage().await,
        }
    }

    /// How often what it reports about disks is new: a runtime of Kubernetes' has it ready and looks every ten seconds,
    /// others find it out for whoever asks.
    pub(super) const fn storage_age(&self) -> Option<Duration> {
        match self.api {
            Api::Cri(_) => Some(Duration::from_secs(10)),
            Api::Docker(_) | Api::Containerd(_) => None,
        }
    }

    /// Passes on the ids of containers that changed, until the runtime goes away; why it ended.
    pub(super) async fn follow(&self, changed: &mpsc::Sender<String>) -> String {
        let client = match &self.api {
            Api::Docker(client) => client,
            // They report nothing by themselves.
            Api::Containerd(_) | Api::Cri(_) => return std::future::pending().await,
        };
        let mut changes = match client.changes().await {
            Ok(changes) => changes,
            Err(error) => return error.to_string(),
        };
        loop {
            match changes.next().await {
                Ok(id) => {
                    // Without a receiver the lookup has ended, and soon this task with it.
                    let _ = changed.send(id).await;
                }
                Err(error) => return error.to_string(),
            }
        }
    }
}
