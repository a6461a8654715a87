//! A terminal with a shell in it: tmux, which shows what a person would see.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::engine::program;
use super::{Context as _, Result, ensure, wait};

/// What the shell asks for commands with.
pub(crate) const PROMPT: &str = "READY>";

/// A terminal; everything in it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    tmux: PathBuf,
    socket: String,
}

impl Terminal {
    /// Opens one, with these variables beside those of a UTF-8 locale; skips the test where there is no tmux.
    pub(crate) fn open(columns: u16, rows: u16, environment: &[&str]) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let socket = format!("/tmp/collector-test-{}-tmux-{number}", std::process::id());
        let terminal = Self { tmux: program("tmux")?, socket };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        let prompt = format!("PS1={PROMPT} ");
        let mut arguments =
            vec!["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, "env", "-i", path];
        arguments.extend([prompt.as_str(), "TERM=screen-256color", "LC_ALL=C.UTF-8"]);
        arguments.extend(environment);
        arguments.push("sh");
        terminal.tmux(&arguments)?;
        terminal.sees("a prompt", |screen| screen.contains(PROMPT))?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.tmux)
            .args(["-u", "-S", &self.socket])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .context("start tmux")?;
        ensure!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What is on the screen, as letters alone.
    pub(crate) fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with the escapes of colours.
    pub(crate) fn coloured(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// One of tmux's own facts about it, such as `alternate_on`.
    pub(crate) fn fact(&self, name: &str) -> Result<String> {
        Ok(self.tmux(&["display-message", "-p", &format!("#{{{name}}}")])?.trim().to_owned())
    }

    /// Types letters.
    pub(crate) fn types(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// Presses a key by its name.
    pub(crate) fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// Types a command and has the shell run it.
    pub(crate) fn runs(&self, command: &str) -> Result<()> {
        self.types(command)?;
        self.press("Enter")
    }

    /// Makes it larger or smaller.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]).map(drop)
    }

    /// Waits until the screen is like this; what it was.
    pub(crate) fn sees(&self, about: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        wait::eventually(wait::seconds(15), || {
            let screen = self.screen()?;
            ensure!(is_so(&screen), "{about}:\n{screen}");
            Ok(screen)
        })
    }

    /// The process that the shell waits for.
    pub(crate) fn child(&self) -> Result<u32> {
        let shell = self.fact("pane_pid")?;
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))?;
        let child = children.split_whitespace().next().context("the shell waits for nobody")?;
        Ok(child.parse()?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
        let _ = std::fs::remove_file(&self.socket);
    }
}
