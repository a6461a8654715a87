//! A collector in a container of the test's own engine, and how to reach it there.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd as _;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::api::{Container, Event};
use super::docker::Docker;
use super::http::{self, Response};
use super::metrics::Metrics;
use super::settings::settings;
use super::{Context as _, Result, bail, bytes, ensure, tar, wait};

/// The image: nothing but the collector.
const IMAGE: &str = "collector-test-collector";
/// Capabilities of the binary's file, permitted, not effective: one more than the container gets.
pub(crate) const FILE_CAPABILITIES: [u32; 6] = [39, 38, 19, 2, 23, 24];
/// What the container gets of them.
const ADDED: [&str; 5] = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_NICE"];
/// The same for an engine that does not know `CAP_BPF`.
const ADDED_OLD: [&str; 4] = ["SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_NICE"];
/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u32 = 21;

/// The value of `security.capability`: `struct vfs_cap_data`, revision 2, with these capabilities permitted.
pub(crate) fn capability_attribute(capabilities: &[u32]) -> Vec<u8> {
    const REVISION_2: u32 = 0x0200_0000;
    let bits = capabilities.iter().fold(0_u64, |bits, number| bits | (1 << number));
    // Magic; then low words of permitted and inheritable, then high words.
    let words = [REVISION_2, bits as u32, 0, (bits >> 32) as u32, 0];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A port nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where a collector is reached.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    port: u16,
    /// A process in whose network namespace it listens.
    namespace: Option<u32>,
}

impl Reach {
    /// On the loopback interface of the test's own network namespace.
    pub(crate) fn here(port: u16) -> Self {
        Self { port, namespace: None }
    }

    /// On the loopback interface of a process' network namespace.
    pub(crate) fn inside(pid: u32, port: u16) -> Self {
        Self { port, namespace: Some(pid) }
    }

    /// Does something in its network namespace.
    pub(crate) fn in_its_network<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(pid) = self.namespace else { return act() };
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        // A thread of its own: a socket stays in the namespace it was made in, the test does not go there.
        let acted = std::thread::spawn(move || -> Result<T> {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            act()
        });
        acted.join().ok().context("the thread in another network panicked")?
    }

    fn connect(&self) -> Result<TcpStream> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port);
        let stream = self.in_its_network(move || Ok(TcpStream::connect(address)?))?;
        stream.set_read_timeout(Some(wait::seconds(20)))?;
        Ok(stream)
    }

    /// Any request.
    pub(crate) fn request(&self, target: &str, body: Option<&str>) -> Result<Response> {
        let method = if body.is_some() { "POST" } else { "GET" };
        http::request(self.connect()?, method, target, body.map(str::as_bytes))
    }

    /// A request that must be answered 200 with JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, target: &str) -> Result<T> {
        let response = self.request(target, None)?;
        ensure!(response.status == 200, "{target} answered {}: {}", response.status, response.text().trim_end());
        serde_json::from_slice(&response.body).with_context(|| format!("{target} is not the JSON expected"))
    }

    /// One container with its samples.
    pub(crate) fn container(&self, name: &str) -> Result<Container> {
        self.json(&format!("/api/v1.3/containers{}", bytes::url_encode(name.as_bytes())))
    }

    /// The names of all containers.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let all: Vec<Container> = self.json("/api/v1.3/subcontainers/")?;
        Ok(all.into_iter().map(|container| container.name).collect())
    }

    /// All stored events of a cgroup and below.
    pub(crate) fn events(&self, name: &str, kind: &str) -> Result<Vec<Event>> {
        let name = bytes::url_encode(name.as_bytes());
        self.json(&format!("/api/v1.3/events{name}?subcontainers=true&max_events=-1&{kind}=true"))
    }

    /// OOM kills counted for a container.
    pub(crate) fn oom_kills(&self, name: &str) -> Result<Option<f64>> {
        let metrics = Metrics::parse(&self.request("/metrics", None)?.text());
        Ok(metrics.value("container_oom_events_total", &[("id", name)]))
    }

    /// `/healthz?verbose`.
    pub(crate) fn health(&self) -> Result<String> {
        Ok(self.request("/healthz?verbose", None)?.text())
    }

    /// Waits until it is ready.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        wait::eventually(wait::seconds(20), || {
            let response = self.request("/readyz", None)?;
            ensure!(response.status == 200, "/readyz answers {} {}", response.status, response.text());
            Ok(())
        })
    }
}

/// How the container is made.
pub(crate) struct Setting<'a> {
    /// The host's directories in it.
    pub(crate) binds: &'a [&'a str],
    /// The engine's network mode.
    pub(crate) network: &'a str,
    /// Flags of the collector.
    pub(crate) flags: &'a [&'a str],
}

/// Makes the image. Skips the test where the collector needs shared libraries, which the image has none of.
pub(crate) fn import(docker: &Docker) -> Result<()> {
    let program = std::fs::read(&settings().collector)?;
    if needs_interpreter(&program) {
        return Err(super::harness::Skip::because("the collector is not a static binary"));
    }
    let capabilities = capability_attribute(&[&FILE_CAPABILITIES[..], &[SYS_ADMIN]].concat());
    let archive = tar::with_capable_program("collector", &program, &capabilities);
    docker.import(IMAGE, &archive)
}

/// Whether an ELF program of 64 bits has a header `PT_INTERP`: it is run by the dynamic linker.
fn needs_interpreter(program: &[u8]) -> bool {
    let at = |offset: usize, length: usize| {
        let bytes = program.get(offset..offset + length).unwrap_or_default();
        bytes.iter().rev().fold(0_usize, |value, byte| (value << 8) | usize::from(*byte))
    };
    let (table, size, count) = (at(32, 8), at(54, 2), at(56, 2));
    (0..count).any(|number| at(table + number * size, 4) == 3)
}

/// Starts a collector as another user, in namespaces of its own, on a file system it cannot write to, with the
/// capabilities it needs and no others.
pub(crate) fn start(docker: &Docker, setting: &Setting<'_>) -> Result<(String, Reach)> {
    let port = free_port()?;
    let mut command: Vec<Value> = ["/bin/collector", "--listen_ip=127.0.0.1"].map(Value::from).to_vec();
    command.push(format!("--port={port}").into());
    command.extend(setting.flags.iter().map(|flag| Value::from(*flag)));
    let config = |added: &[&str]| {
        json!({
            "Image": IMAGE,
            "Cmd": command,
            "User": "65534:65534",
            "HostConfig": {
                "NetworkMode": setting.network,
                "CgroupnsMode": "private",
                "ReadonlyRootfs": true,
                "CapDrop": ["ALL"],
                "CapAdd": added,
                "SecurityOpt": ["seccomp=unconfined"],
                "Binds": setting.binds,
            },
        })
    };
    let id = match docker.run_as(&config(&ADDED)) {
        Err(error) if error.to_string().contains("unknown capability") => docker.run_as(&config(&ADDED_OLD))?,
        started => started?,
    };
    let namespace = if setting.network == "host" { None } else { Some(docker.pid(&id)?) };
    let reach = Reach { port, namespace };
    if let Err(error) = reach.wait_ready() {
        bail!("{error:#}\nthe collector said:\n{}", docker.logs(&id).unwrap_or_default());
    }
    Ok((id, reach))
}
