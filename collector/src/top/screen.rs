//! The terminal: taken over, and given back as it was, whatever happens.

use std::io::{self, Stdout, Write as _};
use std::sync::{Mutex, PoisonError};
use std::thread::ThreadId;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use rustix::process::{Signal, getpid, kill_process};

/// What threads said that panicked while the terminal was not theirs to write to.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The terminal, ours until this is dropped.
pub(super) struct Screen {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        hold_panics(std::thread::current().id());
        // Dropped when something of the rest fails.
        let screen = Self { terminal: Terminal::new(CrosstermBackend::new(io::stdout()))? };
        take()?;
        Ok(screen)
    }

    /// Stands aside until the shell continues this process.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        kill_process(getpid(), Signal::TSTP)?;
        take()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
        if !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
        for said in SAID.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            eprintln!("{said}");
        }
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, Hide)
}

fn give_back() {
    // Whatever of it fails, the rest is tried.
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = io::stdout().flush();
}

/// Has a panic of the thread that draws be reported on a terminal that is as it was, and one of another thread when the
/// screen is left.
fn hold_panics(drawing: ThreadId) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == drawing {
            give_back();
            report(panic);
        } else {
            SAID.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
        }
    }));
}
