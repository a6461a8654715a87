//! Whether the port can be listened at, found out without listening.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt::set_socket_reuseaddr};

/// A collector on the same machine answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// More than the health page of a collector is long.
const LONGEST_ANSWER: u64 = 64 << 10;

/// The place to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// Address and port; port 0 for any free one.
    pub address: SocketAddr,
    /// What came of trying.
    pub state: Port,
}

/// What came of trying to take a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// It can be had.
    Free,
    /// A collector answers there.
    Collector,
    /// Somebody else has it.
    Taken,
    /// It cannot be had for another reason.
    Refused(Errno),
}

/// Binds a socket as the daemon would, and closes it again. It never listens, so no client and no collector that starts
/// at the same time notices.
pub(super) fn look(address: SocketAddr) -> PortFacts {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let bound = socket(family, SocketType::STREAM, None).and_then(|socket| {
        set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)
    });
    let state = match bound {
        Ok(()) => Port::Free,
        Err(Errno::ADDRINUSE) if collector_answers(address) => Port::Collector,
        Err(Errno::ADDRINUSE) => Port::Taken,
        Err(errno) => Port::Refused(errno),
    };
    PortFacts { address, state }
}

/// Whether what listens there has a collector's health page.
fn collector_answers(address: SocketAddr) -> bool {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), ANSWER_WITHIN)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(b"GET /healthz?verbose HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| String::from_utf8_lossy(&answer).contains("\nkernel events: "))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn free_and_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            // Once as somebody else, once as a collector.
            for body in ["hello", "ok\n\nkernel events: ebpf\n"] {
                let (mut client, _) = listener.accept().unwrap();
                let mut request = [0; 256];
                let _ = client.read(&mut request).unwrap();
                write!(client, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
            }
        });
        assert_eq!(look(address), PortFacts { address, state: Port::Taken });
        assert_eq!(look(address).state, Port::Collector);
        answering.join().unwrap();
        assert_eq!(look(address).state, Port::Free);
        assert_eq!(look("192.0.2.1:80".parse().unwrap()).state, Port::Refused(Errno::ADDRNOTAVAIL));
    }
}
