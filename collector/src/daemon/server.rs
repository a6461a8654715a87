//! Serves connections over TCP and over a socket in the file system: plain ones speak HTTP/1.1, encrypted ones also
//! HTTP/2. A client that is slow holds up nobody, and nothing for long.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::connections::{Connections, Pool, Reason, Slot};
use super::descriptors::Descriptors;
use super::hosts::Hosts;
use super::pace::Paced;
use super::socket::Socket;
use super::streams::Streams;
use super::unsent::Unsent;
use crate::api::http::mount::Mount;
use crate::api::http::router::{Audience, audience};
use crate::auth::Client;
use crate::daemon::drain::{After, Bodies, Lingering, RequestBody};
use crate::own_metrics::ConnectionMetrics;

/// How long a client may take for the head of a request after the first one, and how long a connection stays that asks
/// for nothing, in HTTP/1.1.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to agree upon a key.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection without requests is looked at in HTTP/2, and how long the client may take to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// A head of a request that is not complete when so much of it is there is refused; twice as much may be by then.
const HEAD_BYTES: usize = 32 << 10;
/// In HTTP/2, where a connection may have many of them.
const HEAD_BYTES_IN_HTTP2: u32 = 16 << 10;
/// Requests at once of one connection in HTTP/2.
const STREAMS: u32 = 32;
/// Requests of one connection that the client takes back before they are looked at; beyond, the connection ends.
const RESETS: usize = 20;
/// Bytes of requests' bodies that a client may send before they are read, for a stream and for a connection.
const STREAM_WINDOW: u32 = 32 << 10;
const CONNECTION_WINDOW: u32 = 64 << 10;
/// Bytes of a stream that wait in the connection to be sent.
const STREAM_BUFFER: usize = 32 << 10;
/// Bytes that the kernel keeps for a client that does not read; it doubles them.
const KERNEL_BUFFER: usize = 128 << 10;
/// A peer that is gone without a word is noticed after the first and four times the second.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// Wait after a connection could not be accepted, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The same, where a connection was given up for it.
const GIVE_UP_PAUSE: Duration = Duration::from_millis(10);
/// When a client may come again that was refused for want of room, in seconds.
const COME_AGAIN: &str = "5";

/// What connections come in through.
pub(super) trait Accept: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + 'static;

    /// The next connection, who asks and from where.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Client, String)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Client, String)> {
        let (stream, address) = TcpListener::accept(self).await?;
        if let Err(error) = set_options(&stream) {
            tracing::debug!(
                %address, %error,
                "socket options cannot be set; answers may be delayed, or kept for a client that is gone"
            );
        }
        Ok((stream, Client::at(address.ip()), named(address)))
    }
}

fn named(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_send_buffer_size(stream, KERNEL_BUFFER)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    Ok(())
}

impl Accept for Socket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Client, String)> {
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, Client::Local, "the socket".to_owned()))
    }
}

/// What all servers share: clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) connections: Connections,
    pub(super) bodies: Bodies,
    pub(super) descriptors: Arc<Descriptors>,
    pub(super) metrics: ConnectionMetrics,
}

/// Who may come in where.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// Which connections share their number with these.
    pub(super) pool: Pool,
    /// The names that requests may use.
    pub(super) hosts: Hosts,
    /// Where the health checks are.
    pub(super) mount: Mount,
}

/// See the module.
pub(super) struct Server<L> {
    /// Where connections come in.
    pub(super) listener: L,
    /// How they are encrypted, if at all.
    pub(super) tls: Option<TlsAcceptor>,
    /// What answers.
    pub(super) routes: Router,
    /// Whom.
    pub(super) door: Door,
    /// The bounds.
    pub(super) shared: Shared,
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
    /// Serves until it is asked to stop, then until the requests that are open then are answered.
    pub(super) async fn run(self, stopped: impl Future<Output = ()>) {
        let Self { listener, tls, routes, door, shared } = self;
        let shutdown = GracefulShutdown::new();
        let mut stopped = std::pin::pin!(stopped);
        let door = Arc::new(door);
        loop {
            let next = async {
                shared.connections.room().await;
                listener.accept().await
            };
            let accepted = tokio::select! {
                next = next => next,
                () = &mut stopped => break,
            };
            let (stream, client, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    let is_given_up = shared.descriptors.are_exhausted(&error) && shared.connections.give_up_oldest();
                    sleep(if is_given_up { GIVE_UP_PAUSE } else { ACCEPT_PAUSE }).await;
                    continue;
                }
            };
            let Some(slot) = shared.connections.admit(client, door.pool) else {
                tracing::debug!(%address, "a connection was refused: all places are taken");
                continue;
            };
            let asking = Asking {
                routes: routes.clone(),
                door: Arc::clone(&door),
                shared: shared.clone(),
                slot: slot.clone(),
                client,
                peer: Peer::Anybody,
                protocol: Protocol::Http1,
            };
            let connection = Connection { address: address.clone(), asking, watcher: shutdown.watcher() };
            let tls = tls.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = connection.serve(stream, tls) => {}
                    reason = slot.ended() => tracing::debug!(?reason, %address, "a connection is ended"),
                }
            });
        }
        drop(listener);
        shutdown.shutdown().await;
    }
}

struct Connection {
    address: String,
    asking: Asking,
    watcher: Watcher,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

impl Connection {
    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Send + 'static, tls: Option<TlsAcceptor>) {
        let stream = Paced::new(Box::pin(stream), Arc::clone(self.asking.slot.pace()));
        // Below the encryption: what is left to read at the end need not make sense.
        let stream = Lingering::new(stream);
        let Some(tls) = tls else { return self.speak(stream).await };
        match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let agreed = stream.get_ref().1;
                if agreed.alpn_protocol() == Some(b"h2") {
                    self.asking.protocol = Protocol::Http2;
                }
                // There are none unless they were asked for and verified.
                if agreed.peer_certificates().is_some_and(|shown| !shown.is_empty()) {
                    self.asking.peer = Peer::Certified;
                }
                self.speak(stream).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, address = %self.address, "the TLS handshake failed"),
            Err(_) => self.asking.slot.end(Reason::Handshake),
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let Self { address, asking, watcher } = self;
        let streams = Streams { slot: asking.slot.clone(), metrics: asking.shared.metrics.clone() };
        let mut builder = Builder::new(streams);
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
        builder.http2().max_header_list_size(HEAD_BYTES_IN_HTTP2).max_concurrent_streams(STREAMS);
        builder.http2().max_pending_accept_reset_streams(RESETS).max_local_error_reset_streams(RESETS);
        builder.http2().initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        builder.http2().max_send_buf_size(STREAM_BUFFER);
        // Never found out from the first bytes: that would wait for them without end.
        let builder = match asking.protocol {
            Protocol::Http1 => builder.http1_only(),
            Protocol::Http2 => builder.http2_only(),
        };
        let pace = Arc::clone(asking.slot.pace());
        let refused = asking.shared.metrics.refused.clone();
        let service = service_fn(move |request: Request<Incoming>| asking.clone().answer(request));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = pace.over(watcher.watch(connection)).await {
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large) {
                refused.with_label_values(&["head_bytes"]).inc();
            }
            tracing::debug!(error, %address, "a connection ended early");
        }
    }
}

/// Who asks, and what of.
#[derive(Clone)]
struct Asking {
    routes: Router,
    door: Arc<Door>,
    shared: Shared,
    slot: Slot,
    client: Client,
    peer: Peer,
    protocol: Protocol,
}

impl Asking {
    /// Answers a request, after what of its body nobody had a use for.
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Unsent>, Infallible> {
        let (mut head, body) = request.into_parts();
        let is_health_check =
            self.door.mount.local(head.uri.path()).is_some_and(|path| audience(path) == Audience::Everybody);
        let (body, leftover) = RequestBody::new(body, &head.headers, &self.shared.bodies);
        let begun = self.slot.begin(length(&head), is_health_check);
        let (mut response, underway) = match begun {
            Err(refusal) => {
                self.count_refused(refusal.name());
                let mut response =
                    refused(StatusCode::SERVICE_UNAVAILABLE, &format!("503 Service Unavailable: {refusal}"));
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(COME_AGAIN));
                if self.protocol == Protocol::Http1 {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                return Ok(response.map(Unsent::unbound));
            }
            Ok(underway) => {
                if let Err(foreign) = self.door.hosts.check(&head) {
                    self.count_refused(foreign.reason);
                    drop(body);
                    (refused(foreign.status, &foreign.text), underway)
                } else {
                    head.extensions.insert(self.peer);
                    head.extensions.insert(self.client);
                    (self.routes.clone().oneshot(Request::from_parts(head, Body::new(body))).await?, underway)
                }
            }
        };
        if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
            self.count_refused("body_bytes");
        }
        // In HTTP/2 a body has an end of its own.
        if self.protocol == Protocol::Http1 && leftover.discard().await == After::Close {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Unsent::new(body, underway)))
    }

    fn count_refused(&self, reason: &str) {
        self.shared.metrics.refused.with_label_values(&[reason]).inc();
    }
}

/// What a request's head takes.
fn length(head: &Parts) -> usize {
    let headers = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    headers + head.uri.path_and_query().map_or(0, |target| target.as_str().len())
}

fn refused(status: StatusCode, text: &str) -> Response {
    (status, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests;
