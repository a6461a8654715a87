//! Each thing that can be in the way, and what is said about it.

use collector_ebpf::NO_OFFSETS;

use super::*;

const SIZE: u32 = 1 << 20;
const PATH: &str = "/sys/kernel/btf/vmlinux";

fn types() -> KernelTypes {
    KernelTypes {
        offsets: NO_OFFSETS.map(|_| 8),
        victim: Some(VictimForm::Task),
        map_accounting: MapAccounting::Cgroup,
    }
}

fn capable_host() -> KernelFacts {
    KernelFacts {
        btf_path: PATH.into(),
        types: Ok(types()),
        maps: Ok(()),
        ring_buffer: Ok(()),
        programs: Ok(()),
        capabilities: Capabilities { bpf: Capability::Held, perfmon: Capability::Held, sys_admin: Capability::Missing },
        seccomp: Seccomp::Off,
        lockdown: Lockdown::None,
        memlock_limit: Some(8 << 20),
        page_size: 4096,
    }
}

#[test]
fn a_capable_host_gets_everything() {
    let plan = decide(&capable_host(), SIZE).unwrap();
    assert_eq!(plan.victim, Some(VictimForm::Task));
    assert_eq!(plan.ring_buffer_bytes, SIZE);
}

#[test]
fn a_kernel_without_the_tracepoint_still_gets_the_rest() {
    let facts = KernelFacts { types: Ok(KernelTypes { victim: None, ..types() }), ..capable_host() };
    let plan = decide(&facts, SIZE).unwrap();
    assert_eq!(plan.victim, None);
    let line = Unavailable::without_victim(plan.victim).unwrap().to_string();
    assert!(line.contains("mark_victim") && line.contains("lost:") && line.contains("to fix:"), "{line}");
    assert_eq!(Unavailable::without_victim(Some(VictimForm::Pid)), None);
}

#[track_caller]
fn check(take_away: impl FnOnce(&mut KernelFacts), facility: Facility, errno: Option<Errno>, cause: Cause) {
    let mut facts = capable_host();
    take_away(&mut facts);
    let found = decide(&facts, SIZE).unwrap_err();
    assert_eq!(found, Unavailable { facility, errno, cause });
    let line = found.to_string();
    assert!(!line.contains('\n') && line.contains("lost:") && line.contains("to fix:"), "{line}");
    assert!(line.contains(&facility.to_string()), "{line}");
}

#[test]
fn each_missing_capability_is_named() {
    let perm = Some(Errno::PERM);
    check(
        |facts| facts.types = Err(TypesError::Unreadable(Errno::NOENT)),
        Facility::Btf,
        Some(Errno::NOENT),
        Cause::NoBtfFile(PATH.into()),
    );
    check(
        |facts| facts.types = Err(TypesError::Unreadable(Errno::ACCESS)),
        Facility::Btf,
        Some(Errno::ACCESS),
        Cause::UnreadableBtf(PATH.into()),
    );
    check(
        |facts| facts.types = Err(TypesError::Malformed(BtfError::UnknownKind(30))),
        Facility::Btf,
        None,
        Cause::MalformedBtf(PATH.into(), BtfError::UnknownKind(30)),
    );
    check(
        |facts| {
            let mut types = types();
            types.offsets[Offset::KernfsParent as usize] = ABSENT;
            facts.types = Ok(types);
        },
        Facility::Btf,
        None,
        Cause::MissingField(Offset::KernfsParent),
    );
    check(
        |facts| {
            facts.capabilities.bpf = Capability::Missing;
            facts.maps = Err(Errno::PERM);
        },
        Facility::BpfSyscall,
        perm,
        Cause::MissingCapabilities("CAP_BPF"),
    );
    check(
        |facts| {
            facts.capabilities.perfmon = Capability::Missing;
            facts.programs = Err(Errno::PERM);
        },
        Facility::Program,
        perm,
        Cause::MissingCapabilities("CAP_PERFMON"),
    );
    check(
        |facts| {
            facts.seccomp = Seccomp::Filter;
            facts.maps = Err(Errno::PERM);
        },
        Facility::BpfSyscall,
        perm,
        Cause::SeccompFilter,
    );
    check(|facts| facts.maps = Err(Errno::PERM), Facility::BpfSyscall, perm, Cause::SecurityModule);
    check(
        |facts| {
            facts.lockdown = Lockdown::Confidentiality;
            facts.programs = Err(Errno::PERM);
        },
        Facility::Program,
        perm,
        Cause::LockedDown,
    );
    check(|facts| facts.maps = Err(Errno::NOSYS), Facility::BpfSyscall, Some(Errno::NOSYS), Cause::NotBuiltIn);
    check(|facts| facts.ring_buffer = Err(Errno::INVAL), Facility::RingBuffer, Some(Errno::INVAL), Cause::TooOld);
    check(
        |facts| {
            facts.memlock_limit = Some(64 << 10);
            facts.ring_buffer = Err(Errno::PERM);
            facts.types = Ok(KernelTypes { map_accounting: MapAccounting::LockedMemory, ..types() });
        },
        Facility::RingBuffer,
        perm,
        Cause::MemlockLimit(64 << 10),
    );
    check(
        |facts| {
            facts.memlock_limit = Some(0);
            facts.maps = Err(Errno::PERM);
            facts.types = Ok(KernelTypes { map_accounting: MapAccounting::LockedMemory, ..types() });
        },
        Facility::BpfSyscall,
        perm,
        Cause::MemlockLimit(0),
    );
    check(
        |facts| {
            facts.memlock_limit = Some(0);
            facts.maps = Err(Errno::PERM);
        },
        Facility::BpfSyscall,
        perm,
        Cause::SecurityModule,
    );
    check(|facts| facts.programs = Err(Errno::INVAL), Facility::Program, Some(Errno::INVAL), Cause::NotBuiltIn);
}

#[test]
fn cap_sys_admin_stands_for_both() {
    let capabilities =
        Capabilities { bpf: Capability::Missing, perfmon: Capability::Missing, sys_admin: Capability::Held };
    assert_eq!(capabilities.missing(), None);
}

#[test]
fn ring_buffer_sizes() {
    for (size, fits) in [(0, false), (2048, false), (4096, true), (12288, false), (1 << 16, true), (1 << 31, true)] {
        assert_eq!(decide(&capable_host(), size).is_ok(), fits, "{size}");
    }
}
