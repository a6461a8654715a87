//! Root: whether we are it, and how to become it.

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};

use crate::shell;

/// How a command can be run as root from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// We are root.
    Root,
    /// Not root, but `sudo` is there and either needs no password or can ask for it.
    Sudo,
    /// Not root and no way to become it.
    None,
}

impl Privilege {
    /// Finds out.
    pub(crate) fn detect() -> Self {
        if rustix::process::geteuid().is_root() {
            return Self::Root;
        }
        if !shell::is_on_path("sudo") {
            return Self::None;
        }
        // Without a terminal sudo cannot ask for a password.
        let silent = Command::new("sudo").args(["-n", "true"]).stdin(Stdio::null()).stderr(Stdio::null()).status();
        if std::io::stdin().is_terminal() || silent.is_ok_and(|status| status.success()) {
            Self::Sudo
        } else {
            Self::None
        }
    }

    /// A command run as root; `None` where that is impossible.
    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Option<Command> {
        match self {
            Self::Root => Some(Command::new(program)),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.arg("--").arg(program);
                Some(command)
            }
            Self::None => None,
        }
    }
}
