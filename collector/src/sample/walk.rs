//! How every number in a sample is visited.
//!
//! The history's compact form, the form on disk and the check that no counter goes backwards are built on it. Beside each
//! struct of a sample stands what each of its fields is; one that is forgotten does not compile.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::unread::Unread;
use crate::units::{Bytes, Micros, Nanos, WallTime};

/// Visits every number of a sample in a fixed order.
pub trait Visitor {
    /// A value that only grows while the cgroup lives.
    fn counter(&mut self, value: &mut u64);
    /// A value that goes up and down.
    fn gauge(&mut self, value: &mut u64);
}

/// A part of a sample that consists of parts.
pub(super) trait Part {
    /// Shows its numbers to the visitor.
    fn walk(&mut self, visitor: &mut impl Visitor);
    /// Whether both have the same values present.
    fn same_shape(&self, other: &Self) -> bool;
}

/// A part of a sample that consists of numbers alone, all of them counters or all of them gauges.
pub(super) trait Numbers {
    /// Visits each number.
    fn each(&mut self, visit: &mut impl FnMut(&mut u64));
    /// Whether both have the same values present.
    fn same_shape(&self, other: &Self) -> bool;
}

/// What can be kept as a JSON value with the names of its fields, so that a collector with other fields can read it: what
/// it does not know is skipped, what is missing is absent.
pub(super) trait Described: Sized {
    /// All of it; null for what is absent.
    fn describe(&self) -> Value;
    /// What was described; `None` for a value that nothing was described with.
    fn restore(value: &Value) -> Option<Self>;
}

/// Declares each field of a struct as one of these:
///
/// | kind | what it is |
/// | --- | --- |
/// | `counter` | only grows while the cgroup lives |
/// | `gauge` | goes up and down, or may start anew |
/// | `part` | a struct that is declared itself |
/// | `shape` | no number: must be equal for two samples to be of one shape |
/// | `moment` | when it was read; not visited |
macro_rules! parts {
    ($($name:ident { $($kind:ident $field:ident),+ $(,)? })+) => {$(
        impl $crate::sample::walk::Part for $name {
            fn walk(&mut self, visitor: &mut impl $crate::sample::walk::Visitor) {
                let Self { $($field),+ } = self;
                $($crate::sample::walk::parts!(@walk $kind $field visitor);)+
            }

            fn same_shape(&self, other: &Self) -> bool {
                let Self { $($field),+ } = self;
                $($crate::sample::walk::parts!(@same $kind $field other))&&+
            }
        }

        impl $crate::sample::walk::Described for $name {
            fn describe(&self) -> serde_json::Value {
                let Self { $($field),+ } = self;
                $crate::sample::walk::object([
                    $((stringify!($field), $crate::sample::walk::Described::describe($field))),+
                ])
            }

            fn restore(value: &serde_json::Value) -> Option<Self> {
                let field = |name: &str| value.get(name).unwrap_or(&serde_json::Value::Null);
                Some(Self { $($field: $crate::sample::walk::Described::restore(field(stringify!($field)))?),+ })
            }
        }
    )+};
    (@walk counter $field:ident $visitor:ident) => {
        $crate::sample::walk::Numbers::each($field, &mut |value| $visitor.counter(value))
    };
    (@walk gauge $field:ident $visitor:ident) => {
        $crate::sample::walk::Numbers::each($field, &mut |value| $visitor.gauge(value))
    };
    (@walk part $field:ident $visitor:ident) => {
        $crate::sample::walk::Part::walk($field, $visitor)
    };
    (@walk shape $field:ident $visitor:ident) => { let _ = $field; };
    (@walk moment $field:ident $visitor:ident) => { let _ = $field; };
    (@same counter $field:ident $other:ident) => {
        $crate::sample::walk::Numbers::same_shape($field, &$other.$field)
    };
    (@same gauge $field:ident $other:ident) => {
        $crate::sample::walk::Numbers::same_shape($field, &$other.$field)
    };
    (@same part $field:ident $other:ident) => {
        $crate::sample::walk::Part::same_shape($field, &$other.$field)
    };
    (@same shape $field:ident $other:ident) => { *$field == $other.$field };
    (@same moment $field:ident $other:ident) => {{ let _ = $field; true }};
}

pub(super) use parts;

impl<T: Part> Part for Option<T> {
    fn walk(&mut self, visitor: &mut impl Visitor) {
        if let Some(part) = self {
            part.walk(visitor);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        match (self, other) {
            (None, None) => true,
            (Some(a), Some(b)) => a.same_shape(b),
            _ => false,
        }
    }
}

impl<T: Part> Part for Vec<T> {
    fn walk(&mut self, visitor: &mut impl Visitor) {
        for part in self {
            part.walk(visitor);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other).all(|(a, b)| a.same_shape(b))
    }
}

impl Numbers for u64 {
    fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
        visit(self);
    }

    fn same_shape(&self, _: &Self) -> bool {
        true
    }
}

macro_rules! units {
    ($($unit:ident),+) => {$(
        impl Numbers for $unit {
            fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
                visit(&mut self.0);
            }

            fn same_shape(&self, _: &Self) -> bool {
                true
            }
        }
    )+};
}

units!(Bytes, Micros, Nanos);

impl<T: Numbers> Numbers for Option<T> {
    fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
        if let Some(numbers) = self {
            numbers.each(visit);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        match (self, other) {
            (None, None) => true,
            (Some(a), Some(b)) => a.same_shape(b),
            _ => false,
        }
    }
}

impl<T: Numbers> Numbers for Vec<T> {
    fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
        for numbers in self {
            numbers.each(visit);
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other).all(|(a, b)| a.same_shape(b))
    }
}

impl Numbers for (u64, u64) {
    fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
        visit(&mut self.0);
        visit(&mut self.1);
    }

    fn same_shape(&self, _: &Self) -> bool {
        true
    }
}

/// A name and its number.
macro_rules! named {
    ($($name:ty),+) => {$(
        impl Numbers for ($name, u64) {
            fn each(&mut self, visit: &mut impl FnMut(&mut u64)) {
                visit(&mut self.1);
            }

            fn same_shape(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }
    )+};
}

named!(u32, &'static str);

/// An object without what is absent.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let present = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(present.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

impl<T: Described> Described for Option<T> {
    fn describe(&self) -> Value {
        self.as_ref().map_or(Value::Null, Described::describe)
    }

    fn restore(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::restore(value).map(Some) }
    }
}

impl<T: Described> Described for Vec<T> {
    fn describe(&self) -> Value {
        Value::Array(self.iter().map(Described::describe).collect())
    }

    fn restore(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::new()),
            Value::Array(list) => list.iter().map(T::restore).collect(),
            _ => None,
        }
    }
}

/// A number that is missing was not kept by the collector that wrote it.
impl Described for u64 {
    fn describe(&self) -> Value {
        Value::from(*self)
    }

    fn restore(value: &Value) -> Option<Self> {
        if value.is_null() { Some(0) } else { value.as_u64() }
    }
}

impl Described for u32 {
    fn describe(&self) -> Value {
        Value::from(*self)
    }

    fn restore(value: &Value) -> Option<Self> {
        u64::restore(value)?.try_into().ok()
    }
}

macro_rules! described_units {
    ($($unit:ident),+) => {$(
        impl Described for $unit {
            fn describe(&self) -> Value {
                self.0.describe()
            }

            fn restore(value: &Value) -> Option<Self> {
                u64::restore(value).map(Self)
            }
        }
    )+};
}

described_units!(Bytes, Micros, Nanos, WallTime);

impl Described for Unread {
    fn describe(&self) -> Value {
        if *self == Self::default() { Value::Null } else { self.bits().describe() }
    }

    fn restore(value: &Value) -> Option<Self> {
        u64::restore(value).map(Self::from_bits)
    }
}

impl<A: Described, B: Described> Described for (A, B) {
    fn describe(&self) -> Value {
        Value::Array(vec![self.0.describe(), self.1.describe()])
    }

    fn restore(value: &Value) -> Option<Self> {
        let [a, b] = value.as_array()?.as_slice() else { return None };
        Some((A::restore(a)?, B::restore(b)?))
    }
}

impl Described for Arc<str> {
    fn describe(&self) -> Value {
        Value::from(&**self)
    }

    fn restore(value: &Value) -> Option<Self> {
        if value.is_null() { Some("".into()) } else { value.as_str().map(Self::from) }
    }
}

impl Described for Arc<[Box<str>]> {
    fn describe(&self) -> Value {
        Value::Array(self.iter().map(|key| Value::from(&**key)).collect())
    }

    fn restore(value: &Value) -> Option<Self> {
        if value.is_null() {
            return Some(Self::default());
        }
        value.as_array()?.iter().map(|key| key.as_str().map(Box::from)).collect()
    }
}
