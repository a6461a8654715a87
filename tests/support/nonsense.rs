//! What requests of fuzz tests are made of, and choices that can be made again.

/// Methods, and what is none.
pub(crate) const METHODS: [&str; 8] = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "NONSENSE"];

/// Values of parameters: right ones, ones at the limits, and nonsense.
pub(crate) const VALUES: [&str; 34] = [
    "",
    "0",
    "1",
    "-1",
    "-2",
    "64",
    "2147483647",
    "2147483648",
    "-9223372036854775809",
    "18446744073709551616",
    "1e9",
    "0x10",
    "true",
    "false",
    "True",
    "maybe",
    "name",
    "docker",
    "podman",
    "root",
    "0s",
    "10s",
    "-1h",
    "1h1h1h",
    "9223372036854775807ns",
    "9999999999h",
    ".5s",
    "2024-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999-23:59",
    "2024-01-01T00:00:00%2B05:30",
    "%00%ff%0A",
    "%zz%",
    "%F0%9F%92%A9'\"<>&#",
];

/// Bodies, likewise.
pub(crate) const BODIES: [&str; 22] = [
    "",
    "null",
    "{}",
    "[]",
    "0",
    "\"x\"",
    "{",
    "}",
    r#"{"num_stats":1}"#,
    r#"{"num_stats":-1}"#,
    r#"{"num_stats":0}"#,
    r#"{"num_stats":-2}"#,
    r#"{"num_stats":9223372036854775807}"#,
    r#"{"num_stats":99999999999999999999999}"#,
    r#"{"num_stats":1.5}"#,
    r#"{"num_stats":[]}"#,
    r#"{"start":"2024-01-01T00:00:00Z","end":"0001-01-01T00:00:00Z","NUM_STATS":2}"#,
    r#"{"start":"9999-01-01T00:00:00Z","end":"2000-01-01T00:00:00Z"}"#,
    r#"{"start":"yesterday"}"#,
    r#"{"end":7}"#,
    "\u{feff}{\"num_stats\":1}",
    r#"{"num_stats":1}{"num_stats":"x"}"#,
];

/// Choices that follow from a number.
pub(crate) struct Choices(pub(crate) u64);

impl Choices {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    /// Whether it is one time in so many.
    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One of these.
    pub(crate) fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// So many bytes at most.
    pub(crate) fn bytes(&mut self, at_most: usize) -> Vec<u8> {
        let length = self.below(at_most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
