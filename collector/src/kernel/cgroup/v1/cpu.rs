//! The cpu controller of cgroup v1: `cpu.stat`.

use crate::kernel::text_formats::{FormatError, flat_keyed};

/// `cpu.stat`: CFS bandwidth control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// `nr_periods`: enforcement periods that have elapsed.
    pub nr_periods: u64,
    /// `nr_throttled`: periods in which the cgroup was throttled.
    pub nr_throttled: u64,
    /// `throttled_time`: nanoseconds.
    pub throttled_time: u64,
    /// `nr_bursts`: periods in which a burst happened; since 5.15.
    pub nr_bursts: Option<u64>,
    /// `burst_time`: nanoseconds used above the quota; since 5.15.
    pub burst_time: Option<u64>,
}

impl CpuStat {
    /// Parses `cpu.stat`.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let mut stat = Self::default();
        for pair in flat_keyed(text) {
            let (key, value) = pair?;
            match key {
                b"nr_periods" => stat.nr_periods = value,
                b"nr_throttled" => stat.nr_throttled = value,
                b"throttled_time" => stat.throttled_time = value,
                b"nr_bursts" => stat.nr_bursts = Some(value),
                b"burst_time" => stat.burst_time = Some(value),
                _ => {}
            }
        }
        Ok(stat)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded() {
        // 6.18, and the same file of 4.19.
        let new = b"nr_periods 3\nnr_throttled 2\nthrottled_time 170000000\nnr_bursts 1\nburst_time 5\n";
        let stat = CpuStat { nr_periods: 3, nr_throttled: 2, throttled_time: 170_000_000, ..CpuStat::default() };
        assert_eq!(CpuStat::parse(new), Ok(CpuStat { nr_bursts: Some(1), burst_time: Some(5), ..stat }));
        assert_eq!(CpuStat::parse(b"nr_periods 3\nnr_throttled 2\nthrottled_time 170000000\n"), Ok(stat));
        assert_eq!(CpuStat::parse(b"nr_periods\n"), Err(FormatError::at(1, "not \"key number\"")));
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = CpuStat::parse(&text);
        }
    }
}
