//! gRPC over a unix socket, for the few calls we make: messages are declared where they are used, with the fields that
//! are looked at, so that building needs no protocol compiler.

use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint as Address};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::endpoint::Endpoint;
use super::error::RuntimeError;
use crate::bounds::{Bound, Shown};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of an answer: what a runtime says about all its containers has some hundred for each.
const LARGEST_ANSWER: usize = 4 << 20;
/// Bytes of an answer's headers.
const LONGEST_HEADERS: u32 = 16 << 10;

/// A runtime's socket that somebody listens on. Connects again by itself when a call needs it.
#[derive(Clone, Debug)]
pub(super) struct Connection(Channel);

impl Connection {
    /// Connects, or fails at once where nobody listens.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, RuntimeError> {
        endpoint.probe().await?;
        let uri = match endpoint {
            Endpoint::Unix(path) => format!("unix://{path}"),
            Endpoint::Tcp(address) => format!("http://{address}"),
        };
        let address = Address::from_shared(uri).map_err(|error| RuntimeError::Transport(error.to_string()))?;
        let address = address.timeout(PATIENCE).connect_timeout(PATIENCE).http2_max_header_list_size(LONGEST_HEADERS);
        match timeout(PATIENCE, address.connect()).await {
            Ok(Ok(channel)) => Ok(Self(channel)),
            Ok(Err(error)) => Err(RuntimeError::Transport(error.to_string())),
            Err(_) => Err(RuntimeError::TooSlow(PATIENCE)),
        }
    }

    /// One call; `namespace` goes into the header that containerd reads.
    pub(super) async fn call<Q, A>(
        &self,
        method: &'static str,
        message: Q,
        namespace: Option<&MetadataValue<Ascii>>,
    ) -> Result<A, RuntimeError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        // The channel's own time ends with the head of the answer; what follows may drip.
        timeout(PATIENCE, self.exchange(method, message, namespace)).await.unwrap_or_else(|_| {
            Bound::RuntimeAnswerTime.exceeded();
            Err(RuntimeError::TooSlow(PATIENCE))
        })
    }

    async fn exchange<Q, A>(
        &self,
        method: &'static str,
        message: Q,
        namespace: Option<&MetadataValue<Ascii>>,
    ) -> Result<A, RuntimeError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(LARGEST_ANSWER);
        grpc.ready().await.map_err(|error| RuntimeError::Transport(error.to_string()))?;
        let mut request = Request::new(message);
        if let Some(namespace) = namespace {
            request.metadata_mut().insert("containerd-namespace", namespace.clone());
        }
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(method), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failed(&status))
    }
}

fn failed(status: &Status) -> RuntimeError {
    match status.code() {
        Code::NotFound => RuntimeError::NoSuchContainer,
        Code::Unimplemented => {
            RuntimeError::Unspoken(format!("it does not have this call: {}", Shown(status.message().as_bytes())))
        }
        // Of a message that is longer than it may be.
        Code::OutOfRange => {
            Bound::RuntimeAnswerBytes.exceeded();
            RuntimeError::TooLarge(LARGEST_ANSWER)
        }
        code => RuntimeError::Transport(format!("{code}: {}", Shown(status.message().as_bytes()))),
    }
}

/// A message without fields.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Empty {}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct AnyMessage {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Response};
    use http_body_util::StreamBody;
    use hyper::body::{Frame, Incoming};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use prost::Message as _;
    use tokio::net::UnixListener;

    use super::*;

    /// What a runtime answers whose answer has so many bytes, read over its socket.
    async fn answer_of(length: usize) -> Result<AnyMessage, RuntimeError> {
        let mut message = AnyMessage { value: vec![1; length], ..AnyMessage::default() };
        message.value.truncate(2 * length - message.encoded_len());
        assert_eq!(message.encoded_len(), length);
        let mut framed = [&[0][..], &(length as u32).to_be_bytes()].concat();
        message.encode(&mut framed).unwrap();
        let framed = Bytes::from(framed);
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("runtime.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let framed = framed.clone();
                let service = hyper::service::service_fn(move |_: hyper::Request<Incoming>| {
                    let status =
                        HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
                    let frames = [Frame::data(framed.clone()), Frame::trailers(status)].map(Ok::<_, Infallible>);
                    let body = StreamBody::new(futures_util::stream::iter(frames));
                    let response = Response::builder().header("content-type", "application/grpc").body(body);
                    async { response }
                });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        let endpoint = Endpoint::Unix(socket.to_str().unwrap().to_owned());
        let connection = Connection::open(&endpoint).await.unwrap();
        let answer = connection.call("/some.Service/Call", Empty {}, None).await;
        server.abort();
        answer
    }

    #[tokio::test]
    async fn an_answer_beyond_the_bound_is_refused() {
        assert!(answer_of(LARGEST_ANSWER).await.is_ok());
        let error = answer_of(LARGEST_ANSWER + 1).await.unwrap_err();
        assert!(matches!(error, RuntimeError::TooLarge(LARGEST_ANSWER)), "{error}");
    }
}
