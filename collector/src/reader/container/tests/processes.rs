//! What is read of a container's processes.

use super::fixture::{Host, kinds, net_dev};
use crate::reader::container::{Extras, NetworkFiles, NetworkOf, ResctrlReader};
use crate::sample::container::{Processes, Sample, Schedstat};
use crate::sample::hardware::{Resctrl, ResctrlDomain};
use crate::sample::identity::{Identity, NetworkOwner, Runtime, Who};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::sockets::{TcpSockets, UdpSockets};
use crate::sample::unread::Part;
use crate::units::{Bytes, Nanos};

pub(super) fn write_process(host: &Host, pid: u32, network: Option<u64>) {
    let directory = format!("proc/{pid}");
    host.write(&format!("{directory}/task/{pid}/schedstat"), &format!("{} {} {}\n", pid * 10, pid, 2));
    host.write(
        &format!("{directory}/limits"),
        "Max processes             1                2                processes \n\
         Max open files            1024                 unlimited            files     \n",
    );
    match network {
        // The same file: the same device and inode number.
        None => {
            std::fs::create_dir_all(host.path(&format!("{directory}/ns"))).unwrap();
            let _ = std::fs::remove_file(host.path(&format!("{directory}/ns/net")));
            std::fs::hard_link(host.path("proc/1/ns/net"), host.path(&format!("{directory}/ns/net"))).unwrap();
        }
        Some(bytes) => {
            let _ = std::fs::remove_file(host.path(&format!("{directory}/ns/net")));
            host.write(&format!("{directory}/ns/net"), "");
            host.write(&format!("{directory}/net/dev"), &net_dev(&[("lo", 1), ("eth0", bytes), ("net1", 5)]));
        }
    }
    let descriptors = host.path(&format!("{directory}/fd"));
    std::fs::create_dir_all(&descriptors).unwrap();
    for (number, target) in ["/dev/null", "socket:[123]", "pipe:[5]"].iter().enumerate() {
        let _ = std::os::unix::fs::symlink(target, descriptors.join(number.to_string()));
    }
}

pub(super) fn received(sample: &Sample) -> Option<u64> {
    sample.network.as_ref().map(|network| network.interfaces[0].receive.bytes)
}

fn v2_host() -> Host {
    let host = Host::v2();
    host.write("cgroup/a/cpu.stat", "usage_usec 1\nuser_usec 0\nsystem_usec 0\n");
    host.write("cgroup/a/cgroup.procs", "");
    host
}

#[test]
fn network_only_of_another_namespace() {
    let mut host = v2_host();
    write_process(&host, 42, None);
    host.write("cgroup/a/cgroup.procs", "42\n43\n");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), None);
    assert!(!reader.spec(&ctx, &mut host.scratch).has_network);
    // The runtime makes the namespace after the process.
    write_process(&host, 42, Some(100));
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(received(&sample), Some(100));
    let names: Vec<_> = sample.network.as_ref().unwrap().interfaces.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["eth0", "net1"]);
    assert!(reader.spec(&ctx, &mut host.scratch).has_network);
    // Names are shared between samples.
    let next = reader.sample(&ctx, &mut host.scratch).unwrap();
    let name = |sample: &Sample| sample.network.as_ref().unwrap().interfaces[1].name.clone();
    assert!(std::sync::Arc::ptr_eq(&name(&sample), &name(&next)));
    let ctx = host.context(kinds(&[]));
    assert_eq!(reader.sample(&ctx, &mut host.scratch).unwrap().network, None);
}

#[test]
fn a_process_that_ends_is_replaced_by_another() {
    let mut host = v2_host();
    write_process(&host, 42, Some(100));
    write_process(&host, 43, Some(200));
    host.write("cgroup/a/cgroup.procs", "42\n43\n");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    for _ in 0..15 {
        assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(100));
    }
    host.write("cgroup/a/cgroup.procs", "43\n");
    host.remove("proc/42");
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(200));
    // The number of the process is given to one of another namespace.
    host.write("proc/43/ns/other", "");
    std::fs::rename(host.path("proc/43/ns/other"), host.path("proc/43/ns/net")).unwrap();
    host.write("cgroup/a/cgroup.procs", "");
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), None);
    assert!(host.error_counts().is_empty(), "{:?}", host.error_counts());
}

#[test]
fn an_open_file_is_read_until_its_namespace_is_left() {
    let mut host = v2_host();
    host.network_files = NetworkFiles::Kept;
    write_process(&host, 42, Some(100));
    host.write("cgroup/a/cgroup.procs", "42\n");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(100));
    let kept = reader.kept();
    // The process ends; what it received last is still reported.
    host.write("proc/42/net/dev", &net_dev(&[("eth0", 150)]));
    let file = host.path("proc/42/net/dev");
    std::fs::hard_link(&file, host.path("namespace")).unwrap();
    host.remove("proc/42");
    host.write("cgroup/a/cgroup.procs", "");
    reader.keep_network();
    for _ in 0..11 {
        assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(150));
    }
    reader.leave_network();
    assert_eq!(reader.kept(), kept - 1);
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), None);
    assert!(host.error_counts().is_empty(), "{:?}", host.error_counts());
}

#[test]
fn an_open_file_is_left_for_that_of_another_namespace() {
    let mut host = v2_host();
    host.network_files = NetworkFiles::Kept;
    write_process(&host, 42, Some(100));
    write_process(&host, 43, Some(200));
    host.write("cgroup/a/cgroup.procs", "42\n");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    for _ in 0..11 {
        assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(100));
    }
    host.write("cgroup/a/cgroup.procs", "43\n");
    let seen: Vec<_> = (0..10).map(|_| received(&reader.sample(&ctx, &mut host.scratch).unwrap())).collect();
    assert_eq!(seen.first(), Some(&Some(100)), "the file of before is open");
    assert_eq!(seen.last(), Some(&Some(200)), "{seen:?}");
    // With sockets, which are read by the process, it has to be there at each sample.
    let ctx = host.context(kinds(&[MetricKind::Network, MetricKind::Tcp]));
    let mut reader = Host::reader(&ctx, "/a");
    for _ in 0..11 {
        assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(200));
    }
    host.write("cgroup/a/cgroup.procs", "42\n");
    host.remove("proc/43");
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(100));
}

#[test]
fn a_hint_is_looked_at_first_and_population_starts_anew() {
    let mut host = v2_host();
    write_process(&host, 42, Some(100));
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    // Past the first samples an empty container is looked at seldom.
    for _ in 0..11 {
        assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), None);
    }
    reader.process_hint(42);
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), None);
    reader.refresh_network();
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(100));
}

#[test]
fn processes_are_found_in_whichever_hierarchy_they_are() {
    let mut host = Host::hybrid();
    host.write("cgroup/memory/a/memory.usage_in_bytes", "1\n");
    host.write("cgroup/memory/a/cgroup.procs", "");
    host.write("cgroup/systemd/a/cgroup.procs", "42\n");
    write_process(&host, 42, Some(100));
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, "/a");
    let found = (0..10).find(|_| received(&reader.sample(&ctx, &mut host.scratch).unwrap()).is_some());
    assert_eq!(found, Some(2));
}

/// A container's cgroup, its id 64 characters.
fn container(parent: &str, letter: char) -> String {
    format!("{parent}/{}", String::from(letter).repeat(64))
}

fn with_cgroups(names: &[&str]) -> Host {
    let host = Host::v2();
    for name in names {
        host.write(&format!("cgroup{name}/cpu.stat"), "usage_usec 1\nuser_usec 0\nsystem_usec 0\n");
        host.write(&format!("cgroup{name}/cgroup.procs"), "");
    }
    host
}

#[test]
fn what_is_inside_of_a_container_belongs_to_it() {
    let outer = container("/docker", 'a');
    let [service, inner, slice] = [
        format!("{outer}/system.slice/ssh.service"),
        container(&format!("{outer}/docker"), 'b'),
        "/slice/x".to_owned(),
    ];
    let mut host = with_cgroups(&[&outer, &service, &inner, &slice, "/slice"]);
    for (pid, name) in [(42, &service), (43, &inner), (44, &slice)] {
        write_process(&host, pid, Some(u64::from(pid)));
        host.write(&format!("cgroup{name}/cgroup.procs"), &format!("{pid}\n"));
    }
    // The service is in the namespace of the container's first process, the container inside has its own.
    host.write(&format!("cgroup{outer}/init/cgroup.procs"), "42\n");
    let ctx = host.context(KindSet::default());
    for (name, expected) in
        [(outer.as_str(), Some(42)), (&service, None), (&inner, Some(43)), (&slice, Some(44)), ("/slice", None)]
    {
        let sample = Host::reader(&ctx, name).sample(&ctx, &mut host.scratch).unwrap();
        assert_eq!(received(&sample), expected, "{name}");
    }
}

/// A container of containerd's, with this network and first process.
fn whose(network: NetworkOwner, process: Option<u32>) -> NetworkOf {
    let identity = Identity { process, network, ..Identity::from_path(Runtime::Containerd, "a".repeat(64)) };
    NetworkOf::of(Some(&Who { id: "a".into(), identity: Some(identity.into()) }))
}

#[test]
fn of_several_processes_the_containers_first_stands_for_all() {
    let name = container("/docker", 'a');
    let mut host = with_cgroups(&[&name]);
    // Older and with a lower id, but put into the container later: it is in no pid namespace of its own.
    for (pid, bytes, ids, began) in
        [(41, 7, "41", 5), (42, 100, "42\t1", 10), (43, 8, "43\t3", 11), (44, 9, "44\t5\t1", 1)]
    {
        write_process(&host, pid, Some(bytes));
        host.write(&format!("proc/{pid}/status"), &format!("Name:\tx\nNSpid:\t{ids}\n"));
        host.write(&format!("proc/{pid}/stat"), &format!("{pid} (x) S {}{began} 0\n", "0 ".repeat(18)));
        host.write(&format!("proc/{pid}/cgroup"), &format!("0::{name}\n"));
    }
    host.write(&format!("cgroup{name}/cgroup.procs"), "41\n44\n43\n42\n");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, &name);
    let mut reported =
        |reader: &mut super::super::ContainerReader| received(&reader.sample(&ctx, &mut host.scratch).unwrap());
    assert_eq!(reported(&mut reader), Some(100), "without a runtime");
    reader.set_network_owner(whose(NetworkOwner::Itself, Some(43)));
    assert_eq!(reported(&mut reader), Some(8), "the runtime knows");
    reader.set_network_owner(whose(NetworkOwner::Itself, Some(999)));
    assert_eq!(reported(&mut reader), Some(100), "it has ended");
}

#[test]
fn the_runtimes_process_has_to_be_the_containers() {
    let name = container("/docker", 'a');
    let mut host = with_cgroups(&[&name]);
    for (pid, bytes, cgroup) in [(42, 100, &*name), (50, 7, "/elsewhere")] {
        write_process(&host, pid, Some(bytes));
        host.write(&format!("proc/{pid}/cgroup"), &format!("0::{cgroup}\n"));
    }
    host.write(&format!("cgroup{name}/cgroup.procs"), "42\n");
    let ctx = host.context(KindSet::default());
    let mut reader = Host::reader(&ctx, &name);
    reader.set_network_owner(whose(NetworkOwner::Itself, Some(50)));
    assert_eq!(received(&reader.sample(&ctx, &mut host.scratch).unwrap()), Some(100));
}

#[test]
fn a_pods_network_is_reported_once() {
    let pod = "/kubepods/burstable/pod0123456789abcdef0123456789abcdef";
    let [sandbox, one] = ['a', 'b'].map(|letter| container(pod, letter));
    let mut host = with_cgroups(&[&sandbox, &one, pod]);
    write_process(&host, 42, Some(100));
    host.write(&format!("cgroup{one}/cgroup.procs"), "42\n");
    let ctx = host.context(KindSet::default());
    let mut readers = [&sandbox, &one].map(|name| Host::reader(&ctx, name));
    let mut reported = |readers: &mut [super::super::ContainerReader; 2]| {
        readers.each_mut().map(|reader| received(&reader.sample(&ctx, &mut host.scratch).unwrap()))
    };
    assert_eq!(reported(&mut readers), [None, Some(100)], "nobody has reported that the first is the sandbox");
    readers[0].set_network_owner(whose(NetworkOwner::Pod, None));
    readers[1].set_network_owner(whose(NetworkOwner::AnotherContainer, None));
    assert_eq!(reported(&mut readers), [Some(100), None], "the sandbox has no process of its own");
}

#[test]
fn sockets_where_their_kinds_are_on() {
    let mut host = v2_host();
    write_process(&host, 42, Some(100));
    host.write("cgroup/a/cgroup.procs", "42\n");
    host.write("proc/42/net/tcp", "header\n 0: 0:0 0:0 0A\n 1: 0:0 0:0 01\n 2: 0:0 0:0 01\n");
    host.write("proc/42/net/udp", "header\n 0: 0:0 0:0 07 00000001:00000020 00:0 0 0 0 15 2 0 5\n");
    host.write("proc/42/net/snmp", "Tcp: RtoAlgorithm MaxConn CurrEstab\nTcp: 1 -1 2\n");
    host.write("proc/42/net/netstat", "TcpExt: TW\nTcpExt: 7\n");
    let ctx = host.context(kinds(&[MetricKind::Tcp, MetricKind::Udp, MetricKind::AdvTcp]));
    let network = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap().network.unwrap();
    assert_eq!(network.interfaces, []);
    assert_eq!(network.tcp, Some(TcpSockets { established: 2, listen: 1, ..TcpSockets::default() }));
    let udp = UdpSockets { sockets: 1, dropped: 5, receive_queue: Bytes(0x20), transmit_queue: Bytes(1) };
    assert_eq!((network.udp, network.tcp6, network.udp6), (Some(udp), None, None));
    let counters: Vec<_> = network.tcp_advanced.as_ref().unwrap().iter().collect();
    assert_eq!(counters, [("RtoAlgorithm", 1), ("MaxConn", u64::MAX), ("CurrEstab", 2), ("TW", 7)]);

    let ctx = host.context(KindSet::default());
    let network = Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap().network.unwrap();
    assert_eq!((network.tcp, network.udp, network.tcp_advanced), (None, None, None));
    assert!(host.error_counts().is_empty(), "{:?}", host.error_counts());
}

#[test]
fn touched_memory_of_its_own_processes() {
    let mut host = v2_host();
    for pid in [42, 43] {
        write_process(&host, pid, None);
        host.write(&format!("proc/{pid}/smaps_rollup"), "Rss: 9 kB\nReferenced: 8 kB\n");
        host.write(&format!("proc/{pid}/clear_refs"), "");
    }
    host.write("cgroup/a/cgroup.procs", "42\n43\n");
    let mut sample = |extras: Extras, kind: MetricKind, samples: usize| {
        let ctx = host.context_with(kinds(&[kind]), extras);
        let mut reader = Host::reader(&ctx, "/a");
        let touched = (0..samples).map(|_| reader.sample(&ctx, &mut host.scratch).unwrap().referenced).last().unwrap();
        (touched, std::fs::read_to_string(host.path("proc/43/clear_refs")).unwrap())
    };
    let every = |samples| Extras { referenced_reset: std::num::NonZeroU32::new(samples), ..Extras::default() };
    assert_eq!(sample(every(1), MetricKind::Memory, 1), (None, String::new()), "the kind is off");
    assert_eq!(sample(every(0), MetricKind::ReferencedMemory, 3), (Some(Bytes(16 * 1024)), String::new()));
    assert_eq!(sample(every(2), MetricKind::ReferencedMemory, 1), (Some(Bytes(16 * 1024)), String::new()));
    assert_eq!(sample(every(2), MetricKind::ReferencedMemory, 2), (Some(Bytes(16 * 1024)), "1\n".to_owned()));
    // A process that is listed and not to be seen.
    host.write("cgroup/a/cgroup.procs", "42\n99\n");
    let ctx = host.context(kinds(&[MetricKind::ReferencedMemory]));
    assert_eq!(Host::reader(&ctx, "/a").sample(&ctx, &mut host.scratch).unwrap().referenced, None);
}

fn monitored(host: &mut Host, groups: &str, name: &str) -> Option<Resctrl> {
    host.write("proc/42/cpu_resctrl_groups", groups);
    let resctrl = ResctrlReader::new(&host.path("sys"), std::time::Duration::ZERO);
    let ctx = host.context_with(kinds(&[MetricKind::Resctrl]), Extras { resctrl, ..Extras::default() });
    Host::reader(&ctx, name).sample(&ctx, &mut host.scratch).unwrap().resctrl
}

#[test]
fn a_monitoring_group_for_each_container() {
    let mut host = v2_host();
    write_process(&host, 42, None);
    host.write("cgroup/a/cgroup.procs", "42\n");
    host.write("cgroup/a/cgroup.threads", "42\n43\n");
    host.write("sys/fs/resctrl/mon_data/mon_L3_00/llc_occupancy", "100\n");
    // As the kernel fills a group that is made.
    host.write("sys/fs/resctrl/gold/mon_groups/collector-a/tasks", "");
    host.write("sys/fs/resctrl/gold/mon_groups/collector-a/mon_data/mon_L3_00/llc_occupancy", "7\n");
    host.write("sys/fs/resctrl/gold/mon_groups/collector-a/mon_data/mon_L3_00/mbm_total_bytes", "Unavailable\n");
    let domain = |bytes| ResctrlDomain { occupancy: Some(Bytes(bytes)), ..ResctrlDomain::default() };
    assert_eq!(monitored(&mut host, "res:gold\nmon:\n", "/a"), Some(Resctrl { domains: vec![domain(7)] }));
    let tasks = std::fs::read_to_string(host.path("sys/fs/resctrl/gold/mon_groups/collector-a/tasks")).unwrap();
    assert_eq!(tasks, "42\n43\n");
    assert_eq!(monitored(&mut host, "res:gold\nmon:other\n", "/a"), None, "its tasks are counted for somebody else");
    assert_eq!(monitored(&mut host, "", "/"), Some(Resctrl { domains: vec![domain(100)] }));
}

#[test]
fn counts_and_limits() {
    let mut host = v2_host();
    write_process(&host, 42, None);
    write_process(&host, 43, None);
    host.write("cgroup/a/cgroup.procs", "42\n43\n");
    host.write("cgroup/a/cgroup.threads", "42\n43\n44\n");
    let ctx = host.context(kinds(&[MetricKind::Process]));
    let mut reader = Host::reader(&ctx, "/a");
    let expected = Processes {
        count: Some(2),
        descriptors: Some(6),
        sockets: Some(2),
        threads: Some(3),
        threads_max: None,
        max_open_files: Some((1024, u64::MAX)),
    };
    assert_eq!(reader.sample(&ctx, &mut host.scratch).unwrap().processes, Some(expected));
    // A process that is listed and not to be seen in procfs: what it has open is not known, and so no sum is.
    host.write("cgroup/a/cgroup.procs", "42\n43\n99\n");
    let unknown = Processes { count: Some(3), descriptors: None, sockets: None, ..expected };
    assert_eq!(reader.sample(&ctx, &mut host.scratch).unwrap().processes, Some(unknown));
    host.write("cgroup/a/cgroup.procs", "");
    host.write("cgroup/a/cgroup.threads", "");
    let empty =
        Processes { count: Some(0), descriptors: Some(0), sockets: Some(0), threads: Some(0), ..Processes::default() };
    assert_eq!(reader.sample(&ctx, &mut host.scratch).unwrap().processes, Some(empty));
}

#[test]
fn scheduler_statistics_cover_the_subtree_and_ended_processes() {
    let mut host = v2_host();
    for pid in [42, 43] {
        write_process(&host, pid, None);
    }
    host.write("cgroup/a/cgroup.procs", "42\n");
    host.write("cgroup/a/child/grandchild/cgroup.procs", "43\n");
    let ctx = host.context(kinds(&[MetricKind::Sched]));
    let mut reader = Host::reader(&ctx, "/a");
    let sum = Schedstat { run_time: Nanos(850), runqueue_time: Nanos(85), run_periods: 4 };
    assert_eq!(reader.sample(&ctx, &mut host.scratch).unwrap().cpu.unwrap().schedstat, Some(sum));
    host.write("cgroup/a/child/grandchild/cgroup.procs", "");
    host.remove("proc/43");
    assert_eq!(reader.sample(&ctx, &mut host.scratch).unwrap().cpu.unwrap().schedstat, Some(sum));
    host.write("cgroup/a/cgroup.procs", "42\n99\n");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(sample.cpu.unwrap().schedstat, None, "99 is hidden");
    assert!(sample.unread.has(Part::Schedstat));
}

#[test]
fn every_thread_counts_for_the_scheduler_statistics() {
    let mut host = v2_host();
    write_process(&host, 42, None);
    host.write("proc/42/task/44/schedstat", "5000 600 70\n");
    host.write("cgroup/a/cgroup.procs", "42\n");
    let ctx = host.context(kinds(&[MetricKind::Sched]));
    let mut reader = Host::reader(&ctx, "/a");
    let mut sample = |host: &mut Host| reader.sample(&ctx, &mut host.scratch).unwrap().cpu.unwrap().schedstat;
    let sum = Schedstat { run_time: Nanos(5420), runqueue_time: Nanos(642), run_periods: 72 };
    assert_eq!(sample(&mut host), Some(sum));
    host.write("proc/42/task/44/schedstat", "6000 700 80\n");
    let sum = Schedstat { run_time: Nanos(6420), runqueue_time: Nanos(742), run_periods: 82 };
    assert_eq!(sample(&mut host), Some(sum));
    host.remove("proc/42/task/44");
    assert_eq!(sample(&mut host), Some(sum), "what a thread had that ended stays");
    host.write("proc/42/task/44/schedstat", "7 8 1\n");
    let sum = Schedstat { run_time: Nanos(6427), runqueue_time: Nanos(750), run_periods: 83 };
    assert_eq!(sample(&mut host), Some(sum), "its number is another thread's now");
    host.write("proc/42/task/44/schedstat", "odd\n");
    assert_eq!(sample(&mut host), None);
}

/// Reading it gives EINVAL, as reading `cgroup.procs` of a threaded cgroup gives EOPNOTSUPP: not for this one.
const NOT_FOR_THIS_ONE: &str = "/sys/class/net/lo/speed";

#[test]
fn a_threaded_cgroup_has_the_processes_of_its_threads() {
    let mut host = v2_host();
    for pid in [42, 43] {
        write_process(&host, pid, Some(7));
        host.write(&format!("proc/{pid}/status"), &format!("Name:\tx\nTgid:\t{pid}\n"));
    }
    for tid in [50, 51, 52] {
        host.write(&format!("proc/{tid}/status"), "Name:\tx\nTgid:\t42\n");
        host.write(&format!("proc/42/task/{tid}/schedstat"), "100 10 1\n");
    }
    host.remove("cgroup/a/cgroup.procs");
    std::os::unix::fs::symlink(NOT_FOR_THIS_ONE, host.path("cgroup/a/cgroup.procs")).unwrap();
    host.write("cgroup/a/cgroup.threads", "52\n51\n50\n43\n");
    let ctx = host.context(kinds(&[MetricKind::Process, MetricKind::Sched]));
    let mut reader = Host::reader(&ctx, "/a");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    let processes = sample.processes.unwrap();
    assert_eq!((processes.count, processes.descriptors, processes.threads), (Some(2), Some(6), Some(4)));
    let of_own_threads = Schedstat { run_time: Nanos(730), runqueue_time: Nanos(73), run_periods: 5 };
    assert_eq!(sample.cpu.unwrap().schedstat, Some(of_own_threads), "not of the first thread, which is elsewhere");
    let members = crate::reader::processes::count(&ctx, b"/a", &mut host.scratch);
    assert_eq!(members, Some(2));
    host.write("cgroup/a/cgroup.threads", "42\n50\n51\n52\n");
    let processes = reader.sample(&ctx, &mut host.scratch).unwrap().processes.unwrap();
    assert_eq!((processes.count, processes.descriptors, processes.threads), (Some(1), Some(3), Some(4)));
    assert!(host.error_counts().is_empty(), "{:?}", host.error_counts());
}
