//! Which runtimes may be there, and how they are spoken to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::endpoint::Endpoint;
use crate::sample::identity::Runtime;

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
