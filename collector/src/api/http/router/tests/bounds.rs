//! Answers that are sent in pieces, and requests that the collector has no room for.

use axum::http::header::RETRY_AFTER;

use super::*;
use crate::api::budget;

async fn answer(node: Fixed, path: &str, body: &'static str) -> (u16, String) {
    let request = Request::builder().method("POST").uri(path).body(Body::from(body)).unwrap();
    let response = respond(node, request).await;
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A node with containers of so many samples, read in stretches of so many.
fn stretched(stretch: usize) -> Fixed {
    Fixed { stretch, ..node() }
}

#[tokio::test]
async fn a_long_history_in_pieces_is_the_same_answer() {
    let paths = [
        "/api/v1.3/containers/a",
        "/api/v1.3/subcontainers/",
        "/api/v1.3/docker/",
        "/api/v2.0/stats/?recursive=true&count=-1",
        "/api/v2.1/stats/a?count=-1",
        "/api/v2.1/machinestats?count=-1",
        "/stats/container/",
        "/stats/",
    ];
    for path in paths {
        let body = "{\"num_stats\":-1,\"subcontainers\":true}";
        let (status, whole) = answer(node(), path, body).await;
        assert_eq!(status, 200, "{path}: {whole}");
        assert!(serde_json::from_str::<serde_json::Value>(&whole).is_ok(), "{path}: {whole}");
        for stretch in [1, 7, 32, 99, 100] {
            let pieces = answer(stretched(stretch), path, body).await;
            assert_eq!(pieces, (200, whole.clone()), "{path} in stretches of {stretch}");
        }
    }
}

#[tokio::test]
async fn a_container_that_ends_between_two_pieces_leaves_a_valid_answer() {
    // After two stretches of the first container there are no containers any more.
    let node = Fixed { gone_after: Mutex::new(Some(2)), ..stretched(32) };
    let (status, text) = answer(node, "/api/v1.3/subcontainers/", "{\"num_stats\":-1}").await;
    assert_eq!(status, 200);
    let list: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!((list.len(), list[0]["stats"].as_array().unwrap().len()), (1, 64), "{text}");
}

/// Every place where a bound of the collector's is met.
#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_the_answer_is_503_with_the_time_to_come_back() {
    let paths = [
        "/api/v1.3/containers/a",
        "/api/v1.3/subcontainers/",
        "/api/v1.3/docker/",
        "/api/v1.3/events?all_events=true",
        "/api/v1.3/events?stream=true",
        "/api/v2.0/stats/?recursive=true",
        "/api/v2.0/spec/",
        "/api/v2.0/summary/",
        "/api/v2.0/ps/",
        "/api/v2.0/appmetrics/",
        "/api/v2.1/stats/a",
        "/api/v2.1/machinestats",
        "/api/v2.1/events?stream=true",
        "/metrics/resource",
        "/stats/summary",
        "/stats/",
        "/stats/container/",
        "/v1.41/containers/json",
        "/v1.41/events",
    ];
    for path in paths {
        let node = Fixed { budget: Budget::new(budget::LEAST), ..node() };
        let source = Arc::new(node);
        let all = [source.budget.reserve(usize::MAX).await.unwrap(), source.budget.reserve(usize::MAX).await.unwrap()];
        let request = || Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router(Arc::clone(&source)).oneshot(request()).await.unwrap();
        assert_eq!(response.status().as_u16(), 503, "{path}");
        assert_eq!(response.headers()[RETRY_AFTER], "1", "{path}");
        drop(all);
        let response = router(source).oneshot(request()).await.unwrap();
        let expected = if path.contains("stream") || path.ends_with("/events") { 503 } else { 200 };
        let answered = response.status().as_u16();
        assert!(answered == expected || path == "/stats/summary", "{path}: {answered}");
    }
}

#[tokio::test]
async fn an_open_answer_holds_its_share_until_it_is_read() {
    let source = Arc::new(Fixed { containers: [(b"/a".to_vec(), 3000)].into(), ..stretched(32) });
    let request = Request::builder().uri("/api/v1.3/containers/a").body(Body::from("{\"num_stats\":-1}")).unwrap();
    let response = router(Arc::clone(&source)).oneshot(request).await.unwrap();
    let taken = source.budget.counts().taken;
    assert!((1..1 << 20).contains(&taken), "{taken}");
    let mut body = response.into_body().into_data_stream();
    let mut longest = 0;
    let mut all = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.unwrap();
        longest = longest.max(piece.len());
        all += piece.len();
        assert!(source.budget.counts().taken <= 1 << 20);
    }
    assert!(longest < 256 << 10 && all > 4 * longest, "{longest} of {all}");
    drop(body);
    assert_eq!(source.budget.counts().taken, 0);
}
