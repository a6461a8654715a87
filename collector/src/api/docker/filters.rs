//! `filters`: a JSON object of lists, or of objects whose keys are the list.

use std::collections::BTreeMap;

use serde_json::Value;

use super::errors::Error;
use super::request::QueryOptions;

/// What was asked for, by the filter's name. Values of one name are alternatives, names add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads them from the query.
    ///
    /// # Errors
    /// When they are not such an object, or name a filter that is not among the known ones.
    pub(super) fn parse(options: &QueryOptions, known: &[&str]) -> Result<Self, Error> {
        let Some(text) = options.get("filters").filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        let object: BTreeMap<String, Value> = serde_json::from_str(text)?;
        let mut filters = BTreeMap::new();
        for (name, values) in object {
            if !known.contains(&name.as_str()) {
                return Err(Error::UnknownFilter(name));
            }
            let values = match values {
                Value::Object(map) => {
                    map.into_iter().filter(|(_, on)| *on != Value::Bool(false)).map(|(key, _)| key).collect()
                }
                list => serde_json::from_value(list)?,
            };
            filters.insert(name, values);
        }
        Ok(Self(filters))
    }

    /// Whether one of the values given for the filter fits; without any, everything fits.
    pub(super) fn admit(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0.get(name).is_none_or(|values| values.is_empty() || values.iter().any(|value| fits(value)))
    }

    /// Whether all of the labels asked for, `key` or `key=value`, are there.
    pub(super) fn admit_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|label| label == value),
            None => labels.contains_key(wanted),
        };
        self.0.get("label").is_none_or(|wanted| wanted.iter().all(has))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Filters, String> {
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("filters", text).finish();
        Filters::parse(&QueryOptions::parse(&query), &["id", "label", "type"]).map_err(|error| error.to_string())
    }

    #[test]
    fn both_forms() {
        for text in [r#"{"type":["container","image"]}"#, r#"{"type":{"container":true,"image":true,"x":false}}"#] {
            let filters = parse(text).unwrap();
            assert!(filters.admit("type", |value| value == "image") && !filters.admit("type", |value| value == "x"));
            assert!(filters.admit("id", |_| false), "what is not asked for admits everything");
        }
        assert_eq!(parse("").unwrap(), Filters::default());
    }

    #[test]
    fn labels_add_up() {
        let labels = [("a", "1"), ("b", "")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for (text, admitted) in [
            (r#"{"label":["a","b"]}"#, true),
            (r#"{"label":["a=1","b="]}"#, true),
            (r#"{"label":["a=2"]}"#, false),
            (r#"{"label":["a","c"]}"#, false),
        ] {
            assert_eq!(parse(text).unwrap().admit_labels(&labels), admitted, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("[]").unwrap_err().starts_with("invalid filter: "));
        assert!(parse(r#"{"id":5}"#).unwrap_err().starts_with("invalid filter: "));
        assert_eq!(
            parse(r#"{"exited":["0"]}"#).unwrap_err(),
            "invalid filter 'exited': this collector does not support it"
        );
    }
}
