//! What each container takes of the memory for labels, and what the log says of that, once for each.
//!
//! It is by id and not by cgroup: of a container that several cgroups are called like, what was reported last is kept
//! once.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::RuntimeError;
use super::metadata::{Budget, LeftOut, Share};
use crate::sample::identity::Identity;

/// Every container that is asked for.
#[derive(Debug, Default)]
pub(super) struct Shares {
    budget: Budget,
    containers: HashMap<Arc<str>, SharingContainer>,
}

#[derive(Debug)]
struct SharingContainer {
    /// How many cgroups have its id in their names.
    cgroups: usize,
    share: Share,
    /// What was left out of its labels, as the log says.
    left_out: LeftOut,
    /// Whether the log says that its runtime's answer cannot be used.
    unusable: Unusable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unusable {
    NotLogged,
    Logged,
}

impl Shares {
    /// A cgroup with this id appeared; the id, to be kept.
    pub(super) fn begin(&mut self, id: &str) -> Arc<str> {
        let id = self.containers.get_key_value(id).map_or_else(|| id.into(), |(id, _)| Arc::clone(id));
        let new = SharingContainer {
            cgroups: 0,
            share: Share::default(),
            left_out: LeftOut::default(),
            unusable: Unusable::NotLogged,
        };
        self.containers.entry(Arc::clone(&id)).or_insert(new).cgroups += 1;
        id
    }

    /// One is gone.
    pub(super) fn end(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.cgroups -= 1;
        if container.cgroups == 0 {
            self.budget.give_back(&mut container.share);
            self.containers.remove(id);
        }
    }

    /// Keeps what there is room for of a runtime's report.
    pub(super) fn fit(&mut self, id: &str, identity: &mut Identity) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let left_out = self.budget.fit(identity, &mut container.share);
        if left_out != container.left_out && left_out != LeftOut::default() {
            let LeftOut { pairs, names } = left_out;
            tracing::warn!(
                container = id,
                pairs,
                names,
                "some of a container's labels, variables and names are too many or too long, and left out"
            );
        }
        container.left_out = left_out;
    }

    /// A runtime's answer cannot be used.
    pub(super) fn unusable(&mut self, id: &str, error: &RuntimeError) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if std::mem::replace(&mut container.unusable, Unusable::Logged) == Unusable::NotLogged {
            tracing::warn!(container = id, %error, "a container stays without its name and labels");
        }
    }
}

#[cfg(test)]
impl Shares {
    /// Whether nothing is kept of anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.budget == Budget::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::identity::Runtime;

    fn large(id: &str) -> Identity {
        let labels = (0..200).map(|number| (format!("a{number:03}"), "x".repeat(1_000))).collect();
        Identity { labels, ..Identity::from_path(Runtime::Docker, id.to_owned()) }
    }

    #[test]
    fn cgroups_that_are_called_like_another_take_nothing_from_others() {
        let mut shares = Shares::default();
        for _ in 0..4_096 {
            shares.begin("a");
            shares.fit("a", &mut large("a"));
        }
        shares.begin("b");
        let mut identity = large("b");
        shares.fit("b", &mut identity);
        assert!(identity.labels.len() > 25, "{}", identity.labels.len());
        for _ in 0..4_096 {
            shares.end("a");
        }
        assert_eq!(shares.containers.len(), 1);
        shares.end("b");
        assert!(shares.is_empty(), "all is given back");
    }
}
