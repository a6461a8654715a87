//! Requests of every kind at every path of the OpenAPI document: valid ones, ones at the limits, and nonsense. None
//! gets an answer that cAdvisor would not give, and none does harm: no panic, no memory kept, nobody else kept waiting.
//!
//! For twenty seconds, or for as long as `COLLECTOR_FUZZ_SECONDS` says; the choices follow from `COLLECTOR_FUZZ_SEED`.

use std::collections::BTreeMap;
use std::env;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::http::{self, Response};
use crate::support::nonsense::{BODIES, Choices, METHODS, VALUES};
use crate::support::openapi::{Document, Operation};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bail, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[Case::new("fuzz_api::no_request_does_harm", no_request_does_harm).within(1200)];

/// How long it takes unless `COLLECTOR_FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 20;
/// The choices unless `COLLECTOR_FUZZ_SEED` says otherwise.
const SEED: u64 = 0x5EED_0F0D_DC0D_E000;
/// Clients that ask nonsense.
const CLIENTS: u64 = 2;
/// Memory that may come and go: the allocator's, and of answers under way.
const SLACK_KIB: u64 = 24 << 10;
/// The longest a well-behaved client may wait.
const PATIENCE: u64 = 5;

/// How the texts of errors begin that cAdvisor gives; the last two stand for crashes of its handler.
const COMPLAINTS: [&str; 26] = [
    "unsupported API version ",
    "unknown request type ",
    "failed to get container ",
    "failed to get subcontainers for container ",
    "failed to get Docker container ",
    "failed to get all Docker containers ",
    "unknown request for Docker container [",
    "unable to decode the json value: ",
    "unknown 'type' ",
    "failed to parse 'count' option: ",
    "invalid 'count' option: ",
    "failed to parse 'max_age' option: ",
    // Ours: cAdvisor does not look back.
    "failed to parse 'start' option: ",
    "failed to parse 'end' option: ",
    "unknown container ",
    "unknown container: ",
    "unable to find container ",
    "invalid request for docker container ",
    "invalid request for podman container ",
    "process listing failed: ",
    "non-existent label ",
    "cadvisor: no such device",
    "for a call to watch, request.StartTime and request.EndTime must be uninitialized",
    "max_events: only -1 (all) and larger values are allowed, not ",
    "num_stats: only -1 (all) and larger values are allowed, not ",
    // The kubelet's.
    "Internal Error: unable to decode the json value: ",
];

/// A request, as bytes and in what matters of its answer.
struct Request {
    bytes: Vec<u8>,
    about: String,
    method: &'static str,
    /// Whether it is HTTP: what is not may be left without an answer.
    is_whole: bool,
    /// Whether its answer may have no end.
    may_stream: bool,
    /// Where it is asked as the document says, if it is.
    operation: Option<usize>,
}

fn name(choices: &mut Choices, names: &[String]) -> String {
    match choices.below(10) {
        0..=4 => bytes::url_encode(choices.of(names).as_bytes()),
        5 => bytes::url_encode(choices.of(names).as_bytes()).replace('/', "%2F"),
        6 => bytes::url_encode(&choices.bytes(40)),
        7 => "x/".repeat(choices.below(2000)),
        8 => choices.of(&["..", "../../..", "//a//", ".", "%2e%2e%2f", "%00", "%", "a%zz", "docker"]).to_string(),
        _ => String::new(),
    }
}

fn query(choices: &mut Choices, operation: &Operation) -> String {
    let mut pairs = Vec::new();
    for name in &operation.query {
        if choices.one_in(3) {
            pairs.push(format!("{name}={}", choices.of(&VALUES)));
        }
    }
    if choices.one_in(8) {
        pairs.push(bytes::url_encode(&choices.bytes(12)) + "=1&&=&stream");
    }
    if choices.one_in(200) {
        pairs.extend((0..2000).map(|at| format!("count={at}")));
    }
    pairs.join("&")
}

fn body(choices: &mut Choices, operation: &Operation) -> Option<Vec<u8>> {
    let wanted = if operation.body.is_empty() { 10 } else { 2 };
    if !choices.one_in(wanted) {
        return None;
    }
    Some(match choices.below(12) {
        0 => choices.bytes(200),
        1 => "[".repeat(choices.below(100_000)).into_bytes(),
        2 => format!("{{\"a\":{}1", "{\"a\":".repeat(choices.below(200))).into_bytes(),
        3 if choices.one_in(20) => vec![b' '; (1 << 20) + choices.below(2)],
        4 => format!("{{\"num_stats\":\"{}\"}}", "x".repeat(choices.below(5000))).into_bytes(),
        5 => format!("{{\"{}\":{}}}", choices.of(&operation.body_keys()), choices.of(&VALUES)).into_bytes(),
        6 => format!("{{\"{}\":\"{}\"}}", choices.of(&operation.body_keys()), choices.of(&VALUES)).into_bytes(),
        _ => choices.of(&BODIES).as_bytes().to_vec(),
    })
}

impl Operation {
    fn body_keys(&self) -> Vec<&str> {
        if self.body.is_empty() { vec!["num_stats"] } else { self.body.iter().map(String::as_str).collect() }
    }
}

fn request(choices: &mut Choices, operations: &[Operation], names: &[String]) -> Request {
    let at = choices.below(operations.len());
    let operation = &operations[at];
    let as_documented = !choices.one_in(6);
    let mut target = if as_documented {
        let name = name(choices, names);
        let path = operation.path.replace("/{name}", &format!("/{}", name.trim_start_matches('/')));
        let file = *choices.of(&["containers.js", "..", "x", "%2e%2e%2fx"]);
        let version = *choices.of(&["v1.0", "v1.3", "v2.1", "v3", "", "v1.3%00"]);
        path.replace("{version}", version).replace("{file}", file)
    } else {
        let start =
            *choices.of(&["/api/", "/api/v1.3/", "/api/v2.1/", "/", "/static/", "/containers/", "/validate/", "*"]);
        let noise: String = choices.bytes(30).iter().map(|byte| char::from(byte % 94 + 33)).collect();
        start.to_owned() + &noise.replace(['#', '?'], "/")
    };
    let query = query(choices, operation);
    if !query.is_empty() {
        target = format!("{target}?{query}");
    }
    let method = if choices.one_in(3) { choices.of(&METHODS) } else { "GET" };
    let body = body(choices, operation);
    let is_whole = !choices.one_in(40);
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
        choices.of(&["localhost", "", "[::1]:8", "127.0.0.1"])
    );
    if choices.one_in(6) {
        let header =
            choices.of(&["Accept", "Content-Type", "Accept-Encoding", "Range", "If-None-Match", "Expect", "Cookie"]);
        let value = choices.of(&["text/html", "application/json", "gzip, zstd;q=9", "*", "bytes=0-0"]);
        head.extend([header, ": ", value, "\r\n"]);
    }
    let mut bytes = match &body {
        Some(body) if choices.one_in(4) => {
            let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            for piece in body.chunks(1 + choices.below(5000)) {
                bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            bytes
        }
        Some(body) => {
            let mut bytes = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
            bytes.extend(body);
            bytes
        }
        None => format!("{head}\r\n").into_bytes(),
    };
    if !is_whole {
        match choices.below(3) {
            0 => bytes.truncate(choices.below(bytes.len())),
            1 => bytes = choices.bytes(400),
            _ => {
                let at = choices.below(bytes.len());
                bytes[at] = choices.next().to_le_bytes()[0];
            }
        }
    }
    Request {
        about: format!(
            "{method} {target:.300} with {:?}",
            body.as_ref().map(|body| String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned())
        ),
        may_stream: query.contains("stream") || !is_whole,
        operation: (as_documented && method == operation.method).then_some(at),
        bytes,
        method,
        is_whole,
    }
}

/// An answer; of one that may not end its beginning alone.
fn ask(address: SocketAddr, request: &Request) -> Result<Option<Response>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(wait::seconds(20)))?;
    let sent = stream.write_all(&request.bytes);
    if request.is_whole {
        // Whatever the collector has a use for, it lets a client have its say.
        sent.context("not all could be sent")?;
    } else {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend(&piece[..length]),
            // What was said before a reset may be lost with it.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !request.is_whole => break,
            Err(error) => return Err(error).context("no whole answer"),
        }
        if request.may_stream && answer.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    let Some(end) = answer.windows(4).position(|end| end == b"\r\n\r\n") else {
        ensure!(!request.is_whole, "no answer: {:?}", String::from_utf8_lossy(&answer));
        return Ok(None);
    };
    // As if nothing had been asked for: the body of an answer to HEAD is empty.
    let is_head = request.method == "HEAD" || request.may_stream;
    let parsed = http::parse(&answer, is_head).and_then(|answer| if is_head { Ok(answer) } else { decoded(answer) });
    parsed.map(Some).with_context(|| format!("{:?}", String::from_utf8_lossy(&answer[..end])))
}

/// The answer without its content coding.
fn decoded(mut answer: Response) -> Result<Response> {
    let mut text = Vec::new();
    match answer.header("content-encoding") {
        None => return Ok(answer),
        Some("gzip") => drop(GzDecoder::new(&*answer.body).read_to_end(&mut text).context("gzip")?),
        Some("zstd") => text = zstd::decode_all(&*answer.body).context("zstd")?,
        Some(other) => bail!("nobody asked for the coding {other:?}"),
    }
    answer.body = text;
    Ok(answer)
}

/// Whether cAdvisor would answer so, or better.
fn judge(request: &Request, answer: &Response) -> Result<()> {
    let (body, kind) = (&answer.body, answer.header("content-type").unwrap_or_default());
    let has_body = request.method != "HEAD" && !request.may_stream;
    match answer.status {
        200 if kind == "application/json" && has_body => {
            serde_json::from_slice::<serde::de::IgnoredAny>(body).context("not JSON")?;
        }
        500 if has_body => {
            let text = String::from_utf8_lossy(body);
            ensure!(kind == "text/plain; charset=utf-8", "500 as {kind:?}: {text}");
            ensure!(COMPLAINTS.iter().any(|start| text.starts_with(start)), "not a complaint of cAdvisor's: {text}");
        }
        // More is asked of it than it answers at a time: it says when to come again.
        429 | 503 => {
            let later = answer.header("retry-after").and_then(|value| value.parse::<u64>().ok());
            ensure!(later.is_some_and(|seconds| seconds > 0), "{} without Retry-After", answer.status);
        }
        200..=500 => {}
        status => bail!("{status}: {}", String::from_utf8_lossy(body)),
    }
    Ok(())
}

/// What one client did.
#[derive(Default)]
struct Done {
    by_status: BTreeMap<u16, u64>,
    unanswered: u64,
    checked: u64,
    wrong: Vec<String>,
}

fn client(
    address: SocketAddr,
    document: &Document,
    operations: &[Operation],
    names: &[String],
    seed: u64,
    stop: &AtomicBool,
) -> Done {
    let mut choices = Choices(seed);
    let mut done = Done::default();
    while !stop.load(Ordering::Relaxed) && done.wrong.len() < 10 {
        let request = request(&mut choices, operations, names);
        let outcome = ask(address, &request).and_then(|answer| {
            let Some(answer) = answer else {
                done.unanswered += 1;
                return Ok(());
            };
            let status = answer.status;
            *done.by_status.entry(status).or_default() += 1;
            judge(&request, &answer)?;
            // A validator takes long to make.
            if let Some(at) = request.operation.filter(|_| status == 200 && request.is_whole && !request.may_stream)
                && choices.one_in(50)
            {
                done.checked += 1;
                document.check(&operations[at], status, answer.header("content-type"), &answer.body)?;
            }
            Ok(())
        });
        if let Err(error) = outcome {
            done.wrong.push(format!("{}: {error:#}", request.about));
        }
    }
    done
}

/// Asks as a monitoring system does; the longest wait for an answer.
fn bystander(collector: &Collector, stop: &AtomicBool) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        for target in ["/healthz", "/metrics", "/api/v2.1/machinestats?count=1"] {
            let begun = Instant::now();
            let mut answer = collector.get(target)?;
            while let (429 | 503, Some(later)) = (answer.status, answer.header("retry-after"))
                && begun.elapsed() < wait::seconds(10)
            {
                // That counts as waiting.
                wait::pass(Duration::from_secs(later.parse()?));
                answer = collector.get(target)?;
            }
            ensure!(answer.status == 200, "{target} answered {}", answer.status);
            slowest = slowest.max(begun.elapsed());
        }
        wait::pass(Duration::from_millis(100));
    }
    Ok(slowest)
}

fn number_of(variable: &str, otherwise: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(otherwise),
    }
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = bytes::read(format!("/proc/{pid}/status"))?;
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Ok(row.context("no VmRSS")?.parse()?)
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

fn no_request_does_harm() -> Result<()> {
    let (seconds, seed) = (number_of("COLLECTOR_FUZZ_SECONDS", SECONDS)?, number_of("COLLECTOR_FUZZ_SEED", SEED)?);
    // A short history, so that what is kept of it is soon as much as it will ever be.
    let mut collector =
        Collector::start(&["--disable_metrics=", "--housekeeping_interval=500ms", "--storage_duration=2s"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let group = cgroups.make("q \"x\" <é>%41")?;
    let _busy = Plan::new(Work::Hold(8), &group).start_ready()?;
    wait::eventually(wait::seconds(10), || collector.container(&group.name()).map(drop))?;
    let names: Vec<Named> = collector.json("/api/v1.3/subcontainers/", Some(r#"{"num_stats":0}"#))?;
    let names: Vec<_> = names.into_iter().map(|named| named.name).collect();
    let document = Document::of(&collector)?;
    let operations = document.operations()?;
    let rss = || resident(collector.pid());

    eprintln!("seed {seed}, {seconds} s, {} operations, {} containers", operations.len(), names.len());
    let stop = AtomicBool::new(false);
    let address = collector.address();
    let (all, slowest, warm, cold) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|at| {
                let (document, operations, names, stop) = (&document, &operations, &names, &stop);
                scope.spawn(move || client(address, document, operations, names, seed.wrapping_add(at << 32), stop))
            })
            .collect();
        let bystander = scope.spawn(|| bystander(&collector, &stop));
        let length = Duration::from_secs(seconds);
        let warmed = (length / 2).min(Duration::from_secs(60));
        wait::pass(warmed);
        let warm = rss();
        wait::pass(length.saturating_sub(warmed));
        let cold = rss();
        stop.store(true, Ordering::Relaxed);
        let all: Vec<_> = clients
            .into_iter()
            .map(|client| {
                client
                    .join()
                    .unwrap_or_else(|_| Done { wrong: vec!["a client panicked".to_owned()], ..Done::default() })
            })
            .collect();
        (all, bystander.join(), warm, cold)
    });
    let (warm, cold) = (warm?, cold?);
    let slowest = slowest.ok().context("the bystander panicked")??;
    let mut total = Done::default();
    for done in all {
        total.unanswered += done.unanswered;
        total.checked += done.checked;
        total.wrong.extend(done.wrong);
        for (status, count) in done.by_status {
            *total.by_status.entry(status).or_default() += count;
        }
    }
    let requests: u64 = total.by_status.values().sum::<u64>() + total.unanswered;
    eprintln!(
        "{requests} requests: {:?} by status, {} not answered, {} checked against the document; \
         memory {warm} KiB, then {cold} KiB; the slowest of the other client's answers took {slowest:?}",
        total.by_status, total.unanswered, total.checked
    );
    ensure!(total.wrong.is_empty(), "seed {seed}: {:#?}", total.wrong);
    collector.check_alive()?;
    ensure!(requests > 10 * seconds, "only {requests} requests");
    ensure!(total.by_status.get(&200).is_some_and(|count| *count > requests / 10), "hardly any was answered");
    ensure!(slowest < wait::seconds(PATIENCE), "another client waited {slowest:?}");
    ensure!(cold < warm + SLACK_KIB, "memory grew from {warm} KiB to {cold} KiB");
    Ok(())
}
