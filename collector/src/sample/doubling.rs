//! Histograms of times whose buckets double. Every bound is a power of two of a second, as Prometheus' native histograms and
//! OpenTelemetry's exponential ones have them, so that a bucket is one of theirs.

/// Buckets of a histogram: the first holds everything up to its bound, each next one what takes up to twice as long, and the
/// last has no bound.
pub const BUCKETS: usize = 24;

/// How many there were by length.
pub type Counts = [u64; BUCKETS];

/// The bound of a bucket, which belongs to it: 2 to the power of this, in seconds; `None` for the last. `first` is the
/// first one's.
pub const fn exponent(first: i32, bucket: usize) -> Option<i32> {
    if bucket + 1 < BUCKETS { Some(first + bucket as i32) } else { None }
}

/// The same in nanoseconds, as what a whole number of them has to be below.
pub const fn below(first: i32, bucket: usize) -> Option<u64> {
    match exponent(first, bucket) {
        Some(exponent) => Some((1_000_000_000 << (30 + exponent) >> 30) + 1),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_buckets() {
        assert_eq!((exponent(-20, 0), below(-20, 0)), (Some(-20), Some(954)));
        // Whole nanoseconds.
        assert_eq!((exponent(-20, 11), below(-20, 11)), (Some(-9), Some(1_953_126)));
        assert_eq!((exponent(-18, BUCKETS - 2), below(-18, BUCKETS - 2)), (Some(4), Some(16_000_000_001)));
        assert_eq!((exponent(-18, BUCKETS - 1), below(-18, BUCKETS - 1)), (None, None));
    }
}
