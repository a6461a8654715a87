//! What this kernel and this process' rights allow: facts in, a plan or a reason out. Pure, no aya types, and no look
//! at a version number: what counts is what was tried.

use std::{fmt, path::PathBuf};

use collector_ebpf::{ABSENT, Offset, Offsets};
use rustix::io::Errno;

use super::{
    btf::BtfError,
    offsets::{KernelTypes, MapAccounting, VictimForm},
};

/// Whether the process has a capability in effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// It has.
    Held,
    /// It has not.
    Missing,
}

/// The capabilities that matter for BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `CAP_BPF`, since 5.8.
    pub bpf: Capability,
    /// `CAP_PERFMON`, since 5.8.
    pub perfmon: Capability,
    /// `CAP_SYS_ADMIN`, which stands for both.
    pub sys_admin: Capability,
}

impl Capabilities {
    /// What is missing to load tracing programs, by name.
    fn missing(self) -> Option<&'static str> {
        let Self { bpf, perfmon, sys_admin } = self;
        match (bpf, perfmon, sys_admin) {
            (_, _, Capability::Held) | (Capability::Held, Capability::Held, _) => None,
            (Capability::Held, Capability::Missing, _) => Some("CAP_PERFMON"),
            (Capability::Missing, Capability::Held, _) => Some("CAP_BPF"),
            (Capability::Missing, Capability::Missing, _) => Some("CAP_BPF and CAP_PERFMON"),
        }
    }
}

/// `Seccomp` of `/proc/self/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// No filter.
    Off,
    /// A filter looks at the system calls of this process.
    Filter,
}

/// `/sys/kernel/security/lockdown`, since 5.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Not locked down, or not known.
    None,
    /// The running kernel may not be changed. Loading the programs is still allowed.
    Integrity,
    /// Kernel memory may not be read either, and so no program that does is loaded.
    Confidentiality,
}

/// Why the kernel's types are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypesError {
    /// The file could not be read.
    Unreadable(Errno),
    /// The file is not understood.
    Malformed(BtfError),
}

/// What was found out about kernel and process, each by trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// Where the types were looked for.
    pub btf_path: PathBuf,
    /// The kernel's types.
    pub types: Result<KernelTypes, TypesError>,
    /// Whether a small array map could be made: the `bpf` system call works at all.
    pub maps: Result<(), Errno>,
    /// Whether a ring buffer map could be made, since 5.8.
    pub ring_buffer: Result<(), Errno>,
    /// Whether a raw tracepoint program that does nothing could be loaded.
    pub programs: Result<(), Errno>,
    /// Rights.
    pub capabilities: Capabilities,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Kernel lockdown.
    pub lockdown: Lockdown,
    /// Bytes of locked memory this process may have, `None` for no limit. Kernels before 5.11 count maps in it.
    pub memlock_limit: Option<u64>,
    /// Size of a page.
    pub page_size: u32,
}

/// What to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For the programs.
    pub offsets: Offsets,
    /// Which OOM program to attach, `None` when neither fits.
    pub victim: Option<VictimForm>,
    /// Size of the ring buffer.
    pub ring_buffer_bytes: u32,
}

/// The part that did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facility {
    /// Type information of the running kernel.
    Btf,
    /// The `bpf` system call.
    BpfSyscall,
    /// A ring buffer map.
    RingBuffer,
    /// A map.
    Map,
    /// Loading a program.
    Program,
    /// Attaching to this tracepoint.
    Tracepoint(&'static str),
    /// The daemon's own end: descriptors, memory mappings.
    Reader,
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Btf => "kernel type information (BTF)",
            Self::BpfSyscall => "bpf system call",
            Self::RingBuffer => "BPF ring buffer",
            Self::Map => "BPF map",
            Self::Program => "BPF program",
            Self::Tracepoint(name) => return write!(f, "raw tracepoint {name}"),
            Self::Reader => "ring buffer reader",
        })
    }
}

/// The likely cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is no such file.
    NoBtfFile(PathBuf),
    /// The file is there and cannot be read.
    UnreadableBtf(PathBuf),
    /// The file's content is not understood.
    MalformedBtf(PathBuf, BtfError),
    /// A field that every supported kernel has is not there.
    MissingField(Offset),
    /// The process lacks these capabilities.
    MissingCapabilities(&'static str),
    /// A seccomp filter answers in the kernel's place.
    SeccompFilter,
    /// The kernel is locked down.
    LockedDown,
    /// The kernel counts maps as locked memory, and this is the limit in bytes.
    MemlockLimit(u64),
    /// Not allowed, and none of the usual reasons applies.
    SecurityModule,
    /// The kernel is built without it.
    NotBuiltIn,
    /// The kernel is too old for it.
    TooOld,
    /// The size asked for, which is not a power of two of at least the page size that follows.
    RingBufferSize(u32, u32),
    /// The kernel has no such tracepoint.
    NoTracepoint,
    /// The tracepoint passes neither a task nor a pid, or the types do not show it.
    UnknownForm,
    /// The verifier refused a program; the end of what it said.
    Refused(Box<str>),
    /// The object that was built into this daemon is broken; what the loader says.
    BrokenObject(Box<str>),
    /// Out of memory, descriptors, or something the errno has to explain.
    Resources,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBtfFile(path) => write!(f, "{} does not exist", path.display()),
            Self::UnreadableBtf(path) => write!(f, "{} cannot be read", path.display()),
            Self::MalformedBtf(path, error) => write!(f, "{} is not understood: {error}", path.display()),
            Self::MissingField(field) => write!(f, "this kernel's types have no field for {field:?}"),
            Self::MissingCapabilities(names) => write!(f, "this process lacks {names}"),
            Self::SeccompFilter => f.write_str("a seccomp filter is in force and probably blocks bpf(2)"),
            Self::LockedDown => f.write_str("the kernel is locked down for confidentiality"),
            Self::MemlockLimit(limit) => {
                write!(f, "this kernel counts maps as locked memory, and RLIMIT_MEMLOCK is {limit} bytes")
            }
            Self::SecurityModule => f.write_str("a security module or the container's configuration forbids it"),
            Self::NotBuiltIn => f.write_str("the kernel is built without it"),
            Self::TooOld => f.write_str("the kernel is probably older than 5.8"),
            Self::RingBufferSize(size, page) => {
                write!(f, "{size} bytes is not a power of two of at least one page of {page} bytes")
            }
            Self::NoTracepoint => f.write_str("this kernel has no such tracepoint"),
            Self::UnknownForm => f.write_str("what this kernel's tracepoint passes has no form that is known"),
            Self::Refused(text) => write!(f, "the verifier refused it: {text}"),
            Self::BrokenObject(text) => write!(f, "the built-in object does not load: {text}"),
            Self::Resources => f.write_str("the system is short of memory or descriptors"),
        }
    }
}

/// Why there are no kernel events, or not all of them. Its text is one line that says what failed, why, what is lost, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{effect}: {why}; lost: {lost}; to fix: {fix}",
    effect = self.effect(), why = self.why(), lost = self.lost(), fix = self.fix())]
pub struct Unavailable {
    /// What did not work.
    pub facility: Facility,
    /// What the kernel said, where it said something.
    pub errno: Option<Errno>,
    /// The likely cause.
    pub cause: Cause,
}

impl Unavailable {
    /// What is to be said where the programs are attached, but none of them to the OOM tracepoint.
    pub fn without_victim(form: Option<VictimForm>) -> Option<Self> {
        let facility = Facility::Tracepoint("mark_victim");
        form.is_none().then_some(Self { facility, errno: None, cause: Cause::UnknownForm })
    }

    fn effect(&self) -> &'static str {
        match self.cause {
            Cause::UnknownForm => "kernel events do not report OOM kills",
            _ => "kernel events are off",
        }
    }

    /// What failed and for what likely reason.
    pub fn why(&self) -> String {
        let errno = self.errno.map(|errno| format!(" ({errno})")).unwrap_or_default();
        format!("{} failed{errno}: {}", self.facility, self.cause)
    }

    /// What the collector cannot do for lack of it.
    pub fn lost(&self) -> &'static str {
        match self.cause {
            Cause::UnknownForm => {
                "OOM kills are taken from the kernel's counters, without the victim's pid, trigger and limit owner"
            }
            _ => {
                "cgroups are found by scanning, so those that live shorter than the scan interval are missed, the last \
                 sample of a container may be one interval old, and OOM kills are counted without victim and trigger"
            }
        }
    }

    /// What the operator can do.
    pub fn fix(&self) -> &'static str {
        match &self.cause {
            Cause::NoBtfFile(_) => "mount the host's sysfs, or run a kernel with CONFIG_DEBUG_INFO_BTF=y",
            Cause::UnreadableBtf(_) => "make that file readable to this process",
            Cause::MalformedBtf(..)
            | Cause::MissingField(_)
            | Cause::UnknownForm
            | Cause::Refused(_)
            | Cause::BrokenObject(_) => "report this line and the kernel's version",
            Cause::MissingCapabilities(_) => "run as root, or grant CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)",
            Cause::SeccompFilter => "allow bpf(2) in the seccomp profile, or run without one",
            Cause::LockedDown => "boot without lockdown=confidentiality",
            Cause::MemlockLimit(_) => "raise the limit (LimitMEMLOCK=infinity), or grant CAP_SYS_RESOURCE",
            Cause::SecurityModule => "allow bpf(2) in the security module's policy; in a container, run it privileged",
            Cause::NotBuiltIn => "run a kernel with CONFIG_BPF_SYSCALL=y and CONFIG_BPF_EVENTS=y",
            Cause::TooOld => "run kernel 5.8 or newer",
            Cause::RingBufferSize(..) => "choose another size for the ring buffer",
            Cause::NoTracepoint => "run a kernel with CONFIG_CGROUPS=y and CONFIG_TRACEPOINTS=y",
            Cause::Resources => "look at the machine's memory and this process' descriptor limit",
        }
    }
}

/// Why it is not reported how processes end, although there are kernel events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel events do not report how containers end: {why}; lost: {lost}; to fix: {fix}",
    why = self.0.why(), lost = Self::LOST, fix = self.0.fix())]
pub struct WithoutExits(pub Unavailable);

impl WithoutExits {
    /// What the collector cannot do for lack of it.
    pub const LOST: &str = "exit code, signal and sender of containers that ended";
    /// The part, as a degradation's name.
    pub const FACILITY: &str = "container exits";
}

/// Why the kernel's programs do not read what a cgroup used while it is being removed, although there are kernel events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what a container used is not read as it is removed: {why}; lost: {lost}; to fix: {fix}",
    why = self.0.why(), lost = Self::LOST, fix = self.0.fix())]
pub struct WithoutLast(pub Unavailable);

impl WithoutLast {
    /// What the collector cannot do for lack of it.
    pub const LOST: &str =
        "exact last samples on a machine that is busy: they are as of the last time that files were read";
    /// The part, as a degradation's name.
    pub const FACILITY: &str = "last readings";
}

/// Whether this kernel's types have what the programs about the end of processes read.
///
/// # Errors
/// With the first field that is not there.
pub fn exits_possible(facts: &KernelFacts) -> Result<(), WithoutExits> {
    match facts.types.as_ref().ok().and_then(KernelTypes::missing_for_exits) {
        None => Ok(()),
        Some(field) => {
            Err(WithoutExits(Unavailable { facility: Facility::Btf, errno: None, cause: Cause::MissingField(field) }))
        }
    }
}

/// Decides what to load.
///
/// # Errors
/// The first thing that is in the way, the one an operator has to see to first.
pub fn decide(facts: &KernelFacts, ring_buffer_bytes: u32) -> Result<Plan, Unavailable> {
    let page_size = facts.page_size;
    if !ring_buffer_bytes.is_power_of_two() || ring_buffer_bytes < page_size {
        let cause = Cause::RingBufferSize(ring_buffer_bytes, page_size);
        return Err(Unavailable { facility: Facility::RingBuffer, errno: None, cause });
    }
    let tried = [
        (Facility::BpfSyscall, facts.maps),
        (Facility::RingBuffer, facts.ring_buffer),
        (Facility::Program, facts.programs),
    ];
    for (facility, outcome) in tried {
        outcome.map_err(|errno| refused(facility, errno, facts))?;
    }
    let types = match &facts.types {
        Ok(types) => types,
        Err(error) => return Err(no_types(&facts.btf_path, error)),
    };
    if let Some(field) = types.missing() {
        return Err(Unavailable { facility: Facility::Btf, errno: None, cause: Cause::MissingField(field) });
    }
    let readable = types.offsets[Offset::TaskPid as usize] != ABSENT;
    Ok(Plan { offsets: types.offsets, victim: types.victim.filter(|_| readable), ring_buffer_bytes })
}

/// Names the likely cause of an errno from the `bpf` system call.
pub fn refused(facility: Facility, errno: Errno, facts: &KernelFacts) -> Unavailable {
    let cause = match errno {
        Errno::PERM | Errno::ACCESS => denied(facts),
        Errno::NOSYS => match facts.seccomp {
            Seccomp::Filter => Cause::SeccompFilter,
            Seccomp::Off => Cause::NotBuiltIn,
        },
        Errno::INVAL if facts.lockdown == Lockdown::Confidentiality => Cause::LockedDown,
        Errno::INVAL | Errno::TOOBIG if matches!(facility, Facility::RingBuffer | Facility::Map) => Cause::TooOld,
        Errno::INVAL | Errno::NOENT if matches!(facility, Facility::Tracepoint(_)) => Cause::NoTracepoint,
        Errno::INVAL => Cause::NotBuiltIn,
        _ => Cause::Resources,
    };
    Unavailable { facility, errno: Some(errno), cause }
}

fn denied(facts: &KernelFacts) -> Cause {
    if let Some(names) = facts.capabilities.missing() {
        return Cause::MissingCapabilities(names);
    }
    let counted = match &facts.types {
        Ok(types) => types.map_accounting == MapAccounting::LockedMemory,
        // A small map fits nearly any limit, so the limit is no likely reason as long as none could be made.
        Err(_) => facts.maps.is_ok(),
    };
    match (facts.lockdown, facts.seccomp, facts.memlock_limit) {
        (Lockdown::Confidentiality, _, _) => Cause::LockedDown,
        (_, _, Some(limit)) if counted && limit < MEMLOCK_NEEDED => Cause::MemlockLimit(limit),
        (_, Seccomp::Filter, _) => Cause::SeccompFilter,
        _ => Cause::SecurityModule,
    }
}

/// All maps together stay below this, whatever the number of CPUs.
pub const MEMLOCK_NEEDED: u64 = 4 << 20;

/// Names the cause why the kernel's types are not known.
pub fn no_types(path: &std::path::Path, error: &TypesError) -> Unavailable {
    let path = path.to_path_buf();
    let (errno, cause) = match error {
        TypesError::Unreadable(Errno::NOENT) => (Some(Errno::NOENT), Cause::NoBtfFile(path)),
        TypesError::Unreadable(errno) => (Some(*errno), Cause::UnreadableBtf(path)),
        TypesError::Malformed(error) => (None, Cause::MalformedBtf(path, *error)),
    };
    Unavailable { facility: Facility::Btf, errno, cause }
}

#[cfg(test)]
mod tests;
