//! What is served in a kubelet's place: the summary of real pods and of cgroups shaped like pods, on the main port and on
//! the kubelet's own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::pods;
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::{Collector, Rights, run_to_end};
use crate::support::cri::{Pod, PodNetwork};
use crate::support::engine::ContainerEngine as _;
use crate::support::harness::Case;
use crate::support::http::{self, Response};
use crate::support::network::{PACKET, SENDER};
use crate::support::workload::{Plan, Work, Workload};
use crate::support::{Context as _, Result, ensure, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("kubelet::pods_of_cgroupfs", || pods_by_path(Driver::Cgroupfs)).on_every_kernel(),
    Case::new("kubelet::pods_of_systemd", || pods_by_path(Driver::Systemd)),
    Case::new("kubelet::pods_without_a_systemd_driver", pods_without_a_systemd_driver),
    Case::new("kubelet::heapster_asks", heapster_asks),
    Case::new("kubelet::ports", ports),
    Case::new("kubelet::pod_of_containerd", pod_of_containerd),
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
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("collector-test-kubelet-{}-{name}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// A file, with the folders above it.
    fn put(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
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

fn start(folder: &Folder, more: &[&str]) -> Result<Collector> {
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
        let told: Value = at.json(&format!("/api/v1.3/containers{}", container.name()), Some(r#"{"num_stats":1}"#))?;
        number(&told["stats"][0]["cpu"]["usage"], "total")
    };
    let summary = wait::eventually(wait::seconds(30), || {
        let before = used(&collector)?;
        let summary: Value = collector.json("/stats/summary", None)?;
        let after = used(&collector)?;
        let told = pod(&summary, UID)?;
        let found = &told["containers"][0];
        ensure!(found["name"] == ID, "{told}");
        let total = number(&found["cpu"], "usageCoreNanoSeconds")?;
        ensure!((before..=after).contains(&total), "{total} is not between {before} and {after}");
        ensure!(number(&found["cpu"], "usageNanoCores")? > 0, "{found}");
        ensure!(number(&told["cpu"], "usageCoreNanoSeconds")? > 0, "{told}");
        if has_memory {
            let memory = &found["memory"];
            let (usage, working_set) = (number(memory, "usageBytes")?, number(memory, "workingSetBytes")?);
            ensure!(0 < working_set && working_set <= usage, "{memory}");
        }
        ensure!(told["podRef"]["name"] == "web-0" && told["podRef"]["namespace"] == "shop", "{}", told["podRef"]);
        let volumes = told["volume"].as_array().context("no volumes")?;
        let names: Vec<_> = volumes.iter().filter_map(|volume| volume["name"].as_str()).collect();
        ensure!(names == ["cache", "token"], "{names:?}");
        let cache = number(&volumes[0], "usedBytes")?;
        ensure!((1 << 20..3 << 20).contains(&cache), "{cache} bytes of a mebibyte");
        ensure!(number(&found["logs"], "usedBytes")? >= 100_000, "{found}");
        ensure!(number(&told["process_stats"], "process_count")? == 2, "{told}");
        Ok(summary)
    })?;
    let node = &summary["node"];
    ensure!(node["nodeName"] == "node-1", "{}", node["nodeName"]);
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
    let told = pod(&only, UID)?;
    for absent in ["network", "volume", "ephemeral-storage", "process_stats", "io"] {
        ensure!(told[absent].is_null() && only["node"][absent].is_null(), "{absent} is there: {told}");
    }
    ensure!(told["containers"][0]["cpu"].is_object() && only["node"]["fs"].is_null(), "{only}");
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
        let told = pod(&summary, UID)?;
        let mut names: Vec<_> =
            told["containers"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
        names.sort_unstable();
        ensure!(names == [ID, OTHER], "{told}");
        ensure!(number(&told["cpu"], "usageCoreNanoSeconds")? > 0, "{told}");
        ensure!(told["podRef"]["name"] == "web-0" && told["podRef"]["namespace"] == "shop", "{}", told["podRef"]);
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
    let told = wait::eventually(wait::seconds(20), || {
        let root: Value = collector.json("/api/v1.3/containers/", Some(r#"{"num_stats":60}"#))?;
        let times: Vec<_> = root["stats"].as_array().into_iter().flatten().map(|stats| &stats["timestamp"]).collect();
        let (start, end) = (times.first().context("no sample")?, times.last().context("no sample")?);
        let body = format!(r#"{{"containerName":"/","num_stats":1,"start":{start},"end":{end},"subcontainers":true}}"#);
        let told: Value = collector.json("/stats/container/", Some(&body))?;
        let stats = told[&name]["stats"].as_array().with_context(|| format!("no samples of {name}"))?;
        ensure!(stats.len() == 1 && number(&stats[0]["cpu"]["usage"], "total")? > 0, "{stats:?}");
        Ok(told)
    })?;
    // The root is the node, by its name: an alias would hide it.
    ensure!(told["/"]["name"] == "/" && told["/"]["aliases"].is_null(), "{}", told["/"]);
    let all = told.as_object().context("a map")?;
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

/// A certificate and its key in PEM, signed by this issuer.
fn issued(issuer: &Issuer<'_, KeyPair>, name: &str) -> Result<[String; 2]> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, issuer)?;
    Ok([certificate.pem(), key.serialize_pem()])
}

fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}

/// Asks over TLS as a client that trusts this authority, with a certificate of its own or a token.
fn ask(
    address: SocketAddr,
    trusted: &str,
    own: Option<&[String; 2]>,
    token: Option<&str>,
    target: &str,
) -> Result<Response> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some([certificate, key]) => config.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?,
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(wait::seconds(20)))?;
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    http::request_with(StreamOwned::new(connection, stream), "GET", target, &headers, None)
}

/// An address that was free a moment ago; nothing else here takes ports by number.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn ports() -> Result<()> {
    let folder = Folder::new("ports")?;
    let (ca, issuer) = authority("collector-test")?;
    let (_, stranger) = authority("stranger")?;
    let [server, server_key] = issued(&issuer, "localhost")?;
    let (known, unknown) = (issued(&issuer, "client")?, issued(&stranger, "client")?);
    let flag = |name: &str, file: &Path| format!("--{name}={}", file.display());
    let ca_file = folder.put("ca", ca.as_bytes())?;
    let flags = [
        flag("kubelet_tls_cert_file", &folder.put("cert", server.as_bytes())?),
        flag("kubelet_tls_private_key_file", &folder.put("key", server_key.as_bytes())?),
        flag("kubelet_client_ca_file", &ca_file),
        flag("kubelet_token_file", &folder.put("tokens", b"right\n")?),
    ];
    let (open, secure) = (free()?, free()?);
    let ports = [format!("--kubelet_read_only_port={}", open.port()), format!("--kubelet_port={}", secure.port())];
    let flags: Vec<&str> = flags.iter().chain(&ports).map(String::as_str).collect();
    let mut collector = start(&folder, &flags)?;

    let paths = ["/stats/summary", "/metrics/resource", "/metrics/cadvisor", "/spec/", "/stats/container/"];
    wait::eventually(wait::seconds(20), || {
        for path in paths {
            let answer = http::request(TcpStream::connect(open)?, "GET", path, None)?;
            ensure!(answer.status == 200, "{path}: {answer:?}");
        }
        Ok(())
    })?;
    // The kubelet's and nothing else.
    for path in ["/", "/api/v1.3/machine", "/metrics", "/containers/"] {
        let answer = http::request(TcpStream::connect(open)?, "GET", path, None)?;
        ensure!(answer.status == 404, "{path}: {answer:?}");
    }
    for path in paths {
        for (own, token, status) in [
            (None, None, 401),
            (None, Some("wrong"), 401),
            (None, Some("right"), 200),
            (Some(&known), None, 200),
            (Some(&known), Some("wrong"), 200),
        ] {
            let answer = ask(secure, &ca, own, token, path)?;
            ensure!(answer.status == status, "{path} with {own:?} {token:?}: {}", answer.status);
        }
    }
    let refused = ask(secure, &ca, Some(&unknown), Some("right"), "/spec/");
    ensure!(refused.is_err(), "a stranger's certificate is taken: {refused:?}");
    ensure!(ask(secure, &ca, None, None, "/healthz")?.status == 200, "health is not told to everybody");
    // Another authority without a restart.
    let (other, other_issuer) = authority("another")?;
    folder.put("ca.new", other.as_bytes())?;
    fs::rename(folder.0.join("ca.new"), &ca_file)?;
    let newcomer = issued(&other_issuer, "client")?;
    wait::eventually(wait::seconds(10), || {
        let answer = ask(secure, &ca, Some(&newcomer), None, "/spec/")?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })?;
    ensure!(ask(secure, &ca, Some(&known), None, "/spec/").is_err(), "the old authority still counts");

    // The main port has the same and is as open as ever.
    ensure!(collector.get("/stats/summary")?.status == 200, "not on the main port");
    let (status, log) = run_to_end(&Rights::default(), &["--kubelet_port=1"])?;
    ensure!(!status.success() && log.iter().any(|line| line.starts_with("error: --kubelet_port=1:")), "{log:?}");
    collector.check_alive()
}

/// A pod as the kubelet makes one.
fn pod_of_containerd() -> Result<()> {
    let pod_ = Pod::start(PodNetwork::Own)?;
    let container = pod_.start("while :; do /bin/busybox sleep 1; done")?;
    let first = pods::first_process(&container.cgroup)?;
    Plan::here(Work::NetworkOf(first, 10)).start_ready()?.wait()?;
    let socket = format!("--containerd={}", pod_.socket().display());
    let flags = ["--housekeeping_interval=200ms", "--docker=", "--podman=", "--crio=", &socket];
    let collector = Collector::start(&flags)?;
    wait::eventually(wait::seconds(40), || {
        let summary: Value = collector.json("/stats/summary", None)?;
        let told = pod(&summary, "3f2a8a52")?;
        let reference = &told["podRef"];
        ensure!(reference["name"] == "collector-test" && reference["namespace"] == "default", "{reference}");
        let containers = told["containers"].as_array().context("no containers")?;
        ensure!(containers.len() == 1, "the sandbox is no container: {containers:?}");
        let name = containers[0]["name"].as_str().unwrap_or_default();
        ensure!(name.starts_with('c') && name.len() < 64, "name {name}");
        let network = &told["network"];
        ensure!(network["name"] == SENDER && number(network, "txBytes")? >= 10 * PACKET, "{network}");
        ensure!(number(&told["process_stats"], "process_count")? >= 2, "{}", told["process_stats"]);
        for part in ["rootfs", "logs"] {
            let used = containers[0][part]["usedBytes"].as_u64();
            ensure!(containers[0][part].is_null() || used.is_some(), "{part} without what is used: {}", containers[0]);
        }
        ensure!(containers[0]["rootfs"]["usedBytes"].is_u64(), "its layer is not known: {}", containers[0]);
        ensure!(number(&summary["node"]["runtime"]["imageFs"], "capacityBytes")? > 0, "{}", summary["node"]["runtime"]);
        Ok(())
    })?;
    pod_.remove(&container)?;
    wait::eventually(wait::seconds(20), || {
        let summary: Value = collector.json("/stats/summary", None)?;
        ensure!(pod(&summary, "3f2a8a52")?["containers"] == Value::Array(Vec::new()), "it is still there");
        Ok(())
    })
}
