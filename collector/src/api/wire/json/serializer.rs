//! The serializer behind [`super::append`].
//!
//! A sample is some sixty short keys and numbers, and an answer may have a hundred thousand samples: keys of structures
//! are written as they are, and texts are looked at once.

use std::fmt::{Display, Write as _};

use serde::Serialize;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;

/// Appends values to a text.
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    #[expect(clippy::unnecessary_wraps, reason = "as the methods of the trait have it, which end with it")]
    fn raw(&mut self, text: &[u8]) -> Result<(), Error> {
        self.0.extend_from_slice(text);
        Ok(())
    }

    fn integer(&mut self, value: impl itoa::Integer) -> Result<(), Error> {
        self.raw(itoa::Buffer::new().format(value).as_bytes())
    }

    /// A number in Rust's own words, which are Go's where there is no exponent.
    fn plain(&mut self, value: impl Display) -> Result<(), Error> {
        write!(Text(self.0), "{value}").map_err(Error::custom)
    }

    /// Opens `{"variant":`.
    fn variant(&mut self, variant: &'static str) -> Result<(), Error> {
        self.0.push(b'{');
        string(self.0, variant);
        self.raw(b":")
    }
}

/// What is written to it is known to need no escapes.
struct Text<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What is written to it is a part of a string.
struct Escaped<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        escaped(self.0, text);
        Ok(())
    }
}

/// Bytes at which an escape may begin.
const MAY_NEED_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    // The last two begin U+2028, U+2029 and U+FFFD, among others.
    let others = *b"\"\\<>&\xe2\xef";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut written = 0;
    for at in 0..bytes.len() {
        let byte = bytes[at];
        if at < written || !MAY_NEED_ESCAPE[usize::from(byte)] {
            continue;
        }
        let (escape, length) = match byte {
            b'"' => (&b"\\\""[..], 1),
            b'\\' => (&b"\\\\"[..], 1),
            b'\n' => (&b"\\n"[..], 1),
            b'\r' => (&b"\\r"[..], 1),
            b'\t' => (&b"\\t"[..], 1),
            0x08 => (&b"\\b"[..], 1),
            0x0c => (&b"\\f"[..], 1),
            b'<' => (&b"\\u003c"[..], 1),
            b'>' => (&b"\\u003e"[..], 1),
            b'&' => (&b"\\u0026"[..], 1),
            0xe2 if bytes[at..].starts_with("\u{2028}".as_bytes()) => (&b"\\u2028"[..], 3),
            0xe2 if bytes[at..].starts_with("\u{2029}".as_bytes()) => (&b"\\u2029"[..], 3),
            // Go writes the escape for a byte it could not decode, and `lossy` has put this character there.
            0xef if bytes[at..].starts_with("\u{fffd}".as_bytes()) => (&b"\\ufffd"[..], 3),
            0xe2 | 0xef => continue,
            control => {
                out.extend_from_slice(&bytes[written..at]);
                let _ = write!(Text(out), "\\u{control:04x}");
                written = at + 1;
                continue;
            }
        };
        out.extend_from_slice(&bytes[written..at]);
        out.extend_from_slice(escape);
        written = at + length;
    }
    out.extend_from_slice(&bytes[written..]);
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'w, 'a>;
    type SerializeTuple = Parts<'w, 'a>;
    type SerializeTupleStruct = Parts<'w, 'a>;
    type SerializeTupleVariant = Parts<'w, 'a>;
    type SerializeMap = Parts<'w, 'a>;
    type SerializeStruct = Parts<'w, 'a>;
    type SerializeStructVariant = Parts<'w, 'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.raw(if value { b"true" } else { b"false" })
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.integer(value)
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.integer(value)
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.integer(value)
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.integer(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.integer(value)
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.integer(value)
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.integer(value)
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.integer(value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        if !value.is_finite() {
            return self.serialize_unit();
        }
        // Only numbers of everyday size are written in single precision: no exponent.
        self.plain(value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        if !value.is_finite() {
            return self.serialize_unit();
        }
        // Most are: shares of a machine that idles.
        if value.to_bits() == 0 {
            return self.raw(b"0");
        }
        let magnitude = value.abs();
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            let text = format!("{value:e}");
            return self.plain(if magnitude < 1.0 { text } else { text.replace('e', "e+") });
        }
        self.plain(value)
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        string(self.0, value);
        Ok(())
    }

    /// They are JSON already: see `raw`.
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.raw(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.raw(b"null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(variant)?;
        value.serialize(&mut *self)?;
        self.raw(b"}")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        Ok(Parts::open(self, b'[', b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        Ok(Parts::open(self, b'[', b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        Ok(Parts::open(self, b'[', b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        self.variant(variant)?;
        Ok(Parts::open(self, b'[', b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Ok(Parts::open(self, b'{', b"}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        Ok(Parts::open(self, b'{', b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        self.variant(variant)?;
        Ok(Parts::open(self, b'{', b"}}"))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.0.push(b'"');
        write!(Escaped(self.0), "{value}").map_err(Error::custom)?;
        self.raw(b"\"")
    }
}

/// An array or an object that is being written.
pub(super) struct Parts<'w, 'a> {
    writer: &'w mut Writer<'a>,
    close: &'static [u8],
    is_first: bool,
}

impl<'w, 'a> Parts<'w, 'a> {
    fn open(writer: &'w mut Writer<'a>, open: u8, close: &'static [u8]) -> Self {
        writer.0.push(open);
        Self { writer, close, is_first: true }
    }

    fn separate(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.writer.0.push(b',');
        }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.separate();
        value.serialize(&mut *self.writer)
    }

    /// A field of a structure: its name is an identifier, or what the wire has in its place.
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        debug_assert!(!key.bytes().any(|byte| MAY_NEED_ESCAPE[usize::from(byte)]), "{key}");
        self.separate();
        self.writer.0.push(b'"');
        self.writer.0.extend_from_slice(key.as_bytes());
        self.writer.0.extend_from_slice(b"\":");
        value.serialize(&mut *self.writer)
    }

    fn close(self) -> Result<(), Error> {
        self.writer.raw(self.close)
    }
}

macro_rules! elements {
    ($($of:ident: $method:ident;)+) => {
        $(impl $of for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Error> {
                self.close()
            }
        })+
    };
}

elements! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

macro_rules! fields {
    ($($of:ident)+) => {
        $(impl $of for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
                self.field(key, value)
            }

            fn end(self) -> Result<(), Error> {
                self.close()
            }
        })+
    };
}

fields! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.separate();
        let at = self.writer.0.len();
        key.serialize(&mut *self.writer)?;
        if self.writer.0.get(at) == Some(&b'"') { Ok(()) } else { Err(Error::custom("a key is no string")) }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.writer.0.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
    use serde_json::Value;

    use super::*;

    /// Any JSON value.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC*|[\\x00-\\x7f]*|[\u{2020}-\u{2030}\u{ffe0}-\u{ffff}]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map("\\PC*", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(value in value()) {
            let mut text = Vec::new();
            value.serialize(&mut Writer(&mut text)).unwrap();
            proptest::prop_assert!(!text.iter().any(|byte| b"<>&".contains(byte)));
            // A float that is whole is read back as an integer.
            let normal = |value: &Value| -> Value { serde_json::from_str(&numbers(value).to_string()).unwrap() };
            proptest::prop_assert_eq!(normal(&serde_json::from_slice(&text).unwrap()), normal(&value));
        }
    }

    /// With every number as a float.
    fn numbers(value: &Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().into(),
            Value::Array(list) => list.iter().map(numbers).collect(),
            Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), numbers(value))).collect()),
            other => other.clone(),
        }
    }

    #[derive(Serialize)]
    enum Variants {
        Unit,
        Newtype(u8),
        Tuple(u8, u8),
        Struct { a: Option<u8>, b: (), c: char },
    }

    #[test]
    fn every_shape_is_serdes() {
        let variants = [
            Variants::Unit,
            Variants::Newtype(1),
            Variants::Tuple(1, 2),
            Variants::Struct { a: Some(1), b: (), c: '"' },
        ];
        let map: BTreeMap<&str, [i8; 2]> = [("", [1, -1]), ("x", [2, -2])].into();
        let value = (variants, map, [0_u8; 0], None::<u8>, b"ab", true, -7_i64);
        let mut text = Vec::new();
        value.serialize(&mut Writer(&mut text)).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), serde_json::to_string(&value).unwrap());
        let mut text = Vec::new();
        assert!(BTreeMap::from([(1, 2)]).serialize(&mut Writer(&mut text)).is_err(), "a key that is no string");
    }
}
