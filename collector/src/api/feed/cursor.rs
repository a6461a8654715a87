//! How far a client has come.

use std::fmt;
use std::str::FromStr;

/// The state of the table that a client has seen, in which run of the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Another number for each run.
    pub run: u64,
    /// Grows with each change of the table.
    pub version: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.run, self.version)
    }
}

/// A text that is no cursor.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no cursor: give the one of the answer before, or none")]
pub struct BadCursor(String);

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let parsed = text.split_once('.').and_then(|(run, version)| {
            Some(Self { run: u64::from_str_radix(run, 16).ok()?, version: version.parse().ok()? })
        });
        parsed.ok_or_else(|| BadCursor(text.chars().take(64).collect()))
    }
}
