//! Running other programs: each is shown before it runs, and a failure names the whole command line.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The command line as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let quote = |word: &OsStr| {
        let word = word.to_string_lossy();
        if !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_=+./:,@%".contains(c)) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect::<Vec<_>>().join(" ")
}

/// Shows the command, runs it with our standard streams, and fails unless it succeeded.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", describe(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", describe(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", describe(command));
    }
    Ok(())
}

/// The standard output of a command that must succeed; what it wrote to standard error is part of the failure.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", describe(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}: {}", describe(command), output.status, last_line(&stderr));
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something else than text", describe(command)))
}

/// The last line of a program's messages that says something.
pub(crate) fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("(it printed nothing)")
}

/// Whether a program of this name is on the search path.
pub(crate) fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_described_so_that_it_can_be_pasted() {
        let mut command = Command::new("docker");
        command.args(["run", "--name=a", "it's", ""]);
        assert_eq!(describe(&command), r"docker run --name=a 'it'\''s' ''");
    }

    #[test]
    fn a_failure_names_the_command_and_its_last_words() {
        let error = output(Command::new("sh").args(["-c", "echo first >&2; echo last >&2; exit 3"])).unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains("exit status: 3") && message.ends_with("last"), "{message}");
    }
}
