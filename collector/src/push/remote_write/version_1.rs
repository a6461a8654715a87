//! The same series for who does not speak 2.0: `prometheus.WriteRequest`, in which each series has its labels' texts.

use bytes::Bytes;
use prost::encoding::{decode_varint, encode_varint};

use super::batch::{LABELS_REFS, SAMPLES, START_TIMESTAMP, SYMBOL, TIMESERIES, TIMESTAMP, VALUE, append_bytes};

/// Series in one request, as many as Prometheus itself sends, and bytes of one before it is compressed.
const SERIES_PER_REQUEST: usize = 2000;
const BYTES_PER_REQUEST: usize = 2 << 20;

/// `WriteRequest.timeseries`, `TimeSeries.labels`, `Label.name`: field 1, a length and so many bytes.
const FIRST: u8 = 0x0a;
/// `TimeSeries.samples`, `Label.value`: field 2, likewise.
const SECOND: u8 = 0x12;

/// The requests of version 1.0 that a request of version 2.0 stands for; `None` when it is none.
pub(super) fn requests(body: &[u8]) -> Option<Vec<Bytes>> {
    let message = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    let mut rest = &*message;
    let mut symbols = Vec::new();
    let (mut done, mut out, mut count) = (Vec::new(), Vec::new(), 0);
    let (mut one, mut label) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        match field(&mut rest)? {
            (SYMBOL, text) => symbols.push(text),
            (TIMESERIES, series) => {
                one.clear();
                append_series(&mut one, &mut label, series, &symbols)?;
                append_bytes(&mut out, FIRST, &one);
                count += 1;
                if count == SERIES_PER_REQUEST || out.len() > BYTES_PER_REQUEST {
                    done.push(compressed(&out)?);
                    out.clear();
                    count = 0;
                }
            }
            _ => return None,
        }
    }
    if count > 0 {
        done.push(compressed(&out)?);
    }
    Some(done)
}

fn compressed(message: &[u8]) -> Option<Bytes> {
    Some(snap::raw::Encoder::new().compress_vec(message).ok()?.into())
}

/// A field with a length, its tag and what is in it.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, mut after) = rest.split_first()?;
    let length = usize::try_from(decode_varint(&mut after).ok()?).ok()?;
    let (inside, after) = after.split_at_checked(length)?;
    *rest = after;
    Some((*tag, inside))
}

fn append_series(out: &mut Vec<u8>, label: &mut Vec<u8>, mut series: &[u8], symbols: &[&[u8]]) -> Option<()> {
    while !series.is_empty() {
        match field(&mut series)? {
            (LABELS_REFS, mut refs) => {
                let mut text = || symbols.get(usize::try_from(decode_varint(&mut refs).ok()?).ok()?).copied();
                while let Some(name) = text() {
                    label.clear();
                    append_bytes(label, FIRST, name);
                    append_bytes(label, SECOND, text()?);
                    append_bytes(out, FIRST, label);
                }
            }
            (SAMPLES, sample) => append_sample(out, sample)?,
            // It has no place for metadata beside a series.
            _ => {}
        }
    }
    Some(())
}

fn append_sample(out: &mut Vec<u8>, mut sample: &[u8]) -> Option<()> {
    let (mut value, mut millis) = ([0; 8], 0);
    while let Some((tag, mut rest)) = sample.split_first() {
        match *tag {
            VALUE => (value, rest) = rest.split_first_chunk().map(|(value, rest)| (*value, rest))?,
            TIMESTAMP => millis = decode_varint(&mut rest).ok()?,
            START_TIMESTAMP => drop(decode_varint(&mut rest).ok()?),
            _ => return None,
        }
        sample = rest;
    }
    let mut field = vec![VALUE];
    field.extend_from_slice(&value);
    field.push(TIMESTAMP);
    encode_varint(millis, &mut field);
    append_bytes(out, SECOND, &field);
    Some(())
}
