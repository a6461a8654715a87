//! How every number in a sample is visited.
//!
//! The history's compact form and the check that no counter goes backwards are both built on it. Beside each struct of a
//! sample stands what each of its fields is; one that is forgotten does not compile.

use crate::units::{Bytes, Micros, Nanos};

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
