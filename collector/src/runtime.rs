//! What container runtimes report about a cgroup: its path alone shows that it is a container's, a runtime's socket
//! reports the rest. No runtime is ever needed for anything else, and none is waited for.

pub mod cgroup_names;
mod client;
mod containerd;
mod containerd_storage;
mod cri;
mod cri_storage;
mod docker;
mod docker_files;
mod endpoint;
mod error;
mod grpc;
mod http;
mod lookup;
mod metadata;
pub mod owners;
mod places;
mod questions;
pub mod reachability;
mod requests;
mod shares;

pub use client::{DockerTls, Listener, Named, Runtimes};
pub use endpoint::{Endpoint, EndpointError};
pub use lookup::{CgroupsOf, Lookup, channel};
pub use requests::Requests;
