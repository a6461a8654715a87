//! A host made of files.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::kernel::HostRoots;
use crate::kernel::cgroup::Hierarchies;
use crate::kernel::file::{FileBudget, ReadBuffer};
use crate::kernel::read_errors::ReadErrors;
use crate::reader::container::pace::Pace;
use crate::reader::container::{
    ContainerReader, ContextParts, Extras, MachineFacts, Member, NetworkFiles, ReaderContext, Scratch,
};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::units::{Bytes, WallTime};

pub(super) const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

/// Files below a temporary directory: `proc`, `sys` and `cgroup`.
pub(super) struct Host {
    directory: tempfile::TempDir,
    pub(super) budget: Arc<FileBudget>,
    pub(super) network_files: NetworkFiles,
    pub(super) errors: Arc<ReadErrors>,
    pub(super) scratch: Scratch,
}

impl Host {
    fn new(mounts: &[(&str, &str, &str)], self_cgroup: &str) -> Self {
        let host = Self {
            directory: tempfile::tempdir().unwrap(),
            budget: Arc::new(FileBudget::new(1000)),
            network_files: NetworkFiles::OpenedEachTime,
            errors: Arc::default(),
            scratch: Scratch::default(),
        };
        let root = host.path("cgroup");
        let mut mountinfo = String::new();
        for (place, kind, options) in mounts {
            let place = format!("{}{place}", root.display());
            writeln!(mountinfo, "32 31 0:29 / {place} rw - {kind} {kind} rw{options}").unwrap();
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(format!("{place}/cgroup.procs"), "").unwrap();
        }
        host.write("proc/self/mountinfo", &mountinfo);
        host.write("proc/self/cgroup", self_cgroup);
        // Files stand for namespaces: they have a device and an inode number.
        host.write("proc/1/ns/net", "");
        host.write("proc/1/net/dev", &net_dev(&[("lo", 1), ("eth0", 100), ("docker0", 7)]));
        host.write("proc/meminfo", "MemTotal: 1000 kB\nSwapTotal:       100 kB\nSwapFree:         40 kB\n");
        host.write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0\n");
        host
    }

    /// cpu and cpuacct on one mount, memory, blkio, pids, cpuset and hugetlb on their own.
    pub(super) fn v1() -> Self {
        Self::new(
            &[
                ("/cpu,cpuacct", "cgroup", ",cpu,cpuacct"),
                ("/memory", "cgroup", ",memory"),
                ("/blkio", "cgroup", ",blkio"),
                ("/pids", "cgroup", ",pids"),
                ("/cpuset", "cgroup", ",cpuset"),
                ("/hugetlb", "cgroup", ",hugetlb"),
            ],
            "6:hugetlb:/\n5:cpuset:/\n4:pids:/\n3:blkio:/\n2:memory:/\n1:cpu,cpuacct:/\n0::/\n",
        )
    }

    /// cpu, cpuacct, memory and a named hierarchy beside cgroup2.
    pub(super) fn hybrid() -> Self {
        let host = Self::new(
            &[
                ("/cpu", "cgroup", ",cpu"),
                ("/cpuacct", "cgroup", ",cpuacct"),
                ("/memory", "cgroup", ",memory"),
                ("/systemd", "cgroup", ",xattr,name=systemd"),
                ("/unified", "cgroup2", ""),
            ],
            "9:name=systemd:/\n4:memory:/\n2:cpuacct:/\n1:cpu:/\n0::/\n",
        );
        host.write("cgroup/unified/cgroup.controllers", "\n");
        host
    }

    pub(super) fn v2() -> Self {
        let host = Self::new(&[("", "cgroup2", ",nsdelegate")], "0::/init.scope\n");
        host.write("cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc dmem\n");
        host
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(super) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Writes files given as (name, text) into a directory.
    pub(super) fn write_all(&self, directory: &str, files: &[(&str, &str)]) {
        for (name, text) in files {
            self.write(&format!("{directory}/{name}"), text);
        }
    }

    pub(super) fn remove(&self, relative: &str) {
        let path = self.path(relative);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }

    pub(super) fn roots(&self) -> HostRoots {
        HostRoots { proc: self.path("proc"), sys: self.path("sys"), cgroup: self.path("cgroup"), rootfs: self.path("") }
    }

    pub(super) fn context(&self, kinds: KindSet) -> ReaderContext {
        self.context_with(kinds, Extras::default())
    }

    pub(super) fn context_with(&self, kinds: KindSet, extras: Extras) -> ReaderContext {
        let mut context = ReaderContext::new(ContextParts {
            hierarchies: Arc::new(Hierarchies::detect(&self.roots()).unwrap()),
            roots: self.roots(),
            kinds,
            budget: Arc::clone(&self.budget),
            network_files: self.network_files,
            errors: Arc::clone(&self.errors),
            load: None,
            extras,
            machine: MachineFacts {
                cpus: 4,
                present_cpus: Some(4),
                memory: Bytes(1_024_000),
                swap: Bytes(102_400),
                booted: WallTime(1_000_000_000),
                has_network: true,
                uses_bfq: false,
                ..MachineFacts::default()
            },
            clock: || NOW,
        });
        // What is expected of the next sample does not depend on how long the one before took.
        context.descriptor_pace = Arc::new(Pace::without_pause());
        context.thread_pace = Arc::new(Pace::without_pause());
        context
    }

    /// Every cgroup of this name with its id.
    pub(super) fn members(ctx: &ReaderContext, name: &str) -> Vec<Member> {
        let mut buffer = ReadBuffer::new();
        let member = |hierarchy: &crate::kernel::cgroup::Hierarchy| {
            Some(Member { hierarchy: hierarchy.id, id: hierarchy.id_of(name.as_bytes(), &mut buffer)? })
        };
        ctx.hierarchies().iter().filter_map(member).collect()
    }

    pub(super) fn reader(ctx: &ReaderContext, name: &str) -> ContainerReader {
        ContainerReader::new(name.as_bytes().into(), &Self::members(ctx, name))
    }

    pub(super) fn inode(&self, relative: &str) -> u64 {
        std::fs::metadata(self.path(relative)).unwrap().ino()
    }

    pub(super) fn error_counts(&self) -> Vec<(&'static str, u64)> {
        self.errors.counts().collect()
    }
}

pub(super) fn kinds(names: &[MetricKind]) -> KindSet {
    KindSet::none().union(names.iter().copied())
}

/// A `net/dev` with these interfaces; every counter follows from the number.
pub(super) fn net_dev(interfaces: &[(&str, u64)]) -> String {
    let mut text = "Inter-|   Receive  |  Transmit\n face |bytes    packets\n".to_owned();
    for (name, n) in interfaces {
        let values: Vec<String> = (0..16).map(|offset| (n + offset).to_string()).collect();
        writeln!(text, "{name:>6}: {}", values.join(" ")).unwrap();
    }
    text
}
