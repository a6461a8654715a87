//! Whether anybody listens at an endpoint.

use tokio::net::{TcpStream, UnixStream};

use super::endpoint::Endpoint;
use super::error::RuntimeError;

impl Endpoint {
    /// Connects and hangs up: distinguishes "nobody there" from "there, but slow" at once.
    pub(super) async fn probe(&self) -> Result<(), RuntimeError> {
        let connected = match self {
            Self::Unix(path) => UnixStream::connect(path).await.map(drop),
            Self::Tcp(address) => TcpStream::connect(address).await.map(drop),
        };
        connected.map_err(|error| RuntimeError::Unreachable(self.clone(), error))
    }
}
