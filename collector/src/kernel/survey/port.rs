//! Whether the port can be listened at, found out without listening.

use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt::set_socket_reuseaddr};

/// A collector on the same machine answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// More than the health page of a collector is long.
const LONGEST_ANSWER: u64 = 64 << 10;

/// The place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// Address and port; port 0 for any free one.
    pub address: SocketAddr,
    /// What came of trying.
    pub state: Port,
}

/// What came of trying to take a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// It can be had.
    Free,
    /// A collector listens there, at this address.
    Collector(SocketAddr),
    /// Somebody else has it.
    Taken(Option<Holder>),
    /// It cannot be had for another reason.
    Refused(Errno),
}

/// The process that listens at a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: i32,
    /// Its command's name, of up to 15 bytes.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
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
        Err(Errno::ADDRINUSE) => whose(address),
        Err(errno) => Port::Refused(errno),
    };
    PortFacts { address, state }
}

/// Who listens at the port. An address of all interfaces is in the way of one of them and the other way round: what is
/// looked for need not listen at the very address that was asked for.
fn whose(address: SocketAddr) -> Port {
    let listeners = listeners(address);
    let asked: Vec<SocketAddr> = if listeners.is_empty() {
        // A procfs that cannot be read.
        [address.ip(), Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            .map(|ip| SocketAddr::new(ip, address.port()))
            .to_vec()
    } else {
        listeners.iter().map(|(address, _)| *address).collect()
    };
    if let Some(found) = asked.into_iter().find(|address| collector_answers(*address)) {
        return Port::Collector(found);
    }
    // Behind TLS, or below a path, it answers nothing that could be recognized here: it is this same program, though.
    for (address, inode) in &listeners {
        if let Some(process) = owner(*inode) {
            if is_this_program(&process) {
                return Port::Collector(*address);
            }
            return Port::Taken(process.stat().ok().map(|stat| Holder { pid: process.pid, name: stat.comm }));
        }
    }
    Port::Taken(None)
}

/// Listening sockets that are in the way of this address, with their inodes.
fn listeners(address: SocketAddr) -> Vec<(SocketAddr, u64)> {
    let all = [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten();
    let listening = all.filter(|entry| {
        let local = entry.local_address;
        entry.state == TcpState::Listen
            && local.port() == address.port()
            && (local.ip().is_unspecified() || address.ip().is_unspecified() || local.ip() == address.ip())
    });
    listening.map(|entry| (entry.local_address, entry.inode)).collect()
}

/// The process that holds a socket, as far as others' descriptors may be looked at.
fn owner(inode: u64) -> Option<Process> {
    let is_it = |process: &Process| {
        let descriptors = process.fd().into_iter().flatten().flatten();
        descriptors.into_iter().any(|descriptor| matches!(descriptor.target, FDTarget::Socket(other) if other == inode))
    };
    procfs::process::all_processes().ok()?.flatten().find(is_it)
}

/// Whether a process runs the file that this one runs.
fn is_this_program(process: &Process) -> bool {
    let file = |pid: &str| fs::metadata(format!("/proc/{pid}/exe")).map(|found| (found.dev(), found.ino()));
    let (own, other) = (file("self"), file(&process.pid.to_string()));
    process.pid.cast_unsigned() != std::process::id() && matches!((own, other), (Ok(own), Ok(other)) if own == other)
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

    fn answering(listener: TcpListener, bodies: &'static [&'static str]) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            for body in bodies {
                let (mut client, _) = listener.accept().unwrap();
                let mut request = [0; 256];
                let _ = client.read(&mut request).unwrap();
                write!(client, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
            }
        })
    }

    #[test]
    fn free_and_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Once as somebody else, once as a collector.
        let answering = answering(listener, &["hello", "ok\n\nkernel events: ebpf\n"]);
        let Port::Taken(Some(holder)) = look(address).state else { panic!("{:?}", look(address)) };
        assert_eq!(holder.pid.cast_unsigned(), std::process::id());
        assert_eq!(look(address).state, Port::Collector(address));
        answering.join().unwrap();
        assert_eq!(look(address).state, Port::Free);
        assert_eq!(look("192.0.2.1:80".parse().unwrap()).state, Port::Refused(Errno::ADDRNOTAVAIL));
    }

    /// As beside the unit, which listens on 127.0.0.1 alone.
    #[test]
    fn a_collector_on_one_address_is_in_the_way_of_all() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answering = answering(listener, &["ok\n\nkernel events: ebpf\n"; 2]);
        for all in ["[::]:0", "0.0.0.0:0"] {
            let mut all: SocketAddr = all.parse().unwrap();
            all.set_port(address.port());
            assert_eq!(look(all), PortFacts { address: all, state: Port::Collector(address) });
        }
        answering.join().unwrap();
    }
}
