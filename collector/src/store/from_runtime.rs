//! Whose word counts for what a container uses: the kernel's, or that of its runtime where the kernel sees nothing of it.
//!
//! A container whose processes a sandbox runs (gVisor, Kata) may have a cgroup in which nothing has ever run: no CPU time
//! was used in it, not even that of starting a process. While its runtime says that it runs, the kernel's zeros are not its
//! own, and what the runtime says is reported, or nothing.

use std::time::{Duration, Instant};

use crate::sample::container::Sample;
use crate::sample::identity::{Identity, NetworkOwner, Runtime};
use crate::sample::runtime_usage::RuntimeUsage;
use crate::sample::unread::Part;
use crate::units::WallTime;

/// What the runtime said longer ago counts no more: it is asked at least once a minute.
const OLD: Duration = Duration::from_secs(90);

/// What is known of a container in this matter.
#[derive(Debug, Default)]
pub(super) struct FromRuntime {
    /// By the newest sample nothing has ever run in the cgroup.
    is_unused: bool,
    /// What the runtime said, and when that was heard.
    usage: Option<(RuntimeUsage, Instant)>,
    /// The time of what is in a sample already.
    reported: WallTime,
}

/// Whether the runtime of this container can be asked, and says that it runs. A pod's sandbox is no container to it.
pub(super) fn runs(identity: &Identity) -> bool {
    let asks = identity.runtime == Runtime::Containerd || identity.runtime == Runtime::CriO;
    asks && identity.process.is_some() && identity.network == NetworkOwner::AnotherContainer
}

impl FromRuntime {
    /// Whether what is reported of it has to be its runtime's word; `runs` is whether the runtime can be asked and says that
    /// the container runs.
    pub(super) fn is_the_runtimes(&self, runs: impl FnOnce() -> bool) -> bool {
        self.usage.is_some() || self.is_unused && runs()
    }

    /// Whether what is reported of it is its runtime's word.
    pub(super) fn is_from_runtime(&self) -> bool {
        self.usage.is_some()
    }

    /// The runtime said this.
    pub(super) fn hear(&mut self, usage: RuntimeUsage) {
        self.usage = Some((usage, Instant::now()));
    }

    /// What is reported of a sample of the cgroup; `None` for nothing new. `before` is the time of the last one.
    pub(super) fn settle(
        &mut self,
        sample: Sample,
        before: Option<WallTime>,
        runs: impl FnOnce() -> bool,
    ) -> Option<Sample> {
        let total = sample.cpu.as_ref().filter(|_| !sample.unread.has(Part::CpuTotal)).map(|cpu| cpu.total.0);
        self.is_unused = total == Some(0);
        match self.usage {
            // Most are decided here.
            None if !self.is_unused || !runs() => Some(sample),
            Some((usage, heard)) if heard.elapsed() < OLD => {
                if usage.at <= self.reported {
                    return None;
                }
                self.reported = usage.at;
                // The numbers are those of then: rates are true.
                let at =
                    if before.is_none_or(|before| usage.at > before) { usage.at.min(sample.at) } else { sample.at };
                Some(usage.in_place_of(Sample { at, ..sample }))
            }
            _ => Some(RuntimeUsage::default().in_place_of(sample)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::container::Cpu;
    use crate::units::Nanos;

    fn sample(at: u64, total: u64) -> Sample {
        Sample { at: WallTime(at), cpu: Some(Cpu { total: Nanos(total), ..Cpu::default() }), ..Sample::default() }
    }

    fn total(sample: Option<Sample>) -> Option<(u64, Option<u64>)> {
        sample.map(|sample| (sample.at.0, sample.cpu.map(|cpu| cpu.total.0)))
    }

    #[test]
    fn the_runtimes_word_counts_where_nothing_ever_ran() {
        let mut reported = FromRuntime::default();
        assert_eq!(
            total(reported.settle(sample(10, 0), None, || false)),
            Some((10, Some(0))),
            "nobody says that it runs"
        );
        assert_eq!(
            total(reported.settle(sample(20, 0), Some(WallTime(10)), || true)),
            Some((20, None)),
            "no zero of its own"
        );
        reported.hear(RuntimeUsage { at: WallTime(25), cpu: Some(Nanos(700)), ..RuntimeUsage::default() });
        assert_eq!(total(reported.settle(sample(30, 0), Some(WallTime(20)), || true)), Some((25, Some(700))));
        assert_eq!(total(reported.settle(sample(40, 0), Some(WallTime(25)), || true)), None, "nothing new");
        reported.hear(RuntimeUsage { at: WallTime(45), cpu: Some(Nanos(900)), ..RuntimeUsage::default() });
        // A process in the cgroup later on does not make the counter step back.
        assert_eq!(total(reported.settle(sample(50, 3), Some(WallTime(25)), || true)), Some((45, Some(900))));
        let long_ago = Instant::now().checked_sub(OLD).unwrap();
        reported.usage = Some((RuntimeUsage { at: WallTime(55), ..RuntimeUsage::default() }, long_ago));
        assert_eq!(total(reported.settle(sample(60, 0), Some(WallTime(45)), || true)), Some((60, None)), "old");
    }

    #[test]
    fn what_ran_in_its_cgroup_is_the_kernels() {
        let mut reported = FromRuntime::default();
        assert_eq!(total(reported.settle(sample(10, 5), None, || true)), Some((10, Some(5))));
        assert!(!reported.is_the_runtimes(|| true) && !reported.is_from_runtime());
        reported.settle(sample(20, 0), None, || false);
        assert!(reported.is_the_runtimes(|| true) && !reported.is_the_runtimes(|| false));
    }

    #[test]
    fn a_runtime_is_asked_about_containers_that_run() {
        let identity = Identity {
            process: Some(7),
            network: NetworkOwner::AnotherContainer,
            ..Identity::from_path(Runtime::Containerd, "x".to_owned())
        };
        assert!(runs(&identity));
        assert!(!runs(&Identity { network: NetworkOwner::Pod, ..identity.clone() }), "a sandbox");
        assert!(!runs(&Identity { process: None, ..identity.clone() }), "it does not run");
        assert!(!runs(&Identity { runtime: Runtime::Docker.into(), ..identity }));
    }
}
