//! Receivers in a mood that may change. What was accepted is received.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Response, Status};

use super::{Listening, PostedLines, Received, Reply, WriteRequest2, any_port, http};
use crate::support::{Result, wait};

/// How somebody who receives behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Accepts.
    Well,
    /// Answers with this status of HTTP, or what gRPC has in its place, and wants to be asked again after so many seconds.
    Status(u16, Option<u8>),
    /// Breaks off in the middle of an answer.
    Half,
    /// Takes so many milliseconds.
    Slow(u64),
}

/// A mood that is set from outside.
#[derive(Clone, Debug)]
pub(crate) struct Moods(Arc<Mutex<Mood>>);

impl Default for Moods {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Mood::Well)))
    }
}

impl Moods {
    /// It changes.
    pub(crate) fn set(&self, mood: Mood) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    fn now(&self) -> Mood {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is answered in place of a look at the request.
    fn reply(&self) -> Option<Reply> {
        match self.now() {
            Mood::Well => None,
            Mood::Status(status, retry_after) => {
                let headers = retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
                Some(Reply { headers, ..Reply::from(status) })
            }
            Mood::Half => Some(Reply { whole: false, ..Reply::from(200) }),
            Mood::Slow(millis) => {
                wait::pass(wait::millis(millis));
                None
            }
        }
    }
}

/// Receives remote write 2.0.
pub(crate) fn remote_write_2(
    address: SocketAddr,
    received: &Received<WriteRequest2>,
    moods: &Moods,
) -> Result<Listening> {
    let (received, moods) = (received.clone(), moods.clone());
    http(address, move |request| {
        if let Some(reply) = moods.reply() {
            return reply;
        }
        let headers =
            ["content-encoding", "content-type", "x-prometheus-remote-write-version"].map(|name| request.header(name));
        let expected = ["snappy", "application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"];
        if headers != expected.map(Some) {
            return 415.into();
        }
        let message = snap::raw::Decoder::new().decompress_vec(&request.body).ok();
        match message.and_then(|message| WriteRequest2::decode(&*message).ok()) {
            Some(message) => {
                let written = message.timeseries.iter().map(|series| series.samples.len()).sum::<usize>();
                received.all().push(message);
                let headers = format!("X-Prometheus-Remote-Write-Samples-Written: {written}\r\n");
                Reply { headers, ..Reply::from(204) }
            }
            None => 400.into(),
        }
    })
}

/// Receives OTLP over HTTP.
pub(crate) fn moody_otlp_http(
    address: SocketAddr,
    received: &Received<ExportMetricsServiceRequest>,
    moods: &Moods,
) -> Result<Listening> {
    let (received, moods) = (received.clone(), moods.clone());
    http(address, move |request| {
        if let Some(reply) = moods.reply() {
            return reply;
        }
        match request.otlp("/v1/metrics") {
            Ok(message) => {
                received.all().push(message);
                Reply::from(200)
            }
            Err(_) => 400.into(),
        }
    })
}

/// Receives lines of InfluxDB, whatever path and credentials they come with: for what is not in Debian, such as 2.x.
pub(crate) fn influxdb(address: SocketAddr, received: &Received<PostedLines>, moods: &Moods) -> Result<Listening> {
    let (received, moods) = (received.clone(), moods.clone());
    http(address, move |request| {
        if let Some(reply) = moods.reply() {
            return reply;
        }
        match request.lines() {
            Some(lines) => {
                received.all().push(lines);
                Reply::from(204)
            }
            None => 400.into(),
        }
    })
}

struct Service {
    received: Received<ExportMetricsServiceRequest>,
    moods: Moods,
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> std::result::Result<Response<ExportMetricsServiceResponse>, Status> {
        match self.moods.now() {
            Mood::Well | Mood::Half => {}
            Mood::Slow(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Mood::Status(_, Some(seconds)) => {
                return Err(Status::with_details(Code::ResourceExhausted, "later", retry_info(seconds).into()));
            }
            Mood::Status(500.., None) => return Err(Status::unavailable("not now")),
            Mood::Status(_, None) => return Err(Status::invalid_argument("never")),
        }
        self.received.all().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// `google.rpc.Status` with a `RetryInfo` of so many seconds.
fn retry_info(seconds: u8) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let delay = field(1, &[1 << 3, seconds]);
    let any = [field(1, b"type.googleapis.com/google.rpc.RetryInfo"), field(2, &delay)].concat();
    field(3, &any)
}

/// Receives OTLP over gRPC. Half an answer is the end of the connection in the middle of one.
pub(crate) fn moody_otlp_grpc(
    address: SocketAddr,
    received: &Received<ExportMetricsServiceRequest>,
    moods: &Moods,
) -> Result<Listening> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let entered = runtime.enter();
    let bound = |address| {
        tonic::transport::server::TcpIncoming::bind(address)
            .map_err(|error| crate::support::Error::msg(error.to_string()))
    };
    let incoming = bound(any_port())?;
    let inside = incoming.local_addr()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address))?;
    let address = listener.local_addr()?;
    drop(entered);
    let service = Service { received: received.clone(), moods: moods.clone() };
    let service = MetricsServiceServer::new(service).accept_compressed(CompressionEncoding::Gzip);
    runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let moods = moods.clone();
    runtime.spawn(async move {
        while let Ok((outside, _)) = listener.accept().await {
            tokio::spawn(relay(outside, inside, moods.clone()));
        }
    });
    Ok(Listening { address, ended: Arc::default(), runtime: Some(runtime) })
}

/// Passes on what is said, of answers only half in that mood.
async fn relay(mut outside: TcpStream, inside: SocketAddr, moods: Moods) {
    let Ok(mut inside) = TcpStream::connect(inside).await else { return };
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let passed = tokio::select! {
            read = outside.read(&mut asked) => match read {
                Ok(length @ 1..) => inside.write_all(&asked[..length]).await,
                _ => return,
            },
            read = inside.read(&mut answered) => match read {
                Ok(length @ 1..) if moods.now() == Mood::Half => {
                    // It is gone afterwards, however this went.
                    let _ = outside.write_all(&answered[..length / 2]).await;
                    return;
                }
                Ok(length @ 1..) => outside.write_all(&answered[..length]).await,
                _ => return,
            },
        };
        if passed.is_err() {
            return;
        }
    }
}
