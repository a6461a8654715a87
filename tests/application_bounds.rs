//! What containers choose costs themselves: expressions, large answers, endpoints elsewhere, files that never answer, and
//! what is no file; and that none of them chooses which folder of the host is its own.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::collector::Collector;
use crate::support::docker::Docker;
use crate::support::engine::program;
use crate::support::harness::{Case, Skip};
use crate::support::{Context as _, Result, bytes, ensure, wait};

/// Each takes between five and thirty seconds, most of it for the engine and its containers.
pub(crate) const CASES: &[Case] = &[
    Case::new("application_bounds::expressions_delay_nobody", expressions_delay_nobody),
    Case::new("application_bounds::large_answers_stay_bounded", large_answers_stay_bounded),
    Case::new("application_bounds::endpoints_elsewhere_are_not_asked", endpoints_elsewhere_are_not_asked),
    Case::new("application_bounds::what_is_no_file_is_not_opened", what_is_no_file_is_not_opened),
    Case::new("application_bounds::files_that_never_answer_are_left", files_that_never_answer_are_left),
    Case::new("application_bounds::a_container_does_not_choose_its_layer", a_container_does_not_choose_its_layer),
];

/// The longest that /healthz may take while containers do their worst, on a machine that does other things too.
const PROMPT: Duration = Duration::from_millis(1500);

/// Pages on the host's loopback address, each request by its path.
struct Pages {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Pages {
    fn serve(page: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let asked = Arc::<AtomicUsize>::default();
        let (count, page) = (Arc::clone(&asked), Arc::new(page));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                let page = Arc::clone(&page);
                std::thread::spawn(move || drop(answer(stream, &*page)));
            }
        });
        Ok(Self { port, asked })
    }
}

fn answer(mut stream: TcpStream, page: &(impl Fn(&str) -> Vec<u8> + ?Sized)) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let length = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let body = page(request.split(' ').nth(1).unwrap_or_default());
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

/// So many lines, one after the other.
fn lines(count: u32, line: impl Fn(u32) -> String) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0..count {
        text.extend_from_slice(line(number).as_bytes());
    }
    text
}

/// Runs a container on the host's network, or on none, that has these files and does this.
fn container(docker: &Docker, network: &str, files: &[(&str, Value)], labels: &Value, then: &str) -> Result<String> {
    let mut command =
        "for each in mkdir mkfifo mknod dd; do /bin/busybox ln -sf /bin/busybox /bin/$each; done; ".to_owned();
    for (path, content) in files {
        let _ = write!(command, "echo '{content}' > {path}; ");
    }
    command.push_str(then);
    docker.run_as(&json!({
        "Image": "collector-test-busybox",
        "Cmd": ["/bin/busybox", "sh", "-c", format!("{command} exec /bin/busybox sleep 600")],
        "Labels": labels,
        "HostConfig": { "NetworkMode": network, "CapAdd": ["SYS_ADMIN"] },
    }))
}

fn generic(port: u16, path: &str, expression: &str) -> Value {
    json!({ "endpoint": { "port": port, "path": path }, "metrics_config": [
        { "name": "m", "metric_type": "gauge", "data_type": "int", "polling_frequency": 1_000_000_000, "regex": expression }
    ] })
}

fn prometheus(port: u16, path: &str) -> Value {
    json!({ "endpoint": { "port": port, "path": path } })
}

/// The container's value of a metric at `/metrics`.
fn value(collector: &Collector, id: &str, metric: &str) -> Result<f64> {
    let cgroup = format!("/docker/{id}");
    collector.metrics()?.value(metric, &[("id", &*cgroup)]).with_context(|| format!("{metric} of {id} is not there"))
}

fn polls(collector: &Collector, result: &str) -> Result<f64> {
    Ok(collector.metrics()?.value("collector_application_polls_total", &[("result", result)]).unwrap_or(0.0))
}

fn with_docker(docker: &Docker, more: &[&str]) -> Result<Collector> {
    let socket = format!("--docker=unix://{}", docker.socket().display());
    let flags = ["--housekeeping_interval=500ms", "--containerd=", "--podman=", "--crio=", socket.as_str()];
    Collector::start(&[&flags[..], more].concat())
}

/// The slowest of the answers of /healthz for so long.
fn slowest(collector: &Collector, time: Duration) -> Result<Duration> {
    let (end, mut slowest) = (Instant::now() + time, Duration::ZERO);
    while Instant::now() < end {
        let asked = Instant::now();
        ensure!(collector.get("/healthz")?.status == 200, "/healthz");
        slowest = slowest.max(asked.elapsed());
        wait::pass(Duration::from_millis(20));
    }
    Ok(slowest)
}

fn resident(collector: &Collector) -> Result<u64> {
    let status = bytes::read(format!("/proc/{}/status", collector.pid()))?;
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Ok(row.context("no VmRSS")?.parse::<u64>()? * 1024)
}

fn expressions_delay_nobody() -> Result<()> {
    let letters = |count: usize| -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 30 & 1 == 0 { b'a' } else { b'b' }
        };
        (0..count).map(|_| next()).collect()
    };
    let (long, short) = (letters(1_000_000), letters(120_000));
    let pages = Pages::serve(move |path| match path {
        "/long" => long.clone(),
        "/short" => short.clone(),
        _ => b"load: 17\n".to_vec(),
    })?;
    let docker = Docker::start()?;
    let label = json!({ "io.cadvisor.metric.x": "/m" });
    let run = |path: &str, expression: &str| {
        container(&docker, "host", &[("/m", generic(pages.port, path, expression))], &label, "")
    };
    let honest = run("/load", "load: ([0-9]+)")?;
    for expression in ["([ab]*a[ab]{6000}c)", "([ab]*a[ab]{900}c)", "((a|b)*a(a|b){250}c)"] {
        for path in ["/long", "/short"] {
            run(path, expression)?;
        }
    }
    let collector = with_docker(&docker, &[])?;
    wait::eventually(wait::seconds(20), || value(&collector, &honest, "m"))?;
    let slowest = slowest(&collector, wait::seconds(8))?;
    println!("the slowest answer of /healthz took {slowest:?}");
    ensure!(slowest < wait::scaled(PROMPT), "/healthz took {slowest:?}");
    ensure!(polls(&collector, "refused")? > 0.0, "nothing was refused");
    ensure!(pages.asked.load(Ordering::Relaxed) > 8, "the honest one is asked every second");
    Ok(())
}

fn large_answers_stay_bounded() -> Result<()> {
    let pages = Pages::serve(|path| match path {
        "/huge-label" => [b"ok 1\nm{x=\"".to_vec(), vec![b'A'; 1_000_000], b"\"} 1\n".to_vec()].concat(),
        "/endless" => vec![b'#'; 20 << 20],
        "/many" => lines(9000, |at| format!("m{{x=\"{at}\",y=\"{}\"}} 1\n", "A".repeat(90))),
        "/labels" => {
            let labels = String::from_utf8_lossy(&lines(60, |at| format!("l{at:02}=\"v\","))).into_owned();
            lines(1900, |at| format!("m{{x=\"{at}\",{labels}}} 1\n"))
        }
        _ => b"ok 1\n".to_vec(),
    })?;
    let docker = Docker::start()?;
    let label = json!({ "io.cadvisor.metric.prometheus": "/m" });
    let run = |path: &str| container(&docker, "host", &[("/m", prometheus(pages.port, path))], &label, "");
    let collector = with_docker(&docker, &["--storage_duration=2m"])?;
    let before = resident(&collector)?;
    let honest = run("/ok")?;
    let huge = run("/huge-label")?;
    for path in ["/endless", "/many", "/many", "/labels", "/labels", "/labels"] {
        run(path)?;
    }
    let many: Vec<_> = (0..40).map(|at| (format!("io.cadvisor.metric.prometheus{at}"), "/m".into())).collect();
    let many = Value::Object(many.into_iter().collect());
    let crowded = container(&docker, "host", &[("/m", prometheus(pages.port, "/ok"))], &many, "")?;
    wait::eventually(wait::seconds(20), || value(&collector, &honest, "ok"))?;
    wait::eventually(wait::seconds(20), || value(&collector, &huge, "ok"))?;
    let mut most = 0;
    let end = Instant::now() + wait::seconds(15);
    while Instant::now() < end {
        most = resident(&collector)?.max(most);
        wait::pass(Duration::from_millis(200));
    }
    println!("resident: {} kB before, {} kB at most", before / 1024, most / 1024);
    ensure!(most < before + 128 * bytes::MIB, "{before} bytes became {most}");
    let metrics = collector.metrics()?;
    let left_out = metrics.value("collector_application_left_out_values_total", &[]);
    ensure!(left_out.is_some_and(|count| count > 0.0), "left out: {left_out:?}");
    ensure!(value(&collector, &crowded, "ok").is_err(), "forty labels are too many");
    ensure!(polls(&collector, "refused")? >= 2.0, "refused");
    Ok(())
}

fn endpoints_elsewhere_are_not_asked() -> Result<()> {
    let pages = Pages::serve(|_| b"ok 1\n".to_vec())?;
    let docker = Docker::start()?;
    let label = json!({ "io.cadvisor.metric.prometheus": "/m" });
    let port = pages.port;
    let endpoints = [
        json!(format!("http://127.0.0.1:{port}/")),
        json!({ "protocol": format!("http://127.0.0.1:{port}/?"), "port": port }),
        json!({ "port": format!("1@127.0.0.1:{port}") }),
    ];
    let mut ids = Vec::new();
    for endpoint in endpoints {
        ids.push(container(&docker, "none", &[("/m", json!({ "endpoint": endpoint }))], &label, "")?);
    }
    let collector = with_docker(&docker, &[])?;
    wait::eventually(wait::seconds(20), || {
        let refused = polls(&collector, "refused")?;
        ensure!(refused >= 3.0, "refused: {refused}");
        Ok(())
    })?;
    ensure!(pages.asked.load(Ordering::Relaxed) == 0, "the collector asked for it");
    drop(collector);
    let collector = with_docker(&docker, &["--application_metrics_allow_urls"])?;
    wait::eventually(wait::seconds(20), || value(&collector, &ids[0], "ok").map(drop))
}

fn what_is_no_file_is_not_opened() -> Result<()> {
    let docker = Docker::start()?;
    // Whoever opens a FIFO to write waits until somebody opens it to read.
    let labels = json!({ "io.cadvisor.metric.prometheus": "/w" });
    let fifo = container(&docker, "host", &[], &labels, "mkfifo /w; (: > /w; : > /opened) &")?;
    let device = container(&docker, "host", &[], &labels, "mknod /w c 10 229;")?;
    let linked = container(&docker, "host", &[], &labels, "/bin/busybox ln -s /proc/self/environ /w;")?;
    let collector = with_docker(&docker, &["--v=4"])?;
    wait::eventually(wait::seconds(20), || {
        let failed = polls(&collector, "failed")?;
        ensure!(failed >= 6.0, "failed: {failed}");
        Ok(())
    })?;
    let pid = docker.pid(&fifo)?;
    let inside = |file: &str| std::path::PathBuf::from(format!("/proc/{pid}/root{file}"));
    ensure!(inside("/w").exists() && !inside("/opened").exists(), "the FIFO was opened");
    for id in [&device, &linked] {
        ensure!(docker.pid(id)? > 0, "the container has ended");
    }
    Ok(())
}

/// A FUSE file system that answers nothing, in a container's mount namespace; it ends with the process that has it open.
struct Fuse(Child);

impl Fuse {
    fn mount(pid: u32) -> Result<Self> {
        let device: OwnedFd = std::fs::File::options().read(true).write(true).open("/dev/fuse")?.into();
        let mount = "/bin/busybox mount -t fuse -o fd=0,rootmode=40000,user_id=0,group_id=0 none /f && echo mounted; \
                     exec /bin/busybox sleep 600";
        let mut child = Command::new(program("nsenter")?)
            .args(["--target", &pid.to_string(), "--mount", "/bin/busybox", "sh", "-c", mount])
            .stdin(Stdio::from(device))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = [0; 7];
        let mut output = child.stdout.take().context("no output")?;
        let is_mounted = output.read_exact(&mut said).is_ok();
        let fuse = Self(child);
        ensure!(is_mounted, "FUSE cannot be mounted");
        Ok(fuse)
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // Its descriptor was the only one: the kernel aborts everything that waits.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn files_that_never_answer_are_left() -> Result<()> {
    const HANGING: usize = 9;
    if std::fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        return Err(Skip::because("there is no FUSE"));
    }
    let pages = Pages::serve(|_| b"ok 1\n".to_vec())?;
    let docker = Docker::start()?;
    let labels = |path: &str| json!({ "io.cadvisor.metric.prometheus": path });
    let mut hanging = Vec::new();
    for _ in 0..HANGING {
        let id = container(&docker, "host", &[], &labels("/f/m"), "mkdir /f; : > /ready;")?;
        let pid = docker.pid(&id)?;
        wait::eventually(wait::seconds(10), || {
            ensure!(std::path::Path::new(&format!("/proc/{pid}/root/ready")).exists(), "the container has not begun");
            Ok(())
        })?;
        hanging.push(Fuse::mount(pid)?);
    }
    let collector = with_docker(&docker, &["--enable_metrics=cpu,memory,disk,app"])?;
    wait::eventually(wait::seconds(30), || {
        let metrics = collector.metrics()?;
        let count = metrics.value("collector_hanging_threads", &[("reads", "container_files")]);
        ensure!(count == Some(HANGING as f64), "hanging: {count:?}");
        Ok(())
    })?;
    let honest = container(&docker, "host", &[("/m", prometheus(pages.port, "/ok"))], &labels("/m"), "")?;
    wait::eventually(wait::seconds(20), || value(&collector, &honest, "ok"))?;
    for target in
        ["/api/v1.3/containers/", "/api/v2.1/storage", "/api/v2.1/ps/", "/stats/summary", "/metrics", "/healthz"]
    {
        let asked = Instant::now();
        let status = collector.get(target)?.status;
        let took = asked.elapsed();
        ensure!(status < 500 && took < wait::scaled(PROMPT), "{target}: {status} after {took:?}");
    }
    drop(hanging);
    wait::eventually(wait::seconds(20), || {
        let metrics = collector.metrics()?;
        let count = metrics.value("collector_hanging_threads", &[("reads", "container_files")]);
        ensure!(count == Some(0.0), "hanging: {count:?}");
        Ok(())
    })
}

fn a_container_does_not_choose_its_layer() -> Result<()> {
    let docker = Docker::start()?;
    // A folder of the host whose size is to be found out: the engine's own data. In the container the same path is an
    // upper directory of an overlay that is mounted over its root.
    let secret = docker.data().join("secret");
    std::fs::create_dir_all(secret.join("u"))?;
    bytes::write(secret.join("u/data"), &"x".repeat(40 << 20))?;
    let at = secret.display();
    let attack = format!(
        "mkdir -p {at}; /bin/busybox mount -t tmpfs t {at} && mkdir -p {at}/u {at}/w {at}/l && \
         /bin/busybox mount -t overlay -o lowerdir={at}/l,upperdir={at}/u,workdir={at}/w o / && : > /proc/self/comm; \
         echo $? > {at}/done;"
    );
    let id = container(&docker, "none", &[], &json!({}), &attack)?;
    let pid = docker.pid(&id)?;
    let upper = format!("upperdir={at}/u,");
    wait::eventually(wait::seconds(10), || {
        let table = bytes::read(format!("/proc/{pid}/mountinfo"))?;
        ensure!(table.contains(&upper), "the overlay is not mounted: {}", docker.logs(&id)?);
        Ok(())
    })?;
    let plain = container(&docker, "none", &[], &json!({}), "dd if=/dev/zero of=/data bs=1M count=4;")?;
    // Docker is not asked: the mount tables alone say where the layers are.
    let flags = [
        "--housekeeping_interval=500ms",
        "--disk_usage_interval=1s",
        "--docker=",
        "--containerd=",
        "--podman=",
        "--crio=",
    ];
    let collector = Collector::start(&flags)?;
    let layer = |id: &str| -> Result<Option<u64>> {
        let target = format!("/api/v1.3/containers/docker/{id}");
        let reported: Value = collector.json(&target, Some(r#"{"num_stats":1}"#))?;
        Ok(reported.pointer("/stats/0/filesystem/0/base_usage").and_then(Value::as_u64))
    };
    wait::eventually(wait::seconds(40), || {
        let size = layer(&plain)?.context("its size is not known")?;
        ensure!((4 * bytes::MIB..8 * bytes::MIB).contains(&size), "{size}");
        Ok(())
    })?;
    wait::pass(wait::seconds(2));
    let size = layer(&id)?;
    ensure!(size.is_none_or(|size| size < 8 * bytes::MIB), "it reports that the host's folder has {size:?} bytes");
    Ok(())
}
