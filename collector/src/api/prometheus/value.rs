//! Values and the labels of single families, and how both are written.

use super::labels::append_escaped;
use super::number::{append_digits, append_float, append_scaled, append_signed};
use crate::units::{Bytes, Micros, Nanos};

/// A value with its unit; what is written is in the base unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// A whole number.
    Count(u64),
    /// A whole number that may be negative.
    Signed(i64),
    /// Nanoseconds, written as seconds.
    Nanos(u64),
    /// Microseconds, written as seconds.
    Micros(u64),
    /// Milliseconds, written as seconds.
    Millis(u64),
    /// Anything else.
    Float(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Count(bytes.0)
    }
}

impl From<Nanos> for Value {
    fn from(nanos: Nanos) -> Self {
        Self::Nanos(nanos.0)
    }
}

impl From<Micros> for Value {
    fn from(micros: Micros) -> Self {
        Self::Micros(micros.0)
    }
}

impl Value {
    /// In the base unit, as a reader of the text would have it.
    pub(super) fn number(self) -> f64 {
        match self {
            Self::Count(count) => count as f64,
            Self::Signed(number) => number as f64,
            Self::Nanos(nanos) => nanos as f64 / 1e9,
            Self::Micros(micros) => micros as f64 / 1e6,
            Self::Millis(millis) => millis as f64 / 1e3,
            Self::Float(number) => number,
        }
    }
}

/// The value of a label that a single family has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text<'a> {
    /// Text.
    Is(&'a str),
    /// The text in lower case; all of it is ASCII.
    Lower(&'a str),
    /// A number.
    Number(u64),
    /// A number that may be negative.
    Id(i32),
    /// `1:7`: what is 7 in 1.
    IdIn(i32, i32),
    /// `cpu00`.
    Cpu(usize),
    /// `8:16`, for a device that has no name.
    Device(u32, u32),
}

impl Text<'_> {
    /// Whether it is a label without a value, which is the same as none.
    pub(super) const fn is_empty(self) -> bool {
        match self {
            Self::Is(text) | Self::Lower(text) => text.is_empty(),
            Self::Number(_) | Self::Id(_) | Self::IdIn(..) | Self::Cpu(_) | Self::Device(..) => false,
        }
    }
}

/// A label that a single family has.
pub(super) type Label<'a> = (&'static str, Text<'a>);

/// Appends a value as text.
pub(super) fn append_value(out: &mut Vec<u8>, value: Value) {
    match value {
        Value::Count(count) => append_scaled(out, count, 0),
        Value::Signed(number) => append_signed(out, number),
        Value::Nanos(nanos) => append_scaled(out, nanos, 9),
        Value::Micros(micros) => append_scaled(out, micros, 6),
        Value::Millis(millis) => append_scaled(out, millis, 3),
        Value::Float(number) => append_float(out, number),
    }
}

fn append_id(out: &mut Vec<u8>, id: i32) {
    if id < 0 {
        out.push(b'-');
    }
    append_digits(out, id.unsigned_abs().into());
}

/// Appends a label's value as text.
pub(super) fn append_text(out: &mut Vec<u8>, text: Text<'_>) {
    match text {
        Text::Is(text) => append_escaped(out, text),
        Text::Lower(text) => out.extend(text.bytes().map(|byte| byte.to_ascii_lowercase())),
        Text::Number(number) => append_digits(out, number),
        Text::Id(id) => append_id(out, id),
        Text::IdIn(outer, id) => {
            append_id(out, outer);
            out.push(b':');
            append_id(out, id);
        }
        Text::Cpu(number) => {
            out.extend_from_slice(if number < 10 { b"cpu0" } else { b"cpu" });
            append_digits(out, number as u64);
        }
        Text::Device(major, minor) => {
            append_digits(out, major.into());
            out.push(b':');
            append_digits(out, minor.into());
        }
    }
}
