//! Programs of Debian packages that the collector is tried with: installed, or unpacked beside what is built. No service is
//! started.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::harness::Skip;
use super::{Context as _, Result, ensure, http, settings, wait};

/// Where a program of a package is. What cannot be had skips the test.
pub(crate) fn program(package: &str, name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(installed) = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file()) {
        return Ok(installed);
    }
    let skip = |reason: String| Skip::because(format!("{name} is not installed, and {reason}"));
    if settings::in_vm() {
        return Err(skip("a virtual machine has no packages".to_owned()));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers").join(package);
    let program = folder.join("usr/bin").join(name);
    if !program.is_file() {
        fs::create_dir_all(&folder)?;
        // apt verifies what it downloads.
        let unpack = format!("dpkg -x {package}_*.deb . && rm {package}_*.deb");
        for (command, arguments) in [("apt-get", vec!["download", package]), ("sh", vec!["-c", &unpack])] {
            let ran = Command::new(command).args(arguments).current_dir(&folder).stdin(Stdio::null()).output();
            match ran {
                Ok(output) if output.status.success() => {}
                Ok(output) => return Err(skip(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "))),
                Err(error) => return Err(skip(format!("{command} does not run: {error}"))),
            }
        }
    }
    Ok(program)
}

/// A running database with data of its own, ended when dropped.
#[derive(Debug)]
pub(crate) struct Database {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Database {
    /// Debian's `InfluxDB` 1.6.
    pub(crate) fn influxdb() -> Result<Self> {
        let program = program("influxdb", "influxd")?;
        let (folder, address) = place("influxdb")?;
        let inside = |name: &str| folder.join(name).display().to_string();
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let config = format!(
            "reporting-disabled = true\nbind-address = \"{port}\"\n[meta]\ndir = \"{}\"\n[data]\ndir = \"{}\"\n\
             wal-dir = \"{}\"\n[http]\nbind-address = \"{address}\"\n[monitor]\nstore-enabled = false\n",
            inside("meta"),
            inside("data"),
            inside("wal")
        );
        fs::write(folder.join("influxdb.conf"), config)?;
        let file = inside("influxdb.conf");
        Self::start(&program, &["-config", &file], folder, address, "/ping")
    }

    /// Debian's `VictoriaMetrics`.
    pub(crate) fn victoria_metrics() -> Result<Self> {
        let program = program("victoria-metrics", "victoria-metrics")?;
        let (folder, address) = place("victoria-metrics")?;
        let data = format!("-storageDataPath={}", folder.join("data").display());
        let listen = format!("-httpListenAddr={address}");
        Self::start(&program, &[&data, &listen, "-memory.allowedBytes=64MB"], folder, address, "/health")
    }

    fn start(program: &Path, arguments: &[&str], folder: PathBuf, address: SocketAddr, ready: &str) -> Result<Self> {
        let log = fs::File::create(folder.join("log"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let database = Self { child, address, folder };
        wait::eventually(wait::seconds(30), || {
            let answer = database.request("GET", ready)?;
            ensure!((200..300).contains(&answer.status), "{ready}: {}", answer.status);
            Ok(())
        })
        .with_context(|| fs::read_to_string(database.folder.join("log")).unwrap_or_default())?;
        Ok(database)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The answer to a request.
    pub(crate) fn request(&self, method: &str, target: &str) -> Result<http::Response> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(wait::seconds(20)))?;
        http::request(stream, method, target, None)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder and a free port.
fn place(name: &str) -> Result<(PathBuf, SocketAddr)> {
    let folder = std::env::temp_dir().join(format!("collector-test-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok((folder, TcpListener::bind(("127.0.0.1", 0))?.local_addr()?))
}
