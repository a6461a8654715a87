//! Dashboards and rules of `deploy/`: what they ask a real Prometheus for is there, and they are what they are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::mount::UnmountFlags;
use serde_json::{Value, json};

use crate::pods::first_process;
use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::cri::{Pod, PodNetwork};
use crate::support::docker::Docker;
use crate::support::engine::{ContainerEngine as _, program};
use crate::support::harness::Case;
use crate::support::metrics::Metrics;
use crate::support::prometheus::{Prometheus, promtool};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, grafana, manifests, wait};

pub(crate) const CASES: &[Case] = &[
    // Less than a second.
    Case::new("dashboards::can_be_imported", can_be_imported),
    // Three seconds, and a download once.
    Case::new("dashboards::have_grafanas_types", have_grafanas_types).within(240),
    // Two seconds, where jsonnet is installed.
    Case::new("dashboards::are_what_they_are_made_of", are_what_they_are_made_of),
    // A second.
    Case::new("dashboards::rules_have_their_own_tests", rules_have_their_own_tests),
    // Less than a second.
    Case::new("dashboards::documents_are_promql", documents_are_promql),
    // Forty seconds for all expressions and the public ones: two engines, and containers to which all happens that can be
    // asked for.
    Case::new("dashboards::every_expression_returns_data", every_expression_returns_data).within(240),
];

/// Where a dashboard's series are: the job of the one, as in `compose/prometheus.yml` and in the monitor.
const JOBS: [(&str, &str); 6] = [
    ("node", "collector"),
    ("containers", "collector"),
    ("container", "collector"),
    ("endings", "collector"),
    ("collector", "collector"),
    ("pods", "cadvisor"),
];

/// Expressions over what this test does not make happen, by a part of them.
const NOTHING_HAPPENED: [(&str, &str); 2] = [
    ("container_fs_reads_bytes_total", "has no series where the kernel counts no I/O of the machine's disk"),
    ("container_fs_writes_bytes_total", "as reads"),
];

fn dashboard(name: &str) -> Result<Value> {
    let text = bytes::read(manifests::path(&format!("dashboards/{name}.json"))?)?;
    serde_json::from_str(&text).with_context(|| format!("{name}.json is no JSON"))
}

/// Every field is one that Grafana 10.4 knows, with a value of its type, and none is missing.
fn have_grafanas_types() -> Result<()> {
    let read = |(name, _)| Ok((str::to_owned(name), dashboard(name)?.to_string()));
    let mut dashboards: Vec<(String, String)> = JOBS.into_iter().map(read).collect::<Result<_>>()?;
    grafana::check(&dashboards)?;
    // It is not so patient that it lets everything pass.
    let (_, json) = dashboards.first_mut().context("no dashboard")?;
    for (right, wrong) in [("\"graphTooltip\":1", "\"graphTooltip\":7"), ("\"gridPos\"", "\"gridPosition\"")] {
        let broken = json.replace(right, wrong);
        ensure!(broken != *json && grafana::check(&[("broken".to_owned(), broken)]).is_err(), "{wrong} is let pass");
    }
    Ok(())
}

/// What types do not say: references that lead somewhere, and places that are free.
fn can_be_imported() -> Result<()> {
    let files: BTreeSet<String> = fs::read_dir(manifests::path("dashboards")?)?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    ensure!(files == JOBS.iter().map(|(name, _)| (*name).to_owned()).collect(), "dashboards are {files:?}");
    let mut uids = BTreeSet::new();
    for name in files {
        let dashboard = dashboard(&name)?;
        let uid = dashboard["uid"].as_str().context("no uid")?.to_owned();
        ensure!(uid.len() <= 40 && uids.insert(uid.clone()), "{uid} is too long, or there twice");
        ensure!(dashboard["schemaVersion"] == 39 && dashboard["id"].is_null(), "{name}: version and id");
        let variables = dashboard["templating"]["list"].as_array().context("no variables")?;
        ensure!(variables[0]["type"] == "datasource" && variables[0]["query"] == "prometheus", "{name}: its source");
        let names: BTreeSet<&str> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
        let mut places = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard)? {
            let title = panel["title"].as_str().context("no title")?;
            ensure!(ids.insert(panel["id"].as_u64().context("no id")?), "{name}: {title}: its id is another's");
            let kind = panel["type"].as_str().unwrap_or_default();
            ensure!(["timeseries", "stat", "table"].contains(&kind), "{name}: {title} is a {kind}");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap_or(99));
            ensure!(x + w <= 24, "{name}: {title} is beyond the edge");
            for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                ensure!(places.insert(place), "{name}: {title} lies on another panel");
            }
            let mut letters = BTreeSet::new();
            for target in panel["targets"].as_array().context("no queries")? {
                ensure!(target["datasource"]["uid"] == "${datasource}", "{name}: {title}: another source");
                ensure!(letters.insert(target["refId"].as_str().context("no refId")?), "{name}: {title}: refId");
                let expression = target["expr"].as_str().context("no expression")?;
                for used in expression.split('$').skip(1) {
                    let used: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                    ensure!(used == "__rate_interval" || names.contains(used.as_str()), "{name}: {title}: ${used}");
                }
            }
        }
    }
    Ok(())
}

fn panels(dashboard: &Value) -> Result<&Vec<Value>> {
    dashboard["panels"].as_array().context("no panels")
}

fn are_what_they_are_made_of() -> Result<()> {
    let jsonnet = program("jsonnet")?;
    let evaluate = |snippet: &str| -> Result<Value> {
        let output = Command::new(&jsonnet).args(["-e", snippet]).current_dir(manifests::path("mixin")?).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let mixin = evaluate(
        "(import 'mixin.libsonnet') + { _config+:: { selector: 'job=\"kubelet\"' } } + { all: {\
        dashboards: $.grafanaDashboards, alerts: $.prometheusAlerts, rules: $.prometheusRules } }",
    )?;
    let mixin = &mixin["all"];
    for (name, _) in JOBS {
        let made = &mixin["dashboards"][format!("{name}.json")];
        ensure!(
            *made == dashboard(name)?,
            "{name}.json: run jsonnet --multi deploy/dashboards \
            deploy/mixin/dashboards.libsonnet"
        );
    }
    for (part, file) in [("alerts", "alerts/alerts.yaml"), ("rules", "alerts/rules.yaml")] {
        let text = bytes::read(manifests::path(file)?)?.replace("job=~\"cadvisor|collector\"", "job=\"kubelet\"");
        let expected: Value = manifests::documents(&text)?.remove(0);
        ensure!(mixin[part] == expected, "the mixin has other {part}");
    }
    Ok(())
}

fn rules_have_their_own_tests() -> Result<()> {
    let tests = manifests::path("alerts/tests/alerts.yaml")?;
    let ran = promtool()?.args(["test", "rules"]).arg(&tests).output()?;
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "promtool: {said}");
    // Every alert is among them.
    let text = bytes::read(tests)?;
    for rule in rules("alerts/alerts.yaml")? {
        let alert = rule["alert"].as_str().context("no name")?;
        ensure!(text.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
    Ok(())
}

/// What the documents show for Prometheus is what it can read: rules as they stand, and each query alone.
fn documents_are_promql() -> Result<()> {
    let (mut rules, mut queries) = (Vec::new(), 0);
    for entry in fs::read_dir(manifests::path("../docs")?)? {
        let path = entry?.path();
        let text = if path.extension().is_some_and(|end| end == "md") { bytes::read(&path)? } else { continue };
        for block in text.split("\n```").skip(1).step_by(2) {
            let alerts = block.strip_prefix("yaml\n").filter(|block| block.starts_with("- alert:")).unwrap_or_default();
            for document in manifests::documents(alerts)? {
                rules.extend(document.as_array().cloned().unwrap_or_default());
            }
            let lines = block.strip_prefix("promql\n").unwrap_or_default().split_inclusive('\n');
            for query in lines.fold(Vec::new(), add_line) {
                rules.push(json!({ "record": format!("query{queries}"), "expr": query }));
                queries += 1;
            }
        }
    }
    ensure!(queries >= 6 && rules.len() >= queries + 4, "only {queries} queries of {} rules are found", rules.len());
    let file = std::env::temp_dir().join(format!("collector-test-documents-{}.yaml", std::process::id()));
    bytes::write(&file, &json!({ "groups": [{ "name": "documents", "rules": rules }] }).to_string())?;
    let checked = promtool()?.args(["check", "rules"]).arg(&file).output();
    fs::remove_file(&file)?;
    let checked = checked?;
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    ensure!(checked.status.success(), "promtool: {said}");
    Ok(())
}

/// Adds a line to the query that it continues: it is indented, or closes what was opened.
fn add_line(mut queries: Vec<String>, line: &str) -> Vec<String> {
    match queries.last_mut() {
        Some(query) if line.starts_with([' ', ')']) => query.push_str(line),
        _ => queries.push(line.to_owned()),
    }
    queries
}

fn rules(file: &str) -> Result<Vec<Value>> {
    let file: Value = manifests::yaml(&manifests::path(file)?)?;
    let groups = file["groups"].as_array().context("no groups")?;
    Ok(groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten().cloned()).collect())
}

/// Containers to which everything happens that the dashboards look at.
struct Scene {
    docker: Docker,
    pod: Pod,
    _odd: OddFile,
}

/// A cgroup whose limit of memory is no number.
struct OddFile {
    file: PathBuf,
    text: PathBuf,
    _cgroups: Cgroups,
}

impl OddFile {
    fn new() -> Result<Self> {
        let cgroups = Cgroups::new(Set::Every)?;
        let name = cgroups.make("odd")?.name();
        let layout = Layout::detect()?;
        let (mount, file) = match layout.v1("memory") {
            Some(mount) => (mount, "memory.limit_in_bytes"),
            None => (layout.v2().context("no cgroup mount")?, "memory.max"),
        };
        let file = mount.dir(name.as_ref()).join(file);
        let text = std::env::temp_dir().join(format!("collector-test-odd-{}", std::process::id()));
        bytes::write(&text, "rubbish\n")?;
        rustix::mount::mount_bind(&text, &file).with_context(|| format!("bind to {}", file.display()))?;
        Ok(Self { file, text, _cgroups: cgroups })
    }
}

impl Drop for OddFile {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.file, UnmountFlags::DETACH);
        let _ = fs::remove_file(&self.text);
    }
}

/// The container that a dashboard about one is shown for.
const ONE: &str = "busy";
/// Its labels, which public dashboards ask for.
const ASKED_FOR: [&str; 5] = [
    "com.docker.stack.namespace",
    "com.docker.swarm.node.id",
    "com.docker.swarm.service.name",
    "com.docker.swarm.task.name",
    "org.label-schema.group",
];
/// Says that its health check fails, reads and writes, and is throttled.
const WORK: &str = "while :; do /bin/busybox dd if=/dev/zero of=/file bs=1M count=4 conv=fsync; done 2>/dev/null";
const WRITE: &str = "/bin/busybox dd if=/dev/zero of=/file bs=1M count=4 conv=fsync 2>/dev/null";
/// Survives the end of one of its processes.
const OUTGROW: &str = "/bin/busybox head -c 200m /dev/zero | /bin/busybox tail; /bin/busybox sleep 600";

impl Scene {
    fn start() -> Result<Self> {
        let docker = Docker::start()?;
        let run = |name: &str, command: &str, labels: &BTreeMap<String, String>| -> Result<String> {
            let id = docker.run_as(&json!({
                "Image": "collector-test-busybox",
                "Cmd": ["/bin/busybox", "sh", "-c", command],
                "Labels": labels,
                "Healthcheck": { "Test": ["CMD", "/bin/busybox", "false"], "Interval": 1_000_000_000_u64 },
                "HostConfig": {
                    "NetworkMode": "none",
                    "Memory": 64 * bytes::MIB,
                    "MemorySwap": 64 * bytes::MIB,
                    "NanoCpus": 200_000_000,
                },
            }))?;
            docker.rename(&id, name)?;
            Ok(id)
        };
        let label = |name: &&str| ((*name).to_owned(), "x".to_owned());
        let busy = run(ONE, WORK, &ASKED_FOR.iter().map(label).collect())?;
        Plan::here(Work::NetworkOf(docker.pid(&busy)?, 10)).start_ready()?.wait()?;
        // More labels than are kept.
        run("greedy", OUTGROW, &(0..300).map(|number| (format!("label{number}"), "x".to_owned())).collect())?;
        let pod = Pod::start(PodNetwork::Own)?;
        // With a first write to the disk, whatever the page cache has of what it runs.
        let container = pod.start(&format!("{WRITE}; while :; do :; done"))?;
        Plan::here(Work::NetworkOf(first_process(&container.cgroup)?, 10)).start_ready()?.wait()?;
        limit_cpu(&container.cgroup)?;
        Ok(Self { docker, pod, _odd: OddFile::new()? })
    }
}

/// A fifth of a processor.
fn limit_cpu(cgroup: &str) -> Result<()> {
    let layout = Layout::detect()?;
    if let Some(mount) = layout.v1("cpu") {
        return bytes::write(mount.dir(cgroup.as_ref()).join("cpu.cfs_quota_us"), "20000");
    }
    let mount = layout.v2().context("no cgroup mount")?;
    bytes::write(mount.dir(cgroup.as_ref()).join("cpu.max"), "20000 100000")
}

/// An expression as Grafana would send it for a dashboard of this job, with spans that this test lives to see.
fn sent(expression: &str, job: &str) -> String {
    expression
        .replace("$__rate_interval", "20s")
        .replace("$job", job)
        .replace("$instance", ".*")
        .replace("$namespace", ".*")
        .replace("$pod", ".*")
        .replace("$name", ONE)
        .replace("offset 5m", "offset 8s")
}

/// Without what an alert compares with: it is hoped that it is not reached.
fn compared(expression: &str) -> Option<&str> {
    let at = [" > ", " == "].iter().filter_map(|sign| expression.rfind(sign)).max()?;
    expression[at + 3..].trim().parse::<f64>().ok()?;
    Some(&expression[..at])
}

fn every_expression_returns_data() -> Result<()> {
    let scene = Scene::start()?;
    let brief = scene.docker.run_named("brief", &[], &[])?;
    let flags = [
        format!("--docker=unix://{}", scene.docker.socket().display()),
        format!("--containerd={}", scene.pod.socket().display()),
        // Something is missing.
        "--podman=unix:///nowhere/podman.sock".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let collector = Collector::start(&flags)?;
    let address = collector.address().to_string();
    let job = |name: &str, path: &str| {
        json!({
            "job_name": name,
            "metrics_path": path,
            "honor_labels": true,
            "static_configs": [{ "targets": [address] }],
        })
    };
    let rule_files = fs::canonicalize(manifests::path("alerts")?)?.join("*.yaml");
    let prometheus = Prometheus::configured(
        &json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rule_files],
            "scrape_configs": [job("collector", "/metrics"), job("cadvisor", "/metrics/cadvisor")],
        })
        .to_string(),
    )?;
    wait::eventually(wait::seconds(20), || {
        prometheus
            .number("count_over_time(container_start_time_seconds{job=\"collector\",name=\"brief\"}[10s]) >= 3")
            .map(drop)
    })?;
    scene.docker.remove(&brief)?;
    // What ended less than eight seconds ago has to be found before that is over: it is asked for first.
    let ended = |job: &str| -> Result<()> {
        let expression = "group by (name) (container_start_time_seconds{name=\"brief\",job=\"JOB\"} offset 5m) \
            unless group by (name) (container_start_time_seconds{name=\"brief\",job=\"JOB\"})";
        prometheus.number(&sent(&expression.replace("JOB", job), job)).map(drop)
    };
    wait::eventually(wait::seconds(20), || ended("collector"))?;

    let mut expressions = Vec::new();
    for (name, job) in JOBS {
        for panel in panels(&dashboard(name)?)? {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().unwrap_or_default();
                expressions.push((format!("{name}: {}", panel["title"]), sent(expression, job)));
            }
        }
    }
    for rule in rules("alerts/rules.yaml")? {
        let record = rule["record"].as_str().context("no name")?.to_owned();
        expressions.push((record.clone(), record));
    }
    for rule in rules("alerts/alerts.yaml")? {
        let expression = rule["expr"].as_str().unwrap_or_default();
        // The one that waits for something to be over is not waited for that long.
        let expression = if rule["alert"] == "ContainerKilled" { sent(expression, "") } else { expression.to_owned() };
        expressions.push((rule["alert"].to_string(), expression));
    }
    let asked = expressions.len();
    let returns = |expression: &str| -> Result<bool> {
        if !prometheus.query(expression)?.is_empty() {
            return Ok(true);
        }
        compared(expression).map_or(Ok(false), |rest| Ok(!prometheus.query(rest)?.is_empty()))
    };
    let mut excused = 0;
    let waited = wait::eventually(wait::seconds(40), || {
        let mut left = Vec::new();
        for (title, expression) in std::mem::take(&mut expressions) {
            if !returns(&expression)? {
                left.push((title, expression));
            }
        }
        expressions = left;
        let is_excused =
            |(_, expression): &&(String, String)| NOTHING_HAPPENED.iter().any(|(part, _)| expression.contains(part));
        excused = expressions.iter().filter(is_excused).count();
        let empty: Vec<_> = expressions.iter().filter(|one| !is_excused(one)).collect();
        ensure!(empty.is_empty(), "{} of {asked} expressions return nothing: {empty:#?}", empty.len());
        Ok(())
    });
    waited?;
    // What happened is an alert by itself, without a word of this test.
    wait::eventually(wait::seconds(10), || {
        prometheus.number("ALERTS{alertname=\"ContainerOomKilled\",name=\"greedy\",alertstate=\"firing\"}").map(drop)
    })?;
    ensure!(prometheus.complaints().is_empty(), "{:?}", prometheus.complaints());
    println!("    {asked} expressions, {excused} of them over what did not happen");
    public_ones_find_their_series(&collector)
}

/// The families and labels that dashboards and rules of others ask for, of which `public_dashboards.txt` has the names.
fn public_ones_find_their_series(collector: &Collector) -> Result<()> {
    let mut read: BTreeMap<&str, Metrics> = BTreeMap::new();
    for path in ["/metrics", "/metrics/cadvisor"] {
        read.insert(path, Metrics::parse(&collector.get(path)?.text()));
    }
    let (mut path, mut who) = ("", "");
    let mut missing = Vec::new();
    let mut asked = 0;
    for line in include_str!("public_dashboards.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[') {
            (path, who) = section.split_once("] ").context("a section is `[path] who`")?;
            continue;
        }
        let mut words = line.split(' ');
        let family = words.next().context("no family")?;
        let (family, is_certain) = family.strip_suffix('?').map_or((family, true), |family| (family, false));
        let labels: Vec<&str> = words.collect();
        let metrics = read.get(path).with_context(|| format!("{path} is not read"))?;
        let mut series = metrics.series(family, &[]).peekable();
        let excused = !is_certain && series.peek().is_none();
        let is_there = series.any(|line| labels.iter().all(|label| !line.label(label).is_empty()));
        if !is_there && !excused {
            missing.push(format!("{who}: {family} with {labels:?} at {path}"));
        }
        asked += 1;
    }
    ensure!(missing.is_empty() && asked > 50, "of {asked} public series these are missing: {missing:#?}");
    println!("    {asked} series of public dashboards and rules");
    Ok(())
}
