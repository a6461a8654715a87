//! Listeners whose connections end when the client does not read, and the socket of Docker's API.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, unix};
use tokio_io_timeout::TimeoutStream;

/// How long a write may wait for the client to read. A stalled client holds a connection and what is queued for it;
/// after this it holds nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct TimedListener(pub(super) TcpListener);

impl Listener for TimedListener {
    type Io = Pin<Box<TimeoutStream<TcpStream>>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // axum's own implementation waits out running out of descriptors.
        let (stream, address) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers to {address} may be delayed by the network's batching");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        (Box::pin(stream), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A socket in the file system, taken away again when dropped.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// Who may use the socket: its user and its group, as with Docker's own.
const SOCKET_MODE: u32 = 0o660;

impl Socket {
    /// Listens at a path. A socket that was left behind there is replaced; one at which somebody listens is not.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
        if is_socket
            && let Err(error) = std::os::unix::net::UnixStream::connect(path)
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            fs::remove_file(path)?;
        }
        let socket = Self { listener: UnixListener::bind(path)?, path: path.to_owned() };
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
        Ok(socket)
    }
}

impl Listener for Socket {
    type Io = Pin<Box<TimeoutStream<UnixStream>>>;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        (Box::pin(stream), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket {} stays behind", self.path.display());
        }
    }
}
