//! What `/api/feed` is asked for: everything, what changed since a cursor, or the trends of some rows.

use std::fmt;
use std::str::FromStr;

use crate::api::wire::time;
use crate::units::WallTime;

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
    /// All rows as they were then.
    Moment(WallTime),
    /// The trends that these rows had then.
    TrendsAt(Vec<u64>, WallTime),
    /// What the container of this name used from one time to another.
    Series {
        /// The cgroup's name.
        name: String,
        /// Not before this.
        from: WallTime,
        /// Not after this.
        to: WallTime,
    },
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
    /// The time is none.
    #[error("at: {0:?} is no time: give an RFC 3339 time such as 2026-01-31T03:00:00Z, or seconds since 1970")]
    At(String),
    /// There is no span.
    #[error("series: give from and at, the first before the second")]
    Span,
    /// There are too many of them.
    #[error("trends: {0} rows are too many: {MOST_TRENDS} can be asked for at once")]
    TooMany(usize),
}

impl Query {
    /// Reads the query string.
    pub(crate) fn parse(query: &str) -> Result<Self, BadQuery> {
        let (mut since, mut trends, mut at, mut series, mut from) = (None, None, None, None, None);
        let moment = |value: &str| {
            let bad = || BadQuery::At(value.chars().take(64).collect());
            time::moment(value).ok_or_else(bad)
        };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "since" | "at" | "from" if value.is_empty() => {}
                "since" => since = Some(value.parse()?),
                "trends" => {
                    let number = |text: &str| text.parse().map_err(|_| BadQuery::Row(text.to_owned()));
                    let count = value.split(',').count();
                    if count > MOST_TRENDS {
                        return Err(BadQuery::TooMany(count));
                    }
                    trends = Some(value.split(',').map(number).collect::<Result<_, _>>()?);
                }
                "at" => at = Some(moment(&value)?),
                "from" => from = Some(moment(&value)?),
                "series" => series = Some(value.into_owned()),
                _ => {}
            }
        }
        if let Some(name) = series {
            let (from, to) = from.zip(at).filter(|(from, to)| from < to).ok_or(BadQuery::Span)?;
            return Ok(Self::Series { name, from, to });
        }
        Ok(match (trends, at) {
            (Some(rows), Some(at)) => Self::TrendsAt(rows, at),
            (Some(rows), None) => Self::Trends(rows),
            (None, Some(at)) => Self::Moment(at),
            (None, None) => Self::Tick(since),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_seconds() {
        let at = WallTime(1_700_000_000_500_000_000);
        for query in ["at=1700000000.5", "at=2023-11-14T22:13:20.5Z", "since=1.2&at=2023-11-14T23:13:20.5%2B01:00"] {
            assert_eq!(Query::parse(query), Ok(Query::Moment(at)), "{query}");
        }
        assert_eq!(Query::parse("trends=1,2&at=1700000000.5"), Ok(Query::TrendsAt(vec![1, 2], at)));
        assert_eq!(Query::parse("at="), Ok(Query::Tick(None)));
        let series = Query::Series { name: "/a b".to_owned(), from: WallTime(5_000_000_000), to: at };
        assert_eq!(Query::parse("series=/a%20b&from=5&at=1700000000.5"), Ok(series));
        assert_eq!(Query::parse("series=/a&from=5"), Err(BadQuery::Span));
        assert_eq!(Query::parse("series=/a&from=5&at=5"), Err(BadQuery::Span));
        for query in ["at=yesterday", "at=-5", "at=nan", "at=1e300", "at=0001-01-01T00:00:00Z"] {
            assert!(matches!(Query::parse(query), Err(BadQuery::At(_))), "{query}");
        }
    }
}
