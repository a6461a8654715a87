//! The machine's CPU time: the first lines of `/proc/stat`.

use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::file::{FileAt, ReadBuffer};
use crate::kernel::text_formats::{FormatError, lines, number, words};
use crate::units::Nanos;

/// `/proc/stat` counts in hundredths of a second on every architecture.
const NANOS_PER_TICK: u64 = 10_000_000;
/// user, nice, system, idle, iowait, irq, softirq. What follows is stolen from the machine, or counted in user and nice
/// already.
const COUNTED: usize = 7;

/// All CPUs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    /// Busy and idle time of all of them.
    pub total: Nanos,
    /// How many are switched on.
    pub online: u32,
}

/// Reads `/proc/stat`.
///
/// # Errors
/// When it cannot be read, or is not in the kernel's format.
pub fn cpu_times(roots: &HostRoots, buffer: &mut ReadBuffer) -> Result<CpuTimes, ReadError> {
    let at = FileAt { mount: &roots.proc, directory: b"/", file: "stat" };
    at.read(buffer).and_then(|text| parse(text).map_err(|reason| ReadError::Malformed { path: at.path(), reason }))
}

fn parse(text: &[u8]) -> Result<CpuTimes, FormatError> {
    let (mut total, mut online, mut last) = (None, 0, None);
    for (line, text) in lines(text) {
        let mut words = words(text);
        match words.next() {
            // The CPUs come first, and what follows is long.
            Some(b"intr") => break,
            Some(b"cpu") if total.is_none() => {
                let mut sum = 0_u64;
                for word in words.take(COUNTED) {
                    sum = sum.saturating_add(number(word).ok_or(FormatError::at(line, "not a number of ticks"))?);
                }
                total = Some(Nanos(sum.saturating_mul(NANOS_PER_TICK)));
            }
            Some(word) => {
                if let Some(id) = word.strip_prefix(b"cpu").and_then(number)
                    && last != Some(id)
                {
                    (online, last) = (online + 1, Some(id));
                }
            }
            None => {}
        }
    }
    let total = total.ok_or(FormatError::at(1, "no line begins with cpu"))?;
    Ok(CpuTimes { total, online })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_seven_numbers_of_all_cpus() {
        let text =
            b"cpu  1 2 3 40 5 6 7 1000 2000 3000\ncpu0 1 1 1 1 1 1 1 0 0 0\ncpu2 0 0 0 0 0 0 0 0 0 0\nintr 5 cpu\n";
        assert_eq!(parse(text), Ok(CpuTimes { total: Nanos(640_000_000), online: 2 }));
        // Before 2.6.11 there were fewer numbers.
        assert_eq!(parse(b"cpu 1 2 3 4\n"), Ok(CpuTimes { total: Nanos(100_000_000), online: 0 }));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [&b""[..], b"intr 1\n", b"cpu 1 x 3\n", b"cpu0 1 2\n"] {
            assert!(parse(text).is_err(), "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
            let _ = parse(&[b"cpu ", text.as_slice()].concat());
        }
    }
}
