//! What a collector in a container of its own reads, with and without the host's procfs.

use super::fixture::{Host, kinds};
use super::processes::{received, write_process};
use crate::sample::container::Processes;
use crate::sample::kinds::MetricKind;

const KINDS: [MetricKind; 3] = [MetricKind::Process, MetricKind::Network, MetricKind::Cpu];

/// A pid namespace of its own: the file that stands for it does not have the initial one's inode number. The ids are
/// those that procfs has of the collector.
fn contain(host: &Host, ids: &str, own_cgroup: &str) {
    host.write("proc/self/ns/pid", "");
    host.write("proc/self/status", &format!("Name:\tcollector\nNSpid:\t{ids}\n"));
    host.write("proc/self/cgroup", own_cgroup);
    host.write("proc/1/cgroup", own_cgroup);
}

fn v2_host() -> Host {
    let host = Host::v2();
    host.write("cgroup/a/cpu.stat", "usage_usec 1\nuser_usec 0\nsystem_usec 0\n");
    host.write("cgroup/a/cgroup.procs", "0\n0\n");
    host.write("cgroup/a/cgroup.threads", "0\n0\n0\n");
    for pid in [42, 43] {
        write_process(&host, pid, Some(100));
        host.write(&format!("proc/{pid}/cgroup"), "0::/a\n");
    }
    host
}

#[test]
fn the_hosts_procfs_reports_who_is_in_a_cgroup() {
    let mut host = v2_host();
    contain(&host, "700\t1", "0::/docker/1\n");
    let ctx = host.context(kinds(&KINDS));
    assert!(ctx.limitations().is_empty(), "{:?}", ctx.limitations());
    let mut reader = Host::reader(&ctx, "/a");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(received(&sample), Some(100));
    let processes = sample.processes.unwrap();
    assert_eq!((processes.count, processes.descriptors, processes.threads), (Some(2), Some(6), Some(3)));
    // One that is in the index but has moved since is not asked.
    for pid in [42, 43] {
        host.write(&format!("proc/{pid}/cgroup"), "0::/b\n");
    }
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), None);
    // An event reported the first process.
    write_process(&host, 44, Some(300));
    host.write("proc/44/cgroup", "0::/a\n");
    reader.process_hint(44);
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(300));
}

#[test]
fn without_it_what_is_not_known_is_absent() {
    let mut host = v2_host();
    contain(&host, "1", "0::/docker/1\n");
    let ctx = host.context(kinds(&KINDS));
    let facilities: Vec<_> = ctx.limitations().iter().map(super::super::Limitation::facility).collect();
    assert_eq!(facilities, ["host processes"]);
    let sample = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample.network, None);
    // cgroup v2 lists what it has no id for as 0.
    let known = Processes { count: Some(2), threads: Some(3), ..Processes::default() };
    assert_eq!(sample.processes, Some(known));
    host.write("cgroup/cpu.stat", "usage_usec 1\n");
    let root = Host::reader(&ctx, "/").sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(root.network, None, "its first process is not the host's");
}

#[test]
fn cgroup_v1_leaves_out_what_it_has_no_id_for() {
    let mut host = Host::v1();
    host.write("cgroup/cpu,cpuacct/a/cpuacct.usage", "5\n");
    host.write("cgroup/cpu,cpuacct/a/cgroup.procs", "");
    write_process(&host, 42, Some(100));
    host.write("proc/42/cgroup", "1:cpu,cpuacct:/a\n");
    let own = std::fs::read_to_string(host.path("proc/self/cgroup")).unwrap();
    contain(&host, "1", &own);
    let ctx = host.context(kinds(&KINDS));
    let sample = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!((sample.processes, sample.network), (Some(Processes::default()), None));
    contain(&host, "700\t1", &own);
    let ctx = host.context(kinds(&KINDS));
    let sample = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample.processes.map(|processes| (processes.count, processes.descriptors)), Some((Some(1), Some(3))));
}
