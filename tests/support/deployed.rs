//! The collector's image, running as a container of a test's engine the way a manifest asks for.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;

use rustix::thread::{CapabilitySet, LinkNameSpaceType, move_into_link_name_space};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::{Container, Event};
use super::docker::Docker;
use super::harness::Skip;
use super::http::{self, Response};
use super::pod::Translated;
use super::settings::settings;
use super::{Context as _, Error, Result, bytes, ensure, runtime, wait};

/// What Docker calls the images it has loaded.
#[derive(Deserialize)]
struct Created {
    #[serde(rename = "Id")]
    id: String,
}

/// Loads the image of `cargo xtask image` into an engine; its name there. Skips the test where it was not made.
pub(crate) fn load_image(docker: &Docker) -> Result<String> {
    let path = &settings().image;
    let archive = fs::read(path).map_err(|error| {
        Skip::because(format!("{}: {error}; `cargo xtask image` makes it, --image names it", path.display()))
    })?;
    let loaded = http::request(docker.connect()?, "POST", "/images/load?quiet=1", Some(&archive))?;
    let said = loaded.text();
    ensure!(loaded.status == 200 && !said.contains("errorDetail"), "loading the image: {} {said}", loaded.status);
    let name = said.split("Loaded image: ").nth(1).and_then(|rest| rest.split('\\').next());
    Ok(name.with_context(|| format!("the engine names no image: {said}"))?.to_owned())
}

/// Makes and starts a container; its id.
pub(crate) fn start(docker: &Docker, config: &Value) -> Result<String> {
    let id = create(docker, config)?;
    docker.ask("POST", &format!("/containers/{id}/start"), None)?;
    Ok(id)
}

fn create(docker: &Docker, config: &Value) -> Result<String> {
    let created = docker.ask("POST", "/containers/create", Some(&config.to_string()))?;
    Ok(serde_json::from_slice::<Created>(&created.body)?.id)
}

/// What a container has said, with the marks that tell its two streams apart.
pub(crate) fn logs(docker: &Docker, id: &str) -> Result<String> {
    Ok(docker.ask("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1"), None)?.text())
}

/// A collector in a container.
pub(crate) struct Deployed<'a> {
    docker: &'a Docker,
    id: String,
    pod: Translated,
}

impl<'a> Deployed<'a> {
    /// Starts a collector and waits until its readiness probe says yes.
    pub(crate) fn start(docker: &'a Docker, pod: Translated) -> Result<Self> {
        let id = match (create(docker, &pod.config), &pod.capabilities) {
            // Docker 20.10 does not let through what it does not know.
            (Err(error), Some(capabilities)) if format!("{error:#}").contains("unknown capability") => {
                let mut without = pod.config.clone();
                without["HostConfig"]["CapAdd"] = Value::Null;
                let id = create(docker, &without)?;
                runtime::set_capabilities(docker, &id, capabilities)?;
                id
            }
            (created, _) => created?,
        };
        if pod.capabilities.is_none() {
            // As newer engines do. Docker 20.10 asks for more than a machine may have to give.
            runtime::set_capabilities(docker, &id, &runtime::all_capabilities())?;
        }
        docker.ask("POST", &format!("/containers/{id}/start"), None)?;
        let deployed = Self { docker, id, pod };
        deployed.wait_ready()?;
        Ok(deployed)
    }

    /// The container's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Process id of the collector on the host.
    pub(crate) fn pid(&self) -> Result<u32> {
        let pid = self.docker.pid(&self.id)?;
        ensure!(pid > 0, "the container has ended; it said:\n{}", logs(self.docker, &self.id)?);
        Ok(pid)
    }

    /// The capabilities it was given, as bits; `None` for all there are.
    pub(crate) fn capabilities(&self) -> Option<u64> {
        let names = self.pod.capabilities.as_ref()?;
        Some(
            names
                .iter()
                .filter_map(|name| CapabilitySet::from_name(name.strip_prefix("CAP_")?))
                .fold(0, |bits, one| bits | one.bits()),
        )
    }

    fn wait_ready(&self) -> Result<()> {
        let ready = wait::eventually(wait::seconds(20), || {
            let (path, port) = &self.pod.ready;
            let response = self.ask(*port, path)?;
            ensure!(response.status == 200, "{path} answers {} {}", response.status, response.text());
            Ok(())
        });
        ready.or_else(|error| Err(error.context(logs(self.docker, &self.id)?)))
    }

    /// Restarts it as `docker restart` does.
    pub(crate) fn restart(&self) -> Result<()> {
        self.docker.ask("POST", &format!("/containers/{}/restart", self.id), None)?;
        self.wait_ready()
    }

    /// Complains unless the liveness probe says yes.
    pub(crate) fn check_alive(&self) -> Result<()> {
        let (path, port) = &self.pod.alive;
        let response = self.ask(*port, path)?;
        ensure!(response.status == 200, "{path} answers {} {}", response.status, response.text());
        let said = logs(self.docker, &self.id)?;
        ensure!(!said.contains("panicked"), "the collector panicked:\n{said}");
        Ok(())
    }

    fn ask(&self, port: u16, target: &str) -> Result<Response> {
        http::request(connect_inside(self.pid()?, port)?, "GET", target, None)
    }

    /// The answer to a GET request that must be answered 200.
    pub(crate) fn get(&self, target: &str) -> Result<Response> {
        let response = self.ask(self.pod.ready.1, target)?;
        ensure!(response.status == 200, "{target} answers {} {}", response.status, response.text());
        Ok(response)
    }

    fn json<T: DeserializeOwned>(&self, target: &str) -> Result<T> {
        serde_json::from_slice(&self.get(target)?.body).with_context(|| format!("{target} is not the JSON expected"))
    }

    /// One container with its stored samples.
    pub(crate) fn container(&self, name: &str) -> Result<Container> {
        self.json(&format!("/api/v1.3/containers{}", bytes::url_encode(name.as_bytes())))
    }

    /// A container and everything below it.
    pub(crate) fn containers(&self, name: &str) -> Result<Vec<Container>> {
        self.json(&format!("/api/v1.3/subcontainers{}", bytes::url_encode(name.as_bytes())))
    }

    /// All stored events of a container and below.
    pub(crate) fn events(&self, name: &str) -> Result<Vec<Event>> {
        let name = bytes::url_encode(name.as_bytes());
        self.json(&format!("/api/v1.3/events{name}?subcontainers=true&all_events=true&max_events=-1"))
    }

    /// `/healthz?verbose`.
    pub(crate) fn health(&self) -> Result<String> {
        Ok(self.get("/healthz?verbose")?.text())
    }
}

/// A connection to a port on the loopback interface of a process' network namespace. The thread that goes there does
/// not come back; the connection stays where it was made.
fn connect_inside(pid: u32, port: u16) -> Result<TcpStream> {
    let connect = move || -> Result<TcpStream> {
        let namespace = fs::File::open(format!("/proc/{pid}/ns/net"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(wait::seconds(20)))?;
        Ok(stream)
    };
    thread::spawn(connect).join().map_err(|_| Error::msg("the connecting thread panicked"))?
}
