//! A runtime that serves Kubernetes' container runtime interface and has one container, whose processes are in no cgroup of
//! this kernel: what gVisor and Kata look like from outside.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use prost::bytes::{Buf as _, BufMut as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::grpc::Message;
use super::time::Time;
use super::{Error, Result};

/// What the container had used when the runtime began, in nanoseconds; since then it uses half a CPU.
pub(crate) const USED: u64 = 5_000_000_000;
/// Its working set.
pub(crate) const WORKING_SET: u64 = 64 << 20;

/// The runtime; ended when dropped.
pub(crate) struct FakeCri {
    pub(crate) address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl FakeCri {
    /// With a container of this id and this cgroup.
    pub(crate) fn start(id: &str, cgroup: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let entered = runtime.enter();
        let incoming =
            TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(|error| Error::msg(error.to_string()))?;
        let address = incoming.local_addr()?;
        drop(entered);
        let container = Container { id: id.to_owned(), cgroup: cgroup.to_owned(), began: Instant::now() };
        let server = tonic::transport::Server::builder().add_service(Served(Arc::new(container)));
        runtime.spawn(server.serve_with_incoming(incoming));
        Ok(Self { address, runtime: Some(runtime) })
    }
}

impl Drop for FakeCri {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Container {
    id: String,
    cgroup: String,
    began: Instant,
}

impl Container {
    fn answer(&self, method: &str) -> Option<Message> {
        let id = Message::default().text(1, &self.id);
        let entry = |key: &str, value: &str| Message::default().text(1, key).text(2, value);
        Some(match method {
            "Version" => Message::default(),
            "ListContainers" => {
                let metadata = Message::default().text(1, "app");
                let labels = [("name", "sandboxed"), ("namespace", "default"), ("uid", "3f2a8a52")];
                let container = labels.iter().fold(id.message(3, &metadata), |container, (key, value)| {
                    container.message(8, &entry(&format!("io.kubernetes.pod.{key}"), value))
                });
                Message::default().message(1, &container)
            }
            "ContainerStatus" => {
                // The process of the sandbox, which is elsewhere.
                let specification = serde_json::json!({ "linux": { "cgroupsPath": self.cgroup } });
                let info = serde_json::json!({ "pid": std::process::id(), "runtimeSpec": specification });
                Message::default().message(1, &Message::default()).message(2, &entry("info", &info.to_string()))
            }
            "ListContainerStats" => {
                let number = |value| Message::default().number(1, value);
                let now = Time::now_nanos() as u64;
                let used = USED + self.began.elapsed().as_nanos() as u64 / 2;
                let cpu = Message::default().number(1, now).message(2, &number(used));
                let memory = Message::default().number(1, now).message(2, &number(WORKING_SET));
                let stats = Message::default().message(1, &id).message(2, &cpu).message(3, &memory);
                Message::default().message(1, &stats)
            }
            _ => return None,
        })
    }
}

#[derive(Clone)]
struct Served(Arc<Container>);

impl NamedService for Served {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl<B> Service<http::Request<B>> for Served
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let answer = self.0.answer(method).map(Message::into_bytes);
        Box::pin(async move { Ok(Grpc::new(Plain).unary(Once(answer), request).await) })
    }
}

/// The answer to one call.
struct Once(Option<Vec<u8>>);

impl UnaryService<Vec<u8>> for Once {
    type Response = Vec<u8>;
    type Future = Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, _: Request<Vec<u8>>) -> Self::Future {
        ready(self.0.take().map(Response::new).ok_or_else(|| Status::unimplemented("not here")))
    }
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}
