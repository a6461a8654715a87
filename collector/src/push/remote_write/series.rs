//! The series in an encoded message, one after the other, without a copy of every label.
//!
//! What is read was written by this program; where it is not as it should be, it ends.

use std::io::{self, BufRead, ErrorKind, Read as _};

use prost::encoding::{decode_varint, encode_varint};

/// `WriteRequest.timeseries`, `TimeSeries.labels`, `Label.name`: field 1, a length and so many bytes.
const FIRST: u8 = 0x0a;
/// `Label.value`: field 2, likewise.
const SECOND: u8 = 0x12;

/// Reads the next series of a message; `false` at its end.
pub(super) fn read(message: &mut impl BufRead, series: &mut Vec<u8>) -> io::Result<bool> {
    series.clear();
    let mut tag = [0];
    if message.read(&mut tag)? == 0 {
        return Ok(false);
    }
    let mut length = Vec::with_capacity(10);
    loop {
        let mut byte = [0];
        message.read_exact(&mut byte)?;
        length.push(byte[0]);
        if byte[0] < 0x80 || length.len() == length.capacity() {
            break;
        }
    }
    let length = decode_varint(&mut &*length).map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
    let read = message.take(length).read_to_end(series)?;
    if tag != [FIRST] || read as u64 != length {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(true)
}

/// A label of a series as it is encoded, with its name.
struct Label<'a> {
    name: &'a [u8],
    encoded: &'a [u8],
}

/// The labels with which a series begins, and what follows them.
struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        let start = self.rest;
        let (label, rest) = field(start, FIRST)?;
        let (name, _) = field(label, FIRST)?;
        self.rest = rest;
        Some(Label { name, encoded: &start[..start.len() - rest.len()] })
    }
}

/// What a field holds that is the next one, and what follows it.
fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let length = decode_varint(&mut rest).ok()?;
    if *first != tag {
        return None;
    }
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Appends the series' labels, sorted by name as the protocol wants them, with those of the target where it has none of
/// that name. Returns what follows them in the series: its sample.
pub(super) fn append_labels<'a>(out: &mut Vec<u8>, series: &'a [u8], target: &[(String, Vec<u8>)]) -> &'a [u8] {
    let mut labels = Labels { rest: series };
    let mut target = target.iter().peekable();
    for label in labels.by_ref() {
        while let Some((name, encoded)) = target.next_if(|(name, _)| name.as_bytes() <= label.name) {
            if name.as_bytes() != label.name {
                out.extend_from_slice(encoded);
            }
        }
        out.extend_from_slice(label.encoded);
    }
    for (_, encoded) in target {
        out.extend_from_slice(encoded);
    }
    labels.rest
}

/// The labels of a series as they are encoded.
pub(super) fn labels(series: &[u8]) -> &[u8] {
    let mut labels = Labels { rest: series };
    labels.by_ref().for_each(drop);
    &series[..series.len() - labels.rest.len()]
}

/// A label as it is encoded.
pub(super) fn label(name: &str, value: &str) -> Vec<u8> {
    let mut both = Vec::new();
    append(&mut both, FIRST, name.as_bytes());
    append(&mut both, SECOND, value.as_bytes());
    let mut label = Vec::new();
    append(&mut label, FIRST, &both);
    label
}

/// Appends a series to a message.
pub(super) fn append_to_message(message: &mut Vec<u8>, series: &[u8]) {
    append(message, FIRST, series);
}

fn append(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
