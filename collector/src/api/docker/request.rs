//! What a request asks for: its path, its version of the API, its options.

use super::errors::Error;
use super::version::{ApiVersion, NEWEST, OLDEST};

impl ApiVersion {
    /// # Errors
    /// When it is not spoken.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self < OLDEST {
            Err(Error::TooOld(self))
        } else if self > NEWEST {
            Err(Error::TooNew(self))
        } else {
            Ok(())
        }
    }
}

/// A request's path, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub(crate) version: Option<ApiVersion>,
    pub(crate) resource: Resource,
}

/// What there is. Containers are named by the client: an id, a name, or the beginning of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Ping,
    Version,
    Info,
    Events,
    List,
    Inspect(String),
    Stats(String),
    Unknown,
}

impl Call {
    /// What a decoded path asks an engine for.
    pub(crate) fn of(path: &[u8]) -> Self {
        let mut segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty()).collect();
        let version = segments.first().and_then(|first| ApiVersion::parse(first));
        if version.is_some() {
            segments.remove(0);
        }
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let resource = match segments.as_slice() {
            [b"_ping"] => Resource::Ping,
            [b"version"] => Resource::Version,
            [b"info"] => Resource::Info,
            [b"events"] => Resource::Events,
            [b"containers", b"json"] => Resource::List,
            [b"containers", id, b"json"] => Resource::Inspect(name(id)),
            [b"containers", id, b"stats"] => Resource::Stats(name(id)),
            _ => Resource::Unknown,
        };
        Self { version, resource }
    }

    /// The same where other things are served beside: `None` unless the path is Docker's. A path without a version may
    /// also be a page of cAdvisor's about a cgroup that is called `stats` or `json`; only browsers want that.
    pub(crate) fn beside_pages(path: &[u8], accept: Option<&[u8]>) -> Option<Self> {
        let call = Self::of(path);
        let browser = accept.is_some_and(|accept| accept.windows(9).any(|window| window == b"text/html"));
        let meant = match (&call.version, &call.resource) {
            (Some(_), _) => true,
            (None, Resource::Unknown) => false,
            (None, _) => !browser,
        };
        meant.then_some(call)
    }
}

/// A query string.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueryOptions(Vec<(String, String)>);

impl QueryOptions {
    pub(crate) fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A switch in the engine's eyes: everything but a few words is "on".
    pub(crate) fn is_on(&self, name: &str) -> Option<bool> {
        let value = self.get(name)?.trim().to_ascii_lowercase();
        Some(!matches!(value.as_str(), "" | "0" | "no" | "false" | "none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(path: &str) -> (Option<String>, Resource) {
        let Call { version, resource } = Call::of(path.as_bytes());
        (version.map(ApiVersion::text), resource)
    }

    #[test]
    fn paths() {
        let cases = [
            ("/_ping", None, Resource::Ping),
            ("/v1.41/version", Some("1.41"), Resource::Version),
            ("/v1.51/info/", Some("1.51"), Resource::Info),
            ("/events", None, Resource::Events),
            ("/containers/json", None, Resource::List),
            ("/v1.24/containers/web.1/json", Some("1.24"), Resource::Inspect("web.1".to_owned())),
            ("/containers/json/stats", None, Resource::Stats("json".to_owned())),
            ("/containers/a/b/stats", None, Resource::Unknown),
            ("/v1/containers/json", None, Resource::Unknown),
            ("/v1.4x/version", None, Resource::Unknown),
            ("/v1.99999999999/version", None, Resource::Unknown),
            ("/", None, Resource::Unknown),
        ];
        for (path, version, resource) in cases {
            assert_eq!(call(path), (version.map(str::to_owned), resource), "{path}");
        }
    }

    #[test]
    fn pages_are_left_to_browsers() {
        let asked =
            |path: &str, accept: Option<&str>| Call::beside_pages(path.as_bytes(), accept.map(str::as_bytes)).is_some();
        assert!(asked("/containers/a/stats", None) && asked("/containers/a/stats", Some("application/json, */*")));
        assert!(!asked("/containers/a/stats", Some("text/html,application/xhtml+xml;q=0.9")));
        assert!(!asked("/containers/docker", None) && !asked("/api/v1.3/machine", None));
        assert!(asked("/v1.41/containers/a/stats", Some("text/html")) && asked("/v1.41/images/json", None));
    }

    #[test]
    fn switches() {
        let options = QueryOptions::parse("a&b=0&c=False&d=None&e=1&f=yes&g=no&a=1");
        let on: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| options.is_on(name)).into();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(on, [no, no, no, no, yes, yes, no, None]);
    }

    #[test]
    fn versions_that_are_spoken() {
        for (minor, error) in [
            (
                23,
                "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
            ),
            (52, "client version 1.52 is too new. Maximum supported API version is 1.51"),
        ] {
            assert_eq!(ApiVersion { major: 1, minor }.check().unwrap_err().to_string(), error);
        }
        assert!(OLDEST.check().is_ok() && NEWEST.check().is_ok());
    }
}
