//! How values are written in more than one format: JSON and times.

pub mod json;
pub mod time;
