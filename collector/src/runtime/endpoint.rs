//! Where a runtime listens.

use std::fmt;
use std::str::FromStr;

/// Where a runtime listens: `unix:///path` or `tcp://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket's path.
    Unix(String),
    /// Host and port.
    Tcp(String),
}

/// An endpoint that cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not unix:///path and not tcp://host:port")]
pub struct EndpointError;

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (kind, rest): (fn(String) -> Self, _) = match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => (Self::Unix, path),
            Some(("tcp" | "http", address)) => (Self::Tcp, address),
            _ => return Err(EndpointError),
        };
        if rest.is_empty() { Err(EndpointError) } else { Ok(kind(rest.to_owned())) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        assert_eq!("unix:///var/run/x.sock".parse(), Ok(Endpoint::Unix("/var/run/x.sock".into())));
        assert_eq!("tcp://127.0.0.1:2375".parse(), Ok(Endpoint::Tcp("127.0.0.1:2375".into())));
        for bad in ["", "/var/run/docker.sock", "unix://relative", "tcp://", "ssh://host"] {
            assert_eq!(bad.parse::<Endpoint>(), Err(EndpointError), "{bad}");
        }
    }
}
