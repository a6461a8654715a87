//! The small fleet of `deploy/compose`, started as its users start it: by Docker Compose itself.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::deployed::engine_with;
use crate::support::harness::{Case, Skip};
use crate::support::settings::settings;
use crate::support::{
    Context as _, Result, bytes, compose, deployed, engine, ensure, http, manifests, network, peers, runtime, tar, wait,
};

pub(crate) const CASES: &[Case] = &[Case::new("fleet::compose_starts_it", compose_starts_it)];

/// Where Docker's clients look for it.
const SOCKET: &str = "/run/docker.sock";
/// The machine's address in the fleet.
const ADDRESS: &str = "10.97.0.1";
/// What Compose calls the collector's container.
const COLLECTOR: &str = "collector-fleet-collector-1";

/// `docker compose up`: the collector finds the engine, and what it reports arrives.
fn compose_starts_it() -> Result<()> {
    let without = || Skip::because("no Docker Compose: `cargo xtask test` fetches it, --compose names it");
    let program = settings().compose.clone().ok_or_else(without)?;
    let store = peers::program("victoria-metrics", "victoria-metrics")?;
    // The ports are the machine's, and so is the bridge.
    network::new_namespace()?;
    network::loopback_up()?;
    let ip = Command::new(engine::program("ip")?).args(["address", "add", ADDRESS, "dev", "lo"]).status()?;
    ensure!(ip.success(), "ip address add: {ip}");
    let docker = engine_with(&[format!("--host=unix://{SOCKET}")])?;
    let collector = deployed::load_image(&docker)?;
    let folder = Folder::new()?;
    let file = folder.0.join("compose/fleet.yaml");
    let parsed: Value = manifests::yaml(&file)?;
    let image = parsed["services"]["victoria-metrics"]["image"].as_str().context("no victoria-metrics")?;
    docker.load(&tar::image(&compose::expand(image, &[])?, &["/bin/victoria-metrics"], &layer(&store)?))?;
    let group = fs::metadata(SOCKET)?.gid().to_string();
    let receiver = format!("http://{ADDRESS}:8428");
    let run = |more: &[&str], arguments: &[&str]| -> Result<String> {
        let ran = Command::new(&program)
            .arg("--file")
            .arg(&file)
            .args(more)
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{SOCKET}"))
            .envs([("COLLECTOR_IMAGE", collector.as_str()), ("DOCKER_GROUP", &group)])
            .envs([("LISTEN", ADDRESS), ("RECEIVER", &receiver)])
            .output()?;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        ensure!(ran.status.success(), "{arguments:?}: {said}");
        Ok(String::from_utf8(ran.stdout)? + &said)
    };
    let make = ["up", "--no-start", "--no-build"];
    let changes = folder.0.join("compose/old-engine.yaml");
    let with_changes = ["--file", changes.to_str().context("a path")?];
    let more: &[&str] = match run(&[], &make) {
        Err(error) if format!("{error:#}").contains("unknown capability") => {
            // Debian's Docker knows no CAP_BPF: the tests' own runtime gives it what the file asks for.
            let change = format!("services:\n  collector:\n    cap_add: !reset []\n    runtime: {}\n", runtime::NAME);
            bytes::write(&changes, &change)?;
            run(&with_changes, &make)?;
            let made: Value =
                serde_json::from_slice(&docker.ask("GET", &format!("/containers/{COLLECTOR}/json"), None)?.body)?;
            let added = parsed["services"]["collector"]["cap_add"].as_array().into_iter().flatten();
            let names: Vec<_> = added.filter_map(Value::as_str).map(|name| format!("CAP_{name}")).collect();
            runtime::will_have(&docker, made["Id"].as_str().context("no id")?, &names)?;
            &with_changes
        }
        made => made.map(|_| [].as_slice())?,
    };
    run(more, &["start"])?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let arrived = wait::eventually(wait::seconds(30), || {
        // Names are known once Docker was asked: those that Compose has given.
        for name in [COLLECTOR, "collector-fleet-victoria-metrics-1"] {
            let series =
                format!("container_memory_usage_bytes{{name=\"{name}\",instance=\"{host}\",job=\"collector\"}}");
            let stored = ask(&format!("/api/v1/export?match[]={}", bytes::url_encode(series.as_bytes())))?;
            let line = stored.lines().next().with_context(|| format!("no series of {name}"))?;
            let values = serde_json::from_str::<Value>(line)?["values"].clone();
            ensure!(values[0].as_f64().is_some_and(|bytes| bytes > 0.0), "{name} uses {values} bytes");
        }
        Ok(())
    });
    arrived.or_else(|error| Err(error.context(run(more, &["logs", "--no-color"])?)))?;
    let health = deployed::health_of(&docker, COLLECTOR)?;
    ensure!(health.contains("kernel events: ebpf"), "no kernel events:\n{health}");
    run(more, &["down", "--volumes", "--timeout=2"]).map(drop)
}

fn ask(target: &str) -> Result<String> {
    let stream = TcpStream::connect((ADDRESS, 8428))?;
    stream.set_read_timeout(Some(wait::seconds(10)))?;
    Ok(http::request(stream, "GET", target, None)?.text())
}

/// What of `deploy/` is needed, with pushes that come sooner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let folder = Self(std::env::temp_dir().join(format!("collector-test-fleet-{}", std::process::id())));
        for name in ["compose/fleet.yaml", "compose/fleet/collector.toml", "seccomp/collector.json"] {
            let (from, to) = (manifests::path(name)?, folder.0.join(name));
            fs::create_dir_all(to.parent().context("no folder")?)?;
            let text =
                bytes::read(from)?.replace("remote_write_interval = \"15s\"", "remote_write_interval = \"500ms\"");
            bytes::write(to, &text)?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program and the libraries that it is linked with.
fn layer(program: &Path) -> Result<Vec<u8>> {
    let listed = Command::new("ldd").arg(program).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let mut files = vec![("bin/victoria-metrics".to_owned(), fs::read(program)?)];
    for library in libraries {
        files.push((library.trim_start_matches('/').to_owned(), fs::read(library)?));
    }
    Ok(tar::with_files(&files))
}
