//! A running collector.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde::de::DeserializeOwned;

use super::api::{Container, Event};
use super::http::{self, Response};
use super::metrics::Metrics;
use super::settings::settings;
use super::stream::EventStream;
use super::surroundings::Surroundings;
use super::{Context as _, Result, bail, bytes, ensure, process, wait};

pub(crate) use super::surroundings::Rights;

/// Lines of a collector's log shown when a test fails.
const LAST_WORDS: usize = 30;
/// Flags every collector gets unless the test sets them.
const DEFAULT_FLAGS: [&str; 3] = ["--port=0", "--listen_ip=127.0.0.1", "--allow_dynamic_housekeeping=false"];

/// What a collector has said on standard error.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The logs of all collectors of this test.
static LOGS: Mutex<Vec<Log>> = Mutex::new(Vec::new());

/// The ends of the logs of all collectors of this test.
pub(crate) fn last_words() -> String {
    let logs = LOGS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = String::new();
    for log in logs.iter() {
        let lines = log.lines();
        text.push_str("  the collector said:\n");
        for line in &lines[lines.len().saturating_sub(LAST_WORDS)..] {
            text.push_str("    | ");
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// A collector, killed when dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    child: Child,
    address: SocketAddr,
    log: Log,
}

impl Collector {
    /// Starts a collector as root and waits until it is ready.
    pub(crate) fn start(flags: &[&str]) -> Result<Self> {
        Self::start_as(Surroundings::default(), flags)
    }

    /// Starts a collector with certain rights, or in certain surroundings, and waits until it is ready.
    pub(crate) fn start_as(surroundings: impl Into<Surroundings>, flags: &[&str]) -> Result<Self> {
        let collector = Self::launch(surroundings, flags)?;
        collector.wait_ready()?;
        Ok(collector)
    }

    /// Starts a collector and waits only until it listens.
    pub(crate) fn launch(surroundings: impl Into<Surroundings>, flags: &[&str]) -> Result<Self> {
        let (mut child, log) = spawn(&surroundings.into(), flags)?;
        let listening = wait::eventually(wait::seconds(10), || {
            if let Some(status) = child.try_wait()? {
                return Ok(Err(status));
            }
            let line = log.lines().into_iter().find_map(|line| {
                let (_, rest) = line.split_once("listening on http")?;
                let (_, rest) = rest.split_once("://")?;
                rest.split(|letter: char| !letter.is_ascii_hexdigit() && !".:[]".contains(letter)).next()?.parse().ok()
            });
            Ok(Ok(line.context("the collector has not said where it listens")?))
        });
        match listening {
            Ok(Ok(address)) => Ok(Self { child, address, log }),
            Ok(Err(status)) => bail!("the collector ended while starting: {status}"),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn wait_ready(&self) -> Result<()> {
        wait::eventually(wait::seconds(10), || {
            let response = self.get("/readyz")?;
            ensure!(response.status == 200, "/readyz answers {} {}", response.status, response.text());
            Ok(())
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks with more headers than usual.
    pub(crate) fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Result<Response> {
        http::request_with(self.connect()?, "GET", target, headers, None)
    }

    /// What it has said on standard error so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Stops it by SIGSTOP.
    pub(crate) fn stop(&self) -> Result<()> {
        process::signal(self.pid(), Signal::STOP)?;
        process::wait_stopped(self.pid())
    }

    /// Continues it by SIGCONT.
    pub(crate) fn go_on(&self) -> Result<()> {
        process::signal(self.pid(), Signal::CONT)
    }

    /// Asks it to end by SIGTERM.
    pub(crate) fn terminate(&self) -> Result<()> {
        process::signal(self.pid(), Signal::TERM)
    }

    /// Waits for its end.
    pub(crate) fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        wait::eventually(timeout, || self.child.try_wait()?.context("the collector still runs"))
    }

    /// Complains if the process has ended or has panicked.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the collector has ended");
        let panics: Vec<_> = self.log().into_iter().filter(|line| line.contains("panicked")).collect();
        ensure!(panics.is_empty(), "the collector panicked: {panics:?}");
        Ok(())
    }

    pub(crate) fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(wait::seconds(20)))?;
        Ok(stream)
    }

    /// Sends a request of any kind.
    pub(crate) fn request(&self, method: &str, target: &str, body: Option<&str>) -> Result<Response> {
        http::request(self.connect()?, method, target, body.map(str::as_bytes))
    }

    /// A GET request.
    pub(crate) fn get(&self, target: &str) -> Result<Response> {
        self.request("GET", target, None)
    }

    /// A request that must be answered 200 with JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, target: &str, body: Option<&str>) -> Result<T> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let response = self.request(method, target, body)?;
        ensure!(response.status == 200, "{target} answered {}: {}", response.status, response.text().trim_end());
        serde_json::from_slice(&response.body).with_context(|| format!("{target} is not the JSON expected"))
    }

    /// One container with its stored samples.
    pub(crate) fn container(&self, name: &str) -> Result<Container> {
        self.json(&format!("/api/v1.3/containers{}", bytes::url_encode(name.as_bytes())), None)
    }

    /// Names of a cgroup and all below it, sorted. The API's prefix match is cut back to whole path elements.
    pub(crate) fn names_below(&self, name: &str) -> Result<Vec<String>> {
        let target = format!("/api/v1.3/subcontainers{}", bytes::url_encode(name.as_bytes()));
        let response = self.request("POST", &target, Some(r#"{"num_stats":1}"#))?;
        if response.status == 500 && response.text().contains("no containers found") {
            return Ok(Vec::new());
        }
        ensure!(response.status == 200, "{target} answered {}: {}", response.status, response.text());
        let containers: Vec<Container> = serde_json::from_slice(&response.body)?;
        let below = |other: &str| other == name || other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
        let mut names: Vec<String> =
            containers.into_iter().map(|container| container.name).filter(|name| below(name)).collect();
        names.sort();
        Ok(names)
    }

    /// All stored events of a cgroup and below; `kinds` as query parameters, such as `oom_events`.
    pub(crate) fn events(&self, name: &str, kinds: &[&str]) -> Result<Vec<Event>> {
        self.json(&format!("{}&max_events=-1", events_target(name, kinds)), None)
    }

    /// A stream of the events of a cgroup and below.
    pub(crate) fn stream(&self, name: &str, kinds: &[&str]) -> Result<EventStream> {
        EventStream::open(self.address, &format!("{}&stream=true", events_target(name, kinds)))
    }

    /// `/metrics`.
    pub(crate) fn metrics(&self) -> Result<Metrics> {
        let response = self.get("/metrics")?;
        ensure!(response.status == 200, "/metrics answered {}", response.status);
        Ok(Metrics::parse(&response.text()))
    }

    /// `/healthz?verbose`.
    pub(crate) fn health(&self) -> Result<String> {
        let response = self.get("/healthz?verbose")?;
        ensure!(response.status == 200, "/healthz?verbose answered {}: {}", response.status, response.text());
        Ok(response.text())
    }

    /// `ebpf` or `scan`, as `/healthz?verbose` says.
    pub(crate) fn event_mode(&self) -> Result<String> {
        let health = self.health()?;
        let mode = health.lines().find_map(|line| line.trim().strip_prefix("kernel events: "));
        Ok(mode.with_context(|| format!("/healthz?verbose names no mode:\n{health}"))?.trim().to_owned())
    }

    /// Complains unless kernel events arrive through eBPF: these tests prove nothing otherwise.
    pub(crate) fn require_ebpf(&self) -> Result<()> {
        let mode = self.event_mode()?;
        ensure!(mode == "ebpf", "kernel events: {mode}, but this test is about eBPF:\n{}", self.health()?);
        Ok(())
    }
}

fn events_target(name: &str, kinds: &[&str]) -> String {
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("{kind}=true")).collect();
    format!("/api/v1.3/events{}?subcontainers=true&{}", bytes::url_encode(name.as_bytes()), kinds.join("&"))
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(surroundings: &Surroundings, flags: &[&str]) -> Result<(Child, Log)> {
    let name = |flag: &str| flag.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned();
    let defaults = DEFAULT_FLAGS.iter().filter(|default| !flags.iter().any(|flag| name(flag) == name(default)));
    let mut child = surroundings
        .command(&settings().collector)?
        .args(defaults)
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the collector")?;
    let log = Log::default();
    LOGS.lock().unwrap_or_else(PoisonError::into_inner).push(log.clone());
    let lines = BufReader::new(child.stderr.take().context("standard error is a pipe")?);
    let kept = log.clone();
    std::thread::spawn(move || {
        for line in lines.split(b'\n').map_while(std::io::Result::ok) {
            kept.0.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(&line).into_owned());
        }
    });
    Ok((child, log))
}

/// Starts a collector that is expected to end by itself; its exit status and what it said.
pub(crate) fn run_to_end(surroundings: impl Into<Surroundings>, flags: &[&str]) -> Result<(ExitStatus, Vec<String>)> {
    let (mut child, log) = spawn(&surroundings.into(), flags)?;
    let status = wait::eventually(wait::seconds(10), || child.try_wait()?.context("the collector still runs"));
    if status.is_err() {
        child.kill()?;
        child.wait()?;
    }
    // The reader of standard error may be a moment behind the process.
    let _ = wait::eventually(wait::millis(500), || {
        ensure!(!log.lines().is_empty(), "nothing said yet");
        Ok(())
    });
    Ok((status?, log.lines()))
}
