//! Finds the cgroup of a container by what people call it: its name, its pod and name, its id, or the cgroup itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::degradations::Degradations;
use crate::kernel::cgroup::{Hierarchies, LONGEST_PATH, scan};
use crate::kernel::process_cgroups::ProcessCgroups;
use crate::runtime::owners::Owners;
use crate::runtime::{CgroupsOf, Runtimes, cgroup_names, channel};
use crate::sample::event::Name;
use crate::sample::identity::{Identity, kubernetes};

/// The longest wait for the container runtimes.
const PATIENCE: Duration = Duration::from_secs(5);
/// The wait for further answers after the last one.
const QUIET: Duration = Duration::from_millis(500);
/// So many digits are taken for the beginning of an id, as `docker ps` prints it.
const ID_DIGITS: usize = 12;
/// How many names an error suggests.
const SUGGESTED: usize = 3;
/// Names less alike than this are not suggested.
const ALIKE: f64 = 0.75;

/// Why there is no such container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Nothing has this name.
    #[error("no container or cgroup is called {given}{}{}", Suggested(nearest), Nameless(*nameless))]
    Unknown {
        /// What was given.
        given: String,
        /// Names like it, the nearest first.
        nearest: Vec<String>,
        /// Containers for which no runtime reported a name.
        nameless: usize,
    },
    /// Several have it.
    #[error("{given} is the name of several containers: {}; give one of these cgroups", cgroups.join(", "))]
    Several {
        /// What was given.
        given: String,
        /// Their cgroups.
        cgroups: Vec<String>,
    },
}

struct Suggested<'a>(&'a [String]);

impl fmt::Display for Suggested<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("; give a container's name, pod/container, an id, or a cgroup path beginning with /"),
            names => write!(f, "; the nearest names are {}", names.join(", ")),
        }
    }
}

struct Nameless(usize);

impl fmt::Display for Nameless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, "; containers without a name: {count}, see `collector doctor`"),
        }
    }
}

/// A container and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedContainer {
    cgroup: Name,
    id: Arc<str>,
    /// Empty where no runtime knows it.
    names: Vec<String>,
}

/// The cgroup that `given` names: a path beginning with `/`, the first 12 or more digits of a container's id, the name
/// that its runtime has for it, `pod/container` or `namespace/pod/container`. The runtimes are asked only for names, and
/// for 5 seconds at most.
///
/// # Errors
/// When nothing or more than one container is called so.
pub fn find(
    given: &OsString,
    hierarchies: &Hierarchies,
    proc: &std::path::Path,
    runtimes: &Runtimes,
) -> Result<Name, FindError> {
    let mut cgroups = BTreeSet::<Name>::new();
    for hierarchy in hierarchies {
        // What could be listed is searched.
        let _ = scan(hierarchy, LONGEST_PATH, |name, _| _ = cgroups.insert(name.into()));
    }
    let text = given.to_string_lossy();
    if text.starts_with('/') {
        let mut path = given.clone().into_vec();
        while path.len() > 1 && path.ends_with(b"/") {
            path.pop();
        }
        if path == b"/" || cgroups.contains(path.as_slice()) {
            return Ok(path.into());
        }
        let paths = cgroups.iter().filter(|name| name.len() > 1).map(|name| String::from_utf8_lossy(name).into_owned());
        return Err(FindError::Unknown {
            given: text.clone().into_owned(),
            nearest: nearest(&text, paths),
            nameless: 0,
        });
    }
    let mut search = Search { cgroups, ..Search::default() };
    for name in &search.cgroups {
        search.owners.begin(name);
    }
    let is_id = given.len() >= ID_DIGITS && given.as_bytes().iter().all(u8::is_ascii_hexdigit);
    if is_id && let Ok(found) = pick(&text, &search.containers()) {
        return Ok(found);
    }
    let look = ProcessCgroups::find(proc, hierarchies);
    let cgroups_of = CgroupsOf::new(look.map(|look| move |pid| look.of(pid)));
    // Without a thread to ask on, what is found has no names.
    if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
        runtime.block_on(search.ask(runtimes, cgroups_of));
        runtime.shutdown_background();
    }
    pick(&text, &search.containers())
}

/// The cgroups there are, and what is known of them.
#[derive(Debug, Default)]
struct Search {
    cgroups: BTreeSet<Name>,
    owners: Owners,
    /// Ids of containers that a runtime knows.
    known: BTreeSet<String>,
}

impl Search {
    /// Asks the runtimes until they know every container, or have nothing more to report.
    async fn ask(&mut self, runtimes: &Runtimes, cgroups_of: CgroupsOf) {
        let (requests, lookup) = channel();
        for name in &self.cgroups {
            requests.begin(name);
        }
        let (sender, mut answers) = mpsc::unbounded_channel();
        let runtimes = Runtimes { storage_every: None, ..runtimes.clone() };
        let found = move |answer| _ = sender.send(answer);
        let mut asking = std::pin::pin!(lookup.run(runtimes, cgroups_of, Degradations::default(), found, drop));
        let end = Instant::now() + PATIENCE;
        let mut quiet = end;
        while self.containers().iter().any(|container| container.names.is_empty()) {
            tokio::select! {
                () = &mut asking => return,
                Some(answer) = answers.recv() => {
                    let id = answer.identity.id.clone();
                    self.owners.reported(&id, answer);
                    self.known.insert(id);
                    quiet = end.min(Instant::now() + QUIET);
                }
                () = sleep_until(quiet) => return,
            }
        }
    }

    fn containers(&self) -> Vec<NamedContainer> {
        let named = |cgroup: &Name| {
            let who = self.owners.who(cgroup)?;
            let by_path = cgroup_names::candidate(cgroup).is_none();
            // Of two managers' containers both may be called the same.
            let id = if by_path { String::from_utf8_lossy(cgroup).into() } else { Arc::clone(&who.id) };
            let identity = who.identity.as_deref().filter(|_| by_path || self.known.contains(&*who.id));
            let names = identity.map(names_of).unwrap_or_default();
            Some(NamedContainer { cgroup: Arc::clone(cgroup), id, names })
        };
        self.cgroups.iter().filter_map(named).collect()
    }
}

/// What people call a container.
fn names_of(identity: &Identity) -> Vec<String> {
    let label = |key: &str| identity.labels.get(key).map(String::as_str);
    let mut names: Vec<String> = identity.name.iter().cloned().collect();
    let pod = (label(kubernetes::POD_NAME), label(kubernetes::CONTAINER_NAME));
    if let (Some(pod), Some(container)) = pod {
        names.push(format!("{pod}/{container}"));
        names.extend(label(kubernetes::POD_NAMESPACE).map(|namespace| format!("{namespace}/{pod}/{container}")));
    }
    if names.is_empty() {
        names.push(identity.id.chars().take(ID_DIGITS).collect());
    }
    names
}

fn pick(given: &str, containers: &[NamedContainer]) -> Result<Name, FindError> {
    let is_id = given.len() >= ID_DIGITS;
    let is_called = |container: &&NamedContainer| {
        container.names.iter().any(|name| name == given) || is_id && container.id.starts_with(given)
    };
    // Two claims to one name are two containers only where the ids differ.
    let called: BTreeMap<&str, &NamedContainer> =
        containers.iter().filter(is_called).map(|container| (&*container.id, container)).collect();
    let mut found = called.into_values();
    match (found.next(), found.next()) {
        (Some(container), None) => Ok(Arc::clone(&container.cgroup)),
        (None, _) => Err(FindError::Unknown {
            given: given.to_owned(),
            nearest: nearest(given, containers.iter().flat_map(|container| &container.names).cloned()),
            nameless: containers.iter().filter(|container| container.names.is_empty()).count(),
        }),
        (Some(first), Some(second)) => Err(FindError::Several {
            given: given.to_owned(),
            cgroups: [first, second]
                .into_iter()
                .chain(found)
                .map(|container| String::from_utf8_lossy(&container.cgroup).into_owned())
                .collect(),
        }),
    }
}

/// The names most like the one given; one that has it as a part is more alike than any other.
fn nearest(given: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let likeness = |name: &str| if name.contains(given) { 1.0 } else { strsim::jaro_winkler(given, name) };
    let mut alike: Vec<_> = names.map(|name| (likeness(&name), name)).filter(|(alike, _)| *alike >= ALIKE).collect();
    alike.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    alike.dedup_by(|one, other| one.1 == other.1);
    alike.into_iter().take(SUGGESTED).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::identity::Runtime;

    fn container(cgroup: &str, id: &str, names: &[&str]) -> NamedContainer {
        let names = names.iter().map(ToString::to_string).collect();
        NamedContainer { cgroup: cgroup.as_bytes().into(), id: id.into(), names }
    }

    fn picked(given: &str, containers: &[NamedContainer]) -> Result<String, String> {
        let found = pick(given, containers).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&found).into_owned())
    }

    #[test]
    fn a_container_is_found_by_name_pod_and_id() {
        let all = [
            container("/docker/a", "0123456789abcdef", &["web"]),
            container("/kubepods/p/b", "fedcba9876543210", &["nginx/app", "default/nginx/app"]),
        ];
        assert_eq!(picked("web", &all), Ok("/docker/a".to_owned()));
        assert_eq!(picked("nginx/app", &all), Ok("/kubepods/p/b".to_owned()));
        assert_eq!(picked("default/nginx/app", &all), Ok("/kubepods/p/b".to_owned()));
        assert_eq!(picked("0123456789ab", &all), Ok("/docker/a".to_owned()));
    }

    #[test]
    fn what_is_not_found_is_named_with_what_is_like_it() {
        let all = [
            container("/docker/a", "1", &["web-frontend"]),
            container("/docker/b", "2", &["web-frontend-2"]),
            container("/docker/c", "3", &["postgres"]),
            container("/docker/d", "4", &[]),
        ];
        let error = picked("web-frontent", &all).unwrap_err();
        assert!(error.contains("called web-frontent; the nearest names are web-frontend, web-frontend-2"), "{error}");
        assert!(error.ends_with("; containers without a name: 1, see `collector doctor`"), "{error}");
        assert!(picked("gres", &all).unwrap_err().contains("postgres"));
        assert!(picked("zzz", &all).unwrap_err().contains("give a container's name, pod/container"));
    }

    #[test]
    fn a_name_of_several_is_refused() {
        let all = [container("/docker/a", "1", &["web"]), container("/machine.slice/b", "2", &["web"])];
        let error = picked("web", &all).unwrap_err();
        assert_eq!(
            error,
            "web is the name of several containers: /docker/a, /machine.slice/b; give one of these cgroups"
        );
    }

    #[test]
    fn names_of_docker_and_of_pods() {
        let id = "0123456789abcdef".repeat(4);
        let docker = Identity { name: Some("web".to_owned()), ..Identity::from_path(Runtime::Docker, id.clone()) };
        assert_eq!(names_of(&docker), ["web"]);
        let mut pod = Identity::from_path(Runtime::Containerd, id.clone());
        for (key, value) in
            [(kubernetes::POD_NAME, "p"), (kubernetes::CONTAINER_NAME, "c"), (kubernetes::POD_NAMESPACE, "n")]
        {
            pod.labels.insert(key.to_owned(), value.to_owned());
        }
        assert_eq!(names_of(&pod), ["p/c", "n/p/c"]);
        assert_eq!(names_of(&Identity::from_path(Runtime::Podman, id)), ["0123456789ab"]);
    }
}
