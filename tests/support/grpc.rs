//! Just enough of gRPC, HTTP/2 and protocol buffers to ask a container runtime something over its socket: one call per
//! connection, with messages that fit into one frame.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Context as _, Result, bail, ensure, wait};

// Types of HTTP/2 frames, RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
// Their flags.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// What a peer accepts unasked.
const MAX_FRAME: usize = 16 << 10;
/// The only stream of a connection.
const STREAM: u32 = 1;

/// A protocol buffers message that is being made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Adds a text.
    pub(crate) fn text(mut self, field: u8, text: &str) -> Self {
        self.block(field, text.as_bytes());
        self
    }

    /// Adds a message.
    pub(crate) fn message(mut self, field: u8, message: &Self) -> Self {
        self.block(field, &message.0);
        self
    }

    /// Adds a number.
    pub(crate) fn number(mut self, field: u8, number: u64) -> Self {
        self.0.push(field << 3);
        varint(&mut self.0, number);
        self
    }

    /// As it is sent.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn block(&mut self, field: u8, content: &[u8]) {
        self.0.push(field << 3 | 2);
        varint(&mut self.0, content.len() as u64);
        self.0.extend(content);
    }
}

fn varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// The first field of an answer, if it is the field number 1 and holds a text or a message.
pub(crate) fn first_block(answer: &[u8]) -> Option<&[u8]> {
    let (&[0x0a], mut rest) = answer.split_first_chunk::<1>()? else { return None };
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            return rest.get(..length);
        }
    }
}

/// Calls a method, named `/package.Service/Method`, and returns the message that answers.
pub(crate) fn call(socket: &Path, method: &str, request: &Message) -> Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(wait::seconds(30)))?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    send(&mut stream, SETTINGS, 0, 0, &[])?;
    let mut headers = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        // A literal header field without indexing, RFC 7541 section 6.2.2; all are shorter than 127 bytes.
        headers.push(0);
        for text in [name, value] {
            headers.push(text.len() as u8);
            headers.extend(text.as_bytes());
        }
    }
    send(&mut stream, HEADERS, END_HEADERS, STREAM, &headers)?;
    // Uncompressed, and its length.
    let mut body = vec![0];
    body.extend((request.0.len() as u32).to_be_bytes());
    body.extend(&request.0);
    ensure!(body.len() <= MAX_FRAME, "a request of {} bytes", body.len());
    send(&mut stream, DATA, END_STREAM, STREAM, &body)?;
    let answer = receive(&mut stream).with_context(|| method.to_owned())?;
    // Why a call failed is in compressed trailers; the engine's log has it too.
    let message = answer.split_at_checked(5).with_context(|| format!("{method} failed"))?.1;
    Ok(message.to_vec())
}

/// All data until the stream's end.
fn receive(stream: &mut UnixStream) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let [high, middle, low, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        stream.read_exact(&mut payload)?;
        match kind {
            DATA => data.extend(payload),
            SETTINGS | PING if flags & ACK == 0 => {
                send(stream, kind, ACK, 0, if kind == PING { &payload } else { &[] })?;
            }
            RST_STREAM | GOAWAY => bail!("the call was refused: {payload:?}"),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return Ok(data);
        }
    }
}

fn send(stream: &mut UnixStream, kind: u8, flags: u8, on: u32, payload: &[u8]) -> Result<()> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(on.to_be_bytes());
    frame.extend(payload);
    Ok(stream.write_all(&frame)?)
}
