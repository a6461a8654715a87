//! What is served in a kubelet's place: the summary of real pods and of cgroups shaped like pods, on the main port and on
//! the kubelet's own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use serde_json::Value;

use crate::kubelet_ports::free;
use crate::pods;
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::cri::{self, PodNetwork};
use crate::support::engine::ContainerEngine as _;
use crate::support::harness::Case;
use crate::support::http::{self, Response};
use crate::support::network::{PACKET, SENDER};
use crate::support::time::Time;
use crate::support::workload::{Plan, Work, Workload};
use crate::support::{Context as _, Result, bytes, ensure, kubernetes, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("kubelet::pods_of_cgroupfs", || pods_by_path(Driver::Cgroupfs)).on_every_kernel(),
    Case::new("kubelet::pods_of_systemd", || pods_by_path(Driver::Systemd)),
    Case::new("kubelet::pods_without_a_systemd_driver", pods_without_a_systemd_driver),
    Case::new("kubelet::heapster_asks", heapster_asks),
    Case::new("kubelet::pod_of_containerd", pod_of_containerd),
    Case::new("kubelet::cpu_use_of_bursts", cpu_use_of_bursts),
    Case::new("kubelet::samples_at_long_intervals", samples_at_long_intervals),
];

const UID: &str = "3f2a8a52-7c1f-4c58-9a54-0123456789ab";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NO_RUNTIME: [&str; 4] = ["--docker=", "--podman=", "--containerd=", "--crio="];

/// Who names the cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    Cgroupfs,
    Systemd,
}

impl Driver {
    /// The cgroups from the root of all pods to the pod's container.
    fn cgroups(self) -> [String; 4] {
        match self {
            Self::Cgroupfs => {
                let pod = format!("kubepods/burstable/pod{UID}");
                ["kubepods".to_owned(), "kubepods/burstable".to_owned(), pod.clone(), format!("{pod}/{ID}")]
            }
            Self::Systemd => {
                let class = "kubepods.slice/kubepods-besteffort.slice".to_owned();
                let pod = format!("{class}/kubepods-besteffort-pod{}.slice", UID.replace('-', "_"));
                ["kubepods.slice".to_owned(), class, pod.clone(), format!("{pod}/cri-containerd-{ID}.scope")]
            }
        }
    }
}

/// A folder of the test's own, removed when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("collector-test-kubelet-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// A file, with the folders above it.
    pub(crate) fn put(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, content)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A container in cgroups as the kubelet names them: one process uses a CPU, another holds memory.
fn shaped(cgroups: &Cgroups, driver: Driver) -> Result<(Cgroup<'_>, [Workload; 2])> {
    let [root, class, pod, container] = driver.cgroups();
    for parent in [root, class, pod] {
        cgroups.make(parent)?.delegate()?;
    }
    let container = cgroups.make(container)?;
    let holds = Plan::new(Work::Hold(8), &container).start_ready()?;
    let busy = Plan::new(Work::Spin, &container).start_ready()?;
    Ok((container, [holds, busy]))
}

/// The kubelet's folders, with a volume and logs of the pod.
fn kubelets(folder: &Folder) -> Result<[String; 2]> {
    let volumes = format!("kubelet/pods/{UID}/volumes");
    folder.put(&format!("{volumes}/kubernetes.io~empty-dir/cache/file"), &vec![1; 1 << 20])?;
    folder.put(&format!("{volumes}/kubernetes.io~projected/token/token"), b"secret")?;
    folder.put(&format!("logs/shop_web-0_{UID}/{ID}/0.log"), &vec![b'x'; 100_000])?;
    let path = |name: &str| folder.0.join(name).display().to_string();
    Ok([format!("--kubelet_root={}", path("kubelet")), format!("--kubelet_pod_logs={}", path("logs"))])
}

pub(crate) fn start(folder: &Folder, more: &[&str]) -> Result<Collector> {
    let kubelets = kubelets(folder)?;
    let own = ["--housekeeping_interval=200ms", "--node_name=node-1", &kubelets[0], &kubelets[1]];
    Collector::start(&[&own, &NO_RUNTIME[..], more].concat())
}

fn pod<'a>(summary: &'a Value, uid: &str) -> Result<&'a Value> {
    let mut pods = summary["pods"].as_array().into_iter().flatten();
    pods.find(|pod| pod["podRef"]["uid"] == uid).with_context(|| format!("no pod {uid} in {}", summary["pods"]))
}

fn number(value: &Value, key: &str) -> Result<u64> {
    value[key].as_u64().with_context(|| format!("no {key} in {value}"))
}

fn pods_by_path(driver: Driver) -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let folder = Folder::new("path")?;
    let (container, _busy) = shaped(&cgroups, driver)?;
    let collector = start(&folder, &[])?;
    let has_memory = Layout::detect()?.memory().is_some();

    let used = |at: &Collector| -> Result<u64> {
        let reported: Value =
            at.json(&format!("/api/v1.3/containers{}", container.name()), Some(r#"{"num_stats":1}"#))?;
        number(&reported["stats"][0]["cpu"]["usage"], "total")
    };
    let summary = wait::eventually(wait::seconds(30), || {
        let before = used(&collector)?;
        let summary: Value = collector.json("/stats/summary", None)?;
        let after = used(&collector)?;
        let reported = pod(&summary, UID)?;
        let found = &reported["containers"][0];
        ensure!(found["name"] == ID, "{reported}");
        let total = number(&found["cpu"], "usageCoreNanoSeconds")?;
        ensure!((before..=after).contains(&total), "{total} is not between {before} and {after}");
        ensure!(number(&found["cpu"], "usageNanoCores")? > 0, "{found}");
        ensure!(number(&reported["cpu"], "usageCoreNanoSeconds")? > 0, "{reported}");
        if has_memory {
            let memory = &found["memory"];
            let (usage, working_set) = (number(memory, "usageBytes")?, number(memory, "workingSetBytes")?);
            ensure!(0 < working_set && working_set <= usage, "{memory}");
        }
        ensure!(
            reported["podRef"]["name"] == "web-0" && reported["podRef"]["namespace"] == "shop",
            "{}",
            reported["podRef"]
        );
        let volumes = reported["volume"].as_array().context("no volumes")?;
        let names: Vec<_> = volumes.iter().filter_map(|volume| volume["name"].as_str()).collect();
        ensure!(names == ["cache", "token"], "{names:?}");
        let cache = number(&volumes[0], "usedBytes")?;
        ensure!((1 << 20..3 << 20).contains(&cache), "{cache} bytes of a mebibyte");
        ensure!(number(&found["logs"], "usedBytes")? >= 100_000, "{found}");
        ensure!(number(&reported["process_stats"], "process_count")? == 2, "{reported}");
        Ok(summary)
    })?;
    // Logs are looked at for the answer.
    folder.put(&format!("logs/shop_web-0_{UID}/{ID}/1.log"), &vec![b'x'; 1 << 20])?;
    wait::pass(wait::millis(1100));
    let later: Value = collector.json("/stats/summary", None)?;
    let logged = number(&pod(&later, UID)?["containers"][0]["logs"], "usedBytes")?;
    ensure!(logged >= (1 << 20) + 100_000, "{logged} bytes of logs");
    let node = &summary["node"];
    ensure!(node["nodeName"] == "node-1", "{}", node["nodeName"]);
    let booted = bytes::read("/proc/stat")?;
    let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")).context("no btime")?;
    let reported = later["node"]["startTime"].as_str().context("no startTime")?;
    let seconds = Time::parse(reported).context("no time")?.nanos / 1_000_000_000;
    ensure!(seconds == booted.trim().parse::<i128>()?, "the node was started at {reported}, the kernel says {booted}");
    let (fs, limits) = (&node["fs"], &node["rlimit"]);
    ensure!(number(fs, "capacityBytes")? >= number(fs, "availableBytes")?, "{fs}");
    ensure!(number(limits, "maxpid")? > number(limits, "curproc")?, "{limits}");
    let parts: Vec<_> = node["systemContainers"].as_array().into_iter().flatten().collect();
    ensure!(parts.iter().any(|part| part["name"] == "pods"), "{parts:?}");

    // Start times stand still, times go on.
    let later: Value = wait::eventually(wait::seconds(10), || {
        let later: Value = collector.json("/stats/summary/", None)?;
        ensure!(pod(&later, UID)?["cpu"]["time"] != pod(&summary, UID)?["cpu"]["time"], "no newer sample");
        Ok(later)
    })?;
    ensure!(summary["node"]["startTime"] == later["node"]["startTime"], "the node was started twice");
    let started = |summary| -> Result<Value> { Ok(pod(summary, UID)?["containers"][0]["startTime"].clone()) };
    let (before, after) = (started(&summary)?, started(&later)?);
    ensure!(before == after && after.is_string(), "the container was started at {before} and at {after}");

    let only: Value = collector.json("/stats/summary?only_cpu_and_memory=true", None)?;
    let reported = pod(&only, UID)?;
    for absent in ["network", "volume", "ephemeral-storage", "process_stats", "io"] {
        ensure!(reported[absent].is_null() && only["node"][absent].is_null(), "{absent} is there: {reported}");
    }
    ensure!(reported["containers"][0]["cpu"].is_object() && only["node"]["fs"].is_null(), "{only}");
    resources(&collector.get("/metrics/resource")?, has_memory)
}

/// The runtime makes one directory of slice, prefix and id, below its own cgroup; there is no cgroup of the pod.
fn pods_without_a_systemd_driver() -> Result<()> {
    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    let cgroups = Cgroups::new(Set::Every)?;
    let folder = Folder::new("triple")?;
    for parent in ["system.slice", "system.slice/containerd.service"] {
        cgroups.make(parent)?.delegate()?;
    }
    let pod_ = format!("system.slice/containerd.service/kubepods-burstable-pod{}.slice", UID.replace('-', "_"));
    let [first, second] = [ID, OTHER].map(|id| cgroups.make(format!("{pod_}:cri-containerd:{id}")));
    let (first, second) = (first?, second?);
    let _busy = [Plan::new(Work::Spin, &first).start_ready()?, Plan::new(Work::Hold(8), &second).start_ready()?];
    let collector = start(&folder, &[])?;
    wait::eventually(wait::seconds(30), || {
        let summary: Value = collector.json("/stats/summary", None)?;
        let reported = pod(&summary, UID)?;
        let mut names: Vec<_> =
            reported["containers"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
        names.sort_unstable();
        ensure!(names == [ID, OTHER], "{reported}");
        ensure!(number(&reported["cpu"], "usageCoreNanoSeconds")? > 0, "{reported}");
        ensure!(
            reported["podRef"]["name"] == "web-0" && reported["podRef"]["namespace"] == "shop",
            "{}",
            reported["podRef"]
        );
        Ok(())
    })
}

/// The page that the metrics server reads.
fn resources(page: &Response, has_memory: bool) -> Result<()> {
    ensure!(page.status == 200, "{page:?}");
    let page = page.text();
    let value = |name: &str| {
        let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let line = line.with_context(|| format!("no {name} in\n{page}"))?;
        let mut words = line.rsplit('}').next().unwrap_or(line).split_whitespace();
        if !line.contains('}') {
            words.next();
        }
        let value: f64 = words.next().context("a value")?.parse()?;
        let at: Option<u64> = words.next().map(str::parse).transpose()?;
        Result::<_>::Ok((line.to_owned(), value, at))
    };
    if has_memory {
        let labels = format!("{{container=\"{ID}\",namespace=\"shop\",pod=\"web-0\"}}");
        let (line, cpu, at) = value("container_cpu_usage_seconds_total")?;
        ensure!(line.contains(&labels) && cpu > 0.0 && at.is_some(), "{line}");
        let (line, memory, at_too) = value("container_memory_working_set_bytes")?;
        ensure!(line.contains(&labels) && memory > 0.0 && at == at_too, "{line}");
        let (line, started, at) = value("container_start_time_seconds")?;
        ensure!(started > 1e9 && at.is_none(), "{line}");
    }
    ensure!(value("node_cpu_usage_seconds_total")?.1 > 0.0, "the node uses no CPU");
    ensure!(value("pod_cpu_usage_seconds_total")?.1 > 0.0, "the pod uses no CPU");
    ensure!(value("resource_scrape_error")?.1.abs() < f64::EPSILON, "an error");
    Ok(())
}

/// The requests of heapster's older source, and the other resources of older kubelets.
fn heapster_asks() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let folder = Folder::new("heapster")?;
    let (container, _busy) = shaped(&cgroups, Driver::Cgroupfs)?;
    let collector = start(&folder, &[])?;
    let name = container.name();
    let reported = wait::eventually(wait::seconds(20), || {
        let root: Value = collector.json("/api/v1.3/containers/", Some(r#"{"num_stats":60}"#))?;
        let times: Vec<_> = root["stats"].as_array().into_iter().flatten().map(|stats| &stats["timestamp"]).collect();
        let (start, end) = (times.first().context("no sample")?, times.last().context("no sample")?);
        let body = format!(r#"{{"containerName":"/","num_stats":1,"start":{start},"end":{end},"subcontainers":true}}"#);
        let reported: Value = collector.json("/stats/container/", Some(&body))?;
        let stats = reported[&name]["stats"].as_array().with_context(|| format!("no samples of {name}"))?;
        ensure!(stats.len() == 1 && number(&stats[0]["cpu"]["usage"], "total")? > 0, "{stats:?}");
        Ok(reported)
    })?;
    // The root is the node, by its name: an alias would hide it.
    ensure!(reported["/"]["name"] == "/" && reported["/"]["aliases"].is_null(), "{}", reported["/"]);
    let all = reported.as_object().context("a map")?;
    for (name, container) in all {
        ensure!(container["name"] == name.as_str(), "{name} is {}", container["name"]);
        let stats = container["stats"].as_array();
        ensure!(stats.is_none_or(|stats| stats.iter().all(Value::is_object)), "{name}: {stats:?}");
        ensure!(container["spec"]["creation_time"].is_string(), "{name} was never made");
    }
    let below = format!(r#"{{"containerName":"{}","subcontainers":true,"num_stats":1}}"#, cgroups.name());
    let some: Value = collector.json("/stats/container", Some(&below))?;
    let names: Vec<_> = some.as_object().context("a map")?.keys().collect();
    ensure!(names.iter().all(|below| below.starts_with(&cgroups.name())) && names.len() == 5, "{names:?}");

    let root: Value = collector.json("/stats/", Some(r#"{"num_stats":2}"#))?;
    ensure!(root["name"] == "/" && root["stats"].as_array().is_some_and(|stats| stats.len() <= 2), "{root:.300}");
    let one: Value = collector.json(&format!("/stats/shop/web-0/{UID}/{ID}"), None)?;
    ensure!(one["name"] == name.as_str(), "{one:.300}");
    let spec: Value = collector.json("/spec/", None)?;
    ensure!(number(&spec, "num_cores")? > 0, "{spec:.300}");
    for (path, status) in [
        ("/stats/shop/web-0/u/none", 404),
        ("/stats/web-0/app", 404),
        ("/stats/summary/more/than/there/is", 404),
        ("/stats/x", 404),
    ] {
        let answer = collector.get(path)?;
        ensure!(answer.status == status, "{path}: {answer:?}");
    }
    let unknown = collector.request("POST", "/stats/container/", Some(r#"{"containerName":"/none-of-this-name"}"#))?;
    ensure!(unknown.status == 404, "{unknown:?}");
    let broken = collector.request("POST", "/stats/container/", Some("{"))?;
    ensure!(broken.status == 500, "{broken:?}");
    Ok(())
}

/// A pod as the kubelet makes one.
fn pod_of_containerd() -> Result<()> {
    let pod_ = cri::Pod::start(PodNetwork::Own)?;
    let container = pod_.start("while :; do /bin/busybox sleep 1; done")?;
    let first = pods::first_process(&container.cgroup)?;
    Plan::here(Work::NetworkOf(first, 10)).start_ready()?.wait()?;
    let socket = format!("--containerd={}", pod_.socket().display());
    let open = free()?;
    let port = format!("--kubelet_read_only_port={}", open.port());
    let flags = ["--housekeeping_interval=200ms", "--docker=", "--podman=", "--crio=", &socket, &port];
    let collector = Collector::start(&flags)?;
    wait::eventually(wait::seconds(40), || {
        let summary: Value = collector.json("/stats/summary", None)?;
        let reported = pod(&summary, "3f2a8a52")?;
        let reference = &reported["podRef"];
        ensure!(reference["name"] == "collector-test" && reference["namespace"] == "default", "{reference}");
        let containers = reported["containers"].as_array().context("no containers")?;
        ensure!(containers.len() == 1, "the sandbox is no container: {containers:?}");
        let name = containers[0]["name"].as_str().unwrap_or_default();
        ensure!(name.starts_with('c') && name.len() < 64, "name {name}");
        let network = &reported["network"];
        ensure!(network["name"] == SENDER && number(network, "txBytes")? >= 10 * PACKET, "{network}");
        // The shell and what it waits for; the sandbox's is not counted.
        let count = number(&reported["process_stats"], "process_count")?;
        ensure!((1..=2).contains(&count), "{count} processes");
        for part in ["rootfs", "logs"] {
            let used = containers[0][part]["usedBytes"].as_u64();
            ensure!(containers[0][part].is_null() || used.is_some(), "{part} without what is used: {}", containers[0]);
        }
        ensure!(containers[0]["rootfs"]["usedBytes"].is_u64(), "its layer is not known: {}", containers[0]);
        ensure!(number(&summary["node"]["runtime"]["imageFs"], "capacityBytes")? > 0, "{}", summary["node"]["runtime"]);
        Ok(())
    })?;
    listed(open, &container.cgroup)?;
    processes_are_counted(&collector)?;
    mounts(&collector, &flags)?;
    pod_.remove(&container)?;
    wait::eventually(wait::seconds(20), || {
        let summary: Value = collector.json("/stats/summary", None)?;
        ensure!(pod(&summary, "3f2a8a52").is_err(), "it is still there: {}", summary["pods"]);
        let resources = collector.get("/metrics/resource")?.text();
        ensure!(!resources.contains("pod=\"collector-test\""), "{resources}");
        Ok(())
    })
}

/// The pod at `/pods`.
fn listed(port: SocketAddr, cgroup: &str) -> Result<()> {
    let answer = http::request(TcpStream::connect(port)?, "GET", "/pods", None)?;
    let pods: Value = serde_json::from_str(&answer.text())?;
    kubernetes::check(&pods)?;
    let items = pods["items"].as_array().context("no items")?;
    let found = items.iter().find(|item| item["metadata"]["name"] == "collector-test").context("not listed")?;
    ensure!(found["metadata"]["namespace"] == "default" && found["metadata"]["uid"] == "3f2a8a52", "{found}");
    let status = &found["status"]["containerStatuses"][0];
    let id = cgroup.rsplit('/').next().unwrap_or_default();
    ensure!(status["containerID"] == format!("containerd://{id}"), "{status}");
    ensure!(status["state"]["running"]["startedAt"].is_string() && status["ready"] == true, "{status}");
    Ok(())
}

/// Processes are counted for those who ask as of a kubelet, and for nobody else.
fn processes_are_counted(collector: &Collector) -> Result<()> {
    let kubelets = collector.get("/metrics/cadvisor")?.text();
    for family in ["processes", "threads", "threads_max", "sockets", "file_descriptors", "ulimits_soft"] {
        let name = format!("container_{family}{{");
        let of_pod = |line: &&str| line.starts_with(&name) && line.contains("pod=\"collector-test\"");
        ensure!(kubelets.lines().any(|line| of_pod(&line)), "no {name} of the pod");
    }
    let own = collector.get("/metrics")?.text();
    ensure!(!own.contains("\ncontainer_processes{"), "processes are counted for everybody");
    Ok(())
}

/// What is mounted for the pod is listed when that is asked for.
fn mounts(collector: &Collector, flags: &[&str]) -> Result<()> {
    let devices = |collector: &Collector| -> Result<Vec<String>> {
        let root: Value = collector.json("/api/v1.3/machine", None)?;
        let all = root["filesystems"].as_array().context("no file systems")?;
        Ok(all.iter().filter_map(|one| one["device"].as_str().map(str::to_owned)).collect())
    };
    let is_pods = |device: &String| device.contains("/io.containerd.") && device.ends_with("/shm");
    let own = devices(collector)?;
    ensure!(!own.iter().any(is_pods), "{own:?}");
    ensure!(
        !collector.get("/metrics")?.text().contains("/io.containerd.grpc.v1.cri/"),
        "a sandbox's mount is reported"
    );
    let all = Collector::start(&[flags.get(..4).unwrap_or_default(), &["--machine_filesystems=all"]].concat())?;
    let all = devices(&all)?;
    ensure!(all.iter().any(is_pods) && all.len() > own.len(), "{all:?}");
    Ok(())
}

/// Work in bursts reads as its mean, at no moment as none.
fn cpu_use_of_bursts() -> Result<()> {
    const BURST_MS: u64 = 500;
    let cgroups = Cgroups::new(Set::Every)?;
    let folder = Folder::new("bursts")?;
    let [root, class, pod_, container] = Driver::Cgroupfs.cgroups();
    for parent in [root, class, pod_] {
        cgroups.make(parent)?.delegate()?;
    }
    let container = cgroups.make(container)?;
    let _holds = Plan::new(Work::Hold(8), &container).start_ready()?;
    let collector = start(&folder, &[])?;
    let mut read = Vec::new();
    for burst in 0..4 {
        Plan::new(Work::Burn(BURST_MS), &container).start()?.wait()?;
        for _ in 0..8 {
            wait::pass(wait::millis(500));
            // The first ten seconds are shorter than what the rate is over.
            if burst >= 2 {
                let summary: Value = collector.json("/stats/summary", None)?;
                let cpu = &pod(&summary, UID)?["containers"][0]["cpu"];
                read.push(number(cpu, "usageNanoCores")?);
            }
        }
    }
    // Two or three bursts in ten seconds; starting a process takes some, too.
    let wrong: Vec<_> = read.iter().filter(|rate| !(40_000_000..400_000_000).contains(*rate)).collect();
    ensure!(wrong.is_empty(), "{wrong:?} of {read:?}");
    Ok(())
}

/// A kubelet's clients ask for the last half a minute, and get a sample of everything, however seldom samples are taken.
fn samples_at_long_intervals() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let idle = cgroups.make("idle")?;
    let _process = Plan::new(Work::Hold(1), &idle).start_ready()?;
    let collector = Collector::start(&[&NO_RUNTIME[..], &["--housekeeping_interval=1m"]].concat())?;
    let name = idle.name();
    wait::eventually(wait::seconds(10), || {
        let reported: Value = collector.json(&format!("/api/v1.3/containers{name}"), None)?;
        ensure!(reported["stats"].is_array(), "no sample");
        Ok(())
    })?;
    for _ in 0..2 {
        wait::pass(wait::seconds(12));
        let body = format!(r#"{{"containerName":"{}","num_stats":1,"subcontainers":true}}"#, cgroups.name());
        let now = Time::now_nanos();
        let reported: Value = collector.json("/stats/container/", Some(&body))?;
        let at = reported[&name]["stats"][0]["timestamp"].as_str().with_context(|| format!("no sample of {name}"))?;
        let age = now - Time::parse(at).context("no time")?.nanos;
        ensure!(age < 11_000_000_000, "the newest sample is {age} ns old");
    }
    // For a while the samples go on without anybody asking.
    wait::pass(wait::seconds(18));
    let reported: Value = collector.json(&format!("/api/v1.3/containers{name}"), None)?;
    let newest = reported["stats"].as_array().and_then(|stats| stats.last()).context("no sample")?;
    let at = Time::parse(newest["timestamp"].as_str().unwrap_or_default()).context("no time")?;
    let age = Time::now_nanos() - at.nanos;
    ensure!(age < 17_000_000_000, "the newest sample is {age} ns old");
    Ok(())
}
