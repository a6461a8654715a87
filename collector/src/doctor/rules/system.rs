//! Limits, the port, the clocks, the kernel.

use rustix::io::Errno;

use crate::doctor::report::Finding;
use crate::kernel::cgroup::Version;
use crate::kernel::descriptors::RESERVED_DESCRIPTORS;
use crate::kernel::survey::Facts;
use crate::kernel::survey::port::Port;

/// Files kept open for each cgroup with the default kinds of statistics, where all controllers are mounted; fewer where
/// some are not, and one more with a network of its own.
const FILES_PER_CGROUP: u64 = 11;
/// 2025-01-01: a clock that is earlier was never set.
const EARLIEST_PLAUSIBLE: i64 = 1_735_689_600;

/// Whether the port can be had.
pub(super) fn port(facts: &Facts, findings: &mut Vec<Finding>) {
    let address = facts.port.address;
    let finding = |found: String| Finding::works("port", "listening port", found);
    let lost = "everything: the collector does not start";
    findings.push(match &facts.port.state {
        Port::Free if address.port() == 0 => finding("any free one".to_owned()),
        Port::Free => finding(format!("{address} can be had")),
        Port::Collector(there) => finding(format!("a collector listens on {there} already")),
        Port::Taken(holder) => finding(match holder {
            Some(holder) => format!("{address} is taken by {holder}"),
            None => format!("{address} is taken by another program"),
        })
        .unavailable(lost, "choose another with --port or --listen_ip, or end the program that has it")
        .essential(),
        Port::Refused(errno) => {
            let fix = match *errno {
                Errno::ACCESS | Errno::PERM => "choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE",
                Errno::ADDRNOTAVAIL => "give an address of this machine with --listen_ip",
                Errno::AFNOSUPPORT => "this machine has no IPv6: give an IPv4 address, such as --listen_ip=0.0.0.0",
                _ => "choose another with --port or --listen_ip",
            };
            finding(format!("{address} cannot be had ({errno})")).unavailable(lost, fix).essential()
        }
    });
}

/// Everything else.
pub(super) fn judge(facts: &Facts, findings: &mut Vec<Finding>) {
    if let Ok(cgroups) = &facts.cgroups {
        findings.push(descriptors(facts.descriptor_limit, cgroups.cgroups as u64));
        let v2_memory = cgroups.hierarchies.iter().any(|hierarchy| {
            hierarchy.version == Version::V2 && hierarchy.controllers.iter().any(|name| &**name == "memory")
        });
        findings.push(inotify(facts, v2_memory, cgroups.cgroups as u64));
    }
    findings.push(clock(facts));
    findings.push(Finding::works("kernel", "kernel", facts.release.clone()));
}

fn descriptors(limit: Option<u64>, cgroups: u64) -> Finding {
    let (id, title) = ("descriptors", "file descriptors");
    let Some(limit) = limit else { return Finding::works(id, title, "RLIMIT_NOFILE is unlimited") };
    let suffices_for = limit.saturating_sub(RESERVED_DESCRIPTORS as u64) / FILES_PER_CGROUP;
    let found = format!("RLIMIT_NOFILE is {limit}, which suffices for {suffices_for} cgroups; there are {cgroups}");
    let finding = Finding::works(id, title, found);
    if cgroups <= suffices_for {
        return finding;
    }
    let needed = cgroups * FILES_PER_CGROUP + RESERVED_DESCRIPTORS as u64;
    finding.limited(
        "CPU time: files beyond the limit are opened for each reading, about 2 µs more for each",
        format!("raise the hard limit to at least {needed} (LimitNOFILE=, docker run --ulimit nofile={needed})"),
    )
}

/// Only scans learn of OOM kills this way, and only on v2.
fn inotify(facts: &Facts, v2_memory: bool, cgroups: u64) -> Finding {
    let (id, title) = ("inotify", "inotify");
    let shown = |limit: Option<u64>| limit.map_or_else(|| "not known".to_owned(), |limit| limit.to_string());
    let watches = facts.inotify.watches;
    let found = format!(
        "fs.inotify.max_user_watches is {}, max_user_instances {}",
        shown(watches),
        shown(facts.inotify.instances)
    );
    let is_used = facts.probes.failure.is_some() && v2_memory;
    match watches {
        Some(watches) if is_used && watches < cgroups => {
            Finding::works(id, title, format!("{found}; cgroups: {cgroups}")).limited(
                "OOM kills of the cgroups beyond the limit are noticed with the next sample only",
                format!("sysctl fs.inotify.max_user_watches={}", cgroups.next_power_of_two() * 2),
            )
        }
        _ if is_used => Finding::works(id, title, found),
        _ => Finding::works(id, title, format!("{found}; not needed here")),
    }
}

fn clock(facts: &Facts) -> Finding {
    let (id, title) = ("clock", "clock");
    let clock = facts.clock;
    if clock.boot_shift != 0 {
        let found = format!("a time namespace shifts the time since boot by {} s", clock.boot_shift);
        let lost = "correct times of events, which the kernel stamps without the shift";
        return Finding::works(id, title, found).limited(lost, "run in the machine's first time namespace");
    }
    if clock.wall_seconds < EARLIEST_PLAUSIBLE {
        let found = format!("the wall clock is at {} s after 1970-01-01", clock.wall_seconds);
        let lost = "correct times of samples and events";
        return Finding::works(id, title, found).limited(lost, "set the clock, for example by NTP");
    }
    Finding::works(id, title, "set, and not shifted by a time namespace")
}
