//! Signals: the first SIGTERM or SIGINT asks for an orderly end, the second ends the process at once; SIGHUP asks for the
//! configuration to be read again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a process ends with that was asked to twice: 128 and the number of SIGTERM, as shells have it.
const EXIT_AT_ONCE: i32 = 143;

/// Receives SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the two signals are received here and no longer end the process.
    ///
    /// # Errors
    /// When the signals cannot be taken over.
    pub fn take_over() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for either; returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ends the process at the next signal.
    pub fn exit_at_next(mut self) {
        tokio::spawn(async move {
            let name = self.next().await;
            tracing::warn!(signal = name, "second signal; ending at once");
            std::process::exit(EXIT_AT_ONCE);
        });
    }
}

/// Receives SIGHUP.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// From now on the signal is received here and no longer ends the process.
    ///
    /// # Errors
    /// When it cannot be taken over.
    pub fn take_over() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}
