//! What `/api/feed` is asked for: everything, what changed since a cursor, or the trends of some rows.

use std::fmt;
use std::str::FromStr;

/// Rows of which trends can be asked for at once: more than a screen has.
const MOST_TRENDS: usize = 200;

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

/// What `/api/feed` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// The rows that changed since this cursor, or all of them.
    Tick(Option<Cursor>),
    /// The trends of these rows.
    Trends(Vec<u64>),
}

/// A query that is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadQuery {
    /// The cursor is none.
    #[error("since: {0}")]
    Since(#[from] BadCursor),
    /// The rows are no numbers.
    #[error("trends: {0:?} is not the number of a row: give up to {MOST_TRENDS} of them with commas between")]
    Row(String),
    /// There are too many of them.
    #[error("trends: {0} rows are too many: {MOST_TRENDS} can be asked for at once")]
    TooMany(usize),
}

impl Query {
    /// Reads the query string.
    pub(crate) fn parse(query: &str) -> Result<Self, BadQuery> {
        let mut since = None;
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "since" if value.is_empty() => {}
                "since" => since = Some(value.parse()?),
                "trends" => {
                    let number = |text: &str| text.parse().map_err(|_| BadQuery::Row(text.to_owned()));
                    let count = value.split(',').count();
                    if count > MOST_TRENDS {
                        return Err(BadQuery::TooMany(count));
                    }
                    return Ok(Self::Trends(value.split(',').map(number).collect::<Result<_, _>>()?));
                }
                _ => {}
            }
        }
        Ok(Self::Tick(since))
    }
}
