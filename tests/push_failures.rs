//! Receivers of remote write 2.0 that are down, slow, or of another opinion: nothing is lost within the bound of the queue,
//! and what is lost is counted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::receiver::{self, Mood, Received, WriteRequest2};
use crate::support::surroundings::Surroundings;
use crate::support::{Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("push_failures::remote_write", remote_write),
    Case::new("push_failures::tls_of_another_name", tls_of_another_name),
];

const INTERVAL: Duration = Duration::from_millis(200);

/// The times at which pushes came, of a series that every push has.
fn times(received: &Received<WriteRequest2>) -> Vec<i64> {
    let all = received.all();
    let mut times = Vec::new();
    for request in all.iter() {
        for (labels, series) in request.series() {
            if labels.contains(&("__name__", "collector_containers")) {
                times.extend(series.samples.iter().map(|sample| sample.timestamp));
            }
        }
    }
    times
}

fn pushed(collector: &Collector, family: &str, reason: Option<&str>) -> Result<f64> {
    let mut labels = vec![("exporter", "remote_write")];
    labels.extend(reason.map(|reason| ("reason", reason)));
    Ok(collector.metrics()?.value(family, &labels).unwrap_or_default())
}

/// A certificate that is trusted, of somebody else: nothing is sent, what there is waits, and the log says why.
fn tls_of_another_name() -> Result<()> {
    let received = Received::<WriteRequest2>::default();
    let plain = receiver::remote_write_2(receiver::any_port(), &received, &Arc::new(Mutex::new(Mood::Well)))?;
    let made = rcgen::generate_simple_self_signed(vec!["metrics.example.com".to_owned()])?;
    let key = made.signing_key.serialize_der();
    let outside = receiver::behind_tls(&plain, made.cert.der(), &key, &[b"http/1.1"])?;
    let trusted = std::env::temp_dir().join(format!("collector-test-name-{}.pem", std::process::id()));
    bytes::write(&trusted, &made.cert.pem())?;
    let trusting = Surroundings::default().with_variable("SSL_CERT_FILE", &trusted);
    let url = format!("--remote_write_url=https://localhost:{}/api/v1/write", outside.address().port());
    let collector = Collector::start_as(&trusting, &[&url, "--remote_write_interval=200ms"])?;
    wait::eventually(wait::seconds(30), || {
        let failures = pushed(&collector, "collector_push_failures_total", None)?;
        let waiting = pushed(&collector, "collector_push_waiting_points", None)?;
        ensure!(failures >= 2.0 && waiting > 0.0, "{failures} failures, {waiting} values wait");
        Ok(())
    })?;
    ensure!(received.all().is_empty(), "somebody was sent something who is not who was named");
    let log = collector.log();
    let reported = log.iter().any(|line| line.contains("does not accept requests") && line.contains("certificate"));
    ensure!(reported, "the log does not say that it is the certificate: {log:?}");
    std::fs::remove_file(&trusted)?;
    Ok(())
}

fn remote_write() -> Result<()> {
    let received = Received::<WriteRequest2>::default();
    let mood = Arc::new(Mutex::new(Mood::Well));
    let set = |new: Mood| *mood.lock().unwrap_or_else(PoisonError::into_inner) = new;
    let listening = receiver::remote_write_2(receiver::any_port(), &received, &mood)?;
    let address = listening.address();
    let url = format!("--remote_write_url=http://{address}/api/v1/write");
    let collector = Collector::start(&[&url, "--remote_write_interval=200ms"])?;
    let arrived = |before: usize, more: usize| {
        wait::eventually(wait::seconds(30), || {
            let now = times(&received).len();
            ensure!(now >= before + more, "{before} pushes before, {now} now");
            Ok(())
        })
    };
    arrived(0, 3)?;
    for request in received.all().iter() {
        ensure!(request.symbols.first().is_some_and(String::is_empty), "the first text is not empty");
        for (labels, series) in request.series() {
            ensure!(labels.is_sorted_by(|one, other| one.0 < other.0), "labels: {labels:?}");
            ensure!(labels.iter().any(|(name, _)| *name == "instance"), "labels: {labels:?}");
            ensure!(labels.iter().all(|(_, value)| !value.is_empty()), "a label without a value: {labels:?}");
            let metadata = series.metadata.as_ref().map(|metadata| (metadata.r#type, metadata.help_ref));
            ensure!(
                metadata.is_some_and(|(kind, help)| (1..=3).contains(&kind) && help > 0),
                "{labels:?}: {metadata:?}"
            );
            for sample in &series.samples {
                ensure!(sample.start_timestamp <= sample.timestamp, "{labels:?}: {sample:?}");
            }
        }
    }
    let counters_begin = received.all().iter().any(|request| {
        request.series().any(|(labels, series)| {
            labels.contains(&("__name__", "container_cpu_usage_seconds_total"))
                && series.samples.iter().all(|sample| sample.start_timestamp > 0)
        })
    });
    ensure!(counters_begin, "no counter says when it began");

    // Whatever it answers, all of it is there in the end.
    let failures = || pushed(&collector, "collector_push_failures_total", None);
    for bad in [Mood::Status(503, None), Mood::Status(429, Some(1)), Mood::Half, Mood::Slow(400)] {
        let (before, failed) = (times(&received).len(), failures()?);
        set(bad);
        match bad {
            Mood::Slow(_) => arrived(before, 2)?,
            _ => wait::eventually(wait::seconds(20), || {
                ensure!(failures()? >= failed + 2.0, "{bad:?} is no failure");
                Ok(())
            })?,
        }
        set(Mood::Well);
        arrived(before, 10)?;
    }
    drop(listening);
    let failed = failures()?;
    wait::eventually(wait::seconds(20), || {
        ensure!(failures()? >= failed + 2.0, "it is away, and nothing fails");
        Ok(())
    })?;
    let before = times(&received).len();
    let _back = receiver::remote_write_2(address, &received, &mood)?;
    arrived(before, 10)?;
    // An answer that was cut short does not show whether the request had arrived: it may come twice.
    let all: BTreeSet<i64> = times(&received).into_iter().collect();
    let all: Vec<i64> = all.into_iter().collect();
    let gap = all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    ensure!(gap < 5 * INTERVAL.as_millis() as i64, "nothing came of {gap} ms: {all:?}");
    let dropped = |reason| pushed(&collector, "collector_push_dropped_points_total", Some(reason));
    for reason in ["queue_full", "rejected"] {
        ensure!(dropped(reason)? == 0.0, "{reason}: values were dropped");
    }

    // What it does not want is counted, and not sent again.
    set(Mood::Status(400, None));
    wait::eventually(wait::seconds(20), || {
        ensure!(dropped("rejected")? > 0.0, "nothing was rejected");
        Ok(())
    })?;
    set(Mood::Well);
    let before = times(&received).len();
    arrived(before, 2)
}
