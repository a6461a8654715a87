//! Numbers of samples as variable-length integers: what the history in memory and the one on disk are made of.

use crate::sample::walk::Visitor;

/// How one sample's numbers differ from those before, which are of one shape.
pub(crate) fn write_delta(out: &mut Vec<u8>, at_before: u64, before: &[u64], at: u64, numbers: &[u64]) {
    write_signed(out, at.wrapping_sub(at_before));
    let changed = || before.iter().zip(numbers).enumerate().filter(|(_, (before, now))| before != now);
    write_varint(out, changed().count() as u64);
    let mut expected = 0;
    for (position, (before, now)) in changed() {
        write_varint(out, (position - expected) as u64);
        write_signed(out, now.wrapping_sub(*before));
        expected = position + 1;
    }
}

/// The same where nothing but the time differs.
pub(crate) fn write_same(out: &mut Vec<u8>, at_before: u64, at: u64) {
    write_signed(out, at.wrapping_sub(at_before));
    write_varint(out, 0);
}

/// Applies one delta; `None` when the bytes end early, which cannot happen to bytes [`write_delta`] wrote.
pub(crate) fn read_delta(deltas: &mut &[u8], at: &mut u64, numbers: &mut [u64]) -> Option<()> {
    *at = at.wrapping_add(read_signed(deltas)?);
    let changed = read_varint(deltas)?;
    let mut position = 0;
    for _ in 0..changed {
        position = usize::try_from(read_varint(deltas)?).ok()?.checked_add(position)?;
        let number = numbers.get_mut(position)?;
        *number = number.wrapping_add(read_signed(deltas)?);
        position += 1;
    }
    Some(())
}

/// Seven bits in a byte, the lowest first.
pub(crate) fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `None` when the bytes end early.
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A wrapping difference, small in either direction: zigzag, then a varint.
pub(crate) fn write_signed(out: &mut Vec<u8>, difference: u64) {
    let signed = difference as i64;
    write_varint(out, ((signed << 1) ^ (signed >> 63)) as u64);
}

/// `None` when the bytes end early.
pub(crate) fn read_signed(bytes: &mut &[u8]) -> Option<u64> {
    let zigzag = read_varint(bytes)?;
    Some((zigzag >> 1) ^ (zigzag & 1).wrapping_neg())
}

/// The numbers of a sample in walk order.
#[derive(Debug, Default)]
pub(crate) struct Collect(pub(crate) Vec<u64>);

impl Visitor for Collect {
    fn counter(&mut self, value: &mut u64) {
        self.0.push(*value);
    }
    fn gauge(&mut self, value: &mut u64) {
        self.0.push(*value);
    }
}

/// Puts numbers in walk order into a sample.
#[derive(Debug)]
pub(crate) struct Fill<'a> {
    numbers: &'a [u64],
    position: usize,
}

impl<'a> Fill<'a> {
    /// From the first on.
    pub(crate) const fn new(numbers: &'a [u64]) -> Self {
        Self { numbers, position: 0 }
    }
}

impl Visitor for Fill<'_> {
    fn counter(&mut self, value: &mut u64) {
        self.gauge(value);
    }
    fn gauge(&mut self, value: &mut u64) {
        if let Some(number) = self.numbers.get(self.position) {
            *value = *number;
        }
        self.position += 1;
    }
}
