//! One container: where it is, and which controllers count for it.

use std::ffi::OsString;

use crate::config::Config;
use crate::discovery::find::find;
use crate::kernel::cgroup::{Hierarchies, Version};
use crate::kernel::file::ReadBuffer;
use crate::kernel::text_formats::words;

/// Controllers whose files a container's statistics are read from, on either version of cgroups.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuacct", "memory", "io", "blkio", "pids"];

/// What was found out about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    /// What it was called on the command line.
    pub given: String,
    /// Its cgroup and controllers, or why it was not found.
    pub found: Result<Membership, String>,
}

/// A container's cgroup, and what counts there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The path of the cgroup.
    pub cgroup: String,
    /// Controllers that count for it.
    pub on: Vec<&'static str>,
    /// Controllers that are mounted and do not.
    pub off: Vec<&'static str>,
}

/// Looks for the container, which takes some seconds where a runtime does not answer.
pub(super) fn gather(given: &OsString, config: &Config) -> ContainerFacts {
    let hierarchies = Hierarchies::detect(&config.roots).map_err(|error| error.to_string());
    let found = hierarchies.and_then(|hierarchies| {
        let cgroup =
            find(given, &hierarchies, &config.roots.proc, &config.runtimes).map_err(|error| error.to_string())?;
        Ok(membership(&cgroup, &hierarchies))
    });
    ContainerFacts { given: given.to_string_lossy().into_owned(), found }
}

fn membership(cgroup: &[u8], hierarchies: &Hierarchies) -> Membership {
    let mut buffer = ReadBuffer::new();
    let mounted = |name: &'static str| hierarchies.with_controller(name).map(|hierarchy| (name, hierarchy));
    let (on, off): (Vec<_>, Vec<_>) =
        CONTROLLERS.into_iter().filter_map(mounted).partition(|(name, hierarchy)| match hierarchy.version {
            Version::V1 => hierarchy.id_of(cgroup, &mut buffer).is_some(),
            Version::V2 => hierarchy
                .file(cgroup, "cgroup.controllers")
                .read(&mut buffer)
                .is_ok_and(|text| words(text.trim_ascii()).any(|word| word == name.as_bytes())),
        });
    let names = |list: Vec<(&'static str, _)>| list.into_iter().map(|(name, _)| name).collect();
    Membership { cgroup: String::from_utf8_lossy(cgroup).into_owned(), on: names(on), off: names(off) }
}
