//! The kubelet's paths over HTTP. As in the rest of the API the method is never looked at.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::task::{JoinError, spawn_blocking};

use super::legacy::{self, ContainerRequest};
use super::{Depth, Incomplete, resource_metrics, summary};
use crate::api::backend::{LimitsAge, Node, Unavailable};
use crate::api::budget::Busy;
use crate::api::cadvisor::machine;
use crate::api::cadvisor::v1;
use crate::api::coding;
use crate::api::coding::Encoding;
use crate::api::http::openapi::parts::parameter;
use crate::api::http::responses;
use crate::api::http::responses::ApiError;
use crate::api::lists;
use crate::api::lists::Form;
use crate::api::prometheus::{Accepted, Offer, http};
use crate::api::query::{DecodeError, StatsQuery};
use crate::api::wire::json;
use crate::sample::event::Name;

/// A request body is a small object; more than this is not read.
const BODY_LIMIT: usize = 1 << 20;
/// The parameter of the summary.
const ONLY_CPU_AND_MEMORY: &str = "only_cpu_and_memory";

/// What a path of the kubelet's asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KubeletPath {
    /// The machine.
    Spec,
    /// The root container.
    Root,
    Summary,
    /// A container by its cgroup's name, or all below it.
    Containers,
    /// A container of a pod.
    OfPod {
        namespace: String,
        pod: String,
        container: String,
    },
    /// Nothing that there is.
    Unknown,
}

impl KubeletPath {
    /// What a decoded path asks for.
    pub(crate) fn of(path: &[u8]) -> Self {
        if matches!(path, b"/spec" | b"/spec/") {
            return Self::Spec;
        }
        let below = path.strip_prefix(b"/stats").filter(|below| below.is_empty() || below.starts_with(b"/"));
        let below = below.map(|below| below.strip_suffix(b"/").unwrap_or(below));
        let Some(below) = below.and_then(|below| str::from_utf8(below).ok()) else { return Self::Unknown };
        let segments: Vec<&str> = below.split('/').skip(1).collect();
        let of_pod = |namespace: &str, pod: &str, container: &str| Self::OfPod {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
        };
        match segments.as_slice() {
            [] => Self::Root,
            ["summary"] => Self::Summary,
            ["container"] => Self::Containers,
            [pod, container] => of_pod("default", pod, container),
            [namespace, pod, _uid, container] => of_pod(namespace, pod, container),
            _ => Self::Unknown,
        }
    }
}

/// Answers a request for one of the kubelet's paths.
pub(crate) async fn answer<S: Node>(source: Arc<S>, page: KubeletPath, parts: Parts, body: Body) -> Response {
    let answered = match page {
        KubeletPath::Spec => Ok(responses::json(json::to_bytes(&machine::render(&source.machine())))),
        KubeletPath::Summary => node_summary(&*source, &parts, body).await,
        KubeletPath::Root => root(source, body).await,
        KubeletPath::Containers => containers(source, body).await,
        KubeletPath::OfPod { namespace, pod, container } => of_pod(source, (&namespace, &pod, &container), body).await,
        KubeletPath::Unknown => Err(Failed::NoPage),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("404 page not found")]
    NoPage,
    #[error("{0}")]
    NoContainer(#[from] Unavailable),
    #[error("container {2} of pod {0}/{1} is not known")]
    NotInPod(String, String, String),
    #[error("Internal Error: {0}")]
    Incomplete(#[from] Incomplete),
    #[error("Internal Error: unable to decode the json value: {0}")]
    Body(#[from] DecodeError),
    #[error("Internal Error: unable to decode the json value: {0}")]
    UnreadableBody(#[source] axum::Error),
    #[error("Internal Error: {0}")]
    Api(#[from] ApiError),
    #[error("Internal Error: {0}")]
    Busy(#[from] Busy),
    #[error("Internal Error: the answer could not be rendered: {0}")]
    Interrupted(#[from] JoinError),
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match &self {
            Self::UnreadableBody(error) => responses::error(responses::body_status(error), self),
            Self::NoPage | Self::NoContainer(_) | Self::NotInPod(..) => responses::error(StatusCode::NOT_FOUND, self),
            Self::Busy(_) => responses::busy(self),
            Self::Api(reason) if reason.is_busy() => responses::busy(self),
            _ => responses::error(StatusCode::INTERNAL_SERVER_ERROR, self),
        }
    }
}

async fn read(body: Body) -> Result<Bytes, Failed> {
    axum::body::to_bytes(body, BODY_LIMIT).await.map_err(Failed::UnreadableBody)
}

async fn node_summary<S: Node>(source: &S, parts: &Parts, body: Body) -> Result<Response, Failed> {
    let form = if is_form(&parts.headers) { read(body).await? } else { Bytes::new() };
    let depth = depth(parts.uri.query().unwrap_or_default().as_bytes(), &form);
    let share = source.budget().reserve(super::snapshot_bytes(source.listed())).await?;
    let snapshot = source.node(depth).await;
    let append = spawn_blocking(move || summary::pieces(snapshot, depth)).await??;
    Ok(responses::pieces(share, append).await?)
}

/// The parameters of the summary, for the document of the API.
pub(crate) fn summary_parameters() -> Vec<Value> {
    let schema = serde_json::json!({ "type": "string" });
    vec![parameter(ONLY_CPU_AND_MEMORY, &schema, "`true`: CPU, memory and swap alone.")]
}

/// The kubelet's metrics of resources.
pub(crate) async fn metrics_of_resources<S: Node>(
    State(source): State<Arc<S>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let accepted = Accepted::by(&http::all_of(&headers, ACCEPT), Offer::Texts);
    let share = source.budget().reserve(super::snapshot_bytes(source.listed())).await?;
    let snapshot = source.node(Depth::CpuAndMemory).await;
    let append = spawn_blocking(move || resource_metrics::pieces(&snapshot, accepted.format)).await?;
    let response = http::page(accepted, Encoding::Identity, responses::body(share, append).await?);
    Ok(coding::encoded(&headers, source.budget(), response))
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The parameter counts when it is there once and is literally `true`.
fn depth(query: &[u8], form: &[u8]) -> Depth {
    let pairs = form_urlencoded::parse(form).chain(form_urlencoded::parse(query));
    let mut values = pairs.filter(|(key, _)| key == ONLY_CPU_AND_MEMORY).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) if value == "true" => Depth::CpuAndMemory,
        _ => Depth::Full,
    }
}

async fn root<S: Node>(source: Arc<S>, body: Body) -> Result<Response, Failed> {
    let query = StatsQuery::parse(&read(body).await?)?;
    source.freshen(&[(*b"/").into()]).await;
    alone(source, (*b"/").into(), query).await
}

async fn alone<S: Node>(source: Arc<S>, name: Name, query: StatsQuery) -> Result<Response, Failed> {
    Ok(lists::container(source, name, query, LimitsAge::Recent, v1::ELEMENT).await??)
}

async fn containers<S: Node>(source: Arc<S>, body: Body) -> Result<Response, Failed> {
    let ContainerRequest { name, query, below } = ContainerRequest::parse(&read(body).await?)?;
    if !source.is_known(&name) {
        return Err(Unavailable::Unknown(name).into());
    }
    let names = match below {
        legacy::Below::LeftOut => vec![name],
        legacy::Below::Included => legacy::at_or_below(&name, source.names_with_prefix(&name)),
    };
    // Clients ask for the last half a minute or so, in which a kubelet has a sample of every container.
    source.freshen(&names).await;
    let form = Form::map(v1::ENTRY);
    Ok(lists::containers(source, names, query, LimitsAge::Recent, form).await?)
}

async fn of_pod<S: Node>(
    source: Arc<S>,
    (namespace, pod, container): (&str, &str, &str),
    body: Body,
) -> Result<Response, Failed> {
    let query = StatsQuery::parse(&read(body).await?)?;
    let share = source.budget().reserve(super::snapshot_bytes(source.listed())).await?;
    let snapshot = source.node(Depth::CpuAndMemory).await;
    let found: Option<Name> = super::pods::find(&snapshot).into_iter().find_map(|found| {
        let is_it = found.namespace == namespace && found.name == pod;
        found.containers.get(container).filter(|_| is_it).map(|entry| Name::clone(&entry.name))
    });
    let missing = || Failed::NotInPod(namespace.to_owned(), pod.to_owned(), container.to_owned());
    let found = found.ok_or_else(missing)?;
    drop((snapshot, share));
    alone(source, found, query).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let of_pod = |namespace: &str| KubeletPath::OfPod {
            namespace: namespace.to_owned(),
            pod: "web-0".to_owned(),
            container: "app".to_owned(),
        };
        for (path, expected) in [
            ("/spec", KubeletPath::Spec),
            ("/spec/", KubeletPath::Spec),
            ("/spec/x", KubeletPath::Unknown),
            ("/stats", KubeletPath::Root),
            ("/stats/", KubeletPath::Root),
            ("/stats/summary", KubeletPath::Summary),
            ("/stats/summary/", KubeletPath::Summary),
            ("/stats/container/", KubeletPath::Containers),
            ("/stats/web-0/app", of_pod("default")),
            ("/stats/shop/web-0/u1/app", of_pod("shop")),
            ("/stats/shop/web-0/u1", KubeletPath::Unknown),
            ("/stats/x", KubeletPath::Unknown),
            ("/statistics", KubeletPath::Unknown),
            ("/", KubeletPath::Unknown),
        ] {
            assert_eq!(KubeletPath::of(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(KubeletPath::of(b"/stats/\xff"), KubeletPath::Unknown);
    }

    #[test]
    fn the_parameter_counts_once_and_literally() {
        let only = Depth::CpuAndMemory;
        for (query, form, expected) in [
            ("only_cpu_and_memory=true", "", only),
            ("", "only_cpu_and_memory=true&x=1", only),
            ("only_cpu_and_memory=1", "", Depth::Full),
            ("only_cpu_and_memory=True", "", Depth::Full),
            ("only_cpu_and_memory=true&only_cpu_and_memory=true", "", Depth::Full),
            ("only_cpu_and_memory=true", "only_cpu_and_memory=true", Depth::Full),
            ("", "", Depth::Full),
        ] {
            assert_eq!(depth(query.as_bytes(), form.as_bytes()), expected, "{query} {form}");
        }
    }
}
