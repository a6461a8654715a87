//! Lines of a kernel file that were not understood. Each costs its own key and nothing else: the parser notes it here
//! and goes on.

use crate::kernel::format_error::FormatError;

/// Of an odd line so many bytes are shown.
const SHOWN: usize = 80;

/// The odd lines of one reading: how many, and what the first one was.
#[derive(Debug, Default)]
pub struct OddLines {
    count: u64,
    first: Option<(FormatError, Box<str>)>,
}

impl OddLines {
    /// Notes a line by its number, from 1, with what is wrong and its text.
    #[cold]
    pub fn note(&mut self, line: usize, what: &'static str, text: &[u8]) {
        self.count += 1;
        if self.first.is_none() {
            let text = text.get(..SHOWN).unwrap_or(text);
            self.first = Some((FormatError::at(line, what), text.escape_ascii().to_string().into()));
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What is wrong with the first, and the beginning of its text with anything unprintable escaped.
    pub fn first(self) -> Option<(FormatError, Box<str>)> {
        self.first
    }
}

/// The value where every line was understood.
///
/// # Errors
/// The first odd line.
#[cfg(test)]
pub fn without_odd_lines<T>(text: &[u8], parse: impl FnOnce(&[u8], &mut OddLines) -> T) -> Result<T, FormatError> {
    let mut odd = OddLines::default();
    let value = parse(text, &mut odd);
    match odd.first {
        None => Ok(value),
        Some((reason, _)) => Err(reason),
    }
}

/// What every parser of a file with lines has to stand: other lines than the kernel's.
#[cfg(test)]
pub mod properties {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    /// The values of a text by their names.
    pub type Values = BTreeMap<String, String>;

    /// Lines that no kernel file has, with what real ones have been seen with: a number below zero or beyond 64 bits,
    /// one too many, none, a word, bytes that are no text.
    const ODD: [&[u8]; 12] = [
        b"",
        b" ",
        b"odd",
        b"odd ",
        b"odd -4096",
        b"odd 18446744073709551616",
        b"odd max",
        b"(unknown) odd=7",
        b"odd: odd odd",
        b"odd=1 N0=x",
        b"\xff\xfe\x80 1",
        b"odd\0 1",
    ];

    /// What becomes of the values of a line that is there twice.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Doubled {
        /// They stay.
        Same,
        /// Lines are counted, so that each counts.
        Adds,
    }

    /// A file and its parser.
    pub struct Recorded<'a> {
        /// The file.
        pub text: &'a [u8],
        /// What is reported about a line that is there twice.
        pub doubled: Doubled,
        /// Whether a line, by its text, may cost the value of this name.
        pub of_line: &'a dyn Fn(&str, &str) -> bool,
        /// All values of a text.
        pub values: &'a dyn Fn(&[u8]) -> Values,
    }

    fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
        lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
    }

    /// Everything but the values of this line is as it was.
    fn assert_only_costs(recorded: &Recorded<'_>, line: Option<&[u8]>, text: &[u8], what: &dyn Debug) {
        let line = line.map(String::from_utf8_lossy);
        let (before, after) = ((recorded.values)(recorded.text), (recorded.values)(text));
        for (name, value) in &before {
            if !line.as_ref().is_some_and(|line| (recorded.of_line)(line, name)) {
                assert_eq!(after.get(name), Some(value), "{name} after {what:?}:\n{}", text.escape_ascii());
            }
        }
    }

    /// Inserts, drops, cuts, doubles and corrupts each line in turn; with CRLF and without the last line's end.
    pub fn only_the_line_is_lost(recorded: &Recorded<'_>) {
        let mut lines: Vec<Vec<u8>> = recorded.text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        assert!(!(recorded.values)(recorded.text).is_empty(), "nothing is read of the recorded text");
        for at in 0..=lines.len() {
            for odd in ODD {
                let mut changed = lines.clone();
                changed.insert(at, odd.to_vec());
                assert_only_costs(recorded, None, &joined(&changed), &("inserted", at, odd.escape_ascii().to_string()));
            }
        }
        for (at, line) in lines.iter().enumerate() {
            let mut dropped = lines.clone();
            dropped.remove(at);
            assert_only_costs(recorded, Some(line), &joined(&dropped), &("dropped", at));
            let mut doubled = lines.clone();
            doubled.insert(at, line.clone());
            let cost = Some(line.as_slice()).filter(|_| recorded.doubled == Doubled::Adds);
            assert_only_costs(recorded, cost, &joined(&doubled), &("doubled", at));
            for end in 0..line.len() {
                let mut cut = lines.clone();
                cut[at].truncate(end);
                assert_only_costs(recorded, Some(line), &joined(&cut), &("cut", at, end));
            }
            for position in 0..line.len() {
                for byte in [b'\0', b'\xff', b'x', b'-', b' ', b'9'] {
                    let mut corrupt = lines.clone();
                    corrupt[at][position] = byte;
                    assert_only_costs(recorded, Some(line), &joined(&corrupt), &("corrupt", at, position, byte));
                }
            }
        }
        let carriage: Vec<_> = lines.iter().map(|line| [line.as_slice(), b"\r"].concat()).collect();
        assert_only_costs(recorded, None, &joined(&carriage), &"CRLF");
        assert_only_costs(
            recorded,
            None,
            recorded.text.strip_suffix(b"\n").unwrap_or(recorded.text),
            &"no last line end",
        );
        // Cut anywhere: what lies before the cut stays.
        for end in 0..recorded.text.len() {
            let _ = (recorded.values)(&recorded.text[..end]);
        }
    }
}
