//! SIGTERM drains and ends; a second one ends at once.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::stream::End;
use crate::support::{Context as _, Result, ensure, process, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("shutdown::with_an_open_stream", || with_an_open_stream(Signal::TERM)),
    Case::new("shutdown::on_sigint", || with_an_open_stream(Signal::INT)),
    Case::new("shutdown::with_a_stuck_request", with_a_stuck_request),
    Case::new("shutdown::second_signal", second_signal),
];

fn with_an_open_stream(signal: Signal) -> Result<()> {
    let mut collector = Collector::start(&["--shutdown_grace_period=10s"])?;
    let cgroups = Cgroups::new(Set::One)?;
    let stream = collector.stream(&cgroups.name(), &["creation_events"])?;
    cgroups.make("before")?;
    stream.wait_for(1, wait::seconds(5))?;
    let start = Instant::now();
    process::signal(collector.pid(), signal)?;
    let status = collector.wait_exit(wait::seconds(10))?;
    ensure!(status.code() == Some(0), "{signal:?}: it ended with {status}");
    // An open stream never ends by itself: to wait for it would take the whole grace period.
    ensure!(start.elapsed() < wait::seconds(5), "{signal:?}: it took {:?}", start.elapsed());
    wait::eventually(wait::seconds(1), || {
        let end = stream.end().context("the stream has not ended")?;
        ensure!(end == End::Clean, "the stream's end: {end:?}");
        Ok(())
    })
}

/// Begins a request and never finishes it.
fn stuck_request(collector: &Collector) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(collector.address())?;
    stream.write_all(b"POST /api/v1.3/containers/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")?;
    // Answered on another connection later, hence the first is being handled.
    collector.get("/healthz")?;
    Ok(stream)
}

fn with_a_stuck_request() -> Result<()> {
    let grace = wait::seconds(2);
    let mut collector = Collector::start(&[&format!("--shutdown_grace_period={}s", grace.as_secs())])?;
    let _stuck = stuck_request(&collector)?;
    let start = Instant::now();
    collector.terminate()?;
    let status = collector.wait_exit(grace + wait::seconds(2))?;
    ensure!(status.code().is_some(), "it ended with {status}");
    ensure!(start.elapsed() < grace + wait::seconds(1), "it took {:?}, the grace is {grace:?}", start.elapsed());
    Ok(())
}

fn second_signal() -> Result<()> {
    let mut collector = Collector::start(&["--shutdown_grace_period=600s"])?;
    let _stuck = stuck_request(&collector)?;
    collector.terminate()?;
    // It has taken the first signal once it takes no new connections.
    wait::eventually(wait::seconds(5), || {
        ensure!(TcpStream::connect(collector.address()).is_err(), "it still takes connections");
        Ok(())
    })?;
    let start = Instant::now();
    collector.terminate()?;
    let status = collector.wait_exit(wait::seconds(2))?;
    ensure!(!status.success(), "cut short, it ended with {status}");
    ensure!(start.elapsed() < wait::seconds(1), "the second signal took {:?}", start.elapsed());
    Ok(())
}
