//! Kernel events and everything they stand on.

use crate::config::{CountersFrom, KernelEvents};
use crate::doctor::report::Finding;
use crate::kernel::probes::examine::Examination;
use crate::kernel::probes::kind_object::{KindObject, WithoutKind};
use crate::kernel::probes::offsets::{KernelTypes, VictimForm};
use crate::kernel::probes::support::{
    Cause, Facility, Lockdown, MEMLOCK_NEEDED, Seccomp, Unavailable, WithoutExits, no_types, refused,
};
use crate::kernel::survey::Facts;
use crate::kernel::survey::counters::CounterFacts;
use crate::sample::kinds::MetricKind;

use super::Wishes;

const EVENTS: &str = "kernel events";
/// What most troubles of the parts follow from, or rather show in.
pub(super) const WHOLE: &str = "kernel_events";

pub(super) fn judge(facts: &Facts, wishes: &Wishes, findings: &mut Vec<Finding>) {
    let probes = &facts.probes;
    let mut all = vec![whole(probes, wishes), oom_kills(probes), exits(probes), counters(facts, wishes)];
    all.extend(parts(probes));
    all.extend([programs(probes), tracepoints(probes), lockdown(probes), seccomp(probes), memlock(probes)]);
    if wishes.kernel_events == KernelEvents::Scan {
        // What stands in the way of something that was switched off is nothing to mend.
        all = all
            .into_iter()
            .map(|finding| if finding.trouble.is_some() { finding.not_asked_for() } else { finding })
            .collect();
    }
    findings.extend(all);
    findings.push(kind(wishes, KindObject::RunQueue, &facts.run_queue));
    findings.push(kind(wishes, KindObject::NetworkCgroup, &facts.network_cgroup));
    findings.push(kind(wishes, KindObject::BlockLatency, &facts.block_latency));
}

/// Kinds have objects of their own, and do without kernel events.
fn kind(wishes: &Wishes, object: KindObject, found: &Result<(), WithoutKind>) -> Finding {
    let (id, title, kind, works) = match object {
        KindObject::RunQueue => {
            ("run_queue", "waits for a CPU", MetricKind::RunQueue, "sched:sched_switch: the program loads and attaches")
        }
        KindObject::NetworkCgroup => (
            "network_cgroup",
            "network by cgroup",
            MetricKind::NetworkCgroup,
            "the programs load and attach to the root of cgroup2",
        ),
        KindObject::BlockLatency => (
            "block_latency",
            "block latency",
            MetricKind::BlockLatency,
            "block:block_rq_insert, block_rq_issue, block_rq_complete: the programs load and attach",
        ),
    };
    if !wishes.kinds.has(kind) {
        return Finding::off(id, title, format!("switched on by --enable_metrics={}", object.name()));
    }
    match found {
        Ok(()) => Finding::works(id, title, works),
        Err(without) => Finding::works(id, title, without.why.clone()).limited(object.lost(), without.fix),
    }
}

/// A finding about something that failed as the daemon says it.
fn failed(id: &'static str, title: &'static str, failure: &Unavailable) -> Finding {
    Finding::works(id, title, failure.why()).unavailable(failure.lost(), failure.fix())
}

/// A finding about a part: what is lost is what is built on it. It says nothing new when it is for the same reason that
/// there are no kernel events.
fn failed_part(id: &'static str, title: &'static str, failure: &Unavailable, probes: &Examination) -> Finding {
    let finding = Finding::works(id, title, failure.why()).unavailable(EVENTS, failure.fix());
    let is_same = probes.failure.as_ref().is_some_and(|first| first.cause == failure.cause);
    if is_same { finding.because_of(WHOLE) } else { finding }
}

/// A finding about a part that it did not come to.
fn not_tried(id: &'static str, title: &'static str, what: &str, failure: &Unavailable) -> Finding {
    let found = format!("not {what}: {} failed", failure.facility);
    Finding::works(id, title, found).unavailable(EVENTS, failure.fix()).because_of(WHOLE)
}

fn whole(probes: &Examination, wishes: &Wishes) -> Finding {
    let (id, title) = (WHOLE, EVENTS);
    match (&probes.failure, wishes.kernel_events) {
        (_, KernelEvents::Scan) => Finding::off(id, title, "--kernel_events=scan: cgroups are found by scanning"),
        (None, _) => Finding::works(id, title, "ebpf: the programs load and attach"),
        (Some(failure), KernelEvents::Auto) => failed(id, title, failure),
        (Some(failure), KernelEvents::Ebpf) => Finding::works(id, title, failure.why())
            .unavailable("--kernel_events=ebpf: the collector does not start", failure.fix())
            .essential(),
    }
}

/// Without kernel memory the same numbers are read from files: nothing is wrong then.
fn counters(facts: &Facts, wishes: &Wishes) -> Finding {
    let (id, title) = ("kernel_memory", "counters in kernel memory");
    if wishes.counters == CountersFrom::Files {
        return Finding::off(id, title, "--counters=files");
    }
    if facts.probes.failure.is_some() || wishes.kernel_events == KernelEvents::Scan {
        return Finding::off(id, title, "counters are read from files: kernel events do not come from eBPF");
    }
    match &facts.counters {
        Ok(CounterFacts { read, refused }) => {
            let read: Vec<_> = read.iter().map(|family| family.name()).collect();
            let refused = refused.iter().map(|(family, why)| format!("; {} from files: {why}", family.name()));
            Finding::works(id, title, format!("{}{}", read.join(", "), refused.collect::<String>()))
        }
        Err(unavailable) => Finding::off(id, title, format!("counters are read from files: {}", unavailable.why)),
    }
}

fn oom_kills(probes: &Examination) -> Finding {
    let (id, title) = ("oom_kills", "OOM kills");
    let works = |found: &str| Finding::works(id, title, found);
    match (&probes.failure, probes.victim) {
        (Some(failure), _) => works("counters: there are no kernel events")
            .limited("victim, trigger, limit owner and sizes of OOM kills", failure.fix())
            .because_of(WHOLE),
        (None, Some(VictimForm::Task)) => works("kernel events: oom:mark_victim passes the victim's task"),
        (None, Some(VictimForm::Pid)) => works("kernel events: oom:mark_victim passes the victim's pid"),
        (None, None) => match Unavailable::without_victim(None) {
            Some(unknown) => works(&format!("counters: {}", unknown.why())).limited(unknown.lost(), unknown.fix()),
            None => works("counters"),
        },
    }
}

fn exits(probes: &Examination) -> Finding {
    let (id, title) = ("container_exits", "container exits");
    match (&probes.failure, &probes.without_exits) {
        (Some(failure), _) => Finding::works(id, title, "not reported: there are no kernel events")
            .limited(WithoutExits::LOST, failure.fix())
            .because_of(WHOLE),
        (None, Some(without)) => {
            Finding::works(id, title, without.0.why()).limited(WithoutExits::LOST, without.0.fix())
        }
        (None, None) => Finding::works(id, title, "kernel events: sched:sched_process_exit and signal:signal_generate"),
    }
}

/// What was tried before any program was loaded.
fn parts(probes: &Examination) -> Vec<Finding> {
    let facts = &probes.facts;
    let tried = |id, title, facility, outcome: Result<(), _>, found: &str| match outcome {
        Ok(()) => Finding::works(id, title, found),
        Err(errno) => failed_part(id, title, &refused(facility, errno, facts), probes),
    };
    let types = match &facts.types {
        Err(error) => failed_part("btf", "kernel types (BTF)", &no_types(&facts.btf_path, error), probes),
        Ok(types) => fields(types, probes),
    };
    vec![
        types,
        tried("bpf_syscall", "bpf system call", Facility::BpfSyscall, facts.maps, "a map can be made"),
        tried("ring_buffer", "BPF ring buffer", Facility::RingBuffer, facts.ring_buffer, "one can be made"),
        tried("raw_tracepoints", "raw tracepoints", Facility::Program, facts.programs, "an empty program loads"),
    ]
}

/// The fields that the programs read.
fn fields(types: &KernelTypes, probes: &Examination) -> Finding {
    let (id, title) = ("btf", "kernel types (BTF)");
    if let Some(field) = types.missing() {
        let missing = Unavailable { facility: Facility::Btf, errno: None, cause: Cause::MissingField(field) };
        return failed_part(id, title, &missing, probes);
    }
    let path = probes.facts.btf_path.display();
    let missed: Vec<_> = types.missed().map(|field| format!("{field:?}")).collect();
    if missed.is_empty() {
        return Finding::works(id, title, path.to_string());
    }
    Finding::works(id, title, format!("{path} has no field for {}", missed.join(", "))).limited(
        "what the programs read there: the first process of a cgroup, or parts of the report on an OOM kill",
        "report this line and the kernel's version",
    )
}

fn programs(probes: &Examination) -> Finding {
    let (id, title) = ("programs", "eBPF programs");
    let count = probes.programs.len();
    let needed_failure = probes
        .failure
        .as_ref()
        .filter(|failure| probes.programs.iter().any(|program| program.load.as_ref().err() == Some(failure)));
    if let Some(failure) = needed_failure {
        return failed_part(id, title, failure, probes);
    }
    if let (true, Some(failure)) = (probes.programs.is_empty(), &probes.failure) {
        return not_tried(id, title, "loaded", failure);
    }
    // Those that are left are for other kernels.
    let unfit: Vec<_> = probes.programs.iter().filter(|program| program.load.is_err()).collect();
    let found = match unfit.first() {
        None => format!("all {count} load"),
        Some(program) => {
            format!("{} of {count} load; {} does not, and is not needed here", count - unfit.len(), program.name)
        }
    };
    Finding::works(id, title, found)
}

fn tracepoints(probes: &Examination) -> Finding {
    let (id, title) = ("tracepoints", "tracepoints");
    let tried: Vec<_> = probes.programs.iter().filter_map(|program| program.attach.as_ref()).collect();
    if let Some(failure) = tried.iter().find_map(|(_, outcome)| outcome.as_ref().err()) {
        return failed_part(id, title, failure, probes);
    }
    if let (true, Some(failure)) = (tried.is_empty(), &probes.failure) {
        return not_tried(id, title, "attached", failure);
    }
    let names: Vec<_> = tried.iter().map(|(tracepoint, _)| *tracepoint).collect();
    Finding::works(id, title, format!("attached: {}", names.join(", ")))
}

/// A restriction: what it means depends on whether it is what the failure is about.
fn restriction(probes: &Examination, finding: Finding, blames: impl Fn(&Cause) -> bool) -> Finding {
    match &probes.failure {
        Some(failure) if blames(&failure.cause) => finding.unavailable(EVENTS, failure.fix()).because_of(WHOLE),
        _ => finding,
    }
}

fn lockdown(probes: &Examination) -> Finding {
    let found = match probes.facts.lockdown {
        Lockdown::None => "the kernel is not locked down",
        Lockdown::Integrity => "integrity, which allows reading",
        Lockdown::Confidentiality => "confidentiality: no program may read kernel memory",
    };
    restriction(probes, Finding::works("lockdown", "kernel lockdown", found), |cause| *cause == Cause::LockedDown)
}

fn seccomp(probes: &Examination) -> Finding {
    let found = match (probes.facts.seccomp, probes.facts.maps) {
        (Seccomp::Off, _) => "no filter",
        (Seccomp::Filter, Ok(())) => "a filter is in force and lets bpf(2) through",
        (Seccomp::Filter, Err(_)) => "a filter is in force",
    };
    restriction(probes, Finding::works("seccomp", "seccomp", found), |cause| *cause == Cause::SeccompFilter)
}

fn memlock(probes: &Examination) -> Finding {
    let found = match probes.facts.memlock_limit {
        None => "RLIMIT_MEMLOCK is unlimited".to_owned(),
        Some(limit) if limit >= MEMLOCK_NEEDED => format!("RLIMIT_MEMLOCK is {limit} bytes, which suffices"),
        Some(limit) if probes.failure.is_none() => {
            format!("RLIMIT_MEMLOCK is {limit} bytes; this kernel does not count maps in it, or it can be raised")
        }
        Some(limit) => format!("RLIMIT_MEMLOCK is {limit} bytes; kernels before 5.11 count maps in it"),
    };
    let finding = Finding::works("memlock", "locked memory", found);
    restriction(probes, finding, |cause| matches!(cause, Cause::MemlockLimit(_)))
}
