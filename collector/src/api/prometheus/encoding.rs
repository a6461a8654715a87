//! Content codings, piece by piece while an answer is rendered: of a compressed one the text is never whole in memory.

use std::io;

use super::writer::PIECE;
use crate::api::budget::Busy;
use crate::api::coding::{Coder, Encoding};

/// An answer that could not be compressed.
#[derive(Debug, thiserror::Error)]
#[error("compressing: {0}")]
pub struct EncodingError(#[from] io::Error);

/// Takes the pieces of an answer, encodes them and hands on what comes of it, again in pieces.
pub struct Encoder<K> {
    /// None where nothing is to be coded.
    coder: Option<Coder>,
    keep: K,
    /// The first error; what comes after it is dropped.
    failed: Option<Failed>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// It could not be compressed.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// It could not be kept.
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl<K: FnMut(Vec<u8>) -> Result<(), Busy>> Encoder<K> {
    /// Begins an answer. `keep` is given its pieces.
    pub fn new(encoding: Encoding, keep: K) -> Result<Self, EncodingError> {
        Ok(Self { coder: Coder::new(encoding)?, keep, failed: None })
    }

    /// Takes a piece.
    pub fn take(&mut self, piece: &mut Vec<u8>) {
        if self.failed.is_some() {
            piece.clear();
            return;
        }
        let Some(coder) = &mut self.coder else {
            let next = Vec::with_capacity(piece.len() + piece.len() / 8);
            self.keep(std::mem::replace(piece, next));
            return;
        };
        let written = coder.write(piece);
        piece.clear();
        match written {
            Ok(out) if out.len() >= PIECE => {
                let full = std::mem::take(out);
                self.keep(full);
            }
            Ok(_) => {}
            Err(error) => self.failed = Some(EncodingError(error).into()),
        }
    }

    fn keep(&mut self, piece: Vec<u8>) {
        if let Err(busy) = (self.keep)(piece) {
            self.failed.get_or_insert(busy.into());
        }
    }

    /// Takes the last piece.
    pub fn finish(mut self, mut last: Vec<u8>) -> Result<(), Failed> {
        self.take(&mut last);
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        match self.coder {
            None => Ok(()),
            Some(coder) => Ok((self.keep)(coder.finish().map_err(EncodingError)?)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn pieces_come_back_whole() {
        let pieces: Vec<Vec<u8>> =
            (0..50_u32).map(|n| format!("container_x{{id=\"/{n}\"}} {n}\n").into_bytes()).collect();
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let mut kept = Vec::new();
            let mut encoder = Encoder::new(encoding, |piece| {
                kept.push(piece);
                Ok(())
            })
            .unwrap();
            let mut buffer = Vec::new();
            for piece in &pieces {
                buffer.extend_from_slice(piece);
                encoder.take(&mut buffer);
                assert!(buffer.is_empty());
            }
            encoder.finish(buffer).unwrap();
            let answer = kept.concat();
            let mut text = Vec::new();
            match encoding {
                Encoding::Identity => text = answer,
                Encoding::Gzip => drop(flate2::read::GzDecoder::new(&*answer).read_to_end(&mut text).unwrap()),
                Encoding::Zstd => text = zstd::stream::decode_all(&*answer).unwrap(),
            }
            assert_eq!(text, pieces.concat(), "{encoding:?}");
        }
    }
    #[test]
    fn what_cannot_be_kept_is_no_answer() {
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let mut encoder = Encoder::new(encoding, |_| Err(Busy::Size(1))).unwrap();
            let mut buffer = b"text".to_vec();
            encoder.take(&mut buffer);
            let failed = encoder.finish(buffer);
            assert!(matches!(failed, Err(Failed::Busy(Busy::Size(1)))), "{failed:?}");
        }
    }
}
