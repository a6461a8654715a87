//! `ContainerInfoRequest`: which samples a v1 request wants.

pub(crate) mod events;
pub mod export;
pub(crate) mod feed;

use schemars::{Schema, json_schema};
use serde_json::error::Category;
use serde_json::{Value, json};

use crate::api::wire::time;
use crate::api::wire::time::TimeError;
use crate::api::{Count, NegativeCount};
use crate::store::history::Stretch;
use crate::units::WallTime;

/// How many samples a request gets that does not say.
const DEFAULT_SAMPLES: usize = 60;

/// Which samples are wanted: those of the time range, and of these the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsQuery {
    /// How many.
    pub count: Count,
    /// Not before this; `None` is unbounded.
    pub start: Option<WallTime>,
    /// Not after this; `None` is unbounded.
    pub end: Option<WallTime>,
    /// Of these only what is in this part of the history; `None` for all of them.
    pub part: Option<Portion>,
}

/// A part of a container's history that is small enough to be in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// Samples in memory.
    Recent(Stretch),
    /// Samples on disk: the newest so many from one time to another.
    Past {
        /// Not before this.
        start: WallTime,
        /// Not after this.
        end: WallTime,
        /// At most so many.
        count: usize,
    },
}

impl Portion {
    /// How many samples there are at most.
    pub const fn len(self) -> usize {
        match self {
            Self::Recent(stretch) => stretch.len(),
            Self::Past { count, .. } => count,
        }
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl Default for StatsQuery {
    fn default() -> Self {
        Self { count: Count::Newest(DEFAULT_SAMPLES), start: None, end: None, part: None }
    }
}

impl StatsQuery {
    /// Reads a request body as cAdvisor does: no body and `null` ask for the defaults, keys match in any case, unknown
    /// keys and whatever follows the first value are ignored.
    ///
    /// # Errors
    /// When the body is no such object; the texts follow Go's decoder.
    pub fn parse(body: &[u8]) -> Result<Self, DecodeError> {
        let mut query = Self::default();
        let object = match serde_json::Deserializer::from_slice(body).into_iter::<Value>().next() {
            None | Some(Ok(Value::Null)) => return Ok(query),
            Some(Ok(Value::Object(object))) => object,
            Some(Ok(other)) => return Err(DecodeError::NotAnObject(kind(&other))),
            Some(Err(error)) => return Err(syntax_error(&error, body)),
        };
        for (key, value) in object {
            match key.to_ascii_lowercase().as_str() {
                _ if value.is_null() => {}
                "num_stats" => {
                    query.count =
                        value.as_i64().ok_or_else(|| DecodeError::NotACount(number_kind(&value)))?.try_into()?;
                }
                "start" => query.start = time(&value)?,
                "end" => query.end = time(&value)?,
                _ => {}
            }
        }
        Ok(query)
    }

    /// The schema of a request body.
    pub(crate) fn schema() -> Schema {
        let time = |description: &str| json!({ "type": "string", "format": "date-time", "description": description });
        json_schema!({
            "type": "object",
            "properties": {
                "num_stats": {
                    "type": "integer",
                    "minimum": -1,
                    "default": DEFAULT_SAMPLES,
                    "description": "At most so many samples, the newest; -1 for all.",
                },
                "start": time("Not before this; the year 1 means unbounded."),
                "end": time("Not after this; the year 1 means unbounded."),
            },
        })
    }

    /// Whether a sample of this time lies in the range.
    pub fn covers(&self, at: WallTime) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at <= end)
    }
}

/// A request body that cannot be used, in the words of Go's decoder as far as clients may look at them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The text ends within a value.
    #[error("unexpected EOF")]
    Truncated,
    /// Not JSON.
    #[error("invalid character {character:?} {context}")]
    Syntax {
        /// What was found.
        character: char,
        /// What was looked for.
        context: &'static str,
    },
    /// A value of the wrong type.
    #[error("json: cannot unmarshal {0} into Go value of type v1.ContainerInfoRequest")]
    NotAnObject(&'static str),
    /// `num_stats` is no integer.
    #[error("json: cannot unmarshal {0} into Go struct field ContainerInfoRequest.num_stats of type int")]
    NotACount(String),
    /// `start` or `end` is no string.
    #[error("Time.UnmarshalJSON: input is not a JSON string")]
    NotATime,
    /// `start` or `end` is no time.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// `num_stats` is below -1.
    #[error("num_stats: {0}")]
    Count(#[from] NegativeCount),
}

fn time(value: &Value) -> Result<Option<WallTime>, DecodeError> {
    Ok(time::parse(value.as_str().ok_or(DecodeError::NotATime)?)?)
}

/// Go's name of a value's type.
const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn number_kind(value: &Value) -> String {
    match value {
        Value::Number(number) => format!("number {number}"),
        other => kind(other).to_owned(),
    }
}

/// The parser's complaint in Go's words: the character it stopped at, and what it looked for.
fn syntax_error(error: &serde_json::Error, body: &[u8]) -> DecodeError {
    if error.classify() == Category::Eof {
        return DecodeError::Truncated;
    }
    let message = error.to_string();
    let contexts = [
        ("expected value", "looking for beginning of value"),
        ("key must be a string", "looking for beginning of object key string"),
        ("trailing comma", "looking for beginning of value"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("expected ident", "in literal"),
        ("invalid number", "in numeric literal"),
        ("invalid escape", "in string escape code"),
        ("control character", "in string literal"),
    ];
    let context =
        contexts.iter().find(|(start, _)| message.starts_with(start)).map_or("in JSON", |(_, context)| context);
    let line = body.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let character = line.get(error.column().saturating_sub(1)).map_or('\n', |byte| char::from(*byte));
    DecodeError::Syntax { character, context }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> Result<StatsQuery, String> {
        StatsQuery::parse(body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn bodies_that_ask_for_the_defaults() {
        let bodies =
            ["", "  \n", "null", "{}", r#"{"num_samples":0,"other":[1]}"#, r#"{"num_stats":null,"start":null}"#];
        for body in bodies {
            assert_eq!(parse(body), Ok(StatsQuery::default()), "{body}");
        }
    }

    #[test]
    fn bodies_as_clients_send_them() {
        let zero = "0001-01-01T00:00:00Z";
        let query = parse(&format!(r#"{{"num_stats":1,"start":"{zero}","end":"{zero}"}}"#));
        assert_eq!(query, Ok(StatsQuery { count: Count::Newest(1), ..StatsQuery::default() }));
        let query = parse(r#"{"NUM_STATS":-1,"Start":"1970-01-01T00:00:01Z","END":"1970-01-01T00:00:02Z"} trailing"#);
        let second = 1_000_000_000;
        let range = StatsQuery {
            count: Count::All,
            start: Some(WallTime(second)),
            end: Some(WallTime(2 * second)),
            part: None,
        };
        assert_eq!(query, Ok(range));
        assert_eq!(parse(r#"{"num_stats":0}"#).map(|query| query.count), Ok(Count::Newest(0)));
        assert!(range.covers(WallTime(second)) && range.covers(WallTime(2 * second)));
        assert!(!range.covers(WallTime(second - 1)) && !range.covers(WallTime(2 * second + 1)));
    }

    #[test]
    fn complaints_are_gos() {
        let field = "Go struct field ContainerInfoRequest.num_stats of type int";
        let cases = [
            ("a", "invalid character 'a' looking for beginning of value".to_owned()),
            ("{", "unexpected EOF".to_owned()),
            (r#"{"num_stats":"#, "unexpected EOF".to_owned()),
            ("{a", "invalid character 'a' looking for beginning of object key string".to_owned()),
            (r#"{"a" 1}"#, "invalid character '1' after object key".to_owned()),
            (r#"{"a":1 2}"#, "invalid character '2' after object key:value pair".to_owned()),
            ("{\n\"a\":}", "invalid character '}' looking for beginning of value".to_owned()),
            ("[]", "json: cannot unmarshal array into Go value of type v1.ContainerInfoRequest".to_owned()),
            (r#"{"num_stats":"1"}"#, format!("json: cannot unmarshal string into {field}")),
            (r#"{"num_stats":1.5}"#, format!("json: cannot unmarshal number 1.5 into {field}")),
            (r#"{"num_stats":true}"#, format!("json: cannot unmarshal bool into {field}")),
            (r#"{"num_stats":-2}"#, "num_stats: only -1 (all) and larger values are allowed, not -2".to_owned()),
            (r#"{"start":5}"#, "Time.UnmarshalJSON: input is not a JSON string".to_owned()),
            (
                r#"{"end":"now"}"#,
                r#"parsing time "now" as "2006-01-02T15:04:05Z07:00": not an RFC 3339 time"#.to_owned(),
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(parse(body), Err(expected), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = StatsQuery::parse(&body);
        }

        #[test]
        fn any_json_like_body_is_read_or_refused(body in r#"[\{\["a-z_:,0-9 \n\}\]-]{0,40}"#) {
            let _ = StatsQuery::parse(body.as_bytes());
        }
    }
}
