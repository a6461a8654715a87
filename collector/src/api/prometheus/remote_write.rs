//! The series of Prometheus' remote write 1.0: fields of a `prometheus.WriteRequest` one after the other, each a
//! `TimeSeries` with one sample. Any number of them in a row is a whole message.
//!
//! Encoded by hand: a message of our own type would have to be put together from copies of every label of every series.
//! The numbers are those of `prometheus/prompb/remote.proto` and `types.proto`.

use prost::encoding::{encode_varint, encoded_len_varint};

/// `WriteRequest.timeseries`, `TimeSeries.labels`, `Label.name`: field 1, a length and so many bytes.
const FIRST: u8 = 0x0a;
/// `TimeSeries.samples`, `Label.value`: field 2, likewise.
const SECOND: u8 = 0x12;
/// `Sample.value`: field 1, eight bytes.
const FIRST_DOUBLE: u8 = 0x09;
/// `Sample.timestamp`: field 2, a number.
const SECOND_NUMBER: u8 = 0x10;

/// Appends a label to a series. One without a value is one that is not there, and must not be sent.
pub(super) fn append_label(series: &mut Vec<u8>, name: &str, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    let field = |bytes: &[u8]| 1 + encoded_len_varint(bytes.len() as u64) + bytes.len();
    series.push(FIRST);
    encode_varint((field(name.as_bytes()) + field(value)) as u64, series);
    append_bytes(series, FIRST, name.as_bytes());
    append_bytes(series, SECOND, value);
}

/// Appends the value to a series; the time is in milliseconds since 1970.
pub(super) fn append_sample(series: &mut Vec<u8>, value: f64, millis: u64) {
    series.push(SECOND);
    encode_varint((1 + size_of::<f64>() + 1 + encoded_len_varint(millis)) as u64, series);
    series.push(FIRST_DOUBLE);
    series.extend_from_slice(&value.to_le_bytes());
    series.push(SECOND_NUMBER);
    encode_varint(millis, series);
}

/// Appends a series to a request.
pub(super) fn append_series(out: &mut Vec<u8>, series: &[u8]) {
    append_bytes(out, FIRST, series);
}

pub(super) fn append_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
