//! Numbers as Go's `strconv` writes the shortest float64, which is how cAdvisor's numbers look: `262144`, `1e+06`,
//! `2.7e-08`.
//!
//! A number that comes as an integer and a power of ten is written from its digits: below 10^15 a float64 keeps every
//! digit, so these are the shortest there are. Larger ones go through a float, as every reader does with them anyway.

use std::io::Write as _;

/// From here on a float64 does not keep every digit.
const EXACT: u64 = 1_000_000_000_000_000;

/// Pairs of digits, so that a number takes half the divisions.
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[number * 2] = b'0' + (number / 10) as u8;
        pairs[number * 2 + 1] = b'0' + (number % 10) as u8;
        number += 1;
    }
    pairs
};

/// Digits of a number, written from the end.
struct Digits {
    buffer: [u8; 20],
    start: usize,
}

impl Digits {
    fn of(mut number: u64) -> Self {
        let mut buffer = [b'0'; 20];
        let mut start = buffer.len();
        while number >= 100 {
            let pair = (number % 100) as usize * 2;
            number /= 100;
            start -= 2;
            buffer[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        }
        if number >= 10 {
            let pair = number as usize * 2;
            start -= 2;
            buffer[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        } else {
            start -= 1;
            buffer[start] = b'0' + number as u8;
        }
        Self { buffer, start }
    }

    fn as_slice(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

/// Appends a whole number with all its digits, as in a label or a timestamp.
pub(super) fn append_digits(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(Digits::of(number).as_slice());
}

/// Appends `number / 10^decimals`.
pub(crate) fn append_scaled(out: &mut Vec<u8>, number: u64, decimals: u8) {
    // Most numbers of most containers.
    if number == 0 {
        out.push(b'0');
        return;
    }
    if number >= EXACT {
        append_float(out, number as f64 / 10_f64.powi(i32::from(decimals)));
        return;
    }
    let digits = Digits::of(number);
    let all = digits.as_slice();
    let zeros = all.iter().rev().take_while(|digit| **digit == b'0').count();
    let significant = &all[..all.len() - zeros];
    append_decimal(out, significant, all.len() as i32 - 1 - i32::from(decimals));
}

/// Appends a signed whole number.
pub(super) fn append_signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    append_scaled(out, number.unsigned_abs(), 0);
}

/// Appends any float.
pub(super) fn append_float(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        let text: &[u8] = if number.is_nan() {
            b"NaN"
        } else if number > 0.0 {
            b"+Inf"
        } else {
            b"-Inf"
        };
        out.extend_from_slice(text);
        return;
    }
    // The standard library finds the shortest digits; only their arrangement differs. The longest is
    // `-1.2345678901234567e-308`.
    let mut text = [0_u8; 32];
    let mut rest = &mut text[..];
    // Writing to memory that suffices cannot fail.
    let _ = write!(rest, "{number:e}");
    let left = rest.len();
    let written = &text[..text.len() - left];
    let negative = written.first() == Some(&b'-');
    let mut digits = [0_u8; 20];
    let mut count = 0;
    let mut exponent = 0_i32;
    let mut parts = written[usize::from(negative)..].split(|byte| *byte == b'e');
    for digit in parts.next().unwrap_or_default().iter().filter(|byte| **byte != b'.').take(digits.len()) {
        digits[count] = *digit;
        count += 1;
    }
    if let Some(text) = parts.next().and_then(|text| std::str::from_utf8(text).ok()) {
        exponent = text.parse().unwrap_or(0);
    }
    if negative {
        out.push(b'-');
    }
    append_decimal(out, &digits[..count], exponent);
}

/// `d.ddd * 10^exponent`; at least one digit, the last one not 0 unless it is the only one.
fn append_decimal(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    if !(-4..6).contains(&exponent) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        let exponent = u64::from(exponent.unsigned_abs());
        if exponent < 10 {
            out.push(b'0');
        }
        append_digits(out, exponent);
    } else if exponent < 0 {
        out.extend_from_slice(&b"0.0000"[..(1 - exponent) as usize]);
        out.extend_from_slice(digits);
    } else {
        let whole = exponent as usize + 1;
        if digits.len() <= whole {
            out.extend_from_slice(digits);
            out.extend_from_slice(&b"00000"[..whole - digits.len()]);
        } else {
            out.extend_from_slice(&digits[..whole]);
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(append: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_look_like_gos() {
        let cases: [(u64, u8, &str); 17] = [
            (0, 0, "0"),
            (0, 9, "0"),
            (7, 0, "7"),
            (262_144, 0, "262144"),
            (999_999, 0, "999999"),
            (1_000_000, 0, "1e+06"),
            (8_388_608, 0, "8.388608e+06"),
            (1_395_066_363, 0, "1.395066363e+09"),
            (27, 9, "2.7e-08"),
            (100_000, 9, "0.0001"),
            (99_999, 9, "9.9999e-05"),
            (1_500_000_000, 9, "1.5"),
            (120_000_000_000, 9, "120"),
            (10_050_000, 6, "10.05"),
            (999_999_999_999_999, 9, "999999.999999999"),
            (u64::MAX, 0, "1.8446744073709552e+19"),
            (9_223_372_036_854_771_712, 9, "9.223372036854773e+09"),
        ];
        for (number, decimals, expected) in cases {
            assert_eq!(text(|out| append_scaled(out, number, decimals)), expected);
        }
        let floats = [
            (-1.0, "-1"),
            (0.5, "0.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (-62_135_596_800.0, "-6.21355968e+10"),
            (1e300, "1e+300"),
            (-f64::MIN_POSITIVE, "-2.2250738585072014e-308"),
            (0.0, "0"),
        ];
        for (number, expected) in floats {
            assert_eq!(text(|out| append_float(out, number)), expected);
        }
        assert_eq!(text(|out| append_signed(out, -1)), "-1");
        assert_eq!(text(|out| append_signed(out, i64::MIN)), "-9.223372036854776e+18");
    }

    proptest! {
        #[test]
        fn both_ways_agree(number: u64, shift in 0..64_u32, decimals in 0..10_u8) {
            let number = number >> shift;
            let float = number as f64 / 10_f64.powi(i32::from(decimals));
            let digits = text(|out| append_scaled(out, number, decimals));
            prop_assert_eq!(&digits, &text(|out| append_float(out, float)));
            prop_assert_eq!(digits.parse::<f64>().unwrap().to_bits(), float.to_bits());
        }

        #[test]
        fn any_float_survives(bits: u64) {
            let float = f64::from_bits(bits);
            let read: f64 = text(|out| append_float(out, float)).parse().unwrap();
            prop_assert!(read.to_bits() == float.to_bits() || float.is_nan() && read.is_nan());
        }
    }
}
