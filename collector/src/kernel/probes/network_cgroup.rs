//! What passes the sockets of each cgroup: an object of its own, loaded where the kind `network_cgroup` is switched on.
//!
//! Its two programs are attached to the root of cgroup2, beside those of others, by links that the kernel undoes with the
//! process. They let every packet pass, and keep a row for each cgroup in a map, which is read here now and then.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use aya::maps::{Array, MapData, MapError, PerCpuHashMap};
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use collector_ebpf::network_cgroup::{MOST_CGROUPS, RECEIVED, ROW_BYTES, Row, SENT};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use super::kind_object::{self, KindObject, Obstacle, WithoutKind};
use super::load::{broken, errno_of, gather_rights, map_bytes, program_failed, take_map};
use super::support::{Cause, Facility, KernelFacts};
use crate::kernel::HostRoots;

/// The programs, built by `cargo xtask bpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../collector-ebpf/networkcgroup.bpf.o");
/// The programs and what they are attached to.
const PROGRAMS: [(&str, CgroupSkbAttachType); 2] =
    [("network_received", CgroupSkbAttachType::Ingress), ("network_sent", CgroupSkbAttachType::Egress)];
/// Kernel memory that the rows may take.
const MOST_BYTES: usize = 7 << 20;
/// What the kernel needs for a row beside its words on each CPU: the entry, and its share of the table.
const BESIDE: usize = 128;

/// Packets in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// Bytes, from the IP header on.
    pub bytes: u64,
    /// How many; of segments that were put together each one.
    pub count: u64,
}

/// What passed the sockets of one cgroup since the programs were attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What they got.
    pub received: Packets,
    /// What they sent.
    pub sent: Packets,
}

/// The attached programs and their maps. Dropping it detaches them.
pub struct NetworkCgroups {
    /// Kept for its links.
    _ebpf: Ebpf,
    rows: PerCpuHashMap<MapData, u64, Row>,
    left_out: Array<MapData, u64>,
    map_bytes: u64,
}

impl std::fmt::Debug for NetworkCgroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkCgroups").field("map_bytes", &self.map_bytes).finish_non_exhaustive()
    }
}

impl NetworkCgroups {
    /// Loads the programs and attaches them to this directory of cgroup2, `None` where it is not mounted. From here on each
    /// packet of a socket in a cgroup below is counted.
    ///
    /// # Errors
    /// With the one reason why packets cannot be counted.
    pub fn load(roots: &HostRoots, top: Option<&Path>) -> Result<Self, WithoutKind> {
        Self::attach(roots, top).map_err(|obstacle| KindObject::NetworkCgroup.without(obstacle))
    }

    fn attach(roots: &HostRoots, top: Option<&Path>) -> Result<Self, Obstacle> {
        let top = top.ok_or_else(|| Obstacle {
            why: "cgroup2 is not mounted, and sockets know no other cgroup".to_owned(),
            fix: "mount cgroup2 beside cgroup v1 (as systemd does at /sys/fs/cgroup/unified), or boot with \
                  systemd.unified_cgroup_hierarchy=1",
        })?;
        let facts = gather_rights(roots);
        // Where the CPUs cannot be counted, rows cannot be read either, which is reported then.
        let rows = rows_for(nr_cpus().unwrap_or(1));
        let mut ebpf = kind_object::load(&facts, || EbpfLoader::new().map_max_entries("ROWS", rows).load(OBJECT))?;
        let map_bytes = map_bytes(&ebpf, &roots.proc);
        let (rows, left_out) = (take_map(&mut ebpf, "ROWS")?, take_map(&mut ebpf, "LEFT_OUT")?);
        let cgroup = File::open(top).map_err(|error| Obstacle {
            why: format!("{}: {error}", top.display()),
            fix: "make that directory readable to this process",
        })?;
        for (name, direction) in PROGRAMS {
            let program = ebpf.program_mut(name).ok_or_else(|| broken(&format!("no program {name}")))?;
            let program: &mut CgroupSkb = program.try_into().map_err(|error: ProgramError| broken(&error))?;
            program.load().map_err(|error| load_failed(&error, &facts))?;
            // Without flags it is a link, beside whatever programs are there already; the kernel takes no flags for one.
            let attached = program.attach(&cgroup, direction, CgroupAttachMode::Single);
            attached.map_err(|error| attach_failed(errno_of(&error), &error, top, may_attach()))?;
        }
        Ok(Self { _ebpf: ebpf, rows, left_out, map_bytes })
    }

    /// Kernel memory of all maps, as the kernel counts it.
    pub fn map_bytes(&self) -> u64 {
        self.map_bytes
    }

    /// Packets of cgroups that there was no room for.
    pub fn left_out(&self) -> u64 {
        self.left_out.get(&0, 0).unwrap_or(0)
    }

    /// What passed so far, by the kernfs ids of the sockets' cgroups in cgroup2.
    ///
    /// # Errors
    /// When the kernel refuses to read a map of ours, which it has no reason to.
    pub fn read(&self) -> std::io::Result<HashMap<u64, Traffic>> {
        let sum = |entry: Result<_, MapError>| {
            let (cgroup, on_cpus): (u64, aya::maps::PerCpuValues<Row>) = entry?;
            Ok((cgroup, on_cpus.iter().fold(Traffic::default(), with_row)))
        };
        self.rows.iter().map(sum).collect::<Result<_, MapError>>().map_err(std::io::Error::other)
    }

    /// Takes out the row of a cgroup that is gone.
    pub fn forget(&mut self, cgroup: u64) {
        // One that is not there is as good.
        let _ = self.rows.remove(&cgroup);
    }
}

fn with_row(Traffic { received, sent }: Traffic, row: &Row) -> Traffic {
    let with = |packets: Packets, direction: usize| Packets {
        bytes: packets.bytes.wrapping_add(row[direction]),
        count: packets.count.wrapping_add(row[direction + 1]),
    };
    Traffic { received: with(received, RECEIVED), sent: with(sent, SENT) }
}

/// So many rows for so many CPUs.
fn rows_for(cpus: usize) -> u32 {
    let rows = MOST_BYTES / (BESIDE + ROW_BYTES * cpus);
    u32::try_from(rows).unwrap_or(MOST_CGROUPS).clamp(1, MOST_CGROUPS)
}

/// What the kernel says of a sort of programs that it does not have, it says of wrong arguments too.
fn load_failed(error: &ProgramError, facts: &KernelFacts) -> Obstacle {
    let failure = program_failed(Facility::Program, error, facts);
    let is_unknown = match &failure.cause {
        Cause::NotBuiltIn => true,
        Cause::Refused(text) => text.is_empty() || text.contains("unknown func"),
        _ => false,
    };
    let fix = "run a kernel with CONFIG_CGROUP_BPF=y and CONFIG_SOCK_CGROUP_DATA=y";
    if is_unknown { Obstacle { why: failure.why(), fix } } else { failure.into() }
}

/// Whether programs may be attached to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Held,
    Missing,
}

fn may_attach() -> Right {
    let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if effective.contains(CapabilitySet::NET_ADMIN) { Right::Held } else { Right::Missing }
}

fn attach_failed(errno: Option<Errno>, error: &dyn std::error::Error, top: &Path, right: Right) -> Obstacle {
    let (cause, fix) = match (errno, right) {
        (Some(Errno::PERM | Errno::ACCESS), Right::Missing) => {
            ("this process lacks CAP_NET_ADMIN".to_owned(), "run as root, or grant CAP_NET_ADMIN")
        }
        (Some(Errno::PERM | Errno::ACCESS), Right::Held) => (
            "a program that bears no other beside it is attached there, or a security module forbids it".to_owned(),
            "see with `bpftool cgroup show` whose program it is: it has to be attached with BPF_F_ALLOW_MULTI",
        ),
        (Some(Errno::INVAL | Errno::BADF | Errno::NOSYS | Errno::OPNOTSUPP), _) => (
            "this kernel has no links between programs and cgroups".to_owned(),
            "run kernel 5.8 or newer with CONFIG_CGROUP_BPF=y",
        ),
        (Some(_), _) => ("the system is short of memory or descriptors".to_owned(), "look at the machine's memory"),
        (None, _) => (error.to_string(), "report this line and the kernel's version"),
    };
    let errno = errno.map(|errno| format!(" ({errno})")).unwrap_or_default();
    Obstacle { why: format!("attaching BPF programs to {} failed{errno}: {cause}", top.display()), fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_within_their_memory() {
        assert_eq!(rows_for(2), MOST_CGROUPS);
        for cpus in [1, 4, 16, 64, 256, 1024] {
            let rows = rows_for(cpus);
            assert!(rows as usize * (BESIDE + ROW_BYTES * cpus) <= MOST_BYTES, "{rows} rows on {cpus} CPUs");
            assert!(rows > 200, "{rows} rows on {cpus} CPUs");
        }
    }

    #[test]
    fn cpus_are_added_up() {
        let rows: [Row; 2] = [[1, 2, 3, 4], [10, 20, 30, 40]];
        let expected = Traffic { received: Packets { bytes: 11, count: 22 }, sent: Packets { bytes: 33, count: 44 } };
        assert_eq!(rows.iter().fold(Traffic::default(), with_row), expected);
    }

    #[test]
    fn reasons_name_what_helps() {
        let top = Path::new("/sys/fs/cgroup");
        let error = std::io::Error::other("odd");
        let reason =
            |errno, right| KindObject::NetworkCgroup.without(attach_failed(errno, &error, top, right)).to_string();
        let text = reason(Some(Errno::PERM), Right::Missing);
        assert_eq!(
            text,
            "kind network_cgroup: packets of cgroups are not counted: attaching BPF programs to /sys/fs/cgroup failed \
             (Operation not permitted (os error 1)): this process lacks CAP_NET_ADMIN; lost: bytes and packets of each \
             container in a network that it shares; to fix: run as root, or grant CAP_NET_ADMIN"
        );
        assert!(reason(Some(Errno::PERM), Right::Held).contains("BPF_F_ALLOW_MULTI"));
        assert!(reason(Some(Errno::INVAL), Right::Held).contains("5.8"));
        assert!(reason(None, Right::Held).contains("odd"));
    }

    #[test]
    fn without_cgroup2_there_is_a_reason() {
        let without = NetworkCgroups::load(&HostRoots::default(), None).unwrap_err();
        assert!(without.why.contains("cgroup2 is not mounted"), "{without}");
    }
}
