//! Runtimes that cannot be reached: why, what helps, and whether anybody misses them.
//!
//! One whose socket was named by a flag is missed in any case, one at its default socket while containers of its are
//! seen. A runtime that restarts is not missed at once.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::time::Duration;

use http::StatusCode;
use rustix::io::Errno;
use tokio::time::timeout;

use super::cgroup_names::{self, Place};
use super::client::Client;
use super::endpoint::Endpoint;
use super::error::RuntimeError;
use super::listeners::{Listener, Named, Runtimes};
use crate::degradations::Degradations;
use crate::sample::event::Name;
use crate::sample::identity::Runtime;

/// Attempts that have failed in a row when a runtime counts as away: one that restarts is there again at the second.
const ATTEMPTS: u32 = 2;
/// Longest wait for the facts of a file.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for the first answer of a runtime that is examined.
const EXAMINE: Duration = Duration::from_secs(5);

/// Why a runtime cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is no such file.
    Missing,
    /// A directory is in the place of the socket.
    Directory,
    /// Something else is.
    NotASocket,
    /// The socket may not be used.
    Denied,
    /// Nobody listens.
    Refused,
    /// Somebody listens, and does not answer.
    Silent,
    /// What it says is not understood.
    Nonsense(String),
    /// It speaks another version of its interface.
    Version(String),
    /// Something else.
    Other(String),
}

/// A runtime that cannot be reached, in words.
#[derive(Clone, Copy, Debug)]
pub struct Unreachable<'a> {
    /// Which, and where.
    pub listener: &'a Listener,
    /// Why.
    pub cause: &'a Cause,
}

impl Unreachable<'_> {
    /// What is wrong.
    pub fn found(&self) -> String {
        let Listener { endpoint, runtime, .. } = self.listener;
        match self.cause {
            Cause::Missing => format!("{endpoint} is not there"),
            Cause::Directory => format!(
                "{endpoint} is a directory, which `docker run -v` makes of a socket that is not there when it starts"
            ),
            Cause::NotASocket => format!("{endpoint} is not a socket that connections are made to"),
            Cause::Denied => format!("{endpoint}: permission denied"),
            Cause::Refused => format!("{endpoint}: connection refused, nothing listens there"),
            Cause::Silent => format!("{endpoint} takes connections, but did not answer within 5 seconds"),
            Cause::Nonsense(what) => format!("{endpoint} answers, but not as {} does: {what}", title(*runtime)),
            Cause::Version(what) => format!("{endpoint} speaks another version of {}'s API: {what}", title(*runtime)),
            Cause::Other(what) => format!("{endpoint}: {what}"),
        }
    }

    /// What helps.
    pub fn fix(&self) -> String {
        let (flag, name) = (self.listener.runtime.namespace(), title(self.listener.runtime));
        let unit = if self.listener.runtime == Runtime::Podman { "podman.socket" } else { flag };
        match self.cause {
            Cause::Missing => format!(
                "start it (systemctl enable --now {unit}), mount its socket's directory into the collector's container, \
                 or set --{flag} to where it listens; --{flag}= switches it off"
            ),
            Cause::Directory => format!(
                "remove the directory, start {name}, then start the collector's container again; better mount the \
                 socket's directory than the socket"
            ),
            Cause::NotASocket => format!("set --{flag} to the path of {name}'s socket"),
            Cause::Denied => "run the collector as root or in the group of the socket, with CAP_DAC_OVERRIDE, or let \
                              the security module allow it"
                .to_owned(),
            Cause::Refused => format!(
                "start {name}; if it runs, it has made its socket anew since this one was mounted: mount the socket's \
                 directory instead, and start the collector's container again"
            ),
            Cause::Silent => format!("look at the log of {name} (journalctl -u {unit}), and restart it"),
            Cause::Nonsense(_) => format!("set --{flag} to the socket of {name}, not that of another program"),
            Cause::Version(_) => format!("upgrade {name}: docs/containers.md lists what is needed"),
            Cause::Other(_) => format!("set --{flag} to where {name} listens; --{flag}= switches it off"),
        }
    }
}

/// What is lost without a runtime.
pub const LOST: &str = "names, labels, images and health of its containers, and where their files are";

impl fmt::Display for Unreachable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = title(self.listener.runtime);
        write!(f, "{name} cannot be reached: {}; lost: {LOST}; fix: {}", self.found(), self.fix())
    }
}

/// A runtime's name for people.
pub const fn title(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Docker => "Docker",
        Runtime::Podman => "podman",
        Runtime::Containerd => "containerd",
        Runtime::CriO => "CRI-O",
    }
}

/// The facility that a runtime is.
pub const fn facility(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Docker => "runtime_docker",
        Runtime::Podman => "runtime_podman",
        Runtime::Containerd => "runtime_containerd",
        Runtime::CriO => "runtime_crio",
    }
}

/// The runtime that is missed when nobody knows this container. That of a user is none of the machine's.
pub fn missed(name: &[u8]) -> Option<Runtime> {
    let found = cgroup_names::candidate(name)?;
    match found.place {
        Place::Usual | Place::Custom => {}
        Place::OfUser | Place::CustomOfUser | Place::Doubtful => return None,
    }
    // A pod's container without a prefix is containerd's, unless an older node's Docker knows it.
    found.container.runtime.or_else(|| cgroup_names::pod(name).map(|_| Runtime::Containerd))
}

/// Which runtimes cannot be reached, and which of them are missed.
#[derive(Debug)]
pub(super) struct Reachability {
    slots: Vec<Slot>,
    containers: HashMap<Name, Runtime>,
    degradations: Degradations,
}

#[derive(Debug)]
struct Slot {
    listener: Listener,
    seen: usize,
    failures: u32,
    cause: Option<Cause>,
}

impl Reachability {
    pub(super) fn new(listeners: &[Listener], degradations: Degradations) -> Self {
        let slot = |listener: &Listener| Slot { listener: listener.clone(), seen: 0, failures: 0, cause: None };
        Self { slots: listeners.iter().map(slot).collect(), containers: HashMap::new(), degradations }
    }

    /// A container appeared.
    pub(super) fn begin(&mut self, name: &Name) {
        self.end(name);
        if let Some(runtime) = missed(name) {
            self.count(name, runtime);
        }
    }

    /// A container is gone.
    pub(super) fn end(&mut self, name: &Name) {
        if let Some(runtime) = self.containers.remove(name) {
            for slot in self.slots.iter_mut().filter(|slot| slot.listener.runtime == runtime) {
                slot.seen -= 1;
            }
            self.report();
        }
    }

    /// A runtime knows the container. Where its path left that open, nobody else is missed for it.
    pub(super) fn identified(&mut self, name: &Name, runtime: Runtime) {
        let by_path = cgroup_names::candidate(name).and_then(|found| found.container.runtime);
        if by_path.is_none() && self.containers.get(name).is_some_and(|before| *before != runtime) {
            self.end(name);
            self.count(name, runtime);
        }
    }

    /// A runtime answers.
    pub(super) fn answers(&mut self, slot: usize) {
        (self.slots[slot].failures, self.slots[slot].cause) = (0, None);
        self.report();
    }

    /// A runtime could not be asked.
    pub(super) fn trouble(&mut self, slot: usize, cause: Cause) {
        let slot = &mut self.slots[slot];
        // Silence has lasted for a while when it is noticed.
        slot.failures = if cause == Cause::Silent { ATTEMPTS } else { slot.failures.saturating_add(1) };
        slot.cause = Some(cause);
        self.report();
    }

    fn count(&mut self, name: &Name, runtime: Runtime) {
        self.containers.insert(Name::clone(name), runtime);
        for slot in self.slots.iter_mut().filter(|slot| slot.listener.runtime == runtime) {
            slot.seen += 1;
        }
        self.report();
    }

    fn report(&self) {
        for slot in &self.slots {
            let facility = facility(slot.listener.runtime);
            let is_missed = slot.listener.named == Named::ByFlag || slot.seen > 0;
            match &slot.cause {
                Some(cause) if is_missed && slot.failures >= ATTEMPTS => {
                    self.degradations.set(&facility, &Unreachable { listener: &slot.listener, cause });
                }
                Some(_) if is_missed => {}
                Some(_) | None => self.degradations.clear(&facility),
            }
        }
    }
}

/// Why connecting to a runtime failed.
pub(super) async fn diagnose(endpoint: &Endpoint, error: RuntimeError) -> Cause {
    let kind = match error {
        RuntimeError::Unreachable(_, error) => error,
        RuntimeError::Unspoken(what) | RuntimeError::Refused(StatusCode::BAD_REQUEST, what) => {
            return Cause::Version(what);
        }
        RuntimeError::Refused(status, what) => {
            return Cause::Other(format!("it refuses to report its version: {status} {what}"));
        }
        RuntimeError::TooSlow(_) => return Cause::Silent,
        // No runtime says so much before it is asked for a container.
        error @ (RuntimeError::TooLarge(_) | RuntimeError::Unreadable) => return Cause::Nonsense(error.to_string()),
        // tonic's own words.
        RuntimeError::Transport(what) if what.contains("Timeout expired") => return Cause::Silent,
        RuntimeError::Transport(what) => return Cause::Nonsense(what),
        error @ RuntimeError::NoSuchContainer => return Cause::Other(error.to_string()),
    };
    let Endpoint::Unix(path) = endpoint else {
        return match kind.kind() {
            ErrorKind::ConnectionRefused => Cause::Refused,
            ErrorKind::TimedOut => Cause::Silent,
            _ => Cause::Other(kind.to_string()),
        };
    };
    match kind.kind() {
        ErrorKind::NotFound => Cause::Missing,
        ErrorKind::PermissionDenied => Cause::Denied,
        // Its queue of connections is full: nobody takes them.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Cause::Silent,
        _ => {
            let path = path.clone();
            let look = tokio::task::spawn_blocking(move || std::fs::metadata(path));
            match timeout(LOOK, look).await {
                Ok(Ok(Ok(found))) if found.is_dir() => Cause::Directory,
                Ok(Ok(Ok(found))) if !found.file_type().is_socket() => Cause::NotASocket,
                _ if kind.kind() == ErrorKind::ConnectionRefused => Cause::Refused,
                // A socket of another type.
                _ if kind.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => Cause::NotASocket,
                _ => Cause::Other(kind.to_string()),
            }
        }
    }
}

/// Tries a runtime once.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Which, and where.
    pub listener: Listener,
    /// Why it cannot be reached.
    pub outcome: Result<(), Cause>,
}

/// Tries every runtime once; takes a few seconds at most.
pub async fn examine(runtimes: &Runtimes) -> Vec<Examined> {
    let one = |listener: &Listener| {
        let listener = listener.clone();
        async move {
            let connecting = Client::connect(listener.runtime, &listener.endpoint, runtimes);
            let outcome = match timeout(EXAMINE, connecting).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(diagnose(&listener.endpoint, error).await),
                Err(_) => Err(Cause::Silent),
            };
            Examined { listener, outcome }
        }
    };
    futures_util::future::join_all(runtimes.listeners.iter().map(one)).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn listener(runtime: Runtime, path: &std::path::Path, named: Named) -> Listener {
        Listener { runtime, endpoint: Endpoint::Unix(path.display().to_string()), named }
    }

    fn runtimes(listeners: Vec<Listener>) -> Runtimes {
        Runtimes {
            listeners,
            docker_tls: None,
            containerd_namespaces: Vec::new(),
            environment: Arc::default(),
            storage_every: None,
        }
    }

    #[tokio::test]
    async fn what_is_in_the_place_of_a_socket() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("directory")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        drop(UnixListener::bind(at("stale")).unwrap());
        let _datagram = UnixDatagram::bind(at("datagram")).unwrap();
        let nonsense = tokio::net::UnixListener::bind(at("nonsense")).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = nonsense.accept().await {
                let _ = stream.writable().await;
                let _ = stream.try_write(b"SSH-2.0-x\r\n");
            }
        });
        let _hangs = UnixListener::bind(at("hangs")).unwrap();
        for runtime in [Runtime::Docker, Runtime::Podman, Runtime::Containerd, Runtime::CriO] {
            let names = ["missing", "directory", "file", "stale", "datagram", "hangs", "nonsense"];
            let all = names.map(|name| listener(runtime, &at(name), Named::ByFlag)).to_vec();
            let found = examine(&runtimes(all)).await;
            let mut causes = found.into_iter().map(|examined| examined.outcome.unwrap_err());
            let expected =
                [Cause::Missing, Cause::Directory, Cause::NotASocket, Cause::Refused, Cause::NotASocket, Cause::Silent];
            for (name, expected) in names.iter().zip(expected) {
                assert_eq!(causes.next(), Some(expected), "{runtime:?} {name}");
            }
            let last = causes.next();
            assert!(matches!(last, Some(Cause::Nonsense(_))), "{runtime:?}: {last:?}");
        }
        // Root may do everything.
        if !rustix::process::geteuid().is_root() {
            let _socket = UnixListener::bind(at("denied")).unwrap();
            std::fs::set_permissions(at("denied"), std::fs::Permissions::from_mode(0o000)).unwrap();
            let found = examine(&runtimes(vec![listener(Runtime::Docker, &at("denied"), Named::ByFlag)])).await;
            assert_eq!(found[0].outcome, Err(Cause::Denied));
        }
    }

    #[tokio::test]
    async fn what_dockers_api_says_at_first() {
        let directory = tempfile::tempdir().unwrap();
        let of = |answer: &'static str| {
            let path = directory.path().join(answer.len().to_string());
            let server = tokio::net::UnixListener::bind(&path).unwrap();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = server.accept().await {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            let one = runtimes(vec![listener(Runtime::Docker, &path, Named::ByFlag)]);
            async move { examine(&one).await.swap_remove(0).outcome }
        };
        assert_eq!(of("HTTP/1.1 200 OK\r\n\r\n{\"ApiVersion\":\"1.41\"}").await, Ok(()));
        let unreported = Cause::Version("it does not report its version".to_owned());
        assert_eq!(of("HTTP/1.1 200 OK\r\n\r\n{}").await, Err(unreported.clone()));
        assert_eq!(of("HTTP/1.1 404 Not Found\r\n\r\n").await, Err(unreported));
        let too_old = of("HTTP/1.1 400 Bad Request\r\n\r\n{\"message\":\"too old\"}").await;
        assert_eq!(too_old, Err(Cause::Version("too old".to_owned())));
        let broken = of("HTTP/1.1 500 X\r\n\r\nbroken").await;
        assert!(matches!(&broken, Err(Cause::Other(what)) if what.ends_with("broken")), "{broken:?}");
        assert!(matches!(of("HTTP/1.1 200 OK\r\n\r\n<html>").await, Err(Cause::Nonsense(_))));
        let slow = diagnose(&Endpoint::Unix("/x".to_owned()), RuntimeError::TooSlow(LOOK)).await;
        assert_eq!(slow, Cause::Silent);
    }

    #[test]
    fn only_who_is_missed_is_reported() {
        let degradations = Degradations::default();
        let path = std::path::Path::new("/run/x.sock");
        let listeners = [
            listener(Runtime::Docker, path, Named::ByDefault),
            listener(Runtime::Podman, path, Named::ByDefault),
            listener(Runtime::Containerd, path, Named::ByFlag),
        ];
        let mut reachability = Reachability::new(&listeners, degradations.clone());
        for slot in [0, 1, 2, 0, 1] {
            reachability.trouble(slot, Cause::Missing);
        }
        assert_eq!(
            degradations.facilities(),
            Vec::<String>::new(),
            "once is not enough, and nothing of others is seen"
        );
        reachability.trouble(2, Cause::Missing);
        assert_eq!(degradations.facilities(), ["runtime_containerd"]);
        let [docker, of_user]: [Name; 2] =
            [format!("/docker/{ID}"), format!("/user.slice/user-1.slice/user@1.service/a.slice/libpod-{ID}.scope")]
                .map(|name| name.into_bytes().into());
        reachability.begin(&docker);
        reachability.begin(&docker);
        reachability.begin(&of_user);
        assert_eq!(degradations.facilities(), ["runtime_containerd", "runtime_docker"]);
        let reason = degradations.reasons().swap_remove(1);
        assert!(reason.starts_with("Docker cannot be reached: unix:///run/x.sock is not there; lost: "), "{reason}");
        reachability.answers(2);
        assert_eq!(degradations.facilities(), ["runtime_docker"]);
        reachability.trouble(2, Cause::Silent);
        reachability.end(&docker);
        assert_eq!(degradations.facilities(), ["runtime_containerd"], "the last of Docker's is gone");
    }

    #[test]
    fn a_pods_container_is_containerds_unless_docker_knows_it() {
        let degradations = Degradations::default();
        let path = std::path::Path::new("/run/x.sock");
        let mut reachability =
            Reachability::new(&[listener(Runtime::Containerd, path, Named::ByDefault)], degradations.clone());
        let name: Name = format!("/kubepods/pod3f2a8a52-7c1f-4c58-9a54-0123456789ab/{ID}").into_bytes().into();
        reachability.begin(&name);
        reachability.trouble(0, Cause::Denied);
        reachability.trouble(0, Cause::Denied);
        assert_eq!(degradations.facilities(), ["runtime_containerd"]);
        reachability.identified(&name, Runtime::Docker);
        assert_eq!(degradations.facilities(), Vec::<String>::new());
    }
}
