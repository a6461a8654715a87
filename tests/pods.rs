//! Pods with a network of their own: reported once, on the sandbox, whichever interface names the containers.

use serde_json::Value;

use crate::network;
use crate::support::cgroups::Layout;
use crate::support::collector::Collector;
use crate::support::cri::{POD_LABELS, Pod, PodNetwork};
use crate::support::engine::ContainerEngine as _;
use crate::support::harness::Case;
use crate::support::network::{PACKET, RECEIVER, SENDER};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("pods::containerd", || network_is_reported_once(Reporter::Containerd)),
    Case::new("pods::cri", || network_is_reported_once(Reporter::Cri)),
];

/// Who is asked about the containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reporter {
    /// containerd's own API.
    Containerd,
    /// The Kubernetes interface, as CRI-O has it too: served by containerd here.
    Cri,
}

impl Reporter {
    fn flags(self, socket: &str) -> [String; 2] {
        match self {
            Self::Containerd => [format!("--containerd={socket}"), "--crio=".to_owned()],
            Self::Cri => ["--containerd=".to_owned(), format!("--crio=unix://{socket}")],
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Cri => "crio",
        }
    }
}

/// A sandbox and two containers that share its network: the traffic of one of them is the pod's.
fn network_is_reported_once(reporter: Reporter) -> Result<()> {
    let pod = Pod::start(PodNetwork::Own)?;
    let command = "while :; do /bin/busybox sleep 1; done";
    let containers = [pod.start(command)?, pod.start(command)?];
    let sandbox = pod.sandbox();
    let first = first_process(&containers[0].cgroup)?;
    Plan::here(Work::NetworkOf(first, 10)).start_ready()?.wait()?;
    let [ours, others] = reporter.flags(&pod.containerd().socket().display().to_string());
    let flags = ["--housekeeping_interval=200ms", "--docker=", "--podman=", &ours, &others];
    let collector = Collector::start(&flags)?;

    let reported = wait::eventually(wait::seconds(5), || {
        let reported = v1(&collector, &sandbox)?;
        identified(reporter, &reported, &sandbox).context("the sandbox")?;
        ensure!(reported["spec"]["has_network"] == true, "the sandbox has no network: {reported}");
        ensure!(reported["stats"][0]["network"].is_object(), "no counters yet");
        Ok(reported)
    })?;
    let before = network::devices(first)?;
    let interfaces = reported["stats"][0]["network"]["interfaces"].as_array().context("no interfaces")?;
    let names: Vec<_> = interfaces.iter().filter_map(|interface| interface["name"].as_str()).collect();
    let kernels: Vec<_> = before.iter().map(|interface| interface.name.as_str()).collect();
    ensure!(names == kernels && names.contains(&SENDER), "{names:?}, in the namespace are {kernels:?}");
    let number = |name: &str, key: &str| {
        let interface = interfaces.iter().find(|interface| interface["name"] == name);
        interface.and_then(|interface| interface[key].as_u64()).unwrap_or_default()
    };
    let (sent, received) = (number(SENDER, "tx_bytes"), number(RECEIVER, "rx_packets"));
    ensure!(sent >= 10 * PACKET && received >= 10, "{sent} bytes sent, {received} packets received of 10");

    for container in &containers {
        let reported = wait::eventually(wait::seconds(5), || {
            let reported = v1(&collector, &container.cgroup)?;
            identified(reporter, &reported, &container.cgroup)?;
            ensure!(!reported["stats"].is_null(), "no sample");
            Ok(reported)
        })?;
        ensure!(reported["spec"]["has_network"] == false, "it shares the sandbox's network: {}", reported["spec"]);
        let image = reported["spec"]["image"].as_str().unwrap_or_default();
        ensure!(image.contains("collector-test-busybox") || image.starts_with("sha256:"), "image: {image:?}");
        let network = &reported["stats"][0]["network"];
        let zeros = network["interfaces"].is_null() && network["rx_bytes"] == 0 && network["tx_bytes"] == 0;
        ensure!(zeros && network["tcp"].is_object(), "not zeros: {network}");
        let name = &container.cgroup;
        let v2: Value = collector.json(&format!("/api/v2.1/stats{name}?count=1"), None)?;
        let v2 = &v2[name];
        ensure!(v2["spec"]["has_network"] == false && v2["stats"][0]["network"].is_null(), "v2.1 says {v2}");
    }
    let v2: Value = collector.json(&format!("/api/v2.1/stats{sandbox}?count=1"), None)?;
    ensure!(v2[&sandbox]["stats"][0]["network"]["interfaces"].is_array(), "v2.1 says of the sandbox {v2}");
    // The pod's own cgroup is nobody's container.
    let pods = v1(&collector, pod.containerd().pod())?;
    let network = &pods["stats"][0]["network"];
    ensure!(pods["spec"]["has_network"] == false && network.is_null(), "the pod's cgroup: {pods}");
    containers.iter().try_for_each(|container| pod.remove(container))
}

fn v1(collector: &Collector, name: &str) -> Result<Value> {
    collector.json(&format!("/api/v1.3/containers{name}"), Some(r#"{"num_stats":1}"#))
}

/// Who it is, its labels and its aliases.
fn identified(reporter: Reporter, reported: &Value, cgroup: &str) -> Result<()> {
    let id = cgroup.rsplit('/').next().context("an id")?;
    ensure!(
        reported["id"] == id && reported["namespace"] == reporter.namespace(),
        "{} {}",
        reported["id"],
        reported["namespace"]
    );
    for (name, value) in POD_LABELS {
        ensure!(reported["spec"]["labels"][name] == value, "label {name}: {}", reported["spec"]["labels"]);
    }
    let aliases: Vec<_> = reported["aliases"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match reporter {
        Reporter::Containerd => {
            ensure!(aliases == [id, cgroup], "aliases {aliases:?}");
            let kind = &reported["spec"]["labels"]["io.cri-containerd.kind"];
            ensure!(kind == "sandbox" || kind == "container", "kind {kind}");
        }
        Reporter::Cri => {
            let pods = "_collector-test_default_3f2a8a52_0";
            let named = aliases.first().is_some_and(|name| name.starts_with("k8s_") && name.ends_with(pods));
            ensure!(named && aliases.get(1) == Some(&id), "aliases {aliases:?}");
        }
    }
    Ok(())
}

pub(crate) fn first_process(cgroup: &str) -> Result<u32> {
    for mount in Layout::detect()?.mounts {
        let listed = bytes::read(mount.dir(cgroup.as_ref()).join("cgroup.procs")).unwrap_or_default();
        if let Some(pid) = listed.lines().next() {
            return Ok(pid.parse()?);
        }
    }
    Err(crate::support::Error::msg(format!("no process in {cgroup}")))
}
