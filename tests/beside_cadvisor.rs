//! `collector compare`, and with it the collector beside a real cAdvisor on the same live containers: no name of
//! cAdvisor's is missing, types are equal, values agree.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use serde::Deserialize;
use serde_json::json;

use crate::support::cadvisor::Cadvisor;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::docker::Docker;
use crate::support::engine::MEMORY_LIMIT;
use crate::support::harness::Case;
use crate::support::metrics::{Line, Metrics};
use crate::support::settings::settings;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("beside_cadvisor::real_cadvisor_agrees", real_cadvisor_agrees).within(600),
    Case::new("beside_cadvisor::a_collector_equals_itself", a_collector_equals_itself),
    Case::new("beside_cadvisor::what_is_missing_is_reported", what_is_missing_is_reported),
    Case::new("beside_cadvisor::no_comparison_is_no_equality", no_comparison_is_no_equality),
];

/// The deliberate differences that this machine and this cAdvisor can show with every kind of statistics enabled.
const EXPECTED_DIFFERENCES: [&str; 22] = [
    "absent-not-zero",
    "cloud",
    "container-disks",
    "container-mounts",
    "creation-time",
    "device-names",
    "diskstats-seconds",
    "empty-labels",
    "error-texts",
    "gone-file-systems",
    "hierarchical-faults",
    "host-network",
    "parts-by-sample",
    "process-counts",
    "ps",
    "schedstat-seen",
    "self-metrics",
    "storage-labels",
    "udp-queues",
    "v2-sockets",
    "version",
    "whole-sums",
];

/// What `collector compare --format=json` says.
#[derive(Debug, Deserialize)]
struct Comparison {
    status: String,
    containers: usize,
    answers: usize,
    values: usize,
    unmatched_containers: BTreeSet<String>,
    differences: usize,
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    difference: String,
    fails: bool,
    known: Option<String>,
    resource: String,
    container: Option<String>,
    pattern: String,
    theirs: String,
    ours: String,
}

impl Finding {
    /// What differs and where, whatever the values are.
    fn place(&self) -> (&str, &str, &str, Option<&str>) {
        (&self.difference, &self.resource, &self.pattern, self.container.as_deref())
    }
}

/// Runs the command; its exit code, what it printed and what it complained about.
fn compare(flags: &[String]) -> Result<(i32, String, String)> {
    let output = Command::new(&settings().collector).arg("compare").args(flags).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().context("it was killed")?;
    Ok((code, text(&output.stdout), text(&output.stderr)))
}

fn flags(theirs: impl std::fmt::Display, ours: impl std::fmt::Display) -> Vec<String> {
    vec![format!("--with=http://{theirs}"), format!("--url=http://{ours}"), "--format=json".to_owned()]
}

fn compared(theirs: impl std::fmt::Display, ours: impl std::fmt::Display) -> Result<Comparison> {
    let (code, printed, complaint) = compare(&flags(theirs, ours))?;
    let comparison: Comparison =
        serde_json::from_str(&printed).with_context(|| format!("no comparison: exit code {code}: {complaint}"))?;
    let expected = i32::from(comparison.differences > 0);
    ensure!(code == expected, "exit code {code} with {} differences", comparison.differences);
    ensure!((comparison.status == "equal") == (code == 0), "status {}", comparison.status);
    Ok(comparison)
}

/// Each kind of difference once, for people.
fn listed<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let mut kinds = BTreeMap::new();
    for finding in findings {
        let key = (&finding.difference, &finding.resource, &finding.pattern);
        let (_, count) = kinds.entry(key).or_insert((finding, 0));
        *count += 1;
    }
    let line = |((difference, resource, pattern), (finding, count)): ((&String, &String, &String), (&Finding, i32))| {
        let Finding { theirs, ours, container, .. } = finding;
        format!("\n  {difference} {resource} {pattern} ({count}): {theirs:.90} | {ours:.90} in {container:?}")
    };
    kinds.into_iter().map(line).collect()
}

/// A container with these limits that runs a command of busybox's shell.
fn run(docker: &Docker, command: &str, limits: &serde_json::Value) -> Result<String> {
    let mut host = json!({ "NetworkMode": "none", "Memory": MEMORY_LIMIT, "MemorySwap": MEMORY_LIMIT });
    let (Some(all), Some(own)) = (host.as_object_mut(), limits.as_object()) else {
        crate::support::bail!("limits are an object")
    };
    all.extend(own.clone());
    let config = json!({
        "Image": "collector-test-busybox",
        "Cmd": ["/bin/busybox", "sh", "-c", command],
        "Labels": { "app": "compared" },
        "HostConfig": host,
    });
    docker.run_as(&config)
}

fn real_cadvisor_agrees() -> Result<()> {
    let docker = Docker::start()?;
    let limits = json!({ "CpuQuota": 20_000, "CpuPeriod": 100_000, "CpuShares": 512, "PidsLimit": 50 });
    let busy = run(&docker, "while :; do :; done", &limits)?;
    let filled =
        run(&docker, "busybox dd if=/dev/zero of=/file bs=1M count=8; exec busybox tail -f /dev/null", &json!({}))?;
    let connected = run(&docker, "exec busybox sleep 600", &json!({}))?;
    let of_host = run(&docker, "exec busybox sleep 600", &json!({ "NetworkMode": "host" }))?;
    Plan::here(Work::NetworkOf(docker.pid(&connected)?, 100)).start_ready()?;
    let cgroups = Cgroups::new(Set::Every)?;
    let spinning = cgroups.make("spinning")?;
    // It leaves the processor to those who answer.
    match spinning.v1_file("cpu", "cpu.cfs_quota_us") {
        Ok(quota) => std::fs::write(quota, "20000")?,
        Err(_) => std::fs::write(spinning.v2_file("cpu.max")?, "20000 100000")?,
    }
    let _spinning = Plan::new(Work::Spin, &spinning).start_ready()?;
    let holding = cgroups.make("holding")?;
    let _holding = Plan::new(Work::Hold(16), &holding).start_ready()?;

    let socket = format!("--docker=unix://{}", docker.socket().display());
    let every_second = "--housekeeping_interval=1s";
    // Referenced memory is cleared by whoever reads it.
    let ours = Collector::start(&[&socket, every_second, "--disable_metrics=referenced_memory,resctrl"])?;
    let theirs = Cadvisor::start(
        &docker.socket(),
        &[every_second, "--allow_dynamic_housekeeping=false", "--disable_metrics=referenced_memory,resctrl"],
    )?;
    let mut expected: BTreeSet<String> =
        [&busy, &filled, &connected, &of_host].iter().map(|id| format!("/docker/{id}")).collect();
    expected.extend([spinning.name(), holding.name(), "/".to_owned()]);
    for name in &expected {
        wait::eventually(wait::seconds(30), || {
            let target = format!("/api/v1.3/containers{}", bytes::url_encode(name.as_bytes()));
            let theirs = theirs.get(&target)?;
            ensure!(theirs.status == 200 && theirs.text().contains("\"stats\""), "cAdvisor has no sample of {name}");
            ensure!(ours.container(name)?.stats.len() >= 3, "the collector has too few samples of {name}");
            Ok(())
        })?;
    }

    let comparison = compared(theirs.address(), ours.address())?;
    let Comparison { containers, answers, values, .. } = comparison;
    ensure!(containers >= expected.len(), "{containers} containers were compared");
    ensure!(answers >= 100 && values >= 2000, "only {answers} answers and {values} values were compared");
    let unmatched: Vec<_> = expected.intersection(&comparison.unmatched_containers).collect();
    ensure!(unmatched.is_empty(), "no samples around those of {unmatched:?}");
    // These were held against the collector's. A scrape of cAdvisor's that broke off reports no container.
    let metrics = wait::eventually(wait::seconds(20), || {
        let scraped = Metrics::parse(&theirs.get("/metrics")?.text());
        let error = scraped.value("container_scrape_error", &[]);
        ensure!(error == Some(0.0), "container_scrape_error is {error:?}");
        Ok(scraped)
    })?;
    for name in &expected {
        let about = metrics.lines().iter().filter(|line| line.label("id") == name);
        let families: BTreeSet<&str> = about.map(Line::name).collect();
        ensure!(families.len() >= 25, "cAdvisor has no more metrics of {name} than {families:?}");
    }
    let mine = |finding: &&Finding| {
        // Others may start and end containers meanwhile.
        finding.container.as_ref().is_none_or(|container| {
            expected.contains(container) && !(container == "/" && finding.resource.ends_with("/ps"))
        })
    };
    let mut wrong: Vec<&Finding> = comparison.findings.iter().filter(mine).filter(|found| found.fails).collect();
    // The machine is everybody's: what its memory did within that second is no difference unless it stays one.
    let of_machine = |finding: &Finding| finding.container.as_deref() == Some("/") && finding.difference == "value";
    if wrong.iter().any(|found| of_machine(found)) {
        let again = compared(theirs.address(), ours.address())?;
        wrong.retain(|found| {
            !of_machine(found) || again.findings.iter().any(|other| other.fails && other.place() == found.place())
        });
    }
    ensure!(wrong.is_empty(), "{} differences:{}", wrong.len(), listed(wrong.into_iter()));
    let about_processes = ["schedstat-seen", "process-counts"];
    let excused: Vec<&Finding> = comparison
        .findings
        .iter()
        .filter(|finding| finding.container.as_deref() == Some(&*format!("/docker/{busy}")))
        .filter(|finding| finding.known.as_deref().is_some_and(|id| about_processes.contains(&id)))
        .collect();
    ensure!(excused.is_empty(), "its one process stays, and yet:{}", listed(excused.into_iter()));
    let known: BTreeSet<&str> = comparison.findings.iter().filter_map(|finding| finding.known.as_deref()).collect();
    let unexpected: Vec<_> = known.iter().filter(|id| !EXPECTED_DIFFERENCES.contains(id)).collect();
    ensure!(unexpected.is_empty(), "deliberate differences that should not be seen here: {unexpected:?}");
    Ok(())
}

fn a_collector_equals_itself() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("spinning")?;
    let _spinning = Plan::new(Work::Spin, &cgroup).start_ready()?;
    let collector = Collector::start(&["--housekeeping_interval=1s"])?;
    wait::eventually(wait::seconds(15), || {
        let held = collector.container(&cgroup.name())?.stats.len();
        ensure!(held >= 3, "{held} samples so far");
        Ok(())
    })?;
    let comparison = compared(collector.address(), collector.address())?;
    let about_cgroup = |finding: &&Finding| {
        finding.container.as_ref().is_none_or(|container| *container == cgroup.name())
            // Other tests' leftovers and the machine's own life are not of interest.
            && finding.resource.starts_with("/api")
    };
    let wrong: Vec<&Finding> = comparison.findings.iter().filter(about_cgroup).collect();
    ensure!(wrong.is_empty(), "it differs from itself:{}", listed(wrong.into_iter()));
    ensure!(comparison.values >= 100, "{} values were compared", comparison.values);
    Ok(())
}

/// The comparison finds what one of two collectors was configured to leave out.
fn what_is_missing_is_reported() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("holding")?;
    let _holding = Plan::new(Work::Hold(4), &cgroup).start_ready()?;
    let whole = Collector::start(&["--disable_metrics="])?;
    let partial = Collector::start(&["--disable_metrics=process"])?;
    for collector in [&whole, &partial] {
        wait::eventually(wait::seconds(15), || {
            ensure!(!collector.container(&cgroup.name())?.stats.is_empty(), "no sample");
            Ok(())
        })?;
    }
    let comparison = compared(whole.address(), partial.address())?;
    let of = |resource: &str, pattern: &str| {
        comparison.findings.iter().any(|finding| {
            let place = (finding.resource.as_str(), finding.pattern.as_str());
            place == (resource, pattern) && finding.fails && finding.container.as_deref() == Some(&*cgroup.name())
        })
    };
    let all = || listed(comparison.findings.iter());
    ensure!(of("/api/v1.3/containers", "stats.processes"), "it is not reported that processes are missing:{}", all());
    let (code, text, _) = compare(&flags(whole.address(), partial.address())[..2])?;
    ensure!(code == 1, "exit code {code}");
    ensure!(text.contains("stats.processes") && text.contains("Differences:"), "the text says: {text}");
    // The other way round there is only more than cAdvisor has.
    let other = compared(partial.address(), whole.address())?;
    let missing = other.findings.iter().filter(|finding| finding.fails && finding.difference == "missing");
    // Others' containers may come and go meanwhile.
    let missing = missing.filter(|finding| finding.container.as_deref() == Some(&*cgroup.name()));
    let missing: Vec<&Finding> = missing.filter(|finding| finding.resource.ends_with("/containers")).collect();
    ensure!(missing.is_empty(), "missing from the one that has more:{}", listed(missing.into_iter()));
    Ok(())
}

/// Exit code 2 and one line for a server that is not there, says nothing useful, or wants to know who asks.
fn no_comparison_is_no_equality() -> Result<()> {
    let collector = Collector::start(&[])?;
    let nobody = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let refused = |flags: &[String], word: &str| -> Result<()> {
        let (code, printed, complaint) = compare(flags)?;
        ensure!(code == 2, "exit code {code}: {complaint}");
        ensure!(printed.is_empty() && complaint.trim_end().lines().count() == 1, "it says {printed}{complaint}");
        ensure!(complaint.starts_with("error: ") && complaint.contains(word), "{word} is not in: {complaint}");
        Ok(())
    };
    refused(&flags(nobody, collector.address()), "cannot connect")?;
    refused(&flags(collector.address(), nobody), "cannot connect")?;
    refused(&["--with=ftp://localhost".to_owned()], "http://")?;
    for (answer, word) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "not like a cAdvisor"),
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "--with-header"),
        ("SSH-2.0-OpenSSH\r\n", "http://"),
    ] {
        let server = TcpListener::bind(("127.0.0.1", 0))?;
        let address = server.local_addr()?;
        std::thread::spawn(move || {
            // It ends with the test's process.
            for stream in server.incoming().flatten() {
                let mut stream = stream;
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        refused(&flags(address, collector.address()), word)?;
    }
    Ok(())
}
