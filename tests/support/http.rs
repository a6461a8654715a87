//! A small HTTP/1.1 client over any byte stream, able to follow a response that never ends.

use std::io::{BufRead as _, BufReader, Read, Write};

use super::{Context as _, Result, ensure};

/// A whole response.
#[derive(Debug)]
pub(crate) struct Response {
    /// Status code.
    pub(crate) status: u16,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, decoded.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The head of a response and its body, still to be read.
pub(crate) struct Incoming<S: Read> {
    /// Status code.
    pub(crate) status: u16,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The decoded body.
    pub(crate) body: Body<S>,
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

/// Sends a request and reads the head of its response.
pub(crate) fn send<S: Read + Write>(stream: S, method: &str, target: &str, body: Option<&[u8]>) -> Result<Incoming<S>> {
    send_with(stream, method, target, &[], body)
}

/// The same, with more headers.
pub(crate) fn send_with<S: Read + Write>(
    mut stream: S,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Result<Incoming<S>> {
    use std::fmt::Write as _;
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n")?;
    }
    if let Some(body) = body {
        let length = body.len();
        write!(request, "Content-Type: application/json\r\nContent-Length: {length}\r\n")?;
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    stream.write_all(body.unwrap_or_default())?;
    stream.flush()?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("{method} {target}: not an HTTP response: {line:?}"))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "{method} {target}: the head of the response was cut off");
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let chunked = find(&headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let length = find(&headers, "content-length").and_then(|value| value.parse().ok());
    let framing = match length {
        _ if chunked => Framing::Chunked { left: 0, ended: false },
        Some(left) => Framing::Length { left },
        None => Framing::UntilClose,
    };
    Ok(Incoming { status, headers, body: Body { reader, framing } })
}

/// Sends a request and reads its whole response.
pub(crate) fn request<S: Read + Write>(stream: S, method: &str, target: &str, body: Option<&[u8]>) -> Result<Response> {
    request_with(stream, method, target, &[], body)
}

/// The same, with more headers.
pub(crate) fn request_with<S: Read + Write>(
    stream: S,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Result<Response> {
    let mut incoming = send_with(stream, method, target, headers, body)?;
    let mut body = Vec::new();
    incoming.body.read_to_end(&mut body).with_context(|| format!("body of {method} {target}"))?;
    Ok(Response { status: incoming.status, headers: incoming.headers, body })
}

/// Takes a whole answer apart, or only its head.
pub(crate) fn parse(answer: &[u8], head_only: bool) -> Result<Response> {
    struct Said<'a>(&'a [u8]);
    impl Read for Said<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for Said<'_> {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            Ok(buffer.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let Incoming { status, headers, mut body } = send(Said(answer), "", "", None)?;
    let mut text = Vec::new();
    if !head_only {
        body.read_to_end(&mut text).context("body")?;
    }
    Ok(Response { status, headers, body: text })
}

/// How a body's end is reported.
enum Framing {
    Length { left: u64 },
    Chunked { left: u64, ended: bool },
    UntilClose,
}

/// A response's body. A body that is cut off before its end is an error, not an end.
pub(crate) struct Body<S: Read> {
    reader: BufReader<S>,
    framing: Framing,
}

fn cut_off() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the body was cut off")
}

/// The length line of the next chunk.
fn chunk_length<S: Read>(reader: &mut BufReader<S>) -> std::io::Result<u64> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let digits = line.trim_end().split(';').next().unwrap_or_default();
    u64::from_str_radix(digits, 16).map_err(|_| cut_off())
}

impl<S: Read> Read for Body<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = match &mut self.framing {
            Framing::UntilClose => return self.reader.read(buffer),
            Framing::Length { left: 0 } | Framing::Chunked { ended: true, .. } => return Ok(0),
            Framing::Length { left } => left,
            Framing::Chunked { left, ended } => {
                if *left == 0 {
                    *left = chunk_length(&mut self.reader)?;
                    if *left == 0 {
                        *ended = true;
                        return Ok(0);
                    }
                }
                left
            }
        };
        let room = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let got = self.reader.read(&mut buffer[..room])?;
        if got == 0 && room > 0 {
            return Err(cut_off());
        }
        *left -= got as u64;
        if matches!(self.framing, Framing::Chunked { left: 0, .. }) {
            let mut line_end = [0; 2];
            self.reader.read_exact(&mut line_end)?;
        }
        Ok(got)
    }
}
