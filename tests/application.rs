//! Metrics of the applications in containers, which the containers' labels ask for.

use std::collections::BTreeMap;
use std::net::TcpListener;

use serde::Deserialize;

use crate::auth::{Files, flag};
use crate::support::collector::Collector;
use crate::support::docker::Docker;
use crate::support::harness::Case;
use crate::support::{Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[Case::new("application::metrics_of_a_container", metrics_of_a_container)];

#[derive(Debug, Deserialize)]
struct Container {
    spec: Spec,
    #[serde(default)]
    stats: Vec<Stats>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    has_custom_metrics: bool,
    #[serde(default)]
    custom_metrics: Vec<MetricSpec>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct MetricSpec {
    name: String,
    r#type: String,
    format: String,
    units: String,
}

#[derive(Debug, Deserialize)]
struct Stats {
    #[serde(default)]
    custom_metrics: BTreeMap<String, Vec<Value>>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Value {
    label: String,
    int_value: i64,
    float_value: f64,
}

/// A port nobody uses.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn metrics_of_a_container() -> Result<()> {
    let docker = Docker::start()?;
    let port = free_port()?;
    let files = Files::new("application")?;
    let collector = Collector::start(&[
        "--housekeeping_interval=500ms",
        "--storage_duration=3s",
        "--history_step=1s",
        &flag("history_dir", &files.path().join("history")),
        &format!("--docker=unix://{}", docker.socket().display()),
        "--application_metrics_count_limit=3",
    ])?;
    // A link that is absolute inside, as images have them; and one that leads to the host's files, which is not followed.
    let page = "# TYPE jobs_total counter\\njobs_total{queue=\\\"a\\\"} 2.5\\nActive connections: 17\\n";
    let generic = r#"{"endpoint":{"port":PORT,"path":"/status"},"metrics_config":[{"name":"activeConnections",
        "metric_type":"gauge","units":"connections","data_type":"int","polling_frequency":1000000000,
        "regex":"Active connections: ([0-9]+)"}]}"#;
    let prometheus = r#"{"endpoint":{"port":PORT,"path":"metrics"},"metrics_config":["jobs_total"]}"#;
    let at_port = |text: &str| text.replace("PORT", &port.to_string()).replace('\n', " ");
    let command = format!(
        "mkdir -p /etc/m /www && cd /www && printf \"{page}\" > status && printf \"{page}\" | head -n 2 > metrics && \
         echo '{}' > /etc/m/real.json && ln -s /etc/m/real.json /etc/m/nginx.json && \
         echo '{}' > /etc/m/prometheus.json && exec /bin/busybox httpd -f -p 127.0.0.1:{port} -h /www",
        at_port(generic),
        at_port(prometheus),
    );
    let command = format!("for each in mkdir head ln; do /bin/busybox ln -sf /bin/busybox /bin/$each; done; {command}");
    let config = serde_json::json!({
        "Image": "collector-test-busybox",
        "Cmd": ["/bin/busybox", "sh", "-c", command],
        "Labels": {
            "io.cadvisor.metric.nginx": "/etc/m/nginx.json",
            "io.cadvisor.metric.prometheus": "/etc/m/prometheus.json",
        },
        "HostConfig": { "NetworkMode": "host" },
    });
    let id = docker.run_as(&config)?;
    let target = format!("/api/v1.3/containers/docker/{id}");
    let found = wait::eventually(wait::seconds(30), || {
        let container: Container = collector.json(&target, None)?;
        ensure!(container.spec.has_custom_metrics, "no metrics; the container says {}", docker.logs(&id)?);
        let with = container.stats.iter().filter(|stats| !stats.custom_metrics.is_empty()).count();
        ensure!(with >= 2, "{with} samples with metrics: {:?}", container.spec.custom_metrics);
        Ok(container)
    })?;
    let spec = |name: &str, kind: &str, format: &str, units: &str| MetricSpec {
        name: name.to_owned(),
        r#type: kind.to_owned(),
        format: format.to_owned(),
        units: units.to_owned(),
    };
    let expected =
        [spec("activeConnections", "gauge", "int", "connections"), spec("jobs_total", "COUNTER", "float", "")];
    ensure!(found.spec.custom_metrics == expected, "{:?}", found.spec.custom_metrics);
    let newest = found.stats.iter().rev().find(|stats| !stats.custom_metrics.is_empty());
    let values = newest.map(|stats| &stats.custom_metrics).into_iter().flatten().collect::<Vec<_>>();
    let label = "__name__=jobs_total\u{fffd}queue=a".to_owned();
    let connections = [Value { int_value: 17, ..Value::default() }];
    let jobs = [Value { label: label.clone(), float_value: 2.5, ..Value::default() }];
    let as_expected = matches!(values.as_slice(), [(first, a), (second, b)]
        if *first == "activeConnections" && **a == connections && *second == "jobs_total" && **b == jobs);
    ensure!(as_expected, "{values:?}");

    let all: BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<Value>>>> =
        collector.json(&format!("/api/v2.1/appmetrics/{id}?type=docker"), None)?;
    let of_name = all.get(&format!("/{id}"));
    let jobs = of_name.and_then(|metrics| metrics.get("jobs_total")?.get(&label));
    ensure!(jobs.is_some_and(|values| values.len() >= 2 && values[0].float_value > 2.4), "{all:?}");
    let metrics = collector.metrics()?;
    let cgroup = format!("/docker/{id}");
    let reported = |name: &str, labels: &[(&str, &str)]| metrics.value(name, &[labels, &[("id", &*cgroup)]].concat());
    ensure!(reported("activeConnections", &[]) == Some(17.0), "not in /metrics");
    ensure!(reported("jobs_total", &[("app_queue", "a")]) == Some(2.5), "not in /metrics");
    let polls = metrics.value("collector_application_polls_total", &[("result", "read")]);
    ensure!(polls.is_some_and(|polls| polls >= 2.0), "polls: {polls:?}");

    // With the samples of the past there is what was reported with them, also once the container is gone.
    let with_values = |stats: &[Stats]| {
        let is_whole = |stats: &&Stats| {
            stats.custom_metrics.get("activeConnections").is_some_and(|values| **values == connections)
        };
        stats.iter().filter(is_whole).count()
    };
    let began = serde_json::json!({ "num_stats": -1, "start": "2020-01-01T00:00:00Z" }).to_string();
    wait::eventually(wait::seconds(10), || {
        let past: Container = collector.json(&target, Some(&began))?;
        let (with, all) = (with_values(&past.stats), past.stats.len());
        ensure!(with >= 5, "{with} of {all} samples have what was reported with them");
        Ok(())
    })?;
    // Some more steps of the history.
    wait::pass(wait::seconds(3));
    // What ends is no longer asked, and leaves nothing.
    docker.remove(&id)?;
    wait::eventually(wait::seconds(20), || {
        ensure!(collector.get(&target)?.status == 500, "the container is still there");
        Ok(())
    })?;
    let past: Container = collector.json(&target, Some(&began))?;
    ensure!(past.spec.has_custom_metrics && past.spec.custom_metrics == expected, "{:?}", past.spec);
    let (with, all) = (with_values(&past.stats), past.stats.len());
    ensure!(with >= 3, "{with} of {all} samples of what is gone have what was reported with them");
    Ok(())
}
