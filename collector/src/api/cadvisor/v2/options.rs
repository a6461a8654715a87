//! The query string of a v2 request.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Count;
use crate::api::http::openapi::parts::parameter;
use crate::api::query::StatsQuery;
use crate::api::wire::json::Quoted;
use crate::api::wire::time;
use crate::api::wire::time::TimeError;
use crate::units::WallTime;

/// How many samples a request gets that does not say.
const DEFAULT_SAMPLES: usize = 64;

/// What a v2 request says beside the container's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestOptions {
    /// What kind of name the name is.
    pub name_kind: NameKind,
    /// How many samples.
    pub count: Count,
    /// Whether what is below counts too.
    pub extent: SelectionExtent,
    /// A newest sample older than this is followed by a new one before the answer. What is below zero means the same
    /// as zero: a new one in any case.
    pub max_age: Option<Duration>,
    /// No samples before this, and those that are on disk, too. cAdvisor's v2 has neither this nor an end.
    pub start: Option<WallTime>,
    /// No samples after this.
    pub end: Option<WallTime>,
}

/// What kind of name a request gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A cgroup's full name.
    Full,
    /// An id or a name of a Docker container.
    Docker,
    /// An id or a name of a Podman container.
    Podman,
}

/// Which containers a name selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectionExtent {
    /// The container itself.
    Itself,
    /// The container and every one whose name begins with its name.
    Recursive,
}

/// An option that cannot be used, in cAdvisor's words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionsError {
    /// `type` is none of the three.
    #[error("unknown 'type' {}", Quoted(.0.as_bytes()))]
    NameKind(String),
    /// `count` is not a 32-bit number.
    #[error("failed to parse 'count' option: {0}")]
    Count(String),
    /// `count` is below -1.
    #[error("invalid 'count' option: only -1 and larger values allowed, not {0}")]
    NegativeCount(i32),
    /// `max_age` is not a duration.
    #[error("failed to parse 'max_age' option: {0}")]
    MaxAge(#[from] DurationError),
    /// `start` or `end` is not a time.
    #[error("failed to parse '{key}' option: {reason}")]
    Time {
        /// Which of them.
        key: &'static str,
        /// What is wrong with it.
        reason: TimeError,
    },
}

impl RequestOptions {
    /// Reads a query string as cAdvisor does: unknown keys are ignored, an empty value is as good as none, and the
    /// first of several values counts.
    ///
    /// # Errors
    /// At the first option, in cAdvisor's order, that cannot be used.
    pub fn parse(query: &str) -> Result<Self, OptionsError> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let value = |key: &str| {
            let (_, value) = pairs.iter().find(|(name, _)| name == key)?;
            (!value.is_empty()).then_some(&**value)
        };
        let at = |key| value(key).map_or(Ok(None), time::parse).map_err(|reason| OptionsError::Time { key, reason });
        Ok(Self {
            name_kind: match value("type") {
                None | Some("name") => NameKind::Full,
                Some("docker") => NameKind::Docker,
                Some("podman") => NameKind::Podman,
                Some(other) => return Err(OptionsError::NameKind(other.to_owned())),
            },
            count: value("count").map_or(Ok(Count::Newest(DEFAULT_SAMPLES)), count)?,
            extent: if value("recursive") == Some("true") {
                SelectionExtent::Recursive
            } else {
                SelectionExtent::Itself
            },
            max_age: value("max_age").map(duration).transpose()?,
            start: at("start")?,
            end: at("end")?,
        })
    }

    /// The samples that are asked for.
    pub(crate) fn samples(&self) -> StatsQuery {
        StatsQuery { count: self.count, start: self.start, end: self.end, part: None }
    }
}

impl RequestOptions {
    /// The parameters, for the API's description.
    pub(crate) fn parameters() -> Vec<Value> {
        let kinds = json!({ "type": "string", "enum": ["name", "docker", "podman"], "default": "name" });
        let count = json!({ "type": "integer", "format": "int32", "minimum": -1, "default": DEFAULT_SAMPLES });
        let recursive = json!({ "type": "string", "enum": ["true", "false"], "default": "false" });
        let age = json!({ "type": "string", "examples": ["10s", "1m30s", "0"] });
        vec![
            parameter("type", &kinds, "What kind of name the name is."),
            parameter("count", &count, "At most so many samples, the newest; -1 for all."),
            parameter(
                "recursive",
                &recursive,
                "Whether every container whose name begins with the name is meant, too.",
            ),
            parameter("max_age", &age, "A container whose newest sample is older is read before the answer."),
        ]
    }

    /// Those of requests for samples alone.
    pub(crate) fn times() -> [Value; 2] {
        let time = json!({ "type": "string", "format": "date-time" });
        [
            parameter(
                "start",
                &time,
                "No samples before this; those on disk, too, also of containers that are no more.",
            ),
            parameter("end", &time, "No samples after this."),
        ]
    }
}

fn count(text: &str) -> Result<Count, OptionsError> {
    let count: i32 = text.parse().map_err(|_| OptionsError::Count(text.to_owned()))?;
    Count::try_from(i64::from(count)).map_err(|_| OptionsError::NegativeCount(count))
}

/// A duration that Go's `time.ParseDuration` refuses, in its words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DurationError {
    /// No number, or one beyond what fits.
    #[error("time: invalid duration {}", Quoted(.0.as_bytes()))]
    Invalid(String),
    /// A number alone.
    #[error("time: missing unit in duration {}", Quoted(.0.as_bytes()))]
    MissingUnit(String),
    /// A unit that there is not.
    #[error("time: unknown unit {} in duration {}", Quoted(unit.as_bytes()), Quoted(duration.as_bytes()))]
    UnknownUnit {
        /// It.
        unit: String,
        /// All of it.
        duration: String,
    },
}

/// Go's durations such as `1m30s`, `1.5h`, `-500ms` and `0`; a negative one is returned as zero.
fn duration(text: &str) -> Result<Duration, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let negative = text.starts_with('-');
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut nanos = 0_u128;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (whole, after) = leading_digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), leading_digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale: u64 = match unit {
            "" => return Err(DurationError::MissingUnit(text.to_owned())),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            unit => return Err(DurationError::UnknownUnit { unit: unit.to_owned(), duration: text.to_owned() }),
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        nanos += u128::from(whole) * u128::from(scale) + fraction_of(fraction, scale);
        rest = after;
        if nanos > 1 << 63 {
            return Err(invalid());
        }
    }
    // One nanosecond more fits below zero than above.
    match (negative, u64::try_from(nanos)) {
        (true, Ok(_)) => Ok(Duration::ZERO),
        (false, Ok(nanos)) if i64::try_from(nanos).is_ok() => Ok(Duration::from_nanos(nanos)),
        _ => Err(invalid()),
    }
}

fn leading_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()))
}

/// The digits after a point as a part of a unit, cut to nanoseconds.
fn fraction_of(digits: &str, scale: u64) -> u128 {
    let mut part = u128::from(scale) << 32;
    let mut sum = 0;
    for digit in digits.bytes() {
        part /= 10;
        sum += part * u128::from(digit - b'0');
    }
    // The rounding of the division makes it fall short by less than this.
    (sum + 64) >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(query: &str) -> Result<RequestOptions, String> {
        RequestOptions::parse(query).map_err(|error| error.to_string())
    }

    const DEFAULT: RequestOptions = RequestOptions {
        name_kind: NameKind::Full,
        count: Count::Newest(64),
        extent: SelectionExtent::Itself,
        max_age: None,
        start: None,
        end: None,
    };

    #[test]
    fn defaults_and_values() {
        let age = |max_age| RequestOptions { max_age: Some(max_age), ..DEFAULT };
        let cases = [
            ("", DEFAULT),
            ("type=&count=&recursive=&max_age=&other=1", DEFAULT),
            ("recursive=1&type=name", DEFAULT),
            ("type=docker", RequestOptions { name_kind: NameKind::Docker, ..DEFAULT }),
            ("type=podman&type=x", RequestOptions { name_kind: NameKind::Podman, ..DEFAULT }),
            ("count=-1", RequestOptions { count: Count::All, ..DEFAULT }),
            ("count=%2B7&recursive=true", {
                RequestOptions { count: Count::Newest(7), extent: SelectionExtent::Recursive, ..DEFAULT }
            }),
            ("count=0", RequestOptions { count: Count::Newest(0), ..DEFAULT }),
            ("max_age=1m30s", age(Duration::from_secs(90))),
            ("max_age=0", age(Duration::ZERO)),
            ("max_age=-3h", age(Duration::ZERO)),
            ("start=&end=0001-01-01T00:00:00Z", DEFAULT),
            ("start=1970-01-01T00:00:01Z&end=1970-01-01T00:00:02.5Z", {
                RequestOptions { start: Some(WallTime(1_000_000_000)), end: Some(WallTime(2_500_000_000)), ..DEFAULT }
            }),
        ];
        for (query, expected) in cases {
            assert_eq!(parse(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn cadvisors_words() {
        let cases = [
            ("type=x%22y", "unknown 'type' \"x\\\"y\""),
            ("type=Name", "unknown 'type' \"Name\""),
            ("count=x", "failed to parse 'count' option: x"),
            ("count=1.5", "failed to parse 'count' option: 1.5"),
            ("count=2147483648", "failed to parse 'count' option: 2147483648"),
            ("count=-2", "invalid 'count' option: only -1 and larger values allowed, not -2"),
            ("max_age=x", "failed to parse 'max_age' option: time: invalid duration \"x\""),
            ("max_age=10", "failed to parse 'max_age' option: time: missing unit in duration \"10\""),
            ("max_age=1d", "failed to parse 'max_age' option: time: unknown unit \"d\" in duration \"1d\""),
            ("max_age=-", "failed to parse 'max_age' option: time: invalid duration \"-\""),
            ("max_age=.s", "failed to parse 'max_age' option: time: invalid duration \".s\""),
            ("max_age=1s-1s", "failed to parse 'max_age' option: time: unknown unit \"s-\" in duration \"1s-1s\""),
            ("max_age=3000000h", "failed to parse 'max_age' option: time: invalid duration \"3000000h\""),
            ("end=now", {
                "failed to parse 'end' option: parsing time \"now\" as \"2006-01-02T15:04:05Z07:00\": not an RFC 3339 time"
            }),
            // The first of several in cAdvisor's order.
            ("max_age=x&count=y&type=z", "unknown 'type' \"z\""),
        ];
        for (query, expected) in cases {
            assert_eq!(parse(query), Err(expected.to_owned()), "{query}");
        }
    }

    #[test]
    fn durations() {
        let cases = [
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("+7µs", 7_000),
            ("0.1s", 100_000_000),
            ("0.333333333333333333s", 333_333_333),
            ("9223372036854775807ns", u64::MAX >> 1),
        ];
        for (text, nanos) in cases {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        assert!(duration("9223372036854775808ns").is_err());
        assert_eq!(duration("-9223372036854775808ns"), Ok(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused(query in ".{0,40}", age in "[-+0-9.hmsuµn]{0,30}") {
            let _ = RequestOptions::parse(&query);
            let _ = duration(&age);
        }
    }
}
