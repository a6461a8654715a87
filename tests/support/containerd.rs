//! containerd, driven by its command `ctr`: containers in cgroups as the kubelet names them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::engine::{Container, ContainerEngine, Engine, Home, MEMORY_LIMIT, program};
use super::{Context as _, Result, ensure, tar};

/// The image every container here is made of: nothing but a static busybox.
pub(crate) const IMAGE: &str = "docker.io/library/collector-test-busybox:latest";
/// The namespace in which containerd's CRI plugin looks for images.
const NAMESPACE: &str = "k8s.io";

/// A running containerd with its CRI plugin.
#[derive(Debug)]
pub(crate) struct Containerd {
    engine: Engine,
    ctr: PathBuf,
    pod: String,
    next: AtomicU32,
}

impl Containerd {
    /// Starts it and imports an image; `class` is the pod's class of service, such as `burstable`.
    pub(crate) fn start(class: &str) -> Result<Self> {
        let (containerd, ctr) = (program("containerd")?, program("ctr")?);
        program("runc")?;
        let busybox = fs::read(program("busybox")?)?;
        let parent = format!("kubepods/{class}");
        let pod = format!("{parent}/pod3f2a8a52-7c1f-4c58-9a54-{:012x}", std::process::id());
        let home = Home::new("containerd", &["kubepods", &parent, &pod])?;
        let at = |name: &str| home.path(name).display().to_string();
        // A sandbox's OOM score is lowered, which takes CAP_SYS_RESOURCE, unless the CRI plugin is configured not to.
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\naddress = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {IMAGE:?}\nrestrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {:?}\nconf_dir = {:?}\n",
            at("data"),
            at("run"),
            at("sock"),
            at("cni"),
            at("cni"),
        );
        fs::write(home.path("config.toml"), config)?;
        write_network_plugin(&home)?;
        let mut command = Command::new(containerd);
        command.arg("--config").arg(home.path("config.toml"));
        let engine = home.start(command)?;
        let mut this = Self { engine, ctr, pod: format!("/{pod}"), next: AtomicU32::new(0) };
        let (ctr, socket) = (this.ctr.clone(), this.socket());
        this.engine.wait_ready(|| ask(Command::new(&ctr).arg("--address").arg(&socket).arg("version")).map(drop))?;
        let layer = tar::with_program("busybox", &busybox);
        // What a sandbox runs that is given no command.
        let command = ["/bin/busybox", "sleep", "1000000"];
        fs::write(this.engine.path("image.tar"), tar::image(IMAGE, &command, &layer))?;
        this.ctr(&["images", "import", &this.engine.path("image.tar").display().to_string()])?;
        Ok(this)
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.engine.path("sock")
    }

    /// Something in its folder.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.engine.path(name)
    }

    /// The cgroup of the pod that its containers belong to.
    pub(crate) fn pod(&self) -> &str {
        &self.pod
    }

    /// The end of what it has said.
    pub(crate) fn last_words(&self) -> String {
        self.engine.last_words(5)
    }

    /// Makes and starts a container with these labels, as [`ContainerEngine::start`] does without.
    pub(crate) fn run_labelled(&self, labels: &[(&str, &str)], command: &str) -> Result<Container> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = tar::hex_sha256(format!("{} {number}", self.pod).as_bytes());
        let cgroup = format!("{}/{id}", self.pod);
        let limit = format!("--memory-limit={MEMORY_LIMIT}");
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
        let mut arguments = vec!["run", "--detach", "--cgroup", &cgroup, &limit];
        arguments.extend(labels.iter().map(String::as_str));
        arguments.extend([IMAGE, &id, "/bin/busybox", "sh", "-c", command]);
        self.ctr(&arguments)?;
        Ok(Container { id, cgroup })
    }

    fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.ctr);
        command.arg("--address").arg(self.socket()).args(["--namespace", NAMESPACE]).args(arguments);
        ask(&mut command)
    }

    fn remove_by_id(&self, id: &str) -> Result<()> {
        self.ctr(&["task", "rm", "--force", id])?;
        self.ctr(&["container", "rm", id]).map(drop)
    }
}

/// A network for pods that is nothing but a namespace: the plugin says that it has made an interface, and makes none.
fn write_network_plugin(home: &Home) -> Result<()> {
    const PLUGIN: &str = r#"#!/bin/sh
version=$(sed -n 's/.*"cniVersion" *: *"\([^"]*\)".*/\1/p' | head -n 1)
case "$CNI_COMMAND" in
ADD) printf '{"cniVersion":"%s","interfaces":[{"name":"%s","sandbox":"%s"}],"ips":[{"version":"4","interface":0,"address":"10.9.0.1/24"}]}' "$version" "$CNI_IFNAME" "$CNI_NETNS" ;;
VERSION) printf '{"cniVersion":"0.4.0","supportedVersions":["0.3.0","0.3.1","0.4.0"]}' ;;
esac
"#;
    const NETWORK: &str = r#"{"cniVersion":"0.4.0","name":"test","plugins":[{"type":"nothing"}]}"#;
    let folder = home.path("cni");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("test.conflist"), NETWORK)?;
    for name in ["nothing", "loopback"] {
        let plugin = folder.join(name);
        fs::write(&plugin, PLUGIN)?;
        fs::set_permissions(&plugin, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn ask(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, error.trim_end());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl ContainerEngine for Containerd {
    fn start(&self, command: &str) -> Result<Container> {
        self.run_labelled(&[], command)
    }

    fn remove(&self, container: &Container) -> Result<()> {
        self.remove_by_id(&container.id)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // A container's monitor would outlive containerd.
        for id in self.ctr(&["container", "ls", "--quiet"]).unwrap_or_default().lines() {
            let _ = self.remove_by_id(id);
        }
    }
}
