//! Histograms of the programs, whose buckets double: every other bound is reported, four times the one before.

use crate::api::prometheus::value::Value;
use crate::api::prometheus::writer::Bucket;

/// Bounds of one histogram.
pub(super) const REPORTED: usize = 12;

/// Powers of four of nanoseconds from 1,024 on, in seconds.
const BOUNDS: [&str; REPORTED + 1] = [
    "1.024e-06",
    "4.096e-06",
    "1.6384e-05",
    "6.5536e-05",
    "0.000262144",
    "0.001048576",
    "0.004194304",
    "0.016777216",
    "0.067108864",
    "0.268435456",
    "1.073741824",
    "4.294967296",
    "17.179869184",
];

/// The buckets that are reported of a program's. `first` is the place of the first one's bound in [`BOUNDS`].
pub(super) fn buckets(
    counts: &[u64],
    upper_bound: impl Fn(usize) -> Option<u64>,
    first: usize,
) -> [Bucket<'static>; REPORTED] {
    std::array::from_fn(|place| {
        let last = 2 * place;
        let bound = upper_bound(last).unwrap_or(u64::MAX);
        let count = counts.iter().take(last + 1).sum();
        Bucket { text: BOUNDS[first + place], bound: Value::Nanos(bound), count }
    })
}

#[cfg(test)]
pub(super) fn check(buckets: &[Bucket<'_>]) {
    for Bucket { text, bound, .. } in buckets {
        let Value::Nanos(nanos) = bound else { panic!("{text} is not in nanoseconds") };
        assert_eq!(text.parse(), Ok(*nanos as f64 / 1e9));
    }
}
