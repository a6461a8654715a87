//! A unix socket before another one, that can be slow, answer rubbish, or be gone.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Context as _, Result};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Passed on.
    Forward,
    /// Passed on after a pause.
    Late(Duration),
    /// Answered with something that is not what was asked for.
    Garbage,
}

/// The proxy. Dropped, its socket is gone.
#[derive(Debug)]
pub(crate) struct Proxy {
    socket: PathBuf,
    target: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    /// Both ends of every open connection.
    open: Vec<UnixStream>,
    /// Listeners older than this end.
    generation: u32,
}

impl Proxy {
    /// A proxy to a socket, which does not listen yet.
    pub(crate) fn new(target: &Path, behaviour: Behaviour) -> Self {
        let socket = target.with_extension("proxy");
        let state = State { behaviour, open: Vec::new(), generation: 0 };
        Self { socket, target: target.to_owned(), state: Arc::new(Mutex::new(state)) }
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// What becomes of connections from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// Begins to listen.
    pub(crate) fn open(&self) -> Result<()> {
        let listener = UnixListener::bind(&self.socket).context("bind the proxy's socket")?;
        let generation = self.state().generation;
        let (state, target) = (Arc::clone(&self.state), self.target.clone());
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let behaviour = {
                    let state = lock(&state);
                    if state.generation != generation {
                        return;
                    }
                    state.behaviour
                };
                let (state, target) = (Arc::clone(&state), target.clone());
                thread::spawn(move || drop(serve(client, &target, behaviour, &state)));
            }
        });
        Ok(())
    }

    /// Removes the socket and ends every connection.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.generation += 1;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the listener, which sees that it is over.
        let _ = UnixStream::connect(&self.socket);
        let _ = fs::remove_file(&self.socket);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut client: UnixStream, target: &Path, behaviour: Behaviour, state: &Mutex<State>) -> Result<()> {
    match behaviour {
        Behaviour::Forward => {}
        Behaviour::Late(pause) => thread::sleep(pause),
        Behaviour::Garbage => {
            let _ = client.read(&mut [0; 4096])?;
            let body = "{\"Id\":[],\"Name\":7,\u{0}";
            write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
            return Ok(());
        }
    }
    let server = UnixStream::connect(target)?;
    lock(state).open.extend([client.try_clone()?, server.try_clone()?]);
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let _ = std::io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
    Ok(())
}
