//! How often containers were started again, counted over all lives of one name.
//!
//! A container that is started anew mostly is another container with another id, and its metrics other series. What stays
//! is its name: the one a person gave it, or pod and container of Kubernetes. Runtimes count starts themselves, but begin
//! again with each container that they make, and not all of them count what a person restarts.

use std::collections::BTreeMap;

use crate::bounds::Bound;
use crate::sample::identity::Identity;
use crate::sample::identity::kubernetes::{CONTAINER_NAME, POD_NAME, POD_NAMESPACE};
use crate::steady::Steady;

/// Names that are remembered; each is a few hundred bytes.
const MAX_TITLES: usize = 10_000;
/// The label by which runtimes count.
const BY_RUNTIME: &str = "restartcount";

/// What a container and those that follow it have in common. What it has not is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Title {
    /// The name a person gave it.
    pub name: String,
    /// The namespace of its pod.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its name in the pod.
    pub container: String,
}

impl Title {
    /// That of a container; `None` if nothing connects it with those before it.
    pub fn of(identity: &Identity) -> Option<Self> {
        let label = |key: &str| identity.labels.get(key).cloned();
        if let (Some(namespace), Some(pod)) = (label(POD_NAMESPACE), label(POD_NAME)) {
            // A sandbox has no name in its pod, and is none of the pod's containers.
            let container = label(CONTAINER_NAME).filter(|name| !name.is_empty() && name != "POD")?;
            return Some(Self { namespace, pod, container, name: String::new() });
        }
        let name = identity.name.clone().filter(|name| !name.is_empty())?;
        Some(Self { name, ..Self::default() })
    }
}

/// What is known of a name.
#[derive(Debug)]
struct RestartCount {
    restarts: u64,
    /// The life that was counted last.
    life: u64,
    /// When that ended; `None` while it goes on.
    ended: Option<Steady>,
}

/// The restarts of all names.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    titles: BTreeMap<Title, RestartCount>,
}

impl Restarts {
    /// A life of this container is known, or known better.
    pub(super) fn seen(&mut self, identity: &Identity, life: u64) {
        let Some(title) = Title::of(identity) else { return };
        let by_runtime = identity.labels.get(BY_RUNTIME).and_then(|count| count.parse().ok()).unwrap_or(0);
        match self.titles.get_mut(&title) {
            None => {
                self.make_room();
                self.titles.insert(title, RestartCount { restarts: by_runtime, life, ended: None });
            }
            Some(count) => {
                if life > count.life {
                    *count = RestartCount { restarts: count.restarts + 1, life, ended: None };
                }
                count.restarts = count.restarts.max(by_runtime);
            }
        }
    }

    /// A life ended.
    pub(super) fn ended(&mut self, identity: &Identity, life: u64, now: Steady) {
        if let Some(count) = Title::of(identity).and_then(|title| self.titles.get_mut(&title))
            && count.life == life
        {
            count.ended = Some(now);
        }
    }

    /// Forgets the name that ended first, if there is no room for another one.
    fn make_room(&mut self) {
        if self.titles.len() < MAX_TITLES {
            return;
        }
        Bound::RestartNames.exceeded();
        let ended = self.titles.iter().filter_map(|(title, count)| Some((count.ended?, title)));
        let oldest = ended.min().map(|(_, title)| title);
        // While all go on, it is any of them.
        if let Some(title) = oldest.or_else(|| self.titles.keys().next()).cloned() {
            self.titles.remove(&title);
        }
    }

    /// Those that go on, or ended at this time or later.
    pub(super) fn since(&self, oldest: Steady) -> Vec<(Title, u64)> {
        let reported = self.titles.iter().filter(|(_, count)| count.ended.is_none_or(|ended| ended >= oldest));
        reported.map(|(title, count)| (title.clone(), count.restarts)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sample::identity::Runtime;
    use crate::steady::Clock;
    use crate::units::WallTime;

    fn named(name: &str, by_runtime: Option<u64>) -> Identity {
        let mut identity = Identity::from_path(Runtime::Docker, "0".repeat(64));
        identity.name = Some(name.to_owned());
        identity.labels.extend(by_runtime.map(|count| (BY_RUNTIME.to_owned(), count.to_string())));
        identity
    }

    /// Points in time by their seconds, from one look at the clock.
    fn times() -> impl Fn(u64) -> Steady + Copy {
        const LAST: u64 = 100_000;
        let last = Clock::default().steady(WallTime(LAST * 1_000_000_000));
        move |second| last.back(Duration::from_secs(LAST - second))
    }

    fn counts(restarts: &Restarts, oldest: Steady) -> Vec<(String, u64)> {
        restarts.since(oldest).into_iter().map(|(title, count)| (title.name, count)).collect()
    }

    #[test]
    fn lives_of_one_name_are_one_count() {
        let (mut restarts, at) = (Restarts::default(), times());
        restarts.seen(&named("web", None), 1);
        restarts.seen(&named("web", None), 1);
        assert_eq!(counts(&restarts, at(0)), [("web".to_owned(), 0)]);
        for life in 2..=21 {
            restarts.seen(&named("web", None), life);
        }
        assert_eq!(counts(&restarts, at(0)), [("web".to_owned(), 20)]);
        restarts.ended(&named("web", None), 20, at(5));
        assert_eq!(counts(&restarts, at(9)).len(), 1, "an earlier life's end is not the last one's");
        restarts.ended(&named("web", None), 21, at(5));
        assert_eq!(counts(&restarts, at(5)).len(), 1);
        assert_eq!(counts(&restarts, at(6)), []);
        restarts.seen(&named("web", None), 30);
        assert_eq!(counts(&restarts, at(6)), [("web".to_owned(), 21)], "it goes on");
    }

    #[test]
    fn the_runtimes_own_count_is_no_less() {
        let (mut restarts, at) = (Restarts::default(), times());
        restarts.seen(&named("web", Some(5)), 1);
        restarts.seen(&named("web", Some(6)), 2);
        assert_eq!(counts(&restarts, at(0)), [("web".to_owned(), 6)]);
        restarts.seen(&named("web", Some(0)), 3);
        assert_eq!(counts(&restarts, at(0)), [("web".to_owned(), 7)], "made anew");
    }

    #[test]
    fn names_are_bounded() {
        let (mut restarts, at) = (Restarts::default(), times());
        for life in 0..=MAX_TITLES as u64 {
            let name = named(&format!("n{life:06}"), None);
            restarts.seen(&name, life);
            if life != 3 {
                restarts.ended(&name, life, at(1_000 + life));
            }
        }
        let left = counts(&restarts, at(0));
        assert_eq!(left.len(), MAX_TITLES);
        assert!(!left.iter().any(|(name, _)| name == "n000000"), "the one that ended first is gone");
        assert!(left.iter().any(|(name, _)| name == "n000003"));
    }

    #[test]
    fn in_kubernetes_pod_and_container_are_the_name() {
        let mut identity = named("k8s_web_shop-1_default_uid_7", Some(7));
        for (key, value) in [(POD_NAME, "shop-1"), (POD_NAMESPACE, "default"), (CONTAINER_NAME, "web")] {
            identity.labels.insert(key.to_owned(), value.to_owned());
        }
        let title = Title::of(&identity).unwrap();
        assert_eq!((title.pod.as_str(), title.container.as_str(), title.name.as_str()), ("shop-1", "web", ""));
        identity.labels.insert(CONTAINER_NAME.to_owned(), String::new());
        assert_eq!(Title::of(&identity), None, "the pod's sandbox");
    }
}
