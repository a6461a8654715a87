//! Serves connections over TCP and over a socket in the file system: plain ones speak HTTP/1.1, encrypted ones also
//! HTTP/2. A client that is slow holds up nobody, and nothing for long.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::socket::Socket;
use super::unread::{After, Lingering, RequestBody};

/// How long a write may wait for the client to read. A stalled client holds a connection and what is queued for it;
/// after this it holds nothing.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for the head of a request, and how long a connection stays that asks for nothing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to agree upon a key.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection without requests is looked at in HTTP/2, and how long the client may take to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// A head of a request that is not complete when so much of it is there is refused; twice as much may be by then.
const HEAD_BYTES: usize = 64 << 10;
/// Connections at once, of all servers together; more wait to be accepted. Fewer than the descriptors that are left for
/// them.
const CONNECTIONS: usize = 448;
/// What the kernel keeps of answers for a client that does not read: it is charged to the collector's cgroup, and without
/// a bound the kernel takes four megabytes for each connection. The kernel doubles it for its own needs.
const SEND_BUFFER: usize = 128 << 10;
/// Wait after a connection could not be accepted, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What connections come in through.
pub(super) trait Accept: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + 'static;

    /// The next connection, and who asks.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, String)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, String)> {
        let (stream, address) = TcpListener::accept(self).await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "answers to {address} may be delayed by the network's batching");
        }
        if let Err(error) = set_socket_send_buffer_size(&stream, SEND_BUFFER) {
            tracing::debug!(%error, "the kernel keeps as much of answers to {address} as it likes");
        }
        Ok((stream, address.to_string()))
    }
}

impl Accept for Socket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, String)> {
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, "the socket".to_owned()))
    }
}

/// The connections there may be at once.
pub(super) fn slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS))
}

/// See the module.
pub(super) struct Server<L> {
    /// Where connections come in.
    pub(super) listener: L,
    /// How they are encrypted, if at all.
    pub(super) tls: Option<TlsAcceptor>,
    /// What answers.
    pub(super) routes: Router,
    /// One for each connection.
    pub(super) slots: Arc<Semaphore>,
}

/// What is known of a client before it asks: in each request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Nothing.
    Anybody,
    /// It has shown a certificate that was asked for and is in order.
    Certified,
}

impl<L: Accept> Server<L> {
    /// Serves until it is told to stop, then until the requests that are open then are answered.
    pub(super) async fn run(self, stopped: impl Future<Output = ()>) {
        let Self { listener, tls, routes, slots } = self;
        let shutdown = GracefulShutdown::new();
        let mut stopped = std::pin::pin!(stopped);
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                next = next => next,
                () = &mut stopped => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connection = Connection { address, routes: routes.clone(), watcher: shutdown.watcher() };
            let tls = tls.clone();
            tokio::spawn(async move {
                let _slot = slot;
                connection.serve(stream, tls).await;
            });
        }
        drop(listener);
        shutdown.shutdown().await;
    }
}

struct Connection {
    address: String,
    routes: Router,
    watcher: Watcher,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

impl Connection {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + 'static, tls: Option<TlsAcceptor>) {
        let address = self.address.clone();
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_TIMEOUT));
        // Below the encryption: what is left to read at the end need not make sense.
        let stream = Lingering::new(Box::pin(stream));
        let Some(tls) = tls else { return self.speak(stream, Protocol::Http1, Peer::Anybody).await };
        match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let agreed = stream.get_ref().1;
                let protocol = if agreed.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
                // There are none unless they were asked for and verified.
                let is_certified = agreed.peer_certificates().is_some_and(|shown| !shown.is_empty());
                let peer = if is_certified { Peer::Certified } else { Peer::Anybody };
                self.speak(stream, protocol, peer).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, %address, "no TLS connection"),
            Err(_) => tracing::debug!(%address, "no TLS connection in time"),
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, protocol: Protocol, peer: Peer) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
        builder.http2().timer(TokioTimer::new()).max_header_list_size(HEAD_BYTES as u32);
        builder.http2().keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
        // Never found out from the first bytes: that would wait for them without end.
        let builder = match protocol {
            Protocol::Http1 => builder.http1_only(),
            Protocol::Http2 => builder.http2_only(),
        };
        let routes = self.routes;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            answer(routes.clone(), protocol, request)
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(error, address = %self.address, "a connection ended early");
        }
    }
}

/// Answers a request, after what of its body nobody had a use for.
async fn answer(routes: Router, protocol: Protocol, request: Request<Incoming>) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    let (body, leftover) = RequestBody::new(body, &head.headers);
    let mut response = routes.oneshot(Request::from_parts(head, Body::new(body))).await?;
    // In HTTP/2 a body has an end of its own.
    if protocol == Protocol::Http1 && leftover.discard().await == After::Close {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
