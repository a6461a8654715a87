//! How a container became known.

use crate::units::WallTime;

/// How a container became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel reported when it was made.
    Made(WallTime),
    /// A scan found it; when it was made is known from the times of its files, if at all.
    Found,
}
