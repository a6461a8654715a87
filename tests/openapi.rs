//! The OpenAPI document says what the collector really answers.

use crate::auth::Files;
use crate::support::bytes::url_encode;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::http;
use crate::support::openapi::{Document, Operation};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bail, ensure, wait};

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;

pub(crate) const CASES: &[Case] = &[
    Case::new("openapi::answers_are_as_documented", answers_are_as_documented),
    Case::new("openapi::a_stream_is_as_documented", a_stream_is_as_documented),
];

/// A collector that reads everything it can.
fn collector(files: &Files) -> Result<Collector> {
    let history = format!("--history_dir={}", files.path().join("history").display());
    Collector::start(&["--disable_metrics=", "--enable_load_reader=true", "--housekeeping_interval=200ms", &history])
}

/// Asks for a path with all its parameters filled in, the query's ones as given.
fn ask(collector: &Collector, document: &Document, operation: &Operation, name: &str, query: &str) -> Result<u16> {
    let path = operation.path.replace("{name}", &url_encode(name.as_bytes()).replace('/', "%2F"));
    let path = path.replace("{version}", "v1.3").replace("{file}", "containers.css");
    let target = if query.is_empty() { path } else { format!("{path}?{query}") };
    let body = (operation.method == "POST").then_some(r#"{"num_stats":-1}"#);
    let answer = collector.request(&operation.method, &target, body)?;
    document
        .check(operation, answer.status, answer.header("content-type"), &answer.body)
        .with_context(|| format!("{} {target}: {} {:.200}", operation.method, answer.status, answer.text()))?;
    Ok(answer.status)
}

fn answers_are_as_documented() -> Result<()> {
    let files = Files::new("openapi")?;
    let collector = collector(&files)?;
    let cgroups = Cgroups::new(Set::Every)?;
    let group = cgroups.make("busy")?;
    let _busy = Plan::new(Work::Hold(8), &group).start_ready()?;
    let gone = cgroups.make("gone")?;
    gone.remove()?;
    wait::eventually(wait::seconds(20), || {
        ensure!(collector.container(&group.name())?.stats.len() > 3, "few samples");
        let events = collector.events(&gone.name(), &["deletion_events"])?;
        ensure!(!events.is_empty(), "no deletion yet");
        Ok(())
    })?;
    let mut document = Document::of(&collector)?;
    let operations = document.operations()?;
    ensure!(operations.len() > 80, "{} operations", operations.len());
    let mut silent = Vec::new();
    for operation in &operations {
        let mut answered = ask(&collector, &document, operation, &group.name(), "")? == 200;
        for query in
            ["recursive=true&count=2&max_age=0s", "all_events=true&subcontainers=true", "label=root", "verbose"]
        {
            let names = query.split('&').filter_map(|pair| pair.split('=').next());
            if names.clone().all(|name| operation.query.iter().any(|known| known == name)) {
                answered |= ask(&collector, &document, operation, "/", query)? == 200;
            }
        }
        if !answered {
            silent.push(format!("{} {}", operation.method, operation.path));
        }
    }
    // The listings are errors, and there is no such Docker container or pod.
    let absent = ["/docker/{name}", "{version}", "{pod}"];
    silent.retain(|path| !absent.iter().any(|name| path.contains(name)) && !path.ends_with("/api/"));
    ensure!(silent.is_empty(), "never answered with 200: {silent:#?}");

    // A key that is not documented is found.
    let removed = document.schema_mut("CpuStats")?["properties"].as_object_mut().context("no keys")?.remove("cfs");
    ensure!(removed.is_some(), "CpuStats has no cfs");
    let operation = operations.iter().find(|operation| operation.path == "/api/v1.3/containers/{name}");
    let complaint = ask(&collector, &document, operation.context("no containers")?, &group.name(), "");
    ensure!(complaint.is_err_and(|error| format!("{error:#}").contains("cfs")), "an unknown key goes unnoticed");
    Ok(())
}

fn a_stream_is_as_documented() -> Result<()> {
    let files = Files::new("openapi")?;
    let collector = collector(&files)?;
    let document = Document::of(&collector)?;
    let operations = document.operations()?;
    let operation = operations.iter().find(|operation| operation.path == "/api/v1.3/events/{name}");
    let operation = operation.context("no events")?;
    let cgroups = Cgroups::new(Set::Every)?;
    let target = format!(
        "/api/v1.3/events{}?stream=true&all_events=true&subcontainers=true",
        url_encode(cgroups.name().as_bytes())
    );
    let socket = TcpStream::connect(collector.address())?;
    socket.set_read_timeout(Some(wait::seconds(20)))?;
    let incoming = http::send(socket, "GET", &target, None)?;
    ensure!(incoming.status == 200, "{target} answered {}", incoming.status);
    let group = cgroups.make("short")?;
    Plan::new(Work::Nothing, &group).run()?;
    group.remove()?;
    let mut created = false;
    for line in BufReader::new(incoming.body).lines() {
        let line = line?;
        document.check_line(operation, &line).with_context(|| line.clone())?;
        created |= line.contains("containerCreation");
        if line.contains("containerDeletion") {
            ensure!(created, "deleted before it was created: {line}");
            return Ok(());
        }
    }
    bail!("the stream ended")
}
