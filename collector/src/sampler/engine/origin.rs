//! How a container became known.

use crate::units::WallTime;

/// How a container became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel reported when it was made.
    Made(WallTime),
    /// A scan found it; when it was made is known from the times of its files, if at all.
    Found(Option<WallTime>),
}

impl Origin {
    /// When the container was made, as far as is known.
    pub const fn created(self) -> Option<WallTime> {
        match self {
            Self::Made(at) => Some(at),
            Self::Found(at) => at,
        }
    }
}
