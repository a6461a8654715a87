//! The cpu controller of cgroup v1: `cpu.stat`.

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::flat_keyed;

/// `cpu.stat`: CFS bandwidth control. What the file does not have, or has oddly, is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// `nr_periods`: enforcement periods that have elapsed.
    pub nr_periods: Option<u64>,
    /// `nr_throttled`: periods in which the cgroup was throttled.
    pub nr_throttled: Option<u64>,
    /// `throttled_time`: nanoseconds.
    pub throttled_time: Option<u64>,
    /// `nr_bursts`: periods in which a burst happened; since 5.15.
    pub nr_bursts: Option<u64>,
    /// `burst_time`: nanoseconds used above the quota; since 5.15.
    pub burst_time: Option<u64>,
}

impl CpuStat {
    /// Parses `cpu.stat`.
    pub fn parse(text: &[u8], odd: &mut OddLines) -> Self {
        let mut stat = Self::default();
        for (key, value) in flat_keyed(text, odd) {
            let field = match key {
                b"nr_periods" => &mut stat.nr_periods,
                b"nr_throttled" => &mut stat.nr_throttled,
                b"throttled_time" => &mut stat.throttled_time,
                b"nr_bursts" => &mut stat.nr_bursts,
                b"burst_time" => &mut stat.burst_time,
                _ => continue,
            };
            *field = Some(value);
        }
        stat
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;

    #[test]
    fn recorded() {
        // 6.18, and the same file of 4.19.
        let new = b"nr_periods 3\nnr_throttled 2\nthrottled_time 170000000\nnr_bursts 1\nburst_time 5\n";
        let stat = CpuStat {
            nr_periods: Some(3),
            nr_throttled: Some(2),
            throttled_time: Some(170_000_000),
            ..CpuStat::default()
        };
        let parse = |text: &[u8]| without_odd_lines(text, CpuStat::parse);
        assert_eq!(parse(new), Ok(CpuStat { nr_bursts: Some(1), burst_time: Some(5), ..stat }));
        assert_eq!(parse(b"nr_periods 3\nnr_throttled 2\nthrottled_time 170000000\n"), Ok(stat));
        assert!(parse(b"nr_periods\n").is_err());
        let odd =
            CpuStat::parse(b"nr_periods 3\nnr_throttled -2\nthrottled_time 170000000\n", &mut OddLines::default());
        assert_eq!(odd, CpuStat { nr_throttled: None, ..stat });
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = CpuStat::parse(&text, &mut OddLines::default());
        }
    }
}
