//! What container runtimes report about a cgroup: its path alone shows that it is a container's, a runtime's socket
//! reports the rest. No runtime is ever needed for anything else, and none is waited for.

mod answer;
pub mod cgroup_names;
mod cgroups_of;
mod client;
mod containerd;
mod cri;
mod cri_storage;
mod cri_usage;
mod docker;
mod docker_answer;
mod docker_files;
mod endpoint;
mod error;
mod grpc;
mod http;
mod listeners;
mod lookup;
mod metadata;
mod named;
pub mod owners;
mod places;
mod probe;
mod questions;
pub mod reachability;
mod records;
mod requests;
mod shares;

pub use cgroups_of::CgroupsOf;
pub use cri_usage::{UsageQuestions, Usages};
pub use endpoint::{Endpoint, EndpointError};
pub use listeners::{DockerTls, Listener, Named, Runtimes};
pub use lookup::{Lookup, channel};
pub use requests::Requests;
