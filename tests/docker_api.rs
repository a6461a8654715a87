//! Docker's API: the docker command and raw requests, at the collector and at an engine, about the same container.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;

use crate::support::collector::Collector;
use crate::support::docker::Docker;
use crate::support::engine::{MEMORY_LIMIT, program};
use crate::support::harness::Case;
use crate::support::{Context as _, Result, bail, bytes, ensure, http, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("docker_api::as_the_engine", as_the_engine),
    Case::new("docker_api::stream", stream),
    Case::new("docker_api::docker_command", docker_command).within(240),
    Case::new("docker_api::socket", socket),
    Case::new("docker_api::guarded", guarded),
    Case::new("docker_api::below_a_prefix", below_a_prefix),
];

/// Reads its own program now and then, so that there is CPU time, page cache and perhaps block I/O.
const BUSY: &str = "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; \
                    /bin/busybox cat /bin/busybox >/dev/null; /bin/busybox usleep 50000; done";

/// An engine, and a collector that knows it and serves its API at a socket.
struct Scene {
    collector: Collector,
    socket: PathBuf,
    docker: Docker,
}

fn scene() -> Result<Scene> {
    let docker = Docker::start()?;
    let socket = docker.socket().with_file_name("collector");
    let collector = Collector::start(&[
        &format!("--docker=unix://{}", docker.socket().display()),
        &format!("--docker_socket={}", socket.display()),
    ])?;
    Ok(Scene { collector, socket, docker })
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(wait::seconds(30)))?;
    Ok(stream)
}

/// A request that is answered 200 with one JSON value.
fn ask(socket: &Path, target: &str) -> Result<Value> {
    let response = http::request(connect(socket)?, "GET", target, None)?;
    ensure!(response.status == 200, "{target}: {} {}", response.status, response.text());
    let kind = response.header("content-type");
    ensure!(kind == Some("application/json"), "{target}: the content type is {kind:?}");
    serde_json::from_slice(&response.body).with_context(|| format!("{target}: {}", response.text()))
}

fn number(value: &Value, pointer: &str) -> Result<u64> {
    value.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no number {pointer} in {value}"))
}

/// What kind of value it is.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Complains unless both have the same keys with the same types; elements of lists are compared by the first.
fn same_shape(at: &str, ours: &Value, theirs: &Value) -> Result<()> {
    ensure!(kind(ours) == kind(theirs), "{at} is {ours}, the engine's {theirs}");
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
            ensure!(keys(ours) == keys(theirs), "{at} has {:?}, the engine's {:?}", keys(ours), keys(theirs));
            ours.iter().try_for_each(|(key, value)| same_shape(&format!("{at}/{key}"), value, &theirs[key]))
        }
        (Value::Array(ours), Value::Array(theirs)) => match (ours.first(), theirs.first()) {
            (Some(ours), Some(theirs)) => same_shape(&format!("{at}/0"), ours, theirs),
            // Who reads first may read before the first transfer.
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Every key of the engine's answers, of the same type, and numbers that were read a moment apart.
fn as_the_engine() -> Result<()> {
    let Scene { collector, socket, docker } = scene()?;
    let id = docker.run_named("busy", &[("a.label", "its value")], &["SOME=thing"])?;
    let spinning = docker.run(BUSY)?;
    wait::eventually(wait::seconds(10), || {
        let listed = ask(&socket, "/containers/json")?;
        let found = listed.as_array().into_iter().flatten().find(|container| container["Id"] == id.as_str());
        ensure!(found.context("not listed")?["Names"][0] == "/busy", "not named yet: {listed}");
        Ok(())
    })?;
    for (target, wanted) in [
        (format!("/containers/{spinning}/stats?stream=false"), &spinning),
        (format!("/v1.41/containers/{}/stats?stream=false&one-shot=true", &spinning[..12]), &spinning),
        ("/containers/busy/stats?stream=0".to_owned(), &id),
    ] {
        // The engine's numbers lie between two of the collector's.
        let before = ask(&socket, &target)?;
        let theirs: Value = serde_json::from_slice(&docker.ask("GET", &target, None)?.body)?;
        let after = ask(&socket, &target)?;
        same_shape("", &after, &theirs).with_context(|| target.clone())?;
        ensure!(after["id"] == wanted.as_str() && after["name"] == theirs["name"], "{after} {theirs}");
        for pointer in ["/cpu_stats/cpu_usage/total_usage", "/cpu_stats/system_cpu_usage"] {
            let said = number(&theirs, pointer)?;
            let range = number(&before, pointer)?..=number(&after, pointer)?;
            ensure!(range.contains(&said), "{pointer}: the engine says {said}, the collector {range:?}");
        }
        for pointer in ["/cpu_stats/online_cpus", "/memory_stats/limit"] {
            ensure!(number(&after, pointer)? == number(&theirs, pointer)?, "{pointer}: {after} {theirs}");
        }
        ensure!(number(&after, "/memory_stats/limit")? == MEMORY_LIMIT, "{after}");
        let usage = |stats: &Value| number(stats, "/memory_stats/usage");
        let apart = usage(&after)?.abs_diff(usage(&theirs)?);
        ensure!(apart <= 4 * bytes::MIB, "memory differs by {apart}: {after} {theirs}");
        let tasks = number(&after, "/pids_stats/current")?;
        ensure!((1..=3).contains(&tasks), "two or three processes: {after}");
        let file = |stats: &Value| {
            let stats = &stats["memory_stats"]["stats"];
            stats.get("total_mapped_file").or_else(|| stats.get("file_mapped")).and_then(Value::as_u64)
        };
        ensure!(
            file(&after).context("no mapped files")?.abs_diff(file(&theirs).context("none")?) <= bytes::MIB,
            "{after}"
        );
    }

    // Lists and inspections: each of our keys is the engine's, of the same type and value unless it is empty here.
    let listed = |socket: &Path| -> Result<Value> {
        let all = ask(socket, "/containers/json?filters=%7B%22name%22%3A%5B%22busy%22%5D%7D")?;
        ensure!(all.as_array().map(Vec::len) == Some(1), "{all}");
        Ok(all[0].clone())
    };
    let (ours, theirs) = (listed(&socket)?, listed(&docker.socket())?);
    for key in ["Id", "Names", "Image", "Created", "Labels", "State", "Ports", "Mounts"] {
        ensure!(ours[key] == theirs[key], "{key} of {ours} and {theirs}");
    }
    ensure!(ours["Status"].as_str().is_some_and(|status| status.starts_with("Up ")), "{ours}");
    let (ours, theirs) = (ask(&socket, "/containers/busy/json")?, ask(&docker.socket(), "/containers/busy/json")?);
    for pointer in [
        "/Id",
        "/Name",
        "/State/Status",
        "/State/Running",
        "/State/Pid",
        "/Config/Image",
        "/Config/Labels",
        "/HostConfig/Memory",
    ] {
        ensure!(ours.pointer(pointer) == theirs.pointer(pointer), "{pointer} of {ours} and {theirs}");
    }
    let (ours, theirs) = (ask(&socket, "/info")?, ask(&docker.socket(), "/info")?);
    for key in ["NCPU", "MemTotal", "KernelVersion", "OSType", "Architecture", "CgroupVersion", "CgroupDriver"] {
        ensure!(ours[key] == theirs[key], "{key} of {ours} and {theirs}");
    }

    // The same over TCP, and unknown ids in the engine's words.
    let over_tcp: Value = collector.json(&format!("/containers/{id}/stats?stream=false&one-shot=1"), None)?;
    ensure!(over_tcp["id"] == id.as_str(), "{over_tcp}");
    for target in ["/containers/unknown/stats", "/v1.41/containers/unknown/json"] {
        let ours = http::request(connect(&socket)?, "GET", target, None)?;
        let theirs = http::request(docker.connect()?, "GET", target, None)?;
        let answer = |response: &http::Response| {
            (response.status, response.text(), response.header("content-type").map(str::to_owned))
        };
        ensure!(answer(&ours) == answer(&theirs) && ours.status == 404, "{ours:?} {theirs:?}");
    }
    Ok(())
}

/// An object a second, each with the CPU time of the one before; the end of the container is the end of the stream.
fn stream() -> Result<()> {
    let Scene { collector: _collector, socket, docker } = scene()?;
    let id = docker.run(BUSY)?;
    wait::eventually(wait::seconds(10), || ask(&socket, &format!("/containers/{id}/json")))?;
    let started = Instant::now();
    let incoming = http::send(connect(&socket)?, "GET", &format!("/v1.41/containers/{id}/stats"), None)?;
    ensure!(incoming.status == 200, "{}", incoming.status);
    let mut lines = BufReader::new(incoming.body).lines();
    let mut next = || -> Result<Option<Value>> {
        let Some(line) = lines.next() else { return Ok(None) };
        Ok(Some(serde_json::from_str(&line?)?))
    };
    let first = next()?.context("no object")?;
    ensure!(
        first["preread"] == "0001-01-01T00:00:00Z" && first["precpu_stats"].get("system_cpu_usage").is_none(),
        "{first}"
    );
    let mut previous = first;
    for _ in 0..3 {
        let now = next()?.context("the stream ended")?;
        ensure!(now["precpu_stats"] == previous["cpu_stats"] && now["preread"] == previous["read"], "{previous} {now}");
        let pointer = "/cpu_stats/cpu_usage/total_usage";
        ensure!(number(&now, pointer)? > number(&previous, pointer)?, "it is busy: {previous} {now}");
        previous = now;
    }
    ensure!(started.elapsed().as_millis() >= 2_500, "four objects within {:?}", started.elapsed());
    docker.remove(&id)?;
    while next()?.is_some() {}
    Ok(())
}

/// What one row of `docker stats` says.
#[derive(Debug)]
struct Row {
    cpu: f64,
    memory: f64,
    limit: String,
    pids: String,
}

/// The docker commands that are installed; one of them is Debian's.
fn commands() -> Result<Vec<PathBuf>> {
    let mut found = vec![program("docker")?];
    let newer = PathBuf::from("/usr/local/bin/docker");
    if newer.is_file() && newer != found[0] {
        found.push(newer);
    }
    Ok(found)
}

fn run(command: &Path, socket: &Path, arguments: &[&str]) -> Command {
    let mut run = Command::new(command);
    run.env("DOCKER_HOST", format!("unix://{}", socket.display())).env_remove("DOCKER_CONTEXT");
    run.env("DOCKER_CONFIG", socket.with_extension("config")).args(arguments).stdin(Stdio::null());
    run
}

fn output(command: &Path, socket: &Path, arguments: &[&str]) -> Result<String> {
    let output = run(command, socket, arguments).output()?;
    let reported = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{} {arguments:?}: {}: {reported}", command.display(), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// A number with a unit, such as `1.5MiB` or `3%`.
fn amount(text: &str) -> Result<f64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = match unit {
        "%" | "B" => 1.0,
        "KiB" | "kB" => 1024.0,
        "MiB" | "MB" => 1024.0 * 1024.0,
        "GiB" | "GB" => 1024.0 * 1024.0 * 1024.0,
        other => bail!("{text:?} has the unit {other:?}"),
    };
    Ok(digits.parse::<f64>()? * factor)
}

fn row(text: &str, id: &str) -> Result<Row> {
    let values = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let row = values.into_iter().find(|row| row["ID"].as_str().is_some_and(|short| id.starts_with(short)));
    let row = row.with_context(|| format!("no row for {id}: {text}"))?;
    let field = |key: &str| row[key].as_str().with_context(|| format!("no {key}: {row}"));
    let (used, limit) = field("MemUsage")?.split_once(" / ").context("memory and limit")?;
    let cpu = amount(field("CPUPerc")?)?;
    Ok(Row { cpu, memory: amount(used)?, limit: limit.to_owned(), pids: field("PIDs")?.to_owned() })
}

/// `docker stats` once and streaming, and the commands beside it.
fn docker_command() -> Result<()> {
    let Scene { collector: _collector, socket, docker } = scene()?;
    let resting = docker.run_named("resting", &[], &[])?;
    let busy = docker.run("while :; do :; done")?;
    wait::eventually(wait::seconds(10), || ask(&socket, "/containers/resting/json"))?;
    for command in commands()? {
        let version = output(&command, &socket, &["version", "--format", "{{.Client.Version}} {{.Server.Version}}"])?;
        let context = format!("{} {}", command.display(), version.trim());
        once(&command, &socket, &docker, &[&resting, &busy]).with_context(|| context.clone())?;
        for arguments in [&["info"][..], &["ps"], &["inspect", "resting"], &["stats", "--no-stream", "--all"]] {
            let said = output(&command, &socket, arguments).with_context(|| context.clone())?;
            ensure!(!said.is_empty(), "{context}: {arguments:?} says nothing");
        }
        let unknown = run(&command, &socket, &["stats", "--no-stream", "unknown"]).output()?;
        let reported = String::from_utf8_lossy(&unknown.stderr).into_owned();
        ensure!(!unknown.status.success() && reported.contains("No such container: unknown"), "{context}: {reported}");
        streaming(&command, &socket, &docker, &busy).context(context)?;
    }
    Ok(())
}

/// The same rows from the collector and from the engine.
fn once(command: &Path, socket: &Path, docker: &Docker, ids: &[&String]) -> Result<()> {
    let arguments = ["stats", "--no-stream", "--format", "{{json .}}"];
    wait::eventually(wait::seconds(60), || {
        // At the same time: the machine has other things to do as well, and does more or less of them.
        let ours = run(command, socket, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let theirs = output(command, &docker.socket(), &arguments)?;
        let ours = ours.wait_with_output()?;
        ensure!(ours.status.success(), "{}", String::from_utf8_lossy(&ours.stderr));
        let ours = String::from_utf8(ours.stdout)?;
        for id in ids {
            let (ours, theirs) = (row(&ours, id)?, row(&theirs, id)?);
            ensure!((ours.cpu - theirs.cpu).abs() <= 5.0 + theirs.cpu * 0.15, "CPU of {id}: {ours:?} {theirs:?}");
            ensure!((ours.memory - theirs.memory).abs() <= 1_000_000.0, "memory of {id}: {ours:?} {theirs:?}");
            ensure!(ours.limit == theirs.limit && ours.pids == theirs.pids, "{id}: {ours:?} {theirs:?}");
        }
        ensure!(row(&ours, ids[1])?.cpu > 10.0, "it spins: {ours}");
        Ok(())
    })
}

/// A command that goes on; a thread collects what it says.
struct Running {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut stdout = child.stdout.take().context("standard output is a pipe")?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                collected.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..length]);
            }
        });
        Ok(Self { child, said })
    }

    /// Takes what it has said since the last time.
    fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner)))
            .into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rows that change, one more for a container that starts, one less for a container that ends.
fn streaming(command: &Path, socket: &Path, docker: &Docker, busy: &str) -> Result<()> {
    let running = Running::start(run(command, socket, &["stats", "--no-trunc", "--format", "{{.ID}} {{.CPUPerc}}"]))?;
    let mut seen = BTreeSet::new();
    wait::eventually(wait::seconds(30), || {
        for line in running.take().lines() {
            if let Some((_, cpu)) = line.split_once(busy)
                && let Ok(percent) = amount(cpu.trim().trim_end_matches("\u{1b}[K"))
                && percent > 10.0
            {
                seen.insert(cpu.to_owned());
            }
        }
        ensure!(seen.len() >= 3, "the busy container's shares so far: {seen:?}");
        Ok(())
    })?;
    let late = docker.run(BUSY)?;
    let says = |id: &str| -> Result<bool> {
        running.take();
        wait::pass(wait::millis(1_500));
        let said = running.take();
        ensure!(said.contains(busy), "no rows any more: {said}");
        Ok(said.contains(id))
    };
    wait::eventually(wait::seconds(20), || {
        ensure!(says(&late)?, "a container that started has no row");
        Ok(())
    })?;
    docker.remove(&late)?;
    wait::eventually(wait::seconds(20), || {
        ensure!(!says(&late)?, "a container that ended still has a row");
        Ok(())
    })
}

/// The socket: only Docker's API, for its user and group, and gone with the collector; one that is left behind is
/// replaced, one that is in use is not.
fn socket() -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let path = std::env::temp_dir().join(format!("collector-test-{}.sock", std::process::id()));
    let flag = format!("--docker_socket={}", path.display());
    drop(std::os::unix::net::UnixListener::bind(&path)?);
    let mut collector = Collector::start(&[&flag])?;
    let mode = std::fs::metadata(&path)?.mode() & 0o777;
    ensure!(mode == 0o660, "its mode is {mode:o}");
    let head = http::send(connect(&path)?, "HEAD", "/_ping", None)?;
    ensure!(head.status == 200 && head.headers.iter().any(|(name, _)| name == "api-version"), "{:?}", head.headers);
    for target in ["/api/v1.3/machine", "/metrics", "/"] {
        let response = http::request(connect(&path)?, "GET", target, None)?;
        ensure!(response.status == 404, "{target} answers {}", response.status);
    }
    let (status, said) =
        crate::support::collector::run_to_end(crate::support::surroundings::Surroundings::default(), &[&flag])?;
    ensure!(!status.success() && said.iter().any(|line| line.contains("--docker_socket=")), "{status}: {said:?}");
    ensure!(ask(&path, "/version")?["Os"] == "linux", "the first one is disturbed");
    // A stream does not hold the end up.
    let _events = http::send(connect(&path)?, "GET", "/events", None)?;
    collector.terminate()?;
    let status = collector.wait_exit(wait::seconds(4))?;
    ensure!(status.success() && !path.exists(), "{status}, and the socket is {}", path.exists());
    Ok(())
}

/// Over TCP it is asked who asks, as for the rest of the API; at the socket it is not.
fn guarded() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("collector-test-guarded-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (tokens, path) = (folder.join("tokens"), folder.join("socket"));
    bytes::write(&tokens, "s3cret-token\n")?;
    let collector = Collector::start(&[
        &format!("--bearer_token_file={}", tokens.display()),
        &format!("--docker_socket={}", path.display()),
    ])?;
    let bearer = [("Authorization", "Bearer s3cret-token")];
    for (target, status) in [
        ("/_ping", 200),
        ("/v1.41/containers/json", 200),
        ("//v1.41//containers/json", 200),
        ("/containers/json", 200),
        ("/containers/unknown/stats", 404),
        ("/v1.41/images/json", 404),
        ("/events?until=1", 200),
    ] {
        let response = collector.get(target)?;
        ensure!(response.status == 401, "{target} answers {} to anybody", response.status);
        let response = collector.get_with(target, &bearer)?;
        ensure!(response.status == status, "{target} answers {} to who may ask", response.status);
    }
    ask(&path, "/containers/json")?;
    drop(collector);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Docker's API is where everything is, and `DOCKER_HOST` can say so.
fn below_a_prefix() -> Result<()> {
    let surroundings = crate::support::surroundings::Surroundings::default();
    let collector = Collector::launch(surroundings, &["--url_base_prefix=/node/one"])?;
    wait::eventually(wait::seconds(10), || {
        ensure!(collector.get("/node/one/readyz")?.status == 200, "not ready");
        Ok(())
    })?;
    for (target, status) in [("/node/one/v1.41/version", 200), ("/v1.41/version", 404), ("/_ping", 404)] {
        let response = collector.get(target)?;
        ensure!(response.status == status, "{target} answers {}", response.status);
    }
    for command in commands()? {
        let output = Command::new(&command)
            .env("DOCKER_HOST", format!("tcp://{}/node/one", collector.address()))
            .env_remove("DOCKER_CONTEXT")
            .env("DOCKER_CONFIG", std::env::temp_dir().join("collector-test-no-config"))
            .args(["version", "--format", "{{.Server.Os}}"])
            .stdin(Stdio::null())
            .output()?;
        let reported = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.stdout == b"linux\n", "{}: {:?} {reported}", command.display(), output.stdout);
    }
    Ok(())
}
