//! The compose file, and `docker run` of the documents, as containers that a test's engine starts.
//!
//! Their network is none, as that of pods is: the tests reach the collector from within its namespace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use super::pod::Translated;
use super::{Context as _, Result, bail, bytes, ensure, manifests};

/// The part of the Compose specification that is made use of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compose {
    #[serde(rename = "name")]
    _name: String,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) volumes: BTreeMap<String, BTreeMap<String, Value>>,
}

/// A service of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) image: String,
    pub(crate) user: Option<String>,
    #[serde(default)]
    pub(crate) group_add: Vec<String>,
    #[serde(default)]
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) cap_drop: Vec<String>,
    #[serde(default)]
    pub(crate) cap_add: Vec<String>,
    #[serde(default)]
    pub(crate) security_opt: Vec<String>,
    #[serde(default)]
    pub(crate) read_only: bool,
    pub(crate) mem_limit: Option<String>,
    pub(crate) cpus: Option<f64>,
    #[serde(rename = "restart")]
    _restart: String,
    pub(crate) stop_grace_period: Option<String>,
    #[serde(default)]
    pub(crate) ports: Vec<String>,
    #[serde(default)]
    pub(crate) volumes: Vec<Mount>,
}

/// A mount of a service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mount {
    pub(crate) r#type: String,
    pub(crate) source: String,
    pub(crate) target: String,
    #[serde(default)]
    pub(crate) read_only: bool,
}

impl Compose {
    /// The one in `deploy/`, and where it is.
    pub(crate) fn read() -> Result<(PathBuf, Self)> {
        let path = manifests::path("compose/compose.yaml")?;
        let compose = manifests::yaml(&path)?;
        Ok((path, compose))
    }
}

impl Service {
    /// What `docker compose` would ask the engine for; `folder` has the file, `variables` are the environment's.
    pub(crate) fn translate(&self, folder: &Path, variables: &[(&str, &str)]) -> Result<Translated> {
        let groups: Vec<String> = self.group_add.iter().map(|text| expand(text, variables)).collect::<Result<_>>()?;
        let memory = self.mem_limit.as_deref().map(size).transpose()?;
        let mount = |mount: &Mount| {
            ensure!(mount.r#type == "bind", "{} is no bind mount", mount.source);
            Ok(json!({ "Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only }))
        };
        Ok(Translated::of_docker(json!({
            "Image": expand(&self.image, variables)?,
            "Cmd": self.command,
            "User": self.user,
            "HostConfig": {
                "Mounts": self.volumes.iter().map(mount).collect::<Result<Vec<_>>>()?,
                "GroupAdd": groups,
                "NetworkMode": "none",
                "CgroupnsMode": "private",
                "ReadonlyRootfs": self.read_only,
                "SecurityOpt": security(self.security_opt.iter().map(|option| option.replacen(':', "=", 1)), folder)?,
                "Memory": memory,
                "MemorySwap": memory,
                "NanoCpus": self.cpus.map(|cpus| (cpus * 1e9) as u64),
                "CapDrop": self.cap_drop,
                "CapAdd": self.cap_add,
            },
        })))
    }
}

/// `${NAME:-default}` and `${NAME:?what to do}`, as compose reads them.
pub(crate) fn expand(text: &str, variables: &[(&str, &str)]) -> Result<String> {
    let Some(inside) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return Ok(text.to_owned());
    };
    let (name, otherwise) = inside.split_once(':').context("no default and no error")?;
    if let Some((_, value)) = variables.iter().find(|(variable, _)| *variable == name) {
        return Ok((*value).to_owned());
    }
    otherwise.strip_prefix('-').map(str::to_owned).with_context(|| format!("{name} is not set: {otherwise}"))
}

fn size(text: &str) -> Result<u64> {
    let megabytes = text.strip_suffix('m').with_context(|| format!("{text} is no size in m"))?;
    Ok(megabytes.parse::<u64>()? * bytes::MIB)
}

/// Options for the engine, which wants the profile itself and not its name.
fn security(options: impl Iterator<Item = String>, folder: &Path) -> Result<Vec<String>> {
    options
        .map(|option| match option.strip_prefix("seccomp=") {
            Some(profile) => Ok(format!("seccomp={}", bytes::read(folder.join(profile))?)),
            None => Ok(option),
        })
        .collect()
}

/// The `docker run` (or that of another `engine`) in a document, its words taken apart by a shell in the project's folder.
pub(crate) fn run_of(engine: &str, document: &str) -> Result<Vec<String>> {
    let root = manifests::path("..")?;
    let text = bytes::read(root.join(document))?;
    let lines = text.lines().skip_while(|line| !line.starts_with(&format!("{engine} run --")));
    let mut command = String::new();
    for line in lines {
        command.push_str(line);
        command.push('\n');
        if !line.ends_with('\\') {
            break;
        }
    }
    ensure!(!command.is_empty(), "{document} has no {engine} run");
    let script = format!("{engine}() {{ printf '%s\\0' \"$@\"; }}\n{command}");
    let words = Command::new("sh").args(["-euc", &script]).current_dir(root).output()?;
    ensure!(words.status.success(), "{}", String::from_utf8_lossy(&words.stderr));
    let words = String::from_utf8(words.stdout)?;
    Ok(words.trim_end_matches('\0').split('\0').map(str::to_owned).collect())
}

/// What these words of `docker run` would ask the engine for, with the image that it has under this name.
pub(crate) fn translate_run(words: &[String], image: &str) -> Result<Translated> {
    let root = manifests::path("..")?;
    let mut words = words.iter();
    ensure!(words.next().is_some_and(|word| word == "run"), "not docker run");
    let mut host = json!({ "NetworkMode": "none", "CgroupnsMode": "private" });
    let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let found = loop {
        let word = words.next().context("docker run without an image")?;
        if !word.starts_with("--") {
            break word;
        }
        match word.as_str() {
            "--detach" => continue,
            "--read-only" => {
                host["ReadonlyRootfs"] = true.into();
                continue;
            }
            _ => {}
        }
        let value = words.next().with_context(|| format!("{word} without a value"))?.clone();
        match word.as_str() {
            "--name" | "--restart" | "--publish" => {}
            "--memory" => (host["Memory"], host["MemorySwap"]) = (size(&value)?.into(), size(&value)?.into()),
            "--cap-drop" => lists.entry("CapDrop").or_default().push(value),
            "--cap-add" => lists.entry("CapAdd").or_default().push(value),
            "--group-add" => lists.entry("GroupAdd").or_default().push(value),
            "--volume" => lists.entry("Binds").or_default().push(value),
            "--security-opt" => lists.entry("SecurityOpt").or_default().push(value),
            other => bail!("the tests do not know how to give a container {other}"),
        }
    };
    ensure!(found == image, "the document's image is {found}, made was {image}");
    for (key, values) in lists {
        host[key] = if key == "SecurityOpt" { security(values.into_iter(), &root)?.into() } else { values.into() };
    }
    Ok(Translated::of_docker(json!({ "Image": image, "Cmd": words.collect::<Vec<_>>(), "HostConfig": host })))
}
