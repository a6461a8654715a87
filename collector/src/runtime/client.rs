//! A runtime, whichever API it speaks.

use std::time::Duration;

use tokio::sync::mpsc;

use super::answer::Answer;
use super::containerd::ContainerdClient;
use super::cri::CriClient;
use super::cri_usage::UsageQuestions;
use super::docker::DockerClient;
use super::endpoint::Endpoint;
use super::error::RuntimeError;
use super::listeners::Runtimes;
use crate::sample::identity::Runtime;
use crate::sample::images::RuntimeStorage;

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

    /// Passes on what containers use of which the kernel sees nothing, until the runtime goes away; why it ended.
    pub(super) async fn follow_usage(&self, questions: Option<&UsageQuestions>) -> String {
        let connection = match &self.api {
            Api::Containerd(client) => client.connection(),
            Api::Cri(client) => client.connection(),
            Api::Docker(_) => return std::future::pending().await,
        };
        match questions {
            Some(questions) => questions.follow(self.runtime, connection).await,
            None => std::future::pending().await,
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
