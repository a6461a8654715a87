//! The collector's image, running as a container of a test's engine the way a manifest asks for.

use std::fs;

use rustix::thread::CapabilitySet;

use super::api::{Container, Event};
use super::contained::Reach;
use super::docker::Docker;
use super::harness::Skip;
use super::http::Response;
use super::pod::Translated;
use super::settings::settings;
use super::{Result, bytes, ensure, wait};

/// Loads the image of `cargo xtask image` into an engine; its name there. Skips the test where it was not made.
pub(crate) fn load_image(docker: &Docker) -> Result<String> {
    let path = &settings().image;
    let archive = fs::read(path).map_err(|error| {
        Skip::because(format!("{}: {error}; `cargo xtask image` makes it, --image names it", path.display()))
    })?;
    docker.load(&archive)
}

/// `/healthz?verbose` of a collector that something else than this has started.
pub(crate) fn health_of(docker: &Docker, container: &str) -> Result<String> {
    Reach::inside(docker.pid(container)?, 8080).health()
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
        for directory in &pod.directories {
            fs::create_dir_all(directory)?;
        }
        let id = docker.run_as(&pod.config)?;
        let deployed = Self { docker, id, pod };
        deployed.wait_ready()?;
        Ok(deployed)
    }

    /// Kills and removes it.
    pub(crate) fn remove(self) -> Result<()> {
        self.docker.remove(&self.id)
    }

    /// The container's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Process id of the collector on the host.
    pub(crate) fn pid(&self) -> Result<u32> {
        let pid = self.docker.pid(&self.id)?;
        ensure!(pid > 0, "the container has ended; it said:\n{}", self.docker.logs(&self.id)?);
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
        ready.or_else(|error| Err(error.context(self.docker.logs(&self.id)?)))
    }

    /// Restarts it as `docker restart` does.
    pub(crate) fn restart(&self) -> Result<()> {
        self.docker.restart(&self.id)?;
        self.wait_ready()
    }

    /// Complains unless the liveness probe says yes.
    pub(crate) fn check_alive(&self) -> Result<()> {
        let (path, port) = &self.pod.alive;
        let response = self.ask(*port, path)?;
        ensure!(response.status == 200, "{path} answers {} {}", response.status, response.text());
        let said = self.docker.logs(&self.id)?;
        ensure!(!said.contains("panicked"), "the collector panicked:\n{said}");
        Ok(())
    }

    fn ask(&self, port: u16, target: &str) -> Result<Response> {
        Reach::inside(self.pid()?, port).request(target, None)
    }

    /// Where it listens.
    pub(crate) fn reach(&self) -> Result<Reach> {
        Ok(Reach::inside(self.pid()?, self.pod.ready.1))
    }

    /// One container with its stored samples.
    pub(crate) fn container(&self, name: &str) -> Result<Container> {
        self.reach()?.container(name)
    }

    /// A container and everything below it.
    pub(crate) fn containers(&self, name: &str) -> Result<Vec<Container>> {
        self.reach()?.json(&format!("/api/v1.3/subcontainers{}", bytes::url_encode(name.as_bytes())))
    }

    /// All stored events of a container and below.
    pub(crate) fn events(&self, name: &str) -> Result<Vec<Event>> {
        self.reach()?.events(name, "all_events")
    }

    /// `/healthz?verbose`.
    pub(crate) fn health(&self) -> Result<String> {
        self.reach()?.health()
    }
}
