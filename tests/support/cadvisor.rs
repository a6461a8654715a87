//! A running cAdvisor, to be compared with.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::harness::Skip;
use super::http;
use super::settings::settings;
use super::{Context as _, Result, bytes, ensure, wait};

/// A cAdvisor, killed when dropped.
#[derive(Debug)]
pub(crate) struct Cadvisor {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Cadvisor {
    /// Starts it beside a Docker engine and waits until it answers; skips the test where there is none.
    pub(crate) fn start(docker: &Path, flags: &[&str]) -> Result<Self> {
        let program = settings().cadvisor.as_ref().filter(|path| path.is_file());
        let program = program.ok_or_else(|| Skip::because("there is no cAdvisor; `cargo xtask test` fetches it"))?;
        // It cannot choose a port by itself.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let log = PathBuf::from(format!("/tmp/collector-test-cadvisor-{}.log", std::process::id()));
        let messages = File::create(&log)?;
        let child = Command::new(program)
            .args(["--listen_ip=127.0.0.1", &format!("--port={}", address.port())])
            .arg(format!("--docker=unix://{}", docker.display()))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(messages.try_clone()?)
            .stderr(messages)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut cadvisor = Self { child, address, log };
        wait::eventually(wait::seconds(30), || {
            if let Some(status) = cadvisor.child.try_wait()? {
                let said = bytes::read(&cadvisor.log).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(3).collect();
                return Err(Skip::because(format!("cAdvisor does not run here: {status}: {last:?}")));
            }
            ensure!(cadvisor.get("/healthz")?.status == 200, "cAdvisor is not healthy");
            Ok(())
        })?;
        Ok(cadvisor)
    }

    /// Where it answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A GET request.
    pub(crate) fn get(&self, target: &str) -> Result<http::Response> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(wait::seconds(20)))?;
        http::request(stream, "GET", target, None)
    }
}

impl Drop for Cadvisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}
