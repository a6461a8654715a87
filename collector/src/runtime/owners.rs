//! Which cgroup is a container's, where several have its id in their names. Pure.
//!
//! A container has one cgroup, and only that one gets its name. What the runtime says decides: the cgroup that the
//! container's first process is in, or the one that the runtime asked for. Without its word the likeliest place does,
//! and of two alike the shorter and then the alphabetically first, so that nothing changes with a restart.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::cgroup_names::{self, Nested, Place};
use crate::sample::event::Name;
use crate::sample::identity::{Identity, Manager, Runtime, Who};

/// What a runtime says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeReport {
    /// Who it is.
    pub identity: Identity,
    /// Where its cgroup is.
    pub evidence: Evidence,
}

/// What a runtime says of where a container's cgroup is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The cgroups of its id that its first process is in, or is below of: one, or with cgroup v1 perhaps several.
    /// Empty when there is no process, or none that can be looked at.
    pub cgroups: Vec<Name>,
    /// The cgroups that the runtime would make for it, as seen by the runtime. Empty when it does not say.
    pub expected: Vec<String>,
    /// Whether it has processes.
    pub life: Life,
}

/// Whether a container has processes, by its runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It does.
    Running,
    /// Not yet, or not any more.
    Stopped,
    /// The runtime does not say.
    #[default]
    Unknown,
}

/// A cgroup is somebody else than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: Name,
    /// Who it is now; `None` for nobody.
    pub who: Option<Who>,
}

/// Every cgroup with an id in its name, and whose each is.
#[derive(Debug, Default)]
pub struct Owners {
    by_id: HashMap<Arc<str>, Contest>,
    /// Those whose path names them.
    named: HashMap<Name, Who>,
}

/// The cgroups with one id.
#[derive(Debug, Default)]
struct Contest {
    /// The likeliest first.
    claims: BTreeSet<Claim>,
    reported: Option<RuntimeReport>,
    owner: Option<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    place: Place,
    length: usize,
    name: Name,
    runtime: Option<Runtime>,
}

impl Claim {
    fn of(name: &Name) -> Option<(&str, Self)> {
        let found = cgroup_names::candidate(name)?;
        let runtime = found.container.runtime;
        Some((found.container.id, Self { place: found.place, length: name.len(), name: Arc::clone(name), runtime }))
    }
}

impl Owners {
    /// A cgroup appeared; what that changes, those that are nobody any more first.
    pub fn begin(&mut self, name: &Name) -> Vec<Change> {
        let Some((id, claim)) = Claim::of(name) else { return self.begin_named(name) };
        let id: Arc<str> = id.into();
        let contest = self.by_id.entry(Arc::clone(&id)).or_default();
        contest.claims.insert(claim);
        contest.settle(&id)
    }

    /// A cgroup is gone; what that changes for others.
    pub fn end(&mut self, name: &Name) -> Vec<Change> {
        let Some((id, claim)) = Claim::of(name) else {
            self.named.remove(name);
            return Vec::new();
        };
        let Some(contest) = self.by_id.get_mut(id) else { return Vec::new() };
        contest.claims.remove(&claim);
        if contest.claims.is_empty() {
            self.by_id.remove(id);
            return Vec::new();
        }
        let mut changes = contest.settle(&id.into());
        changes.retain(|change| change.name != *name);
        changes
    }

    /// A runtime reported a container; what that changes.
    pub fn reported(&mut self, id: &str, reported: RuntimeReport) -> Vec<Change> {
        let Some(contest) = self.by_id.get_mut(id) else { return Vec::new() };
        contest.reported = Some(reported);
        contest.settle(&id.into())
    }

    /// What lies on disk about a cgroup whose path names it shows who keeps it; what that changes.
    pub fn recorded(&mut self, name: &Name, manager: Manager) -> Vec<Change> {
        let Some(who) = self.named.get_mut(name) else { return Vec::new() };
        let Some(known) = who.identity.as_ref().filter(|known| known.runtime != manager) else { return Vec::new() };
        who.identity = Some(Arc::new(Identity { runtime: manager, ..Identity::clone(known) }));
        vec![Change { name: Arc::clone(name), who: Some(who.clone()) }]
    }

    fn begin_named(&mut self, name: &Name) -> Vec<Change> {
        let Some(identity) = cgroup_names::named(name) else { return Vec::new() };
        let who = Who { id: identity.id.as_str().into(), identity: Some(Arc::new(identity)) };
        self.named.insert(Arc::clone(name), who.clone());
        vec![Change { name: Arc::clone(name), who: Some(who) }]
    }

    /// Who a cgroup is.
    pub fn who(&self, name: &Name) -> Option<Who> {
        let Some(candidate) = cgroup_names::candidate(name) else { return self.named.get(name).cloned() };
        let owner = self.by_id.get(candidate.container.id)?.owner.as_ref()?;
        owner.who.clone().filter(|_| owner.name == *name)
    }

    /// Whether another cgroup is the container whose id this one has in its name.
    pub fn is_anothers(&self, name: &[u8]) -> bool {
        let Some(found) = cgroup_names::candidate(name) else { return false };
        let owner = self.by_id.get(found.container.id).and_then(|contest| contest.owner.as_ref());
        owner.is_some_and(|owner| *owner.name != *name)
    }
}

impl Contest {
    fn settle(&mut self, id: &Arc<str>) -> Vec<Change> {
        let now = self.decide().map(|claim| Change {
            name: Arc::clone(&claim.name),
            who: Some(Who { id: Arc::clone(id), identity: self.identity(claim).map(Arc::new) }),
        });
        if now == self.owner {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.owner, now.clone());
        let left = before.filter(|before| now.as_ref().is_none_or(|now| now.name != before.name));
        let left = left.map(|before| Change { who: None, ..before });
        left.into_iter().chain(now).collect()
    }

    fn decide(&self) -> Option<&Claim> {
        let likely = || self.claims.iter().filter(|claim| claim.place != Place::Doubtful);
        let Some(Evidence { cgroups, expected, life }) = self.reported.as_ref().map(|reported| &reported.evidence)
        else {
            return likely().next();
        };
        if !cgroups.is_empty() {
            return self.claims.iter().find(|claim| cgroups.contains(&claim.name));
        }
        let is_expected = |claim: &&Claim| expected.iter().any(|path| path.as_bytes() == &*claim.name);
        // An engine in a cgroup namespace of its own does not know what is above it.
        let fits = |claim: &&Claim| expected.iter().any(|path| claim.name.ends_with(path.as_bytes()));
        let exact = self.claims.iter().find(is_expected);
        match life {
            // Without processes it has no other cgroup than what is left of its own.
            Life::Stopped if !expected.is_empty() => exact,
            // Its processes cannot be looked at, and the engine may have a default for the parent that nobody reports.
            Life::Stopped | Life::Running | Life::Unknown => {
                exact.or_else(|| likely().find(fits)).or_else(|| likely().next())
            }
        }
    }

    fn identity(&self, claim: &Claim) -> Option<Identity> {
        let known = match &self.reported {
            Some(reported) => reported.identity.clone(),
            None => Identity::from_path(claim.runtime?, cgroup_names::candidate(&claim.name)?.container.id.to_owned()),
        };
        let nested = if claim.place == Place::Doubtful { Nested::Known } else { Nested::Ignored };
        Some(Identity { pod: cgroup_names::pod_of(&claim.name, nested), ..known })
    }
}

/// Of the cgroups that a process is in, those of this id: it may be in one below.
pub(super) fn own_cgroups(paths: &[Vec<u8>], id: &str) -> Vec<Name> {
    let own = |path: &Vec<u8>| {
        let ends = (1..path.len()).filter(|at| path[*at] == b'/').chain([path.len()]);
        let mut above = ends.map(|end| &path[..end]);
        above.find(|above| cgroup_names::candidate(above).is_some_and(|found| found.container.id == id)).map(Name::from)
    };
    let mut found: Vec<Name> = paths.iter().filter_map(own).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

    fn name(path: &str) -> Name {
        path.replace("OTHER", OTHER).replace("ID", ID).into_bytes().into()
    }

    fn reported(cgroups: &[&str], expected: &[&str], life: Life) -> RuntimeReport {
        let identity = Identity { name: Some("web".into()), ..Identity::from_path(Runtime::Docker, ID.into()) };
        let expected = expected.iter().map(|path| path.replace("OTHER", OTHER).replace("ID", ID)).collect();
        RuntimeReport {
            identity,
            evidence: Evidence { cgroups: cgroups.iter().map(|path| name(path)).collect(), expected, life },
        }
    }

    /// Who owns the id once all of these are there, in whichever order they came, each a claimant by its number.
    fn owner(paths: &[&str], reported: Option<&RuntimeReport>) -> Option<usize> {
        let mut outcomes = BTreeSet::new();
        for turn in 0..paths.len() {
            let mut owners = Owners::default();
            for at in 0..paths.len() {
                owners.begin(&name(paths[(at + turn) % paths.len()]));
                if let Some(reported) = reported.filter(|_| at == turn) {
                    owners.reported(ID, reported.clone());
                }
            }
            let found: Vec<usize> = (0..paths.len()).filter(|at| owners.who(&name(paths[*at])).is_some()).collect();
            assert!(found.len() <= 1, "several of {paths:?} own the id: {found:?}");
            outcomes.insert(found.first().copied());
        }
        assert_eq!(outcomes.len(), 1, "the order of {paths:?} matters: {outcomes:?}");
        outcomes.first().copied().flatten()
    }

    #[test]
    fn without_a_runtime_the_usual_place_wins() {
        for paths in [
            &["/docker/ID", "/kata_overhead/ID"][..],
            &["/docker/ID", "/a/ID", "/a/docker/ID", "/docker/x/ID"],
            &[
                "/system.slice/docker-ID.scope",
                "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope",
            ],
            &["/system.slice/docker-ID.scope", "/system.slice/docker-ID.scope/docker/ID"],
            &["/system.slice/docker-ID.scope", "/a/docker-ID.scope", "/init.scope/docker/ID"],
            &["/my.slice/my-own.slice/docker-ID.scope", "/system.slice/web.service/docker/ID"],
            &["/kubepods/burstable/pod3f2a8a52-7c1f-4c58-9a54-0123456789ab/ID", "/kata_overhead/ID", "/vc/ID"],
            &[
                "/kubepods/pod3f2a8a52-7c1f-4c58-9a54-0123456789ab/ID",
                "/a/kubepods/pod3f2a8a52-7c1f-4c58-9a54-0123456789ab/ID",
            ],
            &[
                "/machine.slice/libpod-ID.scope",
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            ],
            &["/kata_overhead/ID", "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope"],
            &["/user.slice/user-1000.slice/user@1000.service/app.slice/docker-ID.scope", "/user.slice/a/ID"],
            &["/a/ID", "/b/ID"],
            &[
                "/a/ID",
                "/docker/OTHER/ID",
                "/docker/OTHER/docker/ID",
                "/a/x-ID.scope",
                "/machine.slice/crio-conmon-ID.scope",
            ],
        ] {
            assert_eq!(owner(paths, None), Some(0), "{paths:?}");
        }
        for nobodys in [&["/docker/OTHER/ID"][..], &["/a/x-ID.scope"], &["/a/kata_ID"], &["/a/docker-ID"], &["/a/IDab"]]
        {
            assert_eq!(owner(nobodys, None), None, "{nobodys:?}");
        }
    }

    #[test]
    fn the_first_process_reports_which_it_is() {
        let at = |path| reported(&[path], &["/docker/ID"], Life::Running);
        for (paths, path) in [
            (&["/docker/ID", "/kata_overhead/ID"][..], "/docker/ID"),
            (&["/docker/OTHER/ID"], "/docker/OTHER/ID"),
            (&["/custom/ID", "/docker/ID"], "/custom/ID"),
            (&["/a/kata_ID", "/docker/ID"], "/a/kata_ID"),
        ] {
            assert_eq!(owner(paths, Some(&at(path))), Some(0), "{paths:?}");
        }
        assert_eq!(owner(&["/kata_overhead/ID", "/a/docker/ID"], Some(&at("/docker/ID"))), None, "it is gone already");
    }

    #[test]
    fn without_a_process_what_the_runtime_asked_for_does() {
        let expects = |path, life| reported(&[], &[path], life);
        for life in [Life::Running, Life::Stopped, Life::Unknown] {
            assert_eq!(owner(&["/docker/OTHER/ID", "/docker/ID"], Some(&expects("/docker/OTHER/ID", life))), Some(0));
            let both = ["/docker/ID", "/kata_overhead/ID"];
            assert_eq!(owner(&both, Some(&expects("/docker/ID", life))), Some(0));
            let likeliest = (life != Life::Stopped).then_some(0);
            assert_eq!(owner(&["/kata_overhead/ID"], Some(&expects("/docker/ID", life))), likeliest);
            // Docker in Docker: the inner engine is asked, and is right about what it sees.
            assert_eq!(owner(&["/docker/OTHER/docker/ID"], Some(&expects("/docker/ID", life))), None);
        }
        let rootless = ["/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope"];
        assert_eq!(owner(&rootless, Some(&expects("/user.slice/docker-ID.scope", Life::Running))), Some(0));
        assert_eq!(owner(&rootless, Some(&expects("/user.slice/docker-ID.scope", Life::Stopped))), None);
        assert_eq!(owner(&["/a/ID"], Some(&reported(&[], &[], Life::Unknown))), Some(0), "it does not say where");
    }

    #[test]
    fn the_own_cgroup_is_the_outermost_of_its_id() {
        let found = |paths: &[&str]| own_cgroups(&paths.iter().map(|path| name(path).to_vec()).collect::<Vec<_>>(), ID);
        assert_eq!(found(&["/docker/ID/init.scope", "/docker/ID", "/x"]), [name("/docker/ID")]);
        assert_eq!(found(&["/docker/OTHER/ID/docker/ID"]), [name("/docker/OTHER/ID")]);
        assert_eq!(found(&["/", "/docker/OTHER", "/user.slice"]), Vec::<Name>::new());
    }

    #[test]
    fn whoever_gives_way_does_so_first() {
        let mut owners = Owners::default();
        let (fake, real) = (name("/kata_overhead/ID"), name("/docker/ID"));
        assert_eq!(owners.begin(&fake).len(), 1);
        let changes = owners.begin(&real);
        assert_eq!(changes[0], Change { name: Name::clone(&fake), who: None });
        assert_eq!(changes[1].name, real);
        assert!(owners.is_anothers(&fake) && !owners.is_anothers(&real) && !owners.is_anothers(b"/x"));
        let known = owners.reported(ID, reported(&["/docker/ID"], &[], Life::Running));
        let identity = known[0].who.as_ref().and_then(|who| who.identity.clone()).unwrap();
        assert_eq!((known.len(), identity.name.as_deref()), (1, Some("web")));
        assert_eq!(owners.end(&real), [], "the fake does not inherit the name");
        assert_eq!((owners.who(&fake), owners.end(&fake)), (None, Vec::new()));
        assert!(owners.by_id.is_empty());
    }

    #[test]
    fn a_name_in_a_path_is_taken_and_its_record_says_more() {
        let mut owners = Owners::default();
        let (web, other) = (name("/lxc.payload.web"), name("/lxc.monitor.web"));
        assert_eq!((owners.begin(&web).len(), owners.begin(&other).len()), (1, 0));
        let identity = |owners: &Owners| owners.who(&web).and_then(|who| who.identity).unwrap();
        assert_eq!((identity(&owners).runtime, identity(&owners).name.as_deref()), (Manager::Lxc, Some("web")));
        assert_eq!(owners.recorded(&web, Manager::Incus).len(), 1);
        assert_eq!((identity(&owners).runtime, owners.recorded(&web, Manager::Incus).len()), (Manager::Incus, 0));
        assert_eq!((owners.recorded(&other, Manager::Incus), owners.who(&other)), (Vec::new(), None));
        assert_eq!((owners.end(&web), owners.who(&web), owners.named.len()), (Vec::new(), None, 0));
    }

    #[test]
    fn a_nested_container_that_the_runtime_knows_is_in_its_pod() {
        const UID: &str = "3f2a8a52-7c1f-4c58-9a54-0123456789ab";
        let inner = name(&format!("/docker/OTHER/kubelet/kubepods/burstable/pod{UID}/ID"));
        let mut owners = Owners::default();
        assert_eq!(owners.begin(&inner), []);
        let at: &str = str::from_utf8(&inner).unwrap();
        owners.reported(ID, reported(&[at], &[], Life::Running));
        let pod = owners.who(&inner).and_then(|who| who.identity.as_ref()?.pod.clone());
        assert_eq!(pod.map(|pod| pod.uid).as_deref(), Some(UID));
    }
}
