//! Recorded trees, made as the kernel shows them, and this machine.

use std::fs;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use super::*;
use crate::sample::machine::{Cache, Core};

struct Tree {
    directory: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Self { directory: tempfile::tempdir().unwrap() };
        for directory in ["proc/1", "sys/devices/system/cpu", "rootfs/etc"] {
            fs::create_dir_all(tree.path(directory)).unwrap();
        }
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn cpu(&self, id: u32, core: i32, socket: i32) {
        self.file(&format!("sys/devices/system/cpu/cpu{id}/topology/core_id"), format!("{core}\n"));
        self.file(&format!("sys/devices/system/cpu/cpu{id}/topology/physical_package_id"), format!("{socket}\n"));
    }

    fn cache(&self, cpu: u32, index: u32, id: Option<u32>, (level, kind, size): (u32, &str, &str), map: &str) {
        let directory = format!("sys/devices/system/cpu/cpu{cpu}/cache/index{index}");
        if let Some(id) = id {
            self.file(&format!("{directory}/id"), format!("{id}\n"));
        }
        self.file(&format!("{directory}/level"), format!("{level}\n"));
        self.file(&format!("{directory}/type"), format!("{kind}\n"));
        self.file(&format!("{directory}/size"), format!("{size}\n"));
        self.file(&format!("{directory}/shared_cpu_map"), format!("{map}\n"));
    }

    fn roots(&self) -> HostRoots {
        HostRoots {
            proc: self.path("proc"),
            sys: self.path("sys"),
            cgroup: self.path("cgroup"),
            rootfs: self.path("rootfs"),
        }
    }

    fn read(&self) -> (Machine, Vec<String>) {
        let (machine, errors) = read(&self.roots(), &IdentityFiles::default(), ListedMounts::Machines, WallTime(7));
        let here = self.directory.path().display().to_string();
        (machine, errors.iter().map(|error| error.to_string().replace(&here, "")).collect())
    }
}

fn cache(id: u32, kib: u64, kind: &str, level: u32) -> Cache {
    Cache { id: Some(id), size: Bytes(kib * 1024), kind: kind.into(), level }
}

/// Two sockets, each a NUMA node of two cores with two threads; CPU 7 is switched off.
fn two_sockets() -> Tree {
    let tree = Tree::new();
    tree.file("sys/devices/system/cpu/online", "0-6\n");
    tree.file("sys/devices/system/cpu/cpufreq/boost", "1\n");
    tree.file("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "3500000\n");
    let mut cpu_info = String::new();
    for cpu in 0..8 {
        let (core, socket) = (cpu % 4 / 2, cpu / 4);
        fs::create_dir_all(tree.path(&format!("sys/devices/system/node/node{socket}/cpu{cpu}"))).unwrap();
        if cpu == 7 {
            fs::create_dir_all(tree.path("sys/devices/system/cpu/cpu7")).unwrap();
            continue;
        }
        tree.cpu(cpu, core as i32, socket as i32);
        let core_map = if cpu == 6 { "40".to_owned() } else { format!("00000000,{:08x}", 0b11 << (cpu & !1)) };
        let node_map = if socket == 0 { "00000000,0000000f" } else { "70" };
        let of_machine = cpu / 2;
        tree.cache(cpu, 0, Some(of_machine), (1, "Data", "48K"), &core_map);
        tree.cache(cpu, 1, Some(of_machine), (1, "Instruction", "32K"), &core_map);
        tree.cache(cpu, 2, Some(of_machine), (2, "Unified", "2048K"), &core_map);
        tree.cache(cpu, 3, Some(socket), (3, "Unified", "107520K"), node_map);
        let block = format!(
            "processor\t: {cpu}\nvendor_id\t: GenuineIntel\ncpu MHz\t\t: 2599.996\nphysical id\t: {socket}\ncore id\t\t: {core}\n\n"
        );
        cpu_info.push_str(&block);
    }
    tree.file("proc/cpuinfo", cpu_info);
    tree.file("proc/meminfo", "MemTotal:       65728 kB\nMemFree:        1 kB\nSwapTotal:      4096 kB\n");
    for node in 0..2 {
        let directory = format!("sys/devices/system/node/node{node}");
        tree.file(&format!("{directory}/meminfo"), format!("Node {node} MemTotal:       32864 kB\n"));
        tree.file(&format!("{directory}/distance"), if node == 0 { "10 21\n" } else { "21 10\n" });
        tree.file(&format!("{directory}/hugepages/hugepages-2048kB/nr_hugepages"), "8\n");
    }
    tree.file("sys/devices/system/node/possible", "0-1\n");
    tree.file("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n");
    tree.file("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "16\n");
    for (slot, size) in [("mc0/dimm0", "16384"), ("mc0/dimm1", "16384"), ("mc1/dimm0", "x"), ("mc_fake/dimm0", "1")] {
        tree.file(&format!("sys/devices/system/edac/mc/{slot}/dimm_mem_type"), "Registered-DDR5\n");
        tree.file(&format!("sys/devices/system/edac/mc/{slot}/size"), format!("{size}\n"));
    }
    for (disk, number, hidden) in
        [("nvme0n1", "259:0", "0"), ("nvme0c0n1", "259:1", "1"), ("loop0", "7:0", "0"), ("sr0", "11:0", "0")]
    {
        tree.file(&format!("sys/block/{disk}/dev"), format!("{number}\n"));
        tree.file(&format!("sys/block/{disk}/size"), "2048\n");
        tree.file(&format!("sys/block/{disk}/hidden"), format!("{hidden}\n"));
        tree.file(&format!("sys/block/{disk}/queue/scheduler"), "[none] mq-deadline\n");
    }
    for device in ["eth0", "lo", "veth12", "docker0", "nerdctl0", "br-1"] {
        tree.file(&format!("sys/class/net/{device}/address"), "00:16:3e:00:00:01\n");
        tree.file(&format!("sys/class/net/{device}/mtu"), "1500\n");
    }
    tree.file("sys/class/net/eth0/speed", "10000\n");
    tree.file("sys/class/net/bonding_masters", "\n");
    tree.file("sys/class/dmi/id/product_uuid", "4C4C4544-0000\n");
    tree.file("rootfs/etc/machine-id", "0123\n");
    tree.file("proc/sys/kernel/random/boot_id", "boot\n");
    tree
}

#[test]
fn a_numa_machine_with_hyperthreads() {
    let (machine, errors) = two_sockets().read();
    // The tree has no mount table of any process.
    assert_eq!(errors, ["/sys/devices/system/edac/mc/mc1/dimm0/size: line 1: not a number"]);
    assert_eq!(machine.at, WallTime(7));
    assert_eq!(
        machine.cpus,
        CpuCounts { online: 7, cores: Some(4), sockets: Some(2), books: None, drawers: None },
        "core ids count from 0 in both sockets"
    );
    assert_eq!(machine.cpu_vendor.as_deref(), Some("GenuineIntel"));
    assert_eq!(machine.cpu_frequency_khz, Some(3_500_000));
    assert_eq!((machine.memory, machine.swap), (Some(Bytes(65_728 * 1024)), Some(Bytes(4096 * 1024))));
    let dimms = machine.memory_modules.unwrap();
    assert_eq!(
        dimms.into_iter().collect::<Vec<_>>(),
        [("Registered-DDR5".to_owned(), MemoryModules { capacity: Bytes(32 << 30), count: 2 })]
    );
    assert_eq!(
        machine.huge_pages.unwrap(),
        [HugePages { page_size: Bytes(1 << 30), pages: 0 }, HugePages { page_size: Bytes(2 << 20), pages: 16 },]
    );
    assert_eq!(
        (machine.machine_id.as_deref(), machine.system_uuid.as_deref(), machine.boot_id.as_deref()),
        (Some("0123"), Some("4C4C4544-0000"), Some("boot"))
    );
    let nvme =
        Disk { name: "nvme0n1".into(), major: 259, minor: 0, size: Bytes(1 << 20), scheduler: Some("none".into()) };
    assert_eq!(machine.disks.unwrap(), [nvme]);
    let devices = machine.network_devices.unwrap();
    let devices = devices.iter().map(|device| (device.name.as_str(), device.speed_mbit)).collect::<Vec<_>>();
    assert_eq!(devices, [("br-1", None), ("eth0", Some(10_000))]);

    let core = |id, socket, threads: &[u32], cache_id| Core {
        id,
        socket,
        book: None,
        drawer: None,
        threads: threads.to_vec(),
        caches: vec![
            cache(cache_id, 48, "Data", 1),
            cache(cache_id, 32, "Instruction", 1),
            cache(cache_id, 2048, "Unified", 2),
        ],
        uncore_caches: Vec::new(),
    };
    let node = |id, cores, caches, distances: [u64; 2]| Node {
        id,
        memory: Some(Bytes(32_864 * 1024)),
        huge_pages: Some(vec![HugePages { page_size: Bytes(2 << 20), pages: 8 }]),
        cores,
        caches,
        distances: Some(distances.to_vec()),
    };
    // Of the second socket one thread is switched off: its first core sees 3 sharers where 2 cores of 2 threads are 4,
    // and its second core 3 where 2 of 1 are 2. So the L3 is nobody's as a whole, as with cAdvisor.
    let mut second = [core(0, 1, &[4, 5], 2), core(1, 1, &[6], 3)];
    for core in &mut second {
        core.uncore_caches = vec![cache(1, 107_520, "Unified", 3)];
    }
    assert_eq!(
        machine.nodes,
        [
            node(
                0,
                vec![core(0, 0, &[0, 1], 0), core(1, 0, &[2, 3], 1)],
                vec![cache(0, 107_520, "Unified", 3)],
                [10, 21]
            ),
            node(1, second.to_vec(), Vec::new(), [21, 10]),
        ]
    );
}

#[test]
fn a_small_guest_without_numa() {
    let tree = Tree::new();
    tree.cpu(0, 0, 0);
    tree.file("sys/devices/system/cpu/online", "0\n");
    tree.file("proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu MHz\t\t: 2445.404\n");
    tree.file("proc/meminfo", "MemTotal:       1000 kB\nSwapTotal:      0 kB\n");
    let (machine, errors) = tree.read();
    assert_eq!(errors, [""; 0]);
    assert_eq!(machine.cpus, CpuCounts { online: 1, cores: Some(1), sockets: Some(1), books: None, drawers: None });
    assert_eq!(machine.cpu_frequency_khz, Some(2_445_404));
    assert_eq!(machine.swap, Some(Bytes(0)), "read as zero");
    let core = Core { threads: vec![0], ..Core::default() };
    assert_eq!(machine.nodes, [Node { cores: vec![core], ..Node::default() }]);
    assert_eq!((machine.memory_modules, machine.huge_pages), (None, None));
    assert_eq!((machine.disks, machine.network_devices), (None, None));
    assert_eq!((machine.machine_id, machine.system_uuid, machine.boot_id), (None, None, None));
}

#[test]
fn an_arm_machine_without_clock_and_cache_ids() {
    let tree = Tree::new();
    for cpu in 0..4 {
        tree.cpu(cpu, cpu as i32, 0);
        tree.cache(cpu, 0, None, (1, "Data", "32K"), &format!("{:x}", 1 << cpu));
        tree.cache(cpu, 1, None, (2, "Unified", "1024K"), "f");
        // Without a size, as on boards whose device tree does not report.
        tree.file(&format!("sys/devices/system/cpu/cpu{cpu}/cache/index2/level"), "3\n");
    }
    tree.file("proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n");
    let (machine, errors) = tree.read();
    assert_eq!(errors, [""; 0]);
    assert_eq!(machine.cpus, CpuCounts { online: 4, cores: Some(4), sockets: Some(1), books: None, drawers: None });
    assert_eq!((machine.cpu_vendor, machine.cpu_frequency_khz, machine.memory), (None, None, None));
    let [node] = &machine.nodes[..] else { panic!("{:?}", machine.nodes) };
    assert_eq!(node.cores.len(), 4);
    let own = Cache { id: None, size: Bytes(32 * 1024), kind: "Data".into(), level: 1 };
    assert!(node.cores.iter().all(|core| core.caches == std::slice::from_ref(&own)), "{node:?}");
    assert!(node.caches.is_empty());
}

#[test]
fn books_and_drawers_of_a_mainframe() {
    let tree = Tree::new();
    for cpu in 0..2 {
        tree.cpu(cpu, 0, 0);
        tree.file(&format!("sys/devices/system/cpu/cpu{cpu}/topology/book_id"), format!("{cpu}\n"));
        tree.file(&format!("sys/devices/system/cpu/cpu{cpu}/topology/drawer_id"), "0\n");
    }
    tree.file("proc/cpuinfo", "vendor_id       : IBM/S390\n");
    let (machine, _) = tree.read();
    assert_eq!((machine.cpus.books, machine.cpus.drawers), (Some(2), Some(1)));
    let books = machine.nodes[0].cores.iter().map(|core| core.book.as_deref()).collect::<Vec<_>>();
    assert_eq!(books, [Some("0"), Some("1")], "the same core id in two books is two cores");
}

#[test]
fn file_systems_are_measured_below_the_hosts_root() {
    let tree = Tree::new();
    let real = rustix::fs::stat(tree.directory.path()).unwrap();
    let (major, minor) = (rustix::fs::major(real.st_dev), rustix::fs::minor(real.st_dev));
    fs::create_dir_all(tree.path("rootfs/boot")).unwrap();
    tree.file(
        "proc/1/mountinfo",
        format!(
            "27 1 {major}:{minor} / / rw - ext4 /dev/root rw\n28 27 8:99 / /boot rw - ext4 /dev/hidden rw\n\
             29 27 8:98 / /gone rw - ext4 /dev/gone rw\n30 27 0:5 / /proc rw - proc proc rw\n"
        ),
    );
    let (machine, errors) = tree.read();
    assert_eq!(errors, [""; 0]);
    let [root] = &machine.filesystems[..] else { panic!("{:?}", machine.filesystems) };
    assert_eq!((root.device.as_str(), root.major, root.minor), ("/dev/root", major, minor));
    assert!(root.capacity.0 > 0);
}

#[test]
fn broken_files_cost_only_themselves() {
    let tree = two_sockets();
    tree.file("proc/meminfo", "MemTotal: lots\n");
    tree.file("sys/devices/system/node/node1/distance", "near\n");
    tree.file("proc/1/mountinfo", "nonsense\n");
    tree.file("proc/self/mountinfo", "nonsense\n");
    let (machine, errors) = tree.read();
    assert_eq!(
        errors,
        [
            "/proc/meminfo: line 1: not a number of kB: \"MemTotal: lots\"",
            "/sys/devices/system/node/node1/distance: line 1: not a row of distances",
            "/sys/devices/system/edac/mc/mc1/dimm0/size: line 1: not a number",
            "/proc/self/mountinfo: line 1: too few fields: \"nonsense\"",
        ]
    );
    assert_eq!((machine.memory, machine.cpus.online, machine.nodes.len()), (None, 7, 2));
}

#[test]
fn this_machine_for_a_user_without_rights() {
    // The thread changes its user, not the process.
    let reader = std::thread::spawn(|| {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        let start = Instant::now();
        let (machine, errors) =
            read(&HostRoots::default(), &IdentityFiles::default(), ListedMounts::Machines, SystemTime::now().into());
        (machine, errors, start.elapsed())
    });
    let (machine, errors, took) = reader.join().unwrap();
    println!("{took:?}");
    assert!(machine.cpus.online >= 1);
    let threads = machine.nodes.iter().flat_map(|node| &node.cores).flat_map(|core| core.threads.iter().copied());
    let mut threads = threads.collect::<Vec<_>>();
    threads.sort_unstable();
    assert_eq!(threads, crate::kernel::machine::online_cpus(&HostRoots::default()).unwrap());
    assert!(machine.memory.is_some() && machine.boot_id.is_some());
    assert!(machine.filesystems.iter().all(|filesystem| !filesystem.device.is_empty()));
    // The firmware's UUID and mounts below other users' directories are not for everybody.
    assert!(errors.iter().all(|error| matches!(error, ReadError::Denied(_))), "{errors:?}");
}
