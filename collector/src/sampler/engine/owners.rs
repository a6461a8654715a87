//! Which containers are whose, kept with the containers.

use super::{Engine, lock};
use crate::runtime::owners::{Change, RuntimeReport};
use crate::sample::event::Name;
use crate::sample::identity::{Manager, Who};

impl Engine {
    /// A cgroup appears that may be a container's. Those that are somebody else by that are given back; what it is
    /// itself is up to [`Engine::who`], and to `Engine::settle` once it is there.
    pub fn claim(&self, name: &Name) -> Vec<Name> {
        let mut owners = lock(&self.owners);
        let changes = owners.begin(name);
        self.pass_on(changes).into_iter().filter(|changed| changed != name).collect()
    }

    /// A cgroup is gone; those that are somebody else by that.
    pub fn disclaim(&self, name: &Name) -> Vec<Name> {
        let mut owners = lock(&self.owners);
        let changes = owners.end(name);
        self.pass_on(changes)
    }

    /// A runtime reported the container with this id; those that are somebody else by that.
    pub fn reported(&self, id: &str, reported: RuntimeReport) -> Vec<Name> {
        let mut owners = lock(&self.owners);
        let changes = owners.reported(id, reported);
        self.pass_on(changes)
    }

    /// What lies on disk about a cgroup whose path names it shows who keeps it; those that are somebody else by that.
    pub fn recorded(&self, name: &Name, manager: Manager) -> Vec<Name> {
        let mut owners = lock(&self.owners);
        let changes = owners.recorded(name, manager);
        self.pass_on(changes)
    }

    /// Who a cgroup is, listed or not.
    pub fn who(&self, name: &Name) -> Option<Who> {
        lock(&self.owners).who(name)
    }

    /// Whether a cgroup has the id of a container in its name that another one is.
    pub fn is_anothers(&self, name: &[u8]) -> bool {
        lock(&self.owners).is_anothers(name)
    }

    /// Notes with a container that was begun who it is.
    pub(super) fn settle(&self, name: &Name) {
        let owners = lock(&self.owners);
        if let Some(tracked) = self.tracked(name) {
            tracked.container().set_who(owners.who(name));
            self.store.identified(tracked.container());
        }
    }

    fn pass_on(&self, changes: Vec<Change>) -> Vec<Name> {
        let pass_on = |Change { name, who }| {
            if let Some(tracked) = self.tracked(&name) {
                tracked.container().set_who(who);
                self.store.identified(tracked.container());
            }
            name
        };
        changes.into_iter().map(pass_on).collect()
    }
}
