//! What is wrong with the content of a kernel file.

/// The content of a kernel file is not what the kernel documents.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {what}")]
pub struct FormatError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl FormatError {
    /// Something wrong in this line.
    pub const fn at(line: usize, what: &'static str) -> Self {
        Self { line, what }
    }
}
