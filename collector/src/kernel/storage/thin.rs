//! Thin devices of the device mapper, which Docker's driver `devicemapper` uses: `dmsetup status`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::units::Bytes;

/// Longest wait for the command.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether the command has ended.
const LOOK: Duration = Duration::from_millis(20);
/// The device mapper's unit.
const SECTOR: u64 = 512;
/// Where it may be.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// A thin device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThinDevice {
    /// Its size.
    pub size: Bytes,
    /// Blocks that have been written, by it or by the device it was made from.
    pub mapped: Bytes,
}

/// The command, if it is installed. Not looked for in `PATH`, which others may have set.
pub fn command() -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join("dmsetup")).find(|path| path.is_file())
}

/// Asks about a device; `None` when there is no answer in time or no such thin device.
pub fn status(command: &Path, device: &str) -> Option<ThinDevice> {
    let mut child = Command::new(command)
        .args(["status", "--", device])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + PATIENCE;
    // One line of output: it fits the pipe, so that the command ends without being read.
    while child.try_wait().ok()?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(LOOK);
    }
    let output = child.wait_with_output().ok()?;
    if output.status.success() { parse(&output.stdout) } else { None }
}

/// `0 20971520 thin 1048576 20971519`: start, length, type, mapped sectors and the highest one, `-` for none. A device
/// that failed has `Fail` in their place.
fn parse(output: &[u8]) -> Option<ThinDevice> {
    let text = std::str::from_utf8(output).ok()?;
    let mut lines = text.lines();
    let mut fields = lines.next()?.split_ascii_whitespace();
    let _start = fields.next()?;
    let length = fields.next()?.parse::<u64>().ok()?;
    if fields.next()? != "thin" || lines.next().is_some() {
        return None;
    }
    let mapped = fields.next()?.parse::<u64>().ok()?;
    Some(ThinDevice { size: Bytes(length.checked_mul(SECTOR)?), mapped: Bytes(mapped.checked_mul(SECTOR)?) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines() {
        let found = Some(ThinDevice { size: Bytes(10 << 30), mapped: Bytes(512 << 20) });
        assert_eq!(parse(b"0 20971520 thin 1048576 20971519\n"), found);
        let empty = Some(ThinDevice { size: Bytes(10 << 30), mapped: Bytes(0) });
        assert_eq!(parse(b"0 20971520 thin 0 -\n"), empty);
        for other in [
            "",
            "0 20971520 thin Fail\n",
            "0 20971520 linear \n",
            "0 20971520 thin-pool 1 1/2 3/4 - rw\n",
            "0 36893488147419103232 thin 1 1\n",
            "0 1 thin 1 1\n1 1 thin 1 1\n",
        ] {
            assert_eq!(parse(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn a_command_that_answers_and_one_that_fails() {
        let directory = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let answers = script("answers", r#"[ "$1 $2 $3" = "status -- docker-8:1-42-abc" ] && echo "0 8 thin 4 5""#);
        let found = Some(ThinDevice { size: Bytes(4096), mapped: Bytes(2048) });
        assert_eq!(status(&answers, "docker-8:1-42-abc"), found);
        assert_eq!(status(&answers, "other"), None);
        assert_eq!(status(Path::new("/nonexistent"), "x"), None);
    }

    proptest! {
        #[test]
        fn never_panics(output: Vec<u8>) {
            let _ = parse(&output);
        }

        #[test]
        fn never_panics_on_numbers(length: u64, mapped: u64) {
            let _ = parse(format!("0 {length} thin {mapped} 1").as_bytes());
        }
    }
}
