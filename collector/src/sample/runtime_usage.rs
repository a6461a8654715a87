//! What a container uses by its runtime's word, for containers whose processes are in none of the kernel's cgroups: those
//! that gVisor or Kata run inside of a sandbox.

use super::container::{Cpu, Faults, Memory, Sample};
use super::unread::{Part, Unread};
use crate::units::{Bytes, Nanos, WallTime};

/// Who says it: Kubernetes' container runtime interface.
pub const SOURCE: &str = "cri";

/// What a runtime says that a container uses. What it does not say is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeUsage {
    /// When the runtime found out.
    pub at: WallTime,
    /// CPU time since the container was made.
    pub cpu: Option<Nanos>,
    /// Memory in use.
    pub memory: Option<Bytes>,
    /// The same without what could be taken away.
    pub working_set: Option<Bytes>,
    /// Anonymous memory.
    pub rss: Option<Bytes>,
    /// Page faults.
    pub faults: Option<u64>,
    /// Those that needed I/O.
    pub major_faults: Option<u64>,
}

impl RuntimeUsage {
    /// What is reported instead of what the kernel has of a cgroup in which nothing runs. Its zeros are no zeros of the
    /// container's; only the network, which is its pod's, and the count of OOM kills stay.
    pub fn in_place_of(&self, sample: Sample) -> Sample {
        let Self { at: _, cpu, memory, working_set, rss, faults, major_faults } = *self;
        let mut unread = Unread::EVERYTHING;
        let mut known = |part, number: Option<u64>| {
            if number.is_some() {
                unread.remove(part);
            }
            number
        };
        let cpu = known(Part::CpuTotal, cpu.map(|time| time.0));
        let memory = [
            known(Part::MemoryUsage, memory.map(|bytes| bytes.0)),
            known(Part::WorkingSet, working_set.map(|bytes| bytes.0)),
            known(Part::Rss, rss.map(|bytes| bytes.0)),
            known(Part::AllFaults, faults),
            known(Part::AllMajorFaults, major_faults),
        ];
        let has_memory = memory.iter().any(Option::is_some);
        let [usage, working_set, rss, pgfault, pgmajfault] = memory.map(Option::unwrap_or_default);
        let memory = Memory {
            usage: Bytes(usage),
            working_set: Bytes(working_set),
            rss: Bytes(rss),
            hierarchical_faults: Faults { pgfault, pgmajfault },
            ..Memory::default()
        };
        Sample {
            at: sample.at,
            cpu: cpu.map(|total| Cpu { total: Nanos(total), ..Cpu::default() }),
            memory: has_memory.then_some(memory),
            network: sample.network,
            oom_kills: sample.oom_kills,
            unread,
            ..Sample::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::container::{Io, Network, Processes};

    #[test]
    fn nothing_of_the_empty_cgroup_is_left() {
        let empty = Sample {
            at: WallTime(7),
            cpu: Some(Cpu::default()),
            memory: Some(Memory::default()),
            io: Some(Io::default()),
            processes: Some(Processes::default()),
            network: Some(Network::default()),
            oom_kills: 3,
            ..Sample::default()
        };
        let usage = RuntimeUsage { cpu: Some(Nanos(5)), working_set: Some(Bytes(9)), ..RuntimeUsage::default() };
        let reported = usage.in_place_of(empty.clone());
        assert_eq!((reported.at, reported.oom_kills, reported.network.is_some()), (WallTime(7), 3, true));
        assert_eq!(reported.cpu, Some(Cpu { total: Nanos(5), ..Cpu::default() }));
        assert_eq!(reported.memory.as_ref().map(|memory| memory.working_set), Some(Bytes(9)));
        assert!(!reported.unread.has_any(&[Part::CpuTotal, Part::WorkingSet]));
        assert!(
            reported.unread.has(Part::MemoryUsage)
                && reported.unread.has(Part::Cache)
                && reported.unread.has(Part::CpuSplit)
        );
        assert_eq!((reported.io, reported.processes), (None, None));
        let nothing = RuntimeUsage::default().in_place_of(empty);
        assert_eq!((nothing.cpu, nothing.memory, nothing.unread), (None, None, Unread::EVERYTHING));
    }
}
