//! The names by which requests may call this server, beside those that it knows itself.

use super::{ConfigError, list, value_error};

/// Names of hosts from `--allowed_hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// `*`
    Everything,
    /// `*.example.com`: what ends so, with the dot.
    Below(String),
    /// A name or an address.
    Name(String),
}

impl AllowedHosts {
    /// Reads a list with commas of names, of `*.` and a name for all below it, or of `*` for any.
    ///
    /// # Errors
    /// When something in it is no name.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        list(text).map(pattern).collect::<Result<_, _>>().map(Self)
    }

    /// Whether none is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any name is right.
    pub fn is_everything(&self) -> bool {
        self.0.contains(&Pattern::Everything)
    }

    /// Whether a name in small letters and without a port is among them.
    pub fn contain(&self, host: &str) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Everything => true,
            Pattern::Below(end) => host.ends_with(end.as_str()) && host.len() > end.len(),
            Pattern::Name(name) => name == host,
        })
    }
}

fn pattern(text: &str) -> Result<Pattern, ConfigError> {
    if text == "*" {
        return Ok(Pattern::Everything);
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let plain = |name: &str| {
        let is_address = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .is_some_and(|name| name.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
        is_address || !name.is_empty() && name.chars().all(is_name) && !name.starts_with('.')
    };
    match name.strip_prefix("*.") {
        Some(below) if plain(below) => Ok(Pattern::Below(format!(".{below}"))),
        None if plain(&name) => Ok(Pattern::Name(name)),
        Some(_) | None => {
            let problem =
                "names of hosts without scheme and port, such as node.example.com or *.example.com; * for any";
            Err(value_error("allowed_hosts", &text, &problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_is_below_them() {
        let hosts = AllowedHosts::parse("Node.Example., *.svc.cluster.local,[::1]").unwrap();
        for (host, expected) in [
            ("node.example", true),
            ("a.node.example", false),
            ("collector.monitoring.svc.cluster.local", true),
            ("svc.cluster.local", false),
            (".svc.cluster.local", false),
            ("evilsvc.cluster.local", false),
            ("[::1]", true),
        ] {
            assert_eq!(hosts.contain(host), expected, "{host}");
        }
        assert!(AllowedHosts::parse("").unwrap().is_empty());
        assert!(AllowedHosts::parse("*").unwrap().contain("anything"));
        for wrong in ["http://a", "a:80", "a/b", "*a", "a.*", "*.", "[::1", "a b"] {
            let error = AllowedHosts::parse(wrong).unwrap_err().to_string();
            assert!(error.starts_with("--allowed_hosts="), "{wrong}: {error}");
        }
    }
}
