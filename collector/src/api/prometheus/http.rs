//! `/metrics` over HTTP: what a request says of format, coding and containers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, VARY};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};

use crate::api::backend::{Node, Sharing};
use crate::api::cadvisor::v2::{Error, NameKind, RequestOptions};
use crate::api::coding::{Encoding, content_encoding};
use crate::api::http::responses::ApiError;
use crate::api::prometheus::{Accepted, Endpoint, Format, Offer, Scrape};
use crate::api::rendering::Reading;
use crate::sample::identity::Runtime;

/// The collector's endpoint. As in cAdvisor `type` and `max_age` count; `count` has to be a number, and neither it nor
/// `recursive` changes anything: always the newest sample of all containers.
pub(crate) async fn metrics<S: Node>(
    State(source): State<Arc<S>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let options = RequestOptions::parse(uri.query().unwrap_or_default()).map_err(Error::Options)?;
    let only = match options.name_kind {
        NameKind::Full => None,
        NameKind::Docker => Some(Runtime::Docker),
        NameKind::Podman => Some(Runtime::Podman),
    };
    if let Some(max_age) = options.max_age {
        let names = match only {
            None => source.names_with_prefix(b"/"),
            Some(runtime) => source.of_runtime(runtime, None).unwrap_or_default(),
        };
        source.refresh(&names, max_age).await;
    }
    let sharing = if options.max_age.is_some() { Sharing::ToCome } else { Sharing::SameMoment };
    answer(&*source, &headers, Endpoint::Collector, only, sharing).await
}

/// The kubelet's endpoint, which has no options.
pub(crate) async fn kubelet_metrics<S: Node>(
    State(source): State<Arc<S>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    answer(&*source, &headers, Endpoint::Kubelet, None, Sharing::SameMoment).await
}

/// The collector about itself, at a kubelet's port.
pub(crate) async fn own_metrics<S: Node>(
    State(source): State<Arc<S>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    answer(&*source, &headers, Endpoint::Itself, None, Sharing::SameMoment).await
}

/// A page without metrics.
pub(crate) async fn no_metrics(headers: HeaderMap) -> Response {
    let accepted = Accepted::by(&all_of(&headers, ACCEPT), Offer::Every);
    let body = if accepted.format == Format::OpenMetrics { b"# EOF\n".to_vec() } else { Vec::new() };
    page(accepted, Encoding::Identity, Body::from(body))
}

async fn answer(
    source: &impl Node,
    headers: &HeaderMap,
    endpoint: Endpoint,
    only: Option<Runtime>,
    sharing: Sharing,
) -> Result<Response, ApiError> {
    let accepted = Accepted::by(&all_of(headers, ACCEPT), Offer::Every);
    let encoding = Encoding::by(&all_of(headers, ACCEPT_ENCODING));
    let scrape = Scrape { endpoint, format: accepted.format, encoding, only };
    let rendering = source.metrics(scrape, sharing).await?;
    Ok(page(accepted, encoding, Body::new(Reading::new(rendering))))
}

pub(crate) fn page(accepted: Accepted, encoding: Encoding, body: Body) -> Response {
    let mut response = ([(CONTENT_TYPE, accepted.content_type())], body).into_response();
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if let Some(encoding) = content_encoding(encoding) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// The header's lines as one.
pub(crate) fn all_of(headers: &HeaderMap, name: HeaderName) -> String {
    headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect::<Vec<_>>().join(",")
}
