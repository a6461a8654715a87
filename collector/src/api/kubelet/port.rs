//! What a kubelet's own port answers: the kubelet's statistics, the collector's metrics about itself, and for everything
//! else what a kubelet says that does not let anybody debug its node. Never a redirect.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tokio::task::spawn_blocking;

use super::routes::{self, KubeletPath};
use super::{Depth, pod_list};
use crate::api::backend::{Node, Readiness, Status};
use crate::api::cadvisor::path;
use crate::api::http::responses::ApiError;
use crate::api::http::{resources, responses};
use crate::api::prometheus::http;

/// What a kubelet's health consists of, each asked for by name.
const HEALTH: [&str; 3] = ["ping", "log", "syncloop"];
/// What begins so is a kubelet's for debugging, which it can be without.
const DEBUGGING: [&[u8]; 9] = [
    b"/run/",
    b"/exec/",
    b"/attach/",
    b"/portForward/",
    b"/containerLogs/",
    b"/runningpods/",
    b"/debug/",
    b"/logs/",
    b"/cri/",
];

/// The routes of a kubelet's port.
pub fn router<S: Node>(source: Arc<S>) -> Router {
    let health = resources::Page::Health.path();
    let parts = HEALTH.into_iter().map(|part| format!("{health}/{part}"));
    let routes = std::iter::once(health.to_owned())
        .chain(parts)
        .fold(Router::new(), |routes, path| routes.route(&path, any(async || "ok")));
    routes
        .route(resources::Page::Readiness.path(), any(readyz::<S>))
        .route(resources::Page::Metrics.path(), any(http::own_metrics::<S>))
        .route(resources::Page::MetricsOfKubelet.path(), any(http::kubelet_metrics::<S>))
        .route(resources::Page::MetricsOfResources.path(), any(routes::metrics_of_resources::<S>))
        // Probes of containers and the kubelet's own objectives: there are none here.
        .route("/metrics/probes", any(http::no_metrics))
        .route("/metrics/slis", any(http::no_metrics))
        .route("/pods", any(pods::<S>))
        .route("/pods/", any(pods::<S>))
        .fallback(by_path::<S>)
        .with_state(source)
}

async fn readyz<S: Status>(State(source): State<Arc<S>>) -> Response {
    match source.readiness() {
        Readiness::Ready => "ok".into_response(),
        Readiness::NotReady(reason) => responses::error(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

async fn pods<S: Node>(State(source): State<Arc<S>>, method: Method) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let mut refused = responses::error(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    pod_list(&*source).await.unwrap_or_else(IntoResponse::into_response)
}

async fn pod_list<S: Node>(source: &S) -> Result<Response, ApiError> {
    let share = source.budget().reserve(super::snapshot_bytes(source.listed())).await?;
    let snapshot = source.node(Depth::CpuAndMemory).await;
    let append = spawn_blocking(move || pod_list::pieces(snapshot)).await?;
    responses::pieces(share, append).await
}

async fn by_path<S: Node>(State(source): State<Arc<S>>, request: Request<Body>) -> Response {
    let path = path::decode(request.uri().path());
    let is_for_debugging = |prefix: &&[u8]| path.starts_with(prefix) || prefix.strip_suffix(b"/") == Some(&*path);
    if DEBUGGING.iter().any(is_for_debugging) {
        return responses::error(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled.");
    }
    let (parts, body) = request.into_parts();
    routes::answer(source, KubeletPath::of(&path), parts, body).await
}
