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
    Context as _, Result, bytes, compose, deployed, ensure, http, manifests, network, peers, tar, wait,
};

pub(crate) const CASES: &[Case] = &[Case::new("fleet::compose_starts_it", compose_starts_it)];

/// Where Docker's clients look for it.
const SOCKET: &str = "/run/docker.sock";

/// `docker compose up`: the collector finds the engine, and what it reports arrives.
fn compose_starts_it() -> Result<()> {
    let without = || Skip::because("no Docker Compose: `cargo xtask test` fetches it, --compose names it");
    let program = settings().compose.clone().ok_or_else(without)?;
    let store = peers::program("victoria-metrics", "victoria-metrics")?;
    // The ports are the machine's, and so is the bridge.
    network::new_namespace()?;
    network::loopback_up()?;
    let docker = engine_with(&[format!("--host=unix://{SOCKET}")])?;
    let collector = deployed::load_image(&docker)?;
    let folder = Folder::new()?;
    let file = folder.0.join("compose/fleet.yaml");
    let parsed: Value = manifests::yaml(&file)?;
    let image = parsed["services"]["victoria-metrics"]["image"].as_str().context("no victoria-metrics")?;
    docker.load(&tar::image(&compose::expand(image, &[])?, &["/bin/victoria-metrics"], &layer(&store)?))?;
    let group = fs::metadata(SOCKET)?.gid().to_string();
    let run = |arguments: &[&str]| -> Result<String> {
        let ran = Command::new(&program)
            .arg("--file")
            .arg(&file)
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{SOCKET}"))
            .envs([("COLLECTOR_IMAGE", collector.as_str()), ("DOCKER_GROUP", &group)])
            .output()?;
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        ensure!(ran.status.success(), "{arguments:?}: {said}");
        Ok(String::from_utf8(ran.stdout)? + &said)
    };
    run(&["up", "--detach", "--no-build"])?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let arrived = wait::eventually(wait::seconds(30), || {
        // Its name is known once Docker was asked: the one that Compose has given it.
        for (name, of) in
            [("collector-fleet-collector-1", "its own"), ("collector-fleet-victoria-metrics-1", "the store's")]
        {
            let query =
                format!("container_memory_usage_bytes{{name=\"{name}\",instance=\"{host}\",job=\"collector\"}}");
            let answer =
                ask(&format!("/api/v1/query?latency_offset=1ms&query={}", bytes::url_encode(query.as_bytes())))?;
            let value = answer["data"]["result"][0]["value"][1].as_str();
            let value: f64 = value.with_context(|| format!("no series of {of} container: {answer}"))?.parse()?;
            ensure!(value > 0.0, "{name} uses {value} bytes");
        }
        Ok(())
    });
    arrived.or_else(|error| Err(error.context(run(&["logs", "--no-color"])?)))?;
    run(&["down", "--volumes", "--timeout=2"]).map(drop)
}

fn ask(target: &str) -> Result<Value> {
    let stream = TcpStream::connect(("127.0.0.1", 8428))?;
    stream.set_read_timeout(Some(wait::seconds(10)))?;
    Ok(serde_json::from_slice(&http::request(stream, "GET", target, None)?.body)?)
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
