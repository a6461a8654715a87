//! A node with pods of every sort.

use std::sync::Arc;

use crate::api::kubelet::{NodeCgroup, Role, Snapshot, SwapLimit, SystemContainer};
use crate::sample::container::*;
use crate::sample::event::Name;
use crate::sample::filesystem::*;
use crate::sample::identity::{Identity, NetworkOwner, Runtime};
use crate::sample::images::{Holds, ImageStore};
use crate::sample::machine::{Filesystem, FilesystemRole, Filesystems, Machine, Tasks};
use crate::sample::pods::{PodFiles, PodName, Volume, VolumeFilesystem, VolumeKind};
use crate::sample::spec::{MemoryLimit, MemorySpec, Spec};
use crate::units::{Bytes, Micros, Nanos, WallTime};

pub(super) const SECOND: u64 = 1_000_000_000;
/// When the newest samples were taken: not on a whole second.
pub(super) const SAMPLED: WallTime = WallTime(1_704_164_645_120_000_000);
pub(super) const UID: &str = "3f2a8a52-7c1f-4c58-9a54-0123456789ab";
const UNTOLD: &str = "aaaaaaaa-7c1f-4c58-9a54-0123456789ab";
const NAMELESS: &str = "bbbbbbbb-7c1f-4c58-9a54-0123456789ab";

/// The hierarchy that the memory controller is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    V1,
    V2,
}

pub(super) fn name(text: &str) -> Name {
    text.as_bytes().into()
}

fn pressure(layout: Layout, total: u64) -> Option<Pressure> {
    let row = |total| PressureRow { total: Micros(total), avg10: 1234, avg60: 5, avg300: 100 };
    (layout == Layout::V2).then(|| Pressure { some: Some(row(total)), full: Some(row(total / 2)) })
}

/// A sample of a cgroup that used so many milliseconds of CPU time and has so many MiB.
pub(super) fn sample(layout: Layout, at: WallTime, cpu_ms: u64, mib: u64) -> Sample {
    Sample {
        at,
        cpu: Some(Cpu { total: Nanos(cpu_ms * 1_000_000), pressure: pressure(layout, 2_000_001), ..Cpu::default() }),
        memory: Some(Memory {
            usage: Bytes(mib << 20),
            rss: Bytes(mib << 18),
            working_set: Bytes(mib << 19),
            swap: Some(Bytes(4096)),
            own_faults: Faults { pgfault: 1000, pgmajfault: 5 },
            hierarchical_faults: Faults { pgfault: 2000, pgmajfault: 9 },
            pressure: pressure(layout, 400),
            ..Memory::default()
        }),
        io: Some(Io { devices: Vec::new(), pressure: pressure(layout, 8) }),
        ..Sample::default()
    }
}

pub(super) fn network(names: &[&str]) -> Network {
    let traffic = |bytes| Traffic { bytes, packets: bytes / 100, errors: 1, dropped: 2 };
    let interface = |name: &&str| Interface { name: (*name).into(), receive: traffic(123_456), transmit: traffic(7) };
    Network { interfaces: names.iter().map(interface).collect(), ..Network::default() }
}

/// A cgroup with two samples, a second apart; it used a twentieth of a CPU.
pub(super) fn entry(layout: Layout, path: &str, role: Role, mib: u64) -> NodeCgroup {
    let created = WallTime(1_704_164_000 * SECOND + mib * SECOND + 500_000_000);
    let limit = |bytes| match layout {
        Layout::V2 if bytes > 1 << 40 => MemoryLimit::Max,
        Layout::V1 | Layout::V2 => MemoryLimit::Bytes(Bytes(bytes)),
    };
    let swap = if layout == Layout::V1 { (mib << 21) + 8192 } else { 8192 };
    let memory = MemorySpec {
        limit: Some(limit(mib << 21)),
        reservation: None,
        swap_limit: Some(limit(swap)),
        zswap_limit: None,
    };
    NodeCgroup {
        name: name(path),
        role,
        spec: Spec { created: Some(created), memory: Some(memory), ..Spec::default() },
        newest: Some(Arc::new(sample(layout, SAMPLED, mib * 1000 + 50, mib))),
        before: Some(Arc::new(sample(layout, WallTime(SAMPLED.0 - SECOND), mib * 1000, mib))),
        ..NodeCgroup::default()
    }
}

pub(super) fn identity(id: &str, labels: &[(&str, &str)]) -> Identity {
    let labels = labels.iter().map(|(key, value)| (format!("io.kubernetes.{key}"), (*value).to_owned())).collect();
    Identity {
        labels,
        created: Some(WallTime(1_704_164_100 * SECOND + 900_000_000)),
        ..Identity::from_path(Runtime::Containerd, id.to_owned())
    }
}

fn measured(bytes: u64, inodes: u64) -> Measured {
    let usage = DiskUsage { bytes: Bytes(bytes), inodes: Some(inodes) };
    Measured { usage, at: WallTime(SAMPLED.0 - 20 * SECOND), by: Method::Walk }
}

fn storage() -> Storage {
    Storage {
        filesystem: Some(LayerFilesystem { device: "/dev/vdb".to_owned(), ..LayerFilesystem::default() }),
        layer: Some(measured(1_234_944, 17)),
        ..Storage::default()
    }
}

fn filesystem(device: &str, gigabytes: u64, roles: &[FilesystemRole]) -> Filesystem {
    Filesystem {
        device: device.to_owned(),
        capacity: Bytes(gigabytes * 1_000_000_000),
        usage: Bytes(gigabytes * 400_000_000),
        available: Bytes(gigabytes * 500_000_000),
        inodes: 3_000_000,
        inodes_free: 2_500_000,
        roles: roles.to_vec(),
        ..Filesystem::default()
    }
}

fn files() -> PodFiles {
    let size = VolumeFilesystem {
        capacity: Bytes(50_000_000_000),
        available: Bytes(25_000_000_000),
        inodes: 3_000_000,
        inodes_free: 2_500_000,
    };
    let volume = |name: &str, kind, bytes, inodes| Volume {
        name: name.to_owned(),
        kind,
        filesystem: size,
        used: Some(DiskUsage { bytes: Bytes(bytes), inodes: Some(inodes) }),
        at: WallTime(SAMPLED.0 - 10 * SECOND),
    };
    // A file system that makes inodes as needed.
    let btrfs = VolumeFilesystem { inodes: 0, inodes_free: 0, ..size };
    PodFiles {
        name: Some(PodName { namespace: "shop".to_owned(), name: "web-0".to_owned() }),
        volumes: vec![
            volume("cache", VolumeKind::LocalEphemeral, 40_960, 3),
            volume("token", VolumeKind::Ephemeral, 12_288, 9),
            Volume { filesystem: btrfs, used: None, ..volume("pv-1", VolumeKind::Persistent, 0, 0) },
        ],
        logs: [("app".to_owned(), measured(8192, 2))].into(),
        pod_logs: None,
        kubelet_files: Some(measured(4096, 1)),
    }
}

/// The pod's cgroup, as the kubelet and the runtime name it with cgroup drivers `cgroupfs` and `systemd`.
pub(super) fn pod_cgroup(layout: Layout, uid: &str) -> String {
    match layout {
        Layout::V1 => format!("/kubepods/burstable/pod{uid}"),
        Layout::V2 => {
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice", uid.replace('-', "_"))
        }
    }
}

pub(super) fn member(layout: Layout, uid: &str, id: &str, mib: u64) -> NodeCgroup {
    let pod = pod_cgroup(layout, uid);
    let path = match layout {
        Layout::V1 => format!("{pod}/{id}"),
        Layout::V2 => format!("{pod}/cri-containerd-{id}.scope"),
    };
    entry(layout, &path, Role::Container { pod: uid.to_owned(), pod_cgroup: name(&pod) }, mib)
}

/// The node.
pub(crate) fn node(layout: Layout) -> Snapshot {
    let pod_labels = [("pod.name", "web-0"), ("pod.namespace", "shop"), ("pod.uid", UID)];
    let labelled = |id: &str, container: Option<&str>| {
        let own = container.map(|container| ("container.name", container));
        identity(id, &pod_labels.into_iter().chain(own).collect::<Vec<_>>())
    };
    let reported = |entry: NodeCgroup, identity: Identity| NodeCgroup { identity: Some(Arc::new(identity)), ..entry };
    let system = if layout == Layout::V1 { ["/kubelet.slice", "/kubepods"] } else { ["/k.service", "/kubepods.slice"] };
    let mut sandbox =
        reported(member(layout, UID, "5a5a", 1), Identity { network: NetworkOwner::Pod, ..labelled("5a5a", None) });
    let with_network = Sample { network: Some(network(&["eth0", "net1"])), ..sample(layout, SAMPLED, 1050, 1) };
    sandbox.newest = Some(Arc::new(with_network));
    sandbox.processes = Some(1);
    let app = NodeCgroup {
        storage: Some(Arc::new(storage())),
        processes: Some(4),
        ..reported(member(layout, UID, "c0de", 40), labelled("c0de", Some("app")))
    };
    // The run before, whose cgroup is still there.
    let mut earlier = reported(member(layout, UID, "01d0", 2), labelled("01d0", Some("app")));
    let mut dead = sample(layout, SAMPLED, 2000, 0);
    dead.memory = Some(Memory::default());
    earlier.newest = Some(Arc::new(dead));
    let mut root = entry(layout, "/", Role::Other, 900);
    root.newest = Some(Arc::new(Sample { network: Some(network(&["ens3"])), ..sample(layout, SAMPLED, 900_050, 900) }));
    let by_path = |uid: &str, id: &str| {
        let identity = Identity { labels: [].into(), created: None, ..identity(id, &[]) };
        reported(member(layout, uid, id, 3), identity)
    };
    let entries = vec![
        root,
        entry(layout, system[0], Role::Other, 70),
        entry(layout, system[1], Role::Other, 120),
        entry(layout, &pod_cgroup(layout, UID), Role::Pod(UID.to_owned()), 45),
        sandbox,
        app,
        earlier,
        entry(layout, &pod_cgroup(layout, UNTOLD), Role::Pod(UNTOLD.to_owned()), 5),
        by_path(UNTOLD, "f00d"),
        by_path(NAMELESS, "d1ce"),
    ];
    let unreported = PodFiles {
        name: Some(PodName { namespace: "kube-system".to_owned(), name: "etcd".to_owned() }),
        ..PodFiles::default()
    };
    let images = |holds, bytes| ImageStore {
        runtime: Runtime::Containerd,
        directory: "/var/lib/containerd".into(),
        holds,
        used: Some(measured(bytes, 4000)),
    };
    let root_disk = filesystem("/dev/vda1", 50, &[FilesystemRole::Root]);
    let image_disk = filesystem("/dev/vdb", 100, &[FilesystemRole::Images(Runtime::Containerd)]);
    Snapshot {
        node: "node-1".to_owned(),
        booted: Some(WallTime(1_704_100_000 * SECOND)),
        entries: entries.into_iter().map(Arc::new).collect(),
        system: vec![(SystemContainer::Kubelet, name(system[0])), (SystemContainer::Pods, name(system[1]))],
        files: [(UID.to_owned(), Arc::new(files())), (UNTOLD.to_owned(), Arc::new(unreported))].into(),
        machine: Arc::new(Machine { memory: Some(Bytes(8 << 30)), swap: Some(Bytes(1 << 30)), ..Machine::default() }),
        filesystems: Some(Arc::new(Filesystems {
            at: SAMPLED,
            list: vec![root_disk.clone(), image_disk],
            image_stores: vec![images(Holds::Images, 5_000_000_000)],
        })),
        node_filesystem: Some(root_disk),
        tasks: Some(Tasks { at: SAMPLED, max: Some(32_768), current: Some(345) }),
        swap_limit: if layout == Layout::V1 { SwapLimit::WithMemory } else { SwapLimit::Alone },
    }
}
