//! In which bucket of a histogram a time belongs.
//!
//! Bounds are powers of two of a second, which no number of nanoseconds is below 2^-9 s: those of Prometheus' native
//! histograms and of OpenTelemetry's exponential ones.
#![expect(clippy::inline_always, reason = "the programs that call it have no functions of their own")]

/// Times are compared in units of 2^-30 s, which are about a nanosecond.
const UNIT: i32 = 30;

/// How many whole units end before the time does, so that a bound belongs to the bucket that ends there.
#[inline(always)]
const fn units(nanos: u64) -> u64 {
    if nanos == 0 {
        return 0;
    }
    // Nearly three hours, beyond all bounds.
    if nanos >= 1 << 43 {
        return u64::MAX;
    }
    // 2^30 / 10^9, shortened.
    ((nanos << 21) - 1) / 1_953_125
}

/// Which of so many buckets a time belongs to: the first ends at 2 to the power of `first` in seconds, each next one at
/// twice as much, and the last nowhere.
#[inline(always)]
pub const fn bucket(nanos: u64, first: i32, buckets: usize) -> usize {
    let mut rest = units(nanos) >> (UNIT + first);
    let mut index = 0;
    if rest == 0 {
        return 0;
    }
    if rest >= 1 << buckets {
        return buckets - 1;
    }
    if rest >= 1 << 16 {
        rest >>= 16;
        index += 16;
    }
    if rest >= 1 << 8 {
        rest >>= 8;
        index += 8;
    }
    if rest >= 1 << 4 {
        rest >>= 4;
        index += 4;
    }
    if rest >= 1 << 2 {
        rest >>= 2;
        index += 2;
    }
    if rest >= 2 {
        index += 1;
    }
    index += 1;
    if index >= buckets { buckets - 1 } else { index }
}
