//! As much of HTTP/2 as it takes to ask for something and not to read it.

use std::io::{Read, Write};

use super::Result;

/// Types of frames.
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
const SETTINGS: u8 = 4;
/// The setting of how much of an answer may come unasked.
const INITIAL_WINDOW_SIZE: u8 = 4;

/// The head of a request in HPACK, nothing of it compressed or remembered.
pub(crate) fn head(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text);
        }
    }
    block
}

/// Sends a frame.
pub(crate) fn send(stream: &mut impl Write, kind: u8, flags: u8, number: u32, payload: &[u8]) -> Result<()> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(number.to_be_bytes());
    frame.extend_from_slice(payload);
    Ok(stream.write_all(&frame)?)
}

/// Begins to speak it, with this window for each answer.
pub(crate) fn begin<S: Read + Write>(mut stream: S, window: u32) -> Result<S> {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    let mut setting = vec![0, INITIAL_WINDOW_SIZE];
    setting.extend(window.to_be_bytes());
    send(&mut stream, SETTINGS, 0, 0, &setting)?;
    Ok(stream)
}

/// The next frame of one of these types: its type, its stream and what is in it. Settings are acknowledged.
pub(crate) fn next(stream: &mut (impl Read + Write), kinds: &[u8]) -> Result<(u8, u32, Vec<u8>)> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        let (kind, flags) = (head[3], head[4]);
        if kind == SETTINGS && flags & 1 == 0 {
            send(stream, SETTINGS, 1, 0, &[])?;
        }
        if kinds.contains(&kind) {
            return Ok((kind, u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload));
        }
    }
}
