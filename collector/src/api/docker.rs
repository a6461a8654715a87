//! Docker's API as far as clients that look at statistics need it, over the containers of every runtime.
//!
//! The statistics have the engine's keys, types and meaning on either version of cgroups, and the numbers are this
//! collector's. What an engine alone knows (ports, mounts, exit codes, containers that do not run) is left out, or empty
//! where clients insist on a key.

mod containers;
mod errors;
mod events;
mod filters;
mod human;
mod lookup;
mod request;
mod stats;
mod stream;
mod system;
#[cfg(test)]
mod tests;
mod version;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, PRAGMA, SERVER};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Request};
use axum::response::{IntoResponse, Response};

use self::errors::Error;
pub use self::request::Call;
use self::request::{QueryOptions, Resource};
use self::version::NEWEST;
use crate::api::backend::Node;
pub use crate::api::backend::docker::{CgroupVersion, ContainerEngine, RuntimeContainer};
use crate::api::cadvisor::path;

/// Everything but Docker's API is unknown here: what listens on a socket of its own.
pub fn router<S: Node>(source: Arc<S>) -> Router {
    Router::new().fallback(any::<S>).with_state(source)
}

async fn any<S: Node>(State(source): State<Arc<S>>, request: Request<Body>) -> Response {
    let path = path::decode(request.uri().path());
    let (parts, _) = request.into_parts();
    answer(source, Call::of(&path), &parts).await
}

/// Answers a call.
pub(super) async fn answer<S: Node>(source: Arc<S>, call: Call, parts: &Parts) -> Response {
    let own_version = source.version().trim_start_matches('v').to_owned();
    let served = serve(source, call, parts).await;
    let mut response = served.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    if let Ok(server) = HeaderValue::try_from(format!("Docker/collector-{own_version} (linux)")) {
        headers.insert(SERVER, server);
    }
    let fixed =
        [("api-version", NEWEST.text()), ("ostype", "linux".to_owned()), ("docker-experimental", "false".to_owned())];
    for (name, value) in fixed {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn serve<S: Node>(source: Arc<S>, call: Call, parts: &Parts) -> Result<Response, Error> {
    let Call { version, resource } = call;
    if !matches!(parts.method.as_str(), "GET" | "HEAD") {
        return Err(Error::PageNotFound);
    }
    let version = version.unwrap_or(NEWEST);
    version.check()?;
    let options = QueryOptions::parse(parts.uri.query().unwrap_or_default());
    match resource {
        Resource::Ping => Ok(ping()),
        Resource::Version => Ok(system::version(&*source)),
        Resource::Info => Ok(system::info(&*source)),
        Resource::Events => events::answer(source, &options).await,
        Resource::List => containers::list(&*source, &options).await,
        Resource::Inspect(id) => containers::inspect(source, &id).await,
        Resource::Stats(id) => stream::answer(source, &id, stream::Mode::of(&options, version)).await,
        Resource::Unknown => Err(Error::PageNotFound),
    }
}

fn ping() -> Response {
    let headers = [(CACHE_CONTROL, "no-cache, no-store, must-revalidate"), (PRAGMA, "no-cache")];
    (headers, "OK").into_response()
}
