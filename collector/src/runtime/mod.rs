//! What container runtimes tell about a cgroup: its path alone tells that it is a container's, a runtime's socket tells
//! the rest. No runtime is ever needed for anything else, and none is waited for.

pub mod cgroup_names;
mod docker;
mod lookup;

pub use docker::{Endpoint, EndpointError};
pub use lookup::{Lookup, Requests, channel};
