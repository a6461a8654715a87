//! How one container of a list is written.

use crate::api::ContainerView;
use crate::sample::container::Sample;
use crate::units;

/// Appends one container, with its name before it where the list is a map; the machine's memory stands in for a memory
/// limit of 0.
pub(crate) type Append = fn(&mut Vec<u8>, &ContainerView, units::Bytes);
/// Appends further samples to a container's, with commas between them and none before; the sample is the one before them.
pub(crate) type AppendSamples = fn(&mut Vec<u8>, &ContainerView, Option<&Sample>);

/// How one container is written.
#[derive(Clone, Copy)]
pub(crate) struct Element {
    pub(crate) append: Append,
    pub(crate) samples: AppendSamples,
    /// What follows the last sample of a container that has any.
    pub(crate) tail: &'static [u8],
}
