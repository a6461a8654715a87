//! Histograms of the programs, whose buckets double. As series every other bound is reported, four times the one before; a
//! native histogram has all of them.

use crate::sample::doubling::{BUCKETS, Counts, exponent};
use crate::units::Nanos;

/// Bounds that are reported of one histogram.
const REPORTED: usize = BUCKETS / 2;

/// The lowest of [`BOUNDS`].
const LOWEST: i32 = -20;

/// Powers of four in seconds.
const BOUNDS: [&str; REPORTED + 1] = [
    "9.5367431640625e-07",
    "3.814697265625e-06",
    "1.52587890625e-05",
    "6.103515625e-05",
    "0.000244140625",
    "0.0009765625",
    "0.00390625",
    "0.015625",
    "0.0625",
    "0.25",
    "1.0",
    "4.0",
    "16.0",
];

/// The native bucket of what is infinite, whose bounds are powers of two.
const BEYOND_ALL: i32 = f64::MAX_EXP + 1;

/// A histogram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubling<'a> {
    /// How many there were by length.
    pub(super) counts: &'a Counts,
    /// The first bucket ends at 2 to the power of this, in seconds.
    pub(super) first: i32,
    /// All together.
    pub(super) sum: Nanos,
}

/// A bucket that is reported as a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Its upper bound as text.
    pub(super) text: &'static str,
    /// The same as a number.
    pub(super) bound: f64,
    /// How many there are up to that.
    pub(super) count: u64,
}

/// The buckets of a native histogram of schema 0, in which number `i` ends at 2 to the power of `i`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Native {
    /// What is not longer is counted as nothing.
    pub(super) zero_threshold: f64,
    /// How many these are.
    pub(super) zero_count: u64,
    /// Rows of buckets, each by the number of its first.
    pub(super) spans: Vec<(i32, Vec<u64>)>,
}

impl Doubling<'_> {
    /// How many there were.
    pub(super) fn count(self) -> u64 {
        self.counts.iter().sum()
    }

    /// All together.
    pub(super) fn sum(self) -> Nanos {
        self.sum
    }

    /// The buckets that are reported as series, but for the last, which has no upper bound.
    pub(super) fn buckets(self) -> [Bucket; REPORTED] {
        let mut count = 0;
        std::array::from_fn(|place| {
            count += self.counts[2 * place] + if place == 0 { 0 } else { self.counts[2 * place - 1] };
            let exponent = self.first + 2 * place as i32;
            Bucket { text: BOUNDS[(exponent - LOWEST) as usize / 2], bound: f64::from(exponent).exp2(), count }
        })
    }

    /// As a native histogram. What is beyond the last bound is counted as infinite: how long it took is not known.
    pub(super) fn native(self) -> Native {
        let [zero_count, bounded @ .., beyond] = self.counts;
        let first = bounded.iter().position(|count| *count > 0);
        let last = bounded.iter().rposition(|count| *count > 0);
        let used = first.zip(last).map(|(first, last)| (self.first + 1 + first as i32, bounded[first..=last].to_vec()));
        let beyond = (*beyond > 0).then(|| (BEYOND_ALL, vec![*beyond]));
        let zero_threshold = f64::from(self.first).exp2();
        Native { zero_threshold, zero_count: *zero_count, spans: used.into_iter().chain(beyond).collect() }
    }
}

// The last bucket that is reported is the last with a bound.
const _: () = assert!(exponent(0, 2 * (REPORTED - 1)).is_some() && exponent(0, 2 * REPORTED - 1).is_none());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{block_latency, run_queue};

    fn of(counts: &Counts, first: i32) -> Doubling<'_> {
        Doubling { counts, first, sum: Nanos(7) }
    }

    #[test]
    fn bounds_are_those_of_their_buckets() {
        let counts = std::array::from_fn(|bucket| bucket as u64);
        for first in [run_queue::FIRST_EXPONENT, block_latency::FIRST_EXPONENT] {
            let buckets = of(&counts, first).buckets();
            for (place, bucket) in buckets.iter().enumerate() {
                assert_eq!(bucket.text.parse(), Ok(bucket.bound));
                let exponent = exponent(first, 2 * place).unwrap();
                assert_eq!(bucket.bound.to_bits(), 2_f64.powi(exponent).to_bits());
            }
            assert_eq!((buckets[0].count, buckets[1].count, buckets[11].count), (0, 3, 253));
            assert_eq!(of(&counts, first).count(), 276);
        }
    }

    #[test]
    fn every_bucket_is_a_native_one() {
        let mut counts = [0; BUCKETS];
        (counts[0], counts[3], counts[5], counts[BUCKETS - 1]) = (9, 2, 4, 1);
        let native = of(&counts, -20).native();
        let spans = vec![(-17, vec![2, 0, 4]), (1_025, vec![1])];
        assert_eq!(native, Native { zero_threshold: 1.0 / 1_048_576.0, zero_count: 9, spans });
        assert_eq!(of(&[0; BUCKETS], -20).native().spans, []);
    }
}
