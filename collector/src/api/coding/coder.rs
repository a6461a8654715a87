//! The content codings there are, which one a client gets, and what makes it.
//!
//! By cAdvisor's rules, but that zstd is offered as well: the clause with the highest weight that can be met counts.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::api::accept::{Clause, by_weight};

/// zstd's fastest level that is not a negative one. The texts are so repetitive that higher ones gain little.
const ZSTD_LEVEL: i32 = 1;
/// The logarithm of how far back zstd looks: with more, an open stream would keep more memory.
const ZSTD_WINDOW: u32 = 17;

/// A content coding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// None.
    #[default]
    Identity,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Encoding {
    /// What a client gets by its `Accept-Encoding` header. At equal weight none goes before zstd, which is cheaper, and
    /// that before gzip.
    pub fn by(header: &str) -> Self {
        let offered = |clause: &Clause<'_>| match clause.name.to_ascii_lowercase().as_str() {
            "identity" | "*" => Some(Self::Identity),
            "zstd" => Some(Self::Zstd),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            _ => None,
        };
        let clauses = by_weight(header);
        let best = clauses.iter().find(|clause| offered(clause).is_some());
        let equal = clauses.iter().filter(|clause| best.is_some_and(|best| best.weight == clause.weight));
        let equal: Vec<_> = equal.filter_map(offered).collect();
        [Self::Identity, Self::Zstd, Self::Gzip].into_iter().find(|one| equal.contains(one)).unwrap_or_default()
    }
}

/// The `Content-Encoding` header.
pub fn content_encoding(encoding: Encoding) -> Option<&'static str> {
    match encoding {
        Encoding::Identity => None,
        Encoding::Gzip => Some("gzip"),
        Encoding::Zstd => Some("zstd"),
    }
}

/// Takes text and makes of it what the coding says.
pub enum Coder {
    /// gzip.
    Gzip(GzEncoder<Vec<u8>>),
    /// Zstandard.
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Coder {
    /// A coder; none where nothing is to be coded.
    pub fn new(encoding: Encoding) -> io::Result<Option<Self>> {
        Ok(match encoding {
            Encoding::Identity => None,
            Encoding::Gzip => Some(Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast()))),
            Encoding::Zstd => {
                let mut coder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                coder.window_log(ZSTD_WINDOW)?;
                Some(Self::Zstd(coder))
            }
        })
    }

    /// Takes a text. What came of it so far is in the buffer that is returned, to be taken or left.
    pub fn write(&mut self, text: &[u8]) -> io::Result<&mut Vec<u8>> {
        match self {
            Self::Gzip(coder) => coder.write_all(text).map(|()| coder.get_mut()),
            Self::Zstd(coder) => coder.write_all(text).map(|()| coder.get_mut()),
        }
    }

    /// What came of everything taken so far.
    pub(super) fn flush(&mut self) -> io::Result<&mut Vec<u8>> {
        match self {
            Self::Gzip(coder) => coder.flush().map(|()| coder.get_mut()),
            Self::Zstd(coder) => coder.flush().map(|()| coder.get_mut()),
        }
    }

    /// The rest.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(coder) => coder.finish(),
            Self::Zstd(coder) => coder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_codings() {
        for (accept, expected) in [
            ("", Encoding::Identity),
            ("*", Encoding::Identity),
            ("gzip", Encoding::Gzip),
            ("gzip, deflate, br", Encoding::Gzip),
            ("identity, gzip", Encoding::Identity),
            ("identity;q=0.5, gzip", Encoding::Gzip),
            ("deflate, gzip, br, zstd", Encoding::Zstd),
            ("gzip;q=0.8, zstd;q=0.7", Encoding::Gzip),
            ("zstd;q=0, gzip;q=0.1", Encoding::Gzip),
            ("br", Encoding::Identity),
        ] {
            assert_eq!(Encoding::by(accept), expected, "{accept}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in "[-a-z/*;=,.q0-9 \"]{0,60}") {
            let _ = Encoding::by(&header);
        }
    }
}
