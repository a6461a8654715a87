//! An OCI runtime before runc that sets the capabilities of a container.
//!
//! Docker 20.10, which is Debian's, refuses to name `CAP_BPF` and `CAP_PERFMON` although kernel and runc know them. The
//! engines of these tests therefore start containers through this program, which writes what the manifest asks for into
//! the container's configuration and becomes runc.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::CapabilitySet;
use serde_json::{Value, json};

use super::docker::Docker;
use super::engine::program;
use super::{Context as _, Result, bytes, ensure};

/// First argument of the process that becomes runc.
pub(crate) const ARGUMENT: &str = "--runtime";
/// What the engines call the runtime.
pub(crate) const NAME: &str = "exact";

/// Writes the program that the engine starts; its path.
pub(crate) fn install(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("runtime");
    let own = std::env::current_exe()?;
    bytes::write(&path, &format!("#!/bin/sh\nexec '{}' {ARGUMENT} '{}' \"$@\"\n", own.display(), folder.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Makes a container with exactly the capabilities that its configuration names; returns its id.
pub(crate) fn create(docker: &Docker, config: &Value) -> Result<String> {
    let host = &config["HostConfig"];
    let capabilities = if host["Privileged"] == true {
        // As newer engines do. Docker 20.10 asks for more than a machine may have to give.
        all_capabilities()
    } else {
        match docker.create(config) {
            Err(error) if format!("{error:#}").contains("unknown capability") => {
                ensure!(host["CapDrop"] == json!(["ALL"]), "capabilities besides the default ones are not set apart");
                let names = host["CapAdd"].as_array().into_iter().flatten().filter_map(Value::as_str);
                names.map(|name| format!("CAP_{name}")).collect()
            }
            created => return created,
        }
    };
    let mut config = config.clone();
    config["HostConfig"]["CapAdd"] = Value::Null;
    config["HostConfig"]["Runtime"] = NAME.into();
    let id = docker.create(&config)?;
    will_have(docker, &id, &capabilities)?;
    Ok(id)
}

/// Has a container that was made with this runtime start with exactly these capabilities.
pub(crate) fn will_have(docker: &Docker, id: &str, capabilities: &[String]) -> Result<()> {
    let info: Value = serde_json::from_slice(&docker.ask("GET", "/info", None)?.body)?;
    let runtime = info["Runtimes"][NAME]["path"].as_str().context("the engine does not know the runtime")?;
    let folder = Path::new(runtime).parent().context("the runtime is in no folder")?;
    bytes::write(wanted(folder, id), &serde_json::to_string(capabilities)?)
}

/// Every capability that this machine has.
fn all_capabilities() -> Vec<String> {
    let here = |capability| rustix::thread::capability_is_in_bounding_set(capability).unwrap_or(false);
    let all = CapabilitySet::all().iter_names().filter(|(_, capability)| here(*capability));
    all.map(|(name, _)| format!("CAP_{name}")).collect()
}

fn wanted(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("capabilities-{id}"))
}

/// The runtime: `arguments` are the engine's folder and runc's command line.
pub(crate) fn exec(arguments: &[String]) -> Result<()> {
    let [folder, arguments @ ..] = arguments else { super::bail!("no folder") };
    if arguments.iter().any(|argument| argument == "create") {
        let id = arguments.last().context("no container")?;
        let bundle = arguments.iter().position(|argument| argument == "--bundle");
        let bundle = bundle.and_then(|at| arguments.get(at + 1)).context("no bundle")?;
        if let Ok(wanted) = fs::read_to_string(wanted(Path::new(folder), id)) {
            rewrite(&Path::new(bundle).join("config.json"), &serde_json::from_str(&wanted)?)?;
        }
    }
    let runc = program("runc")?;
    Err(Command::new(&runc).args(arguments).exec()).with_context(|| format!("exec {}", runc.display()))
}

fn rewrite(path: &Path, capabilities: &Value) -> Result<()> {
    let mut config: Value = serde_json::from_str(&bytes::read(path)?)?;
    config["process"]["capabilities"] =
        json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities });
    bytes::write(path, &config.to_string())
}
