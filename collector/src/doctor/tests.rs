//! Reports of machines on which one thing is wrong, in both formats, as files in `golden`. `UPDATE_EXPECT=1` writes
//! them anew.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use expect_test::expect_file;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::report::{Finding, Report, Status, Verdict};
use super::rules::{Wishes, decide};
use super::runtimes::RuntimeFacts;
use super::{json, text};
use crate::config::{CountersFrom, KernelEvents, LoadReading};
use crate::kernel::cgroup::{DetectError, Extent, Mode, Version};
use crate::kernel::namespaces::{CgroupNamespace, Place, ProcfsView, Surroundings};
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::examine::{Examination, Figures, ProgramTrial};
use crate::kernel::probes::offsets::{ABSENT, KernelTypes, MapAccounting, NO_OFFSETS, Offset, VictimForm};
use crate::kernel::probes::support::{
    Capabilities, Capability, Cause, Facility, KernelFacts, Lockdown, Seccomp, TypesError, Unavailable, decide as plan,
};
use crate::kernel::survey::Facts;
use crate::kernel::survey::cgroups::{
    Accounting, CgroupFacts, ControllerState, Denied, HierarchyFacts, ListedController, Swap,
};
use crate::kernel::survey::counters::CounterFacts;
use crate::kernel::survey::port::{Holder, Port, PortFacts};
use crate::kernel::survey::processes::{ProcessFacts, Tally};
use crate::kernel::survey::system::{BuiltIn, Clock, InotifyLimits, Pressure, PressureState};
use crate::runtime::reachability::Examined;
use crate::runtime::{Endpoint, Listener, Named};
use crate::sample::identity::Runtime;
use crate::sample::kinds::{KindSet, MetricKind};

const ALL_V2: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/// A machine with cgroup v2 on which everything works, asked by root.
fn well() -> Facts {
    let held = Capability::Held;
    Facts {
        release: "6.12.1".into(),
        probes: Examination {
            without_exits: None,
            facts: KernelFacts {
                btf_path: "/sys/kernel/btf/vmlinux".into(),
                types: Ok(KernelTypes {
                    offsets: NO_OFFSETS.map(|_| 8),
                    victim: Some(VictimForm::Task),
                    map_accounting: MapAccounting::Cgroup,
                }),
                maps: Ok(()),
                ring_buffer: Ok(()),
                programs: Ok(()),
                capabilities: Capabilities { bpf: held, perfmon: held, sys_admin: held },
                seccomp: Seccomp::Off,
                lockdown: Lockdown::None,
                memlock_limit: Some(8 << 20),
                page_size: 4096,
            },
            programs: Vec::new(),
            victim: None,
            failure: None,
        },
        counters: Ok(CounterFacts {
            read: vec![CounterFamily::Memory, CounterFamily::Bandwidth],
            refused: vec![(CounterFamily::CpuTime, "this kernel does not have it".to_owned())],
        }),
        run_queue: Ok(()),
        network_cgroup: Ok(()),
        block_latency: Ok(()),
        capabilities: CapabilitySet::all(),
        cgroups: Ok(CgroupFacts {
            mode: Mode::V2,
            hierarchies: vec![v2("/sys/fs/cgroup", &ALL_V2)],
            cgroups: 42,
            listed: listed(&ALL_V2, ControllerState::On),
            disabled: Vec::new(),
            denied: Denied { tried: 300, denied: 0, first: None },
            swap: Swap { total: Some(1 << 30), accounting: Accounting::On },
        }),
        processes: ProcessFacts {
            surroundings: Surroundings {
                cgroups: CgroupNamespace::Initial,
                procfs: ProcfsView::Initial,
                place: Place::Machine,
            },
            hidepid: None,
            networks: Tally { allowed: 64, denied: 0 },
            descriptors: Tally { allowed: 64, denied: 0 },
        },
        pressure: Pressure { state: PressureState::On, built_in: BuiltIn::Unknown },
        inotify: InotifyLimits { watches: Some(65_536), instances: Some(128) },
        descriptor_limit: Some(20_000),
        taskstats: Ok(()),
        port: PortFacts { address: "[::]:8080".parse().unwrap(), state: Port::Free },
        clock: Clock { wall_seconds: 1_800_000_000, boot_shift: 0 },
    }
}

/// Docker is there with a container, CRI-O is not asked, of the others nothing is seen.
fn answering() -> RuntimeFacts {
    let missing = Err(crate::runtime::reachability::Cause::Missing);
    let outcomes = [(Runtime::Docker, Ok(())), (Runtime::Podman, missing.clone()), (Runtime::Containerd, missing)];
    let examined = outcomes.map(|(runtime, outcome)| {
        let endpoint = Endpoint::Unix(format!("/run/{}.sock", runtime.namespace()));
        Examined { listener: Listener { runtime, endpoint, named: Named::ByDefault }, outcome }
    });
    RuntimeFacts { examined: examined.to_vec(), seen: [(Runtime::Docker, 1)].into() }
}

fn hierarchy(version: Version, mount: &str, controllers: &[&str]) -> HierarchyFacts {
    let controllers: Vec<Box<str>> = controllers.iter().map(|name| (*name).into()).collect();
    let passed_on = if version == Version::V2 { controllers.clone() } else { Vec::new() };
    HierarchyFacts { version, controllers, passed_on, mount: mount.into(), extent: Extent::Whole, unreadable: None }
}

fn v2(mount: &str, controllers: &[&str]) -> HierarchyFacts {
    hierarchy(Version::V2, mount, controllers)
}

fn listed(names: &[&str], state: ControllerState) -> Vec<ListedController> {
    names.iter().map(|name| ListedController { name: (*name).to_owned(), state }).collect()
}

/// What trying the programs comes to with these facts, as `kernel::probes::examine` would report it.
fn try_programs(probes: &mut Examination) {
    match plan(&probes.facts, 1 << 20) {
        Err(failure) => probes.failure = Some(failure),
        Ok(plan) => {
            probes.victim = plan.victim;
            let attached = [("cgroup_mkdir", Some("cgroup_mkdir")), ("cgroup_long_path", None)];
            let oom = [("mark_victim_task", VictimForm::Task), ("mark_victim_pid", VictimForm::Pid)]
                .map(|(name, form)| (name, (plan.victim == Some(form)).then_some("mark_victim")));
            let trials =
                attached.into_iter().chain(oom).zip(1_u32..).map(|((name, tracepoint), number)| ProgramTrial {
                    name: name.into(),
                    load: Ok(Figures {
                        instructions: Some(100 * number),
                        verified_instructions: Some(1000 * number),
                        load_time: Duration::from_micros(10 * u64::from(number)),
                    }),
                    attach: tracepoint.map(|tracepoint| (tracepoint, Ok(()))),
                });
            probes.programs = trials.collect();
        }
    }
}

fn everything() -> Wishes {
    Wishes {
        kernel_events: KernelEvents::Auto,
        counters: CountersFrom::Auto,
        load_reader: LoadReading::Off,
        kinds: KindSet::all(),
    }
}

/// Changes the healthy machine, and compares both formats with the files of this name.
#[track_caller]
fn check_with(name: &str, verdict: Verdict, wishes: &Wishes, change: impl FnOnce(&mut Facts)) -> Report {
    let mut facts = well();
    change(&mut facts);
    if facts.probes.programs.is_empty() && facts.probes.failure.is_none() {
        try_programs(&mut facts.probes);
    }
    let report = decide(&facts, &answering(), None, wishes);
    let page = include_str!("../../../docs/doctor.md");
    for Finding { id, .. } in &report.findings {
        assert!(page.contains(&format!("`{id}`")), "docs/doctor.md lacks the id {id}");
    }
    assert_eq!(report.verdict(), verdict, "{}", text::render(&report));
    let golden =
        |ending: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/doctor/golden/{name}.{ending}"));
    expect_file![golden("txt")].assert_eq(&text::render(&report));
    expect_file![golden("json")].assert_eq(&json::render(&report).replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    let ids: BTreeSet<_> = report.findings.iter().map(|finding| finding.id).collect();
    assert_eq!(ids.len(), report.findings.len(), "an id is used twice");
    for finding in &report.findings {
        let wrong = matches!(finding.status, Status::Unavailable | Status::Limited);
        assert_eq!(wrong, finding.trouble.is_some(), "{finding:?}");
    }
    report
}

#[track_caller]
fn check(name: &str, verdict: Verdict, change: impl FnOnce(&mut Facts)) -> Report {
    check_with(name, verdict, &everything(), change)
}

/// The first finding is what an operator reads first.
#[track_caller]
fn first(report: &Report, id: &str) {
    assert_eq!(report.findings.first().map(|finding| finding.id), Some(id));
}

/// Takes capabilities away, and with them what the kernel allows for them.
fn keep(facts: &mut Facts, capabilities: CapabilitySet) {
    facts.capabilities = capabilities;
    let held = |capability| if capabilities.contains(capability) { Capability::Held } else { Capability::Missing };
    facts.probes.facts.capabilities = Capabilities {
        bpf: held(CapabilitySet::BPF),
        perfmon: held(CapabilitySet::PERFMON),
        sys_admin: held(CapabilitySet::SYS_ADMIN),
    };
}

#[test]
fn all_well() {
    check("all_well", Verdict::AllWorks, |_| {});
}

#[test]
fn no_btf() {
    let report = check("no_btf", Verdict::Limited, |facts| {
        facts.probes.facts.types = Err(TypesError::Unreadable(Errno::NOENT));
    });
    first(&report, "kernel_events");
}

#[test]
fn a_field_that_moved() {
    check("missing_field", Verdict::Limited, |facts| {
        let mut offsets = NO_OFFSETS.map(|_| 8);
        for field in [Offset::CgroupPopulatedCsets, Offset::MemcgOomLock] {
            offsets[field as usize] = ABSENT;
        }
        facts.probes.facts.types =
            Ok(KernelTypes { offsets, victim: Some(VictimForm::Task), map_accounting: MapAccounting::Cgroup });
    });
}

#[test]
fn no_capability() {
    let report = check("no_capability", Verdict::Limited, |facts| {
        keep(facts, CapabilitySet::empty());
        let probes = &mut facts.probes.facts;
        (probes.maps, probes.ring_buffer, probes.programs) = (Err(Errno::PERM), Err(Errno::PERM), Err(Errno::PERM));
        facts.processes.networks = Tally { allowed: 3, denied: 61 };
        facts.processes.descriptors = Tally { allowed: 3, denied: 61 };
    });
    first(&report, "kernel_events");
}

#[test]
fn only_cap_bpf() {
    check("only_cap_bpf", Verdict::Limited, |facts| {
        keep(facts, CapabilitySet::BPF);
        facts.probes.facts.programs = Err(Errno::PERM);
        facts.processes.networks = Tally { allowed: 0, denied: 64 };
    });
}

#[test]
fn lockdown() {
    check("lockdown", Verdict::Limited, |facts| {
        facts.probes.facts.lockdown = Lockdown::Confidentiality;
        facts.probes.facts.programs = Err(Errno::PERM);
    });
}

#[test]
fn seccomp() {
    check("seccomp", Verdict::Limited, |facts| {
        let probes = &mut facts.probes.facts;
        probes.seccomp = Seccomp::Filter;
        (probes.maps, probes.ring_buffer, probes.programs) = (Err(Errno::PERM), Err(Errno::PERM), Err(Errno::PERM));
    });
}

/// The small maps of the first trials fit, the programs' own maps do not.
#[test]
fn memlock() {
    check("memlock", Verdict::Limited, |facts| {
        facts.release = "5.10.0".into();
        keep(facts, CapabilitySet::all().difference(CapabilitySet::SYS_RESOURCE));
        facts.probes.facts.memlock_limit = Some(64 << 10);
        let cause = Cause::MemlockLimit(64 << 10);
        facts.probes.failure = Some(Unavailable { facility: Facility::Map, errno: Some(Errno::PERM), cause });
    });
}

#[test]
fn old_kernel() {
    check("old_kernel", Verdict::Limited, |facts| {
        facts.release = "5.4.0".into();
        facts.probes.facts.ring_buffer = Err(Errno::INVAL);
    });
}

#[test]
fn a_program_is_refused() {
    check("refused_program", Verdict::Limited, |facts| {
        try_programs(&mut facts.probes);
        let cause = Cause::Refused("R1 invalid mem access 'scalar'".into());
        let refused = Unavailable { facility: Facility::Program, errno: Some(Errno::ACCESS), cause };
        facts.probes.programs[0].load = Err(refused.clone());
        facts.probes.programs[0].attach = None;
        facts.probes.failure = Some(refused);
    });
}

#[test]
fn unknown_form_of_the_oom_tracepoint() {
    let report = check("unknown_mark_victim", Verdict::Limited, |facts| {
        facts.probes.facts.types =
            Ok(KernelTypes { offsets: NO_OFFSETS.map(|_| 8), victim: None, map_accounting: MapAccounting::Cgroup });
    });
    first(&report, "oom_kills");
}

#[test]
fn cgroup_v1_alone() {
    check("cgroup_v1", Verdict::Limited, |facts| {
        let names = ["cpu", "cpuacct", "memory", "blkio", "pids", "cpuset", "hugetlb"];
        let mounted = names.map(|name| hierarchy(Version::V1, &format!("/sys/fs/cgroup/{name}"), &[name]));
        let cgroups = facts.cgroups.as_mut().unwrap();
        (cgroups.mode, cgroups.hierarchies, cgroups.listed) =
            (Mode::V1, mounted.to_vec(), listed(&names, ControllerState::On));
    });
}

#[test]
fn no_cgroup_mount() {
    let report = check("no_cgroup_mount", Verdict::Unusable, |facts| {
        facts.cgroups = Err(DetectError::NoMount { root: "/empty".into() });
    });
    first(&report, "cgroup_mounts");
    assert_eq!(report.exit_code(), 2);
}

#[test]
fn unreadable_cgroups() {
    check("unreadable_cgroups", Verdict::Unusable, |facts| {
        facts.cgroups.as_mut().unwrap().hierarchies[0].unreadable = Some(Errno::ACCESS);
    });
}

#[test]
fn memory_switched_off() {
    let report = check("memory_switched_off", Verdict::Limited, |facts| {
        let cgroups = facts.cgroups.as_mut().unwrap();
        cgroups.hierarchies = vec![v2("/sys/fs/cgroup", &["cpuset", "cpu", "io", "hugetlb", "pids"])];
        cgroups.disabled = vec!["memory".into()];
        cgroups.swap.accounting = Accounting::Unknown;
    });
    first(&report, "controller_memory");
}

/// One controller for each further way to be without it.
#[test]
fn controllers_missing() {
    check("controllers_missing", Verdict::Limited, |facts| {
        let cgroups = facts.cgroups.as_mut().unwrap();
        let mut mounted = v2("/sys/fs/cgroup", &["cpu", "io", "memory"]);
        mounted.passed_on = vec!["cpu".into(), "io".into()];
        cgroups.hierarchies = vec![mounted];
        cgroups.listed = listed(&["cpu", "blkio", "memory", "pids"], ControllerState::On);
        cgroups.listed.extend(listed(&["hugetlb"], ControllerState::Off));
        cgroups.denied = Denied { tried: 300, denied: 2, first: Some("/sys/fs/cgroup/a/memory.stat".into()) };
        cgroups.swap = Swap { total: Some(1 << 30), accounting: Accounting::Off };
    });
}

#[test]
fn hidden_processes() {
    check("hidepid", Verdict::Limited, |facts| {
        keep(facts, CapabilitySet::all().difference(CapabilitySet::SYS_PTRACE));
        facts.processes.hidepid = Some("invisible".into());
        facts.processes.networks = Tally::default();
    });
}

#[test]
fn pressure_switched_off() {
    check("psi_off", Verdict::Limited, |facts| {
        facts.pressure = Pressure { state: PressureState::Off, built_in: BuiltIn::Yes };
    });
}

#[test]
fn private_cgroup_namespace() {
    check("private_cgroup_namespace", Verdict::Limited, |facts| {
        facts.processes.surroundings.cgroups = CgroupNamespace::Private;
        facts.cgroups.as_mut().unwrap().hierarchies[0].extent = Extent::Own;
    });
}

#[test]
fn no_host_pid() {
    check("no_host_pid", Verdict::Limited, |facts| {
        facts.processes.surroundings.procfs = ProcfsView::Own;
        facts.processes.surroundings.place = Place::OwnContainer;
        facts.processes.networks = Tally::default();
    });
}

#[test]
fn a_container_with_the_hosts_mounts() {
    check("contained", Verdict::AllWorks, |facts| {
        facts.processes.surroundings =
            Surroundings { cgroups: CgroupNamespace::Private, procfs: ProcfsView::Outer, place: Place::OwnContainer };
    });
}

#[test]
fn too_few_descriptors() {
    check("descriptors", Verdict::Limited, |facts| {
        facts.descriptor_limit = Some(1024);
        facts.cgroups.as_mut().unwrap().cgroups = 500;
    });
}

#[test]
fn busy_port() {
    let report = check("busy_port", Verdict::Unusable, |facts| facts.port.state = Port::Taken(None));
    first(&report, "port");
    let mut facts = well();
    facts.port.state = Port::Taken(Some(Holder { pid: 17, name: "nginx".to_owned() }));
    let named = decide(&facts, &answering(), None, &everything());
    let named = named.findings.iter().find(|finding| finding.id == "port").unwrap();
    assert_eq!(named.found, "[::]:8080 is taken by nginx (process 17)");
    // A running collector is no obstacle to itself.
    let mut facts = well();
    facts.port.state = Port::Collector("127.0.0.1:8080".parse().unwrap());
    try_programs(&mut facts.probes);
    assert_eq!(decide(&facts, &answering(), None, &everything()).verdict(), Verdict::AllWorks);
}

#[test]
fn a_reserved_port_and_a_wrong_clock() {
    check("reserved_port", Verdict::Unusable, |facts| {
        facts.port = PortFacts { address: "127.0.0.1:80".parse().unwrap(), state: Port::Refused(Errno::ACCESS) };
        facts.clock = Clock { wall_seconds: 100, boot_shift: 0 };
    });
}

/// What was switched off is nothing to complain about.
#[test]
fn scans_by_choice() {
    let kinds = KindSet::all().without([MetricKind::Network, MetricKind::Pressure, MetricKind::Hugetlb]);
    let counters = CountersFrom::Auto;
    let wishes = Wishes { kernel_events: KernelEvents::Scan, counters, load_reader: LoadReading::On, kinds };
    let report = check_with("scan", Verdict::Limited, &wishes, |facts| {
        keep(facts, CapabilitySet::all().difference(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN));
        facts.probes.facts.maps = Err(Errno::PERM);
        facts.inotify.watches = Some(8);
        let cgroups = facts.cgroups.as_mut().unwrap();
        cgroups.hierarchies = vec![v2("/sys/fs/cgroup", &["cpuset", "cpu", "io", "memory", "pids"])];
        cgroups.listed.clear();
    });
    let wrong: Vec<_> = report.findings.iter().filter(|finding| finding.trouble.is_some()).collect();
    assert_eq!(wrong.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["load_average", "inotify"]);
}

#[test]
fn events_that_must_be() {
    let wishes = Wishes { kernel_events: KernelEvents::Ebpf, ..everything() };
    let report = check_with("ebpf_or_nothing", Verdict::Unusable, &wishes, |facts| {
        facts.probes.facts.maps = Err(Errno::NOSYS);
        facts.clock.boot_shift = 3600;
    });
    first(&report, "kernel_events");
}
