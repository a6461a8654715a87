//! Cgroups and processes that vanish while they are looked at are normal: no error, no panic, nothing left over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::api::Container;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Error, Result, ensure, settings, wait};

pub(crate) const CASES: &[Case] =
    &[Case::new("vanishing::under_churn", under_churn), Case::new("vanishing::with_processes", with_processes)];

/// Polls every kind of request until `stop`; what it asked for.
fn poll(collector: &Collector, cgroups: &Cgroups, stop: &AtomicBool) -> Result<usize> {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        for target in [
            format!("/api/v1.3/subcontainers{}", cgroups.name()),
            format!("/api/v1.3/containers{}/churn-{}", cgroups.name(), asked % 20),
            format!("/api/v1.3/containers{}", cgroups.name()),
            "/metrics".to_owned(),
        ] {
            let response = collector.get(&target)?;
            match response.status {
                200 if target.contains("subcontainers") => {
                    serde_json::from_slice::<Vec<Container>>(&response.body).with_context(|| target.clone())?;
                }
                200 if target.starts_with("/api") => {
                    serde_json::from_slice::<Container>(&response.body).with_context(|| target.clone())?;
                }
                200 => {}
                500 => {
                    let text = response.text();
                    let fine = text.contains("unknown container")
                        || text.contains("unable to find data")
                        || text.contains("no containers found");
                    ensure!(fine, "{target}: {text}");
                }
                other => return Err(Error::msg(format!("{target} answered {other}: {}", response.text()))),
            }
            asked += 1;
        }
    }
    Ok(asked)
}

/// Runs `churn` for a while beside polling clients, then checks that nothing has suffered.
fn watch(interval: &str, churn: impl Fn(&Cgroups, usize) -> Result<()> + Sync) -> Result<()> {
    let mut collector = Collector::start(&[
        &format!("--housekeeping_interval={interval}"),
        "--enable_metrics=cpu,percpu,memory,disk,diskIO,network,process,hugetlb,sched,cpuset,memory_numa,tcp,udp,advtcp",
    ])?;
    let cgroups = Cgroups::new(Set::Every)?;
    let errors_before = collector.metrics()?.sum("collector_read_errors_total");
    let stop = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    std::thread::scope(|scope| -> Result<()> {
        let pollers: Vec<_> = (0..2).map(|_| scope.spawn(|| poll(&collector, &cgroups, &stop))).collect();
        let start = Instant::now();
        let mut churned = Ok(());
        while churned.is_ok() && start.elapsed() < Duration::from_secs(if settings::in_vm() { 20 } else { 6 }) {
            churned = churn(&cgroups, rounds.fetch_add(1, Ordering::Relaxed));
        }
        stop.store(true, Ordering::Relaxed);
        for poller in pollers {
            let asked = poller.join().map_err(|_| Error::msg("a thread of the test panicked"))??;
            ensure!(asked > 0, "nothing was asked");
        }
        churned
    })?;
    collector.check_alive()?;
    wait::eventually(wait::seconds(5), || {
        let listed = collector.names_below(&cgroups.name())?;
        ensure!(listed == [cgroups.name()], "gone but listed: {listed:?}");
        Ok(())
    })?;
    let metrics = collector.metrics()?;
    let errors = metrics.sum("collector_read_errors_total") - errors_before;
    let files = metrics.labels_above_zero("collector_read_errors_total", "file");
    ensure!(errors == 0.0, "{errors} read errors were counted for files of vanished cgroups: {files:?}");
    Ok(())
}

fn under_churn() -> Result<()> {
    watch("20ms", |cgroups, round| {
        // Some live for a moment, some for a few samples.
        let short = cgroups.make(format!("churn-{}", round % 20))?;
        let child = cgroups.make(format!("churn-{}/child", round % 20))?;
        if round % 7 == 0 {
            wait::pass(wait::millis(30));
        }
        child.remove()?;
        short.remove()
    })
}

fn with_processes() -> Result<()> {
    watch("20ms", |cgroups, round| {
        let cgroup = cgroups.make(format!("churn-{}", round % 20))?;
        let work = match round % 3 {
            0 => Work::Nothing,
            1 => Work::Burn(5),
            _ => Work::Network(1),
        };
        let plan = Plan::new(work.clone(), &cgroup);
        if matches!(work, Work::Network(_)) {
            plan.start_ready()?.end()?;
        } else {
            plan.run()?;
        }
        cgroup.remove()
    })
}
