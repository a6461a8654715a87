//! The machine's CPU time: the first lines of `/proc/stat`.

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, ReadBuffer};
use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{lines, number, words};
use crate::units::Nanos;

/// `/proc/stat` counts in hundredths of a second on every architecture.
const NANOS_PER_TICK: u64 = 10_000_000;
/// user, nice, system, idle, iowait, irq, softirq. What follows is stolen from the machine, or counted in user and nice
/// already.
const COUNTED: usize = 7;

/// All CPUs of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Busy and idle time of all of them; absent when its line was not understood.
    pub total: Option<Nanos>,
    /// How many are switched on.
    pub online: u32,
}

/// Reads `/proc/stat`, with what of it was not understood.
///
/// # Errors
/// When it cannot be read.
pub fn cpu_times(roots: &HostRoots, buffer: &mut ReadBuffer) -> Result<(CpuTimes, Option<ReadError>), ReadError> {
    let at = FileAt { mount: &roots.proc, directory: b"/", file: "stat" };
    let mut odd = OddLines::default();
    let times = parse(at.read(buffer)?, &mut odd);
    Ok((times, ReadError::of_odd_lines(&at.path(), odd)))
}

/// The sum of the line `cpu`.
fn total<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Option<Nanos> {
    let mut count = 0;
    let ticks = numbers.take(COUNTED).try_fold(0_u64, |sum, word| {
        count += 1;
        Some(sum.saturating_add(number(word)?))
    })?;
    (count > 0).then(|| Nanos(ticks.saturating_mul(NANOS_PER_TICK)))
}

pub(crate) fn parse(text: &[u8], odd: &mut OddLines) -> CpuTimes {
    let (mut times, mut last) = (CpuTimes::default(), None);
    for (line, text) in lines(text) {
        let mut words = words(text);
        match words.next() {
            // The CPUs come first, and what follows is long.
            Some(b"intr") => break,
            Some(b"cpu") if times.total.is_none() => {
                times.total = total(words);
                if times.total.is_none() {
                    odd.note(line, "not a number of ticks", text);
                }
            }
            Some(word) => {
                if let Some(id) = word.strip_prefix(b"cpu").and_then(number)
                    && last != Some(id)
                {
                    (times.online, last) = (times.online + 1, Some(id));
                }
            }
            None => {}
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;

    #[test]
    fn the_first_seven_numbers_of_all_cpus() {
        let text =
            b"cpu  1 2 3 40 5 6 7 1000 2000 3000\ncpu0 1 1 1 1 1 1 1 0 0 0\ncpu2 0 0 0 0 0 0 0 0 0 0\nintr 5 cpu\n";
        let times = |total, online| CpuTimes { total, online };
        assert_eq!(without_odd_lines(text, parse), Ok(times(Some(Nanos(640_000_000)), 2)));
        // Before 2.6.11 there were fewer numbers.
        assert_eq!(without_odd_lines(b"cpu 1 2 3 4\n", parse), Ok(times(Some(Nanos(100_000_000)), 0)));
    }

    #[test]
    fn a_line_that_is_not_understood_costs_its_own_value() {
        for (text, online) in [("cpu 1 x 3\ncpu0 1\ncpu1 1\n", 2), ("cpu\ncpu0 1\n", 1)] {
            let mut odd = OddLines::default();
            assert_eq!(parse(text.as_bytes(), &mut odd), CpuTimes { total: None, online });
            assert_eq!(odd.count(), 1, "{text:?}");
        }
        assert_eq!(parse(b"intr 1\n", &mut OddLines::default()), CpuTimes::default());
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text, &mut OddLines::default());
            let _ = parse(&[b"cpu ", text.as_slice()].concat(), &mut OddLines::default());
        }
    }
}
