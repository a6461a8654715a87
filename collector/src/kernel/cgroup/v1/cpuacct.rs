//! The cpuacct controller of cgroup v1: `cpuacct.stat`, `cpuacct.usage_percpu`. (`cpuacct.usage` is a single number.)

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{FormatError, digits, flat_keyed};

/// `cpuacct.stat`, in ticks of a hundredth of a second (the kernel converts to its `USER_HZ`, which is 100).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuacctStat {
    /// `user`.
    pub user: Option<u64>,
    /// `system`.
    pub system: Option<u64>,
}

impl CpuacctStat {
    /// Parses `cpuacct.stat`.
    pub fn parse(text: &[u8], odd: &mut OddLines) -> Self {
        let mut stat = Self::default();
        for pair in flat_keyed(text, odd) {
            match pair {
                (b"user", ticks) => stat.user = Some(ticks),
                (b"system", ticks) => stat.system = Some(ticks),
                _ => {}
            }
        }
        stat
    }
}

/// `cpuacct.usage_percpu`: nanoseconds of each possible CPU on one line. The kernel's `cpuacct.usage` is the sum of
/// the same counters. Gives each to `each`.
#[inline]
pub fn usage_percpu(text: &[u8], mut each: impl FnMut(u64)) -> Result<(), FormatError> {
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let (value, after) = digits(rest).ok_or(FormatError::at(1, "not a list of numbers"))?;
        each(value);
        rest = match after {
            [] => after,
            [b' ', after @ ..] => after,
            _ => return Err(FormatError::at(1, "not a list of numbers")),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &[u8]) -> Result<Vec<u64>, FormatError> {
        let mut values = Vec::new();
        usage_percpu(text, |value| values.push(value)).map(|()| values)
    }

    #[test]
    fn recorded() {
        let parse = |text: &[u8]| CpuacctStat::parse(text, &mut OddLines::default());
        assert_eq!(parse(b"user 44\nsystem 3\n"), CpuacctStat { user: Some(44), system: Some(3) });
        assert_eq!(parse(b"user x\nsystem 3\n"), CpuacctStat { user: None, system: Some(3) });
        assert_eq!(list(b"7533579 432726396 \n"), Ok(vec![7_533_579, 432_726_396]));
        assert_eq!(list(b"0 \n"), Ok(vec![0]));
        assert_eq!(list(b"\n"), Ok(vec![]));
        assert!(list(b"1,2\n").is_err());
        assert!(list(b"1 x\n").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (CpuacctStat::parse(&text, &mut OddLines::default()), list(&text));
        }
    }
}
