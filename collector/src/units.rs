//! Units and limits. Every number of a sample carries its unit in its type; conversion is explicit.

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A duration in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

/// A duration in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl From<Micros> for Nanos {
    fn from(micros: Micros) -> Self {
        Self(micros.0.saturating_mul(1_000))
    }
}

/// A point in time: nanoseconds since the Unix epoch. Zero means "unknown" only where a field says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// How long before `self` the other point lies; zero when it lies after.
    pub fn since(self, earlier: Self) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point this long before `self`, not before the epoch.
    #[must_use]
    pub fn back(self, by: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl From<std::time::SystemTime> for WallTime {
    /// A clock set before 1970 reads as the epoch.
    fn from(time: std::time::SystemTime) -> Self {
        let since_epoch = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A limit file's content: the word for "no limit", or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// No limit: `max` (cgroup v2, pids).
    Max,
    /// The limit, in the file's unit.
    Value(u64),
}
