//! How the descriptors that the process may have are shared out between clients and the files of the kernel.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors left for everything but statistics files: sockets, the programs, directories under way.
pub const RESERVED_DESCRIPTORS: usize = 512;

/// What the kernel allows at most without configuration (`fs.nr_open`), for a limit that is "unlimited".
const UNLIMITED_DESCRIPTORS: u64 = 1 << 20;
/// Connections of clients at most, where there are descriptors enough.
const MOST_CONNECTIONS: usize = 448;
/// Descriptors for everything but connections and statistics files, where there are few: listeners, the programs, files
/// and directories that are opened for a moment, connections to runtimes and receivers.
const OTHER_DESCRIPTORS: usize = 112;
/// Fewer connections are of no use.
const FEWEST_CONNECTIONS: usize = 16;

/// How the descriptors that the process may have are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorPlan {
    /// How many it may have: `RLIMIT_NOFILE`.
    pub limit: usize,
    /// For connections of clients.
    pub connections: usize,
    /// For statistics files that stay open.
    pub statistics: usize,
}

impl DescriptorPlan {
    /// Raises the process's soft `RLIMIT_NOFILE` to the hard one and shares it out.
    pub fn of_process() -> Self {
        Self::of(raise_limit())
    }

    /// With few, connections and statistics have the same; with many, what connections do not need is for statistics.
    fn of(limit: usize) -> Self {
        let shared = limit.saturating_sub(OTHER_DESCRIPTORS);
        let connections = (shared / 2).clamp(FEWEST_CONNECTIONS, MOST_CONNECTIONS);
        let others =
            if limit >= 2 * RESERVED_DESCRIPTORS { RESERVED_DESCRIPTORS } else { OTHER_DESCRIPTORS + connections };
        Self { limit, connections, statistics: limit.saturating_sub(others) }
    }
}

fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Some(maximum.unwrap_or(UNLIMITED_DESCRIPTORS));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum }).is_ok();
    let usable = if raised { wanted } else { current }.unwrap_or(UNLIMITED_DESCRIPTORS);
    usize::try_from(usable).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_are_shared() {
        let shares = |limit| {
            let plan = DescriptorPlan::of(limit);
            (plan.connections, plan.statistics)
        };
        assert_eq!(shares(1 << 20), (448, (1 << 20) - 512));
        assert_eq!(shares(1024), (448, 512));
        assert_eq!(shares(256), (72, 72));
        assert_eq!(shares(64), (16, 0));
        for limit in 128..5000 {
            let plan = DescriptorPlan::of(limit);
            assert!(plan.connections + plan.statistics + 64 <= limit || plan.statistics == 0, "{plan:?}");
        }
    }

    #[test]
    fn the_process_limit_is_raised_to_the_hard_one() {
        let plan = DescriptorPlan::of_process();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(Some(plan.limit as u64), limit.current);
    }
}
