//! `collector doctor`: what it says is what a collector with the same rights and flags does.

use rustix::thread::CapabilitySet;
use serde::Deserialize;

use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, Rights};
use crate::support::harness::Case;
use crate::support::settings::settings;
use crate::support::surroundings::Surroundings;
use crate::support::{Context as _, Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("doctor::agrees_with_a_running_collector", agrees_with_a_running_collector),
    Case::new("doctor::another_user_without_rights", another_user_without_rights),
    Case::new("doctor::no_cgroups_to_read", no_cgroups_to_read),
    Case::new("doctor::events_that_cannot_be_had", events_that_cannot_be_had),
    Case::new("doctor::a_port_that_is_taken", a_port_that_is_taken),
    Case::new("doctor::a_collector_is_known_wherever_it_listens", a_collector_is_known_wherever_it_listens),
    Case::new("doctor::too_few_descriptors", too_few_descriptors),
];

/// The doctor's JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    pub(crate) collector: String,
    pub(crate) kernel: String,
    pub(crate) summary: Summary,
    pub(crate) facilities: Vec<Facility>,
    pub(crate) programs: Vec<Program>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Summary {
    pub(crate) status: String,
    pub(crate) exit_code: i32,
    pub(crate) unavailable: usize,
    pub(crate) limited: usize,
    pub(crate) works: usize,
    pub(crate) off: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Facility {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) status: String,
    pub(crate) found: String,
    pub(crate) lost: Option<String>,
    pub(crate) fix: Option<String>,
    pub(crate) because_of: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) loaded: bool,
    pub(crate) attached_to: Option<String>,
    pub(crate) instructions: Option<u32>,
    pub(crate) verified_instructions: Option<u32>,
    pub(crate) load_us: Option<u64>,
    pub(crate) error: Option<String>,
}

impl Report {
    pub(crate) fn facility(&self, id: &str) -> Result<&Facility> {
        self.facilities.iter().find(|facility| facility.id == id).with_context(|| format!("no facility {id}"))
    }
}

/// What a run of the doctor printed, and its exit code.
fn run(rights: &Rights, flags: &[&str]) -> Result<(String, i32)> {
    let mut command = Surroundings::from(rights).command(&settings().collector)?;
    let output = command.arg("doctor").args(flags).output().context("run the doctor")?;
    let code = output.status.code().context("the doctor was killed")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(errors.is_empty(), "the doctor complains: {errors}");
    Ok((String::from_utf8(output.stdout)?, code))
}

/// Asks the doctor for JSON, and checks what holds of every report.
pub(crate) fn examine(rights: &Rights, flags: &[&str]) -> Result<Report> {
    let flags = [&["--format=json"], flags].concat();
    let (text, code) = run(rights, &flags)?;
    let report: Report = serde_json::from_str(&text).with_context(|| format!("not the JSON expected:\n{text}"))?;
    let summary = &report.summary;
    ensure!(summary.exit_code == code, "exit code {code}, but {summary:?}");
    let status = match code {
        0 => "works",
        1 => "limited",
        _ => "unusable",
    };
    ensure!(summary.status == status, "exit code {code}, but {summary:?}");
    let count = |status: &str| report.facilities.iter().filter(|facility| facility.status == status).count();
    let counts = [count("unavailable"), count("limited"), count("works"), count("off")];
    ensure!(
        counts == [summary.unavailable, summary.limited, summary.works, summary.off],
        "counted {counts:?}, but {summary:?}"
    );
    ensure!((counts[0] + counts[1] == 0) == (code == 0), "exit code {code}:\n{text}");
    for facility in &report.facilities {
        let wrong = ["unavailable", "limited"].contains(&facility.status.as_str());
        let explained = facility.lost.is_some() && facility.fix.is_some();
        ensure!(wrong == explained && !facility.title.is_empty(), "{facility:?}");
        if let Some(cause) = &facility.because_of {
            ensure!(report.facility(cause)?.because_of.is_none(), "{facility:?} follows from what follows");
        }
    }
    ensure!(!report.collector.is_empty() && !report.kernel.is_empty(), "no versions:\n{text}");
    Ok(report)
}

/// The value of a line of `/healthz?verbose`.
fn line<'a>(health: &'a str, name: &str) -> Result<&'a str> {
    let mut lines = health.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    lines.next().with_context(|| format!("/healthz?verbose has no line {name:?}:\n{health}"))
}

/// The report and the health page of a collector with the same rights say the same.
fn check_agreement(report: &Report, health: &str) -> Result<()> {
    let events = report.facility("kernel_events")?;
    let expected = if line(health, "kernel events")? == "ebpf" { "works" } else { "unavailable" };
    ensure!(events.status == expected, "{events:?}, but\n{health}");
    let oom = report.facility("oom_kills")?;
    ensure!(oom.found.starts_with(line(health, "OOM kills from")?), "{oom:?}, but\n{health}");
    let mounts = report.facility("cgroup_mounts")?;
    ensure!(mounts.found.starts_with(&format!("{}: ", line(health, "cgroup mode")?)), "{mounts:?}, but\n{health}");
    let degraded = line(health, "degraded").ok();
    let troubled = [events, oom].into_iter().find(|facility| facility.lost.is_some());
    ensure!(degraded.is_some() == troubled.is_some(), "{troubled:?}, but\n{health}");
    if let (Some(degraded), Some(facility)) = (degraded, troubled) {
        let parts = [Some(&facility.found), facility.lost.as_ref(), facility.fix.as_ref()];
        for part in parts.into_iter().flatten() {
            // The doctor puts the source of OOM kills before its reason.
            let part = part.strip_prefix("counters: ").unwrap_or(part);
            ensure!(degraded.contains(part), "the doctor says {part:?}, the health page {degraded:?}");
        }
    }
    Ok(())
}

/// Beside a collector that goes on undisturbed.
fn agrees_with_a_running_collector() -> Result<()> {
    let mut collector = Collector::start(&[])?;
    let port = format!("--port={}", collector.address().port());
    let report = examine(&Rights::default(), &[&port, "--listen_ip=127.0.0.1"])?;
    check_agreement(&report, &collector.health()?)?;
    let listening = report.facility("port")?;
    ensure!(listening.status == "works" && listening.found.contains("a collector listens"), "{listening:?}");
    // What stays here would be limited by the machine, not by the collector: all that root is held back by is reported.
    let (text, code) = run(&Rights::default(), &["--port=0"])?;
    ensure!(code == report.summary.exit_code, "as JSON {}, as text {code}:\n{text}", report.summary.exit_code);
    for facility in &report.facilities {
        ensure!(text.contains(&facility.title), "{} is not in\n{text}", facility.title);
    }
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("after")?;
    wait::eventually(wait::seconds(10), || {
        let listed = collector.names_below(&cgroup.name())?;
        ensure!(!listed.is_empty(), "after the doctor's visit a new cgroup is not listed");
        Ok(())
    })?;
    let lost = collector.metrics()?.sum("collector_events_lost_total");
    ensure!(lost == 0.0, "{lost} events were lost");
    cgroup.remove()?;
    collector.check_alive()
}

fn another_user_without_rights() -> Result<()> {
    let rights = Rights { uid: Some(65534), capabilities: Some(CapabilitySet::empty().bits()), open_files: None };
    let collector = Collector::start_as(&rights, &[])?;
    let report = examine(&rights, &["--port=0"])?;
    check_agreement(&report, &collector.health()?)?;
    ensure!(report.summary.exit_code == 1, "{:?}", report.summary);
    ensure!(report.programs.is_empty(), "no rights, but programs were loaded: {:?}", report.programs);
    let (text, _) = run(&rights, &["--port=0"])?;
    let first = text.lines().find(|line| line.starts_with("UNAVAILABLE")).context("nothing is UNAVAILABLE")?;
    ensure!(first.contains("kernel events"), "the first thing said is {first:?}");
    ensure!(text.contains("CAP_BPF"), "it does not say what would fix it:\n{text}");
    let trace = report.facility("cap_sys_ptrace")?;
    ensure!(trace.status == "limited", "{trace:?}");
    Ok(())
}

fn no_cgroups_to_read() -> Result<()> {
    let empty = std::env::temp_dir().join(format!("collector-test-doctor-{}", std::process::id()));
    std::fs::create_dir(&empty)?;
    let report = examine(&Rights::default(), &["--port=0", &format!("--cgroup_root={}", empty.display())]);
    std::fs::remove_dir(&empty)?;
    let report = report?;
    let mounts = report.facility("cgroup_mounts")?;
    ensure!(report.summary.exit_code == 2 && mounts.status == "unavailable", "{mounts:?}, {:?}", report.summary);
    ensure!(report.facilities[0].id == "cgroup_mounts", "the first thing said is {:?}", report.facilities[0]);
    Ok(())
}

fn events_that_cannot_be_had() -> Result<()> {
    let rights = Rights { uid: None, capabilities: Some(CapabilitySet::SYS_PTRACE.bits()), open_files: None };
    let report = examine(&rights, &["--port=0", "--kernel_events=ebpf"])?;
    ensure!(report.summary.exit_code == 2, "{:?}", report.summary);
    let scanning = examine(&rights, &["--port=0", "--kernel_events=scan"])?;
    let events = scanning.facility("kernel_events")?;
    ensure!(events.status == "off", "switched off, but {events:?}");
    Ok(())
}

fn a_port_that_is_taken() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = format!("--port={}", taken.local_addr()?.port());
    // Nobody answers there: what has the port is no collector.
    let report = examine(&Rights::default(), &["-listen_ip=127.0.0.1", &port])?;
    let listening = report.facility("port")?;
    ensure!(report.summary.exit_code == 2 && listening.status == "unavailable", "{listening:?}");
    // Which program, so that it can be ended.
    let holder = format!("(process {})", std::process::id());
    ensure!(listening.found.contains(&holder), "{holder} is not in {listening:?}");
    drop(taken);
    let report = examine(&Rights::default(), &["-listen_ip=127.0.0.1", &port])?;
    let listening = report.facility("port")?;
    ensure!(listening.status == "works", "{listening:?}");
    Ok(())
}

/// Beside the shipped unit, which listens on 127.0.0.1, the doctor is asked without the unit's flags.
fn a_collector_is_known_wherever_it_listens() -> Result<()> {
    let known = |collector: &Collector| -> Result<()> {
        let address = collector.address();
        for flags in [&[][..], &["--listen_ip=0.0.0.0"], &["--listen_ip=::"]] {
            let port = format!("--port={}", address.port());
            let flags: Vec<&str> = flags.iter().copied().chain([port.as_str()]).collect();
            let report = examine(&Rights::default(), &flags)?;
            let listening = report.facility("port")?;
            let found = listening.status == "works" && listening.found.contains(&format!("listens on {address}"));
            ensure!(found, "{flags:?}: {listening:?}");
        }
        Ok(())
    };
    known(&Collector::start(&[])?)?;
    // Its health page is elsewhere.
    known(&Collector::launch(&Rights::default(), &["--url_base_prefix=/node"])?)?;
    let folder = std::env::temp_dir().join(format!("collector-test-doctor-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(folder.join("cert"), made.cert.pem())?;
    std::fs::write(folder.join("key"), made.signing_key.serialize_pem())?;
    let file = |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
    let flags = [file("tls_cert_file", "cert"), file("tls_private_key_file", "key")];
    let encrypted = Collector::launch(&Rights::default(), &[&flags[0], &flags[1]]).and_then(|it| known(&it));
    std::fs::remove_dir_all(&folder)?;
    encrypted
}

fn too_few_descriptors() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let made: Vec<_> = (0..20).map(|number| cgroups.make(format!("many{number}"))).collect::<Result<_>>()?;
    let rights = |open_files| Rights { open_files: Some(open_files), ..Rights::default() };
    let few = examine(&rights(600), &["--port=0"])?;
    let many = examine(&rights(10_000), &["--port=0"])?;
    let (few, many) = (few.facility("descriptors")?, many.facility("descriptors")?);
    ensure!((few.status.as_str(), many.status.as_str()) == ("limited", "works"), "{few:?} {many:?}");
    made.into_iter().try_for_each(|cgroup| cgroup.remove())
}
