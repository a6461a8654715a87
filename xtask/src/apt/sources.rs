//! Where this machine's apt gets its packages from: `sources.list` in its old and its new format.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::workspace::find_files;

/// A place that the machine's apt gets packages from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    uri: String,
    pub(super) suites: Vec<String>,
    /// The keys that its lists are signed with, as the file says it: a path, or the key itself over several lines.
    signed_by: Option<String>,
}

impl Source {
    /// The same place for another suite, in apt's format for `.sources` files.
    pub(super) fn for_suite(&self, suite: &str) -> String {
        let key = self.signed_by.as_ref().map(|key| format!("Signed-By: {key}\n")).unwrap_or_default();
        format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n{key}", self.uri)
    }
}

/// All sources of the machine.
pub(super) fn read_sources() -> Result<Vec<Source>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = Path::new("/etc/apt/sources.list.d");
    if parts.is_dir() {
        find_files(parts, &mut files)?;
    }
    let mut sources = Vec::new();
    for file in files {
        // The first may be absent.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_line)),
            Some("sources") => sources.extend(text.split("\n\n").filter_map(parse_stanza)),
            _ => {}
        }
    }
    Ok(sources)
}

/// Reads `deb [signed-by=/key] uri suite component...`.
fn parse_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=")).map(str::to_owned);
    let mut words = rest.split_whitespace();
    Some(Source { uri: words.next()?.to_owned(), suites: vec![words.next()?.to_owned()], signed_by })
}

/// Reads one paragraph of a `.sources` file.
pub(super) fn parse_stanza(stanza: &str) -> Option<Source> {
    let field = |name: &str| {
        let mut lines = stanza.lines().filter(|line| !line.starts_with('#'));
        let first = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim().to_owned();
        // A value goes on in the lines that start with a blank.
        Some(lines.take_while(|line| line.starts_with(' ')).fold(first, |value, line| value + "\n" + line))
    };
    if !field("Types")?.split_whitespace().any(|kind| kind == "deb") || field("Enabled").is_some_and(|on| on == "no") {
        return None;
    }
    let uri = field("URIs")?.split_whitespace().next()?.to_owned();
    let suites = field("Suites")?.split_whitespace().map(str::to_owned).collect();
    Some(Source { uri, suites, signed_by: field("Signed-By") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_sources_are_read() {
        let old = parse_line("deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian bookworm main contrib").unwrap();
        let new = "# a mirror\nTypes: deb deb-src\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
                   Components: main\nSigned-By:\n -----BEGIN\n .\n -----END";
        let new = parse_stanza(new).unwrap();
        assert_eq!((old.uri.as_str(), old.signed_by.as_deref()), ("http://mirror/debian", Some("/k.gpg")));
        assert_eq!((new.uri.as_str(), new.suites.len()), ("http://mirror/debian", 2));
        let moved = new.for_suite("trixie");
        assert!(moved.contains("Suites: trixie\n") && moved.ends_with("Signed-By: \n -----BEGIN\n .\n -----END\n"));
        assert_eq!(parse_line("# deb http://mirror/debian bookworm main"), None);
        assert_eq!(parse_stanza("Types: deb-src\nURIs: http://mirror\nSuites: a"), None);
    }
}
