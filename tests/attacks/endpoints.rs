//! What the collector asks, and had better not believe: endpoints of applications, and sockets of runtimes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::support::{Result, wait};

/// What an endless answer repeats.
static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];

/// An endpoint of an application, at a port of the loopback interface; it ends with the test's process.
pub(super) fn application() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || answer_application(client));
        }
    });
    Ok(port)
}

/// The first line's target of a request whose head is read to its end.
fn target_of(stream: impl Read) -> Option<String> {
    let mut lines = BufReader::new(stream).lines();
    let target = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    lines.map_while(std::io::Result::ok).find(String::is_empty)?;
    Some(target)
}

/// An answer whose end is that of the connection.
fn answer_application(mut client: std::net::TcpStream) -> Option<()> {
    let target = target_of(client.try_clone().ok()?)?;
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n").ok()?;
    match target.as_str() {
        "/expensive" => {
            let text: Vec<u8> =
                (0..1_000_000_u32).map(|number| b"ab"[(number.wrapping_mul(7919) >> 5 & 1) as usize]).collect();
            client.write_all(&text).ok()
        }
        // One value of a mebibyte in each of a hundred series.
        "/long" => (0..100).try_for_each(|number| {
            write!(client, "m{number}{{x=\"").ok()?;
            (0..16).try_for_each(|_| client.write_all(&PIECE).ok())?;
            client.write_all(b"\"} 1\n").ok()
        }),
        "/endless" => loop {
            client.write_all(&PIECE).ok()?;
        },
        "/slow" => loop {
            wait::pass(std::time::Duration::from_millis(500));
            client.write_all(b"#").ok()?;
        },
        _ => client.write_all(b"up 1\n").ok(),
    }
}

/// The socket of a runtime with Docker's API that knows every container and does not come to an end about it.
#[derive(Debug)]
pub(super) struct EndlessRuntime {
    socket: PathBuf,
}

impl EndlessRuntime {
    pub(super) fn listen(name: &str) -> Result<Self> {
        let socket = std::env::temp_dir().join(format!("collector-test-{name}-{}.sock", std::process::id()));
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket)?;
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || answer_runtime(client));
            }
        });
        Ok(Self { socket })
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for EndlessRuntime {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
    }
}

/// Knows its version, so that it is asked more.
fn answer_runtime(mut client: std::os::unix::net::UnixStream) -> Option<()> {
    const VERSION: &str = r#"{"Version":"20.10.0","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux"}"#;
    loop {
        let target = target_of(client.try_clone().ok()?)?;
        if target.ends_with("/version") || target.ends_with("/_ping") {
            let length = VERSION.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
            client.write_all(head.as_bytes()).ok()?;
            client.write_all(VERSION.as_bytes()).ok()?;
            continue;
        }
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n").ok()?;
        if target.contains("/info") {
            // Not even the head ends.
            loop {
                client.write_all(b"X-More: ").ok()?;
                client.write_all(&PIECE[..1024]).ok()?;
                client.write_all(b"\r\n").ok()?;
            }
        }
        client.write_all(b"Transfer-Encoding: chunked\r\n\r\n").ok()?;
        write_chunk(&mut client, br#"{"Id":"0","Config":{"Labels":{"a":""#)?;
        loop {
            write_chunk(&mut client, &PIECE)?;
        }
    }
}

fn write_chunk(client: &mut impl Write, bytes: &[u8]) -> Option<()> {
    write!(client, "{:x}\r\n", bytes.len()).ok()?;
    client.write_all(bytes).ok()?;
    client.write_all(b"\r\n").ok()
}
