//! How requests reach the receiver: gRPC, or protocol buffers over HTTP/1.1.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::uri::{Authority, InvalidUri};
use http::{StatusCode, Uri};
use prost::Message as _;

use crate::client::tls::Version;
use crate::push::InvalidReceiver;
use crate::push::delivery::{Failure, Transport};
use crate::push::http_client::{Answer, HttpClient};
use crate::push::queue::Request;
use crate::push::{Compression, OtlpOptions, OtlpProtocol};

/// What is sent: each signal has a service of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Numbers.
    Metrics,
    /// Events.
    Logs,
}

impl Signal {
    const fn grpc_path(self) -> &'static str {
        match self {
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// Where receivers take it over HTTP; appended unless the endpoint names it.
    const fn http_path(self) -> &'static str {
        match self {
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }
}

/// Sends requests to one receiver.
#[derive(Clone, Debug)]
pub struct Exporter {
    client: HttpClient,
    protocol: OtlpProtocol,
    compression: Compression,
}

/// The answer to metrics and to logs alike.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ExportResponse {
    #[prost(message, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// What of a request was not accepted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`, as it comes with an error of gRPC.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct RetryInfo {
    #[prost(message, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Exporter {
    /// For the receiver of these options.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub fn new(options: &OtlpOptions, signal: Signal) -> Result<Self, InvalidReceiver> {
        let OtlpOptions { receiver, protocol, compression, .. } = options;
        let version = match protocol {
            OtlpProtocol::Grpc => Version::Http2,
            OtlpProtocol::HttpProtobuf => Version::Http1,
        };
        let client = HttpClient::new(receiver, url(&receiver.url, *protocol, signal)?, version)?;
        Ok(Self { client, protocol: *protocol, compression: *compression })
    }

    async fn send_http(&self, body: Bytes) -> Result<ExportResponse, Failure> {
        let protobuf = ("content-type", "application/x-protobuf");
        let gzip = [protobuf, ("content-encoding", "gzip")];
        let headers = if self.compression == Compression::Gzip { &gzip[..] } else { &[protobuf][..] };
        let answer = self.client.post(headers, body).await?.accepted(is_temporary)?;
        // What was accepted stays so, however the answer is worded.
        Ok(ExportResponse::decode(answer.body).unwrap_or_default())
    }

    async fn send_grpc(&self, message: &Bytes) -> Result<ExportResponse, Failure> {
        let grpc = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "10S")];
        let gzip = [grpc[0], grpc[1], grpc[2], ("grpc-encoding", "gzip")];
        let (flag, headers) = match self.compression {
            Compression::Gzip => (1, &gzip[..]),
            Compression::None => (0, &grpc[..]),
        };
        let mut body = BytesMut::with_capacity(message.len() + 5);
        body.put_u8(flag);
        body.put_u32(message.len() as u32);
        body.extend_from_slice(message);
        let answer = self.client.post(headers, body.freeze()).await?.accepted(is_temporary)?;
        match grpc_status(&answer) {
            Some(0) => Ok(ExportResponse::decode(answer.body.slice(answer.body.len().min(5)..)).unwrap_or_default()),
            Some(code) => Err(refused(code, &answer)),
            None => Err(Failure::temporary(&"the answer did not come whole")),
        }
    }
}

/// Where a signal goes: below the endpoint, whose query stays.
fn url(endpoint: &Uri, protocol: OtlpProtocol, signal: Signal) -> Result<Uri, InvalidUri> {
    let above = endpoint.path().trim_end_matches('/');
    let path = match protocol {
        OtlpProtocol::Grpc => format!("{above}{}", signal.grpc_path()),
        OtlpProtocol::HttpProtobuf => {
            // One signal's endpoint is another's but for the end of its path.
            let named = [Signal::Metrics, Signal::Logs];
            let below = named.into_iter().find_map(|named| above.strip_suffix(named.http_path()));
            format!("{}{}", below.unwrap_or(above), signal.http_path())
        }
    };
    let scheme = endpoint.scheme_str().unwrap_or("http");
    let host = endpoint.authority().map_or("", Authority::as_str);
    let query = endpoint.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}{path}{query}").parse()
}

impl Transport for Exporter {
    async fn send(&self, request: &Request) -> Result<u64, Failure> {
        let answer = match self.protocol {
            OtlpProtocol::Grpc => self.send_grpc(&request.body).await?,
            OtlpProtocol::HttpProtobuf => self.send_http(request.body.clone()).await?,
        };
        let Some(PartialSuccess { rejected, error_message }) = answer.partial_success else { return Ok(0) };
        if !error_message.is_empty() {
            tracing::warn!(rejected, reason = error_message, "the receiver of OTLP has something to say");
        }
        Ok(u64::try_from(rejected).unwrap_or(0))
    }
}

/// The statuses of HTTP that the protocol's specification calls retryable.
fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name)?.to_str().ok()
}

fn grpc_status(answer: &Answer) -> Option<u32> {
    header(answer, "grpc-status")?.parse().ok()
}

/// Codes of gRPC that the specification calls retryable: cancelled, deadline exceeded, aborted, out of range,
/// unavailable, data loss; resource exhausted if the receiver says when.
fn refused(code: u32, answer: &Answer) -> Failure {
    let message = header(answer, "grpc-message").unwrap_or_default().as_bytes();
    let message: Cow<'_, str> = percent_encoding::percent_decode(message).decode_utf8_lossy();
    let reason = format!("gRPC status {code}: {message}");
    let retry_after = retry_delay(answer);
    match (code, retry_after) {
        (1 | 4 | 10 | 11 | 14 | 15, retry_after) | (8, retry_after @ Some(_)) => {
            Failure::Temporary { reason, retry_after }
        }
        _ => Failure::Permanent(reason),
    }
}

fn retry_delay(answer: &Answer) -> Option<Duration> {
    let details = header(answer, "grpc-status-details-bin")?.trim_end_matches('=');
    let status = RpcStatus::decode(&*STANDARD_NO_PAD.decode(details).ok()?).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn answer(headers: &[(&'static str, &str)]) -> Answer {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Answer { status: StatusCode::OK, headers, body: Bytes::new() }
    }

    #[test]
    fn where_signals_go() {
        use OtlpProtocol::{Grpc, HttpProtobuf};
        use Signal::{Logs, Metrics};
        for (endpoint, protocol, signal, expected) in [
            ("http://h:1", HttpProtobuf, Metrics, "http://h:1/v1/metrics"),
            ("https://h/v1/metrics/", HttpProtobuf, Logs, "https://h/v1/logs"),
            ("http://h/otlp/?key=a/b", HttpProtobuf, Metrics, "http://h/otlp/v1/metrics?key=a/b"),
            ("http://h:1/", Grpc, Logs, "http://h:1/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
        ] {
            assert_eq!(url(&endpoint.parse().unwrap(), protocol, signal).unwrap(), expected, "{endpoint}");
        }
    }

    #[test]
    fn what_is_retryable_by_the_specification() {
        for (code, temporary) in [(1, true), (3, false), (8, false), (12, false), (14, true), (2, false), (16, false)] {
            let failure = refused(code, &answer(&[("grpc-message", "a%20b")]));
            assert_eq!(matches!(failure, Failure::Temporary { .. }), temporary, "{failure:?}");
            assert!(failure.to_string().ends_with(": a b"), "{failure}");
        }
        for (status, temporary) in [(429, true), (503, true), (500, false), (400, false)] {
            assert_eq!(is_temporary(StatusCode::from_u16(status).unwrap()), temporary, "{status}");
        }
    }

    #[test]
    fn a_receiver_that_is_busy_says_when() {
        let info = RetryInfo { retry_delay: Some(Delay { seconds: 2, nanos: 500_000_000 }) };
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        let status = RpcStatus { details: vec![Detail { type_url, value: info.encode_to_vec() }] };
        let details = STANDARD_NO_PAD.encode(status.encode_to_vec());
        let failure = refused(8, &answer(&[("grpc-status-details-bin", &details)]));
        let expected = Duration::from_millis(2_500);
        assert!(
            matches!(failure, Failure::Temporary { retry_after: Some(wait), .. } if wait == expected),
            "{failure:?}"
        );
    }
}
