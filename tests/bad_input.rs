//! What is wrong is said in one clear line; nothing a client sends breaks anything.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::support::collector::{Collector, Rights, run_to_end};
use crate::support::harness::Case;
use crate::support::{Result, ensure};

pub(crate) const CASES: &[Case] = &[
    Case::new("bad_input::port_in_use", port_in_use),
    Case::new("bad_input::unknown_flag", unknown_flag),
    Case::new("bad_input::bad_value", bad_value),
    Case::new("bad_input::go_spelling", go_spelling),
    Case::new("bad_input::missing_mount", missing_mount),
    Case::new("bad_input::unreadable_root", unreadable_root),
    Case::new("bad_input::ebpf_without_rights", ebpf_without_rights),
    Case::new("bad_input::requests", requests),
    Case::new("bad_input::broken_requests", broken_requests),
];

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("collector-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The collector must refuse to start, with one line that holds all these words.
fn refuses(rights: &Rights, flags: &[&str], words: &[&str]) -> Result<()> {
    let (status, log) = run_to_end(rights, flags)?;
    ensure!(!status.success(), "{flags:?}: it ended with success");
    ensure!(status.code().is_some_and(|code| code != 101), "{flags:?}: it ended with {status}");
    // Lines of the log proper tell of a start that went well so far.
    let lines: Vec<&String> = log
        .iter()
        .filter(|line| !line.trim().is_empty() && !line.contains(" INFO ") && !line.contains(" WARN "))
        .collect();
    let [line] = lines.as_slice() else { crate::support::bail!("{flags:?}: not one line but {lines:#?}") };
    for word in words {
        ensure!(line.contains(word), "{flags:?}: {word:?} is not in {line:?}");
    }
    Ok(())
}

fn port_in_use() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    refuses(&Rights::default(), &[&format!("--port={port}")], &[&port, "in use"])
}

fn unknown_flag() -> Result<()> {
    refuses(&Rights::default(), &["--houskeeping_interval=1s"], &["houskeeping_interval", "--housekeeping_interval"])?;
    refuses(&Rights::default(), &["-strage_duration=1m"], &["strage_duration", "storage_duration"])?;
    refuses(&Rights::default(), &["--zzz"], &["zzz"])
}

fn bad_value() -> Result<()> {
    for (flag, value) in [
        ("housekeeping_interval", "soon"),
        ("housekeeping_interval", "0s"),
        ("port", "eighty"),
        ("port", "70000"),
        ("listen_ip", "300.1.1.1"),
        ("storage_duration", "-5s"),
        ("disable_metrics", "cpu,nonsense"),
        ("enable_metrics", "nonsense"),
        ("kernel_events", "maybe"),
        ("ring_buffer_bytes", "1000"),
    ] {
        refuses(&Rights::default(), &[&format!("--{flag}={value}")], &[flag])?;
    }
    Ok(())
}

/// Flags as Go programs take them.
fn go_spelling() -> Result<()> {
    let collector = Collector::start(&[
        "-port=0",
        "-listen_ip=127.0.0.1",
        "-housekeeping_interval=1.5s",
        "-storage_duration",
        "2m0s",
        "-allow_dynamic_housekeeping=false",
        "-docker_only=true",
        "-event_storage_age_limit=default=24h,oom=1h",
        "-event_storage_event_limit=default=1000",
        "-disable_metrics=",
    ])?;
    ensure!(collector.get("/healthz")?.status == 200, "/healthz");
    Ok(())
}

fn missing_mount() -> Result<()> {
    let empty = Folder::new("empty")?;
    let path = empty.0.display().to_string();
    refuses(&Rights::default(), &[&format!("--cgroup_root={path}")], &[&path])?;
    refuses(&Rights::default(), &[&format!("--proc_root={path}")], &[&path])?;
    refuses(&Rights::default(), &["--cgroup_root=/nonexistent/cgroup"], &["/nonexistent/cgroup"])
}

fn unreadable_root() -> Result<()> {
    let closed = Folder::new("closed")?;
    fs::set_permissions(&closed.0, fs::Permissions::from_mode(0o700))?;
    let path = closed.0.join("cgroup").display().to_string();
    let nobody = Rights { uid: Some(65534), ..Rights::default() };
    refuses(&nobody, &[&format!("--cgroup_root={path}")], &[&path])
}

/// Who insists on eBPF is told why it cannot be.
fn ebpf_without_rights() -> Result<()> {
    let nobody = Rights { uid: Some(65534), ..Rights::default() };
    refuses(&nobody, &["--kernel_events=ebpf"], &["CAP_BPF"])
}

fn requests() -> Result<()> {
    let mut collector = Collector::start(&[])?;
    let v1 = r#"Supported request types: "containers,docker,events,machine,subcontainers""#;
    // Method, target, body, status, how the answer begins.
    let table: &[(&str, &str, Option<&str>, u16, &str)] = &[
        ("GET", "/healthz", None, 200, "ok"),
        ("GET", "/api/", None, 400, "Supported API versions: "),
        ("GET", "/api/v1.3", None, 400, v1),
        ("GET", "/api/v1.3/", None, 400, v1),
        ("GET", "/api/v9.9/machine", None, 500, "unsupported API version \"v9.9\"\n"),
        ("GET", "/api/v1.3/nonsense", None, 500, "unknown request type \"nonsense\"\n"),
        (
            "GET",
            "/api/v1.3/containers/no/such",
            None,
            500,
            "failed to get container \"/no/such\" with error: unknown container \"/no/such\"\n",
        ),
        (
            "GET",
            "/api/v1.3/subcontainers/no/such",
            None,
            500,
            "failed to get subcontainers for container \"/no/such\" with error: no containers found\n",
        ),
        ("POST", "/api/v1.3/containers/", Some("{"), 500, "unable to decode the json value: "),
        ("POST", "/api/v1.3/containers/", Some("[]"), 500, "unable to decode the json value: "),
        ("POST", "/api/v1.3/containers/", Some(r#"{"num_stats":"many"}"#), 500, "unable to decode the json value: "),
        ("POST", "/api/v1.3/containers/", Some(r#"{"start":"yesterday"}"#), 500, "unable to decode the json value: "),
        ("POST", "/api/v1.3/containers/", Some(r#"{"num_stats":-2}"#), 500, ""),
        ("POST", "/api/v1.3/containers/", Some(""), 200, "{"),
        ("POST", "/api/v1.3/containers/", Some(r#"{"NUM_STATS":1,"unknown":[]}"#), 200, "{"),
        ("PUT", "/api/v1.3/machine", None, 200, "{"),
        ("GET", "/api/v1.3/events/?max_events=-2&all_events=true", None, 500, ""),
        ("GET", "/api/v1.3/events/?max_events=many&all_events=perhaps", None, 200, "["),
        ("GET", "/api/v1.3/events/", None, 200, "[]"),
        (
            "GET",
            "/api/v1.3/events/?stream=true&all_events=true&start_time=2024-01-01T00:00:00Z",
            None,
            500,
            "for a call to watch, request.StartTime and request.EndTime must be uninitialized\n",
        ),
        ("GET", "/api/v1.3/containers/%ff%00%2e", None, 500, "failed to get container "),
    ];
    let mut wrong = Vec::new();
    for (method, target, body, status, begins) in table {
        match collector.request(method, target, *body) {
            Err(error) => wrong.push(format!("{method} {target} {body:?}: no answer: {error:#}")),
            Ok(response) if response.status != *status || !response.text().starts_with(begins) => {
                wrong.push(format!("{method} {target} {body:?}: {} {:.120?}", response.status, response.text()));
            }
            Ok(response) if *target != "/healthz" => {
                let expected = if *status == 200 { "application/json" } else { "text/plain; charset=utf-8" };
                let kind = response.header("content-type");
                if kind != Some(expected) {
                    wrong.push(format!("{method} {target}: the content type is {kind:?}, not {expected}"));
                }
            }
            Ok(_) => {}
        }
    }
    ensure!(wrong.is_empty(), "{} of {} answers are wrong:\n  {}", wrong.len(), table.len(), wrong.join("\n  "));
    collector.check_alive()
}

/// Requests that are no HTTP, too long or cut off do no harm.
fn broken_requests() -> Result<()> {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpStream};
    let mut collector = Collector::start(&[])?;
    let long = format!("GET /api/v1.3/containers/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(1 << 20));
    let requests: [&[u8]; 6] = [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00nonsense",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1.3/containers/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /api/v1.3/containers/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        long.as_bytes(),
    ];
    for request in requests {
        let mut stream = TcpStream::connect(collector.address())?;
        // The collector may hang up before all is written.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    ensure!(collector.get("/healthz")?.status == 200, "/healthz");
    collector.check_alive()
}
