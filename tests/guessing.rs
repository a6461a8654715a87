//! Who guesses, and who looks for a way around: those who know the password are answered meanwhile.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use rustls::version;

use crate::auth::{Files, basic, certificate, connect, flag};
use crate::connections::connect_from;
use crate::support::collector::{Collector, Rights};
use crate::support::harness::Case;
use crate::support::http::{self, Response};
use crate::support::metrics::Metrics;
use crate::support::{Context as _, Result, ensure, h2, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("guessing::right_ones_do_not_wait", right_ones_do_not_wait),
    Case::new("guessing::guessing_is_slow", guessing_is_slow),
    Case::new("guessing::odd_targets_are_not_open", odd_targets_are_not_open),
    Case::new("guessing::streams_that_nobody_reads", streams_that_nobody_reads),
];

/// `secret`, by bcrypt, so that checking one takes a third of a second.
const SLOW_SECRET: &str = "$2b$12$abcdefghijklmnopqrstuuT1Iwu6o8Wx7BoOyIMHfgVJq6JO/IJhW";

/// Asks from one of the addresses of loopback; how long it took, too.
fn ask_from(collector: &Collector, last: u8, target: &str, authorization: &str) -> Result<(Response, Duration)> {
    let began = Instant::now();
    let stream = connect_from(collector, last)?;
    let response = http::request_with(stream, "GET", target, &[("Authorization", authorization)], None)?;
    Ok((response, began.elapsed()))
}

/// A hundred connections with wrong passwords: tokens and passwords that are known are answered at once, and others after
/// a hash or two. About five seconds.
fn right_ones_do_not_wait() -> Result<()> {
    let files = Files::new("waiting")?;
    let users = files.put("users", &format!("ann:{SLOW_SECRET}\nbob:{SLOW_SECRET}\n"))?;
    let tokens = files.put("tokens", "first\n")?;
    let mut collector = Collector::start(&[&flag("bearer_token_file", &tokens), &flag("http_auth_file", &users)])?;
    let target = "/api/v1.3/machine";
    let (known, took) = ask_from(&collector, 1, target, &basic("ann:secret"))?;
    ensure!(known.status == 200 && took < wait::seconds(3), "{known:?} after {took:?}");

    let mut wrong = Vec::new();
    for number in 0..100 {
        // Most are of one address, a few of several others.
        let mut stream = connect_from(&collector, if number % 10 == 0 { 10 + number / 10 } else { 1 })?;
        let pair = basic(&format!("ann:wrong-{number}"));
        write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {pair}\r\n\r\n")?;
        wrong.push(stream);
    }
    for (authorization, address, most) in [
        ("Bearer first".to_owned(), 1, 500),
        (basic("ann:secret"), 1, 500),
        ("Bearer first".to_owned(), 77, 500),
        // After one hash of each address that has not guessed before either.
        (basic("bob:secret"), 78, 15_000),
    ] {
        let (response, took) = ask_from(&collector, address, target, &authorization)?;
        ensure!(response.status == 200, "{authorization} from {address}: {}", response.status);
        ensure!(took < wait::millis(most), "{authorization} from {address} took {took:?}");
    }
    for stream in &mut wrong {
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        ensure!(matches!(&status, b"HTTP/1.1 401" | b"HTTP/1.1 429"), "{}", String::from_utf8_lossy(&status));
    }
    let metrics =
        http::request_with(collector.connect()?, "GET", "/metrics", &[("Authorization", "Bearer first")], None)?;
    let metrics = Metrics::parse(&metrics.text());
    let failures = metrics.sum("collector_authentication_failures_total");
    ensure!(failures as u64 == 100, "{failures} failures are counted");
    collector.check_alive()
}

/// Who is wrong too often is asked to wait, others are not, and a program that repeats one mistake is none of them.
fn guessing_is_slow() -> Result<()> {
    let files = Files::new("guessing")?;
    let tokens = files.put("tokens", "first\n")?;
    let collector = Collector::start(&[&flag("bearer_token_file", &tokens)])?;
    for _ in 0..100 {
        let (response, _) = ask_from(&collector, 2, "/metrics", "Bearer old")?;
        ensure!(response.status == 401, "the same mistake: {}", response.status);
    }
    let mut limited = 0;
    for number in 0..60 {
        let (response, _) = ask_from(&collector, 3, "/metrics", &format!("Bearer guess-{number}"))?;
        if response.status == 429 {
            ensure!(response.header("retry-after").is_some(), "{:?}", response.headers);
            limited += 1;
        } else {
            ensure!(response.status == 401, "{}", response.status);
        }
    }
    ensure!((20..=30).contains(&limited), "{limited} of 60 guesses were not looked at");
    for (address, authorization, status) in [(3, "Bearer first", 200), (4, "Bearer x", 401), (4, "Bearer first", 200)] {
        let (response, _) = ask_from(&collector, address, "/metrics", authorization)?;
        ensure!(response.status == status, "{authorization} from {address}: {}", response.status);
    }
    Ok(())
}

/// What is no path, or looks like an open one, is asked for credentials: over HTTP/1 here, and over HTTP/2 below.
fn odd_targets_are_not_open() -> Result<()> {
    let files = Files::new("odd")?;
    let tokens = files.put("tokens", "first\n")?;
    let (certificate_text, key, der) = certificate()?;
    let (cert, key) = (files.put("cert", &certificate_text)?, files.put("key", &key)?);
    let flags = [flag("bearer_token_file", &tokens), flag("tls_cert_file", &cert), flag("tls_private_key_file", &key)];
    let collector = Collector::launch(&Rights::default(), &[&flags[0], &flags[1], &flags[2]])?;
    for request in [
        "OPTIONS *",
        "GET *",
        "CONNECT localhost:80",
        "GET http://localhost/api/v1.3/containers/",
        "GET http://localhost/metrics",
        "GET //healthz",
        "GET /healthz/",
        "GET /./healthz",
        "GET /healthz/../metrics",
        "GET /HEALTHZ",
        "GET /healthz%00",
        "GET /%68ealthz",
        "GET /healthz;x",
        "PRI /metrics",
        "GET /nowhere",
    ] {
        let mut stream = connect(&collector, &der, &[b"http/1.1"], &version::TLS13)?;
        write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let refused = ["HTTP/1.1 401", "HTTP/1.1 400"].iter().any(|status| answer.starts_with(status));
        ensure!(refused, "{request}: {answer:.200}");
    }
    // `CONNECT`, and `OPTIONS *`: what comes back first after the settings is a head with status 401, which is a literal
    // of HPACK's with the indexed name `:status`.
    for head in [
        h2::head(&[(b":method", b"CONNECT"), (b":authority", b"localhost:80")]),
        h2::head(&[(b":method", b"OPTIONS"), (b":scheme", b"https"), (b":path", b"*"), (b":authority", b"localhost")]),
        h2::head(&[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":path", b"/metrics"),
            (b":authority", b"localhost"),
        ]),
    ] {
        let mut stream = h2::begin(connect(&collector, &der, &[b"h2"], &version::TLS13)?, 65_535)?;
        h2::send(&mut stream, h2::HEADERS, 5, 1, &head)?;
        let (_, _, payload) = h2::next(&mut stream, &[h2::HEADERS, h2::RESET])?;
        let status = payload.windows(3).find(|bytes| *bytes == b"401" || *bytes == b"\x81\xc0?");
        // Three digits are two bytes of Huffman code for 401, or three plain ones.
        let refused = status.is_some() || payload.windows(2).any(|bytes| bytes == [0x68, 0x01]) || payload.len() == 4;
        ensure!(refused, "{payload:02x?}");
    }
    Ok(())
}

/// One connection in HTTP/2 with a window of nothing and many streams: it has a bounded number of them, and each that
/// is not read is reset. About fifteen seconds.
fn streams_that_nobody_reads() -> Result<()> {
    let files = Files::new("streams")?;
    let (certificate_text, key, der) = certificate()?;
    let (cert, key) = (files.put("cert", &certificate_text)?, files.put("key", &key)?);
    let flags = [flag("tls_cert_file", &cert), flag("tls_private_key_file", &key)];
    let collector = Collector::launch(&Rights::default(), &[&flags[0], &flags[1]])?;
    let mut stream = h2::begin(connect(&collector, &der, &[b"h2"], &version::TLS13)?, 0)?;
    stream.sock.set_read_timeout(Some(wait::seconds(20)))?;
    let head = h2::head(&[
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/metrics"),
        (b":authority", b"localhost"),
    ]);
    // More at once would end the connection.
    for number in 0..32 {
        h2::send(&mut stream, h2::HEADERS, 5, 1 + 2 * number, &head)?;
    }
    let mut reset = std::collections::BTreeSet::new();
    let began = Instant::now();
    while reset.len() < 32 {
        let (_, number, _) = h2::next(&mut stream, &[h2::RESET])
            .with_context(|| format!("{} of 32 streams were reset after {:?}", reset.len(), began.elapsed()))?;
        reset.insert(number);
    }
    ensure!(began.elapsed() < wait::seconds(20), "it took {:?}", began.elapsed());
    let healthy = http::request(connect(&collector, &der, &[b"http/1.1"], &version::TLS13)?, "GET", "/metrics", None)?;
    let metrics = Metrics::parse(&healthy.text());
    let cut_off = metrics.sum("collector_unread_answers_total");
    ensure!(cut_off as u64 == 32, "{cut_off} answers were cut off; a connection may have 32 at once");
    let unsent = metrics.sum("collector_unsent_bytes");
    ensure!(unsent < 1e5, "{unsent} bytes wait still");
    Ok(())
}
