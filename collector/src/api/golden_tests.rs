//! Every structure of the API as a file in `golden`, written by `UPDATE_EXPECT=1`. The bytes are those of the wire; the
//! files have line breaks and indentation between them, so that a difference is readable.
//!
//! Each answer is also checked against the OpenAPI document: no key that the document does not have, and, over all
//! answers, no key of the document that is never written.

mod fixture;
mod full;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use expect_test::expect_file;
use jsonschema::Validator;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::api::http::openapi::document;
use crate::api::http::router::router;
use fixture::{Fixture, Known};

/// An answer to keep.
struct Case {
    file: &'static str,
    known: Known,
    /// Its path in the document.
    path: &'static str,
    request: &'static str,
    body: &'static str,
}

const fn case(file: &'static str, path: &'static str, request: &'static str) -> Case {
    Case { file, known: Known::Everything, path, request, body: "" }
}

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const CASES: [Case; 39] = [
    case("v1_container_full", "/api/v1.3/containers/{name}", "/api/v1.3/containers/docker/ID"),
    case("v1_container_minimal", "/api/v1.3/containers/{name}", "/api/v1.3/containers/minimal"),
    Case {
        body: r#"{"num_stats":0}"#,
        ..case("v1_container_without_samples", "/api/v1.3/containers/{name}", "/api/v1.3/containers/docker/ID")
    },
    case("v1_container_root", "/api/v1.0/containers", "/api/v1.0/containers/"),
    Case { known: Known::Little, ..case("v1_container_unknown", "/api/v1.0/containers", "/api/v1.0/containers") },
    Case {
        body: r#"{"num_stats":1}"#,
        ..case("v1_subcontainers", "/api/v1.1/subcontainers", "/api/v1.1/subcontainers")
    },
    Case { known: Known::Little, ..case("v1_docker_none", "/api/v1.2/docker", "/api/v1.2/docker/") },
    case("v1_docker_one", "/api/v1.3/docker/{name}", "/api/v1.3/docker/web"),
    case("machine_full", "/api/v1.3/machine", "/api/v1.3/machine"),
    Case { known: Known::Little, ..case("machine_minimal", "/api/v2.0/machine", "/api/v2.0/machine") },
    case("kubelet_summary_full", "/stats/summary", "/stats/summary"),
    Case { known: Known::Little, ..case("kubelet_summary_minimal", "/stats/summary", "/stats/summary/") },
    case("v2_attributes_full", "/api/v2.1/attributes", "/api/v2.1/attributes"),
    Case { known: Known::Little, ..case("v2_attributes_minimal", "/api/v2.0/attributes", "/api/v2.0/attributes") },
    case("v2_0_stats_full", "/api/v2.0/stats/{name}", "/api/v2.0/stats/web?type=docker"),
    case("v2_0_stats_minimal", "/api/v2.0/stats/{name}", "/api/v2.0/stats/minimal"),
    case("v2_0_stats_none", "/api/v2.0/stats/{name}", "/api/v2.0/stats/minimal?count=0"),
    case("v2_1_stats_full", "/api/v2.1/stats", "/api/v2.1/stats?recursive=true&type=docker"),
    case("v2_1_stats_minimal", "/api/v2.1/stats/{name}", "/api/v2.1/stats/minimal"),
    case("v2_1_stats_root", "/api/v2.1/stats", "/api/v2.1/stats"),
    case("v2_machinestats", "/api/v2.1/machinestats", "/api/v2.1/machinestats"),
    case("v2_machinestats_none", "/api/v2.1/machinestats", "/api/v2.1/machinestats?count=0"),
    case("v2_spec_full", "/api/v2.0/spec/{name}", "/api/v2.0/spec/web?type=docker"),
    case("v2_spec_minimal", "/api/v2.1/spec/{name}", "/api/v2.1/spec/minimal"),
    case("v2_summary", "/api/v2.0/summary", "/api/v2.0/summary?recursive=true"),
    case("v2_storage", "/api/v2.0/storage", "/api/v2.0/storage"),
    case("v2_storage_labelled", "/api/v2.0/storage", "/api/v2.0/storage?label=root"),
    case("v2_storage_one", "/api/v2.1/storage", "/api/v2.1/storage?uuid=12-AB&label=x"),
    Case { known: Known::Little, ..case("v2_storage_none", "/api/v2.0/storage", "/api/v2.0/storage") },
    case("v2_ps_machine", "/api/v2.0/ps", "/api/v2.0/ps/"),
    case("v2_ps_container", "/api/v2.1/ps/{name}", "/api/v2.1/ps/web?type=docker"),
    case("v2_ps_none", "/api/v2.0/ps/{name}", "/api/v2.0/ps/minimal"),
    case("v2_version", "/api/v2.0/version", "/api/v2.0/version"),
    case("v2_appmetrics", "/api/v2.0/appmetrics/{name}", "/api/v2.0/appmetrics/docker/ID"),
    case("v2_appmetrics_none", "/api/v2.1/appmetrics/{name}", "/api/v2.1/appmetrics/minimal?recursive=true"),
    case("feed", "/api/feed", "/api/feed"),
    case("feed_since", "/api/feed", "/api/feed?since=a.1"),
    case("feed_trends", "/api/feed", "/api/feed?trends=1,2"),
    case("events", "/api/v1.3/events", "/api/v1.3/events?all_events=true&subcontainers=true&max_events=-1"),
];

const STREAM: Case = case("events_stream", "/api/v2.1/events", "/api/v2.1/events/?stream=1&all_events=1");

/// Requests that cannot be answered, with their bodies.
const WRONG: [(&str, &str); 29] = [
    ("/api/", ""),
    ("/api/v1.0", ""),
    ("/api/v1.3/", ""),
    ("/api/v2.1", ""),
    ("/api/v9/machine", ""),
    ("/api/v1.3/foo", ""),
    ("/api/v1.0/docker/", ""),
    ("/api/v1.3/containers/x", ""),
    ("/api/v1.3/containers/", "a"),
    ("/api/v1.3/containers/", r#"{"num_stats":"1"}"#),
    ("/api/v1.3/containers/", r#"{"num_stats":-2}"#),
    ("/api/v1.3/subcontainers/x", ""),
    ("/api/v1.3/docker/x", ""),
    ("/api/v1.3/docker/a/b", ""),
    ("/api/v1.3/events/?max_events=-2", ""),
    ("/api/v1.3/events/?stream=true&end_time=2024-01-01T00:00:00Z", ""),
    ("/api/v2.0/stats/x", ""),
    ("/api/v2.1/stats/x?recursive=true", ""),
    ("/api/v2.1/spec/x?type=docker", ""),
    ("/api/v2.1/summary/?type=podman", ""),
    ("/api/v2.1/summary/a?type=docker&recursive=true", ""),
    ("/api/v2.0/version?type=x", ""),
    ("/api/v2.0/version?count=-2", ""),
    ("/api/v2.0/version?max_age=10", ""),
    ("/api/v2.0/storage?label=x", ""),
    ("/api/v2.0/storage?uuid=x", ""),
    ("/api/feed?since=x", ""),
    ("/api/feed?trends=x", ""),
    ("/static/x", ""),
];

/// The status, the content type and the text of an answer.
async fn ask(known: Known, path: &str, body: &'static str) -> (u16, String, String) {
    let request = Request::post(path.replace("ID", ID)).body(Body::from(body)).unwrap();
    let response = router(Arc::new(Fixture(known))).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers().get(CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

/// Compact JSON with line breaks: between brackets and after commas, not within strings.
fn indented(json: &str) -> String {
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    let mut rest = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(letter) = rest.next() {
        match letter {
            '"' if !escaped => {
                in_string = !in_string;
                out.push(letter);
            }
            '{' | '[' if !in_string => {
                out.push(letter);
                if !matches!(rest.peek(), Some('}' | ']')) {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' if !in_string => {
                if !out.ends_with(['{', '[']) {
                    depth -= 1;
                    line(&mut out, depth);
                }
                out.push(letter);
            }
            ',' if !in_string => {
                out.push(letter);
                line(&mut out, depth);
            }
            '\n' => line(&mut out, depth),
            letter => out.push(letter),
        }
        escaped = letter == '\\' && !escaped;
    }
    out.push('\n');
    out
}

#[track_caller]
fn compare(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/api/golden").join(file);
    expect_file![path].assert_eq(text);
}

/// Forbids every key that is not listed, and of an answer's schema makes a validator.
struct Strict {
    document: Value,
}

impl Strict {
    fn new() -> Self {
        let mut document = document("v1.2.3", "");
        forbid_more(&mut document["components"]["schemas"]);
        Self { document }
    }

    fn validator(&self, schema: &Value) -> Validator {
        let root = json!({ "components": self.document["components"], "allOf": [schema] });
        jsonschema::options().should_validate_formats(true).build(&root).unwrap()
    }

    fn answer(&self, path: &str) -> &Value {
        &self.document["paths"][path]["get"]["responses"]["200"]
    }
}

fn forbid_more(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") || *members == *json!({ "type": "object" }).as_object().unwrap() {
                members.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            members.values_mut().for_each(forbid_more);
        }
        Value::Array(list) => list.iter_mut().for_each(forbid_more),
        _ => {}
    }
}

#[track_caller]
fn validate(validator: &Validator, answer: &str, about: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(&answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{about}: {errors:#?}");
    answer
}

/// Every key of an answer, anywhere in it.
fn keys(answer: &Value, into: &mut BTreeSet<String>) {
    match answer {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            into.insert(key.clone());
            keys(value, into);
        }),
        Value::Array(list) => list.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[tokio::test]
async fn every_structure_is_as_it_was_and_as_the_document_says() {
    let strict = Strict::new();
    let mut written = BTreeSet::new();
    for Case { file, known, path, request, body } in &CASES {
        let (status, kind, text) = ask(*known, request, body).await;
        assert_eq!((status, &*kind), (200, "application/json"), "{request}: {text}");
        compare(&format!("{file}.json"), &indented(&text));
        let schema = &strict.answer(path)["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{path}");
        keys(&validate(&strict.validator(schema), &text, request), &mut written);
    }
    let (status, kind, text) = ask(Known::Everything, STREAM.request, "").await;
    assert_eq!((status, &*kind), (200, ""));
    let line = strict.validator(&strict.answer(STREAM.path)["x-stream-line"]);
    let lines: Vec<_> = text.lines().map(|text| validate(&line, text, STREAM.request)).collect();
    assert_eq!(lines.len(), 6);
    for line in &lines {
        keys(line, &mut written);
    }
    compare(&format!("{}.json", STREAM.file), &indented(&text));

    let schemas = strict.document["components"]["schemas"].as_object().unwrap();
    let documented: BTreeSet<_> = schemas
        .values()
        .filter_map(|schema| schema["properties"].as_object())
        .flat_map(|properties| properties.keys().cloned())
        .collect();
    let never: Vec<_> = documented.difference(&written).collect();
    assert!(never.is_empty(), "the full container or machine of `full` lacks {never:?}");
}

#[tokio::test]
async fn errors_are_as_they_were() {
    use std::fmt::Write as _;
    let mut all = String::new();
    for (path, body) in WRONG {
        let (status, kind, text) = ask(Known::Everything, path, body).await;
        assert_eq!(kind, "text/plain; charset=utf-8", "{path}");
        writeln!(all, "{path} {body}\n  {status} {}", text.trim_end()).unwrap();
        assert!(text.ends_with('\n'), "{path}");
    }
    compare("errors.txt", &all);
}

#[tokio::test]
async fn the_document_is_served() {
    let (status, kind, text) = ask(Known::Everything, "/api/openapi.json", "").await;
    assert_eq!((status, &*kind), (200, "application/json"));
    let served: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(served, document("v1.2.3", ""));
    let operations = served["paths"].as_object().unwrap().values();
    for operation in operations.flat_map(|item| item.as_object().unwrap().values()) {
        for parameter in operation["parameters"].as_array().unwrap() {
            jsonschema::meta::validate(&parameter["schema"]).unwrap();
        }
    }
}

#[test]
fn indentation_changes_nothing_else() {
    let json = r#"{"a":[1,{"b":"x,{\"[\\"},[],{}],"c":null}"#;
    let squeezed: String = indented(json).chars().filter(|letter| !letter.is_whitespace()).collect();
    assert_eq!(squeezed, json);
    assert_eq!(indented(r#"[{"a":1}]"#), "[\n  {\n    \"a\":1\n  }\n]\n");
}
