//! The cpu files of cgroup v2: `cpu.stat`, `cpu.max`.

use crate::kernel::text_formats::{FormatError, flat_keyed, limit, number, words};
use crate::units::Limit;

/// `cpu.stat`. The first three are there without the cpu controller too; the rest only with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// `usage_usec`: CPU time, microseconds.
    pub usage_usec: u64,
    /// `user_usec`.
    pub user_usec: u64,
    /// `system_usec`.
    pub system_usec: u64,
    /// Bandwidth control; with the controller.
    pub bandwidth: Option<Bandwidth>,
}

/// The keys of `cpu.stat` about bandwidth control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// `nr_periods`.
    pub nr_periods: u64,
    /// `nr_throttled`.
    pub nr_throttled: u64,
    /// `throttled_usec`: microseconds.
    pub throttled_usec: u64,
    /// `nr_bursts`; since 5.15.
    pub nr_bursts: Option<u64>,
    /// `burst_usec`: microseconds; since 5.15.
    pub burst_usec: Option<u64>,
}

impl CpuStat {
    /// Parses `cpu.stat`.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut stat = Self::default();
        for pair in flat_keyed(text) {
            let (key, value) = pair?;
            match key {
                b"usage_usec" => stat.usage_usec = value,
                b"user_usec" => stat.user_usec = value,
                b"system_usec" => stat.system_usec = value,
                b"nr_periods" => stat.bandwidth.get_or_insert_default().nr_periods = value,
                b"nr_throttled" => stat.bandwidth.get_or_insert_default().nr_throttled = value,
                b"throttled_usec" => stat.bandwidth.get_or_insert_default().throttled_usec = value,
                b"nr_bursts" => stat.bandwidth.get_or_insert_default().nr_bursts = Some(value),
                b"burst_usec" => stat.bandwidth.get_or_insert_default().burst_usec = Some(value),
                _ => {}
            }
        }
        Ok(stat)
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

    #[test]
    fn with_and_without_the_controller() {
        let plain = b"usage_usec 171498767\nuser_usec 131539228\nsystem_usec 39959538\nnice_usec 0\n";
        let stat =
            CpuStat { usage_usec: 171_498_767, user_usec: 131_539_228, system_usec: 39_959_538, bandwidth: None };
        assert_eq!(CpuStat::parse(plain), Ok(stat));
        let whole = [
            &plain[..],
            b"core_sched.force_idle_usec 0\nnr_periods 7\nnr_throttled 2\nthrottled_usec 1500\nnr_bursts 1\nburst_usec 9\n",
        ]
        .concat();
        let bandwidth =
            Bandwidth { nr_periods: 7, nr_throttled: 2, throttled_usec: 1500, nr_bursts: Some(1), burst_usec: Some(9) };
        assert_eq!(CpuStat::parse(&whole), Ok(CpuStat { bandwidth: Some(bandwidth), ..stat }));
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
            let _ = (CpuStat::parse(&text), CpuMax::parse(&text));
        }
    }
}
