//! The kubelet's paths, beside the others and on a port of their own.

use axum::http::header::{CONTENT_ENCODING, VARY};

use super::*;

async fn own_port(path: &str) -> u16 {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let node = Fixed { ready: true, ..node() };
    kubelet::router(Arc::new(node)).oneshot(request).await.unwrap().status().as_u16()
}

async fn ready(request: Request<Body>) -> (u16, Response) {
    let response = respond(Fixed { ready: true, ..node() }, request).await;
    (response.status().as_u16(), response)
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_summary() {
    for path in ["/stats/summary", "/stats/summary/"] {
        let (status, response) = ready(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!((status, &response.headers()[CONTENT_TYPE]), (200, &"application/json".parse().unwrap()));
        assert_eq!(text(response).await, r#"{"node":{"nodeName":"n1","startTime":null},"pods":[]}"#);
    }
    let (status, _, body) = ask("GET", "/stats/summary", "").await;
    assert_eq!((status, &*body), (500, "Internal Error: the root cgroup has no sample yet\n"));
}

#[tokio::test]
async fn metrics_of_resources_are_negotiated() {
    let plain = Request::get("/metrics/resource").body(Body::empty()).unwrap();
    let (status, response) = ready(plain).await;
    let kind = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    assert!(status == 200 && kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(text(response).await.contains("\nresource_scrape_error 0\n"));
    let request = Request::get("/metrics/resource").header("accept-encoding", "gzip");
    let (_, response) = ready(request.body(Body::empty()).unwrap()).await;
    let varies = response.headers().get_all(VARY).iter().any(|of| of == "accept-encoding");
    assert!(varies && !response.headers().contains_key(CONTENT_ENCODING), "a small answer is sent as it is");
    let (status, _, body) = ask("GET", "/metrics/resource", "").await;
    assert!(status == 200 && body.contains("\nresource_scrape_error 1\n"), "{body}");
}

#[tokio::test]
async fn older_resources() {
    let names = |body: &str| {
        let map: BTreeMap<String, serde_json::Value> = serde_json::from_str(body).unwrap();
        map.into_keys().collect::<Vec<_>>()
    };
    let (status, _, body) = ask("POST", "/stats/container/", r#"{"containerName":"a","subcontainers":true}"#).await;
    assert_eq!((status, names(&body)), (200, vec!["/a".to_owned(), "/a/b".to_owned()]));
    let (status, _, body) = ask("POST", "/stats/container", "").await;
    assert_eq!((status, names(&body)), (200, vec!["/".to_owned()]));
    let (status, _, body) = ask("POST", "/stats/container", "{").await;
    assert!(status == 500 && body.starts_with("Internal Error: unable to decode"), "{body}");
    let (status, _, body) = ask("POST", "/stats/container", r#"{"containerName":"x"}"#).await;
    assert_eq!((status, &*body), (404, "unknown container \"/x\"\n"));
    let (status, body) = get("/stats/").await;
    assert!(status == 200 && body.starts_with(r#"{"name":"/""#), "{body:.100}");
    for path in ["/stats/none", "/stats/a/b", "/stats/a/b/c", "/stats/a/b/c/d"] {
        assert_eq!(get(path).await.0, 404, "{path}");
    }
    let (status, body) = get("/spec").await;
    assert!(status == 200 && body.contains(r#""num_cores":2"#), "{body}");
}

#[tokio::test]
async fn a_port_of_their_own_has_nothing_else() {
    for path in ["/stats/summary", "/metrics/resource", "/metrics/cadvisor", "/spec/", "/stats/container", "/healthz"] {
        assert_eq!(own_port(path).await, 200, "{path}");
    }
    for path in ["/metrics", "/metrics/probes", "/metrics/slis", "/pods", "/pods/", "/healthz/syncloop", "/readyz"] {
        assert_eq!(own_port(path).await, 200, "{path}");
    }
    for path in ["/", "/api/v1.3/machine", "/containers/", "/spec/x", "/configz", "/healthz/x", "/checkpoint/a/b/c"] {
        assert_eq!(own_port(path).await, 404, "{path}");
    }
    for path in ["/run/a/b/c", "/exec/a/b/c", "/containerLogs/a/b/c", "/runningpods/", "/logs/", "/debug/pprof/heap"] {
        assert_eq!(own_port(path).await, 405, "{path}");
    }
}
