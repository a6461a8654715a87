//! How many tasks there are and may be: `/proc/loadavg`, `/proc/sys/kernel/pid_max` and `threads-max`.

use super::Survey;
use crate::kernel::HostRoots;
use crate::kernel::text_formats::FormatError;

/// Tasks of the machine; every thread is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    /// The smaller of `pid_max` and `threads-max`; of one of them where the other cannot be read.
    pub max: Option<u64>,
    /// All that exist: the number behind the slash in `/proc/loadavg`.
    pub current: Option<u64>,
}

/// Reads what there is.
pub fn read(survey: &mut Survey, roots: &HostRoots) -> Tasks {
    let kernel = roots.proc.join("sys/kernel");
    let limits = ["pid_max", "threads-max"].map(|name| survey.number::<u64>(&kernel.join(name)));
    let current = survey.parsed(&roots.proc.join("loadavg"), parse);
    Tasks { max: limits.into_iter().flatten().min(), current }
}

/// Parses a line such as `0.20 0.18 0.12 1/80 11206`.
fn parse(text: &[u8]) -> Result<u64, FormatError> {
    let text = String::from_utf8_lossy(text);
    let field = text.split_ascii_whitespace().nth(3).and_then(|field| field.split_once('/'));
    let number = field.and_then(|(_, all)| all.parse().ok());
    number.ok_or(FormatError::at(1, "no count of tasks behind a slash in the fourth field"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_line() {
        assert_eq!(parse(b"0.20 0.18 0.12 1/80 11206\n"), Ok(80));
        for broken in ["", "0.20 0.18 0.12 1 11206", "0.20 0.18 0.12 1/x 11206", "1/80"] {
            assert!(parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_smaller_limit_counts() {
        let directory = tempfile::tempdir().unwrap();
        let roots = HostRoots { proc: directory.path().to_path_buf(), ..HostRoots::default() };
        assert_eq!(read(&mut Survey::default(), &roots), Tasks::default());
        std::fs::create_dir_all(directory.path().join("sys/kernel")).unwrap();
        for (file, content) in [
            ("sys/kernel/pid_max", "4194304\n"),
            ("sys/kernel/threads-max", "192000\n"),
            ("loadavg", "0 0 0 2/345 9\n"),
        ] {
            std::fs::write(directory.path().join(file), content).unwrap();
        }
        assert_eq!(read(&mut Survey::default(), &roots), Tasks { max: Some(192_000), current: Some(345) });
    }

    proptest! {
        #[test]
        fn never_panics(text: Vec<u8>) {
            let _ = parse(&text);
        }
    }
}
