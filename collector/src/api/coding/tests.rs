//! What is encoded, and that nothing is held back.

use std::io::Read as _;

use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, stream};

use super::*;

fn accepting(codings: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(codings))])
}

fn coding(response: &Response) -> Option<&str> {
    response.headers().get(CONTENT_ENCODING).map(|coding| coding.to_str().unwrap())
}

async fn decoded(response: Response) -> Vec<u8> {
    let coding = coding(&response).map(str::to_owned);
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let mut text = Vec::new();
    match coding.as_deref() {
        Some("gzip") => drop(flate2::read::GzDecoder::new(&*body).read_to_end(&mut text).unwrap()),
        Some("zstd") => text = zstd::stream::decode_all(&*body).unwrap(),
        _ => text = body.to_vec(),
    }
    text
}

#[tokio::test]
async fn answers_come_back_whole_in_the_coding_asked_for() {
    let text = "{\"name\":\"/a\"},".repeat(20_000);
    for (accept, expected) in [("gzip, deflate", Some("gzip")), ("zstd, gzip", Some("zstd")), ("br", None)] {
        let budget = Budget::default();
        let answer = encoded(&accepting(accept), &budget, text.clone().into_response());
        assert_eq!(coding(&answer), expected, "{accept}");
        assert_eq!(answer.headers()[VARY], "accept-encoding");
        assert!(!answer.headers().contains_key(CONTENT_LENGTH), "{accept}");
        assert!(decoded(answer).await == text.as_bytes(), "{accept}");
        assert_eq!(budget.counts().taken, 0);
    }
}

#[tokio::test]
async fn small_answers_and_those_with_a_coding_are_left_alone() {
    let budget = Budget::default();
    assert_eq!(coding(&encoded(&accepting("gzip"), &budget, "ok".into_response())), None);
    let scrape = ([(CONTENT_ENCODING, "zstd")], "x".repeat(5000)).into_response();
    assert_eq!(coding(&encoded(&accepting("gzip"), &budget, scrape)), Some("zstd"));
}

#[tokio::test]
async fn without_memory_for_a_coder_an_answer_is_sent_as_it_is() {
    let budget = Budget::default();
    let text = "x".repeat(5000);
    let open: Vec<_> = (0..200).map(|_| encoded(&accepting("gzip"), &budget, text.clone().into_response())).collect();
    let encoded = open.iter().filter(|answer| coding(answer).is_some()).count();
    assert!((8..100).contains(&encoded), "{encoded}");
    assert!(budget.reserve(4 << 20).await.is_ok(), "streams leave room for lists");
    for answer in open {
        assert_eq!(decoded(answer).await.len(), 5000);
    }
}

#[tokio::test]
async fn what_is_waited_for_is_flushed() {
    for coding in ["gzip", "zstd"] {
        let lines = stream::iter([Ok::<_, std::io::Error>("an event\n")]).chain(stream::pending());
        let answer = encoded(&accepting(coding), &Budget::default(), Response::new(Body::from_stream(lines)));
        let mut body = answer.into_body().into_data_stream();
        let first = body.next().await.unwrap().unwrap();
        let mut text = [0; 9];
        match coding {
            "gzip" => flate2::read::GzDecoder::new(&*first).read_exact(&mut text).unwrap(),
            _ => zstd::stream::read::Decoder::new(&*first).unwrap().read_exact(&mut text).unwrap(),
        }
        assert_eq!(&text, b"an event\n");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off() {
    let pieces = stream::iter([Ok("x".repeat(5000)), Err(std::io::Error::other("cut"))]);
    let answer = encoded(&accepting("gzip"), &Budget::default(), Response::new(Body::from_stream(pieces)));
    assert!(axum::body::to_bytes(answer.into_body(), usize::MAX).await.is_err());
}
