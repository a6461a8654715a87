//! Docker's API over the same fixed node.

use super::*;

async fn docker(path: &str) -> (u16, String, serde_json::Value) {
    let (status, kind, body) = ask("GET", path, "").await;
    (status, kind, serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body)))
}

#[tokio::test]
async fn errors_are_the_engines() {
    let cases = [
        ("/containers/none/stats", 404, "No such container: none"),
        ("/v1.41/containers/none/json", 404, "No such container: none"),
        ("/containers/a/stats?stream=0", 400, "multiple IDs found with provided prefix: a"),
        ("/v1.41/images/json", 404, "page not found"),
        (
            "/v1.20/info",
            400,
            "client version 1.20 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
        ),
        ("/v1.99/info", 400, "client version 1.99 is too new. Maximum supported API version is 1.51"),
        ("/containers/json?limit=x", 400, "invalid value for limit: x"),
        (
            "/containers/json?filters=%7B%22volume%22%3A%5B%22v%22%5D%7D",
            400,
            "invalid filter 'volume': this collector does not support it",
        ),
        ("/events?since=x", 400, "invalid value for since: x"),
        ("/events", 503, "0 event streams are open already, and more are not allowed"),
    ];
    for (path, status, message) in cases {
        let expected = (status, "application/json".to_owned(), serde_json::json!({ "message": message }));
        assert_eq!(docker(path).await, expected, "{path}");
    }
    let (status, _, body) = ask("POST", "/v1.41/containers/json", "").await;
    assert_eq!((status, body.as_str()), (404, "{\"message\":\"page not found\"}\n"));
}

#[tokio::test]
async fn every_answer_reports_the_version() {
    for path in ["/_ping", "/v1.41/nothing", "/containers/none/stats"] {
        let request = Request::builder().method("HEAD").uri(path).body(Body::empty()).unwrap();
        let response = respond(node(), request).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("api-version").as_deref(), Some("1.51"), "{path}");
        assert_eq!(header("ostype").as_deref(), Some("linux"), "{path}");
        assert_eq!(
            header("server").as_deref(),
            Some(concat!("Docker/collector-", env!("CARGO_PKG_VERSION"), " (linux)")),
            "{path}"
        );
    }
    let (status, kind, body) = ask("GET", "/_ping", "").await;
    assert_eq!((status, kind.as_str(), body.as_str()), (200, "text/plain; charset=utf-8", "OK"));
}

#[tokio::test]
async fn a_container_is_found_by_id_then_name_then_beginning() {
    for (wanted, name) in
        [("a1".repeat(32).as_str(), "/web"), ("a1", "/a1"), ("/db", "/db"), ("a2a", "/a1"), ("b", "/db")]
    {
        let path = format!("/containers/{}/stats?stream=false&one-shot=true", wanted.trim_start_matches('/'));
        let (status, _, stats) = docker(&path).await;
        assert_eq!((status, stats["name"].as_str()), (200, Some(name)), "{wanted}: {stats}");
        assert_eq!(stats["preread"], "0001-01-01T00:00:00Z");
        assert_eq!(stats["cpu_stats"]["system_cpu_usage"], 9_000_000_000_u64);
        assert_eq!(stats["pids_stats"]["current"], 3);
        assert!(stats["precpu_stats"].get("online_cpus").is_none(), "{stats}");
    }
}

#[tokio::test]
async fn lists_are_filtered() {
    let names = async |query: &str| {
        let filters: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let (_, _, list) = docker(&format!("/containers/json?filters={filters}")).await;
        let names = list.as_array().unwrap().iter().map(|container| container["Names"][0].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names("{}").await, ["/web", "/a1", "/db"]);
    assert_eq!(names(r#"{"name":["a1","db"]}"#).await, ["/a1", "/db"]);
    assert_eq!(names(r#"{"id":{"a":true}}"#).await, ["/web", "/a1"]);
    assert_eq!(names(r#"{"status":["exited"]}"#).await, [""; 0]);
    let (_, _, list) = docker("/containers/json?limit=1").await;
    assert_eq!(list.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_page_is_still_there_for_browsers() {
    let browser = Request::builder().uri("/containers/web/stats").header("accept", "text/html").body(Body::empty());
    let response = respond(node(), browser.unwrap()).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
}

#[tokio::test(start_paused = true)]
async fn a_stream_reports_each_moment_once() {
    let request = Request::builder().uri("/containers/web/stats").body(Body::empty()).unwrap();
    let response = respond(node(), request).await;
    assert_eq!(response.headers().get(CONTENT_TYPE), None);
    let mut body = response.into_body().into_data_stream();
    let first: serde_json::Value = serde_json::from_slice(&body.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(first["preread"], "0001-01-01T00:00:00Z");
    // The fixed container has no newer sample.
    let second = tokio::time::timeout(Duration::from_secs(30), body.next()).await;
    assert!(second.is_err(), "{second:?}");
}

#[tokio::test]
async fn events_of_the_past_and_to_come() {
    let event = |second: u64, kind| {
        StreamItem::Event(Arc::new(Event {
            container: Name::from(*b"/a"),
            at: WallTime(second * 1_000_000_000 + 5),
            kind,
            data: EventData::None,
        }))
    };
    let stream = vec![event(2, EventKind::ContainerDeletion), event(9, EventKind::ContainerDeletion)];
    let node = Fixed { stream, ..node() };
    let request = Request::builder().uri("/v1.41/events?since=0").body(Body::empty()).unwrap();
    let mut body = respond(node, request).await.into_body().into_data_stream();
    let mut lines = Vec::new();
    while lines.len() < 4 {
        let piece = body.next().await.unwrap().unwrap();
        lines.extend(String::from_utf8(piece.to_vec()).unwrap().lines().map(str::to_owned));
    }
    let reported = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {}", line["Action"].as_str().unwrap(), line["timeNano"])
    };
    let reported: Vec<_> = lines.iter().map(reported).collect();
    assert_eq!(reported, ["start 1000000000", "die 2000000000", "start 3000000000", "die 9000000005"]);
    assert!(
        lines[0].contains(r#""Actor":{"ID":"a1a1"#) && lines[0].contains(r#""Attributes":{"name":"web"}"#),
        "{}",
        lines[0]
    );
}

#[tokio::test(start_paused = true)]
async fn cgroups_that_are_no_containers_hold_nobody_up() {
    let event = |name: &[u8], kind| {
        StreamItem::Event(Arc::new(Event { container: name.into(), at: WallTime(7), kind, data: EventData::None }))
    };
    let mut stream: Vec<_> = (0..1000).map(|_| event(b"/", EventKind::ContainerCreation)).collect();
    stream.push(event(b"/a", EventKind::ContainerDeletion));
    let request = Request::builder().uri("/v1.41/events").body(Body::empty()).unwrap();
    let node = Fixed { containers: BTreeMap::new(), stream, ..node() };
    let mut body = respond(node, request).await.into_body().into_data_stream();
    let line = tokio::time::timeout(Duration::from_secs(60), body.next()).await.expect("it takes long");
    let line = line.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&line).contains(r#""Action":"die""#), "{line:?}");
}
