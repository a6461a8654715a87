//! The end of a process, decoded.

use collector_ebpf::{ExitRecord, SIGNAL_BY_KERNEL, SIGNAL_OF_OOM, SIGNAL_SENT, SentSignal};
use std::mem::{offset_of, size_of};

use super::{Comm, DecodeError, field, whole};

/// A process ended whose parent is in another cgroup: a container's first process, or one that was started in the
/// container from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitEvent {
    /// When its last thread exited, in nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// When it was forked, on the same clock.
    pub start_ns: u64,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Process id in its own pid namespace.
    pub namespace_pid: u32,
    /// How many pid namespaces are above its own.
    pub namespace_level: u32,
    /// Process id of its parent, in the initial pid namespace.
    pub parent: u32,
    /// What `wait(2)` returned to the parent.
    pub status: WaitStatus,
    /// Its command name.
    pub comm: Comm,
    /// The hierarchy the memory controller is attached to; 0 is cgroup2.
    pub memory_hierarchy_id: u32,
    /// Where it was.
    pub cgroups: TaskCgroups,
    /// Where its parent is.
    pub parent_cgroups: TaskCgroups,
    /// The signal that ended it; of one that ended by itself the last one that had asked it to, which may have been long
    /// ago. `None` when nobody sent one, or so many signals were sent since that it is forgotten.
    pub signal: Option<SignalEvent>,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskCgroups {
    /// kernfs id in cgroup2 (hierarchy 0).
    pub default: u64,
    /// kernfs id in the memory controller's hierarchy; `None` without that controller.
    pub memory: Option<u64>,
}

/// How a process ended (`wait(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal {
        /// Its number.
        number: u8,
        /// Whether memory was dumped.
        core_dumped: bool,
    },
}

impl WaitStatus {
    /// Takes the kernel's word apart.
    const fn from_raw(raw: u32) -> Self {
        match (raw & 0x7f) as u8 {
            0 => Self::Code((raw >> 8) as u8),
            number => Self::Signal { number, core_dumped: raw & 0x80 != 0 },
        }
    }
}

/// A signal that can end a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalEvent {
    /// When it was sent, in nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// Its number.
    pub number: u8,
    /// On whose account.
    pub origin: SignalOrigin,
    /// The process that was running then: the sender, where a process sent it.
    pub pid: u32,
    /// Its real user id in the initial user namespace.
    pub uid: u32,
    /// Its command name.
    pub comm: Comm,
    /// Where it was.
    pub cgroups: TaskCgroups,
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalOrigin {
    /// A process, by `kill(2)` or its like, or by a write to `cgroup.kill`.
    Process,
    /// The kernel: a fault of the process itself, a limit, the end of its pid namespace.
    Kernel,
    /// The kernel's OOM killer.
    OomKiller,
}

pub(super) fn decode(record: &[u8]) -> Result<ExitEvent, DecodeError> {
    let record = whole(record, size_of::<ExitRecord>())?;
    let word = |at| field(record, at).map(u32::from_ne_bytes);
    let long = |at| field(record, at).map(u64::from_ne_bytes);
    let cgroups = |default, memory| -> Result<TaskCgroups, DecodeError> {
        let memory = long(memory)?;
        Ok(TaskCgroups { default: long(default)?, memory: (memory != 0).then_some(memory) })
    };
    Ok(ExitEvent {
        boot_ns: long(offset_of!(ExitRecord, boot_ns))?,
        start_ns: long(offset_of!(ExitRecord, start_ns))?,
        pid: word(offset_of!(ExitRecord, tgid))?,
        namespace_pid: word(offset_of!(ExitRecord, namespace_tgid))?,
        namespace_level: word(offset_of!(ExitRecord, namespace_level))?,
        parent: word(offset_of!(ExitRecord, parent_tgid))?,
        status: WaitStatus::from_raw(word(offset_of!(ExitRecord, status))?),
        comm: Comm(field(record, offset_of!(ExitRecord, comm))?),
        memory_hierarchy_id: word(offset_of!(ExitRecord, memory_hierarchy_id))?,
        cgroups: cgroups(offset_of!(ExitRecord, default_cgroup), offset_of!(ExitRecord, memory_cgroup))?,
        parent_cgroups: cgroups(
            offset_of!(ExitRecord, parent_default_cgroup),
            offset_of!(ExitRecord, parent_memory_cgroup),
        )?,
        signal: decode_signal(record)?,
    })
}

fn decode_signal(record: &[u8]) -> Result<Option<SignalEvent>, DecodeError> {
    const AT: usize = offset_of!(ExitRecord, sent);
    let word = |at| field(record, AT + at).map(u32::from_ne_bytes);
    let long = |at| field(record, AT + at).map(u64::from_ne_bytes);
    let flags = word(offset_of!(SentSignal, flags))?;
    let memory = long(offset_of!(SentSignal, memory_cgroup))?;
    let origin = match flags {
        _ if flags & SIGNAL_OF_OOM != 0 => SignalOrigin::OomKiller,
        _ if flags & SIGNAL_BY_KERNEL != 0 => SignalOrigin::Kernel,
        _ => SignalOrigin::Process,
    };
    let signal = SignalEvent {
        boot_ns: long(offset_of!(SentSignal, boot_ns))?,
        number: word(offset_of!(SentSignal, signal))? as u8,
        origin,
        pid: word(offset_of!(SentSignal, tgid))?,
        uid: word(offset_of!(SentSignal, uid))?,
        comm: Comm(field(record, AT + offset_of!(SentSignal, comm))?),
        cgroups: TaskCgroups {
            default: long(offset_of!(SentSignal, default_cgroup))?,
            memory: (memory != 0).then_some(memory),
        },
    };
    // An entry of an earlier process with the same id is older than this one.
    let start_ns = u64::from_ne_bytes(field(record, offset_of!(ExitRecord, start_ns))?);
    Ok((flags & SIGNAL_SENT != 0 && signal.boot_ns >= start_ns).then_some(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(words: &[(usize, u32)], longs: &[(usize, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<ExitRecord>()];
        for &(at, value) in words {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        for &(at, value) in longs {
            bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn the_status_is_that_of_wait() {
        assert_eq!(WaitStatus::from_raw(0), WaitStatus::Code(0));
        assert_eq!(WaitStatus::from_raw(3 << 8), WaitStatus::Code(3));
        assert_eq!(WaitStatus::from_raw(9), WaitStatus::Signal { number: 9, core_dumped: false });
        assert_eq!(WaitStatus::from_raw(0x8b), WaitStatus::Signal { number: 11, core_dumped: true });
    }

    #[test]
    fn a_signal_counts_if_it_was_sent_to_this_very_process() {
        let sent = offset_of!(ExitRecord, sent);
        let with = |flags, at| {
            let words = [(24, 42), (32, 9), (36, 1), (40, 1), (sent + 48, 9), (sent + 8, 7), (sent + 56, flags)];
            decode(&record(&words, &[(8, 100), (16, 50), (64, 5), (sent, at)])).unwrap()
        };
        let event = with(SIGNAL_SENT, 60);
        assert_eq!((event.pid, event.namespace_pid, event.namespace_level), (42, 1, 1));
        assert_eq!(event.cgroups, TaskCgroups { default: 5, memory: None });
        let signal = event.signal.unwrap();
        assert_eq!((signal.number, signal.pid, signal.origin), (9, 7, SignalOrigin::Process));
        assert_eq!(with(SIGNAL_SENT, 49).signal, None, "sent to an earlier process of this id");
        assert_eq!(with(0, 60).signal, None);
        let origin = |flags| with(SIGNAL_SENT | flags, 60).signal.unwrap().origin;
        assert_eq!(origin(SIGNAL_BY_KERNEL), SignalOrigin::Kernel);
        assert_eq!(origin(SIGNAL_BY_KERNEL | SIGNAL_OF_OOM), SignalOrigin::OomKiller);
    }
}
