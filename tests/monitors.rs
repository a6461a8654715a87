//! A real Prometheus that is configured as the operator does it for our monitor, and by our plain scrape configuration:
//! what belongs to no pod is not booked to the collector's own, and those who select by the usual labels find all pods.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::pods::first_process;
use crate::support::collector::Collector;
use crate::support::cri::{Pod, PodNetwork};
use crate::support::engine::ContainerEngine as _;
use crate::support::harness::Case;
use crate::support::prometheus::Prometheus;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, ensure, manifests, wait};

pub(crate) const CASES: &[Case] = &[
    // Twelve seconds each: a pod, three scrapes.
    Case::new("monitors::operator", || books_to_whom_it_belongs(&of_the_operator("cadvisor")?, "cadvisor")),
    Case::new("monitors::operator_in_the_kubelets_place", || {
        books_to_whom_it_belongs(&of_the_operator("kubelet")?, "kubelet")
    }),
    Case::new("monitors::plain", || books_to_whom_it_belongs(&plain()?, "cadvisor")),
];

/// The collector's own pod.
const OWN: &str = "collector-x7x7x";

/// What service discovery says of the collector's pod.
fn target(address: SocketAddr) -> Value {
    json!([{
        "targets": [address.to_string()],
        "labels": {
            "__meta_kubernetes_namespace": "collector",
            "__meta_kubernetes_pod_name": OWN,
            "__meta_kubernetes_pod_container_name": "collector",
            "__meta_kubernetes_pod_container_port_name": "http",
            "__meta_kubernetes_pod_node_name": "node-1",
            "__meta_kubernetes_pod_phase": "Running",
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": "collector",
            "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name": "true",
        },
    }])
}

/// The scrape configurations that the operator makes of our monitor; `job` is written in place of the monitor's own.
fn of_the_operator(job: &str) -> Result<Vec<Value>> {
    let objects = manifests::overlay("prometheus-operator")?;
    let monitor = objects.iter().find(|object| object["kind"] == "PodMonitor").context("no PodMonitor")?;
    let [namespace, name] = ["namespace", "name"].map(|key| monitor["metadata"][key].as_str().unwrap_or_default());
    let endpoints = monitor["spec"]["podMetricsEndpoints"].as_array().context("no endpoints")?;
    let one = |(number, endpoint): (usize, &Value)| {
        let mut relabel = vec![
            json!({ "source_labels": ["job"], "target_label": "__tmp_prometheus_job_name" }),
            json!({
                "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop",
            }),
            json!({
                "source_labels": [
                    "__meta_kubernetes_pod_label_app_kubernetes_io_name",
                    "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name",
                ],
                "regex": "(collector);true",
                "action": "keep",
            }),
            json!({
                "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                "regex": endpoint["port"],
                "action": "keep",
            }),
            json!({ "source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace" }),
            json!({ "source_labels": ["__meta_kubernetes_pod_container_name"], "target_label": "container" }),
            json!({ "source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod" }),
            json!({ "target_label": "job", "replacement": format!("{namespace}/{name}") }),
            json!({ "target_label": "endpoint", "replacement": endpoint["port"] }),
        ];
        relabel.extend(rules(&endpoint["relabelings"], job));
        json!({
            "job_name": format!("podMonitor/{namespace}/{name}/{number}"),
            "honor_labels": endpoint["honorLabels"].as_bool().unwrap_or(false),
            "metrics_path": endpoint["path"],
            "relabel_configs": relabel,
            "metric_relabel_configs": rules(&endpoint["metricRelabelings"], job),
        })
    };
    Ok(endpoints.iter().enumerate().map(one).collect())
}

/// Relabelings of a monitor as Prometheus spells them.
fn rules(relabelings: &Value, job: &str) -> Vec<Value> {
    let one = |relabeling: &Value| {
        let mut rule = json!({});
        for (theirs, ours) in [
            ("sourceLabels", "source_labels"),
            ("targetLabel", "target_label"),
            ("regex", "regex"),
            ("replacement", "replacement"),
            ("action", "action"),
        ] {
            if !relabeling[theirs].is_null() {
                rule[ours] = relabeling[theirs].clone();
            }
        }
        if rule["replacement"] == "cadvisor" {
            rule["replacement"] = job.into();
        }
        rule
    };
    relabelings.as_array().into_iter().flatten().map(one).collect()
}

/// The scrape configurations for a Prometheus without the operator, without their service discovery.
fn plain() -> Result<Vec<Value>> {
    let file: Value = manifests::yaml(&manifests::path("prometheus/kubernetes.yml")?)?;
    let mut jobs: Vec<Value> = file["scrape_configs"].as_array().cloned().unwrap_or_default();
    for job in &mut jobs {
        let job = job.as_object_mut().context("no job")?;
        let discovery = job.remove("kubernetes_sd_configs").context("no service discovery")?;
        ensure!(discovery[0]["role"] == "pod" && discovery[0]["namespaces"]["names"] == json!(["collector"]));
        job.remove("scrape_interval");
    }
    Ok(jobs)
}

fn books_to_whom_it_belongs(jobs: &[Value], job: &str) -> Result<()> {
    let pod = Pod::start(PodNetwork::Own)?;
    let container = pod.start("while :; do :; done")?;
    Plan::here(Work::NetworkOf(first_process(&container.cgroup)?, 10)).start_ready()?.wait()?;
    let socket = format!("--containerd={}", pod.socket().display());
    let collector = Collector::start(&["--docker=", "--podman=", "--crio=", &socket])?;
    let mut jobs = jobs.to_vec();
    for job in &mut jobs {
        job["static_configs"] = target(collector.address());
    }
    let config = json!({ "global": { "scrape_interval": "1s" }, "scrape_configs": jobs });
    let prometheus = Prometheus::configured(&config.to_string())?;
    let node = format!("job=\"{job}\",node=\"node-1\",metrics_path=\"/metrics/cadvisor\"");
    wait::eventually(wait::seconds(20), || {
        // The node is nobody's, and is there once.
        for family in ["container_memory_working_set_bytes", "container_cpu_usage_seconds_total", "machine_cpu_cores"] {
            let id = if family.starts_with("machine") { "" } else { ",id=\"/\"" };
            let whole = prometheus.query(&format!("{family}{{{node}{id},pod=\"\",namespace=\"\",container=\"\"}}"))?;
            ensure!(whole.len() == 1, "{family}: {whole:?}");
        }
        let found: BTreeSet<String> = pods(&prometheus, "container_last_seen")?;
        ensure!(found == [String::new(), "collector-test".to_owned()].into(), "pods are {found:?}");
        // kubernetes-mixin's selectors, and kube-prometheus'; of CPU, memory and network in this order.
        for (family, selector) in [
            ("container_cpu_usage_seconds_total", "image!=\"\""),
            ("container_memory_working_set_bytes", "container!=\"\",image!=\"\""),
            ("container_network_receive_bytes_total", "namespace=~\".+\""),
        ] {
            let found = pods(&prometheus, &format!("{family}{{job=\"{job}\",{selector}}}"))?;
            ensure!(found == ["collector-test".to_owned()].into(), "{family}{{{selector}}}: {found:?}");
        }
        // prometheus-adapter's, which know no job.
        for expression in [
            "sum by (pod, namespace) (rate(container_cpu_usage_seconds_total{container!=\"\",pod!=\"\"}[10s]))",
            "sum by (pod, namespace) (container_memory_working_set_bytes{container!=\"\",pod!=\"\"})",
        ] {
            let found = pods(&prometheus, expression)?;
            ensure!(found == ["collector-test".to_owned()].into(), "{expression}: {found:?}");
        }
        // The collector itself is its own pod's, and nothing else is.
        let own = prometheus.query(&format!("count by (__name__) ({{pod=\"{OWN}\"}})"))?;
        let names: Vec<_> = own.iter().filter_map(|series| series.metric.get("__name__")).collect();
        ensure!(names.iter().any(|name| *name == "collector_containers"), "its own metrics: {names:?}");
        let ours = ["collector_", "process_", "scrape_", "up"];
        let others: Vec<_> = names.iter().filter(|name| !ours.iter().any(|own| name.starts_with(own))).collect();
        ensure!(others.is_empty(), "booked to the collector's own pod: {others:?}");
        Ok(())
    })?;
    ensure!(prometheus.complaints().is_empty(), "{:?}", prometheus.complaints());
    pod.remove(&container)
}

/// The pods that an expression is about.
fn pods(prometheus: &Prometheus, expression: &str) -> Result<BTreeSet<String>> {
    let series = prometheus.query(expression)?;
    Ok(series.into_iter().map(|mut series| series.metric.remove("pod").unwrap_or_default()).collect())
}
