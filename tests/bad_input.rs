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
    Case::new("bad_input::files_that_flags_name", files_that_flags_name),
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
    // Lines of the log proper show a start that went well so far.
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

/// Flags that name a file or a directory without which the collector does not start, and what else they need.
const FILE_FLAGS: [(&str, &[&str]); 10] = [
    ("http_auth_file", &[]),
    ("http_digest_file", &[]),
    ("bearer_token_file", &[]),
    ("tls_cert_file", &["--tls_private_key_file=KEY"]),
    ("tls_private_key_file", &["--tls_cert_file=CERT"]),
    (
        "kubelet_tls_cert_file",
        &["--kubelet_port=PORT", "--kubelet_tls_private_key_file=KEY", "--kubelet_token_file=TOKEN"],
    ),
    (
        "kubelet_tls_private_key_file",
        &["--kubelet_port=PORT", "--kubelet_tls_cert_file=CERT", "--kubelet_token_file=TOKEN"],
    ),
    ("kubelet_token_file", &["--kubelet_port=PORT", "--tls_cert_file=CERT", "--tls_private_key_file=KEY"]),
    ("kubelet_client_ca_file", &["--kubelet_port=PORT", "--tls_cert_file=CERT", "--tls_private_key_file=KEY"]),
    ("perf_events_config", &[]),
];
const DIRECTORY_FLAGS: [&str; 4] = ["rootfs", "proc_root", "sys_root", "cgroup_root"];

/// Flag, value, cause and fix are in the one line that is said about a file.
fn files_that_flags_name() -> Result<()> {
    let folder = Folder::new("files")?;
    let at = |name: &str| folder.0.join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    fs::write(at("cert"), made.cert.pem())?;
    fs::write(at("key"), made.signing_key.serialize_pem())?;
    fs::write(at("token"), "t\n")?;
    fs::write(at("closed"), "t\n")?;
    fs::set_permissions(at("closed"), fs::Permissions::from_mode(0o000))?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let fill = |flag: &str| {
        let flag = flag.replace("KEY", &at("key")).replace("CERT", &at("cert"));
        flag.replace("TOKEN", &at("token")).replace("PORT", &port)
    };
    let nobody = Rights { uid: Some(65534), ..Rights::default() };
    let root = Rights::default();
    let (missing, directory, closed, below) = (at("missing"), at(""), at("closed"), at("token/x"));
    let causes = [
        (&root, &missing, "No such file or directory", "in a container it has to be mounted"),
        (&root, &directory, "Is a directory", "give a file"),
        (&root, &below, "Not a directory", "give the right path"),
        (&nobody, &closed, "Permission denied", "let the collector's user read it"),
    ];
    for (flag, others) in FILE_FLAGS {
        let others: Vec<String> = others.iter().map(|other| fill(other)).collect();
        for (rights, value, cause, fix) in causes {
            // Others' files are not what this is about.
            if rights.uid.is_some() && !others.is_empty() {
                continue;
            }
            let named = format!("--{flag}={value}");
            let flags: Vec<&str> = std::iter::once(named.as_str()).chain(others.iter().map(String::as_str)).collect();
            refuses(rights, &flags, &[&format!("error: {named}: {cause}"), fix])?;
        }
    }
    for flag in DIRECTORY_FLAGS {
        for (value, cause) in [(&missing, "No such file or directory"), (&closed, "not a directory")] {
            let named = format!("--{flag}={value}");
            refuses(&root, &[&named], &[&format!("error: {named}: {cause}"), "the directory at which"])?;
        }
    }
    let named = format!("--docker_socket={}", at("nowhere/sock"));
    refuses(&root, &[&named], &[&format!("error: {named}: No such file"), "give a path in a directory"])?;
    // Docker may come later.
    let cert = format!("--docker-tls-cert={missing}");
    let collector = Collector::start(&["--docker=tcp://127.0.0.1:1", "--docker-tls", &cert])?;
    let noted = format!("{cert}: No such file or directory");
    ensure!(collector.log().iter().any(|line| line.contains(&noted)), "it says nothing of {cert}");
    Ok(())
}

fn missing_mount() -> Result<()> {
    let empty = Folder::new("empty")?;
    let path = empty.0.display().to_string();
    refuses(&Rights::default(), &[&format!("--cgroup_root={path}")], &[&path, "--cgroup_root"])?;
    refuses(&Rights::default(), &[&format!("--proc_root={path}")], &[&path, "--proc_root"])?;
    refuses(&Rights::default(), &["--cgroup_root=/nonexistent/cgroup"], &["/nonexistent/cgroup"])
}

fn unreadable_root() -> Result<()> {
    let closed = Folder::new("closed")?;
    fs::set_permissions(&closed.0, fs::Permissions::from_mode(0o700))?;
    let path = closed.0.join("cgroup").display().to_string();
    let nobody = Rights { uid: Some(65534), ..Rights::default() };
    refuses(&nobody, &[&format!("--cgroup_root={path}")], &[&path])
}

/// Who insists on eBPF gets the reason why it cannot be.
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
