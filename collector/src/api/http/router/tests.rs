//! The HTTP surface over a fixed node.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use futures_util::StreamExt;
use tower::ServiceExt;

use super::*;
use crate::api::ContainerView;
use crate::api::backend::{
    Containers, EventSource, Exporting, Feed, Host, Kubelet, MetricsUnavailable, NoSuchAlias, ProcessesOf,
    ProcessesUnavailable, Sharing, StreamItem, Subscription, TooManyStreams, Unavailable, Validation,
};
use crate::api::budget::Budget;
use crate::api::cadvisor::events;
use crate::api::docker::{CgroupVersion, ContainerEngine, RuntimeContainer};
use crate::api::prometheus::Scrape;
use crate::api::query::Portion;
use crate::api::rendering::Rendering;
use crate::sample::container::{Cpu, Sample};
use crate::sample::event::{Event, EventData, EventKind};
use crate::sample::identity::Identity;
use crate::sample::live::{Live, MachineCpu};
use crate::sample::machine::{CpuCounts, Filesystem, FilesystemRole, Filesystems, Machine};
use crate::sample::process::ProcessList;
use crate::store::history::Stretch;
use crate::store::summary::Summary;
use crate::units::{self, Nanos, WallTime};

/// A node with fixed containers and events.
#[derive(Default)]
struct Fixed {
    containers: BTreeMap<Vec<u8>, usize>,
    events: Vec<Arc<Event>>,
    stream: Vec<StreamItem>,
    ready: bool,
    refreshed: Arc<Mutex<Vec<(usize, Duration)>>>,
    budget: Budget,
    /// Containers with more samples than this are read in stretches of so many; 0 for no stretches.
    stretch: usize,
    /// After so many requests for a container there are none any more.
    gone_after: Mutex<Option<usize>>,
}

/// Delivers its items, the first one after a wait, and then waits for ever.
struct Items(VecDeque<StreamItem>);

impl Subscription for Items {
    async fn next(&mut self) -> Option<StreamItem> {
        tokio::task::yield_now().await;
        match self.0.pop_front() {
            None => std::future::pending().await,
            item => item,
        }
    }

    fn try_next(&mut self) -> Option<StreamItem> {
        self.0.pop_front()
    }
}

impl Containers for Fixed {
    async fn container(&self, name: &[u8], query: &StatsQuery, _: LimitsAge) -> Result<ContainerView, Unavailable> {
        let held = *self.containers.get(name).ok_or_else(|| Unavailable::Unknown(name.into()))?;
        if let Some(left) = &mut *self.gone_after.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| Unavailable::Unknown(name.into()))?;
        }
        if held == 0 {
            return Err(Unavailable::NoSample);
        }
        let sample = |at: usize| Sample {
            at: WallTime(at as u64 * 1_000_000_000),
            cpu: Some(Cpu { total: Nanos(at as u64), ..Cpu::default() }),
            ..Sample::default()
        };
        let wanted = match query.part {
            Some(Portion::Recent(stretch)) => stretch.first() as usize..stretch.first() as usize + stretch.len(),
            Some(Portion::Past { .. }) | None => held.saturating_sub(query.count.limit())..held,
        };
        let samples = wanted.map(|at| Arc::new(sample(at))).collect();
        Ok(ContainerView { name: name.into(), samples, ..ContainerView::default() })
    }

    async fn parts(&self, name: &[u8], query: &StatsQuery) -> Vec<Portion> {
        let held = self.containers.get(name).copied().unwrap_or_default();
        let first = held.saturating_sub(query.count.limit());
        let starts = (first..held).step_by(self.stretch.max(1)).filter(|_| self.stretch > 0);
        starts.map(|start| Portion::Recent(Stretch::new(start as u64, self.stretch.min(held - start)))).collect()
    }

    fn names_with_prefix(&self, prefix: &[u8]) -> Vec<Name> {
        self.containers.keys().filter(|name| name.starts_with(prefix)).map(|name| name.as_slice().into()).collect()
    }

    fn of_runtime(&self, runtime: Runtime, alias: Option<&[u8]>) -> Result<Vec<Name>, NoSuchAlias> {
        match alias {
            None => Ok(self.names_with_prefix(b"/a")),
            Some(b"web") => Ok(vec![Name::from(*b"/a")]),
            Some(b"w") => Err(NoSuchAlias::NotUnique(b"w".to_vec(), runtime)),
            Some(alias) => Err(NoSuchAlias::Unknown(alias.to_vec(), runtime)),
        }
    }

    fn machine_memory(&self) -> units::Bytes {
        units::Bytes(1 << 30)
    }

    fn is_known(&self, name: &[u8]) -> bool {
        self.containers.contains_key(name)
    }

    async fn refresh(&self, names: &[Name], max_age: Duration) {
        self.refreshed.lock().unwrap().push((names.len(), max_age));
    }

    fn summary(&self, name: &[u8]) -> Option<Summary> {
        let held = *self.containers.get(name)?;
        (held > 0).then(|| Summary { at: WallTime(held as u64 * 1_000_000_000), cpu: Some(5), ..Summary::default() })
    }
}

fn node() -> Fixed {
    let containers = ["/", "/a", "/ab", "/a/b"].map(|name| (name.as_bytes().to_vec(), 100));
    let strange = [(b"/q \"\n\xff".to_vec(), 1), (b"/unsampled".to_vec(), 0)];
    let event = |kind, container: &str, second: u64| {
        let at = WallTime(second * 1_000_000_000);
        Arc::new(Event { container: container.as_bytes().into(), at, kind, data: EventData::None })
    };
    Fixed {
        containers: containers.into_iter().chain(strange).collect(),
        events: vec![
            event(EventKind::ContainerCreation, "/a/b", 1),
            event(EventKind::ContainerDeletion, "/a/b", 2),
            event(EventKind::ContainerCreation, "/ab", 3),
        ],
        ..Fixed::default()
    }
}

async fn respond(node: Fixed, request: Request<Body>) -> Response {
    router(Arc::new(node)).oneshot(request).await.unwrap()
}

/// Status, content type and body of a request with the method, path and body given.
async fn ask(method: &str, path: &str, body: &'static str) -> (u16, String, String) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
    let response = respond(node(), request).await;
    let status = response.status().as_u16();
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, kind.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
}

async fn get(path: &str) -> (u16, String) {
    let (status, _, body) = ask("GET", path, "").await;
    (status, body)
}

async fn names(path: &str, body: &'static str) -> Vec<(String, usize)> {
    let (status, kind, body) = ask("POST", path, body).await;
    assert_eq!((status, &*kind), (200, "application/json"), "{body}");
    let list: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
    let samples = |container: &serde_json::Value| container["stats"].as_array().map_or(0, Vec::len);
    list.iter().map(|container| (container["name"].as_str().unwrap().to_owned(), samples(container))).collect()
}

#[tokio::test]
async fn listings_and_errors_have_cadvisors_texts() {
    let cases = [
        ("/api/", 400, "Supported API versions: v1.0,v1.1,v1.2,v1.3,v2.0,v2.1\n"),
        ("/api/v1.0", 400, "Supported request types: \"containers,machine\"\n"),
        ("/api/v1.0/", 400, "Supported request types: \"containers,machine\"\n"),
        ("/api/v1.1", 400, "Supported request types: \"containers,machine,subcontainers\"\n"),
        ("/api/v1.2", 400, "Supported request types: \"containers,docker,machine,subcontainers\"\n"),
        ("/api/v1.3", 400, "Supported request types: \"containers,docker,events,machine,subcontainers\"\n"),
        (
            "/api/v2.0",
            400,
            "Supported request types: \
             \"appmetrics,attributes,events,machine,ps,spec,stats,storage,summary,version\"\n",
        ),
        (
            "/api/v2.1/",
            400,
            "Supported request types: \
             \"appmetrics,attributes,events,machine,machinestats,ps,spec,stats,storage,summary,version\"\n",
        ),
        ("/api/v9", 500, "unsupported API version \"v9\"\n"),
        ("/api/v9/machine", 500, "unsupported API version \"v9\"\n"),
        ("/api/v1.3/foo", 500, "unknown request type \"foo\"\n"),
        ("/api/v1.0/subcontainers", 500, "unknown request type \"subcontainers\"\n"),
        (
            "/api/v1.2/docker/a",
            500,
            "failed to get Docker container \"a\" with error: unable to find container \"a\" in \"docker\" namespace\n",
        ),
        (
            "/api/v1.3/docker/w",
            500,
            "failed to get Docker container \"w\" with error: unable to find container in \"docker\" namespace. \
             Container \"w\" is not unique\n",
        ),
        ("/api/v1.3/docker/a/b", 500, "unknown request for Docker container [a b]\n"),
        ("/api/v1.1/docker/a", 500, "unknown request type \"docker\"\n"),
        ("/api/v2.0/machinestats", 500, "unknown request type \"machinestats\"\n"),
        ("/api/v2.1/containers", 500, "unknown request type \"containers\"\n"),
        ("/api/v1.3/containers/x", 500, "failed to get container \"/x\" with error: unknown container \"/x\"\n"),
        (
            "/api/v1.3/containers/unsampled",
            500,
            "failed to get container \"/unsampled\" with error: unable to find data in memory cache\n",
        ),
        (
            "/api/v1.3/subcontainers/x%0A%FF",
            500,
            "failed to get subcontainers for container \"/x\\n\\xff\" with error: no containers found\n",
        ),
        (
            "/api/v1.3/events/?stream=1&start_time=2024-01-01T00:00:00Z",
            500,
            "for a call to watch, request.StartTime and request.EndTime must be uninitialized\n",
        ),
        ("/api/v1.3/events/?stream=1", 503, "0 event streams are open already, and more are not allowed\n"),
        ("/api/v1.3/events/?max_events=-2", 500, "max_events: only -1 (all) and larger values are allowed, not -2\n"),
    ];
    for (path, status, text) in cases {
        let answer = ask("GET", path, "").await;
        assert_eq!(answer, (status, "text/plain; charset=utf-8".to_owned(), text.to_owned()), "{path}");
    }
    let (status, _, body) = ask("POST", "/api/v1.3/containers/", "a").await;
    let text = "unable to decode the json value: invalid character 'a' looking for beginning of value\n";
    assert_eq!((status, &*body), (500, text));
}

#[tokio::test]
async fn small_answers() {
    for path in ["/api/v1.0/machine", "/api/v1.3/machine/x", "/api/v2.0/machine", "/api/v2.1/machine"] {
        let (status, kind, body) = ask("PUT", path, "").await;
        assert_eq!((status, &*kind), (200, "application/json"), "{path}");
        assert!(body.starts_with(r#"{"timestamp":"1970-"#) && body.contains(r#""num_cores":2,"#), "{path}: {body}");
    }
    assert_eq!(get("/api/v2.0/version").await, (200, concat!("\"v", env!("CARGO_PKG_VERSION"), "\"").to_owned()));
    assert_eq!(get("/api/v2.1/version").await, (200, concat!("\"v", env!("CARGO_PKG_VERSION"), "\"").to_owned()));
    assert_eq!(ask("GET", "/healthz", "").await, (200, "text/plain; charset=utf-8".to_owned(), "ok".to_owned()));
    assert_eq!(get("/healthz?verbose").await, (200, "events: from the kernel\n".to_owned()));
    assert_eq!(get("/readyz").await, (503, "the first scan is under way\n".to_owned()));
    let ready = respond(Fixed { ready: true, ..node() }, Request::get("/readyz").body(Body::empty()).unwrap()).await;
    assert_eq!(ready.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_container_with_the_samples_asked_for() {
    for path in ["/api/v1.0/containers", "/api/v1.3/containers/"] {
        let (status, body) = get(path).await;
        assert_eq!(status, 200);
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json["name"], "/");
        assert_eq!(json["stats"].as_array().unwrap().len(), 60);
        assert_eq!(json["stats"][59]["timestamp"], "1970-01-01T00:01:39Z");
    }
    let (_, _, body) = ask("POST", "/api/v1.3/containers/a//b/", r#"{"num_stats":0}"#).await;
    assert!(body.starts_with(r#"{"name":"/a/b","spec":{"#) && !body.contains("\"stats\""), "{body}");
    let (status, body) = get("/api/v1.3/containers/q%20%22%0A%FF").await;
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"name":"/q \"\n\ufffd","#), "{body}");
}

#[tokio::test]
async fn subcontainers_match_by_plain_prefix_and_skip_what_has_no_sample() {
    let named = |names: &[&str], samples| names.iter().map(|name| ((*name).to_owned(), samples)).collect::<Vec<_>>();
    let two = r#"{"num_stats":2}"#;
    assert_eq!(names("/api/v1.3/subcontainers/a", two).await, named(&["/a", "/a/b", "/ab"], 2));
    let mut all = named(&["/", "/a", "/a/b", "/ab"], 60);
    all.push(("/q \"\n\u{fffd}".to_owned(), 1));
    assert_eq!(names("/api/v1.1/subcontainers", "").await, all);
    let unsampled = named(&[], 0);
    assert_eq!(names("/api/v1.3/subcontainers/unsampled", "").await, unsampled);
}

#[tokio::test]
async fn dockers_containers_are_a_map_by_full_name() {
    let names = async |path: &str| {
        let (status, body) = get(path).await;
        assert_eq!(status, 200, "{body}");
        let map: BTreeMap<String, serde_json::Value> = serde_json::from_str(&body).unwrap();
        map.into_iter().map(|(key, info)| (key, info["name"].as_str().unwrap().to_owned())).collect::<Vec<_>>()
    };
    let pair = |name: &str| (name.to_owned(), name.to_owned());
    assert_eq!(names("/api/v1.3/docker/").await, ["/a", "/a/b", "/ab"].map(pair));
    assert_eq!(names("/api/v1.2/docker/web").await, ["/a"].map(pair));
}

#[tokio::test]
async fn long_lists_are_one_array_however_they_are_cut() {
    for (count, samples) in [(64, 1), (65, 1), (200, 1), (200, 0), (1000, 60)] {
        let list = |at: usize| (format!("/{at:04}").into_bytes(), samples.min(if at % 70 < 66 { samples } else { 0 }));
        let node = Fixed { containers: (0..count).map(list).collect(), ..Fixed::default() };
        let expected = node.containers.values().filter(|samples| **samples > 0).count();
        let request = Request::get("/api/v1.3/subcontainers/").body(Body::empty()).unwrap();
        let body = axum::body::to_bytes(respond(node, request).await.into_body(), usize::MAX).await.unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
        assert_eq!(list.len(), expected, "{count} containers of {samples} samples");
    }
}

#[tokio::test]
async fn the_feed_and_its_trends() {
    let (status, body) = get("/api/feed").await;
    assert!(status == 200 && body.starts_with(r#"{"cursor":"1.2","full":true,"#), "{body}");
    let (status, body) = get("/api/feed?since=1.1").await;
    assert!(status == 200 && body.contains(r#""full":false"#) && body.contains(r#""gone":[4]"#), "{body}");
    let trends = r#"{"trends":[{"id":3,"cpu":[],"memory":[],"at":[]},{"id":5,"cpu":[],"memory":[],"at":[]}]}"#;
    assert_eq!(get("/api/feed?trends=3,5").await, (200, trends.to_owned()));
    let refused = "since: \"x\" is no cursor: give the one of the answer before, or none\n";
    assert_eq!(get("/api/feed?since=x").await, (400, refused.to_owned()));
}

#[tokio::test]
async fn answers_are_compressed_for_who_accepts_it() {
    for (path, coded) in [
        ("/api/v1.3/subcontainers/", true),
        ("/api/v2.1/stats?recursive=true", true),
        ("/api/openapi.json", true),
        ("/static/containers.js", true),
        ("/api/v2.1/version", false),
        ("/healthz", false),
    ] {
        let request = Request::get(path).header("accept-encoding", "gzip").body(Body::empty()).unwrap();
        let response = respond(node(), request).await;
        assert_eq!(response.headers().get("content-encoding").is_some(), coded, "{path}");
    }
}

#[tokio::test]
async fn past_events() {
    let event = |container: &str, second: u64, kind: &str, data: &str| {
        format!(
            r#"{{"container_name":"{container}","timestamp":"1970-01-01T00:00:0{second}Z","event_type":"{kind}","event_data":{data}}}"#
        )
    };
    let created = event("/a/b", 1, "containerCreation", "{}");
    let deleted = event("/a/b", 2, "containerDeletion", r#"{"container_deletion":{"exit_code":-1}}"#);
    for path in ["/api/v1.3/events/a?all_events=true&subcontainers=true", "/api/v2.1/events/a/b/?all_events=1"] {
        assert_eq!(get(path).await, (200, format!("[{created},{deleted}]")), "{path}");
    }
    assert_eq!(get("/api/v1.3/events/a/b?deletion_events=t").await, (200, format!("[{deleted}]")));
    assert_eq!(get("/api/v2.0/events").await, (200, "[]".to_owned()));
    assert_eq!(get("/api/v1.2/events").await, (500, "unknown request type \"events\"\n".to_owned()));
}

#[tokio::test]
async fn a_long_log_is_one_array_however_it_is_cut() {
    for count in [0, 1, 500, 1000, 2000] {
        let event = |second: u64| Event {
            container: vec![b'x'; 200].into(),
            at: WallTime(second * 1_000_000_000),
            kind: EventKind::ContainerCreation,
            data: EventData::None,
        };
        let node = Fixed { events: (0..count).map(|at| Arc::new(event(at))).collect(), ..Fixed::default() };
        let target = "/api/v1.3/events/?creation_events=1&subcontainers=1&max_events=-1";
        let response = respond(node, Request::get(target).body(Body::empty()).unwrap()).await;
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let list: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
        assert_eq!(list.len(), count as usize);
        assert!(list.iter().is_sorted_by_key(|event| event["timestamp"].as_str().unwrap().to_owned()));
    }
}

#[tokio::test]
async fn a_stream_sends_what_is_pending_in_one_piece_and_ends_with_a_note_when_the_client_lags() {
    let mut node = node();
    node.stream = node.events.iter().cloned().map(StreamItem::Event).collect();
    node.stream.push(StreamItem::Lagged { missed: 5 });
    let request = Request::get("/api/v1.3/events/?stream=true&all_events=true").body(Body::empty()).unwrap();
    let response = respond(node, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().get(CONTENT_TYPE).is_none());
    let mut body = response.into_body().into_data_stream();
    let piece = body.next().await.unwrap().unwrap();
    let lines: Vec<serde_json::Value> =
        piece.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1]["event_type"], "containerDeletion");
    assert!(lines[3]["error"].as_str().unwrap().starts_with("this client is 5 events behind"), "{}", lines[3]);
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn the_page_and_the_redirects() {
    for (path, status, location) in [
        ("/", 307, "/containers/"),
        ("/nothing/here", 307, "/containers/"),
        ("/healthz/", 307, "/containers/"),
        ("/containers", 301, "/containers/"),
        ("/api", 301, "/api/"),
        ("/docker", 301, "/docker/"),
        ("/podman", 301, "/podman/"),
        ("/static", 301, "/static/"),
        ("/validate", 301, "/validate/"),
    ] {
        let response = respond(node(), Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!((response.status().as_u16(), &response.headers()["location"]), (status, &location.parse().unwrap()));
    }
    let below = super::super::mount::Mount::new("/x", "/metrics").over(router(Arc::new(node())));
    for (path, location) in [("/x", "/x/"), ("/x/", "/x/containers/"), ("/x/api", "/x/api/")] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(below.clone().oneshot(request).await.unwrap().headers()["location"], location);
    }
    let response = respond(node(), Request::get("/containers/docker").body(Body::empty()).unwrap()).await;
    assert!(response.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let page = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("<base href=\"/\">"), "what the page's links are relative to");
    for asset in ["/static/containers.css", "/static/containers.js"] {
        assert!(page.contains(&asset[1..]));
        assert_eq!(get(asset).await.0, 200);
    }
    for path in ["/docker/", "/docker/web", "/podman/"] {
        assert_eq!(get(path).await, (200, page.clone()), "{path}");
    }
    assert!(get("/validate/x").await.1.starts_with(concat!(
        "cAdvisor version: v",
        env!("CARGO_PKG_VERSION"),
        "\n\nOS version: Unknown\n\nKernel version: "
    )));
    assert_eq!(get("/static/x").await, (404, "unknown static resource \"x\"\n".to_owned()));
    assert!(!page.contains(" style=") && !page.contains(" on"), "the policy allows nothing inline");
}

mod bounds;
mod docker;
mod fixed;
mod metrics;
mod pods;
mod v2;
