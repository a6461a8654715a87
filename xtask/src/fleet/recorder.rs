//! Receives what collectors push, notes it, and passes it on.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::load::{Target, post};

/// Requests of one push come closer than this to each other.
const ONE_PUSH: Duration = Duration::from_millis(700);
/// No request is larger.
const LARGEST: usize = 64 << 20;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of either version.
    RemoteWrite,
    /// Over HTTP.
    Otlp,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    at: Instant,
    kind: Kind,
    /// As its header says.
    node: String,
    /// As it was sent.
    pub(super) body: Vec<u8>,
}

/// See the module. The thread that accepts ends with the command.
pub(super) struct Recorder {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Recorder {
    /// Listens on a free port.
    pub(super) fn start(pass_on: Option<String>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
        let address = listener.local_addr().context("the port is not known")?;
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, pass_on) = (Arc::clone(&kept), pass_on.clone());
                std::thread::spawn(move || {
                    // The end of a connection is no failure.
                    let _ = serve(stream, &kept, pass_on);
                });
            }
        });
        Ok(Self { address, requests })
    }

    /// The flags that have a collector push here.
    pub(super) fn remote_write(&self, version: &str) -> String {
        format!("--remote_write_version={version}\n--remote_write_url=http://{}/api/v1/write", self.address)
    }

    /// The same of OTLP.
    pub(super) fn otlp(&self) -> String {
        format!("--otlp_endpoint=http://{}", self.address)
    }

    fn all(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what came so far.
    pub(super) fn clear(&self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What came, push by push; the last may not be complete.
    pub(super) fn pushes(&self, kind: Kind) -> Vec<Vec<Request>> {
        let mut pushes: Vec<Vec<Request>> = Vec::new();
        for request in self.all().into_iter().filter(|request| request.kind == kind) {
            match pushes.last_mut() {
                Some(push) if push.last().is_some_and(|last| request.at - last.at < ONE_PUSH) => push.push(request),
                _ => pushes.push(vec![request]),
            }
        }
        pushes
    }

    /// When each collector's newest request came.
    pub(super) fn arrivals(&self) -> BTreeMap<String, Instant> {
        self.all().into_iter().map(|request| (request.node, request.at)).collect()
    }

    /// The longest time between two requests of one collector since then.
    pub(super) fn longest_gap(&self, since: &BTreeMap<String, Instant>) -> Duration {
        let mut last = since.clone();
        let mut longest = Duration::ZERO;
        for Request { at, node, .. } in self.all() {
            if let Some(before) = last.get(&node).copied().filter(|before| *before < at) {
                longest = longest.max(at - before);
            }
            if since.get(&node).is_none_or(|before| *before < at) {
                last.insert(node, at);
            }
        }
        longest
    }
}

fn serve(stream: TcpStream, kept: &Mutex<Vec<Request>>, pass_on: Option<String>) -> Result<()> {
    let target = pass_on.map(Target::new);
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let (mut first, mut length, mut node) = (String::new(), 0, String::new());
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "x-node" => value.trim().clone_into(&mut node),
                _ => {}
            }
        }
        anyhow::ensure!(length <= LARGEST, "{length} bytes are too many");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let at = Instant::now();
        let kind = if first.contains("/v1/metrics") { Kind::Otlp } else { Kind::RemoteWrite };
        let status = match &target {
            Some(target) if kind == Kind::RemoteWrite => post(target, &body).unwrap_or(503),
            _ => 200,
        };
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(Request { at, kind, node, body });
        // A receiver of 2.0 says how much it has written.
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nX-Prometheus-Remote-Write-Samples-Written: 1000000000\r\n\r\n"
        )?;
    }
}
