//! JSON bytes as Go's `encoding/json` writes them: compact, HTML characters escaped, integral floats without `.0`.

mod serializer;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use self::serializer::Writer;

/// The value as compact JSON without a trailing newline.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> bytes::Bytes {
    let mut out = Vec::with_capacity(1024);
    append(&mut out, value);
    out.into()
}

/// Appends the value as compact JSON.
pub fn append<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing to memory does not fail; the other error, a map key that is no string, would be a wire type's mistake
    // that no input can bring about.
    value.serialize(&mut Writer(out)).expect("wire types have string keys");
}

/// Appends a key of an object and its value.
pub fn append_entry<T: Serialize + ?Sized>(out: &mut Vec<u8>, key: &[u8], value: &T) {
    append(out, &Lossy(key));
    out.push(b':');
    append(out, value);
}

/// A value that is JSON already, with [`append`].
pub(crate) fn raw<S: Serializer>(text: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(text)
}

/// Bytes of unknown encoding as a JSON string, see [`lossy`].
#[derive(Clone, Copy, Debug)]
pub struct Lossy<'a>(pub &'a [u8]);

impl JsonSchema for Lossy<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Serialize for Lossy<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&lossy(self.0))
    }
}

/// The text, with U+FFFD in place of every byte that is not UTF-8, as Go does it.
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// Shows bytes in double quotes as Go's `%q` does: on one line, with bytes that are not UTF-8 as `\xff`.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' => f.write_str("\\\"")?,
                    '\\' => f.write_str("\\\\")?,
                    '\u{7}' => f.write_str("\\a")?,
                    '\u{8}' => f.write_str("\\b")?,
                    '\u{b}' => f.write_str("\\v")?,
                    '\u{c}' => f.write_str("\\f")?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    '\0'..' ' | '\u{7f}' => write!(f, "\\x{:02x}", u32::from(c))?,
                    c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                        write!(f, "\\u{:04x}", u32::from(c))?;
                    }
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Serialize + ?Sized>(value: &T) -> String {
        String::from_utf8(to_bytes(value).to_vec()).unwrap()
    }

    #[test]
    fn floats_are_gos() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (12.5, "12.5"),
            (0.01, "0.01"),
            (99.99, "99.99"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-9, "1.25e-9"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (f64::NAN, "null"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn single_precision_is_as_short() {
        for (value, expected) in [(0.0_f32, "0"), (0.1, "0.1"), (12.0, "12"), (99.9, "99.9")] {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn integers_are_whole() {
        assert_eq!(text(&u64::MAX), "18446744073709551615");
        assert_eq!(text(&i64::MIN), "-9223372036854775808");
    }

    #[test]
    fn strings_are_escaped_as_gos() {
        assert_eq!(text("a<b>&c"), r#""a\u003cb\u003e\u0026c""#);
        assert_eq!(text("\u{2028}x\u{2029}é€\u{1F600}"), "\"\\u2028x\\u2029é€\u{1F600}\"");
        assert_eq!(text("\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}/"), "\"\\\"\\\\\\n\\r\\t\\b\\f\\u0001\u{7f}/\"");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_one_by_one() {
        assert_eq!(lossy(b"/plain"), "/plain");
        assert_eq!(lossy(b"a\xffb\xe2\x82c\xed\xa0\x80"), "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(text(&Lossy(b"/\xff<")), r#""/\ufffd\u003c""#);
    }

    #[test]
    fn quoted_is_one_line() {
        assert_eq!(Quoted(b"/x").to_string(), r#""/x""#);
        assert_eq!(Quoted("a\"b\\\n\u{1}\u{85}é".as_bytes()).to_string(), "\"a\\\"b\\\\\\n\\x01\\u0085é\"");
        assert_eq!(Quoted(b"\xff\xfe").to_string(), r#""\xff\xfe""#);
    }
}
