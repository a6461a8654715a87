//! How a container ended: what its process returned to its parent, and who brought that about.

use std::fmt;
use std::sync::Arc;

use super::identity::Runtime;
use super::oom_kill::{Name, OomKill};
use crate::units::{Nanos, WallTime};

/// The end of a container's first process, or of the process that stands for it where no process is the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// When its last thread exited.
    pub at: WallTime,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Command name, at most 15 bytes.
    pub command: Box<[u8]>,
    /// The status that its parent got.
    pub status: Status,
    /// Whether it was the container's first process.
    pub rank: Rank,
    /// How long it ran, from its fork.
    pub lasted: Nanos,
    /// The signal that ended it; of one that ended by itself the last one that had asked it to.
    pub signal: Option<SentSignal>,
    /// What the OOM killer reported, if it did it.
    pub oom: Option<Arc<OomKill>>,
}

/// What a process returned to its parent (`wait(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited by itself, with this code.
    Code(u8),
    /// A signal ended it.
    Signal {
        /// Its number.
        number: u8,
        /// Whether memory was dumped.
        core_dumped: bool,
    },
}

/// What a process was to its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Its first process: process 1 of its pid namespace, the one its runtime names, or the first one in the cgroup.
    First,
    /// Of those started from outside the one that ran longest: nothing shows which was the first.
    Longest,
}

/// A signal, and who sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct SentSignal {
    /// Its number.
    pub number: u8,
    /// How long before the end it was sent.
    pub before: Nanos,
    /// By whom.
    pub sender: Sender,
}

/// Who sent a signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Sender {
    /// The process itself, or the kernel on account of what it did (a fault, `abort(3)`, a limit of its own).
    Itself,
    /// The kernel: the end of the pid namespace, mostly.
    Kernel,
    /// The kernel's OOM killer.
    OomKiller,
    /// Another process.
    Process {
        /// Process id in the initial pid namespace.
        pid: u32,
        /// Command name, at most 15 bytes.
        command: Box<[u8]>,
        /// Real user id in the initial user namespace.
        uid: u32,
        /// The cgroup it was in, if it is known: a container's, where it was in one.
        cgroup: Option<Name>,
        /// The container's own runtime, if it is that; by its command's name, and in no container.
        runtime: Option<RuntimeOrInit>,
    },
}

/// Who keeps a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeOrInit {
    /// A container runtime, or a helper of one.
    Runtime(Option<Runtime>),
    /// systemd.
    Systemd,
}

/// Why a container ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It exited with 0.
    Completed,
    /// It exited with another code.
    Error,
    /// A signal that it brought on itself: a fault, an abort, a limit.
    Crash,
    /// A signal from elsewhere.
    Signal,
    /// The OOM killer.
    Oom,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Completed, Self::Error, Self::Crash, Self::Signal, Self::Oom];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Error => "error",
            Self::Crash => "crash",
            Self::Signal => "signal",
            Self::Oom => "oom",
        }
    }
}

/// Commands that end containers because their user or Kubernetes asks for it; of `containerd-shim-runc-v2` the kernel
/// keeps 15 bytes.
const RUNTIMES: [&[u8]; 9] =
    [b"runc", b"crun", b"youki", b"runsc", b"containerd-shim", b"containerd", b"dockerd", b"podman", b"conmon"];

impl RuntimeOrInit {
    /// Who a command is, outside of containers, to a container of this runtime.
    pub fn of(command: &[u8], pid: u32, runtime: Option<Runtime>) -> Option<Self> {
        match command {
            b"systemd" if pid == 1 => Some(Self::Systemd),
            _ if RUNTIMES.contains(&command) => Some(Self::Runtime(runtime)),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runtime(Some(runtime)) => runtime.namespace(),
            Self::Runtime(None) => "its runtime",
            Self::Systemd => "systemd",
        }
    }
}

/// The names of the signals from 1 on.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// A signal's name as `kill -l` has it; of those without a name the number.
#[derive(Clone, Copy, Debug)]
pub struct SignalName(pub u8);

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::from(self.0).checked_sub(1).and_then(|index| SIGNALS.get(index)) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl Exit {
    /// The exit code as a shell and Docker say it: 128 and the signal's number where a signal ended it.
    pub const fn code(&self) -> i32 {
        match self.status {
            Status::Code(code) => code as i32,
            Status::Signal { number, .. } => 128 + number as i32,
        }
    }

    /// The number of the signal that ended it.
    pub const fn deadly_signal(&self) -> Option<u8> {
        match self.status {
            Status::Code(_) => None,
            Status::Signal { number, .. } => Some(number),
        }
    }

    /// Why, in one word.
    pub fn reason(&self) -> Reason {
        match (self.status, self.signal.as_ref().map(|signal| &signal.sender)) {
            (Status::Code(0), _) => Reason::Completed,
            (Status::Code(_), _) => Reason::Error,
            (Status::Signal { .. }, Some(Sender::OomKiller)) => Reason::Oom,
            // Of a system call that a filter forbids the kernel sends no signal before it ends the process.
            (Status::Signal { .. }, Some(Sender::Itself) | None) => Reason::Crash,
            (Status::Signal { .. }, Some(Sender::Kernel | Sender::Process { .. })) => Reason::Signal,
        }
    }

    /// Bytes that it takes.
    pub fn memory(&self) -> usize {
        let sender = self.signal.as_ref().map_or(0, |signal| match &signal.sender {
            Sender::Process { command, cgroup, .. } => command.len() + cgroup.as_ref().map_or(0, |name| name.len()),
            Sender::Itself | Sender::Kernel | Sender::OomKiller => 0,
        });
        let kill = self.oom.as_ref().map_or(0, |kill| kill.memory());
        2 * size_of::<usize>() + size_of::<Self>() + self.command.len() + sender + kill
    }

    /// A line for people: `exit 3`, `killed by SIGKILL from docker`, `OOM-killed at its limit`. `of` is the container.
    pub fn in_words(&self, of: &[u8]) -> String {
        let Status::Signal { number, core_dumped } = self.status else {
            return format!("exit {}{}", self.code(), self.asked(of));
        };
        let dumped = if core_dumped { ", core dumped" } else { "" };
        let name = SignalName(number);
        match self.signal.as_ref().map(|signal| &signal.sender) {
            Some(Sender::OomKiller) => format!("OOM-killed{}", self.limit(of)),
            Some(Sender::Itself) | None => format!("ended by {name}{dumped}"),
            Some(Sender::Kernel) => format!("killed by {name} from the kernel{dumped}"),
            Some(sender @ Sender::Process { .. }) => format!("killed by {name} from {}{dumped}", sender.in_words(of)),
        }
    }

    fn limit(&self, of: &[u8]) -> String {
        match self.oom.as_ref().map(|kill| kill.limit_owner.as_deref()) {
            None => String::new(),
            Some(None) => ": the machine ran out of memory".to_owned(),
            Some(Some(owner)) if owner == of => " at its limit".to_owned(),
            Some(Some(owner)) => format!(" at the limit of {}", String::from_utf8_lossy(owner)),
        }
    }

    /// Who had asked it to end.
    fn asked(&self, of: &[u8]) -> String {
        // What was taken long ago is no reason.
        const LONG: Nanos = Nanos(3_600_000_000_000);
        match &self.signal {
            Some(SentSignal { number, before, sender: sender @ Sender::Process { .. } }) if *before <= LONG => {
                format!(" after {} from {}", SignalName(*number), sender.in_words(of))
            }
            _ => String::new(),
        }
    }
}

impl Sender {
    fn in_words(&self, of: &[u8]) -> String {
        match self {
            Self::Itself => "itself".to_owned(),
            Self::Kernel => "the kernel".to_owned(),
            Self::OomKiller => "the OOM killer".to_owned(),
            Self::Process { runtime: Some(runtime), .. } => runtime.name().to_owned(),
            Self::Process { pid, command, cgroup, .. } => {
                let command = String::from_utf8_lossy(command);
                match cgroup.as_deref() {
                    Some(cgroup) if cgroup == of => format!("{command} ({pid}) in it"),
                    Some(cgroup) if cgroup != b"/" => {
                        format!("{command} ({pid}) in {}", String::from_utf8_lossy(cgroup))
                    }
                    _ => format!("{command} ({pid})"),
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A container's first process, ended so.
    pub(crate) fn exit(status: Status, signal: Option<SentSignal>) -> Exit {
        Exit {
            at: WallTime(1_704_164_645_000_000_000),
            pid: 77,
            command: b"worker".as_slice().into(),
            status,
            rank: Rank::First,
            lasted: Nanos(2_500_000_000),
            signal,
            oom: None,
        }
    }

    /// A SIGKILL from this sender.
    pub(crate) fn killed(sender: Sender) -> Exit {
        let signal = SentSignal { number: 9, before: Nanos(1_500_000), sender };
        exit(Status::Signal { number: 9, core_dumped: false }, Some(signal))
    }

    /// A process that sends signals.
    pub(crate) fn process(command: &[u8], cgroup: Option<&[u8]>, runtime: Option<RuntimeOrInit>) -> Sender {
        Sender::Process { pid: 5, command: command.into(), uid: 0, cgroup: cgroup.map(Name::from), runtime }
    }

    #[track_caller]
    fn check(exit: &Exit, code: i32, reason: Reason, words: &str) {
        assert_eq!((exit.code(), exit.reason(), exit.in_words(b"/docker/a").as_str()), (code, reason, words));
    }

    #[test]
    fn reasons_and_words() {
        check(&exit(Status::Code(0), None), 0, Reason::Completed, "exit 0");
        check(&exit(Status::Code(3), None), 3, Reason::Error, "exit 3");
        let docker = RuntimeOrInit::of(b"runc", 9, Some(Runtime::Docker));
        let term = SentSignal { number: 15, before: Nanos(9), sender: process(b"runc", Some(b"/"), docker) };
        check(&exit(Status::Code(143), Some(term.clone())), 143, Reason::Error, "exit 143 after SIGTERM from docker");
        let long_ago = SentSignal { before: Nanos(4_000_000_000_000), ..term };
        check(&exit(Status::Code(0), Some(long_ago)), 0, Reason::Completed, "exit 0");
        let fault = SentSignal { number: 11, before: Nanos(0), sender: Sender::Itself };
        let dumped = exit(Status::Signal { number: 11, core_dumped: true }, Some(fault));
        check(&dumped, 139, Reason::Crash, "ended by SIGSEGV, core dumped");
        let filter = exit(Status::Signal { number: 31, core_dumped: false }, None);
        check(&filter, 159, Reason::Crash, "ended by SIGSYS");
        check(&killed(process(b"runc", Some(b"/"), docker)), 137, Reason::Signal, "killed by SIGKILL from docker");
        check(
            &killed(process(b"sh", Some(b"/docker/b"), None)),
            137,
            Reason::Signal,
            "killed by SIGKILL from sh (5) in /docker/b",
        );
        check(&killed(process(b"sh", None, None)), 137, Reason::Signal, "killed by SIGKILL from sh (5)");
        check(&killed(Sender::Kernel), 137, Reason::Signal, "killed by SIGKILL from the kernel");
        let realtime = exit(Status::Signal { number: 40, core_dumped: false }, None);
        check(&realtime, 168, Reason::Crash, "ended by signal 40");
    }

    #[test]
    fn whose_limit_it_was() {
        let with = |limit_owner: Option<&[u8]>| {
            let kill = OomKill { limit_owner: limit_owner.map(Name::from), ..OomKill::default() };
            Exit { oom: Some(Arc::new(kill)), ..killed(Sender::OomKiller) }
        };
        check(&killed(Sender::OomKiller), 137, Reason::Oom, "OOM-killed");
        check(&with(Some(b"/docker/a")), 137, Reason::Oom, "OOM-killed at its limit");
        check(&with(Some(b"/docker")), 137, Reason::Oom, "OOM-killed at the limit of /docker");
        check(&with(None), 137, Reason::Oom, "OOM-killed: the machine ran out of memory");
    }
}
