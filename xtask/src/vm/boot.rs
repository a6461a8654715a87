//! The matrix: which kernel boots with which cgroup hierarchies, and what is tried on it.

use std::fmt;

use super::engines;
use super::kernel::{RELEASES, Release};
use crate::processor::Processor;

/// Which cgroup hierarchies are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Layout {
    /// Every controller in a v1 hierarchy, and no cgroup2
    V1,
    /// The same with cgroup2 at `/sys/fs/cgroup/unified`, as systemd mounts it
    Hybrid,
    /// cgroup2 alone, with every controller on
    V2,
}

impl Layout {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::V1, Self::Hybrid, Self::V2];

    /// What `init.sh`, the suite and tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
            Self::V2 => "v2",
        }
    }
}

/// What the machine is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hardware {
    /// One processor.
    Single,
    /// Two processors, all memory alike.
    Plain,
    /// Four processors in two NUMA nodes.
    Numa,
}

/// Whether the kernel accounts for pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// `psi=1`.
    On,
    /// `psi=0`.
    Off,
}

/// What the machine's root file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// Its initramfs, with nothing but busybox, the collector and the suite.
    Own,
    /// This machine's, with the container engines that are installed here.
    Host,
    /// The same with its systemd as the first process, which starts the engines.
    Systemd,
}

impl Root {
    /// Whether it is this machine's.
    pub(crate) fn is_shared(self) -> bool {
        self != Self::Own
    }

    /// What `init.sh` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Host => "host",
            Self::Systemd => "systemd",
        }
    }
}

/// Which tests run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All that the machine's root has the programs for.
    Full,
    /// Those that belong on every kernel.
    Essential,
    /// These, and those whose name contains one of these.
    EssentialAnd(Vec<String>),
    /// Those whose name contains one of these.
    Named(Vec<String>),
    /// The same, with as few rounds as the essential tests have.
    NamedBriefly(Vec<String>),
}

/// One start of a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Its processor's kind.
    pub(crate) processor: Processor,
    /// The kernel's name.
    pub(crate) kernel: String,
    /// Its cgroup hierarchies.
    pub(crate) layout: Layout,
    /// Its processors and memory.
    pub(crate) hardware: Hardware,
    /// Its pressure accounting.
    pub(crate) pressure: Pressure,
    /// Its root file system.
    pub(crate) root: Root,
    /// Its tests.
    pub(crate) scope: Scope,
}

impl Boot {
    /// A kernel in a layout, with the essential tests.
    pub(crate) fn new(kernel: &str, layout: Layout) -> Self {
        Self {
            processor: Processor::Amd64,
            kernel: kernel.to_owned(),
            layout,
            hardware: Hardware::Plain,
            pressure: Pressure::On,
            root: Root::Own,
            scope: Scope::Essential,
        }
    }

    /// Whether its rows belong in the tables: those show what a kernel has that is set up well, each once.
    pub(crate) fn is_tabled(&self) -> bool {
        self.pressure == Pressure::On && self.root == Root::Own && self.processor == Processor::Amd64
    }

    /// The arguments by which the suite selects the tests.
    pub(super) fn arguments(&self) -> Vec<String> {
        match (&self.scope, self.root) {
            (Scope::Full, Root::Own) => engines::NEED_ENGINES.map(|name| ["--skip", name].map(str::to_owned)).concat(),
            (Scope::Full, Root::Host) => ["--skip", engines::INSTALLED].map(str::to_owned).to_vec(),
            (Scope::Full, Root::Systemd) => vec![engines::INSTALLED.to_owned()],
            (Scope::Essential, _) => vec!["--essential".to_owned()],
            (Scope::EssentialAnd(names), _) => {
                let also = names.iter().flat_map(|name| ["--also".to_owned(), name.clone()]);
                std::iter::once("--essential".to_owned()).chain(also).collect()
            }
            (Scope::Named(names), _) => names.clone(),
            (Scope::NamedBriefly(names), _) => {
                let also = names.iter().flat_map(|name| ["--also".to_owned(), name.clone()]);
                std::iter::once("--essential".to_owned()).chain(also).chain(names.iter().cloned()).collect()
            }
        }
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kernel, self.layout.name())?;
        f.write_str(if self.pressure == Pressure::Off { "-nopsi" } else { "" })?;
        f.write_str(match self.root {
            Root::Own => "",
            Root::Host => "-engines",
            Root::Systemd => "-systemd",
        })?;
        f.write_str(if self.processor == Processor::Arm64 { "-arm64" } else { "" })
    }
}

/// The kernel on which, with cgroup2 alone, more than the essential tests run.
const MORE_ON: &str = "6.12";

/// The tests that are about cgroup2, or to which it makes a difference.
const ABOUT_CGROUP2: [&str; 6] =
    ["statistics_v2::", "paths::", "recreate::", "discovery::", "storm::stopped_collector", "network::"];

/// What is tried where the kernel does not account for pressure: that the rest does not suffer from it.
const WITHOUT_PRESSURE: [&str; 3] = ["statistics_v2::", "discovery::all_are_listed_once", "degraded::ebpf_or_nothing"];

/// The kernels that boot on arm64 too, with cgroup2 alone.
const ON_ARM64: [&str; 3] = ["6.1", "6.12", "7"];

/// What is tried there: all that depends on what the kernel's structures and arguments look like, each of our eBPF objects
/// at its work among it, on the size of pages, and the machine.
const ABOUT_ARM64: [&str; 19] = [
    "programs::",
    "selftest::oom_tracepoint",
    "machine::matches_the_kernel",
    "parity::",
    "statistics_v2::cpu",
    "statistics_v2::memory",
    "final_sample::cgroup2",
    "last_readings::cgroup2",
    "kernel_memory::of_cgroup2",
    "runqueue::the_neighbour",
    "blocklatency::agrees",
    "blocklatency::the_task",
    "network_cgroup::neighbours",
    "oom::victim_limit_and_trigger_are_named",
    "oom::of_a_group_each_process_counts_once",
    "events_http::times",
    "events_http::present_at_start",
    "degraded::containers_and_events",
    "metrics::same_as_the_api",
];

/// Every boot, the longest first.
pub(crate) fn matrix() -> Vec<Boot> {
    let mut boots: Vec<Boot> = RELEASES.iter().flat_map(|release| of_release(*release)).collect();
    boots.sort_by_key(|boot| (!boot.root.is_shared(), !matches!(boot.scope, Scope::EssentialAnd(_))));
    boots
}

/// The boots of one kernel.
fn of_release(release: Release) -> Vec<Boot> {
    let mut boots = Vec::new();
    for layout in Layout::ALL {
        let mut boot = Boot::new(release.name, layout);
        // Every layout has it once: emulated processors beyond those of this machine cost time, and where events of
        // several at once have been seen with cgroup2, a third of the time is saved with one.
        boot.hardware = match (release.name, layout) {
            ("5.10", Layout::V1) | ("6.1", Layout::Hybrid) | ("7", Layout::V2) => Hardware::Numa,
            (_, Layout::V1 | Layout::Hybrid) => Hardware::Single,
            (_, Layout::V2) => Hardware::Plain,
        };
        if (release.name, layout) == (MORE_ON, Layout::V2) {
            boot.scope = Scope::EssentialAnd(ABOUT_CGROUP2.map(str::to_owned).to_vec());
            let names = WITHOUT_PRESSURE.map(str::to_owned).to_vec();
            boots.push(Boot { pressure: Pressure::Off, scope: Scope::Named(names), ..boot.clone() });
            let names = engines::TESTS.map(str::to_owned).to_vec();
            boots.push(Boot { root: Root::Host, scope: Scope::Named(names), ..boot.clone() });
            let names = vec![engines::INSTALLED.to_owned()];
            boots.push(Boot { root: Root::Systemd, scope: Scope::Named(names), ..boot.clone() });
        }
        boots.push(boot);
    }
    if ON_ARM64.contains(&release.name) {
        boots.push(Boot {
            processor: Processor::Arm64,
            scope: Scope::NamedBriefly(ABOUT_ARM64.map(str::to_owned).to_vec()),
            ..Boot::new(release.name, Layout::V2)
        });
    }
    boots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_boots_with_every_layout() {
        let boots = matrix();
        for release in RELEASES {
            for layout in Layout::ALL {
                let of_it = boots.iter().filter(|boot| boot.kernel == release.name && boot.layout == layout);
                assert_eq!(of_it.filter(|boot| boot.is_tabled()).count(), 1, "{} {layout:?}", release.name);
            }
        }
    }

    #[test]
    fn names_differ_and_the_longest_comes_first() {
        let boots = matrix();
        let mut names: Vec<String> = boots.iter().map(Boot::to_string).collect();
        assert_eq!(names[..3], ["6.12-v2-engines", "6.12-v2-systemd", "6.12-v2"]);
        assert_eq!(boots.iter().filter(|boot| matches!(boot.scope, Scope::EssentialAnd(_))).count(), 1);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), boots.len());
    }
}
