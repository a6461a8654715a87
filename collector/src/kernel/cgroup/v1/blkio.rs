//! The blkio controller of cgroup v1. Which files there are depends on the kernel's I/O schedulers; all have lines of
//! the same two forms.

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{device_number, lines, number, words};

/// The operation of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `Read`.
    Read,
    /// `Write`.
    Write,
    /// `Sync`.
    Sync,
    /// `Async`.
    Async,
    /// `Discard`; since 5.0.
    Discard,
    /// `Total`.
    Total,
    /// The file has no operations: `MAJ:MIN VALUE`.
    Count,
}

impl Operation {
    /// The kernel's word; `Count` for files without one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Sync => "Sync",
            Self::Async => "Async",
            Self::Discard => "Discard",
            Self::Total => "Total",
            Self::Count => "Count",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        let all = [Self::Read, Self::Write, Self::Sync, Self::Async, Self::Discard, Self::Total];
        all.into_iter().find(|operation| operation.name().as_bytes() == name)
    }
}

/// One line: `8:0 Read 4096` or `8:0 4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlkioLine {
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// What was done.
    pub operation: Operation,
    /// In the file's unit.
    pub value: u64,
}

/// The lines of a file. The sum over all devices (`Total N`) and operations no kernel documents are left out, and so is,
/// noted, a line of another form.
pub fn blkio_lines<'a>(text: &'a [u8], odd: &'a mut OddLines) -> impl Iterator<Item = BlkioLine> {
    lines(text).filter_map(|(line, text)| match parse_line(text) {
        Line::Value(value) => Some(value),
        Line::LeftOut => None,
        Line::Wrong => {
            odd.note(line, "not \"MAJ:MIN OPERATION NUMBER\"", text);
            None
        }
    })
}

enum Line {
    Value(BlkioLine),
    LeftOut,
    Wrong,
}

fn parse_line(line: &[u8]) -> Line {
    let mut fields = words(line);
    match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (None, ..) => Line::LeftOut,
        (Some(b"Total"), Some(sum), None, None) if number(sum).is_some() => Line::LeftOut,
        (Some(device), Some(value), None, None) => value_line(device, Some(Operation::Count), value),
        (Some(device), Some(operation), Some(value), None) => {
            value_line(device, Operation::from_name(operation), value)
        }
        _ => Line::Wrong,
    }
}

fn value_line(device: &[u8], operation: Option<Operation>, value: &[u8]) -> Line {
    match (device_number(device), operation, number(value)) {
        (Some((major, minor)), Some(operation), Some(value)) => {
            Line::Value(BlkioLine { major, minor, operation, value })
        }
        (Some(_), None, Some(_)) => Line::LeftOut,
        _ => Line::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;
    use crate::kernel::text_formats::FormatError;

    fn all(text: &[u8]) -> Result<Vec<(u32, u32, &'static str, u64)>, FormatError> {
        without_odd_lines(text, |text, odd| {
            blkio_lines(text, odd).map(|line| (line.major, line.minor, line.operation.name(), line.value)).collect()
        })
    }

    #[test]
    fn recorded() {
        let text = b"\
254:0 Read 4096
254:0 Write 4194304
254:0 Sync 4198400
254:0 Async 0
254:0 Discard 0
254:0 Total 4198400
Total 4198400
";
        let lines = all(text).unwrap();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[1], (254, 0, "Write", 4_194_304));
        assert_eq!(lines[5], (254, 0, "Total", 4_198_400));
        assert_eq!(all(b"Total 0\n"), Ok(vec![]));
        assert_eq!(all(b"8:0 17\n8:16 3\n"), Ok(vec![(8, 0, "Count", 17), (8, 16, "Count", 3)]));
        assert_eq!(all(b"8:0 Trim 17\n"), Ok(vec![]));
        for wrong in [&b"8:0\n"[..], b"8:0 Read\n", b"8 Read 1\n", b"8:0 Read 1 2\n", b"Total x\n"] {
            assert!(all(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200), likely in "[0-9:RTeadotl \n]{0,60}") {
            let _ = (all(&text), all(likely.as_bytes()));
        }
    }
}
