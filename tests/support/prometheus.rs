//! A real Prometheus, and its checker of the text format.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde::Deserialize;

use super::harness::Skip;
use super::metrics::Metrics;
use super::settings::settings;
use super::{Context as _, Result, ensure, http, peers, wait};

/// The Debian package that has both.
const PACKAGE: &str = "prometheus";

/// `promtool`, to be given arguments.
pub(crate) fn promtool() -> Result<Command> {
    Ok(Command::new(program("promtool")?))
}

fn program(name: &str) -> Result<PathBuf> {
    peers::program(PACKAGE, name)
}

/// What `promtool check metrics` says of an answer.
pub(crate) fn check_metrics(text: &str) -> Result<Output> {
    let mut command = Command::new(program("promtool")?);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start promtool")?;
    let mut input = child.stdin.take().context("standard input is a pipe")?;
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    // A checker that has seen enough may stop reading.
    let _ = writer.join();
    Ok(output)
}

/// A running Prometheus with data of its own, ended when dropped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

/// A series of a query's answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Series {
    /// Its labels and its name.
    #[serde(default)]
    pub(crate) metric: BTreeMap<String, String>,
    /// Time and value, of a query for a moment.
    #[serde(default)]
    pub(crate) value: Option<(f64, String)>,
    /// Times and values, of a query for a range.
    #[serde(default)]
    pub(crate) values: Vec<(f64, String)>,
}

impl Prometheus {
    /// Starts one that scrapes these addresses every other second: an address and a path for each job.
    pub(crate) fn start(jobs: &[(&str, SocketAddr, &str)]) -> Result<Self> {
        let mut config = String::from("global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\nscrape_configs:\n");
        for (name, address, path) in jobs {
            use std::fmt::Write as _;
            write!(
                config,
                "- job_name: {name}\n  metrics_path: {path}\n  static_configs:\n  - targets: ['{address}']\n"
            )?;
        }
        Self::configured(&config)
    }

    /// Starts one that scrapes an address every other second, takes a counter's beginning for a sample, and native
    /// histograms; skips the test where there is none that can.
    pub(crate) fn that_knows_beginnings(address: SocketAddr) -> Result<Self> {
        let missing = || Skip::because("no Prometheus of 2.50 or later; `cargo xtask test` fetches one");
        let program = settings().prometheus.clone().ok_or_else(missing)?;
        let config = format!(
            "global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\nscrape_configs:\n- job_name: collector\n  \
             static_configs:\n  - targets: ['{address}']\n"
        );
        Self::run(&program, &config, "exemplar-storage,created-timestamp-zero-ingestion,native-histograms")
    }

    /// Starts one with this configuration, which may be JSON: that is YAML, too.
    pub(crate) fn configured(config: &str) -> Result<Self> {
        Self::run(&program("prometheus")?, config, "exemplar-storage")
    }

    fn run(program: &Path, config: &str, features: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("collector-test-prometheus-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("prometheus.yml"), config)?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let log = fs::File::create(folder.join("log"))?;
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--enable-feature={features}"))
            .arg("--web.enable-remote-write-receiver")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start Prometheus")?;
        let prometheus = Self { child, address, folder };
        wait::eventually(wait::seconds(30), || {
            let ready = prometheus.get("/-/ready")?;
            ensure!(ready.status == 200, "Prometheus answers {}: {}", ready.status, prometheus.last_words());
            Ok(())
        })?;
        Ok(prometheus)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn get(&self, target: &str) -> Result<http::Response> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(wait::seconds(20)))?;
        http::request(stream, "GET", target, None)
    }

    /// What it says of itself.
    pub(crate) fn own_metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.get("/metrics")?.text()))
    }

    /// The answer to a query.
    pub(crate) fn query(&self, query: &str) -> Result<Vec<Series>> {
        let target = format!("/api/v1/query?query={}", super::bytes::url_encode(query.as_bytes()));
        let response = self.get(&target)?;
        ensure!(response.status == 200, "{query}: {} {}", response.status, response.text());
        Ok(serde_json::from_slice::<Answer>(&response.body)?.data.result)
    }

    /// The one number that a query gives.
    pub(crate) fn number(&self, query: &str) -> Result<f64> {
        let answer = self.query(query)?;
        let value = answer.first().and_then(|series| series.value.as_ref());
        let (_, value) = value.with_context(|| format!("{query} gives nothing"))?;
        Ok(value.parse()?)
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// The lines of its log that are warnings or errors.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let bad = |line: &&str| line.contains("level=warn") || line.contains("level=error");
        log.lines().filter(bad).map(str::to_owned).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
