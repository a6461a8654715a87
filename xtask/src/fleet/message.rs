//! A recorded push of remote write 1.0, and what becomes of it when another node sends it: names of the same length take the
//! places of names, and times those of times.

use anyhow::{Context as _, Result, ensure};

/// Where in a message something is.
#[derive(Debug, Default)]
struct Places {
    /// Of each sample's time, which is a varint, and the time.
    times: Vec<(usize, u64)>,
    /// Of the node's name.
    names: Vec<usize>,
    /// Of the digits that say whose the cgroups are.
    cgroups: Vec<usize>,
}

/// One request.
#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    places: Places,
}

/// What a node sends at one time.
#[derive(Debug)]
pub(super) struct Push {
    messages: Vec<Message>,
    /// The newest time in it.
    at: u64,
}

/// Milliseconds since 1970 from 2004 to 2109 take so many bytes.
const TIME_BYTES: usize = 6;
/// Letters of a generation of cgroups.
const GENERATION: usize = 2;

/// A node's name, of the same length for every node.
pub(super) fn name_of(node: u32) -> String {
    format!("node-{node:06}")
}

impl Push {
    /// Takes apart what the node of number 0 sent; the name of the cgroups' parent ends in its generation.
    pub(super) fn parse(bodies: impl Iterator<Item = Vec<u8>>, parent: &str) -> Result<Self> {
        let mut messages = Vec::new();
        for body in bodies {
            let bytes = snap::raw::Decoder::new().decompress_vec(&body).context("a body is not snappy's")?;
            let mut places = Places { times: times(&bytes)?, ..Places::default() };
            places.names = find(&bytes, name_of(0).as_bytes());
            let ends = find(&bytes, parent.as_bytes()).into_iter();
            places.cgroups = ends.map(|at| at + parent.len() - GENERATION).collect();
            messages.push(Message { bytes, places });
        }
        let times = messages.iter().flat_map(|message| &message.places.times);
        let at = times.map(|(_, time)| *time).max().context("a push has no samples")?;
        ensure!(messages.iter().any(|message| !message.places.names.is_empty()), "a push does not name its node");
        Ok(Self { messages, at })
    }

    /// The bodies that another node sends, of cgroups of this generation if not of the first.
    pub(super) fn bodies(&self, node: &str, generation: Option<u32>, now: u64) -> Result<Vec<Vec<u8>>> {
        let mut encoder = snap::raw::Encoder::new();
        let made = self.messages.iter().map(|message| {
            let mut bytes = message.bytes.clone();
            let mut put = |at: usize, text: &[u8]| bytes[at..at + text.len()].copy_from_slice(text);
            message.places.names.iter().for_each(|at| put(*at, node.as_bytes()));
            if let Some(generation) = generation {
                let letters = [b'a' + (generation / 26 % 26) as u8, b'a' + (generation % 26) as u8];
                message.places.cgroups.iter().for_each(|at| put(*at, &letters));
            }
            for (at, time) in &message.places.times {
                put(*at, &varint(now - (self.at - time)));
            }
            encoder.compress_vec(&bytes).context("snappy")
        });
        made.collect()
    }

    /// How many samples it has.
    pub(super) fn samples(&self) -> u64 {
        self.messages.iter().map(|message| message.places.times.len() as u64).sum()
    }

    /// How many bytes are sent.
    pub(super) fn bytes(&self) -> Result<usize> {
        Ok(self.bodies(&name_of(0), None, self.at)?.iter().map(Vec::len).sum())
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    let fits = bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text);
    fits.map(|(at, _)| at).collect()
}

/// A time as it is encoded.
fn varint(mut number: u64) -> [u8; TIME_BYTES] {
    let mut bytes = [0; TIME_BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = (number & 0x7f) as u8 | if index + 1 < TIME_BYTES { 0x80 } else { 0 };
        number >>= 7;
    }
    bytes
}

/// A field of a message: its number, and where what is in it begins and ends.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Fields<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).filter(|_| self.at < self.end)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

impl Iterator for Fields<'_> {
    type Item = (u64, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = self.number()?;
        let begin = self.at;
        let (begin, end) = match tag & 7 {
            0 => {
                self.number()?;
                (begin, self.at)
            }
            1 => (begin, begin + 8),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                (self.at, self.at + length)
            }
            _ => return None,
        };
        self.at = end;
        (end <= self.end).then_some((tag >> 3, begin, end))
    }
}

/// `WriteRequest.timeseries`: 1; `TimeSeries.samples`: 2; `Sample.timestamp`: 2.
fn times(bytes: &[u8]) -> Result<Vec<(usize, u64)>> {
    let within = |at, end| Fields { bytes, at, end };
    let mut times = Vec::new();
    for (_, begin, end) in within(0, bytes.len()).filter(|(field, ..)| *field == 1) {
        for (_, begin, end) in within(begin, end).filter(|(field, ..)| *field == 2) {
            for (_, begin, end) in within(begin, end).filter(|(field, ..)| *field == 2) {
                ensure!(end - begin == TIME_BYTES, "a time is none of this century");
                times.push((begin, within(begin, end).number().context("a time is broken")?));
            }
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series of one sample of a node.
    fn request(node: &str, id: &str, time: u64) -> Vec<u8> {
        let field = |tag: u8, bytes: &[u8]| [&[tag, bytes.len() as u8][..], bytes].concat();
        let label = |name: &str, value: &str| {
            field(0x0a, &[field(0x0a, name.as_bytes()), field(0x12, value.as_bytes())].concat())
        };
        let sample = [&[0x09][..], &1.5_f64.to_le_bytes(), &[0x10], &varint(time)].concat();
        let series = [label("id", id), label("instance", node), field(0x12, &sample)].concat();
        field(0x0a, &series)
    }

    #[test]
    fn another_node_sends_the_same_under_its_name_and_at_its_time() {
        let (then, now) = (1_700_000_000_000, 1_700_000_123_456);
        let (first, second) = (request(&name_of(0), "/t-00/c1", then - 5), request(&name_of(0), "/t-00/c2", then));
        let body = snap::raw::Encoder::new().compress_vec(&[first, second].concat()).unwrap();
        let push = Push::parse(std::iter::once(body), "/t-00").unwrap();
        assert_eq!(push.samples(), 2);
        for (generation, parent) in [(None, "00"), (Some(27), "bb")] {
            let sent = push.bodies(&name_of(77), generation, now).unwrap();
            let id = |number: u8| format!("/t-{parent}/c{number}");
            let expected = [request("node-000077", &id(1), now - 5), request("node-000077", &id(2), now)].concat();
            assert_eq!(snap::raw::Decoder::new().decompress_vec(&sent[0]).unwrap(), expected);
        }
    }
}
