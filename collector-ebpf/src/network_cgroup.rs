//! What passes the sockets of each cgroup: what the programs at the root of cgroup2 keep.
//!
//! A socket belongs to the cgroup of cgroup2 in which it was made, for as long as it is there. Each packet is counted for
//! that very cgroup and for none above it.

/// Cgroups that are counted at most; fewer where there are many CPUs, each of which has a row of its own.
pub const MOST_CGROUPS: u32 = 8_192;

/// The word of a row with the bytes that were received, from the IP header on.
pub const RECEIVED: usize = 0;
/// The word with the bytes that were sent; packets follow the bytes of either direction.
pub const SENT: usize = 2;
/// Words of a row.
pub const ROW_WORDS: usize = 4;
/// What passed one cgroup's sockets on one CPU.
pub type Row = [u64; ROW_WORDS];

/// A row's bytes on one CPU.
pub const ROW_BYTES: usize = core::mem::size_of::<Row>();
