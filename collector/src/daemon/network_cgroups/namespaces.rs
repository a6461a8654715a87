//! In whose network namespace the processes of a cgroup are, by one of them that stands for all, as for the counters of
//! network interfaces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::kernel::cgroup::Hierarchy;
use crate::kernel::file::ReadBuffer;
use crate::kernel::namespaces::{Place, ProcfsView, Surroundings};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::procfs::process::{NamespaceId, ProcessDir, host_network_namespace, network_namespace, process_ids};
use crate::runtime::cgroup_names;
use crate::sample::identity::{Address, Identity, NetworkOwner};
use crate::sample::network_cgroup::NetworkNamespace;
use crate::sampler::engine::Engine;
use crate::store::{Container, Listed};

/// Processes of a cgroup that are tried at most: one may end while it is looked at.
const TRIED: usize = 4;

/// Where namespaces are looked up.
#[derive(Debug)]
pub(super) struct Namespaces {
    proc: PathBuf,
    /// `None` where it may not be looked at, or is not in sight.
    host: Option<NamespaceId>,
    /// Where processes are listed by the numbers that they have in this procfs.
    listed: Option<Hierarchy>,
    buffer: ReadBuffer,
}

/// Whether a cgroup is in the host's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Host,
    NotHosts,
}

impl Namespaces {
    /// With the host's namespace.
    pub(super) fn find(proc: &Path, unified: Option<Hierarchy>) -> Self {
        let mut buffer = ReadBuffer::new();
        let surroundings = Surroundings::look(proc);
        // In a container with its own procfs the first process is the container's, not the host's.
        let is_in_sight = surroundings.procfs != ProcfsView::Own || surroundings.place == Place::Machine;
        let host = if is_in_sight { host_network_namespace(proc, &mut buffer).ok() } else { None };
        let listed = unified.filter(|_| surroundings.procfs != ProcfsView::Outer);
        Self { proc: proc.to_owned(), host, listed, buffer }
    }

    /// Whose namespace that is, and once it is known no more of it is read; `cgroup` is the one that packets were counted
    /// for.
    pub(super) fn of(
        &mut self,
        known: Option<NetworkNamespace>,
        owner: &Container,
        cgroup: Option<&Arc<Container>>,
        engine: &Engine,
    ) -> Option<NetworkNamespace> {
        // Sockets of the kernel itself, and of whatever is in no other cgroup.
        if known == Some(NetworkNamespace::Host) || **owner.name() == *b"/" {
            return known;
        }
        let identity = owner.identity();
        if identity.as_ref().is_some_and(|identity| identity.address == Address::Host) {
            return Some(NetworkNamespace::Host);
        }
        let whose = match known {
            Some(_) => Whose::NotHosts,
            None => self.look(owner, identity.as_deref(), cgroup, engine)?,
        };
        Some(decide(whose, owner.name(), identity.as_deref()))
    }

    fn look(
        &mut self,
        owner: &Container,
        identity: Option<&Identity>,
        cgroup: Option<&Arc<Container>>,
        engine: &Engine,
    ) -> Option<Whose> {
        let host = self.host?;
        let of_runtime = identity.and_then(|identity| identity.process);
        let attached = engine.tracked(owner.name()).and_then(|tracked| tracked.first_process());
        let reported = of_runtime.into_iter().chain(attached);
        let mut candidates: Vec<_> = reported.map(|pid| (pid, last_element(owner.name()))).collect();
        // Nothing of one that is excluded is opened.
        if let Some(cgroup) = cgroup.filter(|cgroup| cgroup.listed() != Listed::Excluded) {
            let pids = self.processes(cgroup.name());
            candidates.extend(pids.into_iter().map(|pid| (pid, last_element(cgroup.name()))));
        }
        candidates.into_iter().find_map(|(pid, element)| {
            let process = ProcessDir::new(pid);
            // The number may be another's by now.
            let text = process.file(&self.proc, "cgroup").read(&mut self.buffer).ok()?;
            if !text.windows(element.len()).any(|part| part == element) {
                return None;
            }
            let id = network_namespace(&self.proc, pid, &mut self.buffer).ok()?;
            Some(if id == host { Whose::Host } else { Whose::NotHosts })
        })
    }

    fn processes(&mut self, cgroup: &[u8]) -> Vec<u32> {
        let Some(hierarchy) = &self.listed else { return Vec::new() };
        let Ok(text) = hierarchy.file(cgroup, "cgroup.procs").read(&mut self.buffer) else { return Vec::new() };
        // Those of other pid namespaces are 0.
        process_ids(text, &mut OddLines::default()).filter(|pid| *pid != 0).take(TRIED).collect()
    }
}

fn last_element(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b'/').next().unwrap_or(name)
}

/// Whose it is where it is not the host's, as far as path and runtime show. Pure.
fn decide(whose: Whose, name: &[u8], identity: Option<&Identity>) -> NetworkNamespace {
    let network = identity.map(|identity| identity.network);
    match whose {
        Whose::Host => NetworkNamespace::Host,
        Whose::NotHosts if network == Some(NetworkOwner::Pod) || cgroup_names::pod(name).is_some() => {
            NetworkNamespace::Pod
        }
        Whose::NotHosts if network == Some(NetworkOwner::AnotherContainer) => NetworkNamespace::Container,
        Whose::NotHosts => NetworkNamespace::Own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::identity::Runtime;

    #[test]
    fn a_namespace_that_is_not_the_hosts_is_a_pods_or_anothers() {
        let mut identity = Identity::from_path(Runtime::Docker, "abc".to_owned());
        let plain = |whose, identity: &Identity| decide(whose, b"/docker/abc", Some(identity));
        assert_eq!(plain(Whose::Host, &identity), NetworkNamespace::Host);
        assert_eq!(plain(Whose::NotHosts, &identity), NetworkNamespace::Own);
        identity.network = NetworkOwner::AnotherContainer;
        assert_eq!(plain(Whose::NotHosts, &identity), NetworkNamespace::Container);
        assert_eq!(plain(Whose::Host, &identity), NetworkNamespace::Host);
        let in_pod = b"/kubepods/burstable/pod3f2b0f0e-1d1c-4f5b-9b52-1234567890ab/abc";
        assert_eq!(decide(Whose::NotHosts, in_pod, Some(&identity)), NetworkNamespace::Pod);
        assert_eq!(decide(Whose::NotHosts, in_pod, None), NetworkNamespace::Pod);
        assert_eq!(decide(Whose::Host, in_pod, None), NetworkNamespace::Host);
        assert_eq!(decide(Whose::NotHosts, b"/system.slice/a.service", None), NetworkNamespace::Own);
    }

    #[test]
    fn the_last_element_of_a_name() {
        assert_eq!(last_element(b"/a/b"), b"b");
        assert_eq!(last_element(b"/a"), b"a");
    }
}
