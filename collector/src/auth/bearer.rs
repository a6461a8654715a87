//! Tokens: a file with one on each line.

use subtle::{Choice, ConstantTimeEq as _};

use super::watched::{Watched, lines};
use super::{FileError, FlagFile, sha256};

/// The tokens, as their hashes, which all have one length.
type Tokens = Vec<[u8; 32]>;

/// Distinguishes known tokens from others.
#[derive(Debug)]
pub(super) struct Bearer(Watched<Tokens>);

impl Bearer {
    /// Reads the file.
    pub(super) fn load(file: &FlagFile) -> Result<Self, FileError> {
        Ok(Self(Watched::open(&[file], parse)?))
    }

    /// Whether this is one of the tokens. Takes as long whatever the answer.
    pub(super) fn knows(&self, token: &str) -> bool {
        let token = sha256(token.trim_end().as_bytes());
        let tokens = self.0.current();
        tokens.iter().fold(Choice::from(0), |known, other| known | token.ct_eq(other)).into()
    }
}

fn parse(paths: &[FlagFile], contents: &[Vec<u8>]) -> Result<Tokens, FileError> {
    let tokens: Tokens = contents.iter().flat_map(|text| lines(text)).map(|(_, line)| sha256(line)).collect();
    if tokens.is_empty() {
        return Err(FileError::Empty { path: paths[0].clone(), missing: "no token; write one alone on its line" });
    }
    Ok(tokens)
}
