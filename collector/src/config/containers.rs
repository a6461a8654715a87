//! Which cgroups are containers, and where their names come from.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgAction;

use super::{ConfigError, list, value_error};
use crate::auth::unreadable;
use crate::discovery::filter::{Filter, Globs, RawCgroups, Rule, Rules, Star};
use crate::go_flags::go_bool;
use crate::runtime::{DockerTls, Listener, Named, Runtimes};
use crate::sample::identity::Runtime;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Containers and runtimes")]
pub(super) struct ContainersArgs {
    /// List only containers of a runtime, and the root
    #[arg(long = "docker_only", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    docker_only: bool,
    /// List only those raw cgroups whose names begin with one of these, separated by commas
    #[arg(long = "raw_cgroup_prefix_whitelist", default_value = "")]
    raw_cgroup_prefix_whitelist: String,
    /// List only cgroups whose path fits this glob, and what is below them; may be repeated
    #[arg(long = "include_path", value_name = "GLOB")]
    include_path: Vec<String>,
    /// Leave out cgroups whose path fits this glob, and what is below them; may be repeated
    #[arg(long = "exclude_path", value_name = "GLOB")]
    exclude_path: Vec<String>,
    /// List only containers whose name or id fits this glob; may be repeated
    #[arg(long = "include_name", value_name = "GLOB")]
    include_name: Vec<String>,
    /// Leave out containers whose name or id fits this glob; may be repeated
    #[arg(long = "exclude_name", value_name = "GLOB")]
    exclude_name: Vec<String>,
    /// List only containers whose runtime (docker, podman, containerd, crio, lxc, ...) or pod's namespace fits this glob;
    /// may be repeated
    #[arg(long = "include_namespace", value_name = "GLOB")]
    include_namespace: Vec<String>,
    /// Leave out containers whose runtime or pod's namespace fits this glob; may be repeated
    #[arg(long = "exclude_namespace", value_name = "GLOB")]
    exclude_namespace: Vec<String>,
    /// List only containers with a label that fits this glob as `key=value`; may be repeated
    #[arg(long = "include_label", value_name = "GLOB")]
    include_label: Vec<String>,
    /// Leave out containers with a label that fits this glob as `key=value`; may be repeated
    #[arg(long = "exclude_label", value_name = "GLOB")]
    exclude_label: Vec<String>,
    /// Where Docker listens; empty for none (default `unix:///var/run/docker.sock`)
    #[arg(long)]
    docker: Option<String>,
    /// Use TLS for a Docker at a TCP address
    #[arg(long = "docker-tls", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    docker_tls: bool,
    /// Client certificate for Docker, in PEM
    #[arg(long = "docker-tls-cert", default_value = "cert.pem")]
    docker_tls_cert: PathBuf,
    /// Its private key, in PEM
    #[arg(long = "docker-tls-key", default_value = "key.pem")]
    docker_tls_key: PathBuf,
    /// CA certificate that signed Docker's, in PEM
    #[arg(long = "docker-tls-ca", default_value = "ca.pem")]
    docker_tls_ca: PathBuf,
    /// Where podman listens; empty for none (default `unix:///var/run/podman/podman.sock`)
    #[arg(long)]
    podman: Option<String>,
    /// Where containerd listens; empty for none (default `/run/containerd/containerd.sock`)
    #[arg(long)]
    containerd: Option<String>,
    /// containerd's namespaces to look for containers in, separated by commas
    #[arg(long = "containerd-namespace", default_value = "k8s.io,default,moby")]
    containerd_namespace: String,
    /// Where CRI-O listens; empty for none (default `unix:///var/run/crio/crio.sock`)
    #[arg(long)]
    crio: Option<String>,
    /// Prefixes of environment variables to expose as metadata, separated by commas
    #[arg(long = "env_metadata_whitelist", default_value = "")]
    env_metadata_whitelist: String,
    // As long as cAdvisor had one for each runtime; shown together with those of the flag above.
    #[arg(long = "docker_env_metadata_whitelist", default_value = "", hide = true)]
    docker_env_metadata_whitelist: String,
    #[arg(long = "containerd_env_metadata_whitelist", default_value = "", hide = true)]
    containerd_env_metadata_whitelist: String,
}

impl ContainersArgs {
    /// What is listed.
    pub(super) fn filter(&self) -> Result<Filter, ConfigError> {
        let prefixes = list(&self.raw_cgroup_prefix_whitelist).map(|prefix| prefix.as_bytes().to_vec()).collect();
        let raw = if self.docker_only { RawCgroups::Skip } else { RawCgroups::List };
        let globs = |flag: &'static str, patterns: &[String], star| {
            let patterns: Vec<String> = patterns.iter().filter(|pattern| !pattern.is_empty()).cloned().collect();
            Globs::new(patterns, star).map_err(|error| value_error(flag, &error.pattern.clone(), &error))
        };
        let rule = |flags: [&'static str; 2], include: &[String], exclude: &[String], star| {
            let [include_flag, exclude_flag] = flags;
            let include = globs(include_flag, include, star)?;
            Ok::<_, ConfigError>(Rule { include, exclude: globs(exclude_flag, exclude, star)? })
        };
        let rules = Rules {
            path: rule(["include_path", "exclude_path"], &self.include_path, &self.exclude_path, Star::WithinElement)?,
            name: rule(["include_name", "exclude_name"], &self.include_name, &self.exclude_name, Star::Anything)?,
            namespace: rule(
                ["include_namespace", "exclude_namespace"],
                &self.include_namespace,
                &self.exclude_namespace,
                Star::Anything,
            )?,
            label: rule(["include_label", "exclude_label"], &self.include_label, &self.exclude_label, Star::Anything)?,
        };
        Ok(Filter { raw, prefixes, rules })
    }

    /// Container runtimes that may be there; `rootfs` is where the host's root directory is.
    pub(super) fn runtimes(&self, rootfs: &Path, storage_every: Option<Duration>) -> Result<Runtimes, ConfigError> {
        let environment = [
            &self.env_metadata_whitelist,
            &self.docker_env_metadata_whitelist,
            &self.containerd_env_metadata_whitelist,
        ];
        Ok(Runtimes {
            listeners: self.listeners(rootfs)?,
            docker_tls: self.docker_tls.then(|| DockerTls {
                certificate: self.docker_tls_cert.clone(),
                key: self.docker_tls_key.clone(),
                ca: self.docker_tls_ca.clone(),
            }),
            containerd_namespaces: list(&self.containerd_namespace).map(str::to_owned).collect(),
            environment: environment.into_iter().flat_map(|names| list(names)).map(str::to_owned).collect(),
            storage_every,
        })
    }

    /// A word about each file for Docker's TLS that cannot be read. Docker may come later, and the files with it.
    pub(super) fn notes(&self) -> Vec<String> {
        let files = [
            ("docker-tls-cert", &self.docker_tls_cert),
            ("docker-tls-key", &self.docker_tls_key),
            ("docker-tls-ca", &self.docker_tls_ca),
        ];
        let wanted = files
            .into_iter()
            .filter(|_| self.docker_tls && self.docker.as_deref().is_some_and(|docker| docker.starts_with("tcp://")));
        let noted = wanted.filter_map(|(flag, path)| {
            // Reading the first byte also distinguishes a directory from a file.
            let read = fs::File::open(path).and_then(|mut file| file.read(&mut [0]));
            let problem = unreadable(&read.err()?);
            Some(format!("--{flag}={}: {problem}; until then Docker is not asked about its containers", path.display()))
        });
        noted.collect()
    }

    fn listeners(&self, rootfs: &Path) -> Result<Vec<Listener>, ConfigError> {
        // Docker's containers are containerd's too: who knows more is asked first.
        let all = [
            ("docker", Runtime::Docker, &self.docker, "/var/run/docker.sock"),
            ("podman", Runtime::Podman, &self.podman, "/var/run/podman/podman.sock"),
            ("crio", Runtime::CriO, &self.crio, "/var/run/crio/crio.sock"),
            ("containerd", Runtime::Containerd, &self.containerd, "/run/containerd/containerd.sock"),
        ];
        let mut listeners = Vec::new();
        for (flag, runtime, asked_for, default) in all {
            let named = if asked_for.is_some() { Named::ByFlag } else { Named::ByDefault };
            let endpoint = asked_for.clone().unwrap_or_else(|| default_socket(default, rootfs));
            if endpoint.is_empty() {
                continue;
            }
            // cAdvisor takes containerd's socket as a bare path.
            let full = if endpoint.starts_with('/') { format!("unix://{endpoint}") } else { endpoint.clone() };
            let endpoint = full.parse().map_err(|error| value_error(flag, &endpoint, &error))?;
            listeners.push(Listener { runtime, endpoint, named });
        }
        Ok(listeners)
    }
}

/// Where a runtime listens by default. A container that has the host's root directory, or parts of it, mounted elsewhere
/// has the socket there, unless it is mounted in its usual place. Not below `/var/run`, which is a link to `/run` that
/// would lead out of there.
fn default_socket(usual: &str, rootfs: &Path) -> String {
    let below = rootfs.join(usual.trim_start_matches("/var").trim_start_matches('/'));
    // The socket itself may come later.
    let has_place = rootfs != Path::new("/") && below.parent().is_some_and(Path::is_dir);
    if has_place && !Path::new(usual).exists() { below.display().to_string() } else { usual.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_looked_for_below_the_hosts_root() {
        let root = tempfile::tempdir().unwrap();
        let usual = "/var/run/of-no-runtime/x.sock";
        assert_eq!(default_socket(usual, root.path()), usual, "nothing is mounted");
        let place = root.path().join("run/of-no-runtime");
        fs::create_dir_all(&place).unwrap();
        assert_eq!(default_socket(usual, root.path()), place.join("x.sock").display().to_string());
        assert_eq!(default_socket(usual, Path::new("/")), usual);
        // What is in the usual place was put there on purpose.
        let there = root.path().display().to_string();
        assert_eq!(default_socket(&there, root.path()), there);
    }
}
