//! Files below `/proc` that belong to a process or to its network namespace.

pub mod network;
pub mod process;
pub mod process_index;
pub mod sockets;
pub mod users;
