//! A client of the event stream.

use std::io::{BufRead as _, BufReader};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::api::Event;
use super::{Result, ensure, http, wait};

/// What a stream has brought so far.
#[derive(Default)]
struct Received {
    events: Vec<Event>,
    /// Lines that are no event.
    other: Vec<String>,
    /// How the stream ended.
    end: Option<End>,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The body was complete.
    Clean,
    /// The connection broke.
    Broken(String),
}

/// An open stream; a thread collects what comes.
pub(crate) struct EventStream {
    socket: TcpStream,
    received: Arc<Mutex<Received>>,
}

impl EventStream {
    /// Opens a stream; returns once the collector has answered with the head of its response, hence has subscribed.
    pub(crate) fn open(address: SocketAddr, target: &str) -> Result<Self> {
        Self::open_as(address, target, None)
    }

    /// The same by somebody who has to say who they are.
    pub(crate) fn open_as(address: SocketAddr, target: &str, authorization: Option<&str>) -> Result<Self> {
        let socket = TcpStream::connect(address)?;
        let authorization = authorization.map(|value| ("Authorization", value));
        let incoming = http::send_with(socket.try_clone()?, "GET", target, authorization.as_slice(), None)?;
        ensure!(incoming.status == 200, "{target} answered {}", incoming.status);
        let received = Arc::new(Mutex::new(Received::default()));
        let collected = Arc::clone(&received);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(incoming.body);
            let end = loop {
                let mut line = String::new();
                match lines.read_line(&mut line) {
                    Ok(0) => break End::Clean,
                    Ok(_) => {
                        let mut into = collected.lock().unwrap_or_else(PoisonError::into_inner);
                        match serde_json::from_str(&line) {
                            Ok(event) => into.events.push(event),
                            Err(_) => into.other.push(line),
                        }
                    }
                    Err(error) => break End::Broken(error.to_string()),
                }
            };
            collected.lock().unwrap_or_else(PoisonError::into_inner).end = Some(end);
        });
        Ok(Self { socket, received })
    }

    /// The events so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).events.clone()
    }

    /// How many events have come so far.
    pub(crate) fn count(&self) -> usize {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).events.len()
    }

    /// Lines so far that are no event.
    pub(crate) fn other_lines(&self) -> Vec<String> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).other.clone()
    }

    /// How the stream ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).end.clone()
    }

    /// Waits until at least `count` events have come.
    pub(crate) fn wait_for(&self, count: usize, timeout: Duration) -> Result<Vec<Event>> {
        wait::eventually(timeout, || {
            let got = self.count();
            ensure!(got >= count, "{got} of {count} events came over the stream; it ended: {:?}", self.end());
            Ok(())
        })?;
        Ok(self.events())
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
