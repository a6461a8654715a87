//! What `/api/export` is asked for.

use crate::api::export::ExportFormat;
use crate::api::wire::time;
use crate::units::WallTime;

/// A span of the history in some format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportQuery {
    /// Not before this.
    pub from: WallTime,
    /// Not after this.
    pub to: WallTime,
    /// How it is written.
    pub format: ExportFormat,
    /// Only the container of this cgroup's name, id or name; `None` for all of them.
    pub container: Option<String>,
}

/// A query that is not understood.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadExport {
    /// The format is none.
    #[error("format: {0:?} is none of openmetrics, csv and json")]
    Format(String),
    /// A time is none.
    #[error("{0}: {1:?} is no time: give an RFC 3339 time such as 2026-01-31T03:00:00Z, or seconds since 1970")]
    Time(&'static str, String),
}

impl ExportQuery {
    /// Reads the query string: without `from` and `to` everything that is kept, as JSON.
    ///
    /// # Errors
    /// A value is none.
    pub fn parse(query: &str) -> Result<Self, BadExport> {
        let mut parsed =
            Self { from: WallTime(0), to: WallTime(u64::MAX), format: ExportFormat::Json, container: None };
        let cut = |value: &str| value.chars().take(64).collect::<String>();
        for (key, value) in form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty()) {
            let moment = |key| time::moment(&value).ok_or_else(|| BadExport::Time(key, cut(&value)));
            match &*key {
                "from" => parsed.from = moment("from")?,
                "to" => parsed.to = moment("to")?,
                "format" => {
                    parsed.format = ExportFormat::of(&value).ok_or_else(|| BadExport::Format(cut(&value)))?;
                }
                "container" => parsed.container = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// The query string that says this.
    pub fn to_text(&self) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        let seconds = |at: WallTime| format!("{}.{:03}", at.millis() / 1000, at.millis() % 1000);
        text.append_pair("format", self.format.name());
        text.append_pair("from", &seconds(self.from));
        if self.to != WallTime(u64::MAX) {
            text.append_pair("to", &seconds(self.to));
        }
        if let Some(container) = &self.container {
            text.append_pair("container", container);
        }
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let all =
            ExportQuery { from: WallTime(0), to: WallTime(u64::MAX), format: ExportFormat::Json, container: None };
        assert_eq!(ExportQuery::parse(""), Ok(all.clone()));
        let some = ExportQuery {
            from: WallTime(1_500_000_000),
            to: WallTime(9_000_000_000),
            format: ExportFormat::Csv,
            container: Some("/a b&c".to_owned()),
        };
        for query in [all, some] {
            assert_eq!(ExportQuery::parse(&query.to_text()), Ok(query));
        }
        assert!(matches!(ExportQuery::parse("format=xml"), Err(BadExport::Format(_))));
        assert!(matches!(ExportQuery::parse("to=tomorrow"), Err(BadExport::Time("to", _))));
    }
}
