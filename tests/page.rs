//! The page in a real browser, over containers of an engine.
//!
//! The cases are in `collector/web/tests`, one browser for all of them. This one makes the world that they look at, does
//! in it what they ask for, and reports each as a line of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::auth::{Files, flag};
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, Rights};
use crate::support::docker::Docker;
use crate::support::engine::program;
use crate::support::harness::{self, Case, Skip};
use crate::support::{Context as _, Result, bail, bytes, ensure, wait};

pub(crate) const CASES: &[Case] = &[Case::new("page::in_a_browser", in_a_browser).within(300)];

/// Cgroups that are listed beside the containers for one of the cases.
const MANY: usize = 3_000;
/// `secret`, by bcrypt.
const SECRET: &str = "ann:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// The same for digests: `ann:localhost:secret`.
const DIGEST: &str = "ann:localhost:44ce92afa412f9d8fbc15a82e03e4126\n";

fn in_a_browser() -> Result<()> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/web");
    let (node, browser) = (program("node")?, program("chromium")?);
    if !web.join("node_modules/playwright-core").is_dir() {
        return Err(Skip::because("Playwright is not installed: `npm ci` in collector/web installs it"));
    }
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/page");
    std::fs::create_dir_all(&pictures)?;
    let docker = Docker::start()?;
    let mut world = World::new(&docker)?;
    let files = Files::new("page")?;
    let tokens = flag("bearer_token_file", &files.put("tokens", "right-token\n")?);
    let users = flag("http_auth_file", &files.put("users", SECRET)?);
    let socket = format!("--docker=unix://{}", docker.socket().display());
    let collector =
        |more: &[&str]| Collector::start(&[&[socket.as_str(), "--housekeeping_interval=1s"], more].concat());
    let history = flag("history_dir", &files.path().join("history"));
    let plain = collector(&[&history, "--history_step=1s"])?;
    let (below, token) = (collector_below(&socket)?, collector(&[&tokens, "--enable_metrics=cpu"])?);
    let password = collector(&[&users])?;
    let digests = flag("http_digest_file", &files.put("digests", DIGEST)?);
    let digest = collector(&[&digests, "--auth_api", "--enable_metrics=cpu"])?;
    let degraded = Collector::start(&["--docker=unix:///nowhere/docker.sock"])?;
    wait_for_names(&plain)?;
    let at = |collector: &Collector| format!("http://{}", collector.address());
    let mut cases = Command::new(node)
        .arg("tests/page.mjs")
        .current_dir(&web)
        .env("PAGE_BROWSER", browser)
        .env("PAGE_PICTURES", &pictures)
        .env("PAGE_URL", at(&plain))
        .env("PAGE_BELOW", format!("{}/node/one", at(&below)))
        .env("PAGE_TOKEN", at(&token))
        .env("PAGE_PASSWORD", at(&password))
        .env("PAGE_DIGEST", at(&digest))
        .env("PAGE_DEGRADED", at(&degraded))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start node")?;
    world.others = vec![below, token, password, digest];
    let failed = follow(&mut cases, &mut world)?;
    ensure!(cases.wait()?.success(), "the cases ended before their end");
    ensure!(failed.is_empty(), "{} cases failed:\n  {}", failed.len(), failed.join("\n  "));
    Ok(())
}

/// Waits until the collector knows what the containers are called.
fn wait_for_names(collector: &Collector) -> Result<()> {
    wait::eventually(wait::seconds(20), || {
        for name in ["shop-web-1", "shop-cache-1", "leaky", "victim", "batch", "plain"] {
            let answer = collector.get(&format!("/api/v1.3/docker/{name}"))?;
            ensure!(answer.status == 200, "{name}: {}", answer.text());
        }
        Ok(())
    })
}

fn collector_below(socket: &str) -> Result<Collector> {
    let collector = Collector::launch(&Rights::default(), &[socket, "--url_base_prefix=/node/one"])?;
    wait::eventually(wait::seconds(10), || {
        ensure!(collector.get("/node/one/readyz")?.status == 200, "not ready");
        Ok(())
    })?;
    Ok(collector)
}

/// Reads what the cases say until their end, and does what they ask for; the cases that failed.
fn follow(cases: &mut Child, world: &mut World<'_>) -> Result<Vec<String>> {
    let said = BufReader::new(cases.stdout.take().context("no output")?);
    let mut answers = cases.stdin.take().context("no input")?;
    let (mut failed, mut count) = (Vec::new(), 0);
    for line in said.lines() {
        let line = line?;
        if let Some(action) = line.strip_prefix("ACT ") {
            let answer = match world.act(action) {
                Ok(answer) => format!("OK {answer}"),
                Err(error) => format!("{error:#}").replace('\n', " "),
            };
            writeln!(answers, "{answer}")?;
        } else if let Some(figures) = line.strip_prefix("FIGURES ") {
            harness::figures("page", figures);
        } else if let Some(ended) = line.strip_prefix("CASE ") {
            count += 1;
            harness::figures("page", ended);
            failed.extend(ended.strip_prefix("failed ").map(str::to_owned));
        } else {
            println!("{line}");
        }
    }
    ensure!(count >= 40 || std::env::var_os("PAGE_ONLY").is_some(), "only {count} cases ran");
    Ok(failed)
}

/// What the page shows.
pub(crate) struct World<'a> {
    docker: &'a Docker,
    web: String,
    leaky: String,
    victim: String,
    batch: String,
    /// Collectors of single cases.
    others: Vec<Collector>,
    more: Option<Cgroups>,
    /// Kept until the end.
    hostile: Option<Cgroups>,
}

impl<'a> World<'a> {
    /// A project, a pod and some others: one is throttled, one at its limit, one restarts without end.
    pub(crate) fn new(docker: &'a Docker) -> Result<Self> {
        let project =
            |service: &str| json!({ "com.docker.compose.project": "shop", "com.docker.compose.service": service });
        let mut front = project("web");
        front["com.example.tier"] = "front".into();
        let pod = |container: &str| {
            json!({
                "io.kubernetes.pod.namespace": "prod",
                "io.kubernetes.pod.name": "auth-7d9f",
                "io.kubernetes.pod.uid": "11-22",
                "io.kubernetes.container.name": container,
            })
        };
        let idle = "/bin/busybox sleep 1000";
        let memory = |mebibytes: u64| json!({ "Memory": mebibytes * bytes::MIB, "MemorySwap": mebibytes * bytes::MIB });
        let run =
            |name: &str, labels: Value, command: &str, host: Value| docker.run_with(name, &labels, command, &host);
        let web = run("shop-web-1", front, idle, memory(64))?;
        run("shop-api-1", project("api"), "while :; do :; done", json!({ "NanoCpus": 200_000_000 }))?;
        // Files in memory count as its own: 30 of 32 MiB with what the shell takes.
        let hold = "b=/bin/busybox; $b dd if=/dev/zero of=/m/x bs=1M count=30; $b sleep 1000";
        let mut in_memory = memory(32);
        in_memory["Tmpfs"] = json!({ "/m": "" });
        run("shop-cache-1", project("cache"), hold, in_memory)?;
        let again = json!({ "RestartPolicy": { "Name": "always" } });
        run("shop-worker-1", project("worker"), "exit 1", again)?;
        run("k8s_auth", pod("auth"), idle, json!({}))?;
        run("k8s_envoy", pod("envoy"), idle, json!({}))?;
        run("plain", json!({ "note": "<script>hacked=1</script>" }), idle, json!({}))?;
        let leak = "b=/bin/busybox; while [ ! -e /go ]; do $b sleep 0.05; done; \
                    $b dd if=/dev/zero of=/dev/null bs=64M count=1; $b sleep 1000";
        let leaky = run("leaky", json!({}), leak, memory(16))?;
        // Its first process is what is killed.
        let hold = "while [ ! -e /go ]; do /bin/busybox sleep 0.05; done; \
                    exec /bin/busybox dd if=/dev/zero of=/dev/null bs=64M count=1";
        let victim = run("victim", json!({}), hold, memory(16))?;
        let batch = run("batch", json!({}), idle, json!({}))?;
        Ok(Self { docker, web, leaky, victim, batch, others: Vec::new(), more: None, hostile: None })
    }

    pub(crate) fn act(&mut self, action: &str) -> Result<String> {
        match action {
            "end" => drop(self.docker.ask("POST", &format!("/containers/{}/kill", self.batch), None)?),
            "limit" => {
                let limit = json!({ "Memory": 48 * bytes::MIB, "MemorySwap": 48 * bytes::MIB }).to_string();
                drop(self.docker.ask("POST", &format!("/containers/{}/update", self.web), Some(&limit))?);
            }
            "oom" => self.go(&self.leaky)?,
            "oomend" => self.go(&self.victim)?,
            "burst" => {
                for _ in 0..5 {
                    let cgroups = Cgroups::new(Set::One)?;
                    for number in 0..60 {
                        cgroups.make(format!("burst-{number}"))?;
                    }
                }
            }
            "hostile" => {
                let cgroups = Cgroups::new(Set::Every)?;
                let name = cgroups.make("<img src=x onerror=hacked=1>\u{202e}\"'")?.name();
                cgroups.make(format!("long-{}", "x".repeat(200)))?;
                cgroups.make("שלום-عربي 🚀")?;
                self.hostile = Some(cgroups);
                return Ok(name);
            }
            // Each of them would look at whatever is made, on the processors that the page is measured on.
            "alone" => self.others.clear(),
            "many" => {
                let cgroups = Cgroups::new(Set::One)?;
                for number in 0..MANY {
                    cgroups.make(format!("many-{number:04}"))?;
                }
                self.more = Some(cgroups);
            }
            // As systemd makes the cgroup of a service in a slice.
            "service" => {
                let cgroups = Cgroups::new(Set::Every)?;
                cgroups.make("night\\x2djobs.slice")?;
                cgroups.make("night\\x2djobs.slice/backup.service")?;
                self.more = Some(cgroups);
            }
            "few" => self.more = None,
            other => bail!("no action is called {other}"),
        }
        Ok(String::new())
    }

    /// Lets a container that waits for it use more memory than it may.
    fn go(&self, container: &str) -> Result<()> {
        Ok(std::fs::write(PathBuf::from(format!("/proc/{}/root/go", self.docker.pid(container)?)), "")?)
    }
}
