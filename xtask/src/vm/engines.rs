//! A virtual machine whose root is this machine's, shared read-only over virtiofs: what is installed here, container
//! engines above all, runs there on another kernel and with another layout of cgroup hierarchies.
//!
//! What is written inside stays in the virtual machine's memory, see `init-engines.sh`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::privilege::Privilege;
use crate::{apt, test, workspace};

/// The tests that such a machine is for.
pub(super) const TESTS: [&str; 2] = ["engine_containers::", "docker_api::as_the_engine"];
/// Those that are for a machine that systemd runs.
pub(super) const INSTALLED: &str = "installed::";
/// Tests that need an engine. Where there is none, in the other virtual machines, they are not selected.
pub(super) const NEED_ENGINES: [&str; 5] =
    ["engine_containers::", "docker_api::", "selftest::docker_", "beside_cadvisor::real_", INSTALLED];

/// Drivers that only such a machine needs: of its root, and of containers' images.
pub(super) const MODULES: [&str; 1] = ["overlay"];

/// What else a machine has that systemd runs, and what makes its packages.
const PACKAGES: [&str; 3] = ["dbus", "rpm", "systemd"];
/// Where systemd is.
const SYSTEMD: &str = "/lib/systemd/systemd";

/// The daemon that shares files: where qemu brings it, and where it is a package of its own.
const DAEMONS: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];
/// That package, on releases whose qemu no longer brings the daemon.
const DAEMON_PACKAGE: &str = "virtiofsd";
/// How long the daemon may take to make its socket.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many were started.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Shares the root of the mount namespace it runs in, read-only whatever the guest asks for: the shared folder is a
/// bind mount of it that only the daemon sees. File systems mounted below are not shared. `$1` is the folder, `$2` the
/// socket and `$3` the daemon, which keeps a descriptor for each file that the guest has ever looked at.
const SHARE: &str = "ulimit -n \"$(ulimit -H -n)\" && mount --bind / \"$1\" && mount -o remount,bind,ro \"$1\" && exec \"$3\" --socket-path=\"$2\" \
     --rlimit-nofile=0 -f -o source=\"$1\" -o cache=always -o sandbox=chroot";

/// Sees to it that engines and the sharing daemon are installed.
pub(super) fn install() -> Result<()> {
    apt::ensure_installed(&test::HOST_PACKAGES)?;
    apt::ensure_installed(&PACKAGES)?;
    if daemon().is_none() {
        apt::ensure_installed(&[DAEMON_PACKAGE])?;
    }
    Ok(())
}

/// Why this machine's root cannot be shared, if so.
pub(super) fn obstacle() -> Option<&'static str> {
    match (Privilege::detect(), daemon()) {
        (Privilege::Root, Some(_)) => None,
        (Privilege::Root, None) => Some("engines need virtiofsd, which is not installed"),
        _ => Some("engines need this machine's root file system, which only root can share"),
    }
}

/// Why systemd cannot be a machine's first process, if so.
pub(super) fn obstacle_of_systemd() -> Option<&'static str> {
    let is_there = Path::new(SYSTEMD).is_file() && crate::shell::is_on_path("rpmbuild");
    (!is_there).then_some("a machine that systemd runs needs systemd and rpmbuild, which are not installed")
}

fn daemon() -> Option<&'static Path> {
    DAEMONS.iter().map(Path::new).find(|path| path.is_file())
}

/// The running daemon, which ends when dropped, or when the emulator does.
#[derive(Debug)]
pub(super) struct Share {
    process: Child,
    socket: PathBuf,
}

impl Share {
    /// Starts it; the shared folder and its log are in a folder of the machine's own.
    pub(super) fn start(home: &Path) -> Result<Self> {
        if let Some(obstacle) = obstacle() {
            bail!(obstacle);
        }
        let (folder, log) = (home.join("root"), home.join("root.log"));
        workspace::make_folder(&folder)?;
        // A socket's path must be short, and another machine has another one.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let socket = std::env::temp_dir().join(format!("collector-vm-{}-{number}.sock", std::process::id()));
        let written = std::fs::File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", SHARE, "share"])
            .args([&folder, &socket])
            .arg(daemon().context("there is no virtiofsd")?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(written)
            .spawn()
            .context("cannot start unshare")?;
        let mut share = Self { process, socket };
        let end = Instant::now() + PATIENCE;
        while !share.socket.exists() {
            let ended = share.process.try_wait().context("cannot wait for virtiofsd")?;
            ensure!(ended.is_none() && Instant::now() < end, "virtiofsd does not start, see {}", log.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(share)
    }

    /// Qemu's arguments: the file system, and `megabytes` of memory that the daemon shares.
    pub(super) fn arguments(&self, megabytes: u32) -> [String; 8] {
        [
            "-object".to_owned(),
            format!("memory-backend-memfd,id=shared,size={megabytes}M,share=on"),
            "-numa".to_owned(),
            "node,memdev=shared".to_owned(),
            "-chardev".to_owned(),
            // A comma in the path would end it.
            format!("socket,id=root,path={}", self.socket.display().to_string().replace(',', ",,")),
            "-device".to_owned(),
            "vhost-user-fs-pci,chardev=root,tag=host".to_owned(),
        ]
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It may have ended with the emulator.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_file(&self.socket));
    }
}
