//! Which names of this server requests may call it by, and which pages may ask.
//!
//! A page of somebody else whose name is made to lead to the loopback address (DNS rebinding) asks with that name. Who
//! listens on loopback is reached by few names, and all others are refused. Elsewhere any name may be the right one,
//! such as that of a Kubernetes service: there only the names given by flag are distinguished from others.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Uri};

use crate::config::AllowedHosts;

/// A name is shown up to so many letters.
const SHOWN: usize = 200;

/// What a listener accepts.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    rule: Rule,
    allowed: Arc<AllowedHosts>,
    /// The machine's own names in small letters.
    own: Arc<[String]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Nothing is looked at: no browser asks there.
    Anything,
    /// Any name; but a page asks only for its own server.
    AnyName,
    /// The names of loopback, and those that were given.
    Loopback,
    /// Addresses, and the names that were given.
    Given,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// The value of the label `reason`.
    pub(super) reason: &'static str,
    pub(super) text: String,
}

impl Hosts {
    /// For who listens at this address.
    pub(super) fn at(listening: IpAddr, allowed: &Arc<AllowedHosts>, node_name: &str) -> Self {
        let rule = match (listening.to_canonical().is_loopback(), allowed.is_empty()) {
            (true, _) => Rule::Loopback,
            (false, true) => Rule::AnyName,
            (false, false) => Rule::Given,
        };
        let machine = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        Self { rule, allowed: Arc::clone(allowed), own: [machine, node_name.to_ascii_lowercase()].into() }
    }

    /// For a socket in the file system.
    pub(super) fn anything() -> Self {
        Self { rule: Rule::Anything, allowed: Arc::default(), own: Arc::default() }
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// With what to answer if not.
    pub(super) fn check(&self, head: &Parts) -> Result<(), Refused> {
        if self.rule == Rule::Anything {
            return Ok(());
        }
        let mut headers = head.headers.get_all(HOST).iter();
        let header = headers.next();
        if headers.next().is_some() {
            let text = "400 Bad Request: more than one Host header".to_owned();
            return Err(Refused { status: StatusCode::BAD_REQUEST, reason: "host", text });
        }
        // A target may name a host too, and in HTTP/2 does.
        let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
        let header = header.map(HeaderValue::as_bytes);
        let asked: Vec<&[u8]> = [authority, header].into_iter().flatten().filter(|host| !host.is_empty()).collect();
        // Without any no browser asks.
        if let Some(other) = asked.iter().find(|host| !self.is_accepted(host)) {
            return Err(foreign_host(other));
        }
        match head.headers.get(ORIGIN) {
            Some(origin) if !self.is_own_page(origin, &asked, head) => Err(foreign_page(origin)),
            Some(_) | None => Ok(()),
        }
    }

    fn is_accepted(&self, host: &[u8]) -> bool {
        if self.rule == Rule::AnyName {
            return true;
        }
        let Some((host, _)) = split(host) else { return self.allowed.is_everything() };
        if self.allowed.contain(&host) {
            return true;
        }
        if let Some(address) = literal(&host) {
            return self.rule != Rule::Loopback || address.to_canonical().is_loopback();
        }
        host == "localhost" || host.ends_with(".localhost") || self.own.contains(&host)
    }

    /// Whether the page that asks came from here. A browser that says so itself is right: what it sends then, no page can
    /// send. Others are judged by whether both have one host and port.
    fn is_own_page(&self, origin: &HeaderValue, asked: &[&[u8]], head: &Parts) -> bool {
        if head.headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin") {
            return true;
        }
        let Some(uri) = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok()) else { return false };
        let default = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            Some(_) | None => return false,
        };
        let Some((page, port)) = uri.authority().and_then(|authority| split(authority.as_str().as_bytes())) else {
            return false;
        };
        let is_asked = |asked: &&[u8]| {
            split(asked).is_some_and(|(host, asked_port)| {
                host == page && asked_port.unwrap_or(default) == port.unwrap_or(default)
            })
        };
        self.allowed.contain(&page) || !asked.is_empty() && asked.iter().all(is_asked)
    }
}

/// Host in small letters and without a dot at its end, and port.
fn split(host: &[u8]) -> Option<(String, Option<u16>)> {
    let authority = Authority::try_from(host).ok()?;
    // With a user's name it is something else than a host.
    if authority.as_str().contains('@') {
        return None;
    }
    let name = authority.host();
    let port = match authority.as_str().strip_prefix(name)? {
        "" | ":" => None,
        port => Some(port.strip_prefix(':')?.parse().ok()?),
    };
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    (!name.is_empty()).then(|| (name.to_owned(), port))
}

fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse().map(IpAddr::V6).ok(),
        None => host.parse().map(IpAddr::V4).ok(),
    }
}

fn shown(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().take(SHOWN).collect();
    format!("{text:?}")
}

fn foreign_host(host: &[u8]) -> Refused {
    let name = split(host).map_or_else(|| "NAME".to_owned(), |(name, _)| name);
    let name: String = name.chars().take(SHOWN).collect();
    let text = format!(
        "403 Forbidden: {} is no name of this server; if it is one, start the collector with --allowed_hosts={name}",
        shown(host)
    );
    Refused { status: StatusCode::FORBIDDEN, reason: "host", text }
}

fn foreign_page(origin: &HeaderValue) -> Refused {
    let text = format!(
        "403 Forbidden: a page from {} asks, which is another server; if it is this one behind a proxy, start the \
         collector with the page's host in --allowed_hosts",
        shown(origin.as_bytes())
    );
    Refused { status: StatusCode::FORBIDDEN, reason: "origin", text }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn hosts(listening: &str, allowed: &str) -> Hosts {
        let allowed = Arc::new(AllowedHosts::parse(allowed).unwrap());
        Hosts::at(listening.parse().unwrap(), &allowed, "Node-1")
    }

    fn check(hosts: &Hosts, target: &str, headers: &[(&str, &str)]) -> Result<(), Refused> {
        let request = headers.iter().fold(Request::builder().uri(target), |request, (name, value)| {
            request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        hosts.check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn loopback_is_reached_by_its_own_names_alone() {
        let hosts = hosts("127.0.0.1", "");
        for host in [
            "localhost",
            "localhost:8080",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
            "node-1:8080",
            "",
        ] {
            assert_eq!(check(&hosts, "/", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(check(&hosts, "/", &[]), Ok(()));
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "evil-localhost",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "[2001:db8::1]",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost:80:80",
            "localhost:99999",
            "localhost, evil.example",
            "\u{e9}",
            "xn--localhost",
            "*",
            "2130706433",
            "127.1",
        ] {
            assert!(check(&hosts, "/", &[("host", host)]).is_err(), "{host}");
        }
        let refused = check(&hosts, "/", &[("host", "evil.example:8080")]).unwrap_err();
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(
            refused.text,
            "403 Forbidden: \"evil.example:8080\" is no name of this server; if it is one, start the collector with \
             --allowed_hosts=evil.example"
        );
        let twice = check(&hosts, "/", &[("host", "localhost"), ("host", "evil.example")]).unwrap_err();
        assert_eq!(twice.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_target_with_a_host_is_looked_at_too() {
        let hosts = hosts("::1", "");
        assert!(check(&hosts, "http://evil.example/metrics", &[("host", "localhost")]).is_err());
        assert!(check(&hosts, "http://localhost/metrics", &[("host", "evil.example")]).is_err());
        assert!(check(&hosts, "http://localhost/metrics", &[("host", "localhost")]).is_ok());
        assert!(check(&hosts, "https://evil.example/metrics", &[]).is_err());
    }

    #[test]
    fn elsewhere_any_name_may_be_right_unless_some_are_given() {
        let service = [("host", "collector.monitoring.svc.cluster.local:8080")];
        assert!(check(&hosts("0.0.0.0", ""), "/", &service).is_ok());
        let given = hosts("::", "*.svc.cluster.local,metrics.example");
        assert!(check(&given, "/", &service).is_ok());
        for host in ["metrics.example", "10.0.0.1:8080", "[2001:db8::1]", "localhost", "NODE-1"] {
            assert!(check(&given, "/", &[("host", host)]).is_ok(), "{host}");
        }
        for host in ["evil.example", "svc.cluster.local", "a.metrics.example"] {
            assert!(check(&given, "/", &[("host", host)]).is_err(), "{host}");
        }
        assert!(check(&hosts("127.0.0.1", "metrics.example"), "/", &[("host", "metrics.example")]).is_ok());
        assert!(check(&hosts("127.0.0.1", "*"), "/", &[("host", "evil.example")]).is_ok());
    }

    #[test]
    fn pages_of_others_do_not_ask() {
        let hosts = hosts("0.0.0.0", "");
        let asks = |origin: &str, host: &str| check(&hosts, "/", &[("host", host), ("origin", origin)]).is_ok();
        assert!(asks("http://node:8080", "node:8080"));
        assert!(asks("http://NODE", "node:80") && asks("https://node", "node"));
        for origin in ["http://evil.example", "null", "http://node", "http://node:8081", "file://", "", "node:8080"] {
            assert!(!asks(origin, "node:8080"), "{origin}");
        }
        let behind_a_proxy = [("host", "127.0.0.1:8080"), ("origin", "https://metrics.example")];
        assert!(check(&hosts, "/", &behind_a_proxy).is_err());
        let said = [behind_a_proxy[0], behind_a_proxy[1], ("sec-fetch-site", "same-origin")];
        assert!(check(&hosts, "/", &said).is_ok());
        let cross = [behind_a_proxy[0], behind_a_proxy[1], ("sec-fetch-site", "cross-site")];
        assert!(check(&hosts, "/", &cross).is_err());
        let given = self::hosts("0.0.0.0", "metrics.example");
        assert!(check(&given, "/", &behind_a_proxy).is_ok());
        let without_a_host = check(&hosts, "/", &[("origin", "http://evil.example")]).unwrap_err();
        assert_eq!((without_a_host.reason, without_a_host.status), ("origin", StatusCode::FORBIDDEN));
    }
}
