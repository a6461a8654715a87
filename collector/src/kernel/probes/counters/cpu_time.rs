//! CPU time, shared out between user and system as the kernel does it: `cputime_adjust`.
//!
//! The kernel counts user and system time by ticks and the whole exactly. What it shows is the whole, shared out in
//! proportion to the ticks, and neither part less than it was shown before.

use crate::kernel::probes::btf::Btf;

/// Whether the first times of the kernel's `kernel_cpustat` are those that the programs take them for.
pub(in crate::kernel::probes) fn is_order_known(btf: &Btf<'_>) -> bool {
    let order = ["CPUTIME_USER", "CPUTIME_NICE", "CPUTIME_SYSTEM", "CPUTIME_SOFTIRQ", "CPUTIME_IRQ"];
    order.iter().enumerate().all(|(number, name)| btf.enumerator("cpu_usage_stat", name) == Some(number as u32))
}

/// The times of a cgroup as they are counted, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawTimes {
    /// User time by ticks.
    pub user: u64,
    /// System time by ticks.
    pub system: u64,
    /// All of it, exactly.
    pub total: u64,
}

/// User and system time as they are shown, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownTimes {
    /// User time.
    pub user: u64,
    /// System time.
    pub system: u64,
}

impl RawTimes {
    /// What is shown after these were.
    pub fn shared_out(self, before: ShownTimes) -> ShownTimes {
        let Self { user, system, total } = self;
        if before.user.saturating_add(before.system) >= total {
            return before;
        }
        let part = match (user, system) {
            (_, 0) => 0,
            (0, _) => total,
            _ => {
                let product = u128::from(system) * u128::from(total);
                u64::try_from(product / (u128::from(user) + u128::from(system))).unwrap_or(total).min(total)
            }
        };
        let system = part.max(before.system);
        let user = total.saturating_sub(system);
        if user < before.user {
            return ShownTimes { user: before.user, system: total.saturating_sub(before.user) };
        }
        ShownTimes { user, system }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(user: u64, system: u64) -> ShownTimes {
        ShownTimes { user, system }
    }

    #[test]
    fn the_whole_is_shared_out_in_proportion() {
        let raw = |user, system, total| RawTimes { user, system, total };
        let none = ShownTimes::default();
        assert_eq!(raw(30, 10, 100).shared_out(none), shown(75, 25));
        assert_eq!(raw(30, 0, 100).shared_out(none), shown(100, 0));
        assert_eq!(raw(0, 10, 100).shared_out(none), shown(0, 100));
        assert_eq!(raw(0, 0, 0).shared_out(none), none);
        let large = raw(u64::MAX / 2, u64::MAX / 2, u64::MAX).shared_out(none);
        assert_eq!(large.user.wrapping_add(large.system), u64::MAX);
    }

    #[test]
    fn neither_part_goes_back() {
        let raw = RawTimes { user: 90, system: 10, total: 100 };
        // Shown before with more of system than is its part by now.
        assert_eq!(raw.shared_out(shown(40, 30)), shown(70, 30));
        assert_eq!(raw.shared_out(shown(95, 2)), shown(95, 5));
        // Shown before as much as there is.
        assert_eq!(raw.shared_out(shown(60, 45)), shown(60, 45));
        assert_eq!(RawTimes { user: 90, system: 0, total: 100 }.shared_out(shown(40, 30)), shown(70, 30));
    }
}
