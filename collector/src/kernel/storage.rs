//! What files take on disk: trees of them, directories with a quota, snapshots that the file system accounts for, thin
//! devices; and how to reach a host's path from here.
//!
//! Nothing here knows whose files they are, or when to look.

pub mod btrfs;
pub mod idle;
pub mod logs;
pub mod overlay;
pub mod place;
pub mod pods;
pub mod quota;
pub mod thin;
pub mod walk;
