//! The terminal: taken over, and given back as it was, whatever happens.

use std::io::{self, Stdout, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
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
/// Whether the terminal is as it is here and not as it was.
static TAKEN: AtomicBool = AtomicBool::new(false);

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
    TAKEN.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, Hide)
}

fn give_back() {
    // Once: a second time the cursor would go back to where it was, over what was reported meanwhile.
    if !TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    #[ignore = "panics on purpose, on the terminal that the next test gives it"]
    fn panics_while_it_has_the_terminal() {
        let _screen = Screen::enter().unwrap();
        panic!("on purpose");
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let test = std::env::current_exe().unwrap();
        let name = "top::screen::tests::panics_while_it_has_the_terminal";
        let run = format!("stty rows 24 cols 80; '{}' --exact {name} --ignored --nocapture; stty -a", test.display());
        // Runs it on a terminal of its own, and writes what that would show.
        let mut script = Command::new("script");
        let Ok(output) = script.args(["-qec", &run, "/dev/null"]).stdin(Stdio::null()).output() else {
            eprintln!("SKIPPED: there is no script (util-linux)");
            return;
        };
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let at = |text: &str| shown.rfind(text).unwrap_or_else(|| panic!("{text:?} is not in {shown:?}"));
        let (taken, given_back, said) = (at("\u{1b}[?1049h"), at("\u{1b}[?1049l"), at("on purpose"));
        assert!(taken < given_back && given_back < said && at("\u{1b}[?25h") < said, "{shown:?}");
        assert_eq!(shown.matches("\u{1b}[?1049l").count(), 1, "{shown:?}");
        let settings: Vec<_> = shown[said..].split([' ', '\r', '\n', ';']).collect();
        for setting in ["icanon", "echo", "isig"] {
            assert!(settings.contains(&setting), "not {setting}: {settings:?}");
        }
    }
}
