//! What runtimes say about disks: where they keep images, and what these and their containers' layers take.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::filesystem::Measured;
use super::identity::Runtime;

/// What a runtime reports about disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeStorage {
    /// Which one.
    pub runtime: Runtime,
    /// Where it keeps its images.
    pub stores: Vec<ImageStore>,
    /// What its containers' writable layers take, by the containers' ids.
    pub layers: BTreeMap<String, RuntimeLayer>,
}

/// What a runtime says that a writable layer takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeLayer {
    /// What it takes.
    pub measured: Measured,
    /// A directory on the file system that it is on.
    pub directory: Option<PathBuf>,
}

/// Where a runtime keeps its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageStore {
    /// Whose.
    pub runtime: Runtime,
    /// A directory on the file system in question.
    pub directory: PathBuf,
    /// What is kept there.
    pub holds: Holds,
    /// What the images take, where the runtime reports it.
    pub used: Option<Measured>,
}

/// What a runtime keeps on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Images, and the containers' layers if they have no place of their own.
    Images,
    /// The containers' layers, apart from the images.
    Containers,
}
