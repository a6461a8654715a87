//! Which cgroups are containers, and who tells what they are called.

use clap::ArgAction;

use super::{ConfigError, list, value_error};
use crate::go_flags::go_bool;
use crate::runtime::{Endpoint, Runtimes};
use crate::sample::identity::Runtime;
use crate::sampler::filter::{Filter, RawCgroups};

#[derive(Debug, clap::Args)]
pub(super) struct ContainersArgs {
    /// List only containers of a runtime, and the root
    #[arg(long = "docker_only", default_value = "false", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    docker_only: bool,
    /// List only those raw cgroups whose names begin with one of these, separated by commas
    #[arg(long = "raw_cgroup_prefix_whitelist", default_value = "")]
    raw_cgroup_prefix_whitelist: String,
    /// Where Docker listens; empty for none
    #[arg(long, default_value = "unix:///var/run/docker.sock")]
    docker: String,
    /// Where podman listens; empty for none
    #[arg(long, default_value = "unix:///var/run/podman/podman.sock")]
    podman: String,
    /// Where containerd listens; empty for none
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    containerd: String,
    /// containerd's namespaces to look for containers in, separated by commas
    #[arg(long = "containerd-namespace", default_value = "k8s.io,default,moby")]
    containerd_namespace: String,
    /// Where CRI-O listens; empty for none
    #[arg(long, default_value = "unix:///var/run/crio/crio.sock")]
    crio: String,
    /// Beginnings of the names of environment variables to show, separated by commas
    #[arg(long = "env_metadata_whitelist", default_value = "")]
    env_metadata_whitelist: String,
}

impl ContainersArgs {
    /// What is listed.
    pub(super) fn filter(&self) -> Filter {
        let prefixes = list(&self.raw_cgroup_prefix_whitelist).map(|prefix| prefix.as_bytes().to_vec()).collect();
        let raw = if self.docker_only { RawCgroups::Skip } else { RawCgroups::List };
        Filter { raw, prefixes }
    }

    /// Container runtimes that may be there.
    pub(super) fn runtimes(&self) -> Result<Runtimes, ConfigError> {
        Ok(Runtimes {
            endpoints: self.endpoints()?,
            containerd_namespaces: list(&self.containerd_namespace).map(str::to_owned).collect(),
            environment: list(&self.env_metadata_whitelist).map(str::to_owned).collect(),
        })
    }

    fn endpoints(&self) -> Result<Vec<(Runtime, Endpoint)>, ConfigError> {
        // Docker's containers are containerd's too: who knows more is asked first.
        let asked_for = [
            ("docker", Runtime::Docker, &self.docker),
            ("podman", Runtime::Podman, &self.podman),
            ("crio", Runtime::CriO, &self.crio),
            ("containerd", Runtime::Containerd, &self.containerd),
        ];
        let asked_for = asked_for.into_iter().filter(|(_, _, endpoint)| !endpoint.is_empty());
        let parsed = asked_for.map(|(flag, runtime, endpoint)| {
            // cAdvisor takes containerd's socket as a bare path.
            let full = if endpoint.starts_with('/') { format!("unix://{endpoint}") } else { endpoint.clone() };
            let endpoint = full.parse().map_err(|error| value_error(flag, endpoint, &error))?;
            Ok((runtime, endpoint))
        });
        parsed.collect()
    }
}
