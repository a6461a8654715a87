//! Which cgroups are containers in the eyes of the API: cAdvisor's rules (`--docker_only`,
//! `--raw_cgroup_prefix_whitelist`), and the user's globs.

mod globs;

use crate::runtime::cgroup_names;
use crate::sample::identity::Identity;
use crate::store::Listed;

pub use globs::{GlobError, Globs, Rule, Rules, Star};

/// The rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// What to do with cgroups that are no runtime's container.
    pub raw: RawCgroups,
    /// If not empty, only raw cgroups whose names begin with one of these.
    pub prefixes: Vec<Vec<u8>>,
    /// The user's own rules.
    pub rules: Rules,
}

/// What to do with cgroups that are no runtime's container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RawCgroups {
    /// List them.
    #[default]
    List,
    /// List none but the root and what the prefixes name.
    Skip,
}

/// What a cgroup is to the runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A container's own cgroup.
    Container,
    /// Something else.
    Raw,
}

impl Filter {
    /// Whether who a cgroup is makes a difference to whether it is listed.
    pub fn asks_who(&self) -> bool {
        self.rules.ask_who() || self.raw == RawCgroups::Skip || !self.prefixes.is_empty()
    }

    /// Whether the cgroup is listed, given what it is, and whose as far as that is known: its own container, or the one
    /// it is part of.
    pub fn listed(&self, name: &[u8], standing: Standing, whose: Option<&Identity>) -> Listed {
        if !self.rules.want_path(name) || name != b"/" && !self.rules.want(whose) {
            return Listed::Excluded;
        }
        let listed = name == b"/"
            || !cgroup_names::is_mount_unit(name)
                && (standing == Standing::Container
                    || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
                    || self.raw == RawCgroups::List && self.prefixes.is_empty());
        if listed { Listed::Yes } else { Listed::OnlyAsChild }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_cadvisors_table() {
        let id = format!("/docker/{}", "a".repeat(64));
        let listed = |raw, prefixes: &[&str], name: &str| {
            let prefixes = prefixes.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
            let standing = if name.starts_with("/docker/") { Standing::Container } else { Standing::Raw };
            Filter { raw, prefixes, ..Filter::default() }.listed(name.as_bytes(), standing, None) == Listed::Yes
        };
        for raw in [RawCgroups::List, RawCgroups::Skip] {
            for prefixes in [[].as_slice(), &["/a", "/b"]] {
                assert!(listed(raw, prefixes, "/"));
                assert!(listed(raw, prefixes, &id));
                assert!(!listed(raw, prefixes, "/a/x.mount"));
            }
            assert!(listed(raw, &["/a", "/b"], "/ab/c"));
            assert!(!listed(raw, &["/a", "/b"], "/c"));
        }
        assert!(listed(RawCgroups::List, &[], "/c"));
        assert!(!listed(RawCgroups::Skip, &[], "/c"));
    }
}
