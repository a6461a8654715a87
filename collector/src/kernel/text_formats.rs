//! Parsers for the shapes kernel files have: pure, total functions from bytes to values.
//!
//! Only shapes that several files share live here; a file with a shape of its own is parsed beside its struct. Nothing
//! here allocates per line, panics, or does I/O.

use std::iter::FusedIterator;

pub use crate::kernel::format_error::FormatError;
use crate::kernel::odd_lines::OddLines;
use crate::units::Limit;

/// The decimal number at the start of the text, and what follows it. `None` without a digit or beyond `u64`.
#[inline]
pub fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    let mut length = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        // Nineteen digits always fit.
        value = if length < 19 {
            value * 10 + u64::from(digit)
        } else {
            value.checked_mul(10)?.checked_add(u64::from(digit))?
        };
        length += 1;
    }
    if length == 0 { None } else { Some((value, text.get(length..)?)) }
}

/// The text as one decimal number, nothing around it.
#[inline]
pub fn number(text: &[u8]) -> Option<u64> {
    match digits(text)? {
        (value, []) => Some(value),
        _ => None,
    }
}

/// A file that holds one number: `4096\n`. A negative one reads as 0.
pub fn unsigned(text: &[u8]) -> Result<u64, FormatError> {
    signed(text).map(|value| match value {
        Signed::Negative => 0,
        Signed::Positive(value) => value,
    })
}

/// A number with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Below zero; in limit files this is `-1` and means "none".
    Negative,
    /// Zero or above.
    Positive(u64),
}

/// A file that holds one number which may be negative: `-1\n`.
pub fn signed(text: &[u8]) -> Result<Signed, FormatError> {
    let text = text.trim_ascii();
    let parsed = match text.strip_prefix(b"-") {
        Some(magnitude) => number(magnitude).map(|_| Signed::Negative),
        None => number(text).map(Signed::Positive),
    };
    parsed.ok_or(FormatError::at(1, "not a number"))
}

/// A limit file: `max\n` or `4096\n`.
pub fn limit(text: &[u8]) -> Result<Limit, FormatError> {
    match text.trim_ascii() {
        b"max" => Ok(Limit::Max),
        other => number(other).map(Limit::Value).ok_or(FormatError::at(1, "neither a number nor \"max\"")),
    }
}

/// The lines of a text with their numbers from 1, without line ends; a last empty piece is no line.
pub fn lines(text: &[u8]) -> Lines<'_> {
    Lines { rest: text, line: 0 }
}

/// Iterator of [`lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let (line, rest) = match self.rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (self.rest.get(..end)?, self.rest.get(end + 1..)?),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some((self.line, line))
    }
}

impl FusedIterator for Lines<'_> {}

/// The words of a line, separated by spaces or tabs; a carriage return at its end is no part of the last one.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty())
}

/// A flat keyed file: lines of `key value`, as in `cpu.stat`. A line of another form, or with a number below zero or
/// beyond 64 bits, is noted and left out.
pub fn flat_keyed<'a>(text: &'a [u8], odd: &'a mut OddLines) -> impl Iterator<Item = (&'a [u8], u64)> {
    lines(text).filter_map(|(number, line)| {
        let pair = flat_pair(line);
        if pair.is_none() && !line.trim_ascii().is_empty() {
            odd.note(number, "not \"key number\"", line);
        }
        pair
    })
}

#[inline]
fn flat_pair(line: &[u8]) -> Option<(&[u8], u64)> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (value, rest) = digits(line.get(space + 1..)?)?;
    rest.trim_ascii().is_empty().then_some((line.get(..space)?, value))
}

/// The fields of a nested keyed line after its name: `rbytes=1 wbytes=2`. A field without `=` has no value.
pub fn nested_fields(fields: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    words(fields).map(|word| match word.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&word[..equals], word.get(equals + 1..)),
        None => (word, None),
    })
}

/// A device number: `8:16`.
#[inline]
pub fn device_number(text: &[u8]) -> Option<(u32, u32)> {
    let (major, rest) = digits(text)?;
    let minor = number(rest.strip_prefix(b":")?)?;
    Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?))
}

/// A fraction with two decimals as hundredths: `12.34` is 1234.
pub fn hundredths(text: &[u8]) -> Option<u64> {
    let (whole, rest) = digits(text)?;
    let tenths_and_hundredths = match rest.strip_prefix(b".")? {
        [tenths @ b'0'..=b'9', hundredths @ b'0'..=b'9'] => {
            u64::from(tenths - b'0') * 10 + u64::from(hundredths - b'0')
        }
        _ => return None,
    };
    whole.checked_mul(100)?.checked_add(tenths_and_hundredths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digits_stop_where_the_number_ends() {
        assert_eq!(digits(b"12 34"), Some((12, &b" 34"[..])));
        assert_eq!(digits(b"18446744073709551615"), Some((u64::MAX, &b""[..])));
        assert_eq!(digits(b"00000000000000000000018"), Some((18, &b""[..])));
        for text in [&b""[..], b" 1", b"x", b"-1", b"18446744073709551616", b"99999999999999999999"] {
            assert_eq!(digits(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn single_values() {
        assert_eq!(unsigned(b"4096\n"), Ok(4096));
        assert_eq!(unsigned(b"-1\n"), Ok(0));
        assert_eq!(signed(b"-1\n"), Ok(Signed::Negative));
        assert_eq!(signed(b"100000\n"), Ok(Signed::Positive(100_000)));
        assert_eq!(limit(b"max\n"), Ok(Limit::Max));
        assert_eq!(limit(b"9223372036854771712\n"), Ok(Limit::Value(9_223_372_036_854_771_712)));
        for text in [&b""[..], b"\n", b"maximum", b"1 2", b"0x10", b"--1"] {
            assert_eq!(unsigned(text), Err(FormatError::at(1, "not a number")));
            assert!(limit(text).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn flat_keyed_lines() {
        let all = |text: &'static [u8]| {
            let mut odd = OddLines::default();
            let pairs: Vec<_> = flat_keyed(text, &mut odd).map(|(key, value)| (key.to_vec(), value)).collect();
            (pairs, odd.first())
        };
        let pairs = |list: &[(&str, u64)]| list.iter().map(|(key, value)| (key.as_bytes().to_vec(), *value)).collect();
        assert_eq!(all(b"user 44\nsystem 0\n"), (pairs(&[("user", 44), ("system", 0)]), None));
        assert_eq!(all(b""), (vec![], None));
        assert_eq!(all(b"last 1"), (pairs(&[("last", 1)]), None));
        assert_eq!(all(b"a 1\r\n\nb 2 \n"), (pairs(&[("a", 1), ("b", 2)]), None));
        let wrong = |line, text: &str| Some((FormatError::at(line, "not \"key number\""), text.into()));
        assert_eq!(all(b"a 1\nb\nc 3\n"), (pairs(&[("a", 1), ("c", 3)]), wrong(2, "b")));
        for odd in ["b -1", "b 1x", "b 1 2", "b  1", "b 18446744073709551616"] {
            let text: &'static str = format!("{odd}\nc 3\n").leak();
            assert_eq!(all(text.as_bytes()), (pairs(&[("c", 3)]), wrong(1, odd)));
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let all: Vec<_> = lines(b"a\n\nb").collect();
        assert_eq!(all, [(1, &b"a"[..]), (2, b""), (3, b"b")]);
    }

    #[test]
    fn nested_and_device_numbers() {
        let fields: Vec<_> = nested_fields(b"rbytes=1  depth=max some").collect();
        assert_eq!(
            fields,
            [(&b"rbytes"[..], Some(&b"1"[..])), (&b"depth"[..], Some(&b"max"[..])), (&b"some"[..], None)]
        );
        assert_eq!(device_number(b"259:1048575"), Some((259, 1_048_575)));
        for text in [&b"8"[..], b"8:", b":0", b"8:0 ", b"4294967296:0"] {
            assert_eq!(device_number(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn fractions_are_fixed_point() {
        assert_eq!(hundredths(b"0.00"), Some(0));
        assert_eq!(hundredths(b"12.34"), Some(1234));
        assert_eq!(hundredths(b"100.05"), Some(10_005));
        for text in [&b"1"[..], b"1.2", b"1.234", b".50", b"nan"] {
            assert_eq!(hundredths(text), None, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (digits(&text), number(&text), unsigned(&text), signed(&text), limit(&text));
            let _ = (flat_keyed(&text, &mut OddLines::default()).count(), lines(&text).count(), words(&text).count());
            let _ = (nested_fields(&text).count(), device_number(&text), hundredths(&text));
        }

        #[test]
        fn never_panics_on_likely_text(text in "[0-9a-z:=.,\\- \n]{0,100}") {
            let text = text.as_bytes();
            let _ = (digits(text), number(text), unsigned(text), signed(text), limit(text));
            let _ = (flat_keyed(text, &mut OddLines::default()).count(), lines(text).count(), words(text).count());
            let _ = (nested_fields(text).count(), device_number(text), hundredths(text));
        }

        #[test]
        fn numbers_round_trip(value in any::<u64>()) {
            prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
        }
    }
}
