//! What a request for metrics says, and what comes of it.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING};

use super::*;
use crate::api::coding::Encoding;
use crate::api::prometheus::{Endpoint, Format};

/// Status, headers and body.
async fn scrape(path: &str, headers: &[(axum::http::HeaderName, &str)]) -> (u16, HeaderMap, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let response = respond(node(), request.body(Body::empty()).unwrap()).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

fn reported(scrape: Scrape) -> String {
    format!("up 1\n# {scrape:?}\n")
}

#[tokio::test]
async fn formats_and_codings_are_negotiated() {
    let (status, headers, body) = scrape("/metrics", &[]).await;
    assert_eq!((status, body), (200, reported(Scrape::default())));
    assert_eq!(headers[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    assert!(!headers.contains_key(CONTENT_ENCODING));

    let asked = [(ACCEPT, "text/plain;q=0.5"), (ACCEPT, "application/openmetrics-text"), (ACCEPT_ENCODING, "gzip")];
    let (_, headers, body) = scrape("/metrics", &asked).await;
    let expected = Scrape { format: Format::OpenMetrics, encoding: Encoding::Gzip, ..Scrape::default() };
    assert_eq!(body, reported(expected));
    assert!(headers[CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text; version=1.0.0;"));
    assert_eq!(headers[CONTENT_ENCODING], "gzip");
    assert_eq!(headers["vary"], "accept, accept-encoding");
}

#[tokio::test]
async fn options_are_cadvisors() {
    for query in ["", "?type=name", "?count=-1&recursive=false", "?other=x&type="] {
        let (status, _, body) = scrape(&format!("/metrics{query}"), &[]).await;
        assert_eq!((status, body), (200, reported(Scrape::default())), "{query}");
    }
    let (_, _, body) = scrape("/metrics?type=podman", &[]).await;
    assert_eq!(body, reported(Scrape { only: Some(Runtime::Podman), ..Scrape::default() }));
    for query in ["type=raw", "count=x", "count=-2", "max_age=1"] {
        let (status, headers, body) = scrape(&format!("/metrics?{query}"), &[]).await;
        assert_eq!((status, &headers[CONTENT_TYPE]), (500, &"text/plain; charset=utf-8".parse().unwrap()), "{body}");
    }
    // The kubelet's has none.
    let (_, _, body) = scrape("/metrics/cadvisor?type=raw&max_age=1", &[]).await;
    assert_eq!(body, reported(Scrape { endpoint: Endpoint::Kubelet, ..Scrape::default() }));
}

#[tokio::test]
async fn old_samples_are_taken_anew_first() {
    for (query, expected) in [("", None), ("?max_age=10s", Some(6)), ("?max_age=10s&type=docker", Some(3))] {
        let node = node();
        let refreshed = Arc::clone(&node.refreshed);
        let request = Request::get(format!("/metrics{query}")).body(Body::empty()).unwrap();
        respond(node, request).await;
        let expected: Vec<_> = expected.map(|count| (count, Duration::from_secs(10))).into_iter().collect();
        assert_eq!(*refreshed.lock().unwrap(), expected, "{query}");
    }
}
