//! What can be asked under each path, and what it is answered with.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::parts::{array, map, parameter};
use crate::api::cadvisor::events;
use crate::api::cadvisor::machine;
use crate::api::cadvisor::v1;
use crate::api::cadvisor::v2;
use crate::api::cadvisor::v2::RequestOptions;
use crate::api::feed;
use crate::api::http::resources::{Page, Resource};
use crate::api::kubelet;
use crate::api::query::StatsQuery;
use crate::api::query::events::EventQuery;

/// One path.
pub(super) struct Operation {
    id: String,
    summary: &'static str,
    parameters: Vec<Value>,
    /// The schema of the body that may be sent.
    body: Option<Value>,
    /// Status, content type and schema.
    answers: Vec<Answer>,
}

/// An answer that is documented.
struct Answer {
    status: u16,
    description: &'static str,
    /// The types of the body and its schema in each; none where there is nothing worth a word.
    content: Vec<(&'static str, Value)>,
    /// Of a line, where the body is a stream of lines.
    line: Option<Value>,
}

impl Answer {
    fn json(schema: Schema) -> Self {
        Self {
            status: 200,
            description: "The answer.",
            content: vec![("application/json", schema.to_value())],
            line: None,
        }
    }

    fn text(status: u16, description: &'static str) -> Self {
        Self { status, description, content: vec![("text/plain", json!({ "type": "string" }))], line: None }
    }

    fn html(status: u16, description: &'static str) -> Self {
        Self { status, description, content: vec![("text/html", json!({ "type": "string" }))], line: None }
    }

    /// What every request of the API may be answered with.
    fn failed() -> Self {
        Self::text(500, "The request cannot be answered; the text has the reason.")
    }
}

impl Operation {
    fn new(id: impl Into<String>, summary: &'static str, answers: Vec<Answer>) -> Self {
        Self { id: id.into(), summary, parameters: Vec::new(), body: None, answers }
    }

    fn with(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// As the document has it: GET, and POST beside it where a body may be sent.
    pub(super) fn into_item(self) -> Value {
        let responses: Map<String, Value> = self.answers.iter().map(Answer::response).collect();
        let operation = |method: &str| {
            json!({
                "operationId": format!("{method}.{}", self.id),
                "summary": self.summary,
                "parameters": self.parameters,
                "responses": responses,
            })
        };
        let mut item = json!({ "get": operation("get") });
        if let Some(body) = &self.body {
            item["post"] = operation("post");
            item["post"]["requestBody"] = json!({
                "required": false,
                "description": "What is left out has its default; the content type is not looked at.",
                "content": { "application/json": { "schema": body } },
            });
        }
        item
    }
}

impl Answer {
    fn response(&self) -> (String, Value) {
        let mut response = json!({ "description": self.description });
        for (kind, schema) in &self.content {
            response["content"][*kind] = json!({ "schema": schema });
        }
        if let Some(line) = &self.line {
            response["x-stream-line"] = line.clone();
        }
        (self.status.to_string(), response)
    }
}

fn path_parameter(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "schema": { "type": "string" },
        "description": description,
    })
}

/// The paths of a top-level page.
pub(super) fn of_page(page: Page, schemas: &mut SchemaGenerator) -> Vec<(String, Operation)> {
    let path = page.path();
    let one = |operation| vec![(path.to_owned(), operation)];
    match page {
        Page::Api => {
            let listing = || vec![Answer::text(400, "The listing; an incomplete path is an error.")];
            let unknown = vec![Answer::text(400, "The listing."), Answer::failed()];
            let version = path_parameter("version", "A version of the API, `v1.0` to `v2.1`.");
            vec![
                (path.to_owned(), Operation::new("versions", "The versions of the API.", listing())),
                (
                    format!("{path}{{version}}/"),
                    Operation::new("requests", "The request types of a version.", unknown).with([version]),
                ),
            ]
        }
        Page::Config => {
            let mut answer = Answer::text(200, "A configuration file, without secrets.");
            answer.content = vec![("application/toml", json!({ "type": "string" }))];
            one(Operation::new("config", "The flags in force.", vec![answer]))
        }
        Page::Containers => one(live_page("page", "The live page.")),
        Page::Docker => one(live_page("page.docker", "The same page.")),
        Page::Podman => one(live_page("page.podman", "The same page.")),
        Page::Export => {
            let text = json!({ "type": "string" });
            let formats = json!({ "type": "string", "enum": ["openmetrics", "csv", "json"], "default": "json" });
            let lines = Answer {
                status: 200,
                description: "Samples, and with `json` events: a line each.",
                content: ["application/openmetrics-text", "text/csv", "application/x-ndjson"]
                    .map(|kind| (kind, text.clone()))
                    .to_vec(),
                line: None,
            };
            let answers = vec![
                lines,
                Answer::text(400, "A time or a format that is none."),
                Answer::text(404, "There is no `--history_dir`."),
                Answer::text(503, "It is exported for somebody else at the moment."),
            ];
            let parameters = [
                parameter("from", &text, "Not before this: RFC 3339, or seconds since 1970."),
                parameter("to", &text, "Not after this."),
                parameter("format", &formats, "How it is written."),
                parameter("container", &text, "Only this one: a cgroup's name, an id or a name."),
            ];
            one(Operation::new("export", "A span of the history on disk.", answers).with(parameters))
        }
        Page::Feed => {
            let answers = vec![
                Answer::json(feed::schema(schemas)),
                Answer::text(400, "A cursor, a row or a time that is none."),
                Answer::text(404, "`at` without `--history_dir`."),
            ];
            let operation = Operation::new("feed", "All containers as short rows, or what changed of them.", answers);
            one(operation.with(feed::parameters()))
        }
        Page::Health => {
            let answers = vec![Answer::text(200, "`ok`, or the report.")];
            let schema = json!({ "type": "string" });
            let verbose = parameter("verbose", &schema, "What works, what does not, and what would fix it.");
            one(Operation::new("health", "Whether the collector runs.", answers).with([verbose]))
        }
        Page::Metrics => {
            one(Operation::new("metrics", "Metrics for Prometheus.", scrapes()).with(RequestOptions::parameters()))
        }
        Page::MetricsOfKubelet => {
            one(Operation::new("metrics.kubelet", "Metrics of containers with the kubelet's labels.", scrapes()))
        }
        Page::MetricsOfResources => {
            one(Operation::new("metrics.resource", "CPU and memory of pods, for the metrics server.", scrapes()))
        }
        Page::Spec => one(Operation::new("spec", "The machine.", vec![Answer::json(machine::schema(schemas))])),
        Page::Stats => stats(path, schemas),
        Page::OpenApi => {
            let document = Answer::json(schemars::json_schema!({ "type": "object" }));
            one(Operation::new("openapi", "This document.", vec![document]))
        }
        Page::Readiness => {
            let answers = vec![
                Answer::text(200, "`ok`: every cgroup is listed."),
                Answer::text(503, "Not yet, with the reason."),
            ];
            one(Operation::new("readiness", "Whether answers are complete.", answers))
        }
        Page::Static => {
            let found = Answer { status: 200, description: "The file.", content: Vec::new(), line: None };
            let file = path_parameter("file", "A file that the page loads.");
            let answers = vec![found, Answer::text(404, "No such file.")];
            let operation = Operation::new("static", "What the page is made of.", answers).with([file]);
            vec![(format!("{path}{{file}}"), operation)]
        }
        Page::Validate => {
            let answers = vec![Answer::text(200, "The report.")];
            one(Operation::new("validate", "What the machine offers, in cAdvisor's words.", answers))
        }
    }
}

/// What the kubelet has below this path.
fn stats(path: &str, schemas: &mut SchemaGenerator) -> Vec<(String, Operation)> {
    let missing = || Answer::text(404, "There is no such container.");
    let with_samples = |id: &str, summary, answer: Schema, body: Schema| Operation {
        body: Some(body.to_value()),
        ..Operation::new(id, summary, vec![Answer::json(answer), missing(), Answer::failed()])
    };
    let container = v1::schema(schemas);
    let summary = vec![Answer::json(kubelet::schema(schemas)), Answer::failed()];
    let summary =
        Operation::new("stats.summary", "The node and its pods.", summary).with(kubelet::summary_parameters());
    let by_name = "A container, by default the root, or all below it, by full name.";
    let by_name = with_samples("stats.container", by_name, map(&container), kubelet::ContainerRequest::schema());
    let root = with_samples("stats", "The root container.", container.clone(), StatsQuery::schema());
    let of_pod = |id: &str, names: &[&str]| {
        let parameters = names.iter().map(|name| path_parameter(name, "As the pod's description has it."));
        let summary = "A container of a pod, of the namespace `default` where none is named.";
        (
            names.iter().fold(path.trim_end_matches('/').to_owned(), |path, name| format!("{path}/{{{name}}}")),
            with_samples(id, summary, container.clone(), StatsQuery::schema()).with(parameters),
        )
    };
    vec![
        (path.to_owned(), root),
        (format!("{path}summary"), summary),
        (format!("{path}container/"), by_name),
        of_pod("stats.pod", &["pod", "container"]),
        of_pod("stats.namespace", &["namespace", "pod", "uid", "container"]),
    ]
}

/// Answers of the endpoints for Prometheus.
fn scrapes() -> Vec<Answer> {
    let mut answer = Answer::text(200, "Prometheus' text format, or OpenMetrics for who prefers it.");
    answer.content.push(("application/openmetrics-text", json!({ "type": "string" })));
    vec![answer, Answer::failed()]
}

fn live_page(id: &str, summary: &'static str) -> Operation {
    Operation::new(id, summary, vec![Answer::html(200, "The page.")])
}

/// What follows a resource's path, and what it then is: with and without a container's name.
pub(super) fn of_resource(
    resource: Resource,
    id: &str,
    schemas: &mut SchemaGenerator,
) -> Vec<(&'static str, Operation)> {
    use v2::Resource as V2;
    let v2 = id.starts_with("v2");
    let (summary, answer) = match resource {
        Resource::Containers => ("A container.", v1::schema(schemas)),
        Resource::Subcontainers => {
            ("A container and every one whose name begins with its name.", array(&v1::schema(schemas)))
        }
        Resource::Docker => ("Docker's containers, or one of them, by full name.", map(&v1::schema(schemas))),
        Resource::Events => ("Past events, or those to come.", array(&events::schema(schemas))),
        Resource::Machine => ("The machine.", machine::schema(schemas)),
        Resource::Version => ("The collector's version.", String::json_schema(schemas)),
        Resource::V2(resource) => v2::schema(resource, schemas),
    };
    let line = (resource == Resource::Events).then(|| events::line_schema(schemas).to_value());
    let body = matches!(resource, Resource::Containers | Resource::Subcontainers | Resource::Docker)
        .then(|| StatsQuery::schema().to_value());
    let mut parameters = match resource {
        Resource::Events => EventQuery::parameters(),
        Resource::V2(V2::Storage) => v2::storage_parameters(),
        _ => Vec::new(),
    };
    if v2 {
        parameters.extend(RequestOptions::parameters());
    }
    if matches!(resource, Resource::V2(V2::DeprecatedStats | V2::MachineStats | V2::Stats)) {
        parameters.extend(RequestOptions::times());
    }
    let operation = |id: &str, name: Option<Value>| Operation {
        id: id.to_owned(),
        summary,
        parameters: name.into_iter().chain(parameters.iter().cloned()).collect(),
        body: body.clone(),
        answers: vec![Answer { line: line.clone(), ..Answer::json(answer.clone()) }, Answer::failed()],
    };
    let name = match resource {
        Resource::Machine | Resource::Version | Resource::V2(V2::Attributes | V2::MachineStats | V2::Storage) => None,
        Resource::Docker => Some("A name or an id of a container, or the beginning of one's only."),
        Resource::Containers | Resource::Subcontainers | Resource::Events => Some("A container's full name."),
        Resource::V2(_) => Some("A container's full name, or with `type` an id or a name."),
    };
    let whole = ("", operation(id, None));
    let Some(description) = name else { return vec![whole] };
    let named = operation(&format!("{id}.of"), Some(path_parameter("name", description)));
    vec![whole, ("/{name}", named)]
}
