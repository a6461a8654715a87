//! Content codings, piece by piece while an answer is rendered: of a compressed one the text is never whole in memory.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::options::Encoding;

/// zstd's fastest level that is not a negative one. The text is so repetitive that higher ones gain little.
const ZSTD_LEVEL: i32 = 1;

/// An answer that could not be compressed.
#[derive(Debug, thiserror::Error)]
#[error("compressing: {0}")]
pub struct EncodingError(#[from] io::Error);

/// Takes the pieces of an answer.
pub struct Encoder {
    coder: Coder,
    /// The first error; what comes after it is dropped.
    failed: Option<io::Error>,
}

enum Coder {
    Identity,
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// Begins an answer.
    pub fn new(encoding: Encoding) -> Result<Self, EncodingError> {
        let coder = match encoding {
            Encoding::Identity => Coder::Identity,
            Encoding::Gzip => Coder::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Encoding::Zstd => Coder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
        };
        Ok(Self { coder, failed: None })
    }

    /// Takes a piece, or leaves it where the answer is not compressed.
    pub fn take(&mut self, piece: &mut Vec<u8>) {
        let written = match &mut self.coder {
            Coder::Identity => return,
            Coder::Gzip(coder) => coder.write_all(piece),
            Coder::Zstd(coder) => coder.write_all(piece),
        };
        piece.clear();
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }

    /// Takes the last piece and gives the whole answer.
    pub fn finish(mut self, mut last: Vec<u8>) -> Result<Vec<u8>, EncodingError> {
        self.take(&mut last);
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        Ok(match self.coder {
            Coder::Identity => last,
            Coder::Gzip(coder) => coder.finish()?,
            Coder::Zstd(coder) => coder.finish()?,
        })
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
            let mut encoder = Encoder::new(encoding).unwrap();
            let mut buffer = Vec::new();
            for piece in &pieces {
                buffer.extend_from_slice(piece);
                encoder.take(&mut buffer);
            }
            let answer = encoder.finish(buffer).unwrap();
            let mut text = Vec::new();
            match encoding {
                Encoding::Identity => text = answer,
                Encoding::Gzip => drop(flate2::read::GzDecoder::new(&*answer).read_to_end(&mut text).unwrap()),
                Encoding::Zstd => text = zstd::stream::decode_all(&*answer).unwrap(),
            }
            assert_eq!(text, pieces.concat(), "{encoding:?}");
        }
    }
}
