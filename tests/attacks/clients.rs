//! Clients that mean harm.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::support::{Result, http, wait};

/// The longest that an attacker waits before it looks at the clock.
const STEP: Duration = Duration::from_millis(200);
/// From how many addresses attackers come.
const ADDRESSES: usize = 4;

/// One of many.
pub(super) struct Attacker<'a> {
    /// Which one.
    pub(super) number: usize,
    address: SocketAddr,
    over: &'a AtomicBool,
}

/// How much of an answer the attacker's kernel takes in before anybody reads.
#[derive(Clone, Copy)]
pub(super) enum Receive {
    AsUsual,
    Little,
}

/// Lets a moment pass.
pub(super) fn pause(moment: Duration) {
    wait::pass(moment.min(Duration::from_secs(1)));
}

impl<'a> Attacker<'a> {
    pub(super) fn new(number: usize, address: SocketAddr, over: &'a AtomicBool) -> Self {
        Self { number, address, over }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A connection from an address that is not the well-behaved client's: a pod has its own.
    pub(super) fn connect(&self, receive: Receive) -> Result<TcpStream> {
        let from = 2 + (self.number % ADDRESSES) as u8;
        self.connect_from(Ipv4Addr::new(127, 0, 0, from), receive)
    }

    pub(super) fn connect_from(&self, from: Ipv4Addr, receive: Receive) -> Result<TcpStream> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        if matches!(receive, Receive::Little) {
            sockopt::set_socket_recv_buffer_size(&socket, 2048)?;
        }
        rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
        // It does not wait for somebody who does not accept.
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(STEP))?;
        rustix::net::connect(&socket, &self.address)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(STEP))?;
        Ok(stream)
    }

    /// Asks and reads everything, as fast as it can.
    pub(super) fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&str>) -> Result<()> {
        let stream = self.connect(Receive::AsUsual)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut incoming = http::send_with(stream, method, target, headers, body.map(str::as_bytes))?;
        let mut buffer = vec![0; 32 << 10];
        while !self.is_over() && incoming.body.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// The same again and again.
    pub(super) fn ask_on(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&str>) {
        while !self.is_over() {
            if self.ask(method, target, headers, body).is_err() {
                pause(Duration::from_millis(20));
            }
        }
    }

    /// Asks for much and reads hardly anything.
    pub(super) fn read_little(&self, requests: &str) {
        while !self.is_over() {
            let _ = self.read_little_of(requests);
            pause(Duration::from_millis(100));
        }
    }

    fn read_little_of(&self, requests: &str) -> Result<()> {
        let mut stream = self.connect(Receive::Little)?;
        stream.write_all(requests.as_bytes())?;
        while !self.is_over() {
            pause(STEP);
            match stream.read(&mut [0; 256]) {
                Ok(0) => break,
                Err(error) if !is_late(&error) => break,
                _ => {}
            }
        }
        Ok(())
    }

    /// Holds so many connections. Each begins with the first bytes, and goes on with `more` once a second.
    pub(super) fn hold(&self, connections: usize, first: &str, more: &str) {
        let mut held: Vec<TcpStream> = Vec::new();
        while !self.is_over() {
            held.retain_mut(|stream| {
                let open = match stream.read(&mut [0; 512]) {
                    Ok(0) => false,
                    Ok(_) => true,
                    Err(error) => is_late(&error),
                };
                open && (more.is_empty() || stream.write_all(more.as_bytes()).is_ok())
            });
            while held.len() < connections && !self.is_over() {
                let Ok(mut stream) = self.connect(Receive::Little) else { break };
                if stream.write_all(first.as_bytes()).is_err() || stream.set_nonblocking(true).is_err() {
                    break;
                }
                held.push(stream);
            }
            pause(Duration::from_secs(1));
        }
    }

    /// One HTTP/2 connection with so many streams, on none of which it takes in more than it is made to.
    pub(super) fn close_the_window(&self, streams: u32, target: &str, window: Window) {
        while !self.is_over() {
            let _ = self.open_streams(streams, target, window);
            pause(Duration::from_millis(100));
        }
    }

    fn open_streams(&self, streams: u32, target: &str, window: Window) -> Result<()> {
        const HEADERS: u8 = 1;
        const SETTINGS: u8 = 4;
        const WINDOW_UPDATE: u8 = 8;
        let mut stream = self.connect(Receive::AsUsual)?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        // SETTINGS_INITIAL_WINDOW_SIZE is 0.
        stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]))?;
        // An acknowledgement of whatever the server sets.
        stream.write_all(&frame(SETTINGS, 1, 0, &[]))?;
        // From HPACK's static table: GET, http; then the path and the authority, as literals.
        let mut block = vec![0x82, 0x86, 0x04, target.len() as u8];
        block.extend_from_slice(target.as_bytes());
        block.extend_from_slice(b"\x01\x09localhost");
        for number in 0..streams {
            // END_STREAM and END_HEADERS.
            stream.write_all(&frame(HEADERS, 5, 2 * number + 1, &block))?;
        }
        let mut buffer = [0; 16 << 10];
        while !self.is_over() {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if !is_late(&error) => break,
                _ => {}
            }
            if matches!(window, Window::Dripping) {
                for number in 0..streams {
                    stream.write_all(&frame(WINDOW_UPDATE, 0, 2 * number + 1, &[0, 0, 0, 1]))?;
                }
                pause(STEP);
            }
        }
        Ok(())
    }
}

/// How much an HTTP/2 client lets be sent.
#[derive(Clone, Copy)]
pub(super) enum Window {
    /// Nothing.
    Closed,
    /// A byte now and then.
    Dripping,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
