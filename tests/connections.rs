//! Clients that take connections, memory and names which are not theirs: whoever else asks is answered meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, Rlimit};

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, Rights};
use crate::support::harness::Case;
use crate::support::http::{self, Response};
use crate::support::time::Time;
use crate::support::{Context as _, Result, bytes, ensure, process, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("connections::half_sent_heads", half_sent_heads),
    Case::new("connections::busy_ones_leave_a_reserve", busy_ones_leave_a_reserve),
    Case::new("connections::few_descriptors", few_descriptors),
    Case::new("connections::no_descriptor_left_is_reported", no_descriptor_left_is_reported),
    Case::new("connections::slow_readers", slow_readers),
    Case::new("connections::foreign_names", foreign_names),
    Case::new("connections::bodies", bodies),
    Case::new("connections::nothing_executed_gains_rights", nothing_executed_gains_rights),
];

/// An honest client waits no longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects from one of the addresses of loopback.
pub(crate) fn connect_from(collector: &Collector, last: u8) -> Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
    rustix::net::connect(&socket, &collector.address())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(wait::seconds(20)))?;
    Ok(stream)
}

fn ask_from(collector: &Collector, last: u8, target: &str) -> Result<Response> {
    let began = Instant::now();
    let response = http::request(connect_from(collector, last)?, "GET", target, None)?;
    let took = began.elapsed();
    ensure!(took < wait::scaled(PATIENCE), "{target} took {took:?}");
    Ok(response)
}

fn is_healthy(collector: &Collector, last: u8) -> Result<()> {
    for target in ["/healthz", "/readyz"] {
        let response = ask_from(collector, last, target).with_context(|| format!("from 127.0.0.{last}"))?;
        ensure!(response.status == 200, "{target} answers {}: {}", response.status, response.text());
    }
    Ok(())
}

/// Whether the other side has hung up.
fn is_closed(stream: &TcpStream) -> Result<bool> {
    stream.set_nonblocking(true)?;
    let mut from = stream;
    match from.read(&mut [0; 1024]) {
        Ok(0) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Ok(error.kind() != ErrorKind::WouldBlock),
    }
}

/// More half-sent requests than there are connections, of one address and of several. About three seconds.
fn half_sent_heads() -> Result<()> {
    let mut collector = Collector::start(&[])?;
    for addresses in [1, 8] {
        let mut held = Vec::new();
        for number in 0..560_u32 {
            let mut stream = connect_from(&collector, 1 + (number % addresses) as u8)?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-")?;
            held.push(stream);
            if number % 40 == 39 {
                is_healthy(&collector, 1)?;
                is_healthy(&collector, 99)?;
            }
        }
        let metrics = collector.metrics()?;
        let open = metrics.sum("collector_connections");
        ensure!((2.0..=448.0).contains(&open), "{open} connections");
        let given_up = metrics.value("collector_connections_closed_total", &[("reason", "given_up")]);
        ensure!(given_up > Some(100.0), "{given_up:?} were given up");
        // The first ones are gone, the last ones are not.
        ensure!(is_closed(&held[0])? && !is_closed(&held[559])?, "others were given up than the oldest");
    }
    collector.check_alive()
}

/// Where every connection has a request that is not over, the health checks are still answered. About two seconds.
fn busy_ones_leave_a_reserve() -> Result<()> {
    // 72 connections: five are the reserve, and one address has 34.
    let rights = Rights { open_files: Some(256), ..Rights::default() };
    let mut collector = Collector::start_as(&rights, &[])?;
    let mut streams = Vec::new();
    let mut open = |last: u8, count: usize| -> Result<u16> {
        let mut refused = 0;
        for _ in 0..count {
            let target = "/api/v1.3/events?stream=true&oom_events=true";
            let answer = http::send(connect_from(&collector, last)?, "GET", target, None)?;
            match answer.status {
                200 => streams.push(answer),
                503 => refused += 1,
                other => crate::support::bail!("a stream of events: {other}"),
            }
        }
        Ok(refused)
    };
    let refused = open(2, 40)?;
    ensure!(refused == 6, "{refused} of one address were refused");
    is_healthy(&collector, 2)?;
    is_healthy(&collector, 3)?;
    let own = ask_from(&collector, 2, "/api/v1.3/machine")?;
    ensure!(own.status == 503 && own.header("retry-after").is_some(), "beyond its share: {own:?}");
    ensure!(own.text().contains("127.0.0.2"), "{}", own.text());
    ensure!(ask_from(&collector, 3, "/api/v1.3/machine")?.status == 200, "others are answered");
    open(3, 40)?;
    for last in [2, 3, 4] {
        is_healthy(&collector, last)?;
        let other = ask_from(&collector, last, "/api/v1.3/machine")?;
        ensure!(other.status == 503 && other.header("retry-after").is_some(), "where all are busy: {other:?}");
    }
    drop(streams);
    wait::eventually(wait::seconds(5), || {
        let status = ask_from(&collector, 4, "/metrics")?.status;
        ensure!(status == 200, "there is room again, but /metrics answers {status}");
        Ok(())
    })?;
    collector.check_alive()
}

/// More idle connections than descriptors: samples go on. About four seconds.
fn few_descriptors() -> Result<()> {
    let rights = Rights { open_files: Some(256), ..Rights::default() };
    let cgroups = Cgroups::new(Set::Every)?;
    let only = format!("--raw_cgroup_prefix_whitelist={}", cgroups.name());
    let mut collector = Collector::start_as(&rights, &["--housekeeping_interval=500ms", &only])?;
    for number in 0..40 {
        cgroups.make(format!("few-{number}"))?;
    }
    let idle: Vec<TcpStream> =
        (0..350_u32).map(|number| connect_from(&collector, 1 + (number % 10) as u8)).collect::<Result<_>>()?;
    for _ in 0..2 {
        let moment = Time::now_nanos();
        wait::eventually(wait::seconds(10), || {
            let target = format!("/api/v1.3/subcontainers{}", cgroups.name());
            let all: Vec<crate::support::api::Container> = collector.json(&target, Some(r#"{"num_stats":1}"#))?;
            ensure!(all.len() == 41, "{} of 41 cgroups are listed", all.len());
            for container in &all {
                let fresh = container.stats.last().filter(|stats| stats.timestamp.nanos > moment);
                let whole = fresh.is_some_and(|stats| stats.cpu.is_some() && stats.memory.is_some());
                ensure!(whole, "{} has no fresh and whole sample", container.name);
            }
            Ok(())
        })?;
    }
    let metrics = collector.metrics()?;
    let files = metrics.labels_above_zero("collector_read_errors_total", "file");
    ensure!(files.is_empty(), "could not be read: {files:?}");
    let health = collector.health()?;
    ensure!(!health.contains("RLIMIT_NOFILE"), "{health}");
    drop(idle);
    collector.check_alive()
}

fn set_open_files(collector: &Collector, current: Option<u64>) -> Result<Rlimit> {
    let pid = process::pid(collector.pid())?;
    let before = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit { current: current.or(before.maximum), maximum: before.maximum };
    Ok(rustix::process::prlimit(Some(pid), Resource::Nofile, limit)?)
}

/// `EMFILE` is said, with its fix, and is over when it is over. About 20 seconds, which are the time after which it is.
fn no_descriptor_left_is_reported() -> Result<()> {
    let mut collector = Collector::start(&[])?;
    set_open_files(&collector, Some(20))?;
    let waiting = collector.connect()?;
    let says_so = |text: &str| text.contains("no file descriptor was left") && text.contains("LimitNOFILE=");
    wait::eventually(wait::seconds(5), || {
        ensure!(collector.log().iter().any(|line| says_so(line)), "the log does not say so");
        Ok(())
    })?;
    set_open_files(&collector, None)?;
    let health = collector.health()?;
    ensure!(says_so(&health), "{health}");
    let reported = http::request(waiting, "GET", "/metrics", None)?;
    ensure!(reported.text().contains("collector_degraded{facility=\"descriptors\"} 1"), "the metric does not say so");
    wait::eventually(wait::seconds(40), || {
        let health = collector.health()?;
        ensure!(!health.contains("no file descriptor was left"), "still: {health}");
        Ok(())
    })?;
    collector.check_alive()
}

/// A client that takes a byte now and then is cut off, and one that is only quiet is not. About 25 seconds.
fn slow_readers() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    for number in 0..100 {
        cgroups.make(format!("slow-{number}-{}", "x".repeat(150)))?;
    }
    let mut collector = Collector::start(&["--housekeeping_interval=200ms"])?;
    let quiet = collector.stream("/", &["oom_events"])?;
    let target = format!("/api/v1.3/subcontainers{}", cgroups.name());
    wait::eventually(wait::seconds(15), || {
        let length = collector.request("POST", &target, Some(r#"{"num_stats":60}"#))?.body.len();
        ensure!(length > 4 << 20, "an answer has only {length} bytes");
        Ok(())
    })?;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096)?;
        rustix::net::connect(&socket, &collector.address())?;
        let mut stream = TcpStream::from(socket);
        write!(stream, "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{{\"num_stats\":60}}")?;
        stream.set_read_timeout(Some(wait::millis(200)))?;
        slow.push(stream);
    }
    let cut_off = || -> Result<f64> {
        let metrics = collector.metrics()?;
        Ok(metrics.value("collector_connections_closed_total", &[("reason", "slow_reader")]).unwrap_or(0.0))
    };
    let began = Instant::now();
    while cut_off()? < 20.0 {
        ensure!(began.elapsed() < wait::seconds(25), "only {} of 20 were cut off", cut_off()?);
        for stream in &mut slow {
            // Whatever comes of it: what is left in the buffers, or the end.
            let _ = stream.read(&mut [0; 1]);
        }
        is_healthy(&collector, 1)?;
        wait::pass(wait::millis(500));
    }
    let unsent = collector.metrics()?.value("collector_unsent_bytes", &[]);
    ensure!(unsent.is_some_and(|bytes| bytes < 1e6), "{unsent:?} bytes wait still");
    ensure!(quiet.end().is_none(), "a quiet stream of events was ended: {:?}", quiet.end());
    collector.check_alive()
}

/// The status and the text of the answer to a head as it is.
fn raw(collector: &Collector, head: &str) -> Result<(u16, String)> {
    let mut stream = collector.connect()?;
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.with_context(|| format!("{head:?}: {text:.100}"))?, text))
}

/// Names that lead here although nobody gave them, and pages of others. About a second.
fn foreign_names() -> Result<()> {
    let answer = |collector: &Collector, headers: &[&str]| -> Result<(u16, String)> {
        let headers = headers.join("\r\n");
        raw(collector, &format!("GET /api/v1.3/machine HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n"))
    };
    let collector = Collector::start(&[])?;
    let port = collector.address().port();
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for host in ["localhost", &format!("127.0.0.1:{port}"), "[::1]", "a.localhost:1", &node] {
        let (status, text) = answer(&collector, &[&format!("Host: {host}")])?;
        ensure!(status == 200, "{host}: {text:.300}");
    }
    for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example"] {
        for path in ["/api/v1.3/machine", "/metrics", "/healthz", "/containers/", "/stats/summary"] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let (status, text) = raw(&collector, &head)?;
            ensure!(status == 403, "{host} {path}: {text:.300}");
            ensure!(text.contains(host) && text.contains("--allowed_hosts="), "{text}");
        }
    }
    let absolute = "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    ensure!(raw(&collector, absolute)?.0 == 403, "a target with a host");
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        let (status, text) = answer(&collector, &["Host: localhost", &format!("Origin: {origin}")])?;
        ensure!(status == 403 && text.contains(origin), "{origin}: {text:.300}");
    }
    let own = format!("Origin: http://127.0.0.1:{port}");
    let (status, _) = answer(&collector, &[&format!("Host: 127.0.0.1:{port}"), &own])?;
    ensure!(status == 200, "the collector's own page: {status}");
    drop(collector);

    let collector = Collector::start(&["--allowed_hosts=metrics.example,*.svc"])?;
    for (host, expected) in [("metrics.example", 200), ("a.svc:80", 200), ("localhost", 200), ("evil.example", 403)] {
        let (status, text) = answer(&collector, &[&format!("Host: {host}")])?;
        ensure!(status == expected, "{host}: {text:.300}");
    }
    drop(collector);
    // Elsewhere than on loopback, any name may be that of a service.
    let collector = Collector::launch(&Rights::default(), &["--listen_ip=0.0.0.0"])?;
    let (status, text) = answer(&collector, &["Host: collector.monitoring.svc"])?;
    ensure!(status == 200, "a service's name: {text:.300}");
    let (status, _) = answer(&collector, &["Host: collector.monitoring.svc", "Origin: http://evil.example"])?;
    ensure!(status == 403, "a page of others: {status}");
    Ok(())
}

/// Bodies that are too long, and too many at once. About two seconds.
fn bodies() -> Result<()> {
    let mut collector = Collector::start(&[])?;
    let long = " ".repeat((1 << 20) + 1);
    for (target, begin) in [
        ("/api/v1.3/containers/", "unable to decode the json value: "),
        ("/stats/container/", "Internal Error: unable to decode the json value: "),
    ] {
        let answer = collector.request("POST", target, Some(&long))?;
        ensure!(
            answer.status == 413 && answer.text().starts_with(begin),
            "{target}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let mut begun = Vec::new();
    for number in 0..20 {
        let mut stream = connect_from(&collector, 1 + number % 4)?;
        write!(stream, "POST /api/v1.3/containers/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")?;
        // It may be refused before all is written.
        let _ = stream.write_all(&vec![b' '; 900_000]);
        begun.push(stream);
    }
    wait::eventually(wait::seconds(5), || {
        let held = collector.metrics()?.value("collector_request_body_bytes", &[]);
        let is_bounded = held.is_some_and(|bytes| bytes > 5e6 && bytes <= f64::from(8 << 20));
        ensure!(is_bounded, "{held:?} bytes of bodies are kept");
        Ok(())
    })?;
    let refused = begun.iter_mut().filter_map(|stream| {
        stream.set_read_timeout(Some(wait::millis(300))).ok()?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    });
    let refused: Vec<String> = refused.collect();
    ensure!(refused.len() >= 8 && refused.iter().all(|line| line == "HTTP/1.1 503"), "{refused:?}");
    let metrics = collector.metrics()?;
    for (reason, expected) in [("body_bytes", 2), ("bodies", refused.len())] {
        let counted = metrics.value("collector_requests_refused_total", &[("reason", reason)]);
        ensure!(counted == Some(expected as f64), "{counted:?} are counted as refused for {reason}, not {expected}");
    }
    drop(begun);
    wait::eventually(wait::seconds(5), || {
        let held = collector.metrics()?.value("collector_request_body_bytes", &[]);
        ensure!(held == Some(0.0), "{held:?} bytes of bodies are still kept");
        Ok(())
    })?;
    collector.check_alive()
}

/// As root: no thread's rights are more than what is used, nor could be.
fn nothing_executed_gains_rights() -> Result<()> {
    let collector = Collector::start(&[])?;
    for task in std::fs::read_dir(format!("/proc/{}/task", collector.pid()))? {
        let status = bytes::read(task?.path().join("status").display().to_string())?;
        let row = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let bits = |name: &str| u64::from_str_radix(row(name)?, 16).ok();
        ensure!(row("NoNewPrivs:") == Some("1"), "{status}");
        ensure!(bits("CapInh:") == Some(0) && bits("CapAmb:") == Some(0), "{status}");
        let permitted = bits("CapPrm:").context("no CapPrm")?;
        // What every process of root's starts with and this one never uses: CHOWN, KILL, SETUID, NET_ADMIN, SYS_MODULE.
        let never = [0, 5, 7, 12, 16].iter().fold(0, |bits, number| bits | 1_u64 << number);
        ensure!(permitted & never == 0, "{status}");
        ensure!(bits("CapBnd:").is_some_and(|bounding| bounding & !permitted == 0), "{status}");
    }
    Ok(())
}
