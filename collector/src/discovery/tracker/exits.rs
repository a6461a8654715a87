//! How containers end: of the exits that the kernel reports, the one that is the container's.
//!
//! Reported is every process that ends below a parent in another cgroup: a container's first process, but also what a
//! runtime sends ahead of it (`runc:[0:PARENT]`), what is executed in the container later, and what a service runs
//! before and after its main process. Whose parent is in the same container is none of them.
//!
//! - Process 1 of a pid namespace is the container's first process, and so is the one that the runtime names. Its exit is
//!   the container's, and is reported at once. Namespaces that a container's own processes make do not count: their
//!   parent is in the container.
//! - Where nothing of that kind ends (containers in the host's or in their pod's pid namespace, services, cgroups made by
//!   hand), it is not known which process matters until the last one is gone. Then it is the one that ran longest: the
//!   steps before and after it, and what was executed in between, are shorter.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::Tracker;
use crate::kernel::probes::events::exits::{ExitEvent, SignalEvent, SignalOrigin, TaskCgroups, WaitStatus};
use crate::reader::container::Member;
use crate::runtime::cgroup_names;
use crate::sample::event::{Event, EventData, EventKind, Name, OomKill};
use crate::sample::exit::{Exit, Rank, RuntimeOrInit, Sender, SentSignal, Status};
use crate::sample::identity::Identity;
use crate::sampler::engine::Tracked;
use crate::units::Nanos;

/// OOM kills that are remembered until their victim's exit is reported, a moment later.
const KILLS: usize = 256;
/// A kill that is older is another process' of the same id.
const KILL_NS: u64 = 60_000_000_000;
/// What runc's own steps before the container are called.
const RUNC_STEP: &[u8] = b"runc:[";
/// SIGALRM, SIGVTALRM and SIGPROF: timers that a process sets for itself, which run out while any other process runs.
const TIMERS: [u8; 3] = [14, 26, 27];

/// What is known of containers whose last process has not ended yet.
#[derive(Debug, Default)]
pub(super) struct Exits {
    /// At most one entry for each container that is listed.
    pending: HashMap<Name, Pending>,
    kills: VecDeque<(u32, u64, Arc<OomKill>)>,
}

#[derive(Debug, Default)]
struct Pending {
    /// The first process' exit, which was reported: its id and when it was forked. Of a process whose threads exit at the
    /// same instant the kernel may report two.
    reported: Option<(u32, u64)>,
    /// The process that stands for the container unless its first process turns up.
    longest: Option<Exit>,
}

impl Exits {
    /// The OOM killer chose this process.
    pub(super) fn killed(&mut self, pid: u32, boot_ns: u64, kill: &Arc<OomKill>) {
        if self.kills.len() == KILLS {
            self.kills.pop_front();
        }
        self.kills.push_back((pid, boot_ns, Arc::clone(kill)));
    }

    fn kill_of(&self, event: &ExitEvent) -> Option<Arc<OomKill>> {
        let is_it = |(pid, boot_ns, _): &&(u32, u64, _)| {
            *pid == event.pid && event.boot_ns.saturating_sub(*boot_ns) < KILL_NS && *boot_ns >= event.start_ns
        };
        self.kills.iter().rev().find(is_it).map(|(_, _, kill)| Arc::clone(kill))
    }

    /// Nothing more comes of this container.
    pub(super) fn forget(&mut self, name: &[u8]) {
        self.pending.remove(name);
    }
}

impl Tracker {
    /// A process ended.
    pub(super) fn exit(&mut self, event: &ExitEvent) {
        let Some(own) = self.name_of(event.memory_hierarchy_id, event.cgroups) else { return };
        let name = self.container_around(own);
        let parent = self.name_of(event.memory_hierarchy_id, event.parent_cgroups);
        if parent.is_some_and(|parent| is_within(&name, parent)) {
            return;
        }
        let Some(tracked) = self.listed(&name) else { return };
        let identity = tracked.container().identity();
        let is_init = event.namespace_level > 0 && event.namespace_pid == 1;
        let is_named = identity.as_ref().is_some_and(|identity| identity.process == Some(event.pid));
        if is_init || is_named {
            let key = (event.pid, event.start_ns);
            let pending = self.exits.pending.entry(Name::clone(&name)).or_default();
            if pending.reported.replace(key) != Some(key) {
                let exit = self.exit_of(event, Rank::First, identity.as_deref());
                self.publish_exit(&tracked, exit);
            }
        } else if !event.comm.as_bytes().starts_with(RUNC_STEP) {
            let rank = if tracked.first_process() == Some(event.pid) { Rank::First } else { Rank::Longest };
            let exit = self.exit_of(event, rank, identity.as_deref());
            let pending = self.exits.pending.entry(name).or_default();
            if pending.longest.as_ref().is_none_or(|longest| longest.lasted < exit.lasted) {
                pending.longest = Some(exit);
            }
        }
    }

    /// A container's first process came: what ended before it is not its end.
    pub(super) fn exits_begin(&mut self, tracked: &Tracked) {
        self.exits.forget(tracked.container().name());
        tracked.container().set_exit(None);
    }

    /// A container's last process is gone.
    pub(super) fn exits_end(&mut self, tracked: &Tracked) {
        let Some(pending) = self.exits.pending.remove(tracked.container().name()) else { return };
        if let Pending { reported: None, longest: Some(exit) } = pending {
            self.publish_exit(tracked, exit);
        }
    }

    fn publish_exit(&self, tracked: &Tracked, exit: Exit) {
        let container = tracked.container();
        let exit = Arc::new(exit);
        self.engine.metrics().exited(exit.reason());
        container.set_exit(Some(Arc::clone(&exit)));
        self.engine.store().events().publish(Event {
            container: Arc::clone(container.name()),
            at: exit.at,
            kind: EventKind::ContainerExit,
            data: EventData::Exit(exit),
        });
    }

    fn exit_of(&self, event: &ExitEvent, rank: Rank, identity: Option<&Identity>) -> Exit {
        let signal = event.signal.map(|signal| SentSignal {
            number: signal.number,
            before: Nanos(event.boot_ns.saturating_sub(signal.boot_ns)),
            sender: self.sender(event, &signal, identity),
        });
        let is_oom = signal.as_ref().is_some_and(|signal| signal.sender == Sender::OomKiller);
        Exit {
            at: self.clock.wall(event.boot_ns),
            pid: event.pid,
            command: event.comm.as_bytes().into(),
            status: match event.status {
                WaitStatus::Code(code) => Status::Code(code),
                WaitStatus::Signal { number, core_dumped } => Status::Signal { number, core_dumped },
            },
            rank,
            lasted: Nanos(event.boot_ns.saturating_sub(event.start_ns)),
            signal,
            oom: if is_oom { self.exits.kill_of(event) } else { None },
        }
    }

    fn sender(&self, event: &ExitEvent, signal: &SignalEvent, identity: Option<&Identity>) -> Sender {
        match signal.origin {
            SignalOrigin::OomKiller => Sender::OomKiller,
            _ if signal.pid == event.pid => Sender::Itself,
            SignalOrigin::Kernel if TIMERS.contains(&signal.number) => Sender::Itself,
            SignalOrigin::Kernel => Sender::Kernel,
            SignalOrigin::Process => {
                let cgroup = self.name_of(event.memory_hierarchy_id, signal.cgroups);
                let cgroup = cgroup.map(|name| self.container_around(name));
                let is_inside = cgroup.as_ref().is_some_and(|name| self.engine.who(name).is_some());
                let command = signal.comm.as_bytes();
                let runtime =
                    || RuntimeOrInit::of(command, signal.pid, identity.and_then(|identity| identity.runtime.runtime()));
                Sender::Process {
                    pid: signal.pid,
                    command: command.into(),
                    uid: signal.uid,
                    runtime: if is_inside { None } else { runtime() },
                    cgroup,
                }
            }
        }
    }

    /// The name of the cgroup a task is in. On cgroup v1 runtimes put containers into the memory controller's hierarchy in
    /// any case, and seldom into cgroup2 beside it.
    fn name_of(&self, memory_hierarchy: u32, cgroups: TaskCgroups) -> Option<&Name> {
        let on_v1 = cgroups.memory.filter(|_| memory_hierarchy != 0);
        let on_v1 = on_v1.and_then(|id| self.discovery.name(Member { hierarchy: memory_hierarchy, id }));
        let on_v2 = || self.discovery.name(Member { hierarchy: 0, id: cgroups.default });
        on_v1.filter(|name| &***name != b"/").or_else(on_v2).or(on_v1)
    }

    /// The container that a cgroup belongs to; the cgroup itself where it is in none.
    fn container_around(&self, name: &Name) -> Name {
        let is_container = cgroup_names::may_be_container;
        if is_container(name) && self.engine.who(name).is_some() {
            return Name::clone(name);
        }
        let ends = name.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut above = ends.map(|end| &name[..end]).filter(|path| is_container(path)).map(Name::from);
        above.find(|above| self.engine.who(above).is_some()).unwrap_or_else(|| Name::clone(name))
    }
}

/// Whether a cgroup is this one or below it.
fn is_within(above: &[u8], name: &[u8]) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
