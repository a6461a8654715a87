//! Receivers of what the collector pushes: OpenTelemetry's protocol over gRPC, by the official crate's service, and over
//! HTTP; Prometheus' remote write. They can go away and come back at the same address.

mod moody;
mod remote_write_2;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message as _;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use super::{Context as _, Result, wait};
pub(crate) use moody::{Mood, Moods, influxdb, moody_otlp_grpc, moody_otlp_http, remote_write_2};
pub(crate) use remote_write_2::WriteRequest2;

/// What has been received, oldest first.
#[derive(Debug)]
pub(crate) struct Received<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Received<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Received<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Received<T> {
    /// All of it so far.
    pub(crate) fn all(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A receiver that listens; gone when dropped.
#[derive(Debug)]
pub(crate) struct Listening {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Listening {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        } else {
            // Wakes the accepting thread, which lets go of the address.
            let _ = TcpStream::connect(self.address);
        }
        // The address is free when nobody answers there.
        let _ = wait::eventually(wait::seconds(5), || {
            super::ensure!(TcpStream::connect(self.address).is_err(), "somebody still listens");
            Ok(())
        });
    }
}

/// Any free port, to which one can come back.
pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

struct Service(Received<ExportMetricsServiceRequest>);

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        if request.metadata().get("x-token").is_none_or(|token| token != "secret") {
            return Err(Status::unauthenticated("no token"));
        }
        self.0.all().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Receives OTLP over gRPC, with the header `x-token: secret`.
pub(crate) fn otlp_grpc(address: SocketAddr, received: &Received<ExportMetricsServiceRequest>) -> Result<Listening> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let entered = runtime.enter();
    let incoming =
        tonic::transport::server::TcpIncoming::bind(address).map_err(|error| super::Error::msg(error.to_string()))?;
    let address = incoming.local_addr()?;
    drop(entered);
    let service = MetricsServiceServer::new(Service(received.clone())).accept_compressed(CompressionEncoding::Gzip);
    runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    Ok(Listening { address, ended: Arc::default(), runtime: Some(runtime) })
}

struct Logs(Received<ExportLogsServiceRequest>);

#[tonic::async_trait]
impl LogsService for Logs {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.0.all().push(request.into_inner());
        Ok(Response::new(one_record_too_many()))
    }
}

/// Receives OTLP's logs over gRPC, and says of each request, of metrics too, that one of its values was too many.
pub(crate) fn otlp_logs(address: SocketAddr, received: &Received<ExportLogsServiceRequest>) -> Result<Listening> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let entered = runtime.enter();
    let incoming =
        tonic::transport::server::TcpIncoming::bind(address).map_err(|error| super::Error::msg(error.to_string()))?;
    let address = incoming.local_addr()?;
    drop(entered);
    let logs = LogsServiceServer::new(Logs(received.clone())).accept_compressed(CompressionEncoding::Gzip);
    let metrics = MetricsServiceServer::new(Picky).accept_compressed(CompressionEncoding::Gzip);
    let server = tonic::transport::Server::builder().add_service(logs).add_service(metrics);
    runtime.spawn(server.serve_with_incoming(incoming));
    Ok(Listening { address, ended: Arc::default(), runtime: Some(runtime) })
}

struct Picky;

#[tonic::async_trait]
impl MetricsService for Picky {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        Ok(Response::new(one_point_too_many()))
    }
}

fn one_point_too_many() -> ExportMetricsServiceResponse {
    let partial_success =
        Some(ExportMetricsPartialSuccess { rejected_data_points: 1, error_message: "one too many".to_owned() });
    ExportMetricsServiceResponse { partial_success }
}

fn one_record_too_many() -> ExportLogsServiceResponse {
    let partial_success =
        Some(ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "one too many".to_owned() });
    ExportLogsServiceResponse { partial_success }
}

/// The same over HTTP, with gzip alone.
pub(crate) fn otlp_http_logs(address: SocketAddr, received: &Received<ExportLogsServiceRequest>) -> Result<Listening> {
    let received = received.clone();
    http(address, move |request| {
        let protobuf = |body: Vec<u8>| Reply {
            headers: "Content-Type: application/x-protobuf\r\n".to_owned(),
            body,
            ..Reply::from(200)
        };
        if request.header("content-encoding") != Some("gzip") {
            return 400.into();
        }
        if request.otlp::<ExportMetricsServiceRequest>("/v1/metrics").is_ok() {
            return protobuf(one_point_too_many().encode_to_vec());
        }
        match request.otlp("/v1/logs") {
            Ok(message) => {
                received.all().push(message);
                protobuf(one_record_too_many().encode_to_vec())
            }
            Err(_) => 400.into(),
        }
    })
}

/// Receives OTLP over HTTP.
pub(crate) fn otlp_http(address: SocketAddr, received: &Received<ExportMetricsServiceRequest>) -> Result<Listening> {
    let received = received.clone();
    http(address, move |request| {
        if request.header("x-token") != Some("secret") {
            return 401;
        }
        match request.otlp("/v1/metrics") {
            Ok(message) => {
                received.all().push(message);
                200
            }
            Err(_) => 400,
        }
    })
}

/// What was posted: its path with the query, its headers in lower case, and its body without compression.
pub(crate) type PostedLines = (String, Vec<(String, String)>, String);

/// Listens with TLS before somebody who does without: with this certificate and its key, for these protocols.
pub(crate) fn behind_tls(
    plain: &Listening,
    certificate: &CertificateDer<'static>,
    key: &[u8],
    protocols: &[&[u8]],
) -> Result<Listening> {
    let key = PrivateKeyDer::Pkcs8(key.to_vec().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate.clone()], key)?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    // `localhost` may be either address.
    let listener = runtime.block_on(tokio::net::TcpListener::bind("localhost:0"))?;
    let (address, behind) = (listener.local_addr()?, plain.address);
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let Ok(mut inside) = tokio::net::TcpStream::connect(behind).await else { return };
                // An end is an end, however it came.
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    Ok(Listening { address, ended: Arc::default(), runtime: Some(runtime) })
}

/// `prometheus.WriteRequest`, version 1.0.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WriteRequest {
    /// Its series.
    #[prost(message, repeated, tag = "1")]
    pub(crate) timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TimeSeries {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    /// Oldest first.
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sample {
    /// Its value.
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
}

/// Receives remote write 1.0.
pub(crate) fn remote_write(address: SocketAddr, received: &Received<WriteRequest>) -> Result<Listening> {
    let received = received.clone();
    http(address, move |request| {
        let headers =
            ["content-encoding", "content-type", "x-prometheus-remote-write-version"].map(|name| request.header(name));
        if headers != [Some("snappy"), Some("application/x-protobuf"), Some("0.1.0")] {
            return 400;
        }
        let message = snap::raw::Decoder::new().decompress_vec(&request.body).ok();
        match message.and_then(|message| WriteRequest::decode(&*message).ok()) {
            Some(message) => {
                received.all().push(message);
                204
            }
            None => 400,
        }
    })
}

/// What is answered.
struct Reply {
    status: u16,
    /// Whole lines.
    headers: String,
    body: Vec<u8>,
    /// Whether the answer ends as it should.
    whole: bool,
}

impl From<u16> for Reply {
    fn from(status: u16) -> Self {
        Self { status, headers: String::new(), body: Vec::new(), whole: true }
    }
}

/// A POST request.
struct Posted {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Posted {
    /// Itself as lines, with gzip alone.
    fn lines(&self) -> Option<PostedLines> {
        let mut body = String::new();
        GzDecoder::new(&*self.body).read_to_string(&mut body).ok()?;
        Some((self.path.clone(), self.headers.clone(), body))
    }

    /// Its body as a message of OTLP over HTTP, compressed or not.
    fn otlp<T: prost::Message + Default>(&self, path: &str) -> Result<T> {
        super::ensure!(self.path == path, "path: {}", self.path);
        super::ensure!(self.header("content-type") == Some("application/x-protobuf"), "headers: {:?}", self.headers);
        let mut body = Vec::new();
        match self.header("content-encoding") {
            Some("gzip") => GzDecoder::new(&*self.body).read_to_end(&mut body)?,
            None => (&*self.body).read_to_end(&mut body)?,
            Some(other) => super::bail!("content-encoding: {other}"),
        };
        Ok(T::decode(&*body)?)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// Listens, and answers each request with a status.
fn http<R: Into<Reply>>(
    address: SocketAddr,
    answer: impl Fn(&Posted) -> R + Send + Sync + 'static,
) -> Result<Listening> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let ended = Arc::new(AtomicBool::new(false));
    let (over, answer) = (Arc::clone(&ended), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if over.load(Ordering::Acquire) {
                return;
            }
            let (over, answer) = (Arc::clone(&over), Arc::clone(&answer));
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Ok(request) = read(&mut reader) {
                    // One that is gone answers nobody, also not over an old connection.
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    let Reply { status, headers, body, whole } = answer(&request).into();
                    let head = format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
                    let sent = [head.as_bytes(), &body].concat();
                    let sent = if whole { &sent[..] } else { &sent[..sent.len() / 2] };
                    if reader.get_mut().write_all(sent).is_err() || !whole {
                        return;
                    }
                }
            });
        }
    });
    Ok(Listening { address, ended, runtime: None })
}

fn read(reader: &mut BufReader<TcpStream>) -> Result<Posted> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).context("no path")?.to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").context("no length")?.1.parse()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Posted { path, headers, body })
}
