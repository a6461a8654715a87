//! What answers cost in memory: many at once, long ones, and clients that are slow to read.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cgroups::{Cgroup, Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::surroundings::Surroundings;
use crate::support::{Context as _, Result, bail, bytes, ensure, http, wait};

pub(crate) const CASES: &[Case] = &[
    // Four seconds.
    Case::new("answers::many_scrapes_at_once_get_200", many_scrapes_at_once),
    // Six seconds.
    Case::new("answers::slow_readers_take_bounded_memory", slow_readers).within(120),
    // Ten seconds.
    Case::new("answers::long_lists_in_parallel_under_a_memory_limit", long_lists).within(120),
    // Two seconds.
    Case::new("answers::an_unfinished_answer_does_not_look_whole", unfinished),
];

/// Makes so many cgroups and waits until all are listed.
fn populate<'a>(cgroups: &'a Cgroups, collector: &Collector, count: usize) -> Result<Vec<Cgroup<'a>>> {
    let made = (0..count).map(|number| cgroups.make(format!("c{number:04}"))).collect::<Result<Vec<_>>>()?;
    wait::eventually(wait::seconds(20), || {
        let listed = collector.names_below(&cgroups.name())?.len();
        ensure!(listed > count, "{listed} of {count} are listed");
        Ok(())
    })?;
    Ok(made)
}

/// The most memory that the process has had resident so far.
fn peak(collector: &Collector) -> Result<u64> {
    let status = bytes::read(format!("/proc/{}/status", collector.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

fn own(collector: &Collector, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
    collector.metrics()?.value(name, labels).with_context(|| format!("no {name} {labels:?}"))
}

fn many_scrapes_at_once() -> Result<()> {
    let cgroups = Cgroups::new(Set::One)?;
    let collector = Collector::start(&[])?;
    let _made = populate(&cgroups, &collector, 300)?;
    let end = Instant::now() + Duration::from_secs(2);
    let answered = AtomicUsize::new(0);
    let ask = || -> Result<()> {
        while Instant::now() < end {
            let response = collector.get("/metrics")?;
            ensure!(response.status == 200, "{} {}", response.status, response.text());
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let asking: Vec<_> = (0..120).map(|_| scope.spawn(ask)).collect();
        for thread in asking {
            thread.join().map_err(|_| crate::support::Error::msg("a client panicked"))??;
        }
        Ok::<_, crate::support::Error>(())
    })?;
    let answered = answered.into_inner() as f64;
    let shared = own(&collector, "collector_answers_shared_total", &[])?;
    ensure!(shared > answered / 4.0, "{shared} of {answered} were shared");
    // What is refused would not be shown as absent but as 0.
    for reason in ["queue", "size", "streams", "timeout"] {
        let refused = own(&collector, "collector_answers_refused_total", &[("reason", reason)])?;
        ensure!(refused == 0.0, "{refused} were refused: {reason}");
    }
    println!("    {answered} scrapes in two seconds, {shared} of them shared");
    Ok(())
}

fn slow_readers() -> Result<()> {
    const BUDGET: u64 = 16 << 20;
    let cgroups = Cgroups::new(Set::One)?;
    let collector = Collector::start(&[&*format!("--answer_buffer_bytes={BUDGET}")])?;
    let _made = populate(&cgroups, &collector, 300)?;
    let size = collector.get("/metrics")?.body.len() as u64;
    let before = peak(&collector)?;
    let mut slow = Vec::new();
    let began = Instant::now();
    for number in 0..160 {
        let mut stream = collector.connect()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: collector\r\n\r\n")?;
        slow.push(stream);
        if number % 4 == 0 {
            // So that they are of different moments.
            wait::pass(Duration::from_millis(60));
            let honest = collector.get("/metrics")?;
            ensure!(honest.status == 200, "beside {number} slow ones: {} {}", honest.status, honest.text());
        }
    }
    let after = peak(&collector)?;
    // The budget, and for each connection what the kernel does not take and what it is handed ahead of that.
    let allowed = BUDGET + 160 * (128 << 10) + (8 << 20);
    ensure!(after - before < allowed, "{} MiB for 160 answers of {size} bytes", (after - before) >> 20);
    let held = own(&collector, "collector_answer_bytes", &[])?;
    ensure!(held <= BUDGET as f64, "{held} bytes are held");
    drop(slow);
    wait::eventually(wait::seconds(15), || {
        let held = own(&collector, "collector_answer_bytes", &[])?;
        // The scrape that says so.
        ensure!(held <= 2.0 * size as f64, "{held} bytes are still held");
        Ok(())
    })?;
    let cut_off = own(&collector, "collector_answers_cut_off_total", &[])?;
    println!(
        "    {} KiB each, {:?}: {} MiB more than before, {cut_off} cut off",
        size >> 10,
        began.elapsed(),
        (after - before) >> 20
    );
    Ok(())
}

fn long_lists() -> Result<()> {
    const LIMIT: u64 = 96 << 20;
    let cgroups = Cgroups::new(Set::Memory)?;
    let own = cgroups.make("collector")?;
    match own.v1_file("memory", "memory.limit_in_bytes") {
        Ok(file) => bytes::write(file, &LIMIT.to_string())?,
        Err(_) => bytes::write(own.v2_file("memory.max")?, &LIMIT.to_string())?,
    }
    let mut collector = Collector::start_as(Surroundings::default().inside(&own), &["--housekeeping_interval=100ms"])?;
    let _made = populate(&cgroups, &collector, 400)?;
    wait::pass(Duration::from_secs(5));
    let target = format!("/api/v1.3/subcontainers{}", cgroups.name());
    let ask = || -> Result<(u16, usize)> {
        let response = http::request(collector.connect()?, "POST", &target, Some(b"{\"num_stats\":-1}"))?;
        match response.status {
            200 => {
                let list: Vec<Value> = serde_json::from_slice(&response.body)?;
                let stats = |container: &Value| container["stats"].as_array().map_or(0, Vec::len);
                Ok((200, list.iter().map(stats).sum()))
            }
            503 if response.header("retry-after").is_some() => Ok((503, 0)),
            other => bail!("{other}: {}", response.text()),
        }
    };
    let answers = thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        let answers = asking.into_iter().map(|thread| match thread.join() {
            Ok(answer) => answer,
            Err(_) => bail!("a client panicked"),
        });
        answers.collect::<Result<Vec<_>>>()
    })?;
    let whole = answers.iter().filter(|(status, _)| *status == 200).count();
    ensure!(whole >= 10, "only {whole} of 20 were answered");
    let samples = answers.iter().map(|(_, samples)| *samples).max().unwrap_or_default();
    ensure!(samples > 400 * 20, "only {samples} samples");
    collector.check_alive()?;
    println!("    {whole} of 20 with up to {samples} samples each, {} MiB at most", peak(&collector)? >> 20);
    Ok(())
}

/// When the collector is ended in the middle of an answer, the client sees that it is not whole.
fn unfinished() -> Result<()> {
    let cgroups = Cgroups::new(Set::One)?;
    let mut collector = Collector::start(&["--housekeeping_interval=100ms", "--shutdown_grace_period=100ms"])?;
    let _made = populate(&cgroups, &collector, 300)?;
    wait::pass(Duration::from_millis(1500));
    let stream: TcpStream = collector.connect()?;
    let mut incoming = http::send(stream, "POST", "/api/v1.3/subcontainers/", Some(b"{\"num_stats\":-1}"))?;
    ensure!(incoming.status == 200, "{}", incoming.status);
    collector.terminate()?;
    collector.wait_exit(wait::seconds(10))?;
    let mut body = Vec::new();
    let read = std::io::Read::read_to_end(&mut incoming.body, &mut body);
    let is_whole = serde_json::from_slice::<Value>(&body).is_ok();
    ensure!(read.is_err() || is_whole, "{} bytes look like a whole answer and are none", body.len());
    Ok(())
}
