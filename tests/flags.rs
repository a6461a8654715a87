//! What was written to start cAdvisor starts the collector.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::collector::{Collector, Rights, run_to_end};
use crate::support::harness::Case;
use crate::support::{Context as _, Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("flags::written_for_cadvisor", written_for_cadvisor),
    Case::new("flags::below_a_prefix", below_a_prefix),
    Case::new("flags::version_and_verbosity", version_and_verbosity),
];

/// Arguments as they are in use, and the flags of which the log says that they have no effect.
const IN_USE: [(&[&str], &[&str]); 4] = [
    (&["-logtostderr"], &[]),
    (
        &[
            "--housekeeping_interval=10s",
            "--max_housekeeping_interval=15s",
            "--event_storage_event_limit=default=0",
            "--event_storage_age_limit=default=0",
            "--enable_metrics=app,cpu,disk,diskIO,memory,network,process",
            "--docker_only",
            "--store_container_labels=false",
            "--whitelisted_container_labels=io.kubernetes.container.name, io.kubernetes.pod.name",
        ],
        // Those about labels may have one.
        &[],
    ),
    (
        &[
            "-storage_driver=influxdb",
            "-storage_driver_db=cadvisor",
            "-storage_driver_host=127.0.0.1:1",
            "-storage_driver_password=hunter2",
        ],
        &[],
    ),
    (
        &[
            "-logtostderr",
            "--v=2",
            "--vmodule=manager=4",
            "--max_procs",
            "1",
            "--allow_dynamic_housekeeping",
            "false",
            "--disable_metrics=accelerator,percpu,sched,tcp,udp",
            "--docker=tcp://127.0.0.1:1",
            "--containerd-namespace=k8s.io",
            "--mesos_agent=127.0.0.1:5051",
            "--profiling=false",
        ],
        &["vmodule", "mesos_agent"],
    ),
];

fn written_for_cadvisor() -> Result<()> {
    for (flags, without_effect) in IN_USE {
        let collector = Collector::start(flags)?;
        ensure!(collector.get("/api/v1.3/machine")?.status == 200, "{flags:?}: /api/v1.3/machine");
        let log = collector.log();
        ensure!(!log.iter().any(|line| line.contains("hunter2")), "the log holds a password: {log:?}");
        for flag in without_effect {
            let reported = log.iter().filter(|line| line.contains(&format!("--{flag} has no effect: "))).count();
            ensure!(reported == 1, "{reported} lines about --{flag}: {log:?}");
        }
    }
    Ok(())
}

fn below_a_prefix() -> Result<()> {
    let collector =
        Collector::launch(&Rights::default(), &["--url_base_prefix=/node/one/", "--prometheus_endpoint=/prom/"])?;
    wait::eventually(wait::seconds(10), || {
        ensure!(collector.get("/node/one/readyz")?.status == 200, "not ready");
        Ok(())
    })?;
    for (target, status, location) in [
        ("/node/one/healthz", 200, None),
        ("/node/one/api/v1.3/machine", 200, None),
        ("/node/one/prom/", 200, None),
        ("/node/one/static/containers.js", 200, None),
        ("/node/one", 301, Some("/node/one/")),
        ("/node/one/", 307, Some("/node/one/containers/")),
        ("/node/one/containers", 301, Some("/node/one/containers/")),
        ("/node/one/api", 301, Some("/node/one/api/")),
        ("/node/one/metrics", 307, Some("/node/one/containers/")),
        ("/", 404, None),
        ("/healthz", 404, None),
        ("/node/onehealthz", 404, None),
        ("/api/v1.3/machine", 404, None),
    ] {
        let response = collector.get(target)?;
        ensure!(response.status == status, "{target}: {} and not {status}", response.status);
        ensure!(response.header("location") == location, "{target}: {:?}", response.header("location"));
    }
    ensure!(collector.get("/node/one/prom/")?.text().contains("\ncollector_"), "no metrics");
    ensure!(collector.get("/nothing")?.text() == "404 page not found\n", "the body outside of the prefix");
    // Whatever the page asks for is below the prefix, however deep the page is.
    let page = collector.get("/node/one/containers/a/b")?.text();
    ensure!(page.contains("<base href=\"/node/one/\">"), "{page:.400}");
    let script = collector.get("/node/one/static/containers.js")?.text();
    let absolute = [page.replacen("<base href=\"/", "", 1), script]
        .iter()
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .find(|line| ["href=\"/", "src=\"/", "fetch(\"/", "fetch(`/"].iter().any(|link| line.contains(link)));
    ensure!(absolute.is_none(), "a link that leaves the prefix: {absolute:?}");
    // A body goes through.
    let asked: BTreeMap<String, Value> =
        collector.json("/node/one/api/v1.3/containers/", Some(r#"{"num_stats":1}"#))?;
    ensure!(asked.get("name").context("a name")? == "/", "{asked:?}");
    Ok(())
}

fn version_and_verbosity() -> Result<()> {
    let (status, _) = run_to_end(&Rights::default(), &["-version"])?;
    ensure!(status.success(), "-version: {status}");
    let collector = Collector::start(&["--version=false", "-v=4"])?;
    wait::eventually(wait::seconds(5), || {
        ensure!(collector.log().iter().any(|line| line.contains(" DEBUG collector")), "nothing of level debug");
        Ok(())
    })?;
    let quiet = Collector::start(&["-v=2"])?;
    ensure!(!quiet.log().iter().any(|line| line.contains(" DEBUG ")), "lines of level debug");
    Ok(())
}
