//! Real receivers: programs of Debian's packages, installed or unpacked beside what is built.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::bench::process::{cpu_ticks, free_port, resident_bytes};
use crate::{shell, workspace};

/// What receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Engine {
    /// `VictoriaMetrics`, a single node.
    VictoriaMetrics,
    /// Prometheus with its receiver of remote write.
    Prometheus,
}

/// A running one with data of its own, ended when dropped.
pub(super) struct Receiver {
    engine: Engine,
    child: Child,
    folder: PathBuf,
    base: String,
}

/// What it has used.
pub(super) struct Usage {
    /// CPU time so far.
    pub(super) cpu: Duration,
    /// Memory now, in bytes.
    pub(super) resident: u64,
}

impl Engine {
    fn package(self) -> &'static str {
        match self {
            Self::VictoriaMetrics => "victoria-metrics",
            Self::Prometheus => "prometheus",
        }
    }

    fn ready(self) -> &'static str {
        match self {
            Self::VictoriaMetrics => "/health",
            Self::Prometheus => "/-/ready",
        }
    }
}

/// Package and program have one name.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(installed) = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file()) {
        return Ok(installed);
    }
    let folder = workspace::target().join("peers").join(name);
    let program = folder.join("usr/bin").join(name);
    if !program.is_file() {
        workspace::make_folder(&folder)?;
        // apt verifies what it downloads.
        shell::run(Command::new("apt-get").args(["download", name]).current_dir(&folder))?;
        let unpack = format!("dpkg -x {name}_*.deb . && rm {name}_*.deb");
        shell::run(Command::new("sh").args(["-c", &unpack]).current_dir(&folder))?;
    }
    Ok(program)
}

impl Receiver {
    /// Starts one and waits until it is ready.
    pub(super) fn start(engine: Engine) -> Result<Self> {
        let program = program(engine.package())?;
        let folder = std::env::temp_dir().join(format!("collector-fleet-{}-{}", engine.package(), std::process::id()));
        workspace::make_folder(&folder)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let data = folder.join("data").display().to_string();
        let arguments = match engine {
            Engine::VictoriaMetrics => vec![
                format!("-storageDataPath={data}"),
                format!("-httpListenAddr={address}"),
                "-search.maxUniqueTimeseries=10000000".to_owned(),
            ],
            Engine::Prometheus => {
                let config = folder.join("prometheus.yml");
                fs::write(&config, "scrape_configs: []\n").context("cannot write a configuration")?;
                vec![
                    format!("--config.file={}", config.display()),
                    format!("--storage.tsdb.path={data}"),
                    format!("--web.listen-address={address}"),
                    "--web.enable-remote-write-receiver".to_owned(),
                ]
            }
        };
        let log = fs::File::create(folder.join("log")).context("cannot make a log")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", shell::describe(&command)))?;
        let receiver = Self { engine, child, folder, base: format!("http://{address}") };
        let end = Instant::now() + Duration::from_secs(60);
        while ureq::get(format!("{}{}", receiver.base, engine.ready())).call().is_err() {
            ensure!(Instant::now() < end, "{} is not ready after a minute", engine.package());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(receiver)
    }

    /// Where it is pushed to.
    pub(super) fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.base)
    }

    /// Its name and version.
    pub(super) fn describe(&self) -> String {
        let metrics = self.get("/metrics").unwrap_or_default();
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("prometheus_build_info") || line.starts_with("vm_app_version"));
        let mut versions = lines.filter_map(|line| line.rsplit_once("version=\"")?.1.split('"').next());
        format!("{} {}", self.engine.package(), versions.next_back().unwrap_or_default())
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut answer = ureq::get(format!("{}{path}", self.base)).call().with_context(|| format!("GET {path}"))?;
        answer.body_mut().with_config().limit(64 << 20).read_to_string().with_context(|| format!("GET {path}"))
    }

    /// How many series it has in memory.
    pub(super) fn series(&self) -> Result<f64> {
        let name = match self.engine {
            Engine::VictoriaMetrics => "vm_cache_entries{type=\"storage/hour_metric_ids\"}",
            Engine::Prometheus => "prometheus_tsdb_head_series",
        };
        let metrics = self.get("/metrics")?;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line.with_context(|| format!("no {name}"))
    }

    /// What it has used.
    pub(super) fn usage(&self) -> Result<Usage> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}: the receiver has ended"))?;
        Ok(Usage { cpu: cpu_ticks(&stat)?, resident: resident_bytes(self.child.id())? })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("note: {} is left behind: {error}", self.folder.display());
        }
    }
}
