//! Who asks, as far as shares and limits go by it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A client by its address. Of IPv6 the first 64 bits count, since whoever has one such network has all addresses in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Client {
    /// Whoever may open the socket in the file system.
    Local,
    /// An IPv4 address, or the network of an IPv6 address with 64 zero bits at its end.
    At(IpAddr),
}

impl Client {
    /// The client at an address. An IPv4 address written as IPv6 is the IPv4 address.
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                Self::At(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into())
            }
            address => Self::At(address),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("the socket"),
            Self::At(address @ IpAddr::V4(_)) => address.fmt(f),
            Self::At(IpAddr::V6(address)) if address.is_loopback() => address.fmt(f),
            Self::At(address @ IpAddr::V6(_)) => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let client = |text: &str| Client::at(text.parse().unwrap());
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_eq!(client("2001:db8:0:1::1").to_string(), "2001:db8:0:1::/64");
        assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
        assert_ne!(client("10.0.0.1"), client("10.0.0.2"));
        assert_eq!(client("::1").to_string(), "::1");
    }
}
