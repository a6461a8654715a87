//! Which containers there are and who they are: kernel events drive, scans repair. Reads no statistics.

pub mod containers;
pub mod filter;
pub mod find;
pub mod follower;
pub mod tracker;
