//! Request paths: decoded once, cleaned, and split as cAdvisor splits them. Bytes, because cgroup names are.

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::sample::event::Name;

/// A path below `/api/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiPath {
    /// `v1.3`; empty for `/api/`.
    pub(crate) version: Vec<u8>,
    /// `containers`; empty when there is none.
    pub(crate) request: Vec<u8>,
    /// What follows, as a container's name.
    pub(crate) name: Name,
}

/// Undoes percent-encoding, and resolves `.`, `..` and repeated slashes. A trailing slash is kept.
pub(crate) fn decode(path: &str) -> Vec<u8> {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    let mut cleaned = clean(&decoded);
    if decoded.ends_with(b"/") && cleaned != b"/" {
        cleaned.push(b'/');
    }
    cleaned
}

/// A rooted path without dot segments, repeated and trailing slashes.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut cleaned = Vec::with_capacity(path.len() + 1);
    for segment in segments {
        cleaned.push(b'/');
        cleaned.extend_from_slice(segment);
    }
    if cleaned.is_empty() {
        cleaned.push(b'/');
    }
    cleaned
}

impl ApiPath {
    /// Splits what follows `/api/` in a decoded path.
    pub(crate) fn parse(below_api: &[u8]) -> Self {
        let mut segments = below_api.splitn(3, |byte| *byte == b'/');
        let mut next = || segments.next().unwrap_or_default();
        Self { version: next().to_vec(), request: next().to_vec(), name: Arc::from(clean(next())) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(path: &str) -> (String, String, String) {
        let decoded = decode(path);
        let path = ApiPath::parse(decoded.strip_prefix(b"/api/").unwrap());
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        (text(&path.version), text(&path.request), text(&path.name))
    }

    #[test]
    fn paths() {
        let cases = [
            ("/api/", ("", "", "/")),
            ("/api/v1.3", ("v1.3", "", "/")),
            ("/api/v1.3/", ("v1.3", "", "/")),
            ("/api/v1.3/containers", ("v1.3", "containers", "/")),
            ("/api/v1.3/containers/", ("v1.3", "containers", "/")),
            ("/api//v1.3/./containers//a//b/", ("v1.3", "containers", "/a/b")),
            ("/api/v1.3/containers/a/../b", ("v1.3", "containers", "/b")),
            ("/api/v1.3/containers/a%5Cx2d%20b%2Fc", ("v1.3", "containers", "/a\\\\x2d b/c")),
            ("/api/v1.3/containers/%ff%0A%22%25", ("v1.3", "containers", "/\\xff\\n\\\"%")),
            ("/api/v1.3/containers/%zz", ("v1.3", "containers", "/%zz")),
        ];
        for (path, (version, request, name)) in cases {
            assert_eq!(parse(path), (version.to_owned(), request.to_owned(), name.to_owned()), "{path}");
        }
        assert_eq!(decode("/api/../x/"), b"/x/");
        assert_eq!(decode("/../.."), b"/");
        assert_eq!(decode(""), b"/");
    }

    proptest! {
        #[test]
        fn any_name_can_be_asked_for(name in proptest::collection::vec(any::<u8>(), 1..60)) {
            let encoded = percent_encoding::percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
            let decoded = decode(&format!("/api/v1.3/containers/{encoded}"));
            let path = ApiPath::parse(decoded.strip_prefix(b"/api/").unwrap_or_default());
            if !name.contains(&b'/') && name != b"." && name != b".." {
                prop_assert_eq!(&path.name[1..], &name[..]);
            }
        }

        #[test]
        fn any_path_is_split(path in ".{0,60}") {
            let decoded = decode(&path);
            prop_assert!(decoded.starts_with(b"/"));
            ApiPath::parse(&decoded);
        }
    }
}
