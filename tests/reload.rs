//! A configuration file that changes while the collector runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use rustix::process::Signal;

use crate::auth::Files;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::receiver::{self, Received, WriteRequest};
use crate::support::settings::settings;
use crate::support::{Result, ensure, process, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("reload::what_can_change", what_can_change),
    // Less than a second.
    Case::new("reload::check", check),
];

const SECRET: &str = "hunter2";

/// Rules, targets and tokens change by a signal, by a link that is swapped and by a file that is renamed; what cannot be
/// used changes nothing. Takes about ten seconds.
fn what_can_change() -> Result<()> {
    let files = Files::new("reload")?;
    let cgroups = Cgroups::new(Set::Every)?;
    let (stays, hidden) = (cgroups.make("stays")?, cgroups.make("hidden")?);
    let (one, other) = (Received::<WriteRequest>::default(), Received::<WriteRequest>::default());
    let (first, second) =
        (receiver::remote_write(receiver::any_port(), &one)?, receiver::remote_write(receiver::any_port(), &other)?);
    let push_to = |address: std::net::SocketAddr| {
        format!(
            "remote_write_url = \"http://{address}/api/v1/write\"\nremote_write_version = \"1.0\"\n\
             remote_write_interval = \"300ms\"\nremote_write_headers = \"Authorization=Bearer {SECRET}\"\n"
        )
    };
    // As Kubernetes mounts a ConfigMap: the file is a link through a link that is swapped.
    let versions = files.path().join("..data");
    fs::create_dir_all(files.path().join("v1"))?;
    let in_first = files.path().join("v1/collector.toml");
    fs::write(&in_first, push_to(first.address()))?;
    symlink("v1", &versions)?;
    let path = files.path().join("collector.toml");
    symlink("..data/collector.toml", &path)?;

    let collector = Collector::start(&[&format!("--config={}", path.display())])?;
    let is_listed = |cgroup: &str| Ok::<_, crate::support::Error>(!collector.names_below(cgroup)?.is_empty());
    let is_exposed = |cgroup: &str| Ok::<_, crate::support::Error>(collector.get("/metrics")?.text().contains(cgroup));
    let read = |outcome| {
        let metrics = collector.metrics()?;
        Ok::<_, crate::support::Error>(
            metrics.value("collector_config_read_timestamp_seconds", &[("outcome", outcome)]),
        )
    };
    wait::eventually(wait::seconds(20), || {
        ensure!(is_listed(&stays.name())? && is_listed(&hidden.name())?, "not both are listed");
        ensure!(one.all().len() >= 2, "{} pushes came", one.all().len());
        Ok(())
    })?;
    ensure!(read("applied")?.is_some() && read("rejected")?.is_none(), "a start is no reload");

    // A signal: the file is in place, and read at once.
    let exposes_memory = || Ok::<_, crate::support::Error>(collector.metrics()?.has("container_memory_usage_bytes"));
    ensure!(exposes_memory()?, "there is no memory to begin with");
    let rules = format!("exclude_path = [\"{}\"]\ndisable_metrics = [\"memory\"]\n", hidden.name());
    fs::write(&in_first, push_to(first.address()) + &rules)?;
    process::signal(collector.pid(), Signal::HUP)?;
    wait::eventually(wait::seconds(20), || {
        ensure!(!is_listed(&hidden.name())? && !is_exposed(&hidden.name())?, "what is left out is listed");
        ensure!(is_listed(&stays.name())? && is_exposed(&stays.name())?, "what stays is not listed");
        ensure!(!exposes_memory()?, "a kind that is left out is exposed");
        Ok(())
    })?;
    ensure!(other.all().is_empty(), "somebody was sent something whom nobody named");

    // A link: the rule goes, the pushes go elsewhere.
    fs::create_dir_all(files.path().join("v2"))?;
    let in_second = files.path().join("v2/collector.toml");
    fs::write(&in_second, push_to(second.address()))?;
    symlink("v2", files.path().join("..data.new"))?;
    fs::rename(files.path().join("..data.new"), &versions)?;
    wait::eventually(wait::seconds(20), || {
        ensure!(other.all().len() >= 2 && is_listed(&hidden.name())?, "the swapped file is not in force");
        ensure!(exposes_memory()?, "a kind that is back is not exposed");
        Ok(())
    })?;
    // A push may be several requests, and the first receiver's last is under way.
    wait::pass(wait::seconds(1));
    let before = one.all().len();

    // What cannot be used is reported, and changes nothing.
    let put = |text: &str| -> Result<()> {
        let new = files.path().join("v2/new");
        fs::write(&new, text)?;
        Ok(fs::rename(&new, &in_second)?)
    };
    put("max_series = 5\n")?;
    let degraded = || -> Result<bool> {
        Ok(collector.metrics()?.value("collector_degraded", &[("facility", "configuration")]).is_some())
    };
    wait::eventually(wait::seconds(20), || {
        ensure!(degraded()? && read("rejected")?.is_some(), "a file that cannot be used is not reported");
        Ok(())
    })?;
    let report = collector.get("/healthz?verbose")?.text();
    ensure!(report.contains("--max_series=5: use at least"), "{report}");
    let pushes = other.all().len();
    wait::eventually(wait::seconds(20), || {
        ensure!(other.all().len() > pushes + 1, "what was in force is not");
        Ok(())
    })?;
    ensure!(one.all().len() == before, "the first receiver still is sent something");

    // What needs a restart is named, what does not is in force: the token too.
    let token = files.put("tokens", "right\n")?;
    put(&format!(
        "{}global_housekeeping_interval = \"50s\"\nbearer_token_file = \"{}\"\n",
        push_to(second.address()),
        token.display()
    ))?;
    let with_token = |target: &str| collector.get_with(target, &[("Authorization", "Bearer right")]);
    wait::eventually(wait::seconds(20), || {
        ensure!(collector.get("/config")?.status == 401, "nobody is asked for a token");
        Ok(())
    })?;
    let configuration = with_token("/config")?;
    ensure!(configuration.status == 200, "{} {}", configuration.status, configuration.text());
    ensure!(configuration.header("content-type") == Some("application/toml"), "{configuration:?}");
    let text = configuration.text();
    ensure!(!text.contains(SECRET) && text.contains("remote_write_headers = \"Authorization=...\""), "{text}");
    ensure!(
        text.contains(&second.address().to_string()) && text.contains("\n# global_housekeeping_interval = \"1m0s\"\n"),
        "{text}"
    );
    wait::eventually(wait::seconds(20), || {
        let report = with_token("/healthz?verbose")?.text();
        ensure!(!report.contains("configuration"), "{report}");
        let log = collector.log();
        let names_it = |line: &String| {
            line.contains("until the collector is restarted") && line.contains("global_housekeeping_interval")
        };
        ensure!(log.iter().any(names_it), "the flag is not named: {log:?}");
        Ok(())
    })?;
    let log = collector.log();
    ensure!(log.iter().all(|line| !line.contains(SECRET)), "the log holds a secret: {log:?}");
    Ok(())
}

/// `collector config check`: 0 and silence where a file can be used, else 2 and a line that says what is wrong.
fn check() -> Result<()> {
    let files = Files::new("config-check")?;
    let token = files.put("token", "right\n")?;
    let checked = |text: &str| -> Result<(Option<i32>, String)> {
        let file = files.put("collector.toml", text)?;
        let output = Command::new(&settings().collector).args(["config", "check", "--config"]).arg(file).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let fine = format!("port = 9090\nbearer_token_file = \"{}\"\n", token.display());
    let (code, said) = checked(&fine)?;
    ensure!(code == Some(0), "{code:?} {said}");
    for (text, words) in [
        ("prot = 9090\n", "port"),
        ("max_series = 5\n", "--max_series=5: use at least"),
        ("port = [\n", "collector.toml"),
        ("bearer_token_file = \"/nowhere/token\"\n", "/nowhere/token"),
        ("storage_driver = \"kafka\"\n", "--otlp_endpoint"),
    ] {
        let (code, said) = checked(text)?;
        ensure!(code.is_some_and(|code| code != 0) && said.contains(words), "{text}: {code:?} {said}");
    }
    Ok(())
}
