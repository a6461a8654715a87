//! Parsers for the shapes kernel files have: pure functions from bytes to values.

/// The content of a kernel file is not what the kernel documents.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {what}")]
pub struct FormatError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}
