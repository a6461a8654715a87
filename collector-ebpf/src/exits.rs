//! A process ends, and the signals that may have brought that about.
//!
//! Both tracepoints are hot, so most of what passes is let go after a few reads. Of the exits only those count whose
//! parent is in another cgroup: a container's first process has its parent outside (its runtime, or systemd), and so has
//! whatever was started in it from outside; what a container forks itself has not. Of the signals only those count that
//! can end a process, and that are for a process below the root of the hierarchies.

use aya_ebpf::{
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
        generated::bpf_get_current_task,
    },
    macros::{map, raw_tracepoint},
    maps::LruHashMap,
    programs::RawTracePointContext,
};
use collector_ebpf::{
    ExitRecord, Offset, RecordKind, SIGNAL_BY_KERNEL, SIGNAL_OF_OOM, SIGNAL_SENT, SentSignal, SignalKey,
};

use crate::{
    kernel::{Address, offset},
    output,
};

/// Signals that are remembered, the most recent ones. Between the signal and the end of a process there usually are
/// milliseconds; a process may also take a signal and live on.
const REMEMBERED: u32 = 8_192;

const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;
/// The highest signal (`_NSIG`).
const SIGNALS_THERE_ARE: u32 = 64;

/// Bits of signals, the lowest for signal 1, as in a `sigset_t`.
const fn set<const N: usize>(signals: [u32; N]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < N {
        bits |= 1 << (signals[index] - 1);
        index += 1;
    }
    bits
}

/// What does not end a process unless it handles the signal so: SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU,
/// SIGURG, SIGWINCH.
const HARMLESS: u64 = set([17, 18, 19, 20, 21, 22, 23, 28]);
/// What a process usually takes as the wish that it ends, and what it cannot take.
const FINAL: u64 = set([SIGINT, SIGQUIT, SIGKILL, SIGTERM]);

/// `TRACE_SIGNAL_DELIVERED`.
const DELIVERED: i32 = 0;
/// `TRACE_SIGNAL_LOSE_INFO`: delivered, without details for want of memory.
const DELIVERED_BARE: i32 = 4;

/// `SEND_SIG_NOINFO`, in place of details: the running process sent it.
const NO_INFO: u64 = 0;
/// `SEND_SIG_PRIV`, in place of details: the kernel sent it.
const PRIVILEGED: u64 = 1;
const SI_USER: i32 = 0;
const SI_QUEUE: i32 = -1;
const SI_TKILL: i32 = -6;
const SI_KERNEL: i32 = 0x80;

/// `SIGNAL_GROUP_EXIT` of `signal_struct.flags`: `group_exit_code` is set.
const GROUP_EXIT: u32 = 4;

#[map(name = "SIGNALS")]
static SIGNALS: LruHashMap<SignalKey, SentSignal> = LruHashMap::with_max_entries(REMEMBERED, 0);

/// `signal:signal_generate`.
#[raw_tracepoint(tracepoint = "signal_generate")]
fn signal_generate(ctx: RawTracePointContext) -> i32 {
    let _ = remember(&ctx);
    0
}

/// `sched:sched_process_exit`, of each thread.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    let _ = report(&ctx);
    0
}

#[inline(always)]
fn remember(ctx: &RawTracePointContext) -> Option<()> {
    let signal = ctx.arg::<u64>(0) as u32;
    let bit = 1 << (signal.wrapping_sub(1) & (SIGNALS_THERE_ARE - 1));
    if HARMLESS & bit != 0 {
        return None;
    }
    let result = ctx.arg::<u64>(4) as i32;
    // Of a signal that is pending already the first one counts.
    if result != DELIVERED && result != DELIVERED_BARE {
        return None;
    }
    let victim = Address::new(ctx.arg::<u64>(2))?;
    if FINAL & bit == 0 && handler(victim, signal)? != 0 {
        return None;
    }
    if !Cgroups::of(victim)?.are_below_root() {
        return None;
    }
    let info = ctx.arg::<u64>(1);
    let code = match info {
        NO_INFO => SI_USER,
        PRIVILEGED => SI_KERNEL,
        details => Address(details).field(Offset::SiginfoCode)?,
    };
    let by_process = code == SI_USER || code == SI_QUEUE || code == SI_TKILL;
    // SAFETY: the helper has no preconditions.
    let current = Address::new(unsafe { bpf_get_current_task() })?;
    let cgroups = Cgroups::of(current)?;
    let sent = SentSignal {
        // SAFETY: the helper has no preconditions.
        boot_ns: unsafe { bpf_ktime_get_boot_ns() },
        tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
        uid: bpf_get_current_uid_gid() as u32,
        comm: bpf_get_current_comm().ok()?,
        default_cgroup: cgroups.default.cgroup_id()?,
        memory_cgroup: cgroups.memory.and_then(Address::cgroup_id).unwrap_or(0),
        signal,
        code,
        flags: SIGNAL_SENT | if by_process { 0 } else { SIGNAL_BY_KERNEL },
        reserved: 0,
    };
    let _ = SIGNALS.insert(SignalKey { tgid: victim.field(Offset::TaskTgid)?, signal }, sent, 0);
    Some(())
}

/// What the process does about a signal; 0 is `SIG_DFL`.
#[inline(always)]
fn handler(task: Address, signal: u32) -> Option<u64> {
    let first = task.pointer(Offset::TaskSighand)?.at(Offset::SighandHandler)?;
    let before = u64::from(signal.wrapping_sub(1) & (SIGNALS_THERE_ARE - 1));
    Address(first.0 + before * offset(Offset::SighandActionSize)?).read()
}

/// The OOM killer has just killed this process.
#[inline(always)]
pub(crate) fn killed_for_memory(tgid: u32) {
    if let Some(sent) = SIGNALS.get_ptr_mut(SignalKey { tgid, signal: SIGKILL }) {
        // SAFETY: the map has a value there. It may be another process' by now, which was sent a signal in this very
        // moment; a bit too many in a report is all that comes of that.
        unsafe {
            if (*sent).flags & SIGNAL_BY_KERNEL != 0 {
                (*sent).flags |= SIGNAL_OF_OOM;
            }
        }
    }
}

#[inline(always)]
fn report(ctx: &RawTracePointContext) -> Option<()> {
    let task = Address::new(ctx.arg::<u64>(0))?;
    let signals = task.pointer(Offset::TaskSignal)?;
    // The last thread of its process, or one of several that exit in the same instant: the daemon takes the first report.
    if signals.field::<i32>(Offset::SignalLive)? != 0 {
        return None;
    }
    let parent = task.pointer(Offset::TaskRealParent)?;
    let set: u64 = task.field(Offset::TaskCgroups)?;
    if set == parent.field::<u64>(Offset::TaskCgroups)? {
        return None;
    }
    let cgroups = Cgroups::of(task)?;
    if !cgroups.are_below_root() {
        return None;
    }
    let of_parent = Cgroups::of(parent)?;
    let leader = task.pointer(Offset::TaskGroupLeader)?;
    let pid = leader.pointer(Offset::TaskThreadPid)?;
    let level: u32 = pid.field(Offset::PidLevel)?;
    let number = pid.at(Offset::PidNumber)?.0 + u64::from(level) * offset(Offset::PidNumberSize)?;
    let tgid: u32 = leader.field(Offset::TaskTgid)?;
    let status: u32 = if signals.field::<u32>(Offset::SignalFlags)? & GROUP_EXIT != 0 {
        signals.field(Offset::SignalGroupExitCode)?
    } else {
        leader.field(Offset::TaskExitCode)?
    };
    let mut record = ExitRecord {
        kind: RecordKind::Exit as u32,
        memory_hierarchy_id: cgroups.memory.and_then(Address::cgroup_hierarchy).unwrap_or(0),
        // SAFETY: the helper has no preconditions.
        boot_ns: unsafe { bpf_ktime_get_boot_ns() },
        start_ns: leader.field(Offset::TaskStartBoottime)?,
        tgid,
        parent_tgid: parent.field(Offset::TaskTgid)?,
        status,
        namespace_tgid: Address(number).read()?,
        namespace_level: level,
        reserved: 0,
        comm: leader.comm()?,
        default_cgroup: cgroups.default.cgroup_id()?,
        memory_cgroup: cgroups.memory.and_then(Address::cgroup_id).unwrap_or(0),
        parent_default_cgroup: of_parent.default.cgroup_id()?,
        parent_memory_cgroup: of_parent.memory.and_then(Address::cgroup_id).unwrap_or(0),
        sent: NOTHING_SENT,
    };
    let deadly = status & 0x7f;
    if deadly != 0 {
        let _ = find(tgid, deadly, &mut record.sent);
    } else {
        let _ = find(tgid, SIGTERM, &mut record.sent)
            || find(tgid, SIGINT, &mut record.sent)
            || find(tgid, SIGQUIT, &mut record.sent);
    }
    // SAFETY: the record is on the stack, whole and without padding.
    unsafe {
        output::send_with_room(RecordKind::Exit, (&raw mut record).cast(), size_of::<ExitRecord>() as u64);
    }
    Some(())
}

const NOTHING_SENT: SentSignal = SentSignal {
    boot_ns: 0,
    tgid: 0,
    uid: 0,
    comm: [0; 16],
    default_cgroup: 0,
    memory_cgroup: 0,
    signal: 0,
    code: 0,
    flags: 0,
    reserved: 0,
};

#[inline(always)]
fn find(tgid: u32, signal: u32, into: &mut SentSignal) -> bool {
    // SAFETY: the value may be overwritten while it is copied, by another signal to the same process.
    let Some(sent) = (unsafe { SIGNALS.get(SignalKey { tgid, signal }) }) else { return false };
    *into = *sent;
    true
}

/// Where a task is.
struct Cgroups {
    default: Address,
    memory: Option<Address>,
}

impl Cgroups {
    #[inline(always)]
    fn of(task: Address) -> Option<Self> {
        let set = task.pointer(Offset::TaskCgroups)?;
        let memory = set.pointer(Offset::CssSetMemory).and_then(|css| css.pointer(Offset::CssCgroup));
        Some(Self { default: set.pointer(Offset::CssSetDefaultCgroup)?, memory })
    }

    /// Whether it is in a cgroup of its own in either hierarchy.
    #[inline(always)]
    fn are_below_root(&self) -> bool {
        let level = |cgroup: Address| cgroup.field::<u32>(Offset::CgroupLevel).unwrap_or(0);
        level(self.default) > 0 || self.memory.is_some_and(|memory| level(memory) > 0)
    }
}
