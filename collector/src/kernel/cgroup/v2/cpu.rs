//! The cpu files of cgroup v2: `cpu.stat`, `cpu.max`.

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{FormatError, flat_keyed, limit, number, words};
use crate::units::Limit;

/// `cpu.stat`. The first three are there without the cpu controller too; the rest only with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// `usage_usec`: CPU time, microseconds.
    pub usage_usec: Option<u64>,
    /// `user_usec`.
    pub user_usec: Option<u64>,
    /// `system_usec`.
    pub system_usec: Option<u64>,
    /// Bandwidth control; with the controller.
    pub bandwidth: Option<Bandwidth>,
}

/// The keys of `cpu.stat` about bandwidth control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// `nr_periods`.
    pub nr_periods: Option<u64>,
    /// `nr_throttled`.
    pub nr_throttled: Option<u64>,
    /// `throttled_usec`: microseconds.
    pub throttled_usec: Option<u64>,
    /// `nr_bursts`; since 5.15.
    pub nr_bursts: Option<u64>,
    /// `burst_usec`: microseconds; since 5.15.
    pub burst_usec: Option<u64>,
}

impl CpuStat {
    /// Parses `cpu.stat`.
    pub fn parse(text: &[u8], odd: &mut OddLines) -> Self {
        let mut stat = Self::default();
        let mut bandwidth = Bandwidth::default();
        let mut has_bandwidth = false;
        for (key, value) in flat_keyed(text, odd) {
            let field = match key {
                b"usage_usec" => &mut stat.usage_usec,
                b"user_usec" => &mut stat.user_usec,
                b"system_usec" => &mut stat.system_usec,
                b"nr_periods" => &mut bandwidth.nr_periods,
                b"nr_throttled" => &mut bandwidth.nr_throttled,
                b"throttled_usec" => &mut bandwidth.throttled_usec,
                b"nr_bursts" => &mut bandwidth.nr_bursts,
                b"burst_usec" => &mut bandwidth.burst_usec,
                _ => continue,
            };
            *field = Some(value);
            has_bandwidth |= !key.ends_with(b"usec") || matches!(key, b"throttled_usec" | b"burst_usec");
        }
        Self { bandwidth: has_bandwidth.then_some(bandwidth), ..stat }
    }
}

/// `cpu.max`: quota and period, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMax {
    /// First field, `max` without a limit.
    pub quota: Limit,
    /// Second field.
    pub period: u64,
}

impl CpuMax {
    /// Parses `cpu.max`: `max 100000`.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut fields = words(text.trim_ascii());
        let quota = limit(fields.next().unwrap_or_default())?;
        let period = fields.next().and_then(number).ok_or(FormatError::at(1, "no period after the quota"))?;
        Ok(Self { quota, period })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;

    #[test]
    fn with_and_without_the_controller() {
        let parse = |text: &[u8]| without_odd_lines(text, CpuStat::parse);
        let plain = b"usage_usec 171498767\nuser_usec 131539228\nsystem_usec 39959538\nnice_usec 0\n";
        let stat = CpuStat {
            usage_usec: Some(171_498_767),
            user_usec: Some(131_539_228),
            system_usec: Some(39_959_538),
            bandwidth: None,
        };
        assert_eq!(parse(plain), Ok(stat));
        let whole = [
            &plain[..],
            b"core_sched.force_idle_usec 0\nnr_periods 7\nnr_throttled 2\nthrottled_usec 1500\nnr_bursts 1\nburst_usec 9\n",
        ]
        .concat();
        let bandwidth = Bandwidth {
            nr_periods: Some(7),
            nr_throttled: Some(2),
            throttled_usec: Some(1500),
            nr_bursts: Some(1),
            burst_usec: Some(9),
        };
        assert_eq!(parse(&whole), Ok(CpuStat { bandwidth: Some(bandwidth), ..stat }));
        let mut odd = OddLines::default();
        let without_user = CpuStat::parse(b"usage_usec 171498767\nuser_usec x\nsystem_usec 39959538\n", &mut odd);
        assert_eq!((without_user, odd.count()), (CpuStat { user_usec: None, ..stat }, 1));
    }

    #[test]
    fn cpu_max() {
        assert_eq!(CpuMax::parse(b"max 100000\n"), Ok(CpuMax { quota: Limit::Max, period: 100_000 }));
        assert_eq!(CpuMax::parse(b"50000 100000\n"), Ok(CpuMax { quota: Limit::Value(50_000), period: 100_000 }));
        assert!(CpuMax::parse(b"max\n").is_err());
        assert!(CpuMax::parse(b"\n").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (CpuStat::parse(&text, &mut OddLines::default()), CpuMax::parse(&text));
        }
    }
}
