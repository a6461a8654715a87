//! Which cgroups are listed, when they appear and when the rules or what is known of them change.

use std::sync::Arc;

use super::Tracker;
use crate::discovery::filter::{Filter, Standing};
use crate::runtime::cgroup_names;
use crate::sample::event::Name;
use crate::sample::identity::Identity;
use crate::sampler::engine::Origin;
use crate::store::Listed;

impl Tracker {
    /// Whether a cgroup is listed, by what is known of it now.
    pub(super) fn is_listed(&self, name: &Name) -> Listed {
        match self.engine.who(name) {
            Some(who) => self.filter.listed(name, Standing::Container, who.identity.as_deref()),
            None if self.filter.rules.ask_who() => {
                self.filter.listed(name, Standing::Raw, self.identity_above(name).as_deref())
            }
            None => self.filter.listed(name, Standing::Raw, None),
        }
    }

    /// Says that a container was made, if the kernel reported when. Of one that was found its files say it, which are read
    /// with its first sample: it is announced then.
    pub(super) fn announce(&self, name: &Name, origin: Origin, listed: Listed) {
        if let (Origin::Made(at), Listed::Yes) = (origin, listed) {
            self.engine.publish_creation(name, at);
        }
    }

    /// Who the container is that a cgroup without one of its own is part of.
    fn identity_above(&self, name: &[u8]) -> Option<Arc<Identity>> {
        let ends = name.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut above = ends.map(|end| &name[..end]).filter(|above| cgroup_names::may_be_container(above));
        above.find_map(|above| self.engine.who(&above.into()))?.identity
    }

    /// These are somebody else than before: they, and what is below them, may be wanted now, or not any more.
    pub fn identified(&mut self, names: &[Name]) {
        if self.filter.asks_who() {
            self.list_anew(names.iter().flat_map(|name| self.discovery.names_from(name)).collect());
        }
    }

    /// From now on these rules say what is listed.
    pub fn set_filter(&mut self, filter: Filter) {
        let before = std::mem::replace(&mut self.filter, filter);
        let all = self.discovery.names();
        for name in &all {
            // Nobody was asked about what could not be listed.
            if self.filter.rules.want_path(name) && !before.rules.want_path(name) {
                self.identities.begin(name);
            }
        }
        self.list_anew(all);
    }

    /// Applies the rules to cgroups that are there.
    fn list_anew(&mut self, names: Vec<Name>) {
        for name in names {
            let Some(tracked) = self.engine.tracked(&name) else { continue };
            let listed = self.is_listed(&name);
            if listed == tracked.container().listed() {
                continue;
            }
            let origin = tracked.origin();
            self.announce(&name, origin, listed);
            self.engine.relist(&tracked, &self.discovery.members(&name), origin, listed);
        }
    }
}
