//! How requests reach the receiver: gRPC, or protocol buffers over HTTP/1.1.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::Uri;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Extensions, Status};

use crate::push::connector::{InvalidReceiver, Version, connector};
use crate::push::delivery::{Failure, Transport};
use crate::push::http_client::HttpClient;
use crate::push::{OtlpOptions, OtlpProtocol};

/// Longest wait for an answer, and for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
const METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// Where receivers take metrics over HTTP; appended unless the endpoint names it.
const HTTP_PATH: &str = "/v1/metrics";

/// Sends requests to one receiver. Connects when it has something to send, and again when the connection breaks.
#[derive(Clone, Debug)]
pub struct Exporter(Way);

#[derive(Clone, Debug)]
enum Way {
    Grpc { channel: Channel, metadata: MetadataMap },
    Http(Box<HttpClient>),
}

impl Exporter {
    /// For the receiver of these options. To be called where there is an async runtime.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub fn new(options: &OtlpOptions) -> Result<Self, InvalidReceiver> {
        let receiver = &options.receiver;
        Ok(Self(match options.protocol {
            OtlpProtocol::Grpc => {
                let endpoint = Endpoint::from_shared(receiver.url.to_string())?;
                let endpoint = endpoint.connect_timeout(PATIENCE).timeout(PATIENCE);
                let channel = endpoint.connect_with_connector_lazy(connector(&receiver.url, Version::Http2)?);
                let metadata = MetadataMap::from_headers(receiver.headers.iter().cloned().collect());
                Way::Grpc { channel, metadata }
            }
            OtlpProtocol::HttpProtobuf => {
                let base = receiver.url.to_string();
                let base = base.trim_end_matches('/');
                let url: Uri =
                    if base.ends_with(HTTP_PATH) { base.parse() } else { format!("{base}{HTTP_PATH}").parse() }?;
                let fixed = [("content-type", "application/x-protobuf")];
                Way::Http(Box::new(HttpClient::new(receiver, url, &fixed)?))
            }
        }))
    }
}

impl Transport for Exporter {
    async fn send(&self, body: Bytes) -> Result<u64, Failure> {
        let answer = match &self.0 {
            Way::Http(client) => {
                let answer = client.post(body).await?;
                // What was accepted stays so, however the answer is worded.
                ExportMetricsServiceResponse::decode(answer).unwrap_or_default()
            }
            Way::Grpc { channel, metadata } => {
                let mut grpc = Grpc::new(channel.clone());
                grpc.ready().await.map_err(|error| Failure::temporary(&error))?;
                let request = tonic::Request::from_parts(metadata.clone(), Extensions::default(), body);
                let answer = grpc.unary(request, PathAndQuery::from_static(METHOD), Encoded).await;
                answer.map_err(|status| refused(&status))?.into_inner()
            }
        };
        Ok(answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected_data_points).unwrap_or(0)))
    }
}

/// The codes that the protocol's specification calls retryable; without one the call has not reached anybody.
fn refused(status: &Status) -> Failure {
    let temporary = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            // What the client itself makes of a broken connection.
            | Code::Unknown
    );
    let reason = format!("{:?}: {}", status.code(), status.message());
    if temporary { Failure::temporary(&reason) } else { Failure::Permanent(reason) }
}

/// Requests are encoded once, when they are queued.
#[derive(Clone, Copy, Debug)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportMetricsServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportMetricsServiceResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let body = buffer.copy_to_bytes(buffer.remaining());
        ExportMetricsServiceResponse::decode(body).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
