//! Where an application is asked: at its container's own address, and nowhere else unless that is allowed.
//!
//! A container writes the file that says where. Were it free to name any host, it could have the collector, which is on
//! the host's network, ask what the container itself does not reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use http::uri::PathAndQuery;
use serde::Deserialize;

use super::bounds::PATH_BYTES;
use crate::sample::identity::Address;

/// The port of an endpoint that does not say.
const PORT: u16 = 8000;
/// Where clouds serve machines their metadata and secrets, beside the link-local addresses.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// The prefix by which IPv6 reaches IPv4, in front of the last 32 bits.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Which endpoints a container may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Those at its own address.
    #[default]
    OwnAddress,
    /// Any URL.
    AnyUrl,
}

/// An endpoint that is not asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    /// The endpoint is at the container's address, and no label gave it.
    #[error("the container's address is not known")]
    NoAddress,
    /// Not a URL with a host.
    #[error("the endpoint {0:?} is not a URL")]
    Url(String),
    /// Only HTTP is spoken.
    #[error("the protocol {0:?} is not spoken, only http")]
    Protocol(String),
    /// No number of a port.
    #[error("{0:?} is not a port")]
    Port(String),
    /// Not a path.
    #[error("{0:?} is not a path")]
    Path(String),
    /// Another host's.
    #[error(
        "the endpoint {0:?} is not at the container's own address: give {{\"port\": ..., \"path\": ...}}, or start the \
         collector with --application_metrics_allow_urls"
    )]
    NotItsOwn(String),
    /// An address that is never asked.
    #[error("{0} is never asked: it is link-local, a cloud's metadata service, or no single host's")]
    Forbidden(IpAddr),
}

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) path: PathAndQuery,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    /// To be looked up, and then to be checked again.
    Name(String),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

impl Target {
    /// What the header `Host` says.
    pub(super) fn authority(&self) -> String {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).to_string(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }
}

/// Where metrics are, as the file says.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Endpoint {
    Url(String),
    Parts {
        #[serde(default)]
        protocol: String,
        #[serde(default)]
        port: Option<Port>,
        #[serde(default)]
        path: String,
    },
}

/// cAdvisor takes both.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Port {
    Number(u16),
    Text(String),
}

impl Endpoint {
    /// Where that is for a container of this address.
    pub(super) fn target(self, address: Address, reach: Reach) -> Result<Target, TargetError> {
        match self {
            Self::Url(url) => whole(&url, address, reach),
            Self::Parts { protocol, port, path } => {
                if !protocol.is_empty() && !protocol.eq_ignore_ascii_case("http") {
                    return Err(TargetError::Protocol(shortened(&protocol)));
                }
                let port = match port {
                    None => PORT,
                    Some(Port::Number(port)) => port,
                    Some(Port::Text(port)) if port.is_empty() => PORT,
                    Some(Port::Text(port)) => port.parse().map_err(|_| TargetError::Port(shortened(&port)))?,
                };
                if port == 0 {
                    return Err(TargetError::Port("0".to_owned()));
                }
                let path = format!("/{}", path.trim_start_matches('/'));
                let is_short = path.len() <= PATH_BYTES;
                let parsed = is_short.then(|| path.parse().ok()).flatten();
                let path = parsed.ok_or_else(|| TargetError::Path(shortened(&path)))?;
                Ok(Target { host: Host::Address(own(address)?), port, path })
            }
        }
    }
}

fn whole(url: &str, address: Address, reach: Reach) -> Result<Target, TargetError> {
    let wrong = || TargetError::Url(shortened(url));
    let uri: Uri = if url.len() > PATH_BYTES { return Err(wrong()) } else { url.parse().map_err(|_| wrong())? };
    match uri.scheme_str() {
        Some("http") => {}
        other => return Err(TargetError::Protocol(other.unwrap_or_default().to_owned())),
    }
    let authority = uri.authority().ok_or_else(wrong)?;
    // Nothing is sent to whoever is named in front of it.
    let named = authority.host().trim_start_matches('[').trim_end_matches(']');
    // What is no port is no port by default.
    let (_, after) = authority.as_str().rsplit_once(authority.host()).unwrap_or_default();
    let port = match after.strip_prefix(':') {
        None => 80,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
    };
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let literal = named.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let is_own = match address {
        Address::Own(own) => literal == Some(own.to_canonical()),
        Address::Host => named.eq_ignore_ascii_case("localhost") || literal.is_some_and(|named| named.is_loopback()),
        Address::Unknown => false,
    };
    let host = match (is_own, reach, literal) {
        (true, _, None) => Host::Address(Ipv4Addr::LOCALHOST.into()),
        (true, Reach::OwnAddress | Reach::AnyUrl, Some(literal)) | (false, Reach::AnyUrl, Some(literal)) => {
            Host::Address(allowed(literal)?)
        }
        (false, Reach::AnyUrl, None) => Host::Name(named.to_owned()),
        (false, Reach::OwnAddress, _) => return Err(TargetError::NotItsOwn(shortened(url))),
    };
    Ok(Target { host, port, path })
}

/// A container's own address.
fn own(address: Address) -> Result<IpAddr, TargetError> {
    match address {
        // A loopback address would be the host's.
        Address::Own(own) if own.to_canonical().is_loopback() => Err(TargetError::Forbidden(own)),
        Address::Own(own) => allowed(own),
        Address::Host => Ok(Ipv4Addr::LOCALHOST.into()),
        Address::Unknown => Err(TargetError::NoAddress),
    }
}

/// The address, unless it is one that is never asked, whoever names it.
pub(super) fn allowed(address: IpAddr) -> Result<IpAddr, TargetError> {
    let is_forbidden = match address.to_canonical() {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => {
            let segments = address.segments();
            let last = Ipv4Addr::from(u32::from(segments[6]) << 16 | u32::from(segments[7]));
            let is_v4_in_disguise = segments[..6] == NAT64 || segments[..6] == [0; 6] && !address.is_loopback();
            address.is_unspecified()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || address == METADATA_V6
                || is_v4_in_disguise && forbidden_v4(last)
        }
    };
    if is_forbidden { Err(TargetError::Forbidden(address)) } else { Ok(address) }
}

fn forbidden_v4(address: Ipv4Addr) -> bool {
    // What is called 0.x is this host, by another name than the one that is looked for.
    address.octets()[0] == 0
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || METADATA_V4.contains(&address)
}

/// Enough of it to be recognised.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: &str, address: &str, reach: Reach) -> Result<String, String> {
        let address = match address {
            "host" => Address::Host,
            "" => Address::Unknown,
            own => Address::Own(own.parse().unwrap()),
        };
        let endpoint: Endpoint = serde_json::from_str(endpoint).unwrap();
        endpoint.target(address, reach).map(|target| target.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn parts_are_at_the_containers_own_address() {
        let at = |endpoint, address| target(endpoint, address, Reach::OwnAddress);
        assert_eq!(at(r#"{"port":"1"}"#, "fd12::1").unwrap(), "http://[fd12::1]:1/");
        assert_eq!(at(r#"{"port":1,"path":"//m?x=1"}"#, "10.0.0.7").unwrap(), "http://10.0.0.7:1/m?x=1");
        assert_eq!(at("{}", "host").unwrap(), "http://127.0.0.1:8000/");
        assert_eq!(at("{}", "").unwrap_err(), "the container's address is not known");
    }

    #[test]
    fn no_part_leads_elsewhere() {
        let refused = [
            (r#"{"port":"80@evil.example"}"#, "\"80@evil.example\" is not a port"),
            (r#"{"port":"80/x"}"#, "\"80/x\" is not a port"),
            (r#"{"port":0}"#, "\"0\" is not a port"),
            (r#"{"protocol":"http://evil.example/?"}"#, "the protocol \"http://evil.example/?\" is not spoken"),
            (r#"{"protocol":"https"}"#, "the protocol \"https\" is not spoken"),
            (r#"{"path":"a b\r\nX: y"}"#, "\"/a b\\r\\nX: y\" is not a path"),
        ];
        for (endpoint, expected) in refused {
            for reach in [Reach::OwnAddress, Reach::AnyUrl] {
                let error = target(endpoint, "10.0.0.7", reach).unwrap_err();
                assert!(error.starts_with(expected), "{endpoint}: {error}");
            }
        }
        let at = target(r#"{"path":"@evil.example/"}"#, "10.0.0.7", Reach::OwnAddress).unwrap();
        assert_eq!(at, "http://10.0.0.7:8000/@evil.example/");
    }

    #[test]
    fn a_whole_url_has_to_be_the_containers_own() {
        let own = |url: &str, address| target(&format!("{url:?}"), address, Reach::OwnAddress);
        for (url, address) in [
            ("http://10.0.0.7:81/x", "10.0.0.7"),
            ("http://[fd12::1]/", "fd12::1"),
            ("http://localhost:81/x", "host"),
            ("http://127.0.0.1:81/x", "host"),
            ("http://[::1]:81/", "host"),
        ] {
            assert!(own(url, address).is_ok(), "{url} of {address}");
        }
        for (url, address) in [
            ("http://10.0.0.8/", "10.0.0.7"),
            ("http://localhost/", "10.0.0.7"),
            ("http://127.0.0.1/", "10.0.0.7"),
            ("http://10.0.0.7@evil.example/", "10.0.0.7"),
            ("http://evil.example/", "host"),
            ("http://10.0.0.8/", "host"),
            ("http://2130706433/", "host"),
            ("http://10.0.0.7/", ""),
        ] {
            let error = own(url, address).unwrap_err();
            assert!(error.contains("is not at the container's own address"), "{url} of {address}: {error}");
        }
        let any = |url: &str| target(&format!("{url:?}"), "10.0.0.7", Reach::AnyUrl);
        assert_eq!(any("http://other.example:81/x?y").unwrap(), "http://other.example:81/x?y");
        assert_eq!(any("http://localhost").unwrap(), "http://localhost:80/");
        for url in
            ["https://x/", "ftp://x/", "file:///etc/passwd", "/x", "http://a b", "http://x:0/", "http://x:99999/"]
        {
            assert!(any(url).is_err(), "{url}");
        }
    }

    #[test]
    fn some_addresses_are_never_asked() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "::169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "168.63.129.16",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(allowed(address), Err(TargetError::Forbidden(address)));
            let url = format!("{:?}", format!("http://{}/", SocketAddr::new(address, 80)));
            assert!(target(&url, "10.0.0.7", Reach::AnyUrl).is_err(), "{url}");
            assert!(target(&url, &address.to_string(), Reach::OwnAddress).is_err(), "{url}");
            assert!(target("{}", &address.to_string(), Reach::OwnAddress).is_err(), "{address}");
        }
        assert!(target("{}", "127.0.0.1", Reach::OwnAddress).is_err(), "an own address is no loopback address");
        for address in ["10.0.0.7", "127.0.0.1", "::1", "2001:db8::1", "64:ff9b::a00:7"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(allowed(address), Ok(address));
        }
    }
}
