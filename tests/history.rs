//! The samples that are kept, and how to ask for some of them.

use crate::support::api::Container;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::{Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("history::num_stats", num_stats),
    Case::new("history::times", times),
    Case::new("history::storage_duration", storage_duration),
    Case::new("history::interval_is_kept", interval_is_kept),
];

fn ask(collector: &Collector, name: &str, body: &str) -> Result<Container> {
    collector.json(&format!("/api/v1.3/containers{name}"), Some(body))
}

/// A container with more samples than are shown by default.
fn with_history(collector: &Collector, cgroups: &Cgroups) -> Result<Container> {
    wait::eventually(wait::seconds(20), || {
        let all = ask(collector, &cgroups.name(), r#"{"num_stats":-1}"#)?;
        ensure!(all.stats.len() > 65, "{} samples so far", all.stats.len());
        Ok(all)
    })
}

fn num_stats() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=100ms"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let all = with_history(&collector, &cgroups)?;
    ensure!(all.stats.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp), "not oldest first");
    for (body, expected) in [(r#"{"num_stats":7}"#, 7), ("{}", 60), ("", 60), (r#"{"num_stats":0}"#, 0)] {
        let got = ask(&collector, &cgroups.name(), body)?.stats;
        ensure!(got.len() == expected, "{body:?}: {} samples instead of {expected}", got.len());
        if let (Some(last), Some(known)) = (got.last(), all.stats.last()) {
            ensure!(last.timestamp >= known.timestamp, "{body:?}: the newest are not shown");
        }
    }
    let zero =
        collector.request("POST", &format!("/api/v1.3/containers{}", cgroups.name()), Some(r#"{"num_stats":0}"#))?;
    ensure!(!zero.text().contains("\"stats\""), "without samples the key is absent");
    Ok(())
}

fn times() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=100ms"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let all = with_history(&collector, &cgroups)?;
    let time = |index: usize| all.stats[index].timestamp.text.clone();
    let check = |body: String, expected: &[String]| -> Result<()> {
        let got: Vec<String> =
            ask(&collector, &cgroups.name(), &body)?.stats.into_iter().map(|stats| stats.timestamp.text).collect();
        ensure!(got == expected, "{body}: {} samples from {:?}, not {}", got.len(), got.first(), expected.len());
        Ok(())
    };
    let (from, to) = (time(10), time(20));
    let range: Vec<String> = (10..=20).map(time).collect();
    check(format!(r#"{{"start":"{from}","end":"{to}"}}"#), &range)?;
    check(format!(r#"{{"start":"{from}","end":"{to}","num_stats":3}}"#), &range[8..])?;
    let zero = "0001-01-01T00:00:00Z";
    let upto: Vec<String> = (0..=20).map(time).collect();
    check(format!(r#"{{"start":"{zero}","end":"{to}","num_stats":-1}}"#), &upto)?;
    check(format!(r#"{{"start":"{to}","end":"{to}"}}"#), &[to])
}

fn storage_duration() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=100ms", "--storage_duration=2s"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let stats = || -> Result<_> { Ok(ask(&collector, &cgroups.name(), r#"{"num_stats":-1}"#)?.stats) };
    let first = wait::eventually(wait::seconds(5), || {
        let all = stats()?;
        ensure!(all.len() >= 10, "{} samples so far", all.len());
        Ok(all[0].timestamp.clone())
    })?;
    let kept = wait::eventually(wait::seconds(10), || {
        let all = stats()?;
        ensure!(all[0].timestamp.since(&first) > std::time::Duration::from_secs(1), "the oldest sample stays");
        Ok(all)
    })?;
    let span = kept[kept.len() - 1].timestamp.since(&kept[0].timestamp);
    ensure!(span <= std::time::Duration::from_millis(2100), "samples over {span:?} are kept, 2 s were asked for");
    ensure!(span >= std::time::Duration::from_millis(1500), "samples over only {span:?} are kept");
    Ok(())
}

/// The housekeeping interval is an interval between samples, not a pause between them.
fn interval_is_kept() -> Result<()> {
    let collector = Collector::start(&["--housekeeping_interval=100ms"])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let all = with_history(&collector, &cgroups)?.stats;
    let (first, last) = (&all[5].timestamp, &all[all.len() - 1].timestamp);
    let mean = last.since(first) / (all.len() - 6) as u32;
    let tolerance = wait::millis(10);
    let expected = std::time::Duration::from_millis(100);
    ensure!(mean.abs_diff(expected) < tolerance, "the mean interval is {mean:?}, {expected:?} was asked for");
    Ok(())
}
