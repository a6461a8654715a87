//! The HTTP surface: which path is answered by what. As in cAdvisor the method is never looked at.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::stream;
use tokio::task::spawn_blocking;

use super::mount::Base;
use super::openapi;
use super::resources::{Page, Resource, VERSIONS};
use super::responses::{self, ApiError};
use crate::api::backend::{EndedOf, LimitsAge, Node, Readiness, Status};
use crate::api::cadvisor::path;
use crate::api::cadvisor::path::ApiPath;
use crate::api::cadvisor::v2;
use crate::api::cadvisor::v2::RequestOptions;
use crate::api::cadvisor::{machine, v1, validate};
use crate::api::lists;
use crate::api::lists::Form;
use crate::api::prometheus::http;
use crate::api::query::StatsQuery;
use crate::api::query::events::{Delivery, EventQuery};
use crate::api::query::export::ExportQuery;
use crate::api::wire::json;
use crate::api::{coding, docker, feed, kubelet, web};
use crate::sample::event::Name;
use crate::sample::identity::Runtime;

/// A request body is a small object; more than this is not read.
const BODY_LIMIT: usize = 1 << 20;

/// The path of the web page, to which everything unknown is sent.
const PAGE: &str = Page::Containers.path();

/// The routes over what the daemon supplies.
pub fn router<S: Node>(source: Arc<S>) -> Router {
    let routes = Page::ALL.into_iter().fold(Router::new(), |routes, page| match page {
        Page::Config => routes.route(page.path(), any(config::<S>)),
        Page::Export => routes.route(page.path(), any(export::<S>)),
        Page::Feed => routes.route(page.path(), any(feed::answer::<S>)),
        Page::Health => routes.route(page.path(), any(healthz::<S>)),
        Page::Metrics => routes.route(page.path(), any(http::metrics::<S>)),
        Page::MetricsOfKubelet => routes.route(page.path(), any(http::kubelet_metrics::<S>)),
        Page::MetricsOfResources => routes.route(page.path(), any(kubelet::metrics_of_resources::<S>)),
        Page::OpenApi => routes.route(page.path(), any(openapi::<S>)),
        Page::Readiness => routes.route(page.path(), any(readyz::<S>)),
        // By their beginnings.
        Page::Api
        | Page::Containers
        | Page::Docker
        | Page::Podman
        | Page::Spec
        | Page::Static
        | Page::Stats
        | Page::Validate => routes,
    });
    routes.fallback(by_prefix::<S>).with_state(source)
}

/// The paths that are matched by what they begin with.
async fn by_prefix<S: Node>(State(source): State<Arc<S>>, request: Request<Body>) -> Response {
    let path = path::decode(request.uri().path());
    let (parts, body) = request.into_parts();
    let accept = parts.headers.get(ACCEPT).map(HeaderValue::as_bytes);
    if let Some(call) = docker::Call::beside_pages(&path, accept) {
        return docker::answer(source, call, &parts).await;
    }
    let (of, accepted) = (Arc::clone(&source), parts.headers.clone());
    let response = page(source, &path, parts, body).await;
    coding::encoded(&accepted, of.budget(), response)
}

async fn page<S: Node>(source: Arc<S>, path: &[u8], parts: Parts, body: Body) -> Response {
    let base = parts.extensions.get::<Base>().cloned().unwrap_or_default();
    let redirect = |status, path| responses::redirect(status, &format!("{}{path}", base.path()));
    let below = |page: Page| path.get(page.path().len()..).unwrap_or_default();
    match Page::of(path) {
        Some(page @ Page::Api) => {
            api(source, &ApiPath::parse(below(page)), &parts, body).await.unwrap_or_else(IntoResponse::into_response)
        }
        Some(page @ Page::Static) => web::asset(below(page)),
        Some(Page::Validate) => validate::answer(&*source),
        Some(Page::Spec | Page::Stats) => kubelet::answer(source, kubelet::KubeletPath::of(path), parts, body).await,
        Some(_) => web::page(base.path()),
        None => match Page::without_slash(path) {
            // With a redirect the request would lose its body.
            Some(Page::Spec | Page::Stats) => {
                kubelet::answer(source, kubelet::KubeletPath::of(path), parts, body).await
            }
            Some(page) => redirect(StatusCode::MOVED_PERMANENTLY, page.path()),
            None => redirect(StatusCode::TEMPORARY_REDIRECT, PAGE),
        },
    }
}

/// Whom a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Whoever looks after the collector: nothing about containers.
    Everybody,
    /// People with a browser, whom cAdvisor can ask for a password.
    Readers,
    /// Programs; and whatever is not known to be for somebody else.
    Programs,
}

/// Whom a path is for.
pub fn audience(path: &str) -> Audience {
    // As the routes compare it, without decoding.
    if [Page::Health, Page::Readiness].iter().any(|page| page.path() == path) {
        return Audience::Everybody;
    }
    // What has the flags is for people, wherever they have to show who they are.
    if path == Page::Config.path() {
        return Audience::Readers;
    }
    match Page::of(&path::decode(path)) {
        Some(Page::Containers | Page::Docker | Page::Podman | Page::Static) => Audience::Readers,
        _ => Audience::Programs,
    }
}

/// Whether a path is answered with the page, or what it is made of, and nothing about a container: who may know that
/// the page asks for itself.
pub fn is_page_alone(path: &str) -> bool {
    let path = path::decode(path);
    let is_page = matches!(Page::of(&path), Some(Page::Containers | Page::Docker | Page::Podman | Page::Static));
    // Docker's containers are at `/containers/json`.
    *path == *b"/" || is_page && docker::Call::beside_pages(&path, None).is_none()
}

/// Finds what a path asks for; the listings are errors, as in cAdvisor.
fn resource(path: &ApiPath) -> Result<Option<Resource>, ApiError> {
    if path.version.is_empty() {
        return Err(ApiError::Versions(VERSIONS.map(|version| version.name).join(",")));
    }
    let version = VERSIONS.iter().find(|version| version.name.as_bytes() == path.version);
    let version = version.ok_or_else(|| ApiError::UnknownVersion(path.version.clone()))?;
    if path.request.is_empty() {
        let names: Vec<_> = version.resources.iter().map(|(name, _)| *name).collect();
        return Err(ApiError::RequestTypes(names.join(",")));
    }
    let found = version.resources.iter().find(|(name, _)| name.as_bytes() == path.request);
    Ok(found.map(|(_, resource)| *resource))
}

async fn api<S: Node>(source: Arc<S>, path: &ApiPath, parts: &Parts, body: Body) -> Result<Response, ApiError> {
    let resource = resource(path)?;
    let name = Arc::clone(&path.name);
    let query = parts.uri.query().unwrap_or_default();
    if path.version.starts_with(b"v2") {
        // An option that cannot be used fails every request of v2, also one that has no use for options.
        let options = RequestOptions::parse(query).map_err(v2::Error::Options)?;
        if let Some(Resource::V2(resource)) = resource {
            return v2::answer(source, resource, name, options, query).await;
        }
    }
    match resource.ok_or_else(|| ApiError::UnknownRequestType(path.request.clone()))? {
        Resource::Containers => container(source, name, stats_query(body).await?).await,
        Resource::Docker => docker(source, &name, stats_query(body).await?).await,
        Resource::Subcontainers => subcontainers(source, name, stats_query(body).await?).await,
        Resource::Events => events(source, name, query).await,
        Resource::Machine => Ok(responses::json(json::to_bytes(&machine::render(&source.machine())))),
        Resource::Version => Ok(responses::json(json::to_bytes(source.version()))),
        // Answered above.
        Resource::V2(_) => Err(ApiError::UnknownRequestType(path.request.clone())),
    }
}

async fn stats_query(body: Body) -> Result<StatsQuery, ApiError> {
    let body: Bytes = axum::body::to_bytes(body, BODY_LIMIT).await.map_err(ApiError::UnreadableBody)?;
    Ok(StatsQuery::parse(&body)?)
}

async fn container<S: Node>(source: Arc<S>, name: Name, query: StatsQuery) -> Result<Response, ApiError> {
    let element = v1::ELEMENT;
    let answered = lists::container(source, Name::clone(&name), query, LimitsAge::Current, element).await?;
    answered.map_err(|reason| ApiError::Container { name, reason })
}

async fn subcontainers<S: Node>(source: Arc<S>, name: Name, query: StatsQuery) -> Result<Response, ApiError> {
    let mut names = source.names_with_prefix(&name);
    names.extend(source.ended(EndedOf::Prefix(&name), &query).await);
    names.sort_unstable();
    if names.is_empty() {
        return Err(ApiError::NoContainers(name));
    }
    lists::containers(source, names, query, LimitsAge::Recent, Form::array(v1::ELEMENT)).await
}

/// Docker's containers, or the one that is called so, by their full names.
async fn docker<S: Node>(source: Arc<S>, path: &[u8], query: StatsQuery) -> Result<Response, ApiError> {
    let alias = path.strip_prefix(b"/").unwrap_or(path);
    if alias.contains(&b'/') {
        return Err(ApiError::UnknownDockerRequest(alias.to_vec()));
    }
    let alias = (!alias.is_empty()).then_some(alias);
    let names = source.of_runtime(Runtime::Docker, alias);
    let ended = source.ended(EndedOf::Runtime(Runtime::Docker, alias), &query).await;
    let names = match names {
        // Yesterday's container of this name.
        Err(_) if !ended.is_empty() => Ok(ended),
        Ok(mut names) if alias.is_none() => {
            names.extend(ended);
            names.sort_unstable();
            Ok(names)
        }
        names => names,
    };
    let names = names.map_err(|reason| ApiError::Docker { name: alias.unwrap_or_default().to_vec(), reason })?;
    lists::containers(source, names, query, LimitsAge::Recent, Form::map(v1::ENTRY)).await
}

async fn events<S: Node>(source: Arc<S>, name: Name, query: &str) -> Result<Response, ApiError> {
    let query = EventQuery::parse(name, query)?;
    match query.delivery {
        Delivery::Stream => Ok(responses::event_stream(source.subscribe(query)?)),
        Delivery::History => responses::past_events(source, query).await,
    }
}

async fn export<S: Node>(State(source): State<Arc<S>>, uri: Uri) -> Result<Response, ApiError> {
    let query = ExportQuery::parse(uri.query().unwrap_or_default())?;
    let share = source.budget().reserve(responses::OPEN).await?;
    let kind = HeaderValue::from_static(query.format.content_type());
    let pieces = source.export(query)?;
    let rest = stream::unfold((pieces, share), |(mut pieces, share)| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), (pieces, share)))
    });
    Ok(([(CONTENT_TYPE, kind)], Body::from_stream(rest)).into_response())
}

async fn config<S: Status>(State(source): State<Arc<S>>) -> Response {
    let headers = [(CONTENT_TYPE, "application/toml"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, source.configuration().to_string()).into_response()
}

async fn healthz<S: Status>(State(source): State<Arc<S>>, uri: Uri) -> Response {
    let verbose = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).any(|(key, _)| key == "verbose");
    if verbose { source.health_report().into_response() } else { "ok".into_response() }
}

async fn openapi<S: Status>(State(source): State<Arc<S>>, request: Request<Body>) -> Result<Response, ApiError> {
    let base = request.extensions().get::<Base>().cloned().unwrap_or_default();
    let of = Arc::clone(&source);
    let document = move || json::to_bytes(&openapi::document(of.version(), base.path()));
    let response = responses::json(spawn_blocking(document).await?);
    Ok(coding::encoded(request.headers(), source.budget(), response))
}

async fn readyz<S: Status>(State(source): State<Arc<S>>) -> Response {
    match source.readiness() {
        Readiness::Ready => "ok".into_response(),
        Readiness::NotReady(reason) => responses::error(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

#[cfg(test)]
mod tests;
