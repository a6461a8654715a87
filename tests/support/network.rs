//! A network namespace with traffic in it, made by netlink alone.

use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::{Context as _, Result, ensure};

// <linux/rtnetlink.h>, <linux/if_link.h>, <linux/veth.h>
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE_EXCL: u16 = 0x600;
const NLMSG_ERROR: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFF_UP: u32 = 1;
const HEADER: usize = 16;

/// Name of the interface that sends.
pub(crate) const SENDER: &str = "eth0";
/// Name of the interface that receives.
pub(crate) const RECEIVER: &str = "eth1";
/// Bytes of a packet with its UDP, IPv4 and Ethernet headers.
pub(crate) const PACKET: u64 = 1000 + 8 + 20 + 14;

/// Moves this process, which must have one thread, into a new network namespace.
#[expect(deprecated, reason = "the replacement is unsafe because of UnshareFlags::FILES, which is not used here")]
pub(crate) fn new_namespace() -> Result<()> {
    Ok(rustix::thread::unshare(UnshareFlags::NEWNET)?)
}

/// Moves this process into the network namespace of another one.
pub(crate) fn join_namespace(pid: u32) -> Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    Ok(rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Switches the loopback interface on, which a bare kernel leaves off.
pub(crate) fn loopback_up() -> Result<()> {
    let socket = route_socket()?;
    ask(&socket, RTM_NEWLINK, 0, &interface(index("lo")?, IFF_UP)).context("lo up")
}

/// Datagrams sent to a socket that nobody reads: more than it has room for.
pub(crate) const UNREAD: u64 = 2000;

/// Sockets that are kept open.
#[derive(Debug)]
pub(crate) struct Sockets {
    _tcp: [TcpListener; 2],
    _connected: [TcpStream; 2],
    _udp: [UdpSocket; 2],
}

/// Opens on the loopback interface: of TCP a listener and a connection, another connection that was closed by its client
/// first, and where there is IPv6 a listener on that; of UDP one that sends and one that receives and is not read.
pub(crate) fn open_sockets() -> Result<Sockets> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let client = TcpStream::connect(address)?;
    let (server, _) = listener.accept()?;
    let closed = TcpStream::connect(address)?;
    let (mut other_end, _) = listener.accept()?;
    drop(closed);
    // The client's end has arrived when there is nothing more to read.
    ensure!(other_end.read(&mut [0])? == 0, "a closed connection says something");
    drop(other_end);
    let on_v6 = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    let receiver = UdpSocket::bind("127.0.0.1:0")?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    for _ in 0..UNREAD {
        sender.send_to(&[0; 1000], receiver.local_addr()?)?;
    }
    Ok(Sockets { _tcp: [listener, on_v6], _connected: [client, server], _udp: [receiver, sender] })
}

/// Bytes of one of these datagrams with its UDP and IPv4 headers.
pub(crate) const DATAGRAM: u64 = 1000 + 8 + 20;

/// Sends so many datagrams of 1000 bytes.
pub(crate) fn send_datagrams(to: SocketAddr, count: u64) -> Result<()> {
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    for _ in 0..count {
        sender.send_to(&[0; 1000], to)?;
    }
    Ok(())
}

/// Takes datagrams at an address from now on, in a thread; the address with its port.
pub(crate) fn receive_at(address: SocketAddr) -> Result<SocketAddr> {
    let receiver = UdpSocket::bind(address)?;
    let address = receiver.local_addr()?;
    std::thread::spawn(move || {
        let mut datagram = [0; 2000];
        while receiver.recv(&mut datagram).is_ok() {}
    });
    Ok(address)
}

fn route_socket() -> Result<OwnedFd> {
    // NETLINK_ROUTE is protocol 0, the default.
    Ok(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

/// Makes a pair of interfaces and sends UDP broadcasts from one to the other.
pub(crate) fn send_through_pair(packets: u64) -> Result<()> {
    let socket = route_socket()?;
    let mut peer = interface(0, 0);
    peer.extend(attribute(IFLA_IFNAME, RECEIVER.as_bytes()));
    let data = attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer));
    let info = [attribute(IFLA_INFO_KIND, b"veth"), data].concat();
    let mut pair = interface(0, 0);
    pair.extend(attribute(IFLA_IFNAME, SENDER.as_bytes()));
    pair.extend(attribute(IFLA_LINKINFO, &info));
    ask(&socket, RTM_NEWLINK, NLM_F_CREATE_EXCL, &pair).context("make a veth pair")?;
    for name in [RECEIVER, SENDER] {
        ask(&socket, RTM_NEWLINK, 0, &interface(index(name)?, IFF_UP)).with_context(|| format!("{name} up"))?;
    }
    // struct ifaddrmsg: family, prefix length, flags, scope, interface.
    let mut address = vec![2, 24, 0, 0];
    address.extend(index(SENDER)?.to_ne_bytes());
    address.extend(attribute(IFA_LOCAL, &[10, 9, 0, 1]));
    address.extend(attribute(IFA_BROADCAST, &[10, 9, 0, 255]));
    ask(&socket, RTM_NEWADDR, NLM_F_CREATE_EXCL, &address).context("give the interface an address")?;
    let sender = UdpSocket::bind("10.9.0.1:0")?;
    sender.set_broadcast(true)?;
    for _ in 0..packets {
        sender.send_to(&[0; 1000], "10.9.0.255:9")?;
    }
    Ok(())
}

fn index(name: &str) -> Result<u32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// struct ifinfomsg: family, padding, type, index, flags, change mask.
fn interface(index: u32, flags: u32) -> Vec<u8> {
    let mut message = vec![0; 4];
    for field in [index, flags, flags] {
        message.extend(field.to_ne_bytes());
    }
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Sends a request and waits for the kernel's answer.
fn ask(socket: impl AsFd, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 4096];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    ensure!(length >= HEADER + 4 && answer[4..6] == NLMSG_ERROR.to_ne_bytes(), "no acknowledgement from netlink");
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(-code).into()) }
}
