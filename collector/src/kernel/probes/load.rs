//! Loading and attaching the programs. Owns them and their links: dropping [`Probes`] detaches everything.

mod last;

use std::{
    error::Error,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, Map, MapData, MapError, MapType, ProgramArray, RingBuf},
    programs::{ProgramError, ProgramType, RawTracePoint},
    sys::{is_map_supported, is_program_supported},
};
use aya_log::EbpfLogger;
use collector_ebpf::RecordKind;
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CapabilitySet, capabilities},
};

use super::{
    btf::Btf,
    offsets::{KernelTypes, VictimForm},
    reader::{EventReader, ProgramLog},
    support::{
        Capabilities, Capability, Cause, Facility, KernelFacts, Lockdown, MEMLOCK_NEEDED, Plan, Seccomp, TypesError,
        Unavailable, WithoutExits, WithoutLast, decide, exits_possible, refused,
    },
};
use crate::kernel::HostRoots;
pub use last::LastReadings;
pub(super) use last::{LAST_PROGRAM, LAST_TRACEPOINT, countable_cpus};

/// The programs, built by `cargo xtask bpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../collector-ebpf/collector.bpf.o");

/// Each tracepoint, the program for it has the same name. In the order in which they are attached: what events report
/// counts more than what a scan finds, so once a creation is reported, removal and new names must be reported too.
const CGROUP_TRACEPOINTS: [&str; 6] = [
    "cgroup_rmdir",
    "cgroup_release",
    "cgroup_rename",
    "cgroup_notify_populated",
    "cgroup_attach_task",
    "cgroup_mkdir",
];
const OOM_TRACEPOINT: &str = "mark_victim";
/// Those about the end of processes; the program for each has the same name. All others work without them.
pub(super) const EXIT_TRACEPOINTS: [&str; 2] = ["signal_generate", "sched_process_exit"];
/// Entered by tail call from the cgroup programs.
pub(super) const LONG_PATH_PROGRAM: &str = "cgroup_long_path";
/// How the verifier calls the helpers that read kernel memory, when it refuses them: `bpf_probe_read_kernel`, or the older
/// `bpf_probe_read`, which the loader puts in its place where it finds the former missing.
const READING_HELPER: &str = "bpf_probe_read";
/// Map of `aya-log-ebpf`.
const LOG_MAP: &str = "AYA_LOGS";

/// Which log lines of the programs come to `tracing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// None; the verifier drops the code for them.
    #[default]
    Off,
    /// OOM kills.
    Info,
    /// And long paths and first processes.
    Debug,
}

/// How to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Size of the ring buffer: a power of two, at least a page.
    pub ring_buffer_bytes: u32,
    /// The programs' own log lines.
    pub log: LogLevel,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { ring_buffer_bytes: 1 << 20, log: LogLevel::Off }
    }
}

/// The loaded and attached programs.
pub struct Probes {
    programs: Mutex<Programs>,
    facts: KernelFacts,
    counters: CounterReader,
    map_bytes: u64,
    victim: Option<VictimForm>,
    without_exits: Option<WithoutExits>,
}

struct Programs {
    /// Kept for its links.
    ebpf: Ebpf,
    /// Kept open: the kernel empties a program array when its last user descriptor is closed.
    tail_calls: ProgramArray<MapData>,
}

/// Records per kind since loading, as counted in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    produced: [u64; RecordKind::ALL.len()],
    lost: [u64; RecordKind::ALL.len()],
}

impl Counters {
    /// Records made, the lost ones included.
    pub fn produced(&self, kind: RecordKind) -> u64 {
        self.produced[kind as usize]
    }

    /// Records the ring buffer had no room for.
    pub fn lost(&self, kind: RecordKind) -> u64 {
        self.lost[kind as usize]
    }

    /// Lost records that a scan makes up for: those about cgroups and OOM kills.
    pub fn lost_to_scan(&self) -> u64 {
        let is_made_up_for = |kind: &RecordKind| !matches!(kind, RecordKind::Exit | RecordKind::Last);
        RecordKind::ALL.into_iter().filter(is_made_up_for).map(|kind| self.lost(kind)).sum()
    }
}

/// Reads the counters, from any thread; cheap to clone.
#[derive(Clone)]
pub struct CounterReader {
    counts: Arc<Array<MapData, u64>>,
}

impl CounterReader {
    /// The counters now: some sixteen short system calls.
    ///
    /// # Errors
    /// When the kernel refuses to read a map of ours, which it has no reason to.
    pub fn read(&self) -> Result<Counters, MapError> {
        let mut counters = Counters::default();
        let kinds = RecordKind::ALL.len() as u32;
        for kind in RecordKind::ALL {
            let index = kind as u32;
            counters.produced[kind as usize] = self.counts.get(&index, 0)?;
            counters.lost[kind as usize] = self.counts.get(&(kinds + index), 0)?;
        }
        Ok(counters)
    }
}

/// The programs, their events, and the program that reads what cgroups used, or why there is none.
pub type Loaded = (Probes, EventReader, Result<LastReadings, WithoutLast>);

impl Probes {
    /// Finds out what the kernel offers, loads the programs and attaches them. Events are recorded from here on.
    ///
    /// # Errors
    /// With the one reason why there are no kernel events, fit to be shown to an operator. Nothing stays loaded then.
    pub fn load(roots: &HostRoots, options: &ProbeOptions) -> Result<Loaded, Unavailable> {
        let facts = gather(roots);
        let plan = decide(&facts, options.ring_buffer_bytes)?;
        let Opened { mut ebpf, counters, reader, tail_calls, map_bytes } = open(roots, *options, &plan, &facts)?;
        // First of all: the record of what a cgroup used comes before that of its removal.
        let last = LastReadings::load(&mut ebpf, &facts);
        load_programs(&mut ebpf, &plan, &facts)?;
        let without_exits = load_exit_programs(&mut ebpf, &facts).err();
        let victim = plan.victim;
        let programs = Programs { ebpf, tail_calls }.into();
        Ok((Self { programs, facts, counters, map_bytes, victim, without_exits }, reader, last))
    }

    /// Loads the program that finds out paths longer than the tracepoints have, which takes the verifier longer than all
    /// others together. Until then cgroups with such a path are found by scans.
    ///
    /// # Errors
    /// With the reason why they go on being found that way.
    pub fn load_long_path(&self) -> Result<(), Unavailable> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let Programs { ebpf, tail_calls } = &mut *programs;
        load_program(ebpf, LONG_PATH_PROGRAM, &self.facts)?;
        enter_long_path(ebpf, tail_calls, &self.facts)
    }

    /// A handle to the counters for another thread.
    pub fn counter_reader(&self) -> CounterReader {
        self.counters.clone()
    }

    /// Kernel memory of all maps, as the kernel counts it; `None` when it does not say.
    pub fn map_bytes(&self) -> Option<u64> {
        (self.map_bytes != 0).then_some(self.map_bytes)
    }

    /// Why it is not reported how processes end; `None` when it is.
    pub fn without_exits(&self) -> Option<&WithoutExits> {
        self.without_exits.as_ref()
    }

    /// Which form of the OOM tracepoint is attached; `None` when this kernel's is of neither.
    pub fn victim_form(&self) -> Option<VictimForm> {
        self.victim
    }
}

/// Tries out what the decision needs to know.
pub fn gather(roots: &HostRoots) -> KernelFacts {
    let types = fs::read(roots.sys.join("kernel/btf/vmlinux"))
        .map_err(|error| TypesError::Unreadable(errno_of(&error).unwrap_or(Errno::IO)))
        .and_then(|data| Btf::parse(&data).map(|btf| KernelTypes::from_btf(&btf)).map_err(TypesError::Malformed));
    KernelFacts { types, ..gather_rights(roots) }
}

/// The same but for the kernel's types, which are not looked at.
pub(super) fn gather_rights(roots: &HostRoots) -> KernelFacts {
    let btf_path = roots.sys.join("kernel/btf/vmlinux");
    let map = |kind| match is_map_supported(kind) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Errno::INVAL),
        Err(error) => Err(errno_of(&error).unwrap_or(Errno::IO)),
    };
    let programs = match is_program_supported(ProgramType::RawTracePoint) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Errno::INVAL),
        Err(error) => Err(errno_of(&error).unwrap_or(Errno::IO)),
    };
    let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let held = |set| if effective.contains(set) { Capability::Held } else { Capability::Missing };
    KernelFacts {
        types: Err(TypesError::Unreadable(Errno::NOENT)),
        maps: map(MapType::Array),
        ring_buffer: map(MapType::RingBuf),
        programs,
        capabilities: Capabilities {
            bpf: held(CapabilitySet::BPF),
            perfmon: held(CapabilitySet::PERFMON),
            sys_admin: held(CapabilitySet::SYS_ADMIN),
        },
        seccomp: seccomp(&roots.proc),
        lockdown: lockdown(&roots.sys),
        memlock_limit: getrlimit(Resource::Memlock).current,
        page_size: rustix::param::page_size() as u32,
        btf_path,
    }
}

fn seccomp(proc: &Path) -> Seccomp {
    let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
    if mode.is_none_or(|mode| mode == "0") { Seccomp::Off } else { Seccomp::Filter }
}

fn lockdown(sys: &Path) -> Lockdown {
    // The word in brackets is the one in force.
    let modes = fs::read_to_string(sys.join("kernel/security/lockdown")).unwrap_or_default();
    if modes.contains("[confidentiality]") {
        Lockdown::Confidentiality
    } else if modes.contains("[integrity]") {
        Lockdown::Integrity
    } else {
        Lockdown::None
    }
}

fn load_object(plan: &Plan, log: LogLevel, cpus: u32) -> Result<Ebpf, EbpfError> {
    let level: u8 = match log {
        LogLevel::Off => 0,
        LogLevel::Info => aya_log::Level::Info as u8,
        LogLevel::Debug => aya_log::Level::Debug as u8,
    };
    let mut loader = EbpfLoader::new();
    loader
        .override_global("OFFSETS", &plan.offsets, true)
        .override_global("LAST_CPU_COUNT", &cpus, true)
        .override_global(aya_log::LEVEL, &level, true)
        .map_max_entries("EVENTS", plan.ring_buffer_bytes);
    if log == LogLevel::Off {
        // The map is part of the object; unused, it may be as small as the kernel allows.
        loader.map_max_entries(LOG_MAP, rustix::param::page_size() as u32);
    }
    loader.load(OBJECT)
}

/// Before 5.11 maps count as locked memory; newer kernels have no reason to refuse a map for it, so it gets here only
/// after such a refusal. Whether the limit could be raised.
pub(super) fn raise_memlock() -> bool {
    let limit = getrlimit(Resource::Memlock);
    if limit.current.is_none_or(|bytes| bytes >= MEMLOCK_NEEDED) {
        return false;
    }
    let raised = [Rlimit { current: None, maximum: None }, Rlimit { current: limit.maximum, maximum: limit.maximum }];
    raised.into_iter().any(|limit| setrlimit(Resource::Memlock, limit).is_ok())
}

/// The object with its maps made and its reader at work; no program is loaded yet.
pub(super) struct Opened {
    pub(super) ebpf: Ebpf,
    pub(super) counters: CounterReader,
    pub(super) reader: EventReader,
    pub(super) tail_calls: ProgramArray<MapData>,
    pub(super) map_bytes: u64,
}

/// Everything up to the loading of programs.
pub(super) fn open(
    roots: &HostRoots,
    options: ProbeOptions,
    plan: &Plan,
    facts: &KernelFacts,
) -> Result<Opened, Unavailable> {
    let cpus = countable_cpus(roots);
    let mut ebpf = match load_object(plan, options.log, cpus) {
        Err(error) if errno_of(&error) == Some(Errno::PERM) && raise_memlock() => {
            load_object(plan, options.log, cpus).map_err(|error| object_failed(&error, facts))?
        }
        outcome => outcome.map_err(|error| object_failed(&error, facts))?,
    };
    let map_bytes = map_bytes(&ebpf, &roots.proc);
    let counters = CounterReader { counts: Arc::new(take_map(&mut ebpf, "COUNTS")?) };
    let ring: RingBuf<MapData> = take_map(&mut ebpf, "EVENTS")?;
    let log = match options.log {
        LogLevel::Off => None,
        LogLevel::Info | LogLevel::Debug => Some(program_log(&mut ebpf)?),
    };
    let reader = EventReader::new(ring, plan.ring_buffer_bytes, log).map_err(|error| reader_failed(&error))?;
    let tail_calls = take_map(&mut ebpf, "LONG_PATH")?;
    Ok(Opened { ebpf, counters, reader, tail_calls, map_bytes })
}

/// The program for this form of the OOM tracepoint.
pub(super) fn victim_program(form: VictimForm) -> &'static str {
    match form {
        VictimForm::Pid => "mark_victim_pid",
        VictimForm::Task => "mark_victim_task",
    }
}

/// The programs that are attached, each with its tracepoint, in the order in which that is done.
pub(super) fn attached_programs(victim: Option<VictimForm>) -> impl Iterator<Item = (&'static str, &'static str)> {
    let oom = victim.map(|form| (victim_program(form), OOM_TRACEPOINT));
    CGROUP_TRACEPOINTS.map(|name| (name, name)).into_iter().chain(oom)
}

/// Loads and attaches those that are needed at once.
fn load_programs(ebpf: &mut Ebpf, plan: &Plan, facts: &KernelFacts) -> Result<(), Unavailable> {
    for (name, tracepoint) in attached_programs(plan.victim) {
        load_program(ebpf, name, facts)?;
        attach_program(ebpf, name, tracepoint, facts)?;
    }
    Ok(())
}

/// Loads and attaches those about the end of processes.
fn load_exit_programs(ebpf: &mut Ebpf, facts: &KernelFacts) -> Result<(), WithoutExits> {
    exits_possible(facts)?;
    for tracepoint in EXIT_TRACEPOINTS {
        load_program(ebpf, tracepoint, facts).map_err(WithoutExits)?;
        attach_program(ebpf, tracepoint, tracepoint, facts).map_err(WithoutExits)?;
    }
    Ok(())
}

/// Has the kernel verify and translate one program.
pub(super) fn load_program<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
    facts: &KernelFacts,
) -> Result<&'a mut RawTracePoint, Unavailable> {
    let program = program(ebpf, name)?;
    program.load().map_err(|error| program_failed(Facility::Program, &error, facts))?;
    Ok(program)
}

/// Attaches a program that is loaded.
pub(super) fn attach_program(
    ebpf: &mut Ebpf,
    name: &str,
    tracepoint: &'static str,
    facts: &KernelFacts,
) -> Result<(), Unavailable> {
    let attached = program(ebpf, name)?.attach(tracepoint);
    attached.map(drop).map_err(|error| program_failed(Facility::Tracepoint(tracepoint), &error, facts))
}

/// Makes the loaded program for long paths the one that the others continue with.
pub(super) fn enter_long_path(
    ebpf: &mut Ebpf,
    tail_calls: &mut ProgramArray<MapData>,
    facts: &KernelFacts,
) -> Result<(), Unavailable> {
    let refused = |error: &ProgramError| program_failed(Facility::Program, error, facts);
    let program = program(ebpf, LONG_PATH_PROGRAM)?.fd().map_err(|error| refused(&error))?;
    tail_calls.set(0, program, 0).map_err(|error| refused(&ProgramError::MapError(error)))
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut RawTracePoint, Unavailable> {
    let program = ebpf.program_mut(name).ok_or_else(|| broken(&format!("no program {name}")))?;
    program.try_into().map_err(|error: ProgramError| broken(&error))
}

pub(super) fn take_map<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, Unavailable> {
    let map = ebpf.take_map(name).ok_or_else(|| broken(&format!("no map {name}")))?;
    map.try_into().map_err(|error: MapError| match errno_of(&error) {
        // Mapping a ring buffer into memory is the one step here that asks the kernel.
        Some(errno) => Unavailable { facility: Facility::Reader, errno: Some(errno), cause: Cause::Resources },
        None => broken(&error),
    })
}

fn program_log(ebpf: &mut Ebpf) -> Result<ProgramLog, Unavailable> {
    let mut logger = EbpfLogger::init(ebpf).map_err(|error| broken(&error))?;
    let descriptor = logger.as_fd().try_clone_to_owned().map_err(|error| reader_failed(&error))?;
    Ok(ProgramLog { descriptor, flush: Box::new(move || logger.flush()) })
}

/// The memory of all maps, from `memlock` of `/proc/self/fdinfo`; 0 when it is not there.
pub(super) fn map_bytes(ebpf: &Ebpf, proc: &Path) -> u64 {
    let counted = |map: &MapData| {
        let info = fs::read_to_string(proc.join(format!("self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))).ok()?;
        info.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse::<u64>().ok()
    };
    let sizes = ebpf.maps().filter_map(|(_, map)| match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::ProgramArray(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data) => counted(data),
        // Kernels from 5.11 to 6.3 count nothing for a ring buffer.
        Map::RingBuf(data) => counted(data).max(data.info().ok().map(|info| u64::from(info.max_entries()))),
        // The objects have no others.
        _ => None,
    });
    sizes.sum()
}

pub(super) fn object_failed(error: &EbpfError, facts: &KernelFacts) -> Unavailable {
    match errno_of(error) {
        Some(errno) => refused(Facility::Map, errno, facts),
        None => broken(error),
    }
}

pub(super) fn program_failed(facility: Facility, error: &ProgramError, facts: &KernelFacts) -> Unavailable {
    let errno = errno_of(error);
    if let ProgramError::LoadError { verifier_log, .. } = error
        && matches!(errno, Some(Errno::INVAL | Errno::ACCESS))
        && facts.lockdown != Lockdown::Confidentiality
    {
        let log = verifier_log.to_string();
        // The reason, and after it figures about the verifier's work.
        let figures = ["processed ", "stack depth ", "verification time "];
        let is_reason = |line: &&str| !line.is_empty() && !figures.iter().any(|figure| line.starts_with(figure));
        let says = log.lines().rev().find(is_reason).unwrap_or_default();
        // Under lockdown the verifier knows no helper that reads kernel memory; it may be the only one to report it,
        // since securityfs is seldom mounted in containers. These programs ask for no helper that a kernel may lack.
        let refuses_reading = |line: &str| {
            line.contains(READING_HELPER) && (line.contains("unknown func") || line.contains("cannot use helper"))
        };
        let is_locked_down = log.lines().any(refuses_reading);
        let cause = if is_locked_down { Cause::LockedDown } else { Cause::Refused(says.into()) };
        return Unavailable { facility, errno, cause };
    }
    errno.map_or_else(|| broken(error), |errno| refused(facility, errno, facts))
}

fn reader_failed(error: &io::Error) -> Unavailable {
    Unavailable { facility: Facility::Reader, errno: errno_of(error), cause: Cause::Resources }
}

pub(super) fn broken(what: &impl ToString) -> Unavailable {
    let text = what.to_string().replace('\n', " ").into_boxed_str();
    Unavailable { facility: Facility::Program, errno: None, cause: Cause::BrokenObject(text) }
}

/// The kernel's errno at the root of an error.
pub(super) fn errno_of(error: &(dyn Error + 'static)) -> Option<Errno> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(Errno::from_io_error) {
            return Some(errno);
        }
        cause = error.source();
    }
    None
}
