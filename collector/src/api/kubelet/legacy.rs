//! The body of `/stats/container`: a request of v1 that names its container.

use schemars::Schema;
use serde_json::{Value, json};

use crate::api::query::{DecodeError, StatsQuery};
use crate::sample::event::Name;

/// Whether what is below a container counts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    Included,
    LeftOut,
}

/// What the body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerRequest {
    /// The cgroup's name; the root where there is none.
    pub(super) name: Name,
    pub(super) query: StatsQuery,
    pub(super) below: Below,
}

impl ContainerRequest {
    /// The schema of the body, for the document of the API.
    pub(crate) fn schema() -> Schema {
        let mut schema = StatsQuery::schema();
        if let Some(keys) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            keys.insert("containerName".to_owned(), json!({ "type": "string", "default": "/" }));
            keys.insert("subcontainers".to_owned(), json!({ "type": "boolean", "default": false }));
        }
        schema
    }

    /// Reads the body; none asks for the defaults.
    ///
    /// # Errors
    /// It is not such an object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, DecodeError> {
        let query = StatsQuery::parse(body)?;
        let mut request = Self { name: (*b"/").into(), query, below: Below::LeftOut };
        // It is an object or nothing, or the query would have complained.
        let object = serde_json::Deserializer::from_slice(body).into_iter::<Value>().next().and_then(Result::ok);
        for (key, value) in object.as_ref().and_then(Value::as_object).into_iter().flatten() {
            match (key.to_ascii_lowercase().as_str(), value) {
                ("containername", Value::String(name)) if !name.is_empty() => request.name = absolute(name),
                ("subcontainers", Value::Bool(true)) => request.below = Below::Included,
                _ => {}
            }
        }
        Ok(request)
    }
}

/// With the slash at its beginning that old clients leave out, and none at its end.
fn absolute(name: &str) -> Name {
    let name = name.trim_end_matches('/');
    if name.starts_with('/') { name.as_bytes().into() } else { format!("/{name}").as_bytes().into() }
}

/// Those of the names that are the container or below it in the tree of cgroups.
pub fn at_or_below(top: &[u8], names: Vec<Name>) -> Vec<Name> {
    let is_inside = |name: &Name| {
        let rest = name.strip_prefix(top);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || top == b"/")
    };
    names.into_iter().filter(is_inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Count;

    fn parse(body: &str) -> (String, usize, Below) {
        let ContainerRequest { name, query, below } = ContainerRequest::parse(body.as_bytes()).unwrap();
        (String::from_utf8_lossy(&name).into_owned(), query.count.limit(), below)
    }

    #[test]
    fn bodies() {
        for (body, name, count, below) in [
            ("", "/", 60, Below::LeftOut),
            ("{}", "/", 60, Below::LeftOut),
            (r#"{"containerName":"kubepods"}"#, "/kubepods", 60, Below::LeftOut),
            (r#"{"containerName":"/a/","num_stats":1,"subcontainers":true}"#, "/a", 1, Below::Included),
            (r#"{"containerName":"/","subcontainers":false}"#, "/", 60, Below::LeftOut),
            (r#"{"containerName":null,"subcontainers":null,"num_stats":-1}"#, "/", usize::MAX, Below::LeftOut),
        ] {
            assert_eq!(parse(body), (name.to_owned(), count, below), "{body}");
        }
        let heapsters = r#"{"containerName":"/","num_stats":1,"start":"2026-01-01T00:00:00Z",
            "end":"2026-01-01T00:01:00Z","subcontainers":true}"#;
        let request = ContainerRequest::parse(heapsters.as_bytes()).unwrap();
        assert_eq!(request.query.count, Count::Newest(1));
        assert!(request.query.start < request.query.end);
        assert!(ContainerRequest::parse(b"{").is_err());
        assert!(ContainerRequest::parse(b"[]").is_err());
    }

    #[test]
    fn the_tree_below() {
        let names: Vec<Name> = ["/a", "/a/b", "/ab"].iter().map(|name| name.as_bytes().into()).collect();
        assert_eq!(at_or_below(b"/a", names.clone()).len(), 2);
        assert_eq!(at_or_below(b"/", names).len(), 3);
    }
}
