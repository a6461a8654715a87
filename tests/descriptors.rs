//! More cgroups than open files are allowed: everything is sampled all the same.

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, Rights};
use crate::support::harness::Case;
use crate::support::time::Time;
use crate::support::{Result, ensure, wait};

pub(crate) const CASES: &[Case] =
    &[Case::new("descriptors::beyond_the_limit", beyond_the_limit), Case::new("descriptors::given_back", given_back)];

const CGROUPS: usize = 300;

fn make_many(cgroups: &Cgroups) -> Result<()> {
    for number in 0..CGROUPS {
        cgroups.make(format!("many-{number}"))?;
    }
    Ok(())
}

/// The flag that leaves other cgroups of the machine out of the count.
fn only(cgroups: &Cgroups) -> String {
    format!("--raw_cgroup_prefix_whitelist={}", cgroups.name())
}

fn open_files(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Every cgroup has a sample younger than this moment.
fn all_sampled_after(collector: &Collector, cgroups: &Cgroups, moment: i128) -> Result<()> {
    let target = format!("/api/v1.3/subcontainers{}", cgroups.name());
    let all: Vec<crate::support::api::Container> = collector.json(&target, Some(r#"{"num_stats":1}"#))?;
    ensure!(all.len() == CGROUPS + 1, "{} of {} cgroups are listed", all.len(), CGROUPS + 1);
    for container in &all {
        let fresh = container.stats.last().filter(|stats| stats.timestamp.nanos > moment);
        ensure!(fresh.is_some(), "{} has no fresh sample", container.name);
        let complete = fresh.is_some_and(|stats| stats.cpu.is_some() && stats.memory.is_some());
        ensure!(complete, "{} has a sample without CPU or memory", container.name);
    }
    Ok(())
}

fn beyond_the_limit() -> Result<()> {
    const LIMIT: usize = 256;
    let rights = Rights { open_files: Some(LIMIT as u64), ..Rights::default() };
    let cgroups = Cgroups::new(Set::Every)?;
    let mut collector = Collector::start_as(&rights, &["--housekeeping_interval=500ms", &only(&cgroups)])?;
    make_many(&cgroups)?;
    for _ in 0..3 {
        let moment = Time::now_nanos();
        wait::eventually(wait::seconds(10), || all_sampled_after(&collector, &cgroups, moment))?;
    }
    let open = open_files(collector.pid())?;
    ensure!(open < LIMIT * 9 / 10, "{open} of {LIMIT} files are open: nothing is left for clients");
    let metrics = collector.metrics()?;
    let errors = metrics.sum("collector_read_errors_total");
    let files = metrics.labels_above_zero("collector_read_errors_total", "file");
    ensure!(errors == 0.0, "{errors} read errors, of {files:?}");
    // There is room for many clients at once.
    let clients: Vec<_> = (0..10).map(|_| collector.stream("/", &["creation_events"])).collect::<Result<_>>()?;
    drop(clients);
    collector.check_alive()
}

/// What was opened for cgroups is closed when they go.
fn given_back() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let collector = Collector::start(&["--housekeeping_interval=200ms", &only(&cgroups)])?;
    let before = open_files(collector.pid())?;
    make_many(&cgroups)?;
    let moment = Time::now_nanos();
    wait::eventually(wait::seconds(10), || all_sampled_after(&collector, &cgroups, moment))?;
    let during = open_files(collector.pid())?;
    drop(cgroups);
    wait::eventually(wait::seconds(5), || {
        let after = open_files(collector.pid())?;
        ensure!(
            after <= before + 20,
            "{before} files were open before, {during} with {CGROUPS} cgroups, {after} after"
        );
        Ok(())
    })
}
